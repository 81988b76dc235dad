//! What the probe sees in a checkout, and how the repo is brought.

use super::*;
use crate::facts::Tip;
use crate::provider::server::{Brought, CloneRequest, FastForwardRequest};

fn names(tips: &[Tip]) -> Vec<&str> {
    tips.iter().map(|tip| tip.name.as_str()).collect()
}

/// `how path` of everything that differs from the last commit.
fn dirty(checkout: &Checkout) -> Vec<String> {
    assert_eq!(checkout.broken, None);
    checkout.dirty.iter().map(|entry| format!("{} {}", entry.how, entry.path)).collect()
}

#[tokio::test]
async fn a_clean_checkout_has_its_branch_and_nothing_else() {
    let home = Home::new();
    let url = home.with_checkout();
    let head = home.git("lesson3", &["rev-parse", "HEAD"]);
    let expected = Checkout {
        remote: Some(url),
        head: Some(head.clone()),
        branch: Some("main".into()),
        tips: vec![Tip { name: "branch main".into(), commit: head, ..Tip::default() }],
        ..Checkout::default()
    };
    assert_eq!(home.checkout().await, expected);
}

#[tokio::test]
async fn nothing_is_none_and_everything_else_that_is_no_repository_is_broken() {
    let home = Home::new();
    assert_eq!(home.probe(&[], &[]).await.checkout, None);
    // A home that is itself a repository must not answer for the folder in it.
    home.git("", &["init", "-q"]);
    home.write("lesson3/notes.txt", "x");
    assert!(home.checkout().await.broken.unwrap().contains("not a git repository"));
    std::fs::remove_dir_all(home.path("lesson3")).unwrap();
    home.write("lesson3", "a file");
    assert!(home.checkout().await.broken.unwrap().contains("not a folder"));
    std::fs::remove_file(home.path("lesson3")).unwrap();
    std::os::unix::fs::symlink("/nowhere", home.path("lesson3")).unwrap();
    assert!(home.checkout().await.broken.unwrap().contains("symbolic link"));
}

#[tokio::test]
async fn a_missing_git_makes_the_checkout_unreadable_not_clean() {
    let home = Home::after_set_up().await;
    home.with_checkout();
    let bin = tempfile::tempdir().unwrap();
    let mut command = home.command();
    let python = Program::new("python3").args(["-c", "import sys; print(sys.executable)"]).output().unwrap();
    let python = String::from_utf8(python.stdout).unwrap();
    std::os::unix::fs::symlink(python.trim(), bin.path().join("python3")).unwrap();
    command.env("PATH", bin.path());
    let request = ProbeRequest {
        checkout: "lesson3".into(),
        artifacts: BTreeMap::new(),
        disposable: Vec::new(),
        wanted: None,
        fresh: false,
        save: None,
        notebook: None,
        setup: None,
    };
    let probe: Probe = converse(command, &Ask::Probe(&request)).await.unwrap();
    assert_eq!(probe.git, None);
    assert_eq!(probe.checkout.unwrap().broken.as_deref(), Some("git is not installed"));
    let files: Vec<_> = probe.files.unwrap().into_iter().map(|file| file.path).collect();
    assert!(files.contains(&"lesson3/train.py".to_owned()), "git no longer answers for it: {files:?}");
}

#[tokio::test]
async fn every_name_that_keeps_commits_alive_is_a_tip() {
    let home = Home::new();
    home.with_checkout();
    let first = home.git("lesson3", &["rev-parse", "HEAD"]);
    home.git("lesson3", &["branch", "side/line"]);
    home.git("lesson3", &["tag", "light"]);
    home.git("lesson3", &["tag", "-a", "-m", "x", "v1"]);
    home.git("lesson3", &["tag", "-a", "-m", "x", "v1-again", "v1"]);
    home.git("lesson3", &["notes", "add", "-m", "x"]);
    for text in ["one", "two"] {
        home.write("lesson3/train.py", text);
        home.git("lesson3", &["stash", "-q"]);
    }
    home.git("lesson3", &["config", "log.date", "iso"]);
    home.git("lesson3", &["checkout", "-q", "--detach"]);
    home.write("lesson3/train.py", "three");
    let detached = home.commit("on no branch");
    home.git("lesson3", &["worktree", "add", "-q", "--detach", "../other", "main"]);
    let checkout = home.checkout().await;
    let other = home.path("other");
    let expected = [
        "detached HEAD".to_owned(),
        format!("detached HEAD of worktree {}", other.canonicalize().unwrap().display()),
        "branch main".into(),
        "branch side/line".into(),
        "refs/notes/commits".into(),
        "stash@{0}".into(),
        "stash@{1}".into(),
        "tag light".into(),
        "tag v1".into(),
        "tag v1-again".into(),
    ];
    assert_eq!(names(&checkout.tips), expected);
    assert_eq!(checkout.tips[0].commit, detached);
    let peeled = checkout.tips.iter().filter(|tip| tip.name.starts_with("tag "));
    assert!(peeled.into_iter().all(|tip| tip.commit == first), "{:?}", checkout.tips);
    assert_ne!(checkout.tips[5].commit, checkout.tips[6].commit);
    assert_eq!(checkout.branch, None);
}

#[tokio::test]
async fn every_way_to_differ_is_dirty() {
    let home = Home::new();
    home.with_checkout();
    for name in ["edit", "stage", "gone", "old name", "both", "type"] {
        home.write(&format!("lesson3/{name}"), format!("{name} long enough to be recognised\n").repeat(9));
    }
    home.commit("more");
    home.write("lesson3/edit", "changed");
    home.write("lesson3/stage", "changed");
    home.git("lesson3", &["add", "stage"]);
    std::fs::remove_file(home.path("lesson3/gone")).unwrap();
    home.git("lesson3", &["mv", "old name", "new\nname"]);
    home.write("lesson3/both", "one");
    home.git("lesson3", &["add", "both"]);
    home.write("lesson3/both", "two");
    home.write("lesson3/dir/? \"untracked\"\t", "12345");
    home.write("lesson3/ignored.pkl", "x");
    let checkout = home.checkout().await;
    let mut found = dirty(&checkout);
    found.sort();
    let expected = [
        "deleted gone",
        "modified both",
        "modified edit",
        "renamed new\nname",
        "staged stage",
        "untracked dir/? \"untracked\"\t",
    ];
    assert_eq!(found, expected);
    let size = |how: &str| checkout.dirty.iter().find(|entry| entry.how == how).unwrap().size;
    assert_eq!((size("untracked"), size("deleted")), (Some(5), None));
}

#[tokio::test]
async fn a_name_that_is_no_utf_8_is_shown_escaped() {
    use std::os::unix::ffi::OsStrExt as _;
    let home = Home::new();
    home.with_checkout();
    let name = std::ffi::OsStr::from_bytes(b"lesson3/caf\xe9");
    std::fs::write(home.folder.path().join(name), "x").unwrap();
    assert_eq!(dirty(&home.checkout().await), ["untracked caf\\xe9"]);
}

#[tokio::test]
async fn changes_that_git_was_told_not_to_see_are_seen() {
    let home = Home::new();
    home.with_checkout();
    for name in ["assumed", "skipped", "same", "sparse", "assumed-gone"] {
        home.write(&format!("lesson3/{name}"), name);
    }
    home.commit("more");
    home.git("lesson3", &["update-index", "--assume-unchanged", "assumed", "same", "assumed-gone"]);
    home.git("lesson3", &["update-index", "--skip-worktree", "skipped", "sparse"]);
    home.write("lesson3/assumed", "new");
    home.write("lesson3/skipped", "new");
    std::fs::remove_file(home.path("lesson3/sparse")).unwrap();
    std::fs::remove_file(home.path("lesson3/assumed-gone")).unwrap();
    let mut found = dirty(&home.checkout().await);
    found.sort();
    assert_eq!(found, ["deleted assumed-gone", "modified assumed", "modified skipped"]);
}

#[tokio::test]
async fn an_artifact_is_dirty_only_where_git_tracks_it() {
    let home = Home::new();
    home.with_checkout();
    home.write("lesson3/model.bin", "1");
    assert_eq!(dirty(&home.checkout().await), ["untracked model.bin"]);
    let as_artifact = home.probe(&[("model", "model.bin")], &[]).await;
    assert_eq!(dirty(&as_artifact.checkout.unwrap()), [""; 0]);
    home.commit("now tracked");
    home.write("lesson3/model.bin", "2");
    let as_artifact = home.probe(&[("model", "model.bin")], &[]).await;
    assert_eq!(dirty(&as_artifact.checkout.unwrap()), ["modified model.bin"]);
}

#[tokio::test]
async fn an_operation_under_way_is_told() {
    let home = Home::new();
    home.with_checkout();
    home.git("lesson3", &["checkout", "-q", "-b", "other"]);
    home.write("lesson3/train.py", "theirs");
    home.commit("theirs");
    home.git("lesson3", &["checkout", "-q", "main"]);
    home.write("lesson3/train.py", "ours");
    home.commit("ours");
    for (command, name) in [("merge", "merge"), ("cherry-pick", "cherry-pick"), ("rebase", "rebase")] {
        let failed = Program::new("git")
            .args(["-c", "user.name=x", "-c", "user.email=x", command, "other"])
            .current_dir(home.path("lesson3"))
            .output()
            .unwrap();
        assert!(!failed.status.success());
        let checkout = home.checkout().await;
        assert_eq!(checkout.unfinished, [name]);
        assert_eq!(dirty(&checkout), ["unmerged train.py"]);
        home.git("lesson3", &[command, "--abort"]);
    }
    home.git("lesson3", &["bisect", "start"]);
    assert_eq!(home.checkout().await.unfinished, ["bisect"]);
}

#[tokio::test]
async fn a_submodules_unpushed_commit_is_dirt() {
    let home = Home::after_set_up().await;
    home.with_checkout();
    home.git("", &["clone", "-q", "--bare", "remote.git", "library.git"]);
    let library = home.path("library.git");
    home.git("lesson3", &["submodule", "--quiet", "add", library.to_str().unwrap(), "lib"]);
    home.commit("with a library");
    assert_eq!(dirty(&home.checkout().await), [""; 0]);
    home.write("lesson3/lib/train.py", "own work");
    home.git("lesson3/lib", &["commit", "-qam", "own work"]);
    home.commit("points at a commit that only this server has");
    assert_eq!(dirty(&home.checkout().await), ["unpushed lib"]);
    home.write("lesson3/lib/new.txt", "x");
    assert_eq!(dirty(&home.checkout().await), ["modified lib", "untracked lib/new.txt", "unpushed lib"]);
}

#[tokio::test]
async fn a_linked_work_tree_outside_the_home_is_looked_at_too() {
    let home = Home::new();
    home.with_checkout();
    let elsewhere = tempfile::tempdir().unwrap();
    let place = elsewhere.path().join("tree");
    home.git("lesson3", &["worktree", "add", "-q", "-b", "side", place.to_str().unwrap()]);
    std::fs::write(place.join("train.py"), "changed").unwrap();
    let found = dirty(&home.checkout().await);
    assert!(
        found.len() == 1 && found[0].starts_with("modified ../") && found[0].ends_with("/tree/train.py"),
        "{found:?}"
    );
}

#[tokio::test]
async fn a_broken_name_is_not_left_out_in_silence() {
    let home = Home::new();
    home.with_checkout();
    home.write("lesson3/.git/refs/heads/lost", "not a hash\n");
    assert!(home.checkout().await.broken.is_some());
}

#[tokio::test]
async fn the_environment_has_no_say_and_nothing_is_written() {
    let home = Home::new();
    home.with_checkout();
    home.write("lesson3/train.py", "print(2)\n");
    home.git("lesson3", &["config", "core.fsmonitor", "touch ../watched; false"]);
    let index = home.read("lesson3/.git/index");
    let mut command = home.command();
    command.env("GIT_DIR", "/nowhere").env("GIT_WORK_TREE", "/").env("GIT_INDEX_FILE", "/nowhere");
    let request = ProbeRequest {
        checkout: "lesson3".into(),
        artifacts: BTreeMap::new(),
        disposable: Vec::new(),
        wanted: None,
        fresh: false,
        save: None,
        notebook: None,
        setup: None,
    };
    let probe: Probe = converse(command, &Ask::Probe(&request)).await.unwrap();
    assert_eq!(dirty(&probe.checkout.unwrap()), ["modified train.py"]);
    assert_eq!(home.read("lesson3/.git/index"), index);
    assert!(!home.path("watched").exists());
}

// Bringing it.

fn clone_request(url: &str) -> CloneRequest {
    CloneRequest {
        url: url.into(),
        branch: "main".into(),
        commit: None,
        path: "work/lesson3".into(),
        known_hosts: vec!["example.org ssh-ed25519 AAAA".into()],
        user_name: Some("Some One".into()),
        user_email: Some("someone@example.org".into()),
    }
}

/// A remote with two commits on `main`; returns its url and them.
fn remote(home: &Home) -> (String, String, String) {
    let url = home.with_checkout();
    let first = home.git("lesson3", &["rev-parse", "HEAD"]);
    home.write("lesson3/train.py", "print(2)\n");
    let second = home.commit("second");
    home.git("lesson3", &["push", "-q"]);
    (url, first, second)
}

#[tokio::test]
async fn a_clone_is_whole_and_knows_who_commits_and_where_it_came_from() {
    let (origin, home) = (Home::new(), Home::new());
    let (url, _, second) = remote(&origin);
    home.write("work/lesson3.dacapo-part/half", "left by a killed clone");
    let ask = clone_request(&url);
    let brought: Brought = home.ask(&Ask::Clone(&ask)).await.unwrap();
    assert_eq!(brought, Brought { commit: second, branch: Some("main".into()) });
    let setting = |key: &str| home.git("work/lesson3", &["config", "--local", key]);
    assert_eq!(setting("user.name"), "Some One");
    assert_eq!(setting("branch.main.merge"), "refs/heads/main");
    let ssh = setting("core.sshCommand");
    let known_hosts = home.path(".dacapo/known_hosts").canonicalize().unwrap();
    assert!(
        ssh.contains(known_hosts.to_str().unwrap()) && ssh.contains("StrictHostKeyChecking=yes"),
        "{ssh}"
    );
    assert_eq!(home.read(".dacapo/known_hosts"), b"example.org ssh-ed25519 AAAA\n");
    assert!(!home.path("work/lesson3.dacapo-part").exists());
}

#[tokio::test]
async fn a_clone_at_an_older_commit_stays_on_its_branch() {
    let (origin, home) = (Home::new(), Home::new());
    let (url, first, second) = remote(&origin);
    let ask = CloneRequest { commit: Some(first.clone()), ..clone_request(&url) };
    let brought: Brought = home.ask(&Ask::Clone(&ask)).await.unwrap();
    assert_eq!(brought, Brought { commit: first, branch: Some("main".into()) });
    assert_eq!(home.git("work/lesson3", &["rev-parse", "main@{upstream}"]), second);
}

#[tokio::test]
async fn a_second_clone_leaves_work_as_it_is() {
    let (origin, home) = (Home::new(), Home::new());
    let (url, ..) = remote(&origin);
    let ask = clone_request(&url);
    let brought: Brought = home.ask(&Ask::Clone(&ask)).await.unwrap();
    home.write("work/lesson3/train.py", "work");
    assert_eq!(home.ask::<Brought>(&Ask::Clone(&ask)).await.unwrap(), brought);
    assert_eq!(home.read("work/lesson3/train.py"), b"work");
}

#[tokio::test]
async fn a_clone_that_cannot_be_leaves_nothing_and_says_why() {
    let (origin, home) = (Home::new(), Home::new());
    let (url, first, _) = remote(&origin);
    let refused = |ask: CloneRequest| {
        let home = &home;
        async move { kind(home.ask::<Brought>(&Ask::Clone(&ask)).await) }
    };
    let good = clone_request(&url);
    assert_eq!(refused(CloneRequest { branch: "none".into(), ..good.clone() }).await, Kind::NoBranch);
    assert_eq!(refused(CloneRequest { url: format!("{url}-none"), ..good.clone() }).await, Kind::NoRepo);
    let unknown = Some("1".repeat(40));
    assert_eq!(refused(CloneRequest { commit: unknown, ..good.clone() }).await, Kind::NoCommit);
    origin.git("lesson3", &["checkout", "-q", "-b", "side", &first]);
    origin.write("lesson3/side", "x");
    let side = origin.commit("on another branch");
    origin.git("lesson3", &["push", "-q", "origin", "side"]);
    assert_eq!(refused(CloneRequest { commit: Some(side), ..good.clone() }).await, Kind::NoCommit);
    assert_eq!(std::fs::read_dir(home.path("work")).unwrap().count(), 0);
    home.write("work/lesson3/mine", "x");
    assert_eq!(refused(good).await, Kind::Occupied);
    assert_eq!(home.read("work/lesson3/mine"), b"x");
}

#[tokio::test]
async fn an_ssh_url_without_an_agent_says_so() {
    let home = Home::new();
    for url in ["git@example.org:me/x.git", "ssh://example.org/x"] {
        let ask = clone_request(url);
        assert_eq!(kind(home.ask::<Brought>(&Ask::Clone(&ask)).await), Kind::AgentAbsent, "{url}");
    }
}

#[tokio::test]
async fn a_password_in_a_url_is_not_repeated() {
    let home = Home::new();
    let ask = clone_request("https://me:hunter2@127.0.0.1:1/x.git");
    let error = home.ask::<Brought>(&Ask::Clone(&ask)).await.unwrap_err();
    assert!(!error.to_string().contains("hunter2"), "{error}");
}

/// A clone at the first of two commits, and how to bring it to the second.
async fn behind() -> (Home, Home, FastForwardRequest, String) {
    let (origin, home) = (Home::new(), Home::new());
    let (url, first, second) = remote(&origin);
    let ask = CloneRequest { commit: Some(first.clone()), path: "lesson3".into(), ..clone_request(&url) };
    home.ask::<Brought>(&Ask::Clone(&ask)).await.unwrap();
    let forward =
        FastForwardRequest { path: "lesson3".into(), branch: "main".into(), to: second, known_hosts: vec![] };
    (origin, home, forward, first)
}

#[tokio::test]
async fn a_clean_checkout_is_brought_forward_and_once_is_enough() {
    let (_origin, home, ask, _) = behind().await;
    home.write("lesson3/untracked.txt", "stays");
    for _ in 0..2 {
        let brought: Brought = home.ask(&Ask::FastForward(&ask)).await.unwrap();
        assert_eq!(brought.commit, ask.to);
    }
    assert_eq!(home.read("lesson3/train.py"), b"print(2)\n");
    assert_eq!(home.read("lesson3/untracked.txt"), b"stays");
}

#[tokio::test]
async fn whatever_is_in_the_way_of_going_forward_is_left_alone() {
    let (_origin, home, ask, first) = behind().await;
    let forward = || async { kind(home.ask::<Brought>(&Ask::FastForward(&ask)).await) };
    home.write("lesson3/train.py", "work");
    assert_eq!(forward().await, Kind::Dirty);
    assert_eq!(home.read("lesson3/train.py"), b"work");
    home.commit("diverged");
    assert_eq!(forward().await, Kind::Diverged);
    home.git("lesson3", &["checkout", "-q", "-b", "side", &first]);
    assert_eq!(forward().await, Kind::OtherBranch);
}

#[tokio::test]
async fn going_forward_overwrites_no_ignored_or_untracked_file() {
    for name in ["export.pkl", "notes.txt"] {
        let (origin, home, ask, first) = behind().await;
        origin.write(&format!("lesson3/{name}"), "from the remote");
        origin.git("lesson3", &["add", "-f", name]);
        let to = origin.commit("adds it");
        origin.git("lesson3", &["push", "-q"]);
        home.write(&format!("lesson3/{name}"), "trained for a day");
        let ask = FastForwardRequest { to, ..ask };
        assert_eq!(kind(home.ask::<Brought>(&Ask::FastForward(&ask)).await), Kind::Dirty, "{name}");
        assert_eq!(home.read(&format!("lesson3/{name}")), b"trained for a day");
        assert_eq!(home.git("lesson3", &["rev-parse", "HEAD"]), first);
    }
}
