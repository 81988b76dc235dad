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
fn a_silent_service_is_asked_again() {
    let project = Project::new();
    project.fail(&json!({"rules": [{"path": "/v1/balance", "fault": "silence"}]}));
    project.dacapo(&["plan"]).exits(0);
    let asked = project.requests().into_iter().filter(|request| request["path"] == "/v1/balance").count();
    assert_eq!(asked, 2);
}

#[test]
fn tokens_that_expire_in_mid_run_are_renewed() {
    let project = Project::new();
    let revoke = json!({"world": {"set": {"cloud": {"revoke_tokens": true}}}});
    project.fail(&json!({"rules": [
        {"service": "cloud", "method": "POST", "path": "/v1/instances", "fault": revoke},
        {"service": "cloud", "method": "GET", "path": "/v1/instances/*", "skip": 2, "fault": revoke},
    ]}));
    project.dacapo(&["up", "--yes"]).exits(0);
    let created = |request: &&Value| request["method"] == "POST" && request["path"] == "/v1/instances";
    let requests = project.requests();
    let statuses: Vec<_> = requests.iter().filter(created).map(|request| &request["status"]).collect();
    assert_eq!(statuses, [401, 202], "refused with the old token, taken with the new one");
}

#[test]
fn a_machine_evicted_in_mid_run_is_not_taken_for_absent() {
    let project = Project::new();
    let evict = json!({"world": {"set": {"cloud": {"status": {"*": "discontinued"}}}}});
    project.fail(&json!({"rules": [{"path": "/2/files/get_temporary_link", "fault": evict}]}));
    project.dacapo(&["up", "--yes"]).exits(7).says("doesn't run any more").says("hint:");
    // It may have been worked on since the login: its disk is booted again, and nothing is missed.
    project
        .dacapo(&["down", "--yes"])
        .exits(5)
        .says("vanished without our doing")
        .says("--discard server:gone");
    project.dacapo(&["up", "--yes"]).exits(0).says("boots the kept disk");
    assert_eq!(machines(&project), 1);
}

#[test]
fn a_machine_that_a_lagging_list_does_not_show_yet_is_asked_for_by_its_id() {
    let project = Project::new();
    project.dacapo(&["sandbox", "set", &json!({"cloud": {"list_lag": 1000.0}}).to_string()]).exits(0);
    project.dacapo(&["up", "--yes"]).exits(0);
    assert_eq!(machines(&project), 1);
    let created = |request: &Value| request["method"] == "POST" && request["path"] == "/v1/instances";
    assert_eq!(project.requests().into_iter().filter(created).count(), 1);
    project.dacapo(&["plan", "--detailed-exitcode"]).exits(0);
}

#[test]
fn a_machine_that_ends_for_want_of_capacity_makes_way_for_the_next_and_bills_no_more() {
    for end in ["no_capacity", "discontinued"] {
        let project = Project::new();
        let end = json!({"world": {"set": {"cloud": {"status": {"*": end}}}}});
        project.fail(&json!({"rules": [{"method": "GET", "path": "/v1/instances/*", "fault": end}]}));
        project.dacapo(&["up", "--yes"]).exits(0).says("the machine ended as");
        assert_eq!(machines(&project), 1, "after {end}");
        let down = project.dacapo(&["down", "--yes"]).exits(0);
        // What went without us has no receipt: its disk is told, with the words that end it.
        for left in project.bill()["billing"].as_array().unwrap() {
            let (kind, words) = (&left["kind"], format!("--discard volume:{}", left["id"].as_str().unwrap()));
            assert!(kind == "volume" && down.stdout.contains(&words), "after {end}: {left}\n{}", down.stdout);
        }
    }
}

#[test]
fn a_dropbox_that_fills_up_while_work_is_stored_keeps_the_machine() {
    let project = Project::new();
    project.dacapo(&["up", "--yes"]).exits(0);
    project.on_server("printf 'a better model' > export.pkl");
    let full = json!({"world": {"set": {"dropbox": {"allocated": 1000}}}});
    project.fail(&json!({"rules": [{"path": "/2/files/get_temporary_upload_link", "fault": full}]}));
    project.dacapo(&["down", "--yes"]).exits(1).says("too full").says("hint:");
    assert_eq!(machines(&project), 1);
    let room = json!({"dropbox": {"allocated": 1_000_000_000}}).to_string();
    project.dacapo(&["sandbox", "set", &room]).exits(0);
    project.dacapo(&["down", "--yes"]).exits(0).says("stored as");
    assert_eq!(machines(&project), 0);
}

#[test]
fn a_model_larger_than_the_servers_disk_is_refused_before_it_is_brought() {
    let project = Project::new();
    let larger: serde_json::Map<_, _> =
        (0..4).map(|entry| (format!("/entries/{entry}/size"), json!(900_000_000_000_000_000_u64))).collect();
    let listing =
        json!({"path": "/2/files/list_folder", "times": "always", "fault": {"change": {"set": larger}}});
    project.fail(&json!({"rules": [listing]}));
    project.dacapo(&["up", "--yes"]).exits(1).says("900000000000000000 bytes are wanted").says("hint:");
    let asked = |request: &Value| request["path"].as_str().unwrap().starts_with("/cd/0/get/");
    assert!(!project.requests().iter().any(asked), "nothing was downloaded");
    project.dacapo(&["sandbox", "faults", "--clear"]).exits(0);
    project.dacapo(&["up", "--yes"]).exits(0);
}

#[test]
fn a_listing_without_end_is_given_up() {
    let project = Project::new();
    let more = json!({"change": {"set": {"/has_more": true}}});
    project.fail(&json!({"rules": [{"path": "/2/files/list_folder/**", "times": "always", "fault": more}]}));
    project.dacapo(&["plan"]).exits(1).says("the listing has no end").says("hint:");
}

/// How many machines bill.
fn machines(project: &Project) -> usize {
    project.bill()["billing"].as_array().unwrap().iter().filter(|one| one["kind"] == "instance").count()
}
