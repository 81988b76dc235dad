//! The client against answers as the fact sheet records them.

use std::time::Duration;

use axum::response::{IntoResponse as _, Response};
use serde_json::Value;

use super::super::http::tests::{Fake, Reply, Seen, say, say_cut, say_text};
use super::*;
use crate::facts::{Money, PublicKey, Status};
use crate::guard::prove_unused;
use crate::plan::Kind;

const ID: &str = "5d1f0c2e-7b0c-4c55-9d0f-0a6a3d1b9e11";

fn client(fake: &Fake) -> CloudClient {
    let credentials =
        CloudCredentials { client_id: "id".into(), client_secret: "s3cr3t".into(), base_url: String::new() };
    CloudClient::new(&format!("{}/v1", fake.url), credentials, Clock::scaled(1e6)).unwrap()
}

fn action() -> Action {
    Action::unplanned(Kind::Ready)
}

fn proof() -> Proof {
    prove_unused(ID, false, Timestamp::UNIX_EPOCH).unwrap()
}

fn order() -> Order {
    Order {
        r#type: "1V100.6V".into(),
        image: "ubuntu-24.04".into(),
        boots: None,
        market: Market::OnDemand,
        hostname: "lesson3".into(),
        description: "dacapo session=lesson3".into(),
        key_ids: vec!["k1".into()],
        script: None,
        location: "FIN-01".into(),
        os_volume_gb: 100,
        os_volume_name: "lesson3-os".into(),
        tags: BTreeMap::from([("dacapo-session".into(), "lesson3".into())]),
    }
}

/// A server that gives tokens, and `reply` for everything else.
async fn cloud(reply: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static) -> Fake {
    Fake::start(move |seen, before| match seen.line.as_str() {
        "POST /v1/oauth2/token" => say(
            200,
            &json!({"access_token": "t0ken", "refresh_token": "r", "token_type": "Bearer", "expires_in": 3_600_000_000_000_u64,
                    "scope": "cloud-api-v1"}),
        ),
        _ => reply(seen, before),
    })
    .await
}

fn instance(status: &str) -> Value {
    json!({
        "id": ID, "ip": "203.0.113.24", "status": status, "created_at": "2026-10-01T09:15:00.000Z",
        "created_by_user_id": "a3c9", "cpu": {"description": "6 CPU", "number_of_cores": 6},
        "hostname": "sess-alpha", "description": "sess", "location": "FIN-01", "price_per_hour": 0.192,
        "is_spot": false, "instance_type": "1V100.6V", "image": "ubuntu-24.04", "ssh_key_ids": ["0f9b"],
        "os_volume_id": "b7a1", "volume_ids": ["c8b2"], "jupyter_token": null, "a_new_field": {"of": 2027},
        "tags": [{"id": "t", "key": "dacapo-session", "value": "lesson3"}, {"key": "bare", "value": null}],
    })
}

fn account(seen: &Seen) -> Reply {
    let answer = match seen.line.as_str() {
        "GET /v1/instances" => json!([instance("being_dreamt_of")]),
        "GET /v1/instance-types?currency=usd" => json!([
            {"instance_type": "1V100.6V", "gpu": {"number_of_gpus": 1}, "price_per_hour": "0.192",
             "spot_price": "0.0595", "supported_os": ["ubuntu-24.04"], "currency": "usd", "p2p": null},
            {"instance_type": "CPU.4V.16G", "gpu": null, "price_per_hour": 0.0279},
        ]),
        "GET /v1/instance-availability?is_spot=false" => {
            json!([{"location_code": "FIN-01", "availabilities": ["1V100.6V"]}])
        }
        "GET /v1/images" => json!([{"id": "2404f580", "image_type": "ubuntu-24.04", "is_default": false}]),
        "GET /v1/locations" => json!([{"code": "FIN-01", "name": "Finland 1", "country_code": "FI"}]),
        "GET /v1/ssh-keys" => json!([
            {"id": "k1", "name": "laptop", "key": "ssh-ed25519 AAAAC3Nz me@host", "fingerprint": null},
            {"id": "k2", "name": "odd", "key": "not a key"},
        ]),
        "GET /v1/volumes" => json!([
            {"id": "b7a1", "name": "sess-alpha-os", "status": "attached", "size": 50, "instance_id": ID,
             "base_hourly_cost": 0.0137, "tags": []},
            {"id": "c8b2", "name": "data", "status": "detached", "size": 10, "instance_id": null,
             "base_hourly_cost": null, "tags": null},
        ]),
        "GET /v1/balance" => json!({"amount": 42.17, "currency": "usd"}),
        other => panic!("unexpected {other}"),
    };
    say(200, &answer)
}

#[tokio::test]
async fn one_look_costs_one_token_and_one_call_per_list() {
    let fake = cloud(|seen, _| account(seen)).await;
    let seen = client(&fake).look(Market::OnDemand).await.unwrap();
    assert_eq!((fake.count("POST /v1/oauth2/token"), fake.seen().len()), (1, 9));
    let login = fake.seen().into_iter().find(|seen| seen.line.starts_with("POST")).unwrap();
    assert_eq!(
        login.json(),
        json!({"grant_type": "client_credentials", "client_id": "id", "client_secret": "s3cr3t"})
    );
    assert!(login.header("user-agent").starts_with("dacapo/"));

    let [instance] = &seen.instances[..] else { panic!("{seen:?}") };
    assert_eq!(instance.status, Status::Other("being_dreamt_of".into()));
    assert_eq!(instance.volumes, ["b7a1", "c8b2"], "the OS volume is among the volumes, once");
    assert_eq!(instance.price_per_hour, Money::from_units(0.192));
    assert_eq!(
        instance.tags,
        BTreeMap::from([("bare".into(), "".into()), ("dacapo-session".into(), "lesson3".into())])
    );
    let prices: Vec<i64> = seen.types.iter().map(|offer| offer.price_per_hour.micros).collect();
    assert_eq!((prices, seen.types[1].gpus), (vec![192_000, 27_900], 0));
    assert_eq!(seen.stock, BTreeMap::from([("FIN-01".into(), vec!["1V100.6V".into()])]));
    assert_eq!(seen.keys.len(), 1, "a key that can't be read is skipped");
    assert_eq!((seen.volumes[1].instance.clone(), seen.volumes[1].price_per_hour.micros), (None, 0));
    assert_eq!((seen.balance, seen.currency.as_str()), (Money::from_units(42.17), "usd"));
    assert_eq!(seen.recorded, None);
}

#[tokio::test]
async fn the_token_of_an_images_notebook_is_read_and_shown_nowhere() {
    let with_token = |change: fn(&mut Value)| async move {
        let fake = cloud(move |_, _| {
            let mut shown = instance("running");
            shown["jupyter_token"] = json!("0123456789abcdef");
            change(&mut shown);
            say(200, &shown)
        })
        .await;
        client(&fake).instance(ID).await
    };
    let seen = with_token(|_| {}).await.unwrap().unwrap();
    assert_eq!(seen.notebook.as_ref().unwrap().expose(), "0123456789abcdef");
    assert!(!format!("{seen:?}").contains("0123456789"), "{seen:?}");
    let broken = with_token(|shown| shown["created_at"] = json!(7)).await.unwrap_err().to_string();
    assert!(broken.contains("expected `Instance`") && !broken.contains("0123456789"), "{broken}");
    let none = with_token(|shown| shown["jupyter_token"] = Value::Null).await.unwrap().unwrap();
    assert_eq!(none.notebook, None);
}

#[tokio::test]
async fn an_account_in_euros_is_told_prices_in_euros() {
    let fake = cloud(|seen, _| match seen.line.as_str() {
        "GET /v1/balance" => say(200, &json!({"amount": "12.5", "currency": "eur"})),
        "GET /v1/instance-types?currency=eur" => {
            say(200, &json!([{"instance_type": "1V100.6V", "price_per_hour": "0.17"}]))
        }
        _ => account(seen),
    })
    .await;
    let seen = client(&fake).look(Market::OnDemand).await.unwrap();
    assert_eq!((seen.types[0].price_per_hour.micros, seen.currency.as_str()), (170_000, "eur"));
    assert_eq!(seen.balance.micros, 12_500_000);
}

#[tokio::test]
async fn a_list_with_one_unreadable_machine_is_no_list() {
    let fake = cloud(|_, _| say(200, &json!([instance("running"), {"status": "running"}]))).await;
    let error = client(&fake).instances().await.unwrap_err().to_string();
    assert!(error.contains("Vec<Instance>") && error.contains("missing field `id`"), "{error}");
}

#[tokio::test]
async fn only_the_apis_own_word_makes_a_machine_absent() {
    let invalid = json!({"code": "invalid_request", "message": "Invalid instance id"});
    let not_found = json!({"code": "not_found", "message": "Instance not found"});
    let fake = cloud(move |seen, _| match seen.line.as_str() {
        "GET /v1/instances/unknown" => say(400, &invalid),
        "GET /v1/instances/missing" => say(404, &not_found),
        "GET /v1/instances/wrong-address" => say_text(404, "<html>404 page not found</html>"),
        "GET /v1/instances/forbidden" => say(403, &json!({"code": "forbidden_action", "message": "no"})),
        _ => say(200, &instance("discontinued")),
    })
    .await;
    let client = client(&fake);
    assert_eq!(client.instance("unknown").await.unwrap(), None);
    assert_eq!(client.instance("missing").await.unwrap(), None);
    client.instance("wrong-address").await.unwrap_err();
    client.instance("forbidden").await.unwrap_err();
    assert_eq!(client.instance(ID).await.unwrap().unwrap().status, Status::Discontinued);
}

#[tokio::test]
async fn early_machines_without_address_or_volumes_are_read() {
    let early = json!({"id": ID, "status": "ordered", "created_at": "2026-10-01T09:15:00.000Z", "ip": null,
                       "os_volume_id": null, "volume_ids": null, "tags": null, "image": null});
    let fake = cloud(move |_, _| say(200, &early)).await;
    let read = client(&fake).instance(ID).await.unwrap().unwrap();
    assert_eq!((read.ip, read.os_volume, read.volumes.len()), (None, None, 0));
    assert_eq!(read.status, Status::Ordered("ordered".into()));
}

#[tokio::test]
async fn the_order_says_everything_once() {
    let fake = cloud(|_, _| say_text(202, ID)).await;
    assert!(matches!(client(&fake).create(&action(), &order()).await, Created::Id(id) if id == ID));
    let tags = json!([{"key": "dacapo-session", "value": "lesson3"}]);
    let sent = fake.seen().pop().unwrap();
    assert_eq!(
        sent.json(),
        json!({
            "instance_type": "1V100.6V", "image": "ubuntu-24.04", "hostname": "lesson3",
            "description": "dacapo session=lesson3", "ssh_key_ids": ["k1"], "location_code": "FIN-01",
            "os_volume": {"name": "lesson3-os", "size": 100, "tags": tags}, "is_spot": false, "tags": tags,
        })
    );
    assert_eq!(
        (sent.header("authorization"), sent.header("content-type")),
        ("Bearer t0ken", "application/json")
    );
}

#[test]
fn ids_are_read_raw_quoted_and_in_objects() {
    for body in [
        ID.to_owned(),
        format!("  {ID}\n"),
        format!("\"{ID}\""),
        format!("{{\"id\":\"{ID}\"}}"),
        format!("{{\"id\":\"{ID}\",\"status\":\"ordered\"}}"),
    ] {
        assert_eq!(wire::id_in(body.as_bytes()).as_deref(), Some(ID), "{body}");
    }
    for body in [
        "",
        "OK",
        "null",
        "true",
        "17",
        "\"\"",
        "{}",
        "{\"id\":null}",
        "<html>",
        "[]",
        "\"a/../b\"",
        "\"-x\"",
    ] {
        assert_eq!(wire::id_in(body.as_bytes()), None, "{body}");
    }
}

/// Creates against one answer; says how it ended and how many orders arrived.
async fn create_against(reply: impl Fn() -> Reply + Send + Sync + 'static) -> (Created, usize) {
    let fake = cloud(move |_, _| reply()).await;
    let mut client = client(&fake);
    let base = client.base.clone();
    client.service = client.service.with_call_timeout(&[&base], Duration::from_millis(300));
    let created = client.create(&action(), &order()).await;
    (created, fake.count("POST /v1/instances"))
}

#[tokio::test]
async fn an_unclear_order_is_said_to_be_unclear_and_never_sent_twice() {
    let unclear: [fn() -> Reply; 9] = [
        || say(500, &json!({"code": "server_error", "message": "oops"})),
        || say_text(502, "<html>bad gateway</html>"),
        || say(503, &json!({"code": "service_unavailable", "message": "restarting"})),
        || say_text(503, "Not enough resources, says a gateway that speaks no JSON"),
        || say_text(408, ""),
        || say_cut(202, "5d1f0c2e-7b0c-4c55-9d0f-0a6a3d1b9e11"),
        || say_text(202, "<html>welcome</html>"),
        || say_text(307, ""),
        || Reply::Silence,
    ];
    for (number, reply) in unclear.into_iter().enumerate() {
        let (created, posts) = create_against(reply).await;
        assert!(matches!(&created, Created::Unclear(why) if !why.is_empty()), "{number}: {created:?}");
        assert_eq!(posts, 1, "{number}");
    }
}

#[tokio::test]
async fn a_clear_refusal_is_an_error_of_its_kind() {
    let refuse = |status: u16, code: &'static str, message: &'static str| {
        create_against(move || say(status, &json!({"code": code, "message": message})))
    };
    let (created, posts) = refuse(
        503,
        "service_unavailable",
        "Not enough resources to deploy a 1 GPU instance type 1V100.6V in FIN-03",
    )
    .await;
    assert!(matches!(&created, Created::NoCapacity(why) if why.contains("FIN-03")), "{created:?}");
    assert_eq!(posts, 1);
    for (status, code, message, kind) in [
        (402, "insufficient_funds", "Insufficient funds", ExitCode::Budget),
        (400, "invalid_request", "Operating system is not valid for this instance type", ExitCode::Usage),
        (400, "invalid_request", "Storage limit exceeded", ExitCode::Error),
        (403, "forbidden_action", "no", ExitCode::Error),
        (429, "too_many", "slow down", ExitCode::Error),
    ] {
        let (created, posts) = refuse(status, code, message).await;
        let Created::Refused(error) = created else { panic!("{status}: {created:?}") };
        assert_eq!((error.kind, posts), (kind, 1), "{error}");
        assert!(error.to_string().contains(code) && error.to_string().contains(message), "{error}");
    }
}

#[tokio::test]
async fn an_order_refused_for_its_token_alone_is_sent_with_a_new_one() {
    let fake = Fake::start(|seen, before| match seen.line.as_str() {
        "POST /v1/oauth2/token" => {
            say(200, &json!({"access_token": format!("t{before}"), "expires_in": 3_600_000_000_000_u64}))
        }
        _ if seen.header("authorization") == "Bearer t0" => {
            say(401, &json!({"code": "unauthorized_request", "message": "token expired"}))
        }
        _ => say_text(202, ID),
    })
    .await;
    assert!(matches!(client(&fake).create(&action(), &order()).await, Created::Id(_)));
    assert_eq!(fake.count("POST /v1/instances"), 2);
}

#[tokio::test]
async fn an_order_without_a_login_was_never_sent() {
    let fake = Fake::start(|_, _| say_text(500, "")).await;
    let created = client(&fake).create(&action(), &order()).await;
    assert!(
        matches!(&created, Created::Refused(error) if error.to_string().contains("log in")),
        "{created:?}"
    );
    assert_eq!(fake.count("POST /v1/instances"), 0);
}

/// Deletes against one answer; says how it ended.
async fn delete_against(reply: impl Fn(usize) -> Reply + Send + Sync + 'static) -> (Result<Deleted>, Fake) {
    let fake = cloud(move |_, before| reply(before)).await;
    let deleted = client(&fake).delete(&action(), proof(), &["b7a1".into()]).await;
    (deleted, fake)
}

#[tokio::test]
async fn a_delete_names_its_volumes_and_leaves_the_trash_alone() {
    let success = json!([{"action": "delete", "instanceId": ID, "status": "success"}]);
    let (deleted, fake) = delete_against(move |_| say(202, &success)).await;
    assert_eq!(deleted.unwrap(), Deleted::Accepted);
    assert_eq!(
        fake.seen().pop().unwrap().json(),
        json!({"action": "delete", "id": [ID], "volume_ids": ["b7a1"], "delete_permanently": false})
    );
    let (deleted, fake) = delete_against(|_| Reply::Answer(Response::default())).await;
    assert_eq!((deleted.unwrap(), fake.count("PUT")), (Deleted::Accepted, 1));
    let no_content = || axum::http::StatusCode::NO_CONTENT.into_response();
    assert_eq!(delete_against(move |_| Reply::Answer(no_content())).await.0.unwrap(), Deleted::Accepted);
}

#[tokio::test]
async fn refusals_that_mean_gone_or_not_yet_are_told_apart_alone_and_in_207() {
    for (message, expected) in [
        ("Can't discontinue a discontinued instance", Some(Deleted::Gone)),
        ("Invalid instance id", Some(Deleted::Gone)),
        (
            "Can't discontinue a provisioning instance",
            Some(Deleted::NotYet("Can't discontinue a provisioning instance".into())),
        ),
        ("You are not allowed to", None),
    ] {
        let whole = json!({"code": "forbidden_action", "message": message});
        let item = json!([
            {"action": "delete", "instanceId": "another", "status": "success"},
            {"action": "delete", "instanceId": ID, "status": "error", "error": message, "statusCode": 403},
        ]);
        let (alone, _) = delete_against(move |_| say(403, &whole)).await;
        let (within, _) = delete_against(move |_| say(207, &item)).await;
        for deleted in [alone, within] {
            match &expected {
                Some(expected) => assert_eq!(&deleted.unwrap(), expected),
                None => assert!(deleted.unwrap_err().to_string().contains(message)),
            }
        }
    }
}

#[tokio::test]
async fn a_word_that_nobody_knows_says_nothing_and_a_refusal_without_words_is_still_one() {
    let pondering = json!([{"action": "delete", "instanceId": ID, "status": "pondering"}]);
    let (deleted, fake) = delete_against(move |_| say(202, &pondering)).await;
    assert_eq!((deleted.unwrap(), fake.count("PUT")), (Deleted::Accepted, 1));
    for item in [json!({"status": "error"}), json!({"status": "pondering", "statusCode": 403})] {
        let mut item = item;
        item["instanceId"] = json!(ID);
        let (deleted, _) = delete_against(move |_| say(207, &json!([item]))).await;
        let error = deleted.unwrap_err();
        assert_eq!(error.why, ["the cloud refused it without a reason"]);
        assert!(error.hint.is_some());
    }
}

#[tokio::test]
async fn a_delete_with_an_unclear_answer_is_sent_again() {
    let gone = json!({"code": "forbidden_action", "message": "Can't discontinue a discontinued instance"});
    let (deleted, fake) =
        delete_against(move |before| if before == 0 { say_text(504, "") } else { say(403, &gone) }).await;
    assert_eq!((deleted.unwrap(), fake.count("PUT")), (Deleted::Gone, 2));
    let (deleted, _) = delete_against(|_| say(202, &json!([]))).await;
    assert!(deleted.unwrap_err().to_string().contains("does not mention"));
}

#[tokio::test]
async fn a_volume_that_is_in_the_trash_already_is_deleted() {
    for (status, ends_well) in [("deleted", true), ("attached", false)] {
        let fake = cloud(move |seen, _| match seen.line.as_str() {
            "PUT /v1/volumes" => say(400, &json!({"code": "invalid_request", "message": "wrong state"})),
            _ => say(200, &json!({"id": "b7a1", "status": status, "size": 50})),
        })
        .await;
        assert_eq!(client(&fake).delete_volume(&action(), "b7a1").await.is_ok(), ends_well, "{status}");
        let sent = fake.seen().into_iter().find(|seen| seen.line.starts_with("PUT")).unwrap();
        assert_eq!(sent.json(), json!({"action": "delete", "id": "b7a1", "is_permanent": false}));
    }
}

#[tokio::test]
async fn the_trash_shows_what_can_be_restored() {
    let fake = cloud(|_, _| {
        say(
            200,
            &json!([
                {"id": "a", "size": 50, "deleted_at": "2026-10-01T09:15:00.000Z", "is_permanently_deleted": false},
                {"id": "b", "size": 50, "is_permanently_deleted": true},
            ]),
        )
    })
    .await;
    let trash = client(&fake).trash().await.unwrap();
    assert_eq!(trash.iter().map(|volume| volume.id.as_str()).collect::<Vec<_>>(), ["a"]);
}

#[tokio::test]
async fn a_key_registered_behind_an_unclear_answer_is_found_and_not_registered_twice() {
    let key = PublicKey::parse("ssh-ed25519 AAAAC3Nz me@laptop").unwrap();
    let fake = cloud(|seen, _| match seen.line.as_str() {
        "POST /v1/ssh-keys" => say_text(504, ""),
        _ => account(seen),
    })
    .await;
    assert_eq!(client(&fake).add_key(&action(), "laptop", &key).await.unwrap(), "k1");
    assert_eq!(fake.count("POST /v1/ssh-keys"), 1);
    let fake = cloud(|_, _| say(201, &json!("k9"))).await;
    assert_eq!(client(&fake).add_key(&action(), "laptop", &key).await.unwrap(), "k9");
    assert_eq!(fake.seen().pop().unwrap().json(), json!({"name": "laptop", "key": "ssh-ed25519 AAAAC3Nz"}));
}

#[tokio::test]
async fn debug_and_errors_show_no_secret() {
    let fake = cloud(|seen, _| {
        let echo = format!("{} s3cr3t", seen.header("authorization"));
        say(400, &json!({"code": "invalid_request", "message": echo}))
    })
    .await;
    let client = client(&fake);
    let created = client.create(&action(), &order()).await;
    let error = client.look(Market::OnDemand).await.unwrap_err();
    let text = format!("{client:?} {created:?} {error:?} {:?}", client.delete(&action(), proof(), &[]).await);
    assert!(!text.contains("s3cr3t") && !text.contains("t0ken"), "{text}");
}

#[tokio::test]
async fn a_look_can_be_had_on_another_thread() {
    let fake = cloud(|seen, _| account(seen)).await;
    let client = client(&fake);
    tokio::spawn(async move { client.look(Market::OnDemand).await.map(drop) }).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_refusal_that_repeats_the_startup_script_is_quoted_without_its_key() {
    let key = "b3BlbnNzaC1rZXktdjEAAAAABG5vbmU\nc2VjcmV0c2VjcmV0";
    let script = SecretString::from(format!("#!/bin/sh\n{key}\n"));
    let said = script.expose_secret().to_owned();
    let fake = cloud(move |_, _| say(422, &json!({"code": "invalid_request", "message": said}))).await;
    let error = client(&fake).add_script(&action(), "dacapo-x", &script).await.unwrap_err().to_string();
    assert!(error.contains("dacapo-x") && error.contains("422") && error.contains("****"), "{error}");
    key.lines().for_each(|line| assert!(!error.contains(line), "{error}"));
    assert_eq!(fake.count("POST /v1/scripts"), 1);
}

#[tokio::test]
async fn a_startup_script_is_sent_again_after_an_unclear_answer() {
    let fake = cloud(|_, before| if before == 0 { say_text(502, "<html>") } else { say_text(201, ID) }).await;
    let id = client(&fake).add_script(&action(), "x-1", &SecretString::from("true")).await.unwrap();
    assert_eq!((id.as_str(), fake.count("POST /v1/scripts")), (ID, 2));
}

#[tokio::test]
async fn startup_scripts_are_read_to_the_last_page() {
    let fake = cloud(|seen, _| {
        let last = seen.line.contains("page=2");
        let page = vec![json!({"id": "s-1", "name": "x", "script": "true"}); if last { 1 } else { 100 }];
        say(200, &json!(page))
    })
    .await;
    assert_eq!(client(&fake).scripts("x").await.unwrap().len(), 101);
}
