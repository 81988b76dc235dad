//! The cloud's odd rules, asked over real HTTP.

mod clusters;
mod misleading;
mod volumes;

use serde_json::{Value, json};

use crate::sandbox::support::{Got, TestWorld};

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g me@host";

async fn add_key(world: &TestWorld) -> String {
    let got = world.cloud("POST", "/ssh-keys", json!({"name": "laptop", "key": KEY})).await;
    assert_eq!(got.status, 201);
    got.text
}

fn order(key: &str) -> Value {
    json!({"instance_type": "1RTX6000ADA.10V", "image": "ubuntu-24.04-cuda-13.0-open-docker", "hostname": "lesson3",
           "description": "d", "ssh_key_ids": [key], "location_code": "FIN-03", "startup_script_id": null,
           "os_volume": {"name": "lesson3-os", "size": 100, "tags": [{"key": "Session", "value": "l3"}]},
           "volumes": [{"name": "data", "size": 20, "type": "NVMe"}], "existing_volumes": [], "is_spot": false,
           "coupon": null, "tags": [{"key": "session", "value": "l3"}]})
}

/// Makes a machine; it is `ordered`.
async fn create(world: &TestWorld) -> String {
    let key = add_key(world).await;
    let got = world.cloud("POST", "/instances", order(&key)).await;
    assert_eq!((got.status, got.header("content-type")), (202, "text/plain; charset=utf-8"), "{}", got.text);
    assert_eq!(got.text.len(), 36, "a bare id without quotes");
    got.text
}

/// Makes a machine and lets it come up.
async fn running(world: &mut TestWorld) -> Value {
    let id = create(world).await;
    world.admin.jump(70.0).await.unwrap();
    let instance = show(world, &id).await;
    assert_eq!(instance["status"], "running");
    instance
}

async fn show(world: &TestWorld, id: &str) -> Value {
    world.cloud("GET", &format!("/instances/{id}"), Value::Null).await.json()
}

async fn act(world: &TestWorld, action: &str, id: Value, more: Value) -> Got {
    let mut body = json!({"action": action, "id": id});
    more.as_object().into_iter().flatten().for_each(|(name, value)| body[name] = value.clone());
    world.cloud("PUT", "/instances", body).await
}

/// Returns the names of what bills.
async fn billing(world: &TestWorld) -> Vec<String> {
    let bill = world.admin.bill().await.unwrap();
    let names = bill["billing"].as_array().unwrap().iter();
    let mut names: Vec<String> = names.map(|one| one["name"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_comes_up_on_the_clock_and_only_then_has_an_address() {
    let world = TestWorld::start().await;
    let id = create(&world).await;
    let ordered = show(&world, &id).await;
    assert_eq!((&ordered["status"], &ordered["ip"]), (&json!("ordered"), &Value::Null));
    assert_eq!(ordered["os_volume_id"], Value::Null);
    assert_eq!(ordered["price_per_hour"], json!(1.172));
    assert_eq!(ordered["created_at"], "2026-11-23T10:00:00.000Z");
    world.admin.jump(6.0).await.unwrap();
    assert_eq!(show(&world, &id).await["status"], "provisioning");
    world.admin.jump(60.0).await.unwrap();
    let running = show(&world, &id).await;
    assert_eq!((&running["status"], &running["ip"]), (&json!("running"), &json!("127.77.0.2")));
    assert_eq!(running["volume_ids"].as_array().unwrap().len(), 2);
    assert_eq!(billing(&world).await, ["data", "lesson3", "lesson3-os"]);
    let listed = world.cloud("GET", "/instances?tag=session%3Dl3", Value::Null).await;
    assert_eq!(listed.header("date"), "Mon, 23 Nov 2026 10:01:06 GMT");
    assert_eq!(listed.json().as_array().unwrap().len(), 1);
    assert_eq!(world.cloud("GET", "/instances?tag=session%3Dother", Value::Null).await.json(), json!([]));
    assert_eq!(
        world.cloud("GET", "/instances?status=sleeping", Value::Null).await.json()["code"],
        "invalid_request"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn provisioning_cannot_be_deleted_and_gone_cannot_be_deleted_again() {
    let world = TestWorld::start().await;
    let id = create(&world).await;
    world.admin.jump(10.0).await.unwrap();
    let refused = act(&world, "delete", json!(id), json!({})).await;
    let text = json!({"code": "forbidden_action", "message": "Can't discontinue a provisioning instance"});
    assert_eq!((refused.status, refused.json()), (403, text));
    world.admin.jump(60.0).await.unwrap();
    assert_eq!(act(&world, "delete", json!([id]), json!({"volume_ids": []})).await.status, 202);
    assert_eq!(act(&world, "delete", json!([id]), json!({"volume_ids": []})).await.status, 204);
    world.admin.jump(25.0).await.unwrap();
    let refused = act(&world, "delete", json!(id), json!({})).await;
    assert_eq!(refused.json()["message"], "Can't discontinue a discontinued instance");
    assert_eq!(world.cloud("GET", "/instances", Value::Null).await.json(), json!([]));
    assert_eq!(show(&world, &id).await["status"], "discontinued");
    let unknown = act(&world, "delete", json!("no-such-id"), json!({})).await;
    assert_eq!((unknown.status, unknown.json()["message"].clone()), (400, json!("Invalid instance id")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_delete_names_goes_and_the_rest_bills_on() {
    for (listed, left) in [
        (json!({}), vec!["data"]),
        (json!({"volume_ids": null, "delete_permanently": true}), vec!["data"]),
        (json!({"volume_ids": []}), vec!["data", "lesson3-os"]),
        (json!({"volume_ids": "os"}), vec!["data"]),
    ] {
        let mut world = TestWorld::start().await;
        let instance = running(&mut world).await;
        let body = if listed["volume_ids"] == "os" {
            json!({"volume_ids": [instance["os_volume_id"]]})
        } else {
            listed
        };
        let got = act(&world, "delete", json!([instance["id"]]), body.clone()).await;
        assert_eq!(
            got.json(),
            json!([{"action": "delete", "instanceId": instance["id"], "status": "success"}])
        );
        world.admin.jump(21.0).await.unwrap();
        // The disk goes some time after the machine, and bills until then.
        assert!(billing(&world).await.contains(&"lesson3-os".to_owned()), "{body}");
        world.admin.jump(30.0).await.unwrap();
        assert_eq!(billing(&world).await, left, "{body}");
        let trash = world.cloud("GET", "/volumes/trash", Value::Null).await.json();
        let trashed = usize::from(left == ["data"]);
        assert_eq!(
            trash.as_array().unwrap().len(),
            trashed,
            "null deletes into the trash, whatever the flag: {body}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listed_volume_deleted_permanently_skips_the_trash() {
    let mut world = TestWorld::start().await;
    let instance = running(&mut world).await;
    let os = instance["os_volume_id"].clone();
    let body = json!({"volume_ids": [os], "delete_permanently": true});
    assert_eq!(act(&world, "delete", instance["id"].clone(), body).await.status, 202);
    world.admin.jump(60.0).await.unwrap();
    assert_eq!(world.cloud("GET", "/volumes/trash", Value::Null).await.json(), json!([]));
    let volume = world.cloud("GET", &format!("/volumes/{}", os.as_str().unwrap()), Value::Null).await.json();
    assert_eq!(volume["status"], "deleted");
}

#[tokio::test(flavor = "multi_thread")]
async fn some_failing_is_207_with_an_answer_for_each() {
    let mut world = TestWorld::start().await;
    let instance = running(&mut world).await;
    let got = act(&world, "delete", json!([instance["id"], "nobody"]), json!({"volume_ids": []})).await;
    assert_eq!(got.status, 207);
    assert_eq!(got.json()[0]["status"], "success");
    let failed = json!({"action": "delete", "instanceId": "nobody", "status": "error",
                        "error": "Invalid instance id", "statusCode": 400});
    assert_eq!(got.json()[1], failed);
}

#[tokio::test(flavor = "multi_thread")]
async fn offline_bills_and_the_unused_minutes_come_back_at_the_end() {
    let mut world = TestWorld::start().await;
    let instance = running(&mut world).await;
    assert_eq!(act(&world, "shutdown", instance["id"].clone(), json!({})).await.status, 202);
    world.admin.jump(31.0).await.unwrap();
    assert_eq!(show(&world, instance["id"].as_str().unwrap()).await["status"], "offline");
    assert_eq!(act(&world, "shutdown", instance["id"].clone(), json!({})).await.status, 204);
    // A start that is taken back at once never happens.
    assert_eq!(act(&world, "start", instance["id"].clone(), json!({})).await.status, 202);
    assert_eq!(act(&world, "shutdown", instance["id"].clone(), json!({})).await.status, 202);
    world.admin.jump(3600.0 - 101.0).await.unwrap();
    assert!(billing(&world).await.contains(&"lesson3".to_owned()));
    let bill = world.admin.bill().await.unwrap();
    let hour = 1.172 + 0.0274 + 0.0055;
    assert!((bill["spent"].as_f64().unwrap() - hour).abs() < 1e-4, "{bill}");
    world.log_in().await;
    assert_eq!(show(&world, instance["id"].as_str().unwrap()).await["status"], "offline");
    let volumes = json!({"volume_ids": instance["volume_ids"]});
    act(&world, "delete", instance["id"].clone(), volumes).await;
    world.admin.jump(3600.0).await.unwrap();
    let bill = world.admin.bill().await.unwrap();
    assert_eq!(bill["billing"], json!([]));
    assert!(
        (bill["balance"].as_f64().unwrap() + bill["spent"].as_f64().unwrap() - 50.0).abs() < 1e-6,
        "{bill}"
    );
    assert!(bill["spent"].as_f64().unwrap() < hour * 1.02, "{bill}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_disk_boots_again_and_trash_is_free_until_restored() {
    let mut world = TestWorld::start().await;
    let instance = running(&mut world).await;
    let os = instance["os_volume_id"].as_str().unwrap().to_owned();
    act(&world, "delete", instance["id"].clone(), json!({"volume_ids": []})).await;
    world.admin.jump(25.0).await.unwrap();
    let mut again = order(instance["ssh_key_ids"][0].as_str().unwrap());
    (again["image"], again["os_volume"], again["volumes"]) = (json!(os), Value::Null, Value::Null);
    again["location_code"] = json!("FIN-01");
    let refused = world.cloud("POST", "/instances", again.clone()).await;
    assert_eq!(refused.json()["message"], "Volume and instance must be in the same location");
    again["location_code"] = json!("FIN-03");
    let second = world.cloud("POST", "/instances", again).await;
    assert_eq!(second.status, 202, "{}", second.text);
    world.admin.jump(70.0).await.unwrap();
    let second = show(&world, &second.text).await;
    assert_eq!((&second["os_volume_id"], &second["ip"]), (&json!(os), &json!("127.77.0.2")));

    let attached = world.cloud("DELETE", &format!("/volumes/{os}"), Value::Null).await;
    assert_eq!(attached.status, 403);
    act(&world, "delete", second["id"].clone(), json!({"volume_ids": [os]})).await;
    world.admin.jump(60.0).await.unwrap();
    assert_eq!(billing(&world).await, ["data"]);
    world.admin.jump(95.0 * 3600.0).await.unwrap();
    world.log_in().await;
    let restored = world.cloud("PUT", "/volumes", json!({"action": "restore", "id": os})).await;
    assert_eq!(restored.status, 202, "{}", restored.text);
    assert_eq!(billing(&world).await, ["data", "lesson3-os"]);
    let path = format!("/volumes/{os}?is_permanent=false");
    assert_eq!(world.cloud("DELETE", &path, Value::Null).await.status, 202);
    world.admin.jump(97.0 * 3600.0).await.unwrap();
    world.log_in().await;
    assert_eq!(world.cloud("GET", "/volumes/trash", Value::Null).await.json(), json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_that_cannot_be_met_are_refused_in_the_real_words() {
    let world = TestWorld::start().await;
    let key = add_key(&world).await;
    let refusal = async |change: Value| {
        let mut body = order(&key);
        change.as_object().unwrap().iter().for_each(|(name, value)| body[name] = value.clone());
        let got = world.cloud("POST", "/instances", body).await;
        (got.status, got.json()["message"].as_str().unwrap().to_owned())
    };
    let unsupported = refusal(json!({"instance_type": "1V100.6V"})).await;
    assert_eq!(unsupported, (400, "Operating system is not valid for this instance type".to_owned()));
    let sold_out = refusal(json!({"instance_type": "8B300.240V"})).await;
    let text = "Not enough resources to deploy a 8 GPU instance type 8B300.240V in FIN-03";
    assert_eq!(sold_out, (503, text.to_owned()));
    for hostname in ["-a", "a-", "123", "a_b", ""] {
        assert_eq!(refusal(json!({"hostname": hostname})).await.0, 400, "{hostname}");
    }
    assert_eq!(refusal(json!({"os_volume": {"name": "x", "size": 49}})).await.0, 400);
    assert_eq!(refusal(json!({"ssh_key_ids": []})).await.0, 400);
    let tags: Vec<Value> = (0..11).map(|number| json!({"key": format!("k{number}")})).collect();
    assert_eq!(refusal(json!({"tags": tags})).await.0, 400);
    world.admin.set(&json!({"cloud": {"balance": 0.1}})).await.unwrap();
    assert_eq!(refusal(json!({})).await.0, 402);
    assert_eq!(billing(&world).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_balance_ends_everything() {
    let mut world = TestWorld::start().await;
    let instance = running(&mut world).await;
    world.admin.set(&json!({"cloud": {"balance": 0.5}})).await.unwrap();
    world.admin.jump(3600.0).await.unwrap();
    world.log_in().await;
    assert_eq!(show(&world, instance["id"].as_str().unwrap()).await["status"], "discontinued");
    assert_eq!(billing(&world).await, [""; 0]);
    let trash = world.cloud("GET", "/volumes/trash", Value::Null).await.json();
    assert_eq!(trash.as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_evicted_spot_machine_leaves_without_a_word_and_its_disk_stays() {
    let world = TestWorld::start().await;
    let mut body = order(&add_key(&world).await);
    (body["is_spot"], body["contract"]) = (json!(true), json!("SPOT"));
    let id = world.cloud("POST", "/instances", body).await.text;
    world.admin.jump(70.0).await.unwrap();
    assert_eq!(show(&world, &id).await["price_per_hour"], json!(0.4102));
    let status = json!({id.clone(): "discontinued"});
    world.admin.set(&json!({"cloud": {"status": status}})).await.unwrap();
    assert_eq!(show(&world, &id).await["status"], "discontinued");
    assert_eq!(billing(&world).await, ["data", "lesson3-os"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_answer_under_both_names_and_one_comes_as_a_list() {
    let world = TestWorld::start().await;
    let id = add_key(&world).await;
    for path in ["/ssh-keys", "/sshkeys"] {
        assert_eq!(world.cloud("GET", path, Value::Null).await.json()[0]["id"], json!(id));
        let one = world.cloud("GET", &format!("{path}/{id}"), Value::Null).await.json();
        assert_eq!((one.as_array().unwrap().len(), &one[0]["key"]), (1, &json!(KEY)));
    }
    let private = json!({"name": "x", "key": "-----BEGIN OPENSSH PRIVATE KEY-----"});
    assert_eq!(world.cloud("POST", "/sshkeys", private).await.status, 400);
    let shown = world.cloud("GET", "/ssh-keys", Value::Null).await.json();
    assert_eq!(shown[0]["fingerprint"], "05:6d:11:6f:aa:82:7f:17:e4:a2:92:09:ca:cf:9d:42");
    let twice = add_key(&world).await;
    assert_ne!(id, twice, "the same key twice is two keys");
    assert_eq!(world.cloud("DELETE", "/sshkeys", json!({"keys": [id]})).await.status, 200);
    assert_eq!(world.cloud("DELETE", &format!("/ssh-keys/{twice}"), Value::Null).await.status, 200);
    assert_eq!(world.cloud("GET", "/ssh-keys", Value::Null).await.json(), json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn availability_understands_all_spellings() {
    let world = TestWorld::start().await;
    let ask = async |path: &str| world.cloud("GET", path, Value::Null).await.json();
    assert_eq!(ask("/instance-availability").await.as_array().unwrap().len(), 4);
    for spelling in ["location_code", "locationCode"] {
        let listed = ask(&format!("/instance-availability?is_spot=false&{spelling}=FIN-01")).await;
        assert_eq!(listed.as_array().unwrap().len(), 1);
        assert!(listed[0]["availabilities"].as_array().unwrap().contains(&json!("1RTX6000ADA.10V")));
    }
    for spelling in ["is_spot", "isSpot"] {
        assert_eq!(ask(&format!("/instance-availability/1L40S.20V?{spelling}=true")).await, json!(false));
    }
    assert_eq!(ask("/instance-availability/1L40S.20V").await, json!(true));
    assert_eq!(ask("/instance-availability/CPU.4V").await, json!(false), "an unknown type is no error");
}

#[tokio::test(flavor = "multi_thread")]
async fn types_price_in_text_and_answer_without_a_token() {
    let world = TestWorld::start().await;
    let got = world.plain("GET", &format!("{}/instance-types", world.ready.cloud), &[], &[]).await;
    let types = got.json();
    let ada =
        types.as_array().unwrap().iter().find(|kind| kind["instance_type"] == "1RTX6000ADA.10V").unwrap();
    assert_eq!(ada["price_per_hour"], json!("1.172"));
    let images = world.cloud("GET", "/images?instance_type=1V100.6V", Value::Null).await.json();
    let slugs: Vec<&str> =
        images.as_array().unwrap().iter().map(|one| one["image_type"].as_str().unwrap()).collect();
    assert_eq!(slugs, ["24.04.base", "26.04.base", "jupyter"]);
    assert_eq!(world.cloud("GET", "/images?instance_type=nope", Value::Null).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_end_on_the_clock_and_wrong_secrets_get_the_exact_body() {
    let mut world = TestWorld::start().await;
    assert_eq!(
        world.cloud("GET", "/balance", Value::Null).await.json(),
        json!({"amount": 50.0, "currency": "usd"})
    );
    world.admin.jump(3601.0).await.unwrap();
    let late = world.cloud("GET", "/balance", Value::Null).await;
    assert_eq!((late.status, &late.json()["code"]), (401, &json!("unauthorized_request")));
    world.log_in().await;
    assert_eq!(world.cloud("GET", "/balance", Value::Null).await.status, 200);
    let body =
        json!({"grant_type": "client_credentials", "client_id": world.ready.client_id, "client_secret": "x"});
    let wrong = world.cloud("POST", "/oauth2/token", body).await;
    let exact = json!({"code": "unauthorized_request", "message": "Invalid client id or client secret"});
    assert_eq!((wrong.status, wrong.json()), (401, exact));
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_are_lower_case_unique_and_removable() {
    let mut world = TestWorld::start().await;
    let id = running(&mut world).await["id"].as_str().unwrap().to_owned();
    let path = format!("/instances/{id}/tags");
    let made = world.cloud("POST", &path, json!({"key": "Nonce", "value": "n1"})).await;
    assert_eq!((made.status, &made.json()["key"]), (201, &json!("nonce")));
    assert_eq!(world.cloud("POST", &path, json!({"key": "nonce"})).await.status, 409);
    assert_eq!(world.cloud("DELETE", &format!("{path}/nonce"), Value::Null).await.status, 204);
    assert_eq!(world.cloud("DELETE", &format!("{path}/nonce"), Value::Null).await.status, 404);
    let volumes = world.cloud("GET", "/volumes", Value::Null).await.json();
    let os = volumes.as_array().unwrap().iter().find(|one| one["is_os_volume"] == true).unwrap();
    assert_eq!((&os["tags"][0]["key"], &os["tags"][0]["value"]), (&json!("session"), &json!("l3")));
    assert_eq!(os["base_hourly_cost"], json!(0.0274));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_instances_answers_120_times_a_minute() {
    let world = TestWorld::start().await;
    for _ in 0..120 {
        assert_eq!(world.cloud("GET", "/instances", Value::Null).await.status, 200);
    }
    assert_eq!(world.cloud("GET", "/instances", Value::Null).await.status, 429);
    world.admin.jump(61.0).await.unwrap();
    assert_eq!(world.cloud("GET", "/instances", Value::Null).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_world_outlives_its_process_and_notes_no_secret() {
    let mut world = TestWorld::start().await;
    let instance = running(&mut world).await;
    let secret = world.ready.client_secret.clone();
    let noted = serde_json::to_string(&world.admin.requests().await.unwrap()).unwrap();
    assert!(noted.contains("oauth2/token") && !noted.contains(&secret));
    let dir = world.end().await;
    assert!(!dir.path().join("ready.json").exists());
    let world = TestWorld::start_in(dir).await;
    assert_eq!(world.ready.client_secret, secret);
    assert_eq!(show(&world, instance["id"].as_str().unwrap()).await, instance);
    assert_eq!(world.admin.jump(0.0).await.unwrap(), "2026-11-23T10:01:10Z".parse().unwrap());
    world.admin.reset().await.unwrap();
    assert_eq!(world.cloud("GET", "/instances", Value::Null).await.json(), json!([]));
    assert_eq!(billing(&world).await, [""; 0]);
}
