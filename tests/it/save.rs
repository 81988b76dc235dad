//! `dacapo save`: what was changed on the server is elsewhere afterwards, and the session goes on.

use std::fs;
use std::process::Command;

use crate::support::{Project, Ran};

fn up() -> Project {
    let project = Project::new();
    project.dacapo(&["up", "--yes"]).exits(0);
    project
}

/// The bare repository that stands for the remote.
fn remote(project: &Project, arguments: &[&str]) -> String {
    let git = project.sandbox().join("git/github.com/me/lesson3.git");
    let output = Command::new("git").arg("--git-dir").arg(git).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// Commits something to the remote's branch behind the server's back.
fn move_on(project: &Project) {
    let tree = remote(project, &["rev-parse", "main^{tree}"]);
    let identity = ["-c", "user.name=other", "-c", "user.email=other@example.invalid"];
    let commit =
        remote(project, &[&identity[..], &["commit-tree", "-p", "main", "-m", "theirs", &tree]].concat());
    remote(project, &["update-ref", "refs/heads/main", &commit]);
}

fn save(project: &Project) -> Ran {
    project.dacapo(&["save", "-m", "what I did", "--yes"])
}

#[test]
fn what_git_add_would_take_is_listed_committed_pushed_and_the_model_is_stored() {
    let project = up();
    project.on_server("echo more >> train.py; mkdir -p new; echo x > 'new/a b'; git rm -q README.md; echo model > export.pkl");
    let ran = save(&project).exits(0);
    for said in [
        "modified: train.py",
        "untracked: new/a b",
        "deleted: README.md",
        "saved: `main` is at",
        "saved: model is version",
    ] {
        assert!(ran.stdout.contains(said), "`{said}` is not in\n{}", ran.stdout);
    }
    assert_eq!(remote(&project, &["log", "-1", "--format=%s", "main"]), "what I did");
    assert_eq!(remote(&project, &["show", "main:new/a b"]), "x");
    assert!(!remote(&project, &["ls-tree", "-r", "--name-only", "main"]).contains("export.pkl"));
    project.on_server("test -z \"$(git status --porcelain | grep -v export.pkl)\"; test \"$(git rev-parse HEAD)\" = \"$(git rev-parse origin/main)\"");
    save(&project).exits(0).says("nothing to save");
    // The session goes on, and nothing stands in the way of its end.
    project.dacapo(&["plan", "--detailed-exitcode"]).exits(0);
    project.dacapo(&["down", "--yes"]).exits(0);
}

#[test]
fn commits_that_were_only_made_there_are_pushed_and_a_cut_push_is_made_up_for() {
    let project = up();
    project.on_server("echo more >> train.py; git -c user.name=me -c user.email=me@x commit -qam mine");
    save(&project).exits(0).says("push `main`, which is at");
    assert_eq!(remote(&project, &["log", "-1", "--format=%s", "main"]), "mine");
}

#[test]
fn what_needs_a_decision_is_refused_and_nothing_is_merged_or_rebased() {
    let project = up();
    let head = || fs::read_to_string(project.server().join("lesson3/.git/refs/heads/main")).unwrap();
    let before = head();
    project.on_server("echo more >> train.py; git checkout -q --detach");
    save(&project).exits(5).says("no branch (a detached HEAD)");
    project.on_server("git checkout -q -b other");
    save(&project).exits(5).says("the branch `other`, not on `main`");
    project.on_server("git checkout -q main");
    move_on(&project);
    save(&project).exits(5).says("has commits that the checkout lacks").says("dacapo ssh -A");
    project.on_server(
        "git config user.name me; git config user.email me@x; git stash -q; echo other > train.py; \
         git commit -qam conflict; git stash pop -q 2>/dev/null || true; git status --porcelain | grep -q ^UU",
    );
    save(&project).exits(5).says("has conflicts");
    project.on_server("git checkout -q HEAD -- train.py; git stash drop -q; git reset -q --hard HEAD~1");
    assert_eq!(head(), before, "nothing was committed");
    assert_eq!(remote(&project, &["log", "-1", "--format=%s", "main"]), "theirs");
}

#[test]
fn a_file_with_the_name_of_a_secret_is_left_out_and_said() {
    let project = up();
    project.on_server("echo TOKEN=1 > .env; echo more >> train.py");
    save(&project).exits(5).says("`.env` is left out").says("repo.save");
    let files = remote(&project, &["ls-tree", "-r", "--name-only", "main"]);
    assert!(!files.contains(".env"), "{files}");
    assert_eq!(remote(&project, &["log", "-1", "--format=%s", "main"]), "what I did", "the rest was saved");
}

#[test]
fn nobody_is_waited_for_and_without_a_server_there_is_nothing_to_save() {
    let project = Project::new();
    save(&project).exits(1).says("has no server").says("dacapo up");
    project.dacapo(&["up", "--yes"]).exits(0);
    project.on_server("echo more >> train.py");
    let before = remote(&project, &["rev-parse", "main"]);
    project.dacapo(&["save"]).exits(3).says("pass `--yes`").says("modified: train.py");
    project.dacapo(&["save", "--yes", "-m", " "]).exits(3).says("needs a message");
    assert_eq!(remote(&project, &["rev-parse", "main"]), before);
    let told = project.dacapo(&["save", "--json"]).exits(3).stdout;
    assert!(told.contains("\"action\":\"commit\""), "{told}");
}
