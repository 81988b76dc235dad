//! Disks: what is done with them, whole or not at all, and what becomes of them at an eviction.

use serde_json::{Value, json};

use super::{act, add_key, billing, order, running};
use crate::sandbox::support::{Got, TestWorld};

async fn make(world: &TestWorld, name: &str, location: &str) -> String {
    let body = json!({"type": "NVMe", "name": name, "size": 20, "location_code": location});
    let got = world.cloud("POST", "/volumes", body).await;
    assert_eq!(got.status, 202, "{}", got.text);
    got.text
}

async fn put(world: &TestWorld, action: &str, id: Value, more: Value) -> Got {
    let mut body = json!({"action": action, "id": id});
    more.as_object().into_iter().flatten().for_each(|(name, value)| body[name] = value.clone());
    world.cloud("PUT", "/volumes", body).await
}

async fn volume(world: &TestWorld, id: &str) -> Value {
    world.cloud("GET", &format!("/volumes/{id}"), Value::Null).await.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn volumes_move_between_machines_that_are_offline() {
    let mut world = TestWorld::start().await;
    let instance = running(&mut world).await;
    let beside = make(&world, "beside", "FIN-03").await;
    let there = json!({"instance_id": instance["id"]});
    assert_eq!(put(&world, "attach", json!(beside), there.clone()).await.status, 403);
    act(&world, "shutdown", instance["id"].clone(), json!({})).await;
    world.admin.jump(31.0).await.unwrap();
    assert_eq!(put(&world, "attach", json!(beside), there.clone()).await.status, 202);
    let attached = volume(&world, &beside).await;
    assert_eq!((&attached["instance_id"], &attached["target"]), (&instance["id"], &json!("vdc")));
    assert_eq!(put(&world, "attach", json!(beside), there).await.status, 400, "it is attached already");
    assert_eq!(put(&world, "detach", json!([beside]), json!({})).await.status, 202);
    assert_eq!(volume(&world, &beside).await["instances"], json!([]));
    let disk = instance["os_volume_id"].clone();
    assert_eq!(put(&world, "detach", disk, json!({})).await.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_volumes_are_done_whole_or_not_at_all() {
    let world = TestWorld::start().await;
    let (small, gone) = (make(&world, "small", "FIN-03").await, make(&world, "gone", "FIN-03").await);
    put(&world, "delete", json!(gone), json!({})).await;
    let both = json!([small, gone]);
    for (action, more) in [
        ("resize", json!({"size": 100})),
        ("rename", json!({"name": "other"})),
        ("clone", json!({})),
        ("delete", json!({})),
    ] {
        let refused = put(&world, action, both.clone(), more).await;
        assert_eq!(refused.json()["code"], "forbidden_action", "{action}");
        let left = volume(&world, &small).await;
        assert_eq!((&left["name"], &left["size"]), (&json!("small"), &json!(20)), "{action}");
        assert_eq!(billing(&world).await, ["small"], "{action}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_grows_at_its_new_price_and_is_copied_under_a_new_id() {
    let world = TestWorld::start().await;
    let id = make(&world, "data", "FIN-03").await;
    assert_eq!(put(&world, "resize", json!(id), json!({"size": 100})).await.status, 202);
    assert_eq!(volume(&world, &id).await["base_hourly_cost"], json!(0.0274));
    assert_eq!(put(&world, "resize", json!(id), json!({"size": 100})).await.status, 400);
    let copies = put(&world, "clone", json!(id), json!({"name": null, "type": null})).await.json();
    let copy = volume(&world, copies[0].as_str().unwrap()).await;
    assert_eq!((&copy["name"], &copy["size"]), (&json!("data-clone"), &json!(100)));
    assert_eq!(billing(&world).await, ["data", "data-clone"]);
    let nowhere = put(&world, "clone", json!(id), json!({"location_code": "NOR-01"})).await;
    assert_eq!(nowhere.status, 400);
    world.admin.set(&json!({"cloud": {"balance": 0}})).await.unwrap();
    assert_eq!(put(&world, "clone", json!(id), json!({})).await.status, 402);
    assert_eq!(put(&world, "resize", json!(id), json!({"size": 200})).await.status, 402);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_volume_of_an_evicted_machine_has_the_fate_it_was_ordered_with() {
    let world = TestWorld::start().await;
    let mut body = order(&add_key(&world).await);
    body["is_spot"] = json!(true);
    body["os_volume"]["on_spot_discontinue"] = json!("delete_permanently");
    body["volumes"] = json!([{"name": "data", "size": 20, "on_spot_discontinue": "move_to_trash"},
                             {"name": "kept", "size": 20}]);
    let id = world.cloud("POST", "/instances", body).await.text;
    world.admin.jump(70.0).await.unwrap();
    world.admin.set(&json!({"cloud": {"status": {id: "discontinued"}}})).await.unwrap();
    world.admin.jump(30.0).await.unwrap();
    assert_eq!(billing(&world).await, ["kept"]);
    let trash = world.cloud("GET", "/volumes/trash", Value::Null).await.json();
    assert_eq!((trash.as_array().unwrap().len(), &trash[0]["name"]), (1, &json!("data")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_takes_each_existing_volume_once_and_only_where_it_is() {
    let world = TestWorld::start().await;
    let key = add_key(&world).await;
    let (here, far) = (make(&world, "here", "FIN-03").await, make(&world, "far", "FIN-01").await);
    for (listed, message) in [
        (json!([here, here]), "Volume is listed twice"),
        (json!([far]), "Volume and instance must be in the same location"),
        (json!(["nobody"]), "Invalid volume id"),
    ] {
        let mut body = order(&key);
        body["existing_volumes"] = listed;
        let refused = world.cloud("POST", "/instances", body).await;
        assert_eq!((refused.status, &refused.json()["message"]), (400, &json!(message)));
    }
    assert_eq!(billing(&world).await, ["far", "here"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_volume_outlives_the_first_of_its_machines() {
    let mut world = TestWorld::start().await;
    let instance = running(&mut world).await;
    let second = world.cloud("POST", "/instances", order(&add_key(&world).await)).await.text;
    world.admin.jump(70.0).await.unwrap();
    let both = json!([instance["id"], second]);
    act(&world, "shutdown", both.clone(), json!({})).await;
    world.admin.jump(31.0).await.unwrap();
    let body = json!({"type": "NVMe_Shared", "name": "shared", "size": 20, "instance_ids": both});
    let shared = world.cloud("POST", "/volumes", body).await.text;
    assert_eq!(volume(&world, &shared).await["instances"].as_array().unwrap().len(), 2);
    act(&world, "delete", json!(second), json!({"volume_ids": [shared]})).await;
    world.admin.jump(60.0).await.unwrap();
    let left = volume(&world, &shared).await;
    assert_eq!((&left["status"], &left["instance_id"]), (&json!("attached"), &instance["id"]));
    assert_eq!(put(&world, "detach", json!(shared), json!({})).await.status, 202);
    assert_eq!(volume(&world, &shared).await["status"], "detached");
}
