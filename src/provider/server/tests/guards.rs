//! What the probe says of artifacts, files and processes.

mod programs;
mod work;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::digest::{BLOCK, ContentHash};
use crate::facts::ArtifactFile;

#[tokio::test]
async fn an_artifact_is_a_file_nothing_or_unreadable() {
    let home = Home::new();
    let bytes: Vec<u8> = (0..2 * BLOCK + 5).map(|i| (i % 251) as u8).collect();
    home.write("lesson3/large", &bytes);
    home.write("lesson3/empty", "");
    home.write("lesson3/folder/x", "");
    std::os::unix::fs::symlink("large", home.path("lesson3/link")).unwrap();
    std::os::unix::fs::symlink("/", home.path("lesson3/out")).unwrap();
    let pipe = home.path("lesson3/pipe");
    assert!(Program::new("mkfifo").arg(&pipe).status().unwrap().success());
    let names = ["large", "empty", "folder", "link", "pipe", "none", "large/below", "out/etc/passwd"];
    let pairs = names.map(|name| (name, name));
    let artifacts = home.probe(&pairs, &[]).await.artifacts;
    let file =
        |bytes: &[u8]| ArtifactFile::File { size: bytes.len() as u64, content: ContentHash::of(bytes) };
    let unreadable = |why: &str| ArtifactFile::Unreadable { why: why.into() };
    let expected = [
        file(&bytes),
        file(b""),
        unreadable("it is a folder"),
        unreadable("it is a symbolic link"),
        unreadable("it is not a regular file"),
        ArtifactFile::Missing,
        ArtifactFile::Missing,
        unreadable("a link leads it out of the checkout"),
    ];
    let expected: BTreeMap<_, _> = names.map(str::to_owned).into_iter().zip(expected).collect();
    assert_eq!(artifacts, expected);
}

#[tokio::test]
async fn without_the_marker_nothing_is_claimed_about_files() {
    let home = Home::new();
    assert_eq!(home.probe(&[], &[]).await.files, None);
    home.write(".dacapo/marker", "garbage");
    assert_eq!(home.probe(&[], &[]).await.files, None);
}

#[tokio::test]
async fn only_files_that_nobody_answers_for_are_listed() {
    let home = Home::new();
    home.write("old.txt", "was there before");
    home.ask::<()>(&Ask::FinishSetUp).await.unwrap();
    home.with_checkout();
    std::fs::remove_dir_all(home.path("remote.git")).unwrap();
    home.write("lesson3/untracked.txt", "the repo guard's");
    home.write("lesson3/export.pkl", "the artifacts guard's");
    home.write("lesson3/export.pkl.dacapo-part", "left by a killed transfer");
    home.write("lesson3.dacapo-part/x", "left by a killed clone");
    home.write("lesson3/export2.pkl", "ignored by git, and precious");
    home.write("lesson3/__pycache__/train.pyc", "");
    home.write("notes/idea.txt", "precious");
    for cache in
        [".cache/x", ".bash_history", ".ssh/known_hosts", ".ssh/known_hosts.old", ".nv/y", ".conda/pkgs/z"]
    {
        home.write(cache, "");
    }
    home.write(".ssh/id_ed25519", "not a cache");
    home.write("work/.cache/x", "not the home's own cache");
    let artifacts = [("model", "export.pkl")];
    let files = home.new_files(&artifacts, &[]).await;
    let expected = [".ssh/id_ed25519", "lesson3/export2.pkl", "notes/idea.txt", "work/.cache/x"];
    assert_eq!(files, expected);
}

#[tokio::test]
async fn a_touched_old_file_is_new_even_with_an_old_date() {
    let home = Home::new();
    let path = home.write("old.txt", "before");
    home.ask::<()>(&Ask::FinishSetUp).await.unwrap();
    std::fs::write(&path, "after").unwrap();
    let long_ago = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    std::fs::File::open(&path).unwrap().set_modified(long_ago).unwrap();
    assert_eq!(home.new_files(&[], &[]).await, ["old.txt"]);
}

#[tokio::test]
async fn a_file_written_right_after_the_marker_is_new() {
    for _ in 0..5 {
        let home = Home::after_set_up().await;
        home.write("at once", "x");
        assert_eq!(home.new_files(&[], &[]).await, ["at once"]);
    }
}

#[tokio::test]
async fn odd_names_and_things_that_are_no_files() {
    let home = Home::after_set_up().await;
    for name in [&b"line\nbreak"[..], b"quote\"'$(x)", b"caf\xe9", b"-rf", b" ", "größe".as_bytes()] {
        std::fs::write(home.folder.path().join(OsStr::from_bytes(name)), "x").unwrap();
    }
    std::os::unix::fs::symlink("/etc/passwd", home.path("link")).unwrap();
    std::os::unix::fs::symlink("/etc", home.path("folder-link")).unwrap();
    assert!(Program::new("mkfifo").arg(home.path("pipe")).status().unwrap().success());
    let files = home.new_files(&[], &[]).await;
    assert_eq!(files, [" ", "-rf", "caf\\xe9", "größe", "line\nbreak", "quote\"'$(x)"]);
}

#[tokio::test]
async fn two_hundred_are_listed_and_the_rest_counted() {
    let home = Home::after_set_up().await;
    for number in 0..203 {
        home.write(&format!("many/{number:03}"), "x");
    }
    let probe = home.probe(&[], &[]).await;
    assert_eq!((probe.files.unwrap().len(), probe.more_files), (200, 3));
}

#[tokio::test]
async fn disposable_globs_stop_where_they_should() {
    let home = Home::after_set_up().await;
    let names = [
        "data/raw/a",
        "data/raw/deep/b",
        "data/raw2/c",
        "data/raw",
        "x/tmp/y/z",
        "tmp/z",
        "x/notmp/z",
        "run1.log",
        "sub/run2.log",
        "run10.log",
        "[set].txt",
        "scratch/q",
        "keep.txt",
    ];
    for name in names.iter().filter(|&&name| name != "data/raw") {
        home.write(name, "x");
    }
    let left = |globs: &'static [&'static str]| {
        let home = &home;
        async move {
            let files = home.new_files(&[], globs).await;
            names
                .into_iter()
                .filter(|name| *name != "data/raw" && !files.iter().any(|file| file == name))
                .collect::<Vec<_>>()
        }
    };
    assert_eq!(left(&["data/raw/**"]).await, ["data/raw/a", "data/raw/deep/b"]);
    assert_eq!(left(&["**/tmp/**"]).await, ["x/tmp/y/z", "tmp/z"]);
    assert_eq!(left(&["*.log"]).await, ["run1.log", "run10.log"]);
    assert_eq!(left(&["**/run?.log"]).await, ["run1.log", "sub/run2.log"]);
    assert_eq!(left(&["run[!2-9]*.log"]).await, ["run1.log", "run10.log"]);
    assert_eq!(left(&[r"\[set].txt"]).await, ["[set].txt"]);
    assert_eq!(left(&["./scratch/"]).await, ["scratch/q"]);
    assert_eq!(left(&["data/*"]).await, [""; 0]);
}

#[tokio::test]
async fn an_unreadable_folder_is_not_taken_for_an_empty_one() {
    let home = Home::after_set_up().await;
    home.write("locked/inside", "x");
    let lock = |mode| {
        std::fs::set_permissions(home.path("locked"), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    lock(0o000);
    let readable = std::fs::read_dir(home.path("locked")).is_ok();
    let files = home.new_files(&[], &[]).await;
    lock(0o700);
    // root reads everything.
    assert_eq!(files, [if readable { "locked/inside" } else { "locked/" }]);
}

#[tokio::test]
async fn a_program_at_work_in_the_checkout_is_told_without_its_secrets() {
    let home = Home::new();
    home.write("lesson3/train.py", "import sys; print('up', flush=True); sys.stdin.read()");
    let start = |arguments: &[&str], folder: &str| {
        let mut child = Program::new("python3")
            .args(arguments)
            .current_dir(home.path(folder))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = [0; 2];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
        child
    };
    let inside = start(&["-u", "train.py", "--token", "hunter2"], "lesson3");
    let named = start(&["lesson3/train.py"], "");
    let hidden = start(&["-c", "print('up', flush=True); input()", "hunter3"], "lesson3");
    let processes = home.probe(&[], &[]).await.processes;
    let command = |pid: u32| {
        processes.iter().find(|process| process.pid == pid).map(|process| process.command.as_str())
    };
    assert_eq!(command(inside.id()), Some("python3 train.py"));
    assert_eq!(command(named.id()), Some("python3 train.py"));
    assert_eq!(command(hidden.id()), Some("python3"));
    assert_eq!(processes.len(), 3, "neither the helper nor what carries it: {processes:?}");
    for mut child in [inside, named, hidden] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[tokio::test]
async fn a_helper_that_a_run_left_behind_is_no_program_at_work_nor_is_its_shell() {
    let home = Home::after_set_up().await;
    let mut shell = Program::new("sh")
        .args(["-c", "python3 \"$@\"; true", "sh"])
        .args(crate::provider::server::exchange::python_arguments())
        .current_dir(home.path(""))
        .env("HOME", home.path(""))
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let children = format!("/proc/{0}/task/{0}/children", shell.id());
    let started = || {
        let child = std::fs::read_to_string(&children).unwrap().trim().to_owned();
        // A version manager's stand-in for python3 becomes the real one in between.
        std::fs::read_to_string(format!("/proc/{child}/cmdline"))
            .is_ok_and(|words| words.split('\0').next().is_some_and(|name| name.ends_with("python3")))
    };
    let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !started() {
        assert!(std::time::Instant::now() < end, "the helper never starts");
        std::thread::yield_now();
    }
    let processes = home.probe(&[], &[]).await.processes;
    // The end of its input ends the helper, and with it the shell.
    drop(shell.stdin.take());
    shell.wait().unwrap();
    assert_eq!(processes, [], "{processes:?}");
}
