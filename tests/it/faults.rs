//! Faults that are asked for on the command line, and what a user of dacapo sees of them.

use serde_json::{Value, json};

use crate::support::Project;

#[test]
fn faults_of_a_file_strike_from_the_start_and_others_are_added_and_taken_away() {
    let mut project = Project::without_world(include_str!("../../session.toml"));
    let plan = project.path().join("faults.json");
    std::fs::write(&plan, json!({"rules": [{"path": "/v1/balance", "fault": "rate_limited"}]}).to_string())
        .unwrap();
    project.start_world_with(&["--faults", "faults.json"]);
    project.dacapo(&["plan"]).exits(0);
    let rules = || -> Vec<Value> {
        let listing = project.dacapo(&["sandbox", "faults"]).exits(0).stdout;
        listing.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    assert_eq!(
        (rules().len(), &rules()[0]["name"], &rules()[0]["struck"]),
        (1, &json!("rate_limited"), &json!(1))
    );
    let struck: Vec<Value> =
        project.requests().into_iter().filter(|request| !request["struck"].is_null()).collect();
    assert_eq!(
        (struck.len(), &struck[0]["status"], &struck[0]["path"]),
        (1, &json!(429), &json!("/v1/balance"))
    );

    std::fs::write(&plan, r#"{"rules": [{"service": "cloud", "fault": {"closed": {}}}]}"#).unwrap();
    project.dacapo(&["sandbox", "faults", "faults.json"]).exits(0);
    assert_eq!(rules().len(), 2);
    project.dacapo(&["plan"]).exits(1).says("could not be reached").says("hint:");
    project.dacapo(&["sandbox", "faults", "--clear"]).exits(0);
    assert_eq!(rules(), [Value::Null; 0]);
    project.dacapo(&["plan"]).exits(0);
}

#[test]
fn a_fault_plan_with_a_mistake_is_refused_with_its_place() {
    let project = Project::without_world(include_str!("../../session.toml"));
    std::fs::write(project.path().join("faults.json"), "{\"rules\": [\n  {\"fault\": \"flood\"}]}").unwrap();
    let arguments = ["sandbox", "serve", "--dir", "world", "--faults", "faults.json"];
    project.run(&arguments).exits(3).says("no fault is named `flood`").says("line 2").says("capacity");
}

#[test]
fn a_silent_service_costs_seconds_of_real_time() {
    let project = Project::new();
    std::fs::write(
        project.path().join("faults.json"),
        json!({"rules": [{"path": "/v1/balance", "fault": "silence"}]}).to_string(),
    )
    .unwrap();
    project.dacapo(&["sandbox", "faults", "faults.json"]).exits(0);
    let started = std::time::Instant::now();
    project.dacapo(&["plan"]).exits(0);
    assert!(started.elapsed().as_secs() < 40, "it took {:?}", started.elapsed());
}
