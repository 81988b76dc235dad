//! `dacapo artifacts prune`: what nothing names goes, and nothing else, whatever comes in between.

use std::process::Command;

use dacapo::digest::ContentHash;
use serde_json::{Value, json};

use crate::artifacts::{keep, listed};
use crate::support::Project;

const SEEDED: &str = "2026-11-20_export.pkl.gz";

/// A store with the seeded upload by hand and three versions of ours.
fn stocked() -> Project {
    let project = Project::new();
    assert_eq!(listed(&project), [SEEDED]);
    for day in 21..24 {
        keep(&project, &version(day), format!("model of day {day}").as_bytes(), &json!({}));
    }
    project
}

fn version(day: u32) -> String {
    format!("2026-11-{day}_export.pkl")
}

fn prune(project: &Project, more: &[&str]) -> crate::support::Ran {
    project.dacapo(&[&["artifacts", "prune", "--keep", "1"], more].concat())
}

fn deletions(project: &Project) -> Vec<Value> {
    let requests = project.requests().into_iter();
    requests.filter(|request| request["path"] == "/2/files/delete_v2").collect()
}

fn lock(name: &str) -> String {
    format!(
        "# written by dacapo; commit it beside session.toml\nversion = 1\n\n[artifacts.model]\nversion = \"{name}\"\n"
    )
}

#[test]
fn old_versions_go_with_their_manifests_after_a_plan_was_shown_and_approved() {
    let project = stocked();
    let unapproved = prune(&project, &[]).exits(3).says("pass `--yes`");
    for said in
        ["uploaded by hand", "stays: the newest", "1. delete version 2026-11-21_export.pkl of model (15 B)"]
    {
        assert!(unapproved.stdout.contains(said), "{said}: {}", unapproved.stdout);
    }
    assert_eq!(deletions(&project), [] as [Value; 0], "nobody approved");
    let done = prune(&project, &["--yes"]).exits(0);
    done.says("2026-11-22_export.pkl is deleted, confirmed by the store")
        .says("2 version(s) deleted, 2 stay");
    assert_eq!(listed(&project), [SEEDED.to_owned(), version(23)]);
    let asked = deletions(&project);
    assert_eq!(asked.len(), 4, "two objects and two manifests");
    for request in asked {
        let argument: Value = serde_json::from_str(request["body"].as_str().unwrap()).unwrap();
        assert!(argument["parent_rev"].as_str().is_some_and(|rev| rev.len() >= 9), "{argument}");
    }
    prune(&project, &["--yes"]).exits(0).says("nothing to prune");
    let all = prune(&project, &["--yes", "--uploads", "--json"]).exits(0).stdout;
    let lines: Vec<Value> = all.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["prune"]["actions"][0]["kind"]["version"], SEEDED);
    assert_eq!(lines.last().unwrap()["event"], "done");
    assert_eq!(listed(&project), [version(23)]);
    project.dacapo(&["artifacts", "prune", "--keep", "0"]).exits(3);
    prune(&project, &["modle"]).exits(3).says("did you mean `model`?");
}

#[test]
fn what_a_lock_of_any_commit_a_pin_or_a_record_names_stays() {
    let project = stocked();
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        git.args(["-c", "user.name=me", "-c", "user.email=me@x"]).args(arguments).current_dir(project.path());
        assert!(git.output().unwrap().status.success(), "{arguments:?}");
    };
    let commit = |name: &str| {
        std::fs::write(project.path().join("session.lock"), lock(name)).unwrap();
        git(&["add", "session.lock"]);
        git(&["commit", "-q", "-m", name]);
    };
    git(&["init", "-q", "-b", "main"]);
    git(&["commit", "-q", "--allow-empty", "-m", "begin"]);
    git(&["checkout", "-q", "-b", "aside"]);
    commit(&version(21));
    git(&["checkout", "-q", "main"]);
    commit(&version(23));
    let plan = prune(&project, &["--yes"]).exits(0);
    plan.says("stays: session.lock in ").says("1 version(s) deleted, 3 stay");
    assert_eq!(listed(&project), [SEEDED.to_owned(), version(21), version(23)]);

    git(&["branch", "-q", "-D", "aside"]);
    let pinned = ["--set", &format!("artifacts.model.version={}", version(21))];
    prune(&project, &pinned).exits(0).says("stays: session.toml names it").says("nothing to prune");
    // Another session keeps its versions in the same folder; this dacapo can't even read its record.
    let record = json!({"version": 99, "machine": {"base": {"artifacts": {"model": version(21)}}}});
    project.store_file("/fastai/lesson3/.dacapo/night.json", record.to_string().as_bytes());
    prune(&project, &["--yes"]).exits(0).says("stays: the record of session night names it");
    project.delete_stored("/fastai/lesson3/.dacapo/night.json");
    prune(&project, &["--yes"]).exits(0).says("1 version(s) deleted");

    // What was brought to the server is named by this session's own record.
    let brought = ["--set", &format!("artifacts.model.version={SEEDED}")];
    project.dacapo(&[&["up", "--yes"], &brought[..]].concat()).exits(0);
    std::fs::remove_file(project.sandbox().join("session.lock")).unwrap();
    let plan = prune(&project, &["--yes", "--uploads"]).exits(0);
    plan.says("stays: the record of session lesson3 names it").says("nothing to prune");
}

#[test]
fn a_shallow_history_may_hide_what_a_lock_named() {
    let project = stocked();
    let git = |folder: &std::path::Path, arguments: &[&str]| {
        let mut git = Command::new("git");
        git.args(["-c", "user.name=me", "-c", "user.email=me@x"]).args(arguments).current_dir(folder);
        assert!(git.output().unwrap().status.success(), "{arguments:?}");
    };
    let other = tempfile::tempdir().unwrap();
    git(other.path(), &["init", "-q"]);
    for message in ["one", "two"] {
        git(other.path(), &["commit", "-q", "--allow-empty", "-m", message]);
    }
    let url = format!("file://{}", other.path().display());
    git(project.path(), &["clone", "-q", "--depth=1", &url, "clone"]);
    std::fs::rename(project.path().join("clone/.git"), project.path().join(".git")).unwrap();
    prune(&project, &["--yes"]).exits(5).says("the checkout is shallow").says("git fetch --unshallow");
    assert_eq!(deletions(&project), [] as [Value; 0]);
}

#[test]
fn a_manifest_that_cannot_be_used_speaks_for_its_version() {
    let project = stocked();
    let content = ContentHash::of(b"model of day 21");
    let beside = dacapo::version::manifest_name(&version(21), &content, &content);
    let beside = format!("/fastai/lesson3/{beside}");
    project.store_file(&beside, br#"{"version": 2}"#);
    let plan =
        prune(&project, &["--yes"]).exits(0).says("stays: its manifest can't be used: its format is 2");
    plan.says("1 version(s) deleted, 3 stay");
    // Without a manifest it counts as uploaded by hand; replaced, it does as well.
    project.delete_stored(&beside);
    prune(&project, &["--yes"]).exits(0).says("nothing to prune");
    assert_eq!(listed(&project), [SEEDED.to_owned(), version(21), version(23)]);
}

#[test]
fn what_was_cut_short_is_finished_by_the_same_command() {
    let project = stocked();
    let down = json!({"answer": {"status": 403, "body": "{}"}});
    let rule =
        json!({"service": "dropbox_api", "path": "/2/files/delete_v2", "skip": 1, "times": 1, "fault": down});
    project.fail(&json!({"rules": [rule]}));
    prune(&project, &["--yes"]).exits(1);
    assert_eq!(listed(&project), [SEEDED.to_owned(), version(23)], "the other version went all the same");
    let rest = prune(&project, &["--yes"]).exits(0);
    rest.says("delete the manifest that version 2026-11-21_export.pkl of model left behind");
    prune(&project, &["--yes"]).exits(0).says("nothing to prune");
    // An answer that got lost: the deletion took place.
    keep(&project, &version(24), b"model of day 24", &json!({}));
    let rule = json!({"service": "dropbox_api", "path": "/2/files/delete_v2", "fault": "dropbox_down_after"});
    project.fail(&json!({"rules": [rule]}));
    prune(&project, &["--yes"]).exits(0).says("1 version(s) deleted");
    assert_eq!(listed(&project), [SEEDED.to_owned(), version(24)]);
}

#[test]
fn a_session_that_somebody_else_holds_is_not_pruned() {
    let project = stocked();
    prune(&project, &["--yes", "--set", "artifacts.model.version=none"]).exits(0);
    keep(&project, &version(25), b"model of day 25", &json!({}));
    let lease = json!({"owner": "ada@desktop", "laptop": "another", "writes": 7});
    let id = record(&project)["store"].clone();
    let held = json!({"version": 1, "session": "lesson3", "store": id, "lease": lease});
    project.store_file("/fastai/lesson3/.dacapo/lesson3.json", held.to_string().as_bytes());
    let before = deletions(&project).len();
    prune(&project, &["--yes"]).exits(9).says("is held by ada@desktop");
    assert_eq!(deletions(&project).len(), before);
    project.dacapo(&["sandbox", "jump", "130"]).exits(0);
    prune(&project, &["--yes"]).exits(0).says("1 version(s) deleted");
}

/// Some revision of the session's record.
fn record(project: &Project) -> Value {
    let objects = std::fs::read_dir(project.sandbox().join("dropbox/objects")).unwrap();
    let mut files = objects.filter_map(|object| std::fs::read(object.unwrap().path()).ok());
    let read = |bytes: Vec<u8>| serde_json::from_slice::<Value>(&bytes).ok();
    files.find_map(|bytes| read(bytes).filter(|value| value["store"].is_string())).expect("there is a record")
}
