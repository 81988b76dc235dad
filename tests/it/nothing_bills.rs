//! What goes on billing, and what ends it: kept disks, replaced and vanished machines, by the cloud's own ledger.

use serde_json::{Value, json};

use crate::support::Project;

/// What bills now, by kind.
fn billing(project: &Project) -> (Vec<Value>, Vec<Value>) {
    let bill = project.bill();
    let of = |kind: &str| -> Vec<Value> {
        let all = bill["billing"].as_array().unwrap().iter();
        all.filter(|item| item["kind"] == kind).map(|item| item["id"].clone()).collect()
    };
    (of("instance"), of("volume"))
}

/// Takes the one machine away, as the cloud does with spot machines.
fn evict(project: &Project) {
    project
        .dacapo(&["sandbox", "set", &json!({"cloud": {"status": {"*": "discontinued"}}}).to_string()])
        .exits(0);
}

#[test]
fn a_kept_disk_bills_alone_is_booted_by_the_next_up_and_ended_by_that_sessions_down() {
    let project = Project::new();
    project.dacapo(&["up", "--yes"]).exits(0);
    project.on_server("echo work > notes.txt");
    let (_, disks) = billing(&project);
    project.dacapo(&["down", "--yes"]).exits(5).says("untracked: notes.txt");
    let kept = project.dacapo(&["down", "--keep-disk", "--yes"]).exits(0).says("shutting down");
    assert!(kept.stderr.contains("20.00 usd a month"), "{}", kept.stderr);
    assert_eq!(billing(&project), (vec![], disks.clone()), "the disk, and nothing else");
    project.dacapo(&["down", "--yes"]).exits(0).says("is kept and bills");
    project.dacapo(&["status"]).exits(0).says("usd/h");

    project.dacapo(&["up", "--yes"]).exits(0).says("boots the kept disk");
    assert_eq!(std::fs::read(project.server().join("lesson3/notes.txt")).unwrap(), b"work\n");
    let (machines, volumes) = billing(&project);
    assert_eq!((machines.len(), volumes), (1, disks), "one machine with the very disk");
    project.dacapo(&["plan", "--detailed-exitcode"]).exits(0);
    project.dacapo(&["down", "--yes"]).exits(5).says("untracked: notes.txt");
    project.on_server("rm notes.txt");
    project.dacapo(&["down", "--yes"]).exits(0).says("nothing of it bills");
    assert_eq!(billing(&project), (vec![], vec![]));
}

#[test]
fn a_program_at_work_stops_a_machine_from_being_shut_down_and_can_be_named() {
    let project = Project::new();
    project.dacapo(&["up", "--yes"]).exits(0);
    let mut training = project.command(&["--sandbox", "run", "--", "sleep", "600"]).spawn().unwrap();
    project.eventually(&["plan", "--set", "state=absent"], "is at work");
    project.dacapo(&["down", "--keep-disk", "--yes"]).exits(5).says("--discard processes");
    assert_eq!(billing(&project).0.len(), 1);
    project.dacapo(&["down", "--keep-disk", "--yes", "--discard", "processes"]).exits(0);
    assert_eq!(billing(&project).0.len(), 0);
    let _ = training.kill();
    let _ = training.wait();
}

#[test]
fn a_kept_disk_is_deleted_only_by_its_name() {
    let project = Project::new();
    project.dacapo(&["up", "--yes"]).exits(0);
    project.dacapo(&["down", "--keep-disk", "--yes"]).exits(0);
    let (_, disks) = billing(&project);
    let named = format!("volume:{}", disks[0].as_str().unwrap());
    project.dacapo(&["down", "--yes", "--discard", &named]).exits(0);
    assert_eq!(billing(&project), (vec![], vec![]));
    project.dacapo(&["up", "--yes"]).exits(0).says("logged in");
    assert_ne!(billing(&project).1, disks, "a new disk");
}

#[test]
fn a_machine_makes_way_for_another_type_and_the_model_comes_along() {
    let project = Project::new();
    project.dacapo(&["up", "--yes"]).exits(0);
    project.dacapo(&["run", "--", "python3", "train.py"]).exits(0);
    let trained = std::fs::read(project.server().join("lesson3/export.pkl")).unwrap();
    let (before, _) = billing(&project);
    let other = "instance.type=1L40S.20V";
    project.dacapo(&["apply", "--yes", "--set", other]).exits(5).says("--replace");
    assert_eq!(billing(&project).0, before);
    project.on_server("echo mine > notes.txt");
    project.dacapo(&["apply", "--yes", "--replace", "--set", other]).exits(5).says("notes.txt");
    assert_eq!(billing(&project).0, before, "what would be lost keeps the machine");
    project.on_server("rm notes.txt");
    let replaced = project.dacapo(&["apply", "--yes", "--replace", "--set", other]).exits(0);
    assert!(replaced.stdout.contains("1L40S.20V in "), "{}", replaced.stdout);
    let (after, volumes) = billing(&project);
    assert_eq!((after.len(), volumes.len()), (1, 1));
    assert_ne!(after, before);
    assert_eq!(std::fs::read(project.server().join("lesson3/export.pkl")).unwrap(), trained);
}

#[test]
fn a_machine_stays_when_what_would_replace_it_is_sold_out() {
    let project = Project::new();
    project.dacapo(&["up", "--yes"]).exits(0);
    let (before, _) = billing(&project);
    let none: serde_json::Map<String, Value> = ["FIN-01", "FIN-02", "FIN-03", "ICE-01"]
        .map(|place| (place.to_owned(), json!({"1L40S.20V": 0})))
        .into_iter()
        .collect();
    project.dacapo(&["sandbox", "set", &json!({"cloud": {"stock": none}}).to_string()]).exits(0);
    let set = ["--set", "instance.type=1L40S.20V", "--set", "instance.location=[\"FIN-01\", \"FIN-03\"]"];
    project
        .dacapo(&[&["apply", "--yes", "--replace"], &set[..]].concat())
        .exits(5)
        .says("nothing that the spec asks for is in stock");
    assert_eq!(billing(&project).0, before);
}

#[test]
fn what_a_vanished_machine_left_is_named_and_booted_again() {
    let project = Project::new();
    project.dacapo(&["up", "--yes"]).exits(0);
    project.on_server("echo work > notes.txt");
    let (_, disks) = billing(&project);
    evict(&project);
    let down = project.dacapo(&["down", "--yes"]).exits(5);
    for said in [
        "vanished without our doing",
        "is detached and bills",
        "`up` boots it again",
        disks[0].as_str().unwrap(),
    ] {
        assert!(format!("{}{}", down.stdout, down.stderr).contains(said), "`{said}`: {}", down.stdout);
    }
    assert_eq!(billing(&project), (vec![], disks.clone()));
    project.dacapo(&["up", "--yes"]).exits(0);
    assert_eq!(std::fs::read(project.server().join("lesson3/notes.txt")).unwrap(), b"work\n");
    assert_eq!(billing(&project).1, disks);
}

#[test]
fn a_vanished_machine_can_be_given_up_by_name() {
    let project = Project::new();
    project.dacapo(&["up", "--yes"]).exits(0);
    evict(&project);
    let (_, disks) = billing(&project);
    let volume = format!("volume:{}", disks[0].as_str().unwrap());
    project.dacapo(&["down", "--yes", "--discard", "server:gone", "--discard", &volume]).exits(0);
    assert_eq!(billing(&project), (vec![], vec![]));
}

/// Lets `hours` pass in the world.
fn pass(project: &Project, hours: u32) {
    project.dacapo(&["sandbox", "jump", &(hours * 3600).to_string()]).exits(0);
}

/// As on a machine that has the credentials and nothing else: no session.toml, no key, no way in.
fn without_repo_and_agent(project: &Project) {
    std::fs::rename(project.path().join("session.toml"), project.path().join("elsewhere.toml")).unwrap();
    for key in ["id_ed25519", "id_ed25519.pub"] {
        std::fs::remove_file(project.laptop().join(".ssh").join(key)).unwrap();
    }
    project.ssh_faults(&json!({"refuse": true}));
}

const RECORD: &str = "/fastai/lesson3/.dacapo/lesson3.json";
const STORE: [&str; 3] = ["reap", "--store", "dropbox:/fastai/lesson3"];

#[test]
fn reap_leaves_a_machine_alone_until_its_deadline_and_then_ends_it_as_down_would() {
    let project = Project::new();
    project.dacapo(&["up", "--yes", "--set", "limits.deadline=3h"]).exits(0);
    project.dacapo(&["status"]).exits(0).says("no reap was ever seen");
    project.dacapo(&["reap"]).exits(0).says("may run until");
    assert_eq!(billing(&project).0.len(), 1);
    project.dacapo(&["status"]).exits(0).says("last reap seen");
    pass(&project, 4);
    project.dacapo(&["reap"]).exits(0).says("is ended, and nothing on it is lost");
    assert_eq!(billing(&project), (vec![], vec![]));
    assert_eq!(project.dacapo(&["reap"]).exits(0).stdout, "");
}

#[test]
fn reap_keeps_the_disk_where_it_has_neither_agent_nor_repo() {
    let project = Project::new();
    project.dacapo(&["up", "--yes"]).exits(0);
    project.on_server("echo work > notes.txt");
    let (_, disks) = billing(&project);
    without_repo_and_agent(&project);
    project.dacapo(&STORE).exits(0).says("may run until");
    pass(&project, 9);
    project.dacapo(&STORE).exits(0).says("stays and bills");
    assert_eq!(billing(&project), (vec![], disks));
}

#[test]
fn reap_keeps_the_disk_of_a_machine_whose_record_is_lost() {
    let project = Project::new();
    project.dacapo(&["up", "--yes", "--set", "limits.deadline=3h"]).exits(0);
    let (_, disks) = billing(&project);
    project.delete_stored(RECORD);
    project.ssh_faults(&json!({"refuse": true}));
    let deadline = ["--set", "limits.deadline=3h"];
    project.dacapo(&[&["reap"], &deadline[..]].concat()).exits(0).says("may run until");
    pass(&project, 4);
    // Whoever has its mark alone can't tell whose it is.
    project.dacapo(&STORE).exits(5).says("--store");
    project.dacapo(&[&["reap"], &deadline[..]].concat()).exits(0).says("stays and bills");
    assert_eq!(billing(&project), (vec![], disks));
}

#[test]
fn session_toml_says_when_a_machine_is_due_whose_record_is_lost() {
    let project = Project::new();
    let longer = include_str!("../../session.toml").to_owned() + "\n[limits]\ndeadline = \"20h\"\n";
    project.dacapo(&["up", "--yes"]).exits(0);
    project.delete_stored(RECORD);
    pass(&project, 9);
    std::fs::write(project.path().join("session.toml"), longer).unwrap();
    project.dacapo(&["reap"]).exits(0).says("may run until");
    pass(&project, 12);
    project.dacapo(&["reap"]).exits(0).says("is ended, and nothing on it is lost");
    assert_eq!(billing(&project), (vec![], vec![]));
}

#[test]
fn reap_says_what_it_leaves_and_fails() {
    let project = Project::new();
    project.dacapo(&["up", "--yes", "--set", "limits.protect=true"]).exits(0);
    pass(&project, 9);
    project.dacapo(&["reap"]).exits(5).says("its session protects it");
    project.dacapo(&["reap", "--store", "dropbox:/other"]).exits(5).says("protects it");
    assert_eq!(billing(&project).0.len(), 1);
    project.dacapo(&["down", "--yes", "--set", "limits.protect=true"]).exits(5).says("is protected");
    project.dacapo(&["down", "--yes"]).exits(0);
    project.dacapo(&["up", "--yes"]).exits(0);
    pass(&project, 9);
    project.dacapo(&["reap", "--store", "dropbox:/other"]).exits(5).says("--store");
}

#[test]
fn a_deadline_that_was_changed_is_noted_and_counts() {
    let project = Project::new();
    project.dacapo(&["up", "--yes"]).exits(0);
    let longer = ["--set", "limits.deadline=2d"];
    project.dacapo(&[&["apply", "--yes"], &longer[..]].concat()).exits(0).says("note the deadline of 2d");
    project.dacapo(&[&["plan", "--detailed-exitcode"], &longer[..]].concat()).exits(0);
    pass(&project, 9);
    project.dacapo(&["reap"]).exits(0).says("may run until");
    assert_eq!(billing(&project).0.len(), 1);
}

#[test]
fn nothing_is_ordered_over_budget() {
    let project = Project::new();
    for limit in ["limits.max_price_per_hour=0.5", "limits.max_cost=2"] {
        project.dacapo(&["up", "--yes", "--set", limit]).exits(8).says("limits.max_");
    }
    assert_eq!(billing(&project), (vec![], vec![]));
    project
        .dacapo(&["up", "--yes", "--set", "limits.max_price_per_hour=1.2", "--set", "limits.max_cost=10"])
        .exits(0);
    project.dacapo(&["plan", "--set", "limits.max_cost=0.001"]).exits(0).says("`reap` ends it");
    let cheaper = ["plan", "--set", "limits.max_price_per_hour=1.1"];
    project.dacapo(&cheaper).exits(0).says("the machine costs 1.1720 usd/h");
}

#[test]
fn a_spot_machine_that_is_taken_away_leaves_its_disk_in_the_trash_and_up_takes_it_out() {
    let spot = include_str!("../../session.toml").replace("[instance]", "[instance]\nmarket = \"spot\"");
    let project = Project::with_spec(&spot);
    project.dacapo(&["up", "--yes"]).exits(0);
    project.dacapo(&["plan", "--detailed-exitcode"]).exits(0);
    project.on_server("echo work > notes.txt");
    let (_, disks) = billing(&project);
    evict(&project);
    pass(&project, 1);
    assert_eq!(billing(&project), (vec![], vec![]), "the trash is free");
    project.dacapo(&["down", "--yes"]).exits(5).says("is in the trash until");
    project.dacapo(&["up", "--yes"]).exits(0).says("out of the trash");
    assert_eq!(std::fs::read(project.server().join("lesson3/notes.txt")).unwrap(), b"work\n");
    assert_eq!(billing(&project).1, disks);
}

#[test]
fn orphans_are_what_no_spec_below_asks_for_and_only_ours_can_be_removed() {
    let project = Project::new();
    project.dacapo(&["up", "--yes"]).exits(0);
    project.dacapo(&["orphans"]).exits(0).says("belongs to a spec here");
    let renamed = include_str!("../../session.toml").replacen("\"lesson3\"", "\"lesson4\"", 1);
    assert_ne!(renamed, include_str!("../../session.toml"));
    std::fs::write(project.path().join("session.toml"), renamed).unwrap();
    project.dacapo(&["orphans"]).exits(0).says("session `lesson3`").says("usd a month").says("ours");
    let found = project.dacapo(&["orphans", "--json"]).exits(0).json();
    let id = |kind: &str| {
        let all = found["orphans"].as_array().unwrap();
        all.iter().find(|one| one["kind"] == kind).unwrap()["id"].as_str().unwrap().to_owned()
    };
    let machine = id("instance");
    project.dacapo(&["orphans", "--remove", &machine]).exits(5).says("its deadline is");
    project.dacapo(&["orphans", "--remove", "nobody"]).exits(5).says("no orphan");
    assert_eq!(billing(&project).0.len(), 1);
    pass(&project, 9);
    let unmarked = json!({"change": {"set": {"/0/tags": [], "/0/description": "somebody's"}}});
    project.fail(&json!({"rules": [{"path": "/v1/instances", "times": "always", "fault": unmarked}]}));
    project.dacapo(&["orphans", "--remove", &machine]).exits(5).says("is not ours");
    assert_eq!(billing(&project).0.len(), 1);
    project.dacapo(&["sandbox", "faults", "--clear"]).exits(0);
    project.dacapo(&["orphans", "--remove", &machine]).exits(0);
    pass(&project, 1);
    assert_eq!(billing(&project), (vec![], vec![]));
}

#[test]
fn purge_empties_the_trash_of_what_is_ours() {
    let project = Project::new();
    project.dacapo(&["up", "--yes"]).exits(0);
    project.dacapo(&["down", "--yes", "--purge"]).exits(0).says("for good");
    project.dacapo(&["down", "--yes", "--purge"]).exits(0).says("nothing to do");
}
