//! Every command with `--json` in one world, in the states that make its members appear.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::{Seen, described, each};
use crate::artifacts::keep;
use crate::login::{agree, outside, with_input};
use crate::notebook::{behaves, free_port, install};
use crate::support::{Project, ran};

const SPEC: &str = include_str!("../../../session.toml");

/// The tags whose values say which of several kinds an object is.
const TAGS: [&str; 9] = ["action", "stage", "event", "note", "work", "blocked", "finding", "shown", "fate"];

/// Objects whose members have names that aren't ours.
const MAPS: [&str; 5] = ["artifacts", "inputs", "packages", "headers", "rule"];

/// What this day need not have: it takes a service that fails, another laptop, a large file, or a moment that may be missed.
/// `code.rs` holds these to the code.
const UNSEEN: &[&str] = &[
    "action adopt",
    "action delete_volume",
    "action end_twin",
    "action fast_forward",
    "action install_packages",
    "action make_way",
    "action restore_volume",
    "action settle",
    "blocked behind_with_work",
    "blocked disk_gone",
    "blocked no_replacement",
    "blocked other_branch",
    "blocked several",
    "blocked too_large",
    "event not_started",
    "finding lfs",
    "finding more_files",
    "finding other_remote",
    "finding remote_unreachable",
    "finding unsaved",
    "note cannot_log_in",
    "note laptop_unpushed",
    "note newer_stored",
    "note not_logged_in",
    "note other_key",
    "note out_of_stock",
    "note packages_drifted",
    "note pinned",
    "note same_content",
    "note set_up_may_run",
    "shown never_used",
    "shown no_checkout",
    "stage address",
    "stage bytes",
    "stage connecting",
    "stage ran_before",
    "stage removing",
    "stage resumed",
    "stage said",
    "stage saved",
    "stage status",
    "stage unclear",
    "stage unexplained",
    "stage waiting",
    "stage watching",
];

#[test]
fn whatever_json_prints_is_as_its_schema_says_and_under_no_other_name() {
    let project = Project::with_spec(SPEC);
    let mut seen = Seen::of(&project);
    morning(&mut seen);
    at_work(&mut seen);
    versions(&mut seen);
    ends(&mut seen);
    left_overs(&mut seen);
    world(&mut seen);
    signs_in(&mut seen);
    every_command_printed_data(&seen);
    what_is_unseen_is_known(&seen);
    a_renamed_member_is_refused(&seen);
}

fn write(seen: &Seen<'_>, file: &str, text: &str) {
    std::fs::write(seen.project.path().join(file), text).unwrap();
}

/// Before the first server, and its coming.
fn morning(seen: &mut Seen<'_>) {
    let folder = seen.project.path().join("begun");
    std::fs::create_dir(&folder).unwrap();
    let git = |words: &[&str]| {
        assert!(Command::new("git").current_dir(&folder).args(words).status().unwrap().success());
    };
    git(&["init", "-q"]);
    git(&["remote", "add", "origin", "git@github.com:me/lesson3.git"]);
    let world = format!("--sandbox={}", seen.project.sandbox().display());
    let init = [&world, "init", "--yes", "--json", "--new-key", "--key", "~/.ssh/other.pub"];
    for code in [0, 3] {
        let made = ran(seen.project.command(&init).current_dir(&folder).output().unwrap()).exits(code);
        seen.takes("init", &made.stdout);
    }
    std::fs::remove_dir_all(&folder).unwrap();

    seen.json("validate", &[], 0);
    seen.json("validate", &["--set", "nme=1"], 3);
    seen.json("validate", &["--nme"], 3);
    seen.json("doctor", &["--offline"], 0);
    seen.json("doctor", &["--set", "nme=1"], 1);
    seen.json("status", &[], 0);
    seen.json("log", &[], 0);
    seen.json("plan", &[], 0);
    seen.json("plan", &["--set", "limits.max_price_per_hour=9", "--set", "limits.max_cost=90"], 0);
    seen.json("plan", &["--only", "machine"], 0);
    seen.json("up", &[], 3);
    seen.json("up", &["--yes", "--timeout", "1ms"], 130);
    let rule = json!({"service": "cloud", "method": "POST", "path": "/v1/instances", "fault": "capacity"});
    seen.project.fail(&json!({"rules": [rule]}));
    write(
        seen,
        "session.toml",
        &format!("{SPEC}\n[setup]\nrun = [\"echo one\", \"echo two\"]\ninputs = [\"README.md\"]\n"),
    );
    seen.json("up", &["--yes"], 0);
    seen.json("up", &["--yes"], 0);
}

/// A session at work: a notebook, other steps, copies, the way in.
fn at_work(seen: &mut Seen<'_>) {
    install(seen.project);
    let port = free_port();
    let spec = SPEC.replace("\n\n[instance]", "\ndisposable = [\"standin.json\"]\n\n[instance]");
    let steps = "[setup]\nrun = [\"echo uno\", \"echo two\", \"echo three\"]\ninputs = [\"README.md\"]\n";
    write(seen, "session.toml", &format!("{spec}\n{steps}\n[notebook]\nport = {port}\n"));
    seen.json("plan", &[], 0);
    seen.json("apply", &["--yes"], 0);
    behaves(seen.project, &json!({"kernels": [["idle.ipynb", "idle"], ["train.ipynb", "busy"]]}));
    seen.json("status", &[], 0);
    seen.json("plan", &["--set", "state=absent"], 0);
    seen.json("plan", &["--set", "notebook.port=1025"], 0);
    seen.json("plan", &["--set", "setup.inputs=[\"none.txt\"]"], 0);
    let mut child =
        seen.project.command(&["--sandbox", "notebook", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    seen.takes("notebook", &line);
    seen.json("notebook", &["--set", "name=none"], 255);
    behaves(seen.project, &json!({"locked": true}));
    seen.json("plan", &[], 0);
    behaves(seen.project, &json!({}));
    seen.json("plan", &["--set", "state=absent"], 0);
    let without = format!("{spec}\n{steps}");
    write(seen, "session.toml", &without);
    seen.json("apply", &["--yes"], 0);

    for more in [&["--print"][..], &[], &["--install"], &["--remove"], &["--remove"]] {
        seen.json("ssh-config", more, 0);
    }
    seen.json("open", &[], 0);
    write(seen, "notes.csv", "1,2\n");
    seen.json("cp", &["notes.csv", ":"], 0);
    seen.json("cp", &["notes.csv", ":"], 0);
    write(seen, "notes.csv", "3,4\n");
    seen.json("cp", &["--overwrite", "notes.csv", ":"], 0);
    seen.project.on_server("mkfifo ../pipe; mkdir ../out; mv ../pipe ../out; echo a > ../out/a");
    seen.json("cp", &["-r", ":~/out", "."], 1);
    seen.project.on_server("rm -r ../out");
    seen.json("hash", &["notes.csv", "--sha256"], 0);
    seen.json("hash", &["notes.csv", "none"], 1);
    seen.json("report", &["-o", "report.html"], 0);
    seen.json("reap", &[], 0);
}

/// Work on the server, and what the store keeps.
fn versions(seen: &mut Seen<'_>) {
    let project = seen.project;
    project.on_server(
        "echo first > export.pkl; echo '# longer' >> train.py; echo new > new.py; git branch -f side HEAD",
    );
    seen.json("status", &[], 0);
    seen.json("plan", &[], 0);
    seen.json("plan", &["--set", "state=absent"], 0);
    seen.json("plan", &["--set", "state=absent", "--set", "repo.on_absent=save-branch"], 0);
    seen.json("save", &[], 3);
    project.on_server("echo token > .env");
    seen.json("save", &["--yes"], 5);
    project.on_server("rm .env");
    seen.json("save", &["--yes"], 0);
    on_odd_servers(seen);
    project.on_server("echo second > export.pkl");
    seen.json("artifacts push", &["--yes"], 0);
    seen.json("artifacts push", &["--yes"], 0);
    seen.json("artifacts list", &[], 0);
    let first = "2026-11-20_export.pkl.gz";
    for version in ["latest", first] {
        seen.json("artifacts show", &[version], 0);
    }
    seen.json("artifacts show", &["2026-11-20_export.pkl"], 3);
    let list = project.dacapo(&["artifacts", "list", "--json"]).exits(0).json();
    let names = list["artifacts"][0]["versions"].as_array().unwrap();
    let before = names[names.len() - 2]["name"].as_str().unwrap().to_owned();
    seen.json("artifacts diff", &[first], 0);
    seen.json("artifacts diff", &[&before], 0);
    seen.json("artifacts pin", &[&before], 0);
    seen.json("plan", &[], 0);
    seen.json("artifacts pull", &["--yes"], 0);
    seen.json("artifacts pull", &["--yes", &format!("model@{first}"), "--to", "laptop"], 0);
    seen.json("artifacts pin", &["latest"], 0);
    let environment = json!({"python": "2.7", "cuda": "8.0", "packages": {"numpy": "1.0"}});
    keep(project, "2026-11-21_export.pkl", b"old", &json!({"dirty": true, "environment": environment}));
    keep(project, "2026-11-22_export.pkl", b"odd", &json!({"payload": 7}));
    let differs = &["2026-11-21_export.pkl", "2026-11-21_export.pkl"];
    seen.json("artifacts diff", differs, 0);
    let pinned = ["--set", "artifacts.model.version=2026-11-21_export.pkl"];
    seen.json("plan", &pinned, 0);
    seen.json("artifacts prune", &["--keep", "2"], 3);
    seen.json("artifacts prune", &["--keep", "1", "--yes"], 0);
}

/// Plans that a server stands in the way of.
fn on_odd_servers(seen: &mut Seen<'_>) {
    let project = seen.project;
    let absent = ["--set", "state=absent"];
    for (odd, well) in [
        ("mv .git/HEAD .git/head", "mv .git/head .git/HEAD"),
        ("mv export.pkl ../model", "mv ../model export.pkl"),
        ("mv export.pkl ../model; mkdir export.pkl", "rmdir export.pkl; mv ../model export.pkl"),
        (
            "touch .git/MERGE_HEAD; mv ../.dacapo/marker ../marker",
            "rm .git/MERGE_HEAD; mv ../marker ../.dacapo/marker",
        ),
    ] {
        project.on_server(odd);
        seen.json("plan", &[], 0);
        seen.json("plan", &absent, 0);
        project.on_server(well);
    }
    project.ssh_faults(&json!({"refuse": true}));
    seen.json("plan", &[], 0);
    seen.json("plan", &absent, 0);
    project.ssh_faults(&json!({}));
}

/// Ends that are refused, that keep the disk, that lose what was named, and one that nobody planned.
fn ends(seen: &mut Seen<'_>) {
    let project = seen.project;
    project.on_server(
        "echo scratch > ../scratch.bin; echo mine > notes.txt; git init -q nested; touch nested/a",
    );
    project.on_server("git -c user.name=a -c user.email=a@b commit -q --allow-empty -m mine");
    let mut training = project.command(&["--sandbox", "run", "--", "sleep", "600"]).spawn().unwrap();
    project.eventually(&["plan", "--set", "state=absent"], "is at work");
    seen.json("down", &["--yes"], 5);
    seen.json("plan", &["--set", "repo.branch=other"], 3);
    seen.json("plan", &["--set", "instance.type=1L40S.20V"], 0);
    seen.json("plan", &["--set", "instance.type=1L40S.20V", "--replace"], 0);
    seen.json("plan", &["--set", "limits.max_price_per_hour=0.01", "--set", "limits.max_cost=0.01"], 0);
    seen.json("plan", &["--set", "artifacts.other.path=other.pkl"], 0);
    seen.json("plan", &["--set", "limits.protect=true", "--set", "limits.deadline=1d12h"], 0);
    seen.json("plan", &["--set", "state=absent", "--set", "limits.protect=true"], 0);
    seen.json("down", &["--yes", "--keep-disk", "--discard", "processes"], 0);
    let _ = training.kill();
    let _ = training.wait();
    seen.json("status", &[], 0);
    seen.json("plan", &["--set", "state=absent"], 0);
    seen.json("up", &["--yes"], 0);
    let losses = ["files:scratch.bin", "repo:untracked", "repo:unpushed", "repo:nested"];
    let named: Vec<&str> = losses.iter().flat_map(|loss| ["--discard", loss]).collect();
    seen.json("plan", &[&["--set", "state=absent"], &named[..]].concat(), 0);
    seen.json("down", &[&["--yes"], &named[..]].concat(), 0);
    seen.json("log", &["--all"], 0);
    seen.json("plan", &["--purge", "--set", "state=absent"], 0);
    seen.json("down", &["--yes", "--purge"], 0);
    seen.json("open", &[], 255);

    seen.json("up", &["--yes"], 0);
    for status in ["offline", "unknown", "discontinued"] {
        let change = json!({"cloud": {"status": {"*": status}}}).to_string();
        project.dacapo(&["sandbox", "set", &change]).exits(0);
        seen.json("plan", &["--set", "state=absent"], 0);
        seen.json("plan", &[], 0);
    }
    seen.json("down", &["--yes"], 5);
    seen.json("down", &["--yes", "--discard", "server:gone"], 0);
    damage_a_receipt(project);
    seen.json("log", &[], 1);
}

/// Has the store hold a receipt that isn't as dacapo wrote it.
fn damage_a_receipt(project: &Project) {
    let folder = "/fastai/lesson3/.dacapo/receipts/lesson3/";
    project.store_file(
        &format!("{folder}20261120T000000Z-a.json"),
        b"{\"receipt\": {\"version\": 1}, \"seal\": \"\"}\n",
    );
}

/// What bills without a session.toml, and what is past its deadline.
fn left_overs(seen: &mut Seen<'_>) {
    let project = seen.project;
    write(seen, "session.toml", SPEC);
    let other = SPEC.replace("\"lesson3\"\nstate", "\"lost\"\nstate");
    write(seen, "other.toml", &other);
    let protected = ["-f", "other.toml", "--set", "limits.protect=true"];
    seen.json("up", &[&["--yes"], &protected[..]].concat(), 0);
    seen.json("plan", &[], 0);
    seen.json("orphans", &[], 0);
    seen.json("up", &["--yes"], 0);
    project.on_server("echo scratch > ../scratch.bin");
    seen.json("reap", &[], 0);
    project.dacapo(&["sandbox", "jump", "36000"]).exits(0);
    seen.json("reap", &[], 5);
    seen.json("apply", &["--yes", "-f", "other.toml"], 0);
    seen.json("reap", &[], 0);
    seen.json("orphans", &["--remove", "none"], 5);
    seen.json("orphans", &[], 0);
}

/// The embedded world itself.
fn world(seen: &mut Seen<'_>) {
    seen.json("sandbox bill", &[], 0);
    seen.json("sandbox faults", &[], 0);
    seen.json("sandbox faults", &["--clear"], 0);
    seen.json("sandbox requests", &[], 0);
    let ready = seen.project.ready.to_string();
    seen.takes("sandbox serve", &ready);
    let nothing = seen.project.dacapo(&["sandbox", "jump", "1", "--json"]).exits(0);
    assert_eq!(nothing.stdout, "", "`sandbox jump` has no schema");
}

/// Signing in, as for the real services.
fn signs_in(seen: &mut Seen<'_>) {
    let project = seen.project;
    let ready = |name: &str| project.ready[name].as_str().unwrap();
    let key = ["login", "dropbox", "--app-key", ready("dropbox_app_key"), "--code-stdin", "--json"];
    let told = with_input(outside(project, &key), agree).exits(0);
    seen.takes("login dropbox", &told.stdout);
    let pair = ["login", "cloud", "--client-id", ready("client_id"), "--secret-stdin", "--json"];
    for (secret, code) in [("wrong", 4), (ready("client_secret"), 0)] {
        let told = with_input(outside(project, &pair), |_| secret.to_owned()).exits(code);
        seen.takes("login cloud", &told.stdout);
    }
    for more in [&["dropbox"][..], &[]] {
        let told = outside(project, &[&["logout"], more, &["--json"]].concat()).output().map(ran).unwrap();
        seen.takes("logout", &told.exits(0).stdout);
    }
}

fn every_command_printed_data(seen: &Seen<'_>) {
    let data = seen.lines.iter().filter(|(_, line)| line.get("error").is_none());
    let printed: BTreeSet<String> = data.map(|(command, _)| command.clone()).collect();
    assert_eq!(printed, described(seen.project));
}

fn what_is_unseen_is_known(seen: &Seen<'_>) {
    let mut known = BTreeSet::new();
    for schema in seen.schemas.values() {
        each(&schema.text, &mut |part| {
            for tag in TAGS {
                if let Some(value) = part.get("properties").and_then(|members| members.get(tag)?.get("const"))
                {
                    known.insert(format!("{tag} {}", value.as_str().unwrap()));
                }
            }
        });
    }
    for (_, line) in &seen.lines {
        each(line, &mut |part| {
            for tag in TAGS {
                if let Some(value) = part.get(tag).and_then(Value::as_str) {
                    known.remove(&format!("{tag} {value}"));
                }
            }
        });
    }
    let known: Vec<&String> = known.iter().filter(|one| !UNSEEN.contains(&one.as_str())).collect();
    assert_eq!(known, Vec::<&String>::new(), "no line has these");
}

/// Renames each member of one line of each shape, one at a time.
fn a_renamed_member_is_refused(seen: &Seen<'_>) {
    let (mut shapes, mut renamed) = (BTreeSet::new(), 0);
    for (command, line) in &seen.lines {
        if !shapes.insert((command, shape(line))) {
            continue;
        }
        let schema = &seen.schemas[command];
        let mut places = Vec::new();
        members(line, &mut Vec::new(), &mut places);
        for (path, name) in places {
            let mut changed = line.clone();
            let object = path.iter().fold(&mut changed, |at, word| match at {
                Value::Array(values) => &mut values[word.parse::<usize>().unwrap()],
                object => &mut object[word],
            });
            let object = object.as_object_mut().unwrap();
            let value = object.remove(&name).unwrap();
            object.insert(format!("{name}_"), value);
            assert!(schema.check(&changed).is_err(), "{command} takes `{name}_` at {path:?}: {changed:#}");
            renamed += 1;
        }
    }
    assert!(renamed > 1000, "{renamed} members were renamed");
}

/// What a line has, whatever it says: names, and the words of tags.
fn shape(value: &Value) -> String {
    match value {
        Value::Object(object) => {
            let part = |(name, value): (&String, &Value)| match value.as_str() {
                Some(word) if TAGS.contains(&name.as_str()) => format!("{name}={word}"),
                _ => format!("{name}{}", shape(value)),
            };
            format!("{{{}}}", object.iter().map(part).collect::<Vec<_>>().join(","))
        }
        Value::Array(values) => format!("{:?}", values.iter().map(shape).collect::<BTreeSet<_>>()),
        _ => String::new(),
    }
}

/// Every member whose name is ours, and the way to the object that has it.
fn members(value: &Value, path: &mut Vec<String>, found: &mut Vec<(Vec<String>, String)>) {
    let mut below = |word: String, value: &Value, path: &mut Vec<String>| {
        path.push(word);
        members(value, path, found);
        path.pop();
    };
    match value {
        Value::Array(values) => {
            for (at, value) in values.iter().enumerate() {
                below(at.to_string(), value, path);
            }
        }
        Value::Object(object) => {
            let of = |word: Option<&String>| word.is_some_and(|word| MAPS.contains(&word.as_str()));
            // A receipt has two such objects in an array; a rule is the fault plan's, to its depth.
            let pair = path.first().is_some_and(|word| word == "sessions") && of(path.iter().nth_back(1));
            let ours = !of(path.last()) && !pair && !path.iter().any(|word| word == "rule");
            for (name, value) in object {
                below(name.clone(), value, path);
            }
            if ours {
                found.extend(object.keys().map(|name| (path.clone(), name.clone())));
            }
        }
        _ => {}
    }
}
