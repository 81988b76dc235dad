//! Each kind of fault, seen from a client; and plans that are refused.

use std::time::{Duration, Instant};

use reqwest::{Client, Response};
use serde_json::{Value, json};

use super::super::support::TestWorld;
use super::*;

/// A world with these rules in force.
async fn struck_by(rules: Value) -> TestWorld {
    let world = TestWorld::start().await;
    world.admin.faults(&json!({"rules": rules})).await.unwrap();
    world
}

/// Asks for something that anybody may read, over a connection of its own.
async fn ask(world: &TestWorld) -> reqwest::Result<Response> {
    let client = Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build()?;
    client.get(format!("{}/instance-types", world.ready.cloud)).send().await
}

/// Registers a key; its effect shows in `keys`.
async fn register(world: &TestWorld) -> reqwest::Result<Response> {
    let body = json!({"grant_type": "client_credentials", "client_id": world.ready.client_id,
                      "client_secret": world.ready.client_secret});
    let client = Client::builder().no_proxy().build()?;
    let token = client.post(format!("{}/oauth2/token", world.ready.cloud)).json(&body).send().await?;
    let token = token.json::<Value>().await?["access_token"].as_str().unwrap().to_owned();
    let key = json!({"name": "laptop", "key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g me@host"});
    let url = format!("{}/ssh-keys", world.ready.cloud);
    client.post(url).bearer_auth(token).json(&key).send().await
}

async fn keys(world: &TestWorld) -> usize {
    world.cloud("GET", "/ssh-keys", Value::Null).await.json().as_array().unwrap().len()
}

/// What the journal has of one path: status and fault.
async fn noted(world: &TestWorld, path: &str) -> Vec<(u16, Option<String>)> {
    let requests = world.admin.requests().await.unwrap();
    let about = requests.into_iter().filter(|request| request.path.ends_with(path));
    about.map(|request| (request.status, request.struck)).collect()
}

async fn struck(world: &TestWorld) -> u64 {
    world.admin.strikes().await.unwrap()["rules"][0]["struck"].as_u64().unwrap()
}

/// Polls until something holds.
async fn until_true<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds().await {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(TICK).await;
    }
}

#[tokio::test]
async fn a_rule_lets_calls_by_strikes_as_often_as_it_says_and_is_noted() {
    let rule = json!({"service": "cloud", "method": "GET", "path": "/v1/*", "skip": 1, "times": 2,
                      "fault": "capacity"});
    let world = struck_by(json!([rule])).await;
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(ask(&world).await.unwrap().status().as_u16());
    }
    assert_eq!(seen, [200, 503, 503, 200]);
    let fault = || Some("capacity".to_owned());
    assert_eq!(
        noted(&world, "/instance-types").await,
        [(200, None), (503, fault()), (503, fault()), (200, None)]
    );
    let told = world.admin.strikes().await.unwrap();
    assert_eq!((&told["rules"][0]["matched"], &told["rules"][0]["struck"]), (&json!(4), &json!(2)));
    world.admin.clear_faults().await.unwrap();
    assert_eq!(world.admin.strikes().await.unwrap(), json!({"rules": [], "under_way": 0}));
}

#[tokio::test]
async fn refusals_come_before_the_effect_unless_they_are_asked_for_after_it() {
    let world =
        struck_by(json!([{"path": "/v1/ssh-keys", "method": "POST", "fault": "internal_error"}])).await;
    assert_eq!(register(&world).await.unwrap().status(), 500);
    assert_eq!(keys(&world).await, 0);
    let rules =
        json!({"rules": [{"path": "/v1/ssh-keys", "method": "POST", "fault": "internal_error_after"}]});
    world.admin.faults(&rules).await.unwrap();
    assert_eq!(register(&world).await.unwrap().status(), 500);
    assert_eq!(keys(&world).await, 1);
}

#[tokio::test]
async fn a_connection_is_cut_before_or_after_the_effect() {
    let world = struck_by(json!([{"path": "/v1/ssh-keys", "method": "POST", "fault": "cut"}])).await;
    register(&world).await.unwrap_err();
    assert_eq!(keys(&world).await, 0);
    let rules = json!({"rules": [{"path": "/v1/ssh-keys", "method": "POST", "fault": "cut_after"}]});
    world.admin.faults(&rules).await.unwrap();
    register(&world).await.unwrap_err();
    assert_eq!(keys(&world).await, 1);
    assert_eq!(noted(&world, "/ssh-keys").await[0], (0, Some("cut".to_owned())));
}

#[tokio::test]
async fn a_late_call_has_its_effect_on_the_sandboxs_clock_after_its_client_has_gone() {
    let world = struck_by(json!([{"path": "/v1/ssh-keys", "method": "POST", "fault": "late"}])).await;
    register(&world).await.unwrap_err();
    world.admin.jump(99.0).await.unwrap();
    assert_eq!(keys(&world).await, 0);
    assert_eq!(world.admin.strikes().await.unwrap()["under_way"], 1);
    world.admin.jump(2.0).await.unwrap();
    until_true("the late call landed", || async { keys(&world).await == 1 }).await;
}

#[tokio::test]
async fn silence_lasts_until_the_client_leaves() {
    let world = struck_by(json!([{"path": "/v1/instance-types", "fault": "silence"}])).await;
    tokio::time::timeout(Duration::from_millis(300), ask(&world)).await.unwrap_err();
    assert_eq!(noted(&world, "/instance-types").await, [(0, Some("silence".to_owned()))]);
}

#[tokio::test]
async fn a_delayed_call_has_its_effect_when_its_time_has_come() {
    let rule = json!({"path": "/v1/ssh-keys", "method": "POST", "fault": {"delay": {"seconds": 90}}});
    let world = struck_by(json!([rule])).await;
    let watching = async {
        until_true("it arrived", || async { struck(&world).await == 1 }).await;
        world.admin.jump(89.0).await.unwrap();
        assert_eq!(keys(&world).await, 0);
        world.admin.jump(2.0).await.unwrap();
    };
    let (answer, ()) = tokio::join!(register(&world), watching);
    assert_eq!((answer.unwrap().status().as_u16(), keys(&world).await), (201, 1));
}

#[tokio::test]
async fn a_slow_body_comes_by_the_sandboxs_clock() {
    let slow = json!({"change": {"replace": "x".repeat(300), "rate": 100.0}});
    let world = struck_by(json!([{"path": "/v1/instance-types", "fault": slow}])).await;
    let mut answer = ask(&world).await.unwrap();
    world.admin.jump(1.0).await.unwrap();
    let mut come = 0;
    while come < 100 {
        come += answer.chunk().await.unwrap().unwrap().len();
    }
    assert_eq!(come, 100);
    tokio::time::timeout(Duration::from_millis(50), answer.chunk()).await.unwrap_err();
    world.admin.jump(2.0).await.unwrap();
    while let Some(more) = answer.chunk().await.unwrap() {
        come += more.len();
    }
    assert_eq!(come, 300);
}

#[tokio::test]
async fn bodies_break_off_though_their_length_promised_more() {
    let world = struck_by(json!([{"path": "/v1/instance-types", "fault": "half_body"}])).await;
    let answer = ask(&world).await.unwrap();
    assert!(answer.content_length().unwrap() > 20);
    answer.bytes().await.unwrap_err();
}

#[tokio::test]
async fn json_is_edited_where_there_is_something_to_edit() {
    let path = "/v1/instance-types";
    let world = struck_by(json!([
        {"path": path, "fault": {"change": {"set": {"/nobody": 1}}}},
        {"path": path, "fault": {"change": {"merge": {"new": 1}, "set": {"/0/instance_type": "odd"},
                                            "duplicate": "/0", "remove": "/2/gpu"}}},
        {"path": path, "fault": {"change": {"empty": ""}}},
        {"path": path, "fault": {"change": {"pad": 1000, "headers": {"content-type": null, "x-new": "1"}}}},
    ]))
    .await;
    let plain = ask(&world).await.unwrap().json::<Value>().await.unwrap();
    assert_eq!(struck(&world).await, 0, "it changed nothing, so it hasn't struck");
    world.admin.clear_faults().await.unwrap();
    let rules = json!({"rules": [
        {"path": path, "fault": {"change": {"merge": {"new": 1}, "set": {"/0/instance_type": "odd"},
                                            "duplicate": "/0", "remove": "/2/gpu"}}},
        {"path": path, "fault": {"change": {"empty": ""}}},
        {"path": path, "fault": {"change": {"pad": 1000, "headers": {"content-type": null, "x-new": "1"}}}},
    ]});
    world.admin.faults(&rules).await.unwrap();
    let edited = ask(&world).await.unwrap().json::<Value>().await.unwrap();
    assert_eq!(edited.as_array().unwrap().len(), plain.as_array().unwrap().len() + 1);
    assert_eq!(
        (&edited[0], &edited[0]["instance_type"], &edited[0]["new"]),
        (&edited[1], &json!("odd"), &json!(1))
    );
    assert_eq!((edited[2].get("gpu"), &edited[2]["instance_type"]), (None, &plain[1]["instance_type"]));
    assert_eq!(ask(&world).await.unwrap().json::<Value>().await.unwrap(), json!([]));
    let padded = ask(&world).await.unwrap();
    assert_eq!(
        (padded.headers().get("content-type"), &padded.headers()["x-new"]),
        (None, &"1".parse().unwrap())
    );
    let text = padded.text().await.unwrap();
    assert!(text.ends_with(&" ".repeat(1000)));
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), plain);
}

#[tokio::test]
async fn a_stale_list_shows_what_was_there_first_for_as_many_reads_as_it_says() {
    let world =
        struck_by(json!([{"method": "GET", "path": "/v1/ssh-keys", "times": 2, "fault": "stale"}])).await;
    assert_eq!(keys(&world).await, 0);
    assert_eq!(struck(&world).await, 0, "it was the truth");
    register(&world).await.unwrap();
    assert_eq!([keys(&world).await, keys(&world).await, keys(&world).await], [0, 0, 1]);
}

#[tokio::test]
async fn a_closed_service_refuses_connections_and_opens_again_by_the_sandboxs_clock() {
    let world = struck_by(json!([{"service": "cloud", "fault": {"closed": {"seconds": 30}}}])).await;
    until_true("it is closed", || async { ask(&world).await.is_err_and(|error| error.is_connect()) }).await;
    world.admin.jump(31.0).await.unwrap();
    until_true("it is open again", || async { ask(&world).await.is_ok() }).await;
}

#[tokio::test]
async fn waits_are_asked_for_as_a_date_of_the_sandboxs_own() {
    let world = struck_by(json!([{"path": "/v1/instance-types", "fault": "rate_limited_date"}])).await;
    let answer = ask(&world).await.unwrap();
    let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(
        (header("date"), header("retry-after")),
        ("Mon, 23 Nov 2026 10:00:00 GMT".to_owned(), "Mon, 23 Nov 2026 10:00:07 GMT".to_owned())
    );
}

#[test]
fn plans_that_are_wrong_are_refused_in_words() {
    for (plan, said) in [
        (r#"{"rules": [{"fault": "flood"}]}"#, "no fault is named `flood`; the names are invalid_request"),
        (r#"{"rules": [{"fualt": "cut"}]}"#, "unknown field `fualt`"),
        (r#"{"rules": [{"fault": {"cut": {"before": true}}}]}"#, "unknown field `before`"),
        (r#"{"rules": [{"fault": {"burn": {}}}]}"#, "unknown variant `burn`"),
        (r#"{"rules": [{}]}"#, "missing field `fault` at line 1"),
        (
            r#"{"rules": [{"times": "twice", "fault": "cut"}]}"#,
            "`times` is a number or \"always\", not \"twice\"",
        ),
        (
            r#"{"rules": [{"fault": "cut"}, {"service": "clod", "fault": "cut"}]}"#,
            "rule 2 (cut): `clod` is no service",
        ),
        (r#"{"rules": [{"path": "v1/x", "fault": "cut"}]}"#, "a path starts with `/`"),
        (r#"{"rules": [{"path": "/**/x", "fault": "cut"}]}"#, "`**` stands at the end"),
        (r#"{"rules": [{"method": "get", "fault": "cut"}]}"#, "in capitals"),
        (r#"{"rules": [{"fault": {"answer": {"status": 99}}}]}"#, "99 is no status"),
        (r#"{"rules": [{"fault": {"delay": {"seconds": -1}}}]}"#, "not negative"),
        (r#"{"rules": [{"fault": {"change": {"headers": {"date": null}}}}]}"#, "always sends a `date`"),
        (r#"{"rules": [{"fault": {"change": {}}}]}"#, "it changes nothing"),
        (r#"{"rules": [{"path": "/v1/x", "fault": {"closed": {}}}]}"#, "closed to every call"),
        ("rules = []", "line 1 column 1"),
    ] {
        let why = Plan::parse(plan).unwrap_err();
        assert!(why.contains(said), "{plan}: {why}");
    }
}

#[test]
fn a_plan_that_is_shown_can_be_given_again_and_every_name_is_of_a_fault_that_stands() {
    for name in catalogue::names() {
        let plan = Plan::parse(&json!({"rules": [{"fault": name}]}).to_string()).unwrap();
        assert_eq!(plan.rules[0].title(), name, "two names for one fault");
        assert_eq!(Plan::parse(&json!(plan).to_string()).unwrap(), plan);
    }
}

#[test]
fn every_fault_that_can_be_named_is_in_the_readme() {
    let readme = include_str!("../../../README.md");
    let missing: Vec<_> = catalogue::names().filter(|name| !readme.contains(&format!("`{name}`"))).collect();
    assert_eq!(missing, [""; 0]);
}
