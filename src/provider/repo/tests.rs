//! Real repositories in temporary directories, and real git.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use tempfile::TempDir;

use super::*;
use crate::facts::{self, Side};

const URL: &str = "git@github.com:me/lesson3.git";

/// A directory with a bare remote, a checkout of it, and room for a cache.
struct World {
    directory: TempDir,
}

impl World {
    fn new() -> Self {
        let world = Self { directory: tempfile::tempdir().unwrap() };
        world.git("", &["init", "--quiet", "--bare", "remote.git"]);
        world.git("", &["init", "--quiet", "-b", "main", "checkout"]);
        world.git("checkout", &["remote", "add", "origin", "../remote.git"]);
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn environment(&self) -> GitEnvironment {
        GitEnvironment {
            variables: vec![("HOME".into(), self.directory.path().to_str().unwrap().into())],
            cache: self.path("cache"),
            isolated: true,
            ..GitEnvironment::default()
        }
    }

    fn remote(&self) -> Remote {
        Remote::in_directory(&self.path("remote.git"), self.environment())
    }

    fn git(&self, below: &str, arguments: &[&str]) -> String {
        let output = Command::new("git")
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.directory.path())
            .envs([("GIT_CONFIG_NOSYSTEM", "1"), ("GIT_CONFIG_GLOBAL", "/dev/null")])
            .envs([("GIT_AUTHOR_NAME", "me"), ("GIT_AUTHOR_EMAIL", "me@x")])
            .envs([("GIT_COMMITTER_NAME", "me"), ("GIT_COMMITTER_EMAIL", "me@x")])
            .current_dir(self.path(below))
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn commit(&self, message: &str) -> String {
        self.git("checkout", &["commit", "--quiet", "--allow-empty", "-m", message]);
        self.git("checkout", &["rev-parse", "HEAD"])
    }

    fn push(&self, what: &str) {
        self.git("checkout", &["push", "--quiet", "--force", "origin", what]);
    }

    async fn contains(&self, commit: &str) -> bool {
        let remote = self.remote();
        let refs = remote.refs().await.unwrap();
        let contained = remote.contained(&refs, &BTreeSet::from([commit.to_owned()])).await.unwrap();
        contained[commit]
    }

    fn script(&self, text: &str) -> String {
        let path = self.path("fake-ssh");
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn refs_are_listed_with_tags_peeled() {
    let world = World::new();
    let commit = world.commit("one");
    world.git("checkout", &["tag", "-a", "-m", "first", "v1"]);
    world.push("main");
    world.push("v1");
    let refs = world.remote().refs().await.unwrap();
    assert_eq!(refs["refs/heads/main"], commit);
    assert_eq!(refs["refs/tags/v1"], commit);
    assert!(!refs.contains_key("refs/tags/v1^{}"), "{refs:?}");
}

#[tokio::test]
async fn an_empty_remote_has_no_refs_and_contains_nothing() {
    let world = World::new();
    let commit = world.commit("one");
    assert_eq!(world.remote().refs().await.unwrap(), BTreeMap::new());
    assert!(!world.contains(&commit).await);
}

#[tokio::test]
async fn tips_need_no_history_and_ancestors_do() {
    let world = World::new();
    let (one, two) = (world.commit("one"), world.commit("two"));
    world.push("main");
    let unpushed = world.commit("three");
    let remote = world.remote();
    let refs = remote.refs().await.unwrap();
    let contained = remote.contained(&refs, &BTreeSet::from([two.clone()])).await.unwrap();
    assert_eq!(contained, BTreeMap::from([(two.clone(), true)]));
    assert_eq!(
        world.git("", &["-C", remote.cache.to_str().unwrap(), "for-each-ref"]),
        "",
        "nothing was fetched"
    );
    let asked = BTreeSet::from([one.clone(), two.clone(), unpushed.clone()]);
    let contained =
        tokio::spawn(async move { remote.contained(&refs, &asked).await }).await.unwrap().unwrap();
    assert_eq!(contained, BTreeMap::from([(one, true), (two, true), (unpushed, false)]));
}

#[tokio::test]
async fn a_commit_that_was_forced_away_is_not_contained_although_it_is_in_the_cache() {
    let world = World::new();
    let base = world.commit("base");
    let (lost, on_top) = (world.commit("lost"), world.commit("on top"));
    world.push("main");
    assert!(world.contains(&lost).await);
    world.git("checkout", &["reset", "--quiet", "--hard", &base]);
    world.commit("rewritten");
    world.push("main");
    assert!(!world.contains(&lost).await);
    assert!(!world.contains(&on_top).await);
    assert!(world.contains(&base).await);
    // Back under another name: a tag is as good as a branch.
    world.git("checkout", &["tag", "rescue", &on_top]);
    world.push("rescue");
    assert!(world.contains(&lost).await);
}

#[tokio::test]
async fn the_refs_that_were_listed_decide_not_those_that_came_later() {
    let world = World::new();
    world.commit("one");
    world.push("main");
    let remote = world.remote();
    let refs = remote.refs().await.unwrap();
    let (late, later) = (world.commit("late"), world.commit("later"));
    world.push("main");
    assert!(world.contains(&late).await, "the cache knows it");
    let contained = remote.contained(&refs, &BTreeSet::from([late.clone(), later])).await.unwrap();
    assert!(!contained[&late]);
}

#[tokio::test]
async fn remotes_that_filter_that_ignore_filters_and_that_refuse_them_all_answer() {
    let settings: [&[(&str, &str)]; 3] = [
        &[("uploadpack.allowFilter", "true")],
        &[],
        &[("uploadpack.allowFilter", "true"), ("uploadpackfilter.tree.allow", "false")],
    ];
    for set in settings {
        let world = World::new();
        for (key, value) in set {
            world.git("remote.git", &["config", key, value]);
        }
        std::fs::write(world.path("checkout/file"), "text").unwrap();
        world.git("checkout", &["add", "file"]);
        let one = world.commit("one");
        world.commit("two");
        world.push("main");
        assert!(world.contains(&one).await, "{set:?}");
        // What was fetched without its files can be fetched into again.
        let three = world.commit("three");
        world.commit("four");
        world.push("main");
        assert!(world.contains(&three).await, "{set:?}");
        assert!(!world.contains(&"ab".repeat(20)).await, "{set:?}");
    }
}

#[tokio::test]
async fn ancestry_is_told_in_both_directions() {
    let world = World::new();
    let (one, two) = (world.commit("one"), world.commit("two"));
    world.push("main");
    let local = world.commit("three");
    let remote = world.remote();
    let refs = remote.refs().await.unwrap();
    assert!(remote.is_ancestor(&refs, &one, &two).await.unwrap());
    assert!(remote.is_ancestor(&refs, &two, &two).await.unwrap());
    assert!(!remote.is_ancestor(&refs, &two, &one).await.unwrap());
    assert!(!remote.is_ancestor(&refs, &local, &two).await.unwrap());
    remote.is_ancestor(&refs, &two, &local).await.unwrap_err();
}

#[tokio::test]
async fn names_that_are_no_hashes_never_reach_git() {
    let world = World::new();
    world.commit("one");
    world.push("main");
    for name in ["HEAD", "--all", "refs/heads/main", "", "main\nHEAD"] {
        assert!(!world.contains(name).await, "{name:?}");
    }
}

#[tokio::test]
async fn an_unreachable_remote_is_said_in_gits_words() {
    let world = World::new();
    let remote = Remote::in_directory(&world.path("nowhere.git"), world.environment());
    let error = remote.refs().await.unwrap_err();
    assert_eq!(error.kind, ExitCode::Error);
    assert!(error.to_string().contains("does not appear to be a git repository"), "{error}");
}

#[tokio::test]
async fn a_refused_key_is_a_matter_of_credentials_and_ssh_is_asked_in_batch_mode() {
    let world = World::new();
    let seen = world.path("seen");
    let script = world.script(&format!(
        "{{ echo \"$@\"; env; }} > {}; echo 'git@github.com: Permission denied (publickey).' >&2; exit 255",
        seen.display()
    ));
    let environment = GitEnvironment {
        ssh_command: Some(script),
        agent: Some("/run/agent.sock".into()),
        ..world.environment()
    };
    let error = Remote::new(URL, environment).unwrap().refs().await.unwrap_err();
    assert_eq!(error.kind, ExitCode::Credentials);
    assert!(error.to_string().contains("Permission denied (publickey)"), "{error}");
    assert!(error.hint.unwrap().contains("`ssh-add -l`"));
    let seen = std::fs::read_to_string(seen).unwrap();
    assert!(seen.contains("-o BatchMode=yes") && seen.contains("git@github.com"), "{seen}");
    assert!(seen.contains("SSH_AUTH_SOCK=/run/agent.sock") && !seen.contains("CARGO"), "{seen}");
}

#[tokio::test]
async fn an_unknown_host_key_is_answered_with_the_way_to_learn_it() {
    let world = World::new();
    let script = world.script("echo 'Host key verification failed.' >&2; exit 255");
    let environment = GitEnvironment { ssh_command: Some(script), ..world.environment() };
    let error = Remote::new(URL, environment).unwrap().refs().await.unwrap_err();
    assert_eq!(error.kind, ExitCode::Error);
    assert!(error.hint.unwrap().contains("`ssh -T git@github.com` once"));
}

#[tokio::test]
async fn a_child_that_does_not_end_is_ended() {
    let world = World::new();
    let mut command = child::command("sleep", &world.environment());
    command.arg("600");
    let error = child::finish(command, "", Duration::from_millis(50)).await.err().unwrap();
    assert!(error.to_string().contains("did not end"), "{error}");
}

#[test]
fn children_never_inherit_our_secrets() {
    for isolated in [true, false] {
        let environment = GitEnvironment { isolated, ..GitEnvironment::default() };
        let command = child::git(&environment);
        for name in crate::credentials::SECRET_VARIABLES {
            let removed = command.as_std().get_envs().any(|(key, value)| key == name && value.is_none());
            assert!(removed || isolated, "{name}");
        }
    }
}

#[tokio::test]
async fn known_hosts_are_found_by_host_and_port_hashed_ones_too() {
    let world = World::new();
    let file = world.path("known_hosts");
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl";
    std::fs::write(&file, format!("github.com,192.0.2.1 {key}\n[git.example]:2222 {key}\n")).unwrap();
    let environment = world.environment();
    let lines = known_hosts("github.com", None, &environment, Some(&file)).await.unwrap();
    assert_eq!(lines, [format!("github.com,192.0.2.1 {key}")]);
    let lines = known_hosts("git.example", Some(2222), &environment, Some(&file)).await.unwrap();
    assert_eq!(lines, [format!("[git.example]:2222 {key}")]);
    let hashed = Command::new("ssh-keygen").args(["-q", "-H", "-f"]).arg(&file).output().unwrap();
    assert!(hashed.status.success());
    let lines = known_hosts("github.com", Some(22), &environment, Some(&file)).await.unwrap();
    assert!(lines.len() == 1 && lines[0].starts_with("|1|") && lines[0].ends_with(key), "{lines:?}");
    for (host, port) in [("gitlab.com", None), ("github.com", Some(2222)), ("-lf", None)] {
        let error = known_hosts(host, port, &environment, Some(&file)).await.unwrap_err();
        assert!(error.hint.unwrap().contains("ssh -T"));
    }
    known_hosts("github.com", None, &environment, None).await.expect_err("the user's own file is not read");
}

#[test]
fn a_directory_outside_any_checkout_of_the_repo_has_none() {
    let world = World::new();
    assert_eq!(local_checkout(world.directory.path(), URL, "main", None), None);
    assert_eq!(local_checkout(&world.path("checkout"), URL, "main", None), None);
    assert_eq!(local_checkout(&world.path("nowhere"), URL, "main", None), None);
}

/// Checks what holds for every kind of checkout, through the library or through git.
fn check_local_checkout(world: &World) {
    let directory = world.path("checkout");
    let read = |tip: Option<&str>| {
        local_checkout(&directory, "ssh://git@github.com/me/lesson3", "main", tip).unwrap()
    };
    world.git("checkout", &["remote", "set-url", "origin", URL]);
    assert_eq!(read(None), facts::LocalCheckout { unpushed: 0, dirty: false }, "unborn");
    let one = world.commit("one");
    assert_eq!(read(None).unpushed, 1, "the remote has no such branch");
    let two = world.commit("two");
    assert_eq!(read(Some(&one)).unpushed, 1);
    assert_eq!(read(Some(&two)).unpushed, 0);
    world.git("checkout", &["update-ref", "refs/remotes/origin/main", &one]);
    assert_eq!(read(Some(&"ab".repeat(one.len() / 2))).unpushed, 1, "what was fetched last stands for it");
    std::fs::write(directory.join(".gitignore"), "*.pkl\n").unwrap();
    world.git("checkout", &["add", ".gitignore"]);
    world.commit("ignore");
    std::fs::write(directory.join("export.pkl"), "model").unwrap();
    assert!(!read(Some(&two)).dirty, "ignored files are nobody's work");
    std::fs::write(directory.join("notes.txt"), "new").unwrap();
    assert!(read(Some(&two)).dirty);
    std::fs::create_dir(directory.join("below")).unwrap();
    assert!(local_checkout(&directory.join("below"), URL, "main", None).unwrap().dirty);
}

#[test]
fn a_checkout_says_what_the_remote_lacks() {
    check_local_checkout(&World::new());
}

#[test]
fn a_checkout_that_the_library_cannot_read_says_the_same() {
    let world = World::new();
    std::fs::remove_dir_all(world.path("checkout")).unwrap();
    world.git("", &["init", "--quiet", "-b", "main", "--object-format=sha256", "checkout"]);
    world.git("checkout", &["remote", "add", "origin", URL]);
    assert!(git2::Repository::discover(world.path("checkout")).is_err());
    check_local_checkout(&world);
}

#[test]
fn whoever_commits_is_read_from_the_checkout_or_from_the_sandboxs_home() {
    let world = World::new();
    world.git("checkout", &["config", "user.name", "Ada"]);
    world.git("checkout", &["config", "user.email", "ada@x"]);
    let real = GitEnvironment::default();
    assert_eq!(identity(&world.path("checkout"), &real), (Some("Ada".into()), Some("ada@x".into())));
    let sandbox = world.environment();
    assert_eq!(identity(&world.path("checkout"), &sandbox), (None, None));
    std::fs::write(world.path(".gitconfig"), "[user]\n\tname = Sand Box\n").unwrap();
    assert_eq!(identity(&world.path("checkout"), &sandbox), (Some("Sand Box".into()), None));
}

#[tokio::test]
async fn every_lock_of_every_ref_is_remembered_whatever_became_of_it() {
    let world = World::new();
    let write = |path: &str, text: &str| {
        let path = world.path("checkout").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        world.git("checkout", &["add", "-A"]);
    };
    write("session.lock", "first");
    world.commit("one");
    write("session.lock", "second");
    write("deep/er/night.lock", "night");
    world.commit("two");
    world.git("checkout", &["checkout", "--quiet", "-b", "side", "HEAD~1"]);
    write("session.lock", "on the side");
    world.commit("side");
    world.git("checkout", &["checkout", "--quiet", "main"]);
    // A merge that throws the side's lock away and writes one of its own.
    world.git("checkout", &["merge", "--quiet", "-s", "ours", "--no-commit", "side"]);
    write("session.lock", "by the merge");
    world.commit("merge");
    world.git("checkout", &["branch", "--quiet", "-D", "side"]);
    world.git("checkout", &["rm", "--quiet", "session.lock"]);
    world.commit("gone");
    write("session.lock", "in the stash \u{fffd}");
    world.git("checkout", &["stash", "--quiet"]);
    write("Cargo.lock", &"large".repeat(20_000));
    world.commit("another program's");

    let directory = world.path("checkout").join("deep");
    let mut found = past_locks(&directory, &world.environment()).await.unwrap();
    found.sort_by(|a, b| a.text.cmp(&b.text));
    let texts: Vec<&str> = found.iter().map(|past| past.text.as_str()).collect();
    assert_eq!(texts, ["by the merge", "first", "in the stash \u{fffd}", "night", "on the side", "second"]);
    let first = world.git("checkout", &["rev-list", "--max-parents=0", "HEAD"]);
    assert_eq!(found[1].at, format!("session.lock in {}", &first[..10]));
    assert_eq!(found[3].at.split(' ').next(), Some("deep/er/night.lock"));
}

#[tokio::test]
async fn without_a_repo_or_a_commit_there_are_no_locks_and_a_shallow_history_is_refused() {
    let world = World::new();
    let environment = world.environment();
    assert_eq!(past_locks(world.directory.path(), &environment).await.unwrap(), []);
    assert_eq!(past_locks(&world.path("checkout"), &environment).await.unwrap(), []);
    world.commit("one");
    world.commit("two");
    let url = format!("file://{}", world.path("checkout").display());
    world.git("", &["clone", "--quiet", "--depth=1", &url, "shallow"]);
    let error = past_locks(&world.path("shallow"), &environment).await.unwrap_err();
    assert_eq!((error.kind, error.hint.unwrap().contains("--unshallow")), (ExitCode::Refused, true));
}

#[tokio::test]
async fn the_commits_between_two_are_told_by_side() {
    let world = World::new();
    let base = world.commit("base");
    let mine = world.commit("mine");
    world.git("checkout", &["reset", "--quiet", "--hard", &base]);
    let theirs = world.commit("theirs");
    let (directory, environment) = (world.path("checkout"), world.environment());
    let between = async |first: &str, second: &str| {
        let found = commits_between(&directory, first, second, &environment).await?;
        Some(found.into_iter().map(|one| (one.side, one.subject)).collect::<Vec<_>>())
    };
    let second = (Side::Second, "mine".to_owned());
    assert_eq!(between(&base, &mine).await, Some(vec![second.clone()]));
    let mut apart = between(&theirs, &mine).await.unwrap();
    apart.sort_by_key(|(_, subject)| subject.clone());
    assert_eq!(apart, [second, (Side::First, "theirs".to_owned())]);
    assert_eq!(between(&base, &"f".repeat(40)).await, None, "not here");
    assert_eq!(between("--all", &base).await, None, "no commit at all");
    assert_eq!(commits_between(world.directory.path(), &base, &mine, &environment).await, None, "no repo");
}

#[tokio::test]
async fn a_child_that_prints_without_end_is_ended() {
    let world = World::new();
    let command = child::command("yes", &world.environment());
    let error = child::finish(command, "", Duration::from_secs(60)).await.err().unwrap();
    assert!(error.what.contains("`yes` printed more than 64 MiB"), "{error}");
}
