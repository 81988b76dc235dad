//! `dacapo cp`: any names, verified content, and nothing replaced unless that was asked for.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Stdio;

use serde_json::json;

use crate::interrupt::{Started, until};
use crate::support::{Project, ran};

fn up() -> Project {
    let project = Project::new();
    project.dacapo(&["up", "--yes"]).exits(0);
    project
}

/// Everything below a folder: paths, kinds and contents.
fn tree(folder: &Path) -> Vec<(Vec<u8>, String)> {
    fn add(root: &Path, folder: &Path, found: &mut Vec<(Vec<u8>, String)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().as_os_str().to_owned().into_vec();
            if path.is_symlink() {
                found.push((name, format!("link {}", fs::read_link(&path).unwrap().display())));
            } else if path.is_dir() {
                found.push((name, "folder".into()));
                add(root, &path, found);
            } else {
                found.push((name, String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned()));
            }
        }
    }
    let mut found = Vec::new();
    add(folder, folder, &mut found);
    found.sort();
    found
}

fn os(bytes: &[u8]) -> OsString {
    OsString::from_vec(bytes.to_vec())
}

#[test]
fn odd_names_folders_and_links_come_there_and_back_as_they_are() {
    let project = up();
    let odd = project.path().join("odd");
    fs::create_dir_all(odd.join("-rf $(touch x)/in ner")).unwrap();
    fs::create_dir(odd.join("empty")).unwrap();
    for name in [&b"-n"[..], b"a b", b"two\nlines", b"\xff\xfe", b"it's \"quoted\"", b"*", b":colon", b"%h"] {
        fs::write(odd.join(os(name)), name).unwrap();
    }
    fs::write(odd.join("-rf $(touch x)/in ner/deep"), "deep").unwrap();
    symlink("../nowhere", odd.join("dangling")).unwrap();
    symlink("empty", odd.join("to a folder")).unwrap();
    fs::set_permissions(odd.join("a b"), fs::Permissions::from_mode(0o755)).unwrap();

    project.dacapo(&["cp", "-r", "odd", ":"]).exits(0).says("9 file(s) copied");
    let there = project.server().join("lesson3/odd");
    assert_eq!(tree(&there), tree(&odd));
    assert_eq!(fs::metadata(there.join("a b")).unwrap().permissions().mode() & 0o111, 0o111);
    project.dacapo(&["cp", "-r", ":odd", "back"]).exits(0);
    assert_eq!(tree(&project.path().join("back")), tree(&odd));
    // Each by its own name, too, and in a folder under it.
    let mut copy = project.command(&["--sandbox", "cp", "--"]);
    copy.arg(os(b":odd/\xff\xfe")).arg(os(b":odd/two\nlines")).arg(os(b":odd/-n")).arg("empty folder");
    fs::create_dir(project.path().join("empty folder")).unwrap();
    ran(copy.output().unwrap()).exits(0);
    assert_eq!(tree(&project.path().join("empty folder")).len(), 3);
    assert!(!project.server().join("lesson3/x").exists(), "no name was a command");
}

#[test]
fn another_content_is_replaced_only_when_that_is_asked_for_on_either_side() {
    let project = up();
    let (here, there) = (project.path().join("notes"), project.server().join("lesson3/notes"));
    fs::write(&here, "mine").unwrap();
    fs::write(&there, "theirs").unwrap();
    project.dacapo(&["cp", "notes", ":"]).exits(5).says("another content").says("--overwrite");
    assert_eq!(fs::read_to_string(&there).unwrap(), "theirs");
    project.dacapo(&["cp", ":notes", "."]).exits(5).says("nothing was copied to this laptop");
    assert_eq!(fs::read_to_string(&here).unwrap(), "mine");
    project.dacapo(&["cp", "--overwrite", "notes", ":"]).exits(0);
    assert_eq!(fs::read_to_string(&there).unwrap(), "mine");
    project.dacapo(&["cp", "notes", ":"]).exits(0).says("0 file(s) copied; 1 already there, the same");
    // One of several in the way, and none is copied.
    fs::write(project.path().join("new"), "new").unwrap();
    fs::write(&there, "theirs").unwrap();
    project.dacapo(&["cp", "new", "notes", ":"]).exits(5);
    assert!(!project.server().join("lesson3/new").exists());
    // A folder or a link to elsewhere isn't written over or through, whatever is asked for.
    fs::remove_file(&there).unwrap();
    fs::create_dir(&there).unwrap();
    fs::create_dir_all(project.path().join("all/notes")).unwrap();
    symlink(project.path().join("outside-home"), project.server().join("lesson3/link")).unwrap();
    project.dacapo(&["cp", "--overwrite", "-r", "all", ":"]).exits(0);
    fs::create_dir_all(project.path().join("lesson3/link/escaped")).unwrap();
    project.dacapo(&["cp", "--overwrite", "-r", "lesson3", ":~"]).exits(5).says("of another kind");
    assert!(!project.path().join("outside-home/escaped").exists());
}

#[test]
fn paths_count_from_the_checkout_from_home_or_from_the_root_and_json_says_what_came() {
    let project = up();
    let home = project.server();
    project.dacapo(&["cp", "session.toml", "server:~/"]).exits(0);
    project.dacapo(&["cp", "session.toml", &format!(":{}/at-root", home.display())]).exits(0);
    project.dacapo(&["cp", "session.toml", ":renamed"]).exits(0);
    for path in ["session.toml", "at-root", "lesson3/renamed"] {
        assert!(home.join(path).is_file(), "{path}");
    }
    let spec = project.path().join("session.toml");
    let size = fs::metadata(&spec).unwrap().len();
    let hash = project.run(&["hash", "session.toml", "--json"]).exits(0).json();
    let told = project.dacapo(&["--json", "cp", ":renamed", "back"]).exits(0).json();
    let path = project.path().canonicalize().unwrap().join("back");
    let file = json!({"path": path, "size": size, "content": hash["files"][0]["content"], "copied": true, "replaced": false});
    assert_eq!(told, json!({"version": 1, "to": "laptop", "files": [file], "left_out": []}));
}

#[test]
fn what_makes_no_sense_is_refused_and_says_what_would() {
    let project = up();
    fs::create_dir(project.path().join("folder")).unwrap();
    let cases: [(&[&str], i32, &str); 7] = [
        (&["folder", ":"], 1, "`-r` copies it"),
        (&[":no such", "."], 1, "there is no `no such`"),
        (&["session.toml", ":no/such/name"], 1, "there is no folder `no/such`"),
        (&["session.toml", ":nowhere/"], 1, "is no folder"),
        (&["session.toml", "other"], 3, "begins with `:`"),
        (&[":a", ":b"], 3, "dacapo run -- cp"),
        (&[":a"], 3, "required"),
    ];
    for (paths, code, said) in cases {
        project.dacapo(&[&["cp"], paths].concat()).exits(code).says(said);
    }
    let status = std::process::Command::new("mkfifo").arg(project.path().join("folder/pipe")).status();
    assert!(status.unwrap().success());
    fs::write(project.path().join("folder/file"), "file").unwrap();
    project.dacapo(&["cp", "-r", "folder", ":"]).exits(1).says("left out").says("1 file(s) copied");
    assert_eq!(fs::read_to_string(project.server().join("lesson3/folder/file")).unwrap(), "file");
}

#[test]
fn a_copy_that_breaks_off_leaves_no_part_and_the_next_one_goes_on() {
    let project = up();
    fs::create_dir(project.path().join("stuff")).unwrap();
    fs::write(project.path().join("stuff/a"), "first").unwrap();
    let noise: Vec<u8> = (0..8_000_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 23) as u8).collect();
    fs::write(project.path().join("stuff/b"), &noise).unwrap();
    let there = project.server().join("lesson3/stuff");
    project.ssh_faults(&json!({"cut": {"after_bytes": 2_000_000}}));
    project.dacapo(&["cp", "-r", "stuff", ":"]).exits(1).says("run the same command again");
    until("the part is gone", || tree(&there) == [(b"a".to_vec(), "first".to_owned())]);
    project.ssh_faults(&json!({}));
    project.dacapo(&["cp", "-r", "stuff", ":"]).exits(0).says("1 file(s) copied; 1 already there");
    assert!(fs::read(there.join("b")).unwrap() == noise);

    fs::remove_dir_all(project.path().join("stuff")).unwrap();
    project.ssh_faults(&json!({"bytes_per_second": 500_000}));
    let command = Started::new(&project, &["cp", "-r", ":stuff", "stuff"]);
    let part = || tree(&project.path().join("stuff")).iter().any(|(_, text)| text.len() > 10_000);
    until("a part is there", || project.path().join("stuff").is_dir() && part());
    command.signal("INT");
    command.end().exits(130);
    until("the part is gone", || !part());
}

#[test]
fn a_file_that_changes_while_it_is_copied_gets_nowhere() {
    let project = up();
    let noise = vec![b'a'; 20_000_000];
    fs::write(project.path().join("growing"), &noise).unwrap();
    project.ssh_faults(&json!({"bytes_per_second": 4_000_000}));
    let child = project
        .command(&["--sandbox", "cp", "growing", ":"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let there = project.server().join("lesson3");
    let part = |path: &fs::DirEntry| path.file_name().to_string_lossy().ends_with(".dacapo-part");
    until("it is under way", || fs::read_dir(&there).unwrap().any(|entry| part(&entry.unwrap())));
    let file = fs::OpenOptions::new().write(true).open(project.path().join("growing")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"b", 19_999_999).unwrap();
    let told = child.wait_with_output();
    ran(told.unwrap()).exits(1).says("changed while it was copied");
    assert!(!there.join("growing").exists());
    assert!(!fs::read_dir(&there).unwrap().any(|entry| part(&entry.unwrap())));
}
