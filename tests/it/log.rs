//! `dacapo log`: what ended sessions leave to be told, from any laptop.

use std::fs;

use serde_json::Value;

use crate::habits::completed_at;
use crate::support::{Project, without_store};

fn sessions(project: &Project) -> Vec<Value> {
    project.dacapo(&["log", "--json"]).exits(0).json()["sessions"].as_array().unwrap().clone()
}

/// The stored receipts.
fn stored(project: &Project) -> Vec<String> {
    let requests = project.requests();
    let argument = |request: &Value| request.to_string();
    let uploads = requests.iter().filter(|request| request["path"] == "/2/files/upload").map(argument);
    uploads.filter(|text| text.contains(".dacapo/receipts/")).collect()
}

#[test]
fn each_session_that_ended_is_told_with_its_time_its_cost_and_what_came_in_and_went_out() {
    let project = Project::new();
    project.dacapo(&["log"]).exits(0).says("no session has ended yet");
    project.dacapo(&["up", "--yes"]).exits(0);
    project.on_server("echo better > export.pkl; echo scratch > scratch.txt");
    project.dacapo(&["log"]).exits(0).says("no session has ended yet");
    project.dacapo(&["down", "--yes", "--discard", "repo:untracked"]).exits(0);
    let told = sessions(&project);
    let [session] = &told[..] else { panic!("{told:#?}") };
    assert_eq!(session["discarded"], serde_json::json!(["repo:untracked"]));
    assert_eq!(session["code"][0]["commit"], session["code"][1]["commit"]);
    let version = |at: usize| session["artifacts"][at]["model"]["version"].as_str().unwrap().to_owned();
    assert_ne!(version(0), version(1));
    assert!(session["seconds"].as_i64().unwrap() > 0, "{session:#}");
    assert!(session["cost"].as_f64().unwrap() > 0.0, "{session:#}");
    let shown = project.dacapo(&["log"]).exits(0).stdout;
    for part in [&format!("{} -> {}", version(0), version(1)), "discarded  repo:untracked", "main ", " h  "] {
        assert!(shown.contains(part), "`{part}` is not in\n{shown}");
    }
    // The record lets go of what is written.
    project.dacapo(&["up", "--yes"]).exits(0);
    project.dacapo(&["down", "--yes", "--keep-disk"]).exits(0);
    let told = sessions(&project);
    assert_eq!(told.len(), 2);
    assert!(told[1]["kept_disk"].is_string(), "{told:#?}");
    assert_eq!(stored(&project).len(), 2, "each is written once");
    for asked in [&["--all"][..], &["lesson3"], &["lesson3", "lesson3"]] {
        let told = project.dacapo(&[&["log", "--json"], asked].concat()).exits(0).json();
        assert_eq!(told["sessions"].as_array().unwrap().len(), 2, "{asked:?}: {told:#}");
    }
}

#[test]
fn sessions_of_the_store_are_told_by_name() {
    let project = Project::new();
    let spec = fs::read_to_string(project.path().join("session.toml")).unwrap();
    for name in ["lesson3", "lesson4"] {
        let named = spec.replacen("\"lesson3\"", &format!("\"{name}\""), 1);
        fs::write(project.path().join("session.toml"), named).unwrap();
        project.dacapo(&["up", "--yes"]).exits(0);
        project.dacapo(&["down", "--yes"]).exits(0);
    }
    let names = |asked: &[&str]| {
        let told = project.dacapo(&[&["log", "--json"], asked].concat()).exits(0).json();
        let told = told["sessions"].as_array().unwrap().clone();
        told.iter().map(|one| one["session"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&[]), ["lesson4"], "this one's");
    assert_eq!(names(&["lesson3"]), ["lesson3"]);
    assert_eq!(names(&["lesson4", "lesson3"]), ["lesson3", "lesson4"]);
    assert_eq!(names(&["--all"]), ["lesson3", "lesson4"]);
    let typed = ["dacapo", "log", "less"];
    assert_eq!(completed_at(&project.laptop(), &project, &typed), ["lesson3", "lesson4"], "both ran here");
    let unknown = project.dacapo(&["log", "lesson3", "lesson"]).exits(1);
    unknown.says("no session `lesson` has ended in this store").says("dacapo --sandbox log --all");
    project.dacapo(&["log", "--all", "lesson3"]).exits(3).says("--all");
}

#[test]
fn a_receipt_that_could_not_be_written_is_told_all_the_same_and_written_by_the_next_run() {
    let project = Project::new();
    project.dacapo(&["up", "--yes"]).exits(0);
    project.fail(&serde_json::json!({"rules": [{
        "service": "dropbox_content", "path": "/2/files/upload", "mentions": "\"seal\": ",
        "times": "always", "fault": "forbidden",
    }]}));
    let down = project.dacapo(&["down", "--yes"]);
    assert_eq!(down.code, 0, "{down:?}");
    assert_eq!(sessions(&project).len(), 1);
    project.dacapo(&["up", "--yes"]).exits(0);
    project.dacapo(&["down", "--yes"]).exits(0);
    assert_eq!(sessions(&project).len(), 2);
    let record = || {
        let uploads = project.requests().into_iter().filter(|request| request["path"] == "/2/files/upload");
        let mut records =
            uploads.map(|request| request.to_string()).filter(|text| text.contains("lesson3.json"));
        records.next_back().unwrap().contains("machine_type")
    };
    assert!(record(), "the record holds what is in no file");
    project.dacapo(&["sandbox", "faults", "--clear"]).exits(0);
    project.dacapo(&["up", "--yes"]).exits(0);
    assert!(!record(), "and lets go of what is");
    assert_eq!(sessions(&project).len(), 2);
}

#[test]
fn a_receipt_that_was_edited_by_hand_is_named_and_passed_over() {
    let project = Project::new();
    for _ in 0..2 {
        project.dacapo(&["up", "--yes"]).exits(0);
        project.dacapo(&["down", "--yes"]).exits(0);
    }
    let texts = stored(&project);
    let start = texts[0].find("/fastai/lesson3/.dacapo/receipts/").unwrap();
    let path: String = texts[0][start..].chars().take_while(|c| *c != '"' && *c != '\\').collect();
    project.store_file(&path, b"{\"receipt\": {\"version\": 1}, \"seal\": \"\"}\n");
    let told = project.dacapo(&["log"]).exits(1).says("can't be used and were passed over");
    assert!(told.stderr.contains(path.trim_start_matches("/fastai/lesson3/")), "{}", told.stderr);
    assert!(told.stdout.contains(" h  "), "the other one is told: {}", told.stdout);
    let json: Value =
        serde_json::from_str(project.dacapo(&["log", "--json"]).exits(1).stdout.lines().next().unwrap())
            .unwrap();
    assert_eq!(json["unusable"].as_array().unwrap().len(), 1);
}

#[test]
fn without_a_store_receipts_stay_on_this_laptop() {
    let project = Project::with_spec(&without_store());
    project.dacapo(&["up", "--yes"]).exits(0);
    project.dacapo(&["down", "--yes"]).exits(0);
    assert_eq!(sessions(&project).len(), 1);
    let folder = project.laptop().join(".local/state/dacapo/receipts/lesson3");
    let file = fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    let edited = fs::read_to_string(&file).unwrap().replace("FIN-0", "FIN-9");
    fs::write(&file, edited).unwrap();
    project.dacapo(&["log"]).exits(1).says("changed since dacapo wrote it");
}
