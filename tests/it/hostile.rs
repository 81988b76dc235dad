//! Names that somebody else chose: each is refused with the place it stands in, or carried as the text that it is.
//!
//! Whatever becomes of it, nothing in it is run, no file called `pwned` comes into being anywhere, and no byte of it
//! moves a terminal's cursor.

mod accepted;
mod strings;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::support::{Project, ran};
use accepted::ACCEPTED;
use strings::{Hostile, STRINGS};

const SPEC: &str = include_str!("../../session.toml");

/// The texts of a session.toml.
const KEYS: &[&str] = &[
    "name",
    "store",
    "instance.type",
    "instance.location",
    "instance.image",
    "instance.ssh_key",
    "limits.deadline",
    "repo.url",
    "repo.branch",
    "repo.path",
    "artifacts.model.path",
    "artifacts.model.version",
    "disposable",
    "notebook.directory",
    "notebook.packages",
    "setup.inputs",
];

#[test]
fn every_text_of_a_session_file_is_refused_by_name_or_carried_as_it_is() {
    let folder = Project::without_world(SPEC);
    let mut accepted: Vec<(&str, Vec<&str>)> = Vec::new();
    for key in KEYS {
        let mut names = Vec::new();
        for Hostile { name, text } in STRINGS {
            std::fs::write(folder.path().join("session.toml"), with(key, text)).unwrap();
            let output = folder.command(&["validate"]).output().unwrap();
            let said = harmless(&format!("`{key}` as {name}"), &output);
            match output.status.code() {
                Some(0) => names.push(*name),
                Some(3) => {
                    let last = key.rsplit('.').next().unwrap();
                    assert!(said.contains(last) && said.contains("hint:"), "`{key}` as {name}:\n{said}");
                }
                code => panic!("`{key}` as {name} ends with {code:?}:\n{said}"),
            }
        }
        accepted.push((key, names));
    }
    no_canary(folder.path());
    let known: Vec<(&str, Vec<&str>)> = ACCEPTED.iter().map(|(key, names)| (*key, names.to_vec())).collect();
    assert_eq!(accepted, known, "what is carried; every other string is refused");
}

#[test]
fn every_text_of_a_command_line_is_refused_or_carried_as_it_is() {
    let project = Project::new();
    project.dacapo(&["up", "--yes"]).exits(0);
    let places: &[&[&str]] = &[
        &["--set"],
        &["-C"],
        &["--file"],
        &["down", "--yes", "--discard"],
        &["orphans", "--remove"],
        &["artifacts", "pin"],
        &["artifacts", "diff"],
        &["hash"],
    ];
    let strings = STRINGS.iter().map(|one| one.text.as_bytes()).chain([&b"a\xff\xfe"[..], b"\xc3("]);
    // No argument can hold a zero byte.
    let strings: Vec<&[u8]> = strings.filter(|text| !text.contains(&0)).collect();
    let all: Vec<(&[&str], &[u8])> =
        places.iter().flat_map(|place| strings.iter().map(move |text| (*place, *text))).collect();
    at_once(&all, |(place, text)| {
        let mut command = project.command(&["--sandbox"]);
        let output = command.args(*place).arg(OsStr::from_bytes(text));
        let output = if place.len() == 1 && place[0] != "hash" { output.arg("validate") } else { output };
        let output = output.output().unwrap();
        harmless(&format!("{place:?} {:?}", String::from_utf8_lossy(text)), &output);
        assert!(matches!(output.status.code(), Some(0..=9)), "{place:?} {text:?}: {:?}", output.status);
    });
    for name in ["model", "x"] {
        let discard = format!("files:$(touch${{IFS}}pwned);{name}");
        project.dacapo(&["plan", "--set", "state=absent", "--discard", &discard]);
    }
    no_canary(project.path());
    assert_eq!(project.bill()["billing"].as_array().unwrap().len(), 2, "the server is still there");
}

#[test]
fn what_a_session_file_may_say_is_never_run_by_plan() {
    let project = Project::new();
    let seen = ["repo.branch", "repo.path", "repo.url", "artifacts.model.path", "artifacts.model.version"];
    let all: Vec<(&str, &Hostile)> = ACCEPTED
        .iter()
        .filter(|(key, _)| seen.contains(key) || *key == "instance.image")
        .flat_map(|(key, names)| names.iter().map(move |name| (*key, named(name))))
        .collect();
    at_once(&all, |(key, hostile)| {
        let file =
            format!("{}-{}.toml", key, STRINGS.iter().position(|one| one.name == hostile.name).unwrap());
        std::fs::write(project.path().join(&file), with(key, hostile.text)).unwrap();
        let mut command = project.command(&["--sandbox", "--file", &file, "plan"]);
        let output = command.output().unwrap();
        let said = harmless(&format!("`{key}` as {}", hostile.name), &output);
        assert!(matches!(output.status.code(), Some(0..=7)), "{key} as {}: {said}", hostile.name);
    });
    no_canary(project.path());
}

/// What a spec may hold, at its worst.
const BRANCH: &str = "a';touch${IFS}pwned;`touch${IFS}pwned`\"$(touch${IFS}pwned)\"%s{x,y}";
const CHECKOUT: &str = "$(touch pwned)/`touch pwned`;touch pwned;'\"%n ~";
const ARTIFACT: &str = "$(touch pwned);'`touch pwned`' \"%s\" ünï *.pkl";

#[test]
fn a_session_of_hostile_names_comes_up_is_worked_in_saved_and_ends() {
    let project = Project::new();
    let remote = project.sandbox().join("git/github.com/me/lesson3.git");
    // The world's own git host is filled when it is first asked.
    project.dacapo(&["plan"]).exits(0);
    git(&remote, &["update-ref", &format!("refs/heads/{BRANCH}"), "refs/heads/main"]);
    for (number, hostile) in STRINGS.iter().enumerate() {
        let name = format!("refs/heads/{}", hostile.text);
        let legal = Command::new("git").args(["check-ref-format", &name]).output();
        // What git takes for a name, it lists: our client sees them all.
        if !hostile.text.contains('\0') && hostile.text.len() < 200 && legal.unwrap().status.success() {
            git(&remote, &["update-ref", &name, "refs/heads/main"]);
            git(&remote, &["update-ref", &format!("refs/tags/{number}-{}", hostile.text), "refs/heads/main"]);
        }
    }
    let spec = [("repo.branch", BRANCH), ("repo.path", CHECKOUT), ("artifacts.model.path", ARTIFACT)];
    let spec = spec.iter().fold(SPEC.to_owned(), |spec, (key, text)| replaced(&spec, key, text));
    std::fs::write(project.path().join("session.toml"), spec).unwrap();
    let run = |arguments: &[&str], code: i32| {
        let output = project.command(&[&["--sandbox"], arguments].concat()).output().unwrap();
        harmless(&format!("{arguments:?}"), &output);
        no_canary(project.path());
        ran(output).exits(code)
    };
    run(&["up", "--yes"], 0);
    let checkout = project.server().join(CHECKOUT);
    assert!(checkout.join("train.py").is_file(), "the checkout is where the spec says, to the letter");
    let head = std::fs::read_to_string(checkout.join(".git/HEAD")).unwrap();
    assert_eq!(head, format!("ref: refs/heads/{BRANCH}\n"));

    std::fs::write(checkout.join(ARTIFACT), "a model").unwrap();
    let names = hostile_files();
    for name in &names {
        std::fs::write(checkout.join(OsStr::from_bytes(name)), "work").unwrap();
    }
    std::os::unix::fs::symlink("/etc", checkout.join("etc")).unwrap();
    std::os::unix::fs::symlink("../../../../../../../../etc/passwd", checkout.join("passwd")).unwrap();
    run(&["plan"], 0);
    run(&["plan", "--json"], 0);
    run(&["status"], 0);
    run(&["run", "--", "echo", "$(touch pwned)", ";touch pwned", "`touch pwned`"], 0)
        .says("$(touch pwned) ;touch pwned `touch pwned`\n");
    run(&["down", "--yes"], 5).says("untracked");
    for name in &names {
        std::fs::remove_file(checkout.join(OsStr::from_bytes(name))).unwrap();
    }
    std::fs::remove_file(checkout.join("etc")).unwrap();
    std::fs::remove_file(checkout.join("passwd")).unwrap();
    run(&["down", "--yes"], 0).says("stored as");
    run(&["artifacts", "list"], 0);
    run(&["up", "--yes"], 0);
    let checkout = project.server().join(CHECKOUT);
    assert_eq!(std::fs::read(checkout.join(ARTIFACT)).unwrap(), b"a model", "it came back under its name");
    run(&["down", "--yes"], 0);
}

/// File names of the server: of every string, and bytes that are no text.
fn hostile_files() -> Vec<Vec<u8>> {
    let fits = |text: &&[u8]| {
        !text.is_empty()
            && text.len() < 200
            && !text.contains(&0)
            && !text.contains(&b'/')
            && !text.starts_with(b".")
    };
    let texts = STRINGS.iter().map(|one| one.text.as_bytes()).filter(fits);
    texts.chain([&b"\xff\xfe\x80"[..], b"a\xc3(", b"\x1b]0;\xffpwned\x07"]).map(<[u8]>::to_vec).collect()
}

#[test]
fn an_artifact_that_became_a_link_out_of_the_checkout_is_not_read_and_not_written_through() {
    let project = Project::new();
    project.dacapo(&["up", "--yes"]).exits(0);
    let checkout = project.server().join("lesson3");
    let secret = project.path().join("secret");
    std::fs::write(&secret, "canary-outside").unwrap();
    std::fs::remove_file(checkout.join("export.pkl")).unwrap();
    std::os::unix::fs::symlink(&secret, checkout.join("export.pkl")).unwrap();
    let before = uploads(&project);
    let down = project.dacapo(&["down", "--yes"]);
    assert_ne!(down.code, 0, "{}", down.stderr);
    project.dacapo(&["up", "--yes"]);
    assert_eq!(uploads(&project), before, "nothing was uploaded through the link");
    assert_eq!(std::fs::read(&secret).unwrap(), b"canary-outside");
}

fn uploads(project: &Project) -> usize {
    project.requests().iter().filter(|one| one["path"].as_str().unwrap().starts_with("/apitul/")).count()
}

#[test]
fn names_and_messages_of_the_services_move_no_cursor() {
    let project = Project::new();
    project.dacapo(&["up", "--yes"]).exits(0);
    let say = |what: &Value, commands: &[&[&str]]| {
        project.fail(what);
        for command in commands {
            let output = project.command(&[&["--sandbox"], *command].concat()).output().unwrap();
            let said = harmless(&format!("{what:.300}"), &output);
            assert!(matches!(output.status.code(), Some(0..=8)), "{said}");
        }
        project.dacapo(&["sandbox", "faults", "--clear"]).exits(0);
    };
    let every: String = STRINGS.iter().filter(|one| one.text.len() < 200).map(|one| one.text).collect();
    for words in ["hostname", "description", "status", "location", "instance_type", "image", "ip"] {
        let set = json!({"change": {"set": {format!("/0/{words}"): every, format!("/{words}"): every}}});
        let rule = json!({"path": "/v1/instances/**", "method": "GET", "times": "always", "fault": set});
        say(&json!({"rules": [rule]}), &[&["plan"], &["status"], &["orphans"]]);
    }
    let set = json!({"change": {"set": {"/0/name": every, "/0/status": every, "/0/tags": [{"key": every, "value": every}]}}});
    say(
        &json!({"rules": [{"path": "/v1/volumes", "times": "always", "fault": set}]}),
        &[&["plan"], &["orphans"], &["orphans", "--json"]],
    );
    for status in [400, 403, 500] {
        let cloud = json!({"answer": {"status": status, "body": json!({"code": every, "message": every}).to_string()}});
        let store = json!({"answer": {"status": status, "body": json!({"error_summary": every, "error": {".tag": every}}).to_string()}});
        for (path, fault) in
            [("/v1/balance", &cloud), ("/v1/instances", &cloud), ("/2/files/list_folder", &store)]
        {
            say(&json!({"rules": [{"path": path, "times": "always", "fault": fault}]}), &[&["plan"]]);
        }
    }
    say(&json!({"ssh": {"banner": every.replace('\0', "")}}), &[&["run", "--", "true"], &["plan"]]);
    let names =
        ["/0/name", "/0/path_display", "/0/path_lower"].map(|at| (format!("/entries{at}"), json!(every)));
    let set = json!({"change": {"set": names.into_iter().collect::<serde_json::Map<_, _>>()}});
    say(
        &json!({"rules": [{"path": "/2/files/list_folder", "times": "always", "fault": set}]}),
        &[&["plan"], &["artifacts", "list"], &["artifacts", "list", "--json"]],
    );
    no_canary(project.path());
}

#[test]
fn names_in_the_store_are_texts() {
    let project = Project::new();
    for Hostile { text, .. } in STRINGS {
        // A name that the service itself would take, and that fits into a header as it is.
        let odd = |c: char| !c.is_ascii() || c.is_control() || "/\\".contains(c);
        if (1..200).contains(&text.len()) && !text.contains(odd) {
            project.store_file(&format!("/fastai/lesson3/2026-11-24_export{text}.pkl"), b"x");
        }
    }
    project.store_file("/fastai/lesson3/2026-11-25_export.pkl;touch pwned", b"x");
    for command in [
        &["artifacts", "list"][..],
        &["plan"],
        &["up", "--yes"],
        &["artifacts", "list", "--json"],
        &["down", "--yes"],
    ] {
        let output = project.command(&[&["--sandbox"], command].concat()).output().unwrap();
        harmless(&format!("{command:?}"), &output);
        ran(output).exits(0);
    }
    no_canary(project.path());
}

/// The repo's session.toml with one text replaced.
fn with(key: &str, text: &str) -> String {
    replaced(SPEC, key, text)
}

fn replaced(spec: &str, key: &str, text: &str) -> String {
    let mut spec: toml::Table = spec.parse().unwrap();
    let list = ["disposable", "notebook.packages", "setup.inputs"].contains(&key);
    let value = if list { toml::Value::from(vec![text]) } else { toml::Value::from(text) };
    let mut table = &mut spec;
    let (tables, last) = key.rsplit_once('.').map_or(("", key), |(tables, last)| (tables, last));
    for name in tables.split('.').filter(|name| !name.is_empty()) {
        let inner = table.entry(name).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        table = inner.as_table_mut().unwrap();
    }
    table.insert(last.to_owned(), value);
    if key == "setup.inputs" {
        table.insert("run".to_owned(), toml::Value::from(vec!["true"]));
    }
    spec.to_string()
}

fn named(name: &str) -> &'static Hostile {
    STRINGS.iter().find(|one| one.name == name).unwrap()
}

/// Asserts that nothing printed moves a cursor or turns text round; returns all of it.
#[track_caller]
fn harmless(what: &str, output: &Output) -> String {
    let said = [&output.stdout[..], &output.stderr].concat();
    let said = String::from_utf8(said).unwrap_or_else(|error| panic!("{what}: no text: {error}"));
    let odd = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if let Some(at) = said.find(odd) {
        let start = said[..at].char_indices().rev().nth(200).map_or(0, |(start, _)| start);
        panic!("{what}: {:?} is printed behind {:?}", said[at..].chars().next(), &said[start..at]);
    }
    assert!(!said.contains("panicked"), "{what}: {said}");
    said
}

/// Asserts that nothing has made a file called `pwned`, here or below.
#[track_caller]
fn no_canary(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        assert_ne!(entry.file_name(), "pwned", "{}", entry.path().display());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            no_canary(&entry.path());
        }
    }
    assert!(!Path::new("pwned").exists() && !Path::new("/tmp/pwned").exists());
}

/// Does something with each, four at a time.
fn at_once<T: Sync>(all: &[T], one: impl Fn(&T) + Sync) {
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(None));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(item) = all.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| one(item)));
                    if let Err(panic) = ran {
                        failed.lock().unwrap().get_or_insert(panic);
                    }
                }
            });
        }
    });
    if let Some(panic) = failed.into_inner().unwrap() {
        std::panic::resume_unwind(panic);
    }
}

#[track_caller]
fn git(folder: &Path, arguments: &[&str]) {
    let output = Command::new("git").args(arguments).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_canary_and_a_raw_byte_are_seen() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("a")).unwrap();
    std::fs::write(folder.path().join("a/pwned"), "").unwrap();
    assert!(std::panic::catch_unwind(|| no_canary(folder.path())).is_err());
    let output = Command::new("printf").arg("\\033[31m").output().unwrap();
    assert!(std::panic::catch_unwind(|| harmless("printf", &output)).is_err());
}
