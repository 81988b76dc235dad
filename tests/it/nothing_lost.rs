//! Work hidden on the server in the ways that are easiest to overlook: the real `down` refuses, says what it
//! found and leaves the server; what can be saved is saved first, and whatever appears meanwhile stops it.

use std::collections::BTreeSet;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::Project;

/// One way: what is done on the server, what `down` says of it, the loss to name, and how it is undone.
struct Way {
    done: &'static str,
    said: &'static str,
    word: &'static str,
    undone: &'static str,
}

const WAYS: &[Way] = &[
    Way {
        done: "git init -q inner && cd inner && git -c user.name=x -c user.email=x@y commit -q --allow-empty -m x",
        said: "a repository of its own: inner/ (1 unpushed commit(s)",
        word: "repo:nested",
        undone: "rm -r inner",
    },
    Way {
        done: "d=.git/lfs/objects/ab/cd; mkdir -p $d; echo large > $d/abcd0123456789",
        said: "LFS object: object abcd01234567",
        word: "repo:lfs",
        undone: "rm -r .git/lfs",
    },
    Way { done: "git tag best-run", said: "tag best-run (", word: "repo:unpushed", undone: "git tag -d best-run" },
    Way {
        done: "git config filter.strip.clean 'sed s/secret.*//'; echo 'README.md filter=strip' > .git/info/attributes
               printf 'secret results' >> README.md",
        said: "modified, which git's filters hide: README.md",
        word: "repo:modified",
        undone: "rm .git/info/attributes; git checkout -q README.md",
    },
    Way {
        done: "git update-index --assume-unchanged README.md; echo more >> README.md",
        said: "modified: README.md",
        word: "repo:modified",
        undone: "git update-index --no-assume-unchanged README.md; git checkout -q README.md",
    },
    Way {
        done: "echo more >> README.md; git stash -q",
        said: "stash@{0} (",
        word: "repo:unpushed",
        undone: "git stash drop -q",
    },
    Way {
        done: "git checkout -q --detach; git commit -q --allow-empty -m x",
        said: "detached HEAD (",
        word: "repo:unpushed",
        undone: "git checkout -q main",
    },
    Way { done: "git bisect start", said: "a bisect is under way", word: "repo:unfinished", undone: "git bisect reset" },
    Way {
        done: "git worktree add -q --detach ../tree; echo more >> ../tree/README.md",
        said: "modified: ../tree/README.md",
        word: "repo:modified",
        undone: "git worktree remove --force ../tree",
    },
    Way {
        done: "echo 'exit 0' > .git/hooks/pre-commit",
        said: "new file: lesson3/.git/hooks/pre-commit",
        word: "files:lesson3/.git/hooks/pre-commit",
        undone: "rm .git/hooks/pre-commit",
    },
    Way {
        done: "git config core.ignoreCase true; echo other > readme.MD",
        said: "untracked: readme.MD",
        word: "repo:untracked",
        undone: "rm readme.MD; git config --unset core.ignoreCase",
    },
    Way {
        done: "git config core.trustctime false; touch -r README.md ../then; size=$(stat -c %s README.md)
               head -c $size /dev/zero > README.md; touch -r ../then README.md; rm ../then",
        said: "modified: README.md",
        word: "repo:modified",
        undone: "git config --unset core.trustctime; rm README.md; git checkout -q README.md",
    },
    Way {
        done: "mv .git/HEAD .git/HEAD.aside",
        said: "git can't read the checkout",
        // Without git no file is git's to answer for.
        word: "repo:broken files:lesson3",
        undone: "mv .git/HEAD.aside .git/HEAD",
    },
];

#[test]
fn hidden_work_refuses_down_and_is_named_until_it_is_gone() {
    let project = Project::new();
    project.dacapo(&["up", "--yes"]).exits(0);
    project.on_server("git config user.name x; git config user.email x@y");
    for Way { done, said, word, undone } in WAYS {
        project.on_server(done);
        let before = bytes_below(&project.server());
        project
            .dacapo(&["down", "--yes"])
            .exits(5)
            .says(said)
            .says(&format!("--discard {}", word.split(' ').next().unwrap()));
        assert_eq!(project.bill()["billing"].as_array().unwrap().len(), 2, "{said}: server and volume bill");
        let lost: Vec<_> = before.difference(&bytes_below(&project.server())).cloned().collect();
        assert!(lost.is_empty(), "{said}: {lost:?} was there before");
        let discards = word.split(' ').flat_map(|word| ["--discard", word]);
        let plan: Vec<&str> = ["plan", "--set", "state=absent"].into_iter().chain(discards).collect();
        let named = project.dacapo(&plan).exits(0);
        assert!(!named.stdout.contains("stand against it"), "{word}: {}", named.stdout);
        project.on_server(undone);
    }
    project.dacapo(&["down", "--yes"]).exits(0);
}

#[test]
fn a_branch_deleted_from_the_remote_since_its_push_refuses_down() {
    let project = Project::new();
    project.dacapo(&["up", "--yes"]).exits(0);
    project
        .on_server("git checkout -qb try; git -c user.name=x -c user.email=x@y commit -q --allow-empty -m x");
    project.dacapo(&["run", "-A", "--", "git", "push", "-q", "origin", "try"]).exits(0);
    project.on_server("git checkout -q main; git branch -qD try");
    on_the_host(&project, &["update-ref", "-d", "refs/heads/try"]);
    project.dacapo(&["down", "--yes"]).exits(5).says("remote branch origin/try (");
    project.dacapo(&["down", "--yes", "--discard", "repo:unpushed"]).exits(0);
    assert_eq!(project.bill()["billing"], serde_json::json!([]));
}

#[test]
fn a_program_in_a_terminal_left_behind_refuses_down() {
    let project = Project::new();
    project.dacapo(&["up", "--yes"]).exits(0);
    let mut terminal = Command::new("bash")
        .arg0("tmux")
        .args(["-c", "python3 -c 'import sys; print(\"up\", flush=True); sys.stdin.read()'; true"])
        .current_dir("/")
        .env("HOME", project.server())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Read::read_exact(terminal.stdout.as_mut().unwrap(), &mut [0; 2]).unwrap();
    let down = project.dacapo(&["down", "--yes"]);
    terminal.stdin.take();
    terminal.wait().unwrap();
    down.exits(5).says("`python3` is at work (tmux or screen)").says("--discard processes");
    project.dacapo(&["down", "--yes"]).exits(0);
}

#[test]
fn an_artifact_whose_version_the_store_lost_is_stored_again_before_the_end() {
    let project = Project::new();
    project.dacapo(&["up", "--yes"]).exits(0);
    project.on_server("printf 'a better model' > export.pkl");
    project.dacapo(&["down", "--yes"]).exits(0);
    project.dacapo(&["up", "--yes"]).exits(0);
    let listed = || project.dacapo(&["artifacts", "list", "--json"]).exits(0).json();
    let name = listed()["artifacts"][0]["versions"][1]["name"].as_str().unwrap().to_owned();
    project.delete_stored(&format!("/fastai/lesson3/{name}"));
    assert_eq!(listed()["artifacts"][0]["versions"].as_array().unwrap().len(), 1, "the store lost it");
    project.dacapo(&["down", "--yes"]).exits(0).says("store model");
    project.dacapo(&["up", "--yes"]).exits(0);
    assert_eq!(std::fs::read(project.server().join("lesson3/export.pkl")).unwrap(), b"a better model");
}

fn saving() -> Project {
    let spec = include_str!("../../session.toml");
    let project =
        Project::with_spec(&spec.replace("[artifacts.", "on_absent = \"save-branch\"\n\n[artifacts."));
    project.dacapo(&["up", "--yes"]).exits(0);
    project.on_server("git config user.name x; git config user.email x@y");
    project
}

#[test]
fn down_pushes_what_the_remote_lacks_to_a_branch_and_nothing_is_lost() {
    let project = saving();
    project.on_server(
        "echo stashed > README.md; git stash -q; echo staged > README.md; git add README.md; echo tree > README.md
         printf 'a\\0b' > 'odd name'; echo more > notes.txt; ln -s nowhere link; git tag -a -m 'the best' best
         git branch side $(git commit-tree HEAD^{tree} -p HEAD -m 'on a side')",
    );
    let plan = project.dacapo(&["plan", "--set", "state=absent"]).exits(0);
    for said in [
        "untracked: notes.txt (5 B)",
        "modified: README.md (5 B)",
        "stash@{0} (",
        "branch side (",
        "tag best",
    ] {
        assert!(plan.stdout.contains(said), "`{said}` is not in\n{}", plan.stdout);
    }
    let side = git(&project.server().join("lesson3"), &["rev-parse", "side"]);
    let before = blobs_of(&project.server().join("lesson3"));
    project.dacapo(&["down", "--yes"]).exits(0).says("the remote has `dacapo/lesson3/");
    assert_eq!(project.bill()["billing"], serde_json::json!([]));
    let there: BTreeSet<String> = git(&host(&project), &["rev-list", "--objects", "--all"])
        .lines()
        .map(|line| line[..40].to_owned())
        .collect();
    let lost: Vec<_> = before.iter().filter(|(name, _)| !there.contains(name)).collect();
    assert!(lost.is_empty(), "{lost:?}");
    assert!(there.contains(&side), "a branch of its own is carried too");
    assert!(git(&host(&project), &["for-each-ref", "refs/tags"]).contains("/best"));
    assert_eq!(
        git(&host(&project), &["rev-list", "--count", "main"]),
        git(&host(&project), &["rev-list", "--count", "--first-parent", "main"]),
        "the branch that people share is as it was"
    );
}

#[test]
fn credentials_and_what_git_cannot_carry_are_never_pushed_unasked() {
    let project = saving();
    project.on_server(
        "echo key > .env; echo more > notes.txt; echo '*.bin' >> .git/info/exclude; echo 1 > weights.bin
         echo pem > tls.pem; git add tls.pem; git stash -q",
    );
    project
        .dacapo(&["down", "--yes"])
        .exits(5)
        .says("untracked: .env")
        .says("its name is one that credentials have")
        .says("add \".env\" to `save`")
        .says("`tls.pem` in it")
        .says("new file: lesson3/weights.bin");
    let objects = git(&host(&project), &["rev-list", "--objects", "--all"]);
    assert!(objects.contains("notes.txt"), "what can be saved is saved all the same");
    assert!(!objects.contains(".env") && !objects.contains("tls.pem"), "{objects}");
    assert_eq!(project.bill()["billing"].as_array().unwrap().len(), 2);
    // Saved once, it isn't pushed again; named, the rest goes too.
    let plan = project.dacapo(&["plan", "--set", "state=absent"]).exits(0);
    assert!(!plan.stdout.contains("new branch"), "{}", plan.stdout);
    project.on_server("rm weights.bin");
    project.dacapo(&["down", "--yes", "--set", "repo.save=[\".env\", \"tls.pem\"]"]).exits(0);
    assert!(git(&host(&project), &["rev-list", "--objects", "--all"]).contains(".env"));
}

#[test]
fn a_deletion_reads_every_byte_whatever_hash_is_remembered_of_them() {
    // What a program writes through a mapping changes no time at first; here the memory is made to fit instead.
    const FORGE: &str = "python3 - <<'END'
import json, os
home = os.environ['HOME'] + '/.dacapo/'
file = os.path.realpath('export.pkl')
with open(file, 'r+b') as model:
    model.write(b'better')
info = os.stat(file)
content = open(home + 'content').read()
with open(home + 'hashes', 'w') as known:
    times = [info.st_mtime_ns, info.st_ctime_ns]
    json.dump({file: [info.st_dev, info.st_ino, info.st_size] + times + [content]}, known)
END";
    const KEEP: &str = "python3 - <<'END'
import hashlib, os
block = hashlib.sha256(b'x' * 4194304).digest()
content = hashlib.sha256(block * 4).hexdigest()
home = os.environ['HOME'] + '/.dacapo/'
open(home + 'content', 'w').write(content)
open(home + 'blocks-' + content, 'wb').write(block * 4)
open('export.pkl', 'wb').write(b'x' * 16777216)
END";
    let project = Project::new();
    project.dacapo(&["up", "--yes"]).exits(0);
    project.on_server(KEEP);
    project.dacapo(&["artifacts", "push", "--yes"]).exits(0).says("confirmed by the store");
    project.on_server(FORGE);
    project.dacapo(&["plan", "--set", "state=absent"]).exits(0).says("delete");
    project.dacapo(&["down", "--yes"]).exits(5).says("export.pkl");
    project.on_server("rm ~/.dacapo/hashes");
    project.dacapo(&["down", "--yes"]).exits(0).says("stored as");
}

#[test]
fn what_appears_after_the_last_save_stops_the_deletion() {
    let project = saving();
    project.on_server("echo more > notes.txt");
    // The git host runs it once it has the branch: after the save, before the evidence is taken again.
    let late = project.server().join("lesson3/late.txt");
    let hook = host(&project).join("hooks/post-receive");
    std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
    std::fs::write(&hook, format!("#!/bin/sh\necho late > '{}'\n", late.display())).unwrap();
    std::fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    project.dacapo(&["down", "--yes"]).exits(5).says("the remote has `dacapo/").says("late.txt");
    assert!(late.exists());
    assert_eq!(project.bill()["billing"].as_array().unwrap().len(), 2, "it is still there");
    std::fs::remove_file(hook).unwrap();
    project.dacapo(&["down", "--yes"]).exits(0);
    let names = git(&host(&project), &["rev-list", "--objects", "--all"]);
    assert!(names.contains("late.txt"), "{names}");
}

/// The bare repository that the spec's remote leads to.
fn host(project: &Project) -> PathBuf {
    project.sandbox().join("git/github.com/me/lesson3.git")
}

fn on_the_host(project: &Project, arguments: &[&str]) {
    git(&host(project), arguments);
}

fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "safe.directory=*"])
        .args(arguments)
        .current_dir(folder)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Every file below a folder, with its bytes' size and content; git's own and ours change by being looked at.
fn bytes_below(folder: &Path) -> BTreeSet<(PathBuf, Vec<u8>)> {
    let mut found = BTreeSet::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(folder) = waiting.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()) {
            let kind = entry.file_type().unwrap();
            if kind.is_dir() && entry.file_name() != ".dacapo" {
                waiting.push(entry.path());
            } else if kind.is_file() {
                found.insert((entry.path(), std::fs::read(entry.path()).unwrap()));
            }
        }
    }
    found
}

/// The name in git of everything that only this checkout may have: files as they lie there, links, what is
/// staged and every object of the repository that a name leads to. The artifact is the store's.
fn blobs_of(checkout: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for line in git(checkout, &["ls-files", "-s"]).lines() {
        found.push((line[7..47].to_owned(), line.to_owned()));
    }
    for line in git(checkout, &["rev-list", "--objects", "--all", "--reflog"]).lines() {
        found.push((line[..40].to_owned(), line.to_owned()));
    }
    for entry in std::fs::read_dir(checkout).unwrap().map(|entry| entry.unwrap()) {
        let path = entry.path();
        if entry.file_type().unwrap().is_file() && entry.file_name() != "export.pkl" {
            let name = git(checkout, &["hash-object", "--no-filters", "--", path.to_str().unwrap()]);
            found.push((name, path.display().to_string()));
        }
    }
    found
}
