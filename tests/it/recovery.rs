//! Files that are lost, records that are lost, remotes that move: the next run finds its way.

use std::path::Path;
use std::process::Command;

use crate::support::Project;

#[test]
fn local_files_are_caches() {
    let project = Project::new();
    project.dacapo(&["up", "--yes"]).exits(0);
    for cache in [".local", ".cache"] {
        std::fs::remove_dir_all(project.laptop().join(cache)).unwrap();
    }
    project.dacapo(&["plan", "--detailed-exitcode"]).exits(0).says("nothing to do");
    project.dacapo(&["down", "--yes"]).exits(0);
    assert_eq!(project.bill()["billing"], serde_json::json!([]));
}

#[test]
fn a_machine_whose_record_is_lost_is_found_by_its_mark_and_its_work_is_guarded() {
    let project = Project::new();
    project.dacapo(&["up", "--yes"]).exits(0);
    project.delete_stored("/fastai/lesson3/.dacapo/lesson3.json");
    project.on_server("echo work > ~/work.txt");
    project.dacapo(&["plan"]).exits(0).says("which carries this session's mark");
    project.dacapo(&["down", "--yes"]).exits(5).says("new file: work.txt");
    project.on_server("rm ~/work.txt");
    project.dacapo(&["down", "--yes"]).exits(0);
    assert_eq!(project.bill()["billing"], serde_json::json!([]));
}

#[test]
fn a_machine_whose_record_is_lost_gets_the_code_and_the_agent_again() {
    let project = Project::new();
    project.dacapo(&["up", "--yes"]).exits(0);
    project.delete_stored("/fastai/lesson3/.dacapo/lesson3.json");
    push_to_remote(&project, "first.txt");
    project.dacapo(&["up", "--yes"]).exits(0).says("pinned from now on");
    assert!(project.server().join("lesson3/first.txt").exists());
    project.dacapo(&["plan", "--detailed-exitcode"]).exits(0);
    project.dacapo(&["down", "--yes"]).exits(0);
}

#[test]
fn absence_is_not_believed_while_a_record_may_have_been_lost() {
    let project = Project::new();
    project.dacapo(&["up", "--yes"]).exits(0);
    project.dacapo(&["down", "--yes"]).exits(0);
    project.delete_stored("/fastai/lesson3/.dacapo/lesson3.json");
    project
        .dacapo(&["plan", "--set", "state=absent", "--detailed-exitcode"])
        .exits(2)
        .says("watch the cloud");
    project.dacapo(&["down", "--yes"]).exits(0);
    project.dacapo(&["plan", "--set", "state=absent", "--detailed-exitcode"]).exits(0);
}

#[test]
fn a_clean_checkout_is_fast_forwarded_and_work_in_the_way_is_left_alone() {
    let project = Project::new();
    project.dacapo(&["up", "--yes"]).exits(0);
    push_to_remote(&project, "first.txt");
    project.dacapo(&["plan"]).exits(0).says("fast-forward the checkout");
    project.dacapo(&["apply", "--yes"]).exits(0);
    assert!(project.server().join("lesson3/first.txt").exists());

    project.on_server("echo mine >> README.md");
    project.dacapo(&["plan", "--detailed-exitcode"]).exits(0).says("differ from the last commit");
    push_to_remote(&project, "second.txt");
    project.dacapo(&["apply", "--yes"]).exits(5).says("has work of its own");
    assert!(!project.server().join("lesson3/second.txt").exists());
    let readme = std::fs::read_to_string(project.server().join("lesson3/README.md")).unwrap();
    assert!(readme.ends_with("mine\n"));
}

#[test]
fn a_spec_that_lies_in_the_repo_it_names_is_rehearsed_from_that_checkout() {
    let spec = include_str!("../../session.toml").replace("me/lesson3.git", "you/own.git");
    let mut project = Project::without_world(&spec);
    std::fs::write(project.path().join(".gitignore"), ".dacapo\noutside-home\n").unwrap();
    std::fs::write(project.path().join("own.txt"), "own\n").unwrap();
    git(project.path(), &["init", "-qb", "main", "."]);
    git(project.path(), &["add", "-A"]);
    git(project.path(), &["commit", "-qm", "one"]);
    git(project.path(), &["remote", "add", "origin", "ssh://git@github.com/you/own"]);
    project.start_world();
    project.dacapo(&["up", "--yes"]).exits(0);
    assert!(project.server().join("lesson3/own.txt").exists());
    let lock = std::fs::read_to_string(project.sandbox().join("session.lock")).unwrap();
    assert!(!lock.contains("commit ="), "the commit that holds the spec is the commit: {lock}");
    project.dacapo(&["up", "--yes", "--locked"]).exits(0);
}

/// Commits a new file to the remote's branch, as another person would.
fn push_to_remote(project: &Project, file: &str) {
    let remote = project.sandbox().join("git/github.com/me/lesson3.git");
    let folder = tempfile::tempdir().unwrap();
    git(folder.path(), &["clone", "-q", remote.to_str().unwrap(), "."]);
    std::fs::write(folder.path().join(file), "new\n").unwrap();
    git(folder.path(), &["add", "-A"]);
    git(folder.path(), &["commit", "-qm", file]);
    git(folder.path(), &["push", "-q"]);
}

fn git(folder: &Path, arguments: &[&str]) {
    let output = Command::new("git")
        .args(["-c", "user.name=x", "-c", "user.email=x@example.invalid"])
        .args(arguments)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}
