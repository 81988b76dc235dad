//! Clusters, commitments and prices over time.

use serde_json::{Value, json};

use super::{add_key, billing};
use crate::sandbox::support::{Got, TestWorld};

async fn order(world: &TestWorld, changes: Value) -> Got {
    let mut body = json!({"cluster_type": "16B200", "image": "ubuntu-22.04-cuda-12.9-cluster",
                          "hostname": "swarm", "description": "", "ssh_key_ids": [add_key(world).await],
                          "location_code": "FIN-03", "startup_script_id": null, "contract": "PAY_AS_YOU_GO",
                          "shared_volume": {"name": "shared", "size": 500}});
    changes.as_object().into_iter().flatten().for_each(|(name, value)| body[name] = value.clone());
    world.cloud("POST", "/clusters", body).await
}

async fn rich() -> TestWorld {
    let world = TestWorld::start().await;
    world.admin.set(&json!({"cloud": {"balance": 1000}})).await.unwrap();
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_comes_up_with_its_nodes_and_leaves_its_volume_billing() {
    let world = rich().await;
    let id = order(&world, json!({})).await.json()["id"].as_str().unwrap().to_owned();
    let show = async || world.cloud("GET", &format!("/clusters/{id}"), Value::Null).await.json();
    let ordered = show().await;
    assert_eq!((&ordered["status"], &ordered["worker_nodes"]), (&json!("ordered"), &json!([])));
    world.admin.jump(10.0).await.unwrap();
    let end = json!({"actions": [{"id": id, "action": "discontinue"}]});
    assert_eq!(world.cloud("PUT", "/clusters", end.clone()).await.status, 403);
    world.admin.jump(60.0).await.unwrap();
    let up = show().await;
    assert_eq!((&up["status"], up["worker_nodes"].as_array().unwrap().len()), (&json!("running"), 2));
    assert_eq!(up["shared_volumes"][0]["size_in_gigabytes"], 500);
    let volumes = world.cloud("GET", "/volumes", Value::Null).await.json();
    assert_eq!((&volumes[0]["status"], &volumes[0]["instance_id"]), (&json!("attached"), &Value::Null));
    assert_eq!(billing(&world).await, ["shared", "swarm"]);
    assert_eq!(world.cloud("PUT", "/clusters", end).await.status, 202);
    assert_eq!(show().await["status"], "discontinued");
    assert_eq!(world.cloud("GET", "/clusters", Value::Null).await.json(), json!([]));
    assert_eq!(billing(&world).await, ["shared"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_is_refused_costs_nothing() {
    let world = rich().await;
    let tags: Vec<Value> = (0..11).map(|number| json!({"key": format!("k{number}")})).collect();
    for (changes, status) in [
        (json!({"tags": tags}), 400),
        (json!({"image": "24.04.base"}), 400),
        (json!({"cluster_type": "16H200"}), 503),
        (json!({"contract": "SPOT"}), 400),
        (json!({"shared_volume": {"name": "", "size": 500}}), 400),
    ] {
        assert_eq!(order(&world, changes.clone()).await.status, status, "{changes}");
    }
    let path = "/cluster-availability/16B200";
    assert_eq!(world.cloud("GET", path, Value::Null).await.json(), json!(true));
    assert_eq!(billing(&world).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_balance_ends_clusters_too() {
    let mut world = rich().await;
    order(&world, json!({})).await;
    world.admin.set(&json!({"cloud": {"balance": 1}})).await.unwrap();
    world.admin.jump(3600.0).await.unwrap();
    world.log_in().await;
    assert_eq!(world.cloud("GET", "/clusters", Value::Null).await.json(), json!([]));
    assert_eq!(billing(&world).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_price_history_is_that_of_a_world_whose_prices_never_moved() {
    let world = TestWorld::start().await;
    let path = "/instance-types/price-history";
    let history = world.cloud("GET", &format!("{path}?num_of_months=12"), Value::Null).await.json();
    let points = history["1V100.6V"].as_array().unwrap();
    assert_eq!((points.len(), &points[359]["date"]), (360, &json!("2026-11-23")));
    assert_eq!(points[0]["fixed_price_per_hour"], json!(0.192));
    assert_eq!(world.cloud("GET", &format!("{path}?num_of_months=13"), Value::Null).await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn commitments_are_longer_for_clusters() {
    let world = TestWorld::start().await;
    let count = async |path: &str| {
        let listed = world.cloud("GET", &format!("/long-term/periods{path}"), Value::Null).await.json();
        listed.as_array().map(Vec::len)
    };
    assert_eq!(
        (count("").await, count("/instances").await, count("/clusters").await),
        (Some(4), Some(4), Some(3))
    );
    assert_eq!(count("/volumes").await, None);
}
