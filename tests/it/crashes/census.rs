//! Every byte of work that exists in a world: on its machines' disks, in the git remote, in the store.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use crate::support::Project;

/// Contents, by git's names for them, each with a place where it was seen.
pub type Census = BTreeMap<String, String>;

/// What each stored object holds when it is unpacked; an object's name tells its content.
static UNPACKED: Mutex<BTreeMap<String, String>> = Mutex::new(BTreeMap::new());

/// Takes the census of a world, on the disks that are not in the trash.
pub fn take(project: &Project, disks: &[String]) -> Census {
    let mut census = Census::new();
    for disk in entries(&project.sandbox().join("disks")) {
        if !disks.iter().any(|id| disk.ends_with(id)) {
            continue;
        }
        let home = disk.join("home");
        let files: Vec<PathBuf> = files_below(&home);
        for (name, path) in hashed(&files).into_iter().zip(&files) {
            census.insert(name, path.strip_prefix(&disk).unwrap().display().to_string());
        }
        let checkout = home.join("lesson3");
        if checkout.join(".git/HEAD").exists() {
            // Also what only a reflog or a stash leads to, and what is staged.
            let mut staged = git();
            staged.args(["ls-files", "-s"]).current_dir(&checkout);
            for line in lines(staged) {
                census.entry(line[7..47].to_owned()).or_insert_with(|| format!("{} staged", &line[50..]));
            }
            add_objects(&mut census, &checkout, &["rev-list", "--objects", "--all", "--reflog", "HEAD"]);
        }
    }
    let remote = project.sandbox().join("git/github.com/me/lesson3.git");
    if remote.exists() {
        add_objects(&mut census, &remote, &["rev-list", "--objects", "--all"]);
    }
    let objects = entries(&project.sandbox().join("dropbox/objects"));
    for (name, path) in hashed(&objects).into_iter().zip(&objects) {
        let object = path.file_name().unwrap().to_string_lossy().into_owned();
        census.entry(unpacked(path, &object)).or_insert_with(|| format!("unpacked {object}"));
        // The record is the one file that is written over and over: what it said before is nobody's work.
        if !is_record(path) {
            census.insert(name, format!("stored {object}"));
        }
    }
    census
}

/// Returns what was there before and isn't any more.
pub fn lost<'a>(before: &'a Census, after: &Census) -> Vec<&'a String> {
    let lost: BTreeSet<_> =
        before.iter().filter(|(name, _)| !after.contains_key(*name)).map(|(_, at)| at).collect();
    lost.into_iter().filter(|at| !at.contains("unpacked")).collect()
}

fn is_record(object: &Path) -> bool {
    std::fs::read(object).unwrap().windows(7).any(|window| window == b"\"lease\"")
}

fn unpacked(path: &Path, object: &str) -> String {
    if let Some(name) = UNPACKED.lock().unwrap().get(object) {
        return name.clone();
    }
    let bytes = Command::new("gzip").arg("-dc").stdin(std::fs::File::open(path).unwrap()).output().unwrap();
    let mut hash = git();
    hash.args(["hash-object", "--stdin"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut hash = hash.spawn().unwrap();
    std::io::Write::write_all(&mut hash.stdin.take().unwrap(), &bytes.stdout).unwrap();
    let name = String::from_utf8(hash.wait_with_output().unwrap().stdout).unwrap().trim().to_owned();
    UNPACKED.lock().unwrap().insert(object.to_owned(), name.clone());
    name
}

/// Returns git's name of each file's content.
fn hashed(files: &[PathBuf]) -> Vec<String> {
    let mut hash = git();
    hash.args(["hash-object", "--no-filters", "--"]).args(files);
    if files.is_empty() { Vec::new() } else { lines(hash) }
}

fn add_objects(census: &mut Census, repo: &Path, arguments: &[&str]) {
    let mut listing = git();
    listing.args(arguments).current_dir(repo);
    for line in lines(listing) {
        let (name, path) = line.split_once(' ').unwrap_or((&line, "a commit"));
        census.entry(name.to_owned()).or_insert_with(|| format!("{path} in git"));
    }
}

fn lines(mut command: Command) -> Vec<String> {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn git() -> Command {
    let mut git = Command::new("git");
    git.args(["-c", "safe.directory=*"])
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null");
    git
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
}

/// Every file of the user's below a home: not what is git's own, ours, or the login's.
fn files_below(home: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![home.to_owned()];
    while let Some(folder) = waiting.pop() {
        for path in entries(&folder) {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let kind = std::fs::symlink_metadata(&path).unwrap().file_type();
            let ours = [".git", ".dacapo", ".ssh", ".bashrc", ".profile"].contains(&name.as_str());
            if kind.is_dir() && !ours {
                waiting.push(path);
            } else if kind.is_file() && !ours {
                found.push(path);
            }
        }
    }
    found
}

#[test]
fn what_goes_missing_is_missed() {
    let project = Project::without_world("");
    let file = |disk: &str, name: &str| project.sandbox().join(format!("disks/{disk}/home/lesson3/{name}"));
    for (disk, name) in [("kept", "a"), ("kept", "b"), ("trash", "c")] {
        std::fs::create_dir_all(file(disk, name).parent().unwrap()).unwrap();
        std::fs::write(file(disk, name), name).unwrap();
    }
    let all = ["kept", "trash"].map(str::to_owned);
    let before = take(&project, &all);
    assert_eq!(lost(&before, &take(&project, &all)), [] as [&String; 0]);
    assert_eq!(lost(&before, &take(&project, &all[..1])), ["home/lesson3/c"], "the trash saves nothing");
    std::fs::write(file("kept", "b"), "c").unwrap();
    assert_eq!(lost(&before, &take(&project, &all[..1])), ["home/lesson3/b"], "bytes count, not names");
}
