//! A cloud that misleads on request: stock that lies, lists that lag, machines that end while they boot.

use serde_json::{Value, json};

use super::{add_key, billing, create, order, running, show};
use crate::sandbox::support::TestWorld;

async fn set(world: &TestWorld, changes: Value) {
    world.admin.set(&json!({"cloud": changes})).await.unwrap();
}

async fn statuses(world: &TestWorld, path: &str) -> Vec<String> {
    let listed = world.cloud("GET", path, Value::Null).await.json();
    let words = listed.as_array().unwrap().iter().map(|one| one["status"].as_str().unwrap().to_owned());
    words.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_availability_claims_changes_nothing_about_what_is_there() {
    let world = TestWorld::start().await;
    let key = add_key(&world).await;
    let ask = async || {
        let path = "/instance-availability/1RTX6000ADA.10V?location_code=FIN-03";
        world.cloud("GET", path, Value::Null).await.json()
    };
    set(&world, json!({"stock": {"FIN-03": {"1RTX6000ADA.10V": 0}}})).await;
    assert_eq!(ask().await, json!(false));
    set(&world, json!({"claims": {"FIN-03": {"1RTX6000ADA.10V": true}}})).await;
    assert_eq!(ask().await, json!(true));
    let refused = world.cloud("POST", "/instances", order(&key)).await;
    assert_eq!((refused.status, &refused.json()["code"]), (503, &json!("service_unavailable")));
    assert_eq!(billing(&world).await, [""; 0]);
    let changes = json!({"stock": {"FIN-03": {"1RTX6000ADA.10V": 1}}, "claims": {"FIN-03": {"1RTX6000ADA.10V": false}}});
    set(&world, changes).await;
    assert_eq!(ask().await, json!(false));
    assert_eq!(world.cloud("POST", "/instances", order(&key)).await.status, 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_that_lag_miss_what_is_new_while_its_id_answers() {
    let world = TestWorld::start().await;
    set(&world, json!({"list_lag": 30})).await;
    let id = create(&world).await;
    assert_eq!(statuses(&world, "/instances").await, [""; 0]);
    assert_eq!(statuses(&world, "/volumes").await, [""; 0]);
    assert_eq!(show(&world, &id).await["status"], "ordered");
    world.admin.jump(29.0).await.unwrap();
    assert_eq!(statuses(&world, "/instances").await, [""; 0]);
    world.admin.jump(1.0).await.unwrap();
    assert_eq!(statuses(&world, "/instances").await, ["ordered"]);
    assert_eq!(statuses(&world, "/volumes").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_that_lag_show_each_change_in_its_time_however_far_the_clock_jumps() {
    let world = TestWorld::start().await;
    set(&world, json!({"list_lag": 30})).await;
    let id = create(&world).await;
    // Ordered at 0, provisioning at 5, running at 65: the list at 90 is that of 60.
    world.admin.jump(90.0).await.unwrap();
    assert_eq!(show(&world, &id).await["status"], "running");
    assert_eq!(statuses(&world, "/instances?status=provisioning").await, ["provisioning"]);
    assert_eq!(statuses(&world, "/instances?status=running").await, [""; 0]);
    world.admin.jump(5.0).await.unwrap();
    assert_eq!(statuses(&world, "/instances?tag=session%3Dl3").await, ["running"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_that_lag_show_what_is_gone_and_outlive_their_process() {
    let mut world = TestWorld::start().await;
    let instance = running(&mut world).await;
    set(&world, json!({"list_lag": 600})).await;
    let body = json!({"action": "delete", "id": instance["id"], "volume_ids": instance["volume_ids"]});
    world.cloud("PUT", "/instances", body).await;
    world.admin.jump(60.0).await.unwrap();
    let world = TestWorld::start_in(world.end().await).await;
    assert_eq!(show(&world, instance["id"].as_str().unwrap()).await["status"], "discontinued");
    assert_eq!(statuses(&world, "/instances").await, ["running"]);
    assert_eq!(statuses(&world, "/volumes").await, ["attached", "attached"]);
    assert_eq!(billing(&world).await, [""; 0]);
    set(&world, json!({"list_lag": 0})).await;
    assert_eq!(statuses(&world, "/instances").await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_end_while_they_boot_one_each_in_their_order() {
    let world = TestWorld::start().await;
    let endings = ["no_capacity", "error", "installation_failed", "discontinued"];
    set(&world, json!({"endings": endings})).await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(create(&world).await);
    }
    world.admin.jump(6.0).await.unwrap();
    let booting = ["no_capacity", "provisioning", "provisioning", "provisioning", "provisioning"];
    assert_eq!(statuses(&world, "/instances").await, booting);
    world.admin.jump(60.0).await.unwrap();
    for (id, status) in ids.iter().zip(endings.iter().chain(&["running"])) {
        assert_eq!(show(&world, id).await["status"], *status);
    }
    // All but the one that was taken away bill until somebody deletes them.
    assert_eq!(billing(&world).await.iter().filter(|name| *name == "lesson3").count(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_is_forgotten_while_it_boots_leaves_only_its_disks() {
    let world = TestWorld::start().await;
    set(&world, json!({"endings": ["gone"]})).await;
    let id = create(&world).await;
    world.admin.jump(66.0).await.unwrap();
    let unknown = world.cloud("GET", &format!("/instances/{id}"), Value::Null).await;
    let text = json!({"code": "not_found", "message": "Invalid instance id"});
    assert_eq!((unknown.status, unknown.json()), (404, text));
    assert_eq!(statuses(&world, "/instances?status=discontinued").await, [""; 0]);
    assert_eq!(statuses(&world, "/volumes").await, ["detached", "detached"]);
    assert_eq!(billing(&world).await, ["data", "lesson3-os"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn endings_set_anew_replace_those_that_were_left() {
    let world = TestWorld::start().await;
    set(&world, json!({"endings": ["error", "error"]})).await;
    set(&world, json!({"endings": []})).await;
    let id = create(&world).await;
    world.admin.jump(66.0).await.unwrap();
    assert_eq!(show(&world, &id).await["status"], "running");
}
