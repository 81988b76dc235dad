//! Bad input, and what it gets: an error in three parts, its exit code, and nothing changed.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use dacapo::sandbox::{Admin, Ready};
use serde_json::{Value, json};

use crate::support::{Project, Ran, ran};

const SPEC: &str = include_str!("../../session.toml");

/// Asserts an exit code and the three parts of an error.
#[track_caller]
fn refused(refusal: Ran, code: i32) -> Ran {
    refusal.exits(code).says("error: ").says("  why: ").says(" hint: ")
}

/// The requests that wrote to the cloud or to the store.
fn writes(project: &Project) -> Vec<String> {
    let is_write = |request: &Value| {
        let (method, path) = (request["method"].as_str().unwrap(), request["path"].as_str().unwrap());
        match request["service"].as_str().unwrap() {
            "cloud" => method != "GET" && !path.ends_with("/oauth2/token"),
            "dropbox_content" => path.contains("upload"),
            "dropbox_api" => !["get_", "list_"].iter().any(|read| path.contains(read)),
            _ => false,
        }
    };
    let requests = project.requests().into_iter().filter(is_write);
    requests.map(|request| format!("{} {}", request["method"], request["path"])).collect()
}

#[track_caller]
fn nothing_changed(project: &Project) {
    assert_eq!(writes(project), [""; 0], "no request has written anything");
    nothing_bills(project);
}

#[track_caller]
fn nothing_bills(project: &Project) {
    assert_eq!(project.bill()["billing"], json!([]), "nothing bills");
}

/// The project's own session.toml with some text replaced.
#[track_caller]
fn edit(project: &Project, edits: &[(&str, &str)]) {
    std::fs::write(project.path().join("session.toml"), edited(edits)).unwrap();
}

#[track_caller]
fn edited(edits: &[(&str, &str)]) -> String {
    edits.iter().fold(SPEC.to_owned(), |spec, (from, to)| {
        assert!(spec.contains(from), "`{from}` is in session.toml");
        spec.replace(from, to)
    })
}

fn set(project: &Project, changes: &Value) {
    project.dacapo(&["sandbox", "set", &changes.to_string()]).exits(0);
}

/// `dacapo` without `--sandbox`, with credentials that reach the world all the same.
///
/// The world's ssh stands first on PATH, so that no host name leads out of it.
fn real(project: &Project, arguments: &[&str], variables: &[(&str, &str)]) -> Ran {
    let ready = |key: &str| project.ready[key].as_str().unwrap();
    let path = format!("{}/bin:{}", project.sandbox().display(), std::env::var("PATH").unwrap());
    let mut command = project.command(arguments);
    command
        .env("PATH", path)
        .env("HOME", project.laptop())
        .env("SSH_AUTH_SOCK", ready("agent"))
        .env("VERDA_CLIENT_ID", ready("client_id"))
        .env("VERDA_CLIENT_SECRET", ready("client_secret"))
        .env("VERDA_BASE_URL", ready("cloud"))
        .env("DROPBOX_ACCESS_TOKEN", ready("dropbox_token"))
        .env("DROPBOX_API_URL", ready("dropbox_api"))
        .env("DROPBOX_CONTENT_URL", ready("dropbox_content"));
    ran(command.envs(variables.iter().copied()).output().unwrap())
}

/// What to replace in a session.toml that is in order, and by what.
type Changes<'a> = &'a [(&'a str, &'a str)];

#[test]
fn every_mistake_in_session_toml_is_placed_and_starts_no_world() {
    let project = Project::without_world(SPEC);
    let cases: &[(Changes, &[&str])] = &[
        (&[("\"running\"", "")], &["session.toml:4:", "a value is missing"]),
        (&[("branch = ", "branhc = ")], &["session.toml:16:1", "unknown key `repo.branhc`", "`branch`"]),
        (&[("size_gb = 100", "size_gb = \"big\"")], &["session.toml:12:25", "a whole number, not a string"]),
        (&[("size_gb = 100", "size_gb = -5")], &["session.toml:12:25", "out of range", "50 to 10240"]),
        (&[("name  = \"lesson3\"", "name = \"\"")], &["session.toml:3:8", "`name` is empty"]),
        (&[("name  = \"lesson3\"", "name = \"my_box\"")], &["not a host name", "`name = \"my-box\"`"]),
        (&[("path   = \"lesson3\"", "path = \"../up\"")], &["`repo.path` leaves its folder", "`..`"]),
        (&[("\"export.pkl\"", "\"a/../../b\"")], &["`artifacts.model.path` leaves its folder"]),
        (&[("\"export.pkl\"", "\"/etc/passwd\"")], &["is an absolute path", "expected a relative path"]),
        (&[("\"main\"", "\"a..b\"")], &["session.toml:16:", "not a branch name that git accepts"]),
        (&[("\"main\"", "\"a.lock\"")], &["session.toml:16:", "not a branch name that git accepts"]),
        (
            &[("[repo]", "[setup]\nrun = []\n[repo]\non_absent = \"keep\"")],
            &[
                "2 mistake(s)",
                "`setup.run` is an empty list",
                "`repo.on_absent` cannot be `\"keep\"`",
                "leave `[setup]` out",
            ],
        ),
    ];
    for (edits, expected) in cases {
        edit(&project, edits);
        let refusal = refused(project.dacapo(&["up", "--yes"]), 3);
        expected.iter().fold(refusal, |refusal, text| refusal.says(text));
    }
    edit(&project, &[("branch = ", "branhc = ")]);
    let error = project.run(&["validate", "--json"]).exits(3).json();
    assert_eq!(error["exit_code"], 3, "one JSON object on standard output: {error}");
    std::fs::remove_file(project.path().join("session.toml")).unwrap();
    refused(project.dacapo(&["up", "--yes"]), 3).says("there is no `session.toml` here").says("`--file`");
    assert!(!project.path().join(".dacapo").exists(), "no world was started for a bad spec");
}

#[test]
fn nothing_that_begins_with_a_hyphen_is_taken() {
    let project = Project::without_world(SPEC);
    let keys = [
        ("name", "name  = \"lesson3\"", "name = \"-x\""),
        ("instance.type", "\"1L40S.20V\"", "\"-t\""),
        ("instance.location", "\"FIN-01\"", "\"-l\""),
        ("instance.image", "\"ubuntu-24.04-cuda-13.0-open-docker\"", "\"-i\""),
        ("instance.ssh_key", "\"~/.ssh/id_ed25519.pub\"", "\"-k.pub\""),
        ("repo.url", "\"git@github.com:me/lesson3.git\"", "\"-oProxyCommand=x\""),
        ("repo.branch", "\"main\"", "\"-b\""),
        ("repo.path", "path   = \"lesson3\"", "path = \"-p\""),
        ("artifacts.model.path", "\"export.pkl\"", "\"-e\""),
        ("artifacts.model.version", "\"latest\"", "\"-v\""),
    ];
    let edits: Vec<_> = keys.iter().map(|(_, from, to)| (*from, *to)).collect();
    edit(&project, &edits);
    let refusal = refused(project.run(&["validate"]), 3).says("10 mistake(s)");
    keys.iter().fold(refusal, |refusal, (key, ..)| refusal.says(&format!("`{key}` ")));
    let hosts = ["git@-oProxyCommand=x:y", "ssh://-oProxyCommand=x/y"];
    for url in hosts {
        edit(&project, &[("git@github.com:me/lesson3.git", url)]);
        refused(project.run(&["validate"]), 3).says("session.toml:15:");
    }
}

#[test]
fn what_the_worlds_do_not_have_is_refused_before_anything_is_written() {
    let project = Project::new();
    let types = "\"1RTX6000ADA.10V\", \"1L40S.20V\"";
    let cases = [
        (types, "\"1L40S.2V\"", 3, "did you mean `1L40S.20V`?"),
        ("\"FIN-03\"", "\"FIN-3\"", 3, "did you mean `FIN-03`?"),
        ("-open-docker", "-opn-docker", 3, "did you mean `ubuntu-24.04-cuda-13.0-open-docker`?"),
        (types, "\"1V100.6V\"", 3, "doesn't run on `1V100.6V`"),
        ("\"main\"", "\"mian\"", 3, "did you mean `main`?"),
        ("\"main\"", "\"something/else\"", 3, "its branches: `main`"),
        ("\"latest\"", "\"2026-11-21_export.pkl.gz\"", 3, "did you mean `2026-11-20_export.pkl.gz`?"),
        ("\"latest\"", "\"content:00\"", 3, "hint: "),
    ];
    for (from, to, code, expected) in cases {
        edit(&project, &[(from, to)]);
        refused(project.dacapo(&["up", "--yes"]), code).says(expected);
    }
    edit(&project, &[]);
    refused(project.dacapo(&["up"]), 3).says("`--yes`");
    refused(project.dacapo(&["up", "--yes", "--locked"]), 3).says("session.lock names no machine");
    let error = project.dacapo(&["plan", "--json", "--set", "instance.type=nope"]).exits(3).json();
    assert_eq!(error["exit_code"], 3);
    assert!(error["error"]["why"][0].as_str().unwrap().contains("`1L40S.20V`"), "{error}");
    nothing_changed(&project);
}

#[test]
fn wrong_credentials_and_keys_are_refused_before_anything_is_written() {
    let project = Project::new();
    let up = |variables: &[(&str, &str)]| real(&project, &["up", "--yes"], variables);
    let absent = [("VERDA_CLIENT_ID", ""), ("VERDA_CLIENT_SECRET", "")];
    refused(up(&absent), 4).says("no credentials for the cloud").says("VERDA_CLIENT_ID");
    refused(up(&[("VERDA_CLIENT_SECRET", "")]), 4).says("`VERDA_CLIENT_SECRET` isn't");
    refused(up(&[("VERDA_CLIENT_ID", "")]), 4).says("`VERDA_CLIENT_ID` isn't");
    let wrong = refused(up(&[("VERDA_CLIENT_SECRET", "not-the-word")]), 4).says("check `VERDA_CLIENT_ID`");
    assert!(!wrong.stderr.contains("not-the-word"), "a secret is never shown: {}", wrong.stderr);
    refused(up(&[("DROPBOX_ACCESS_TOKEN", "")]), 4).says("no credentials for Dropbox");
    let wrong = refused(up(&[("DROPBOX_ACCESS_TOKEN", "sl.not-the-word")]), 4).says("DROPBOX_ACCESS_TOKEN");
    assert!(!wrong.stderr.contains("not-the-word"), "a secret is never shown: {}", wrong.stderr);

    let private = project.laptop().join(".ssh/id_ed25519");
    std::fs::copy(&private, project.laptop().join(".ssh/private.pub")).unwrap();
    std::fs::write(project.laptop().join(".ssh/junk.pub"), "nothing of the kind\n").unwrap();
    for (file, code, expected) in [
        ("id_ed25519", 3, "`~/.ssh/id_ed25519.pub`"),
        ("private.pub", 3, "is a private key"),
        ("junk.pub", 3, "is not an OpenSSH public key"),
        ("missing.pub", 3, "cannot read the public key `~/.ssh/missing.pub`"),
    ] {
        edit(&project, &[("id_ed25519.pub", file)]);
        refused(up(&[]), code).says(expected);
    }
    edit(&project, &[("me/lesson3.git", "me/nothing-there.git")]);
    refused(up(&[]), 1).says("me/nothing-there.git").says("check `repo.url`");
    nothing_changed(&project);
}

#[test]
fn without_a_key_to_log_in_or_to_clone_with_nothing_is_created() {
    let project = Project::new();
    let agent = project.ready["agent"].as_str().unwrap().to_owned();
    let private = project.laptop().join(".ssh/id_ed25519");
    let ssh_add = |arguments: &[&str]| {
        let added = Command::new("ssh-add").args(arguments).env("SSH_AUTH_SOCK", &agent).output().unwrap();
        assert!(added.status.success(), "{added:?}");
    };
    ssh_add(&["-D"]);
    refused(project.dacapo(&["up", "--yes"]), 4).says("the ssh agent holds no key").says("`ssh-add`");
    // Without any key the git host doesn't even show its branches.
    refused(real(&project, &["up", "--yes"], &[("SSH_AUTH_SOCK", "")]), 4)
        .says("Permission denied")
        .says("ssh-add");
    let away = format!("{agent}.away");
    std::fs::rename(&agent, &away).unwrap();
    refused(project.dacapo(&["up", "--yes"]), 4).says("no ssh agent answers").says("`ssh-add`");
    std::fs::rename(&away, &agent).unwrap();

    // A login key that neither lies here nor is in the agent; the git host is asked with the other one.
    ssh_add(&[private.to_str().unwrap()]);
    let other = project.laptop().join(".ssh/other");
    let made = Command::new("ssh-keygen").args(["-qt", "ed25519", "-N", "", "-f"]).arg(&other).output();
    assert!(made.unwrap().status.success(), "a second key pair is made");
    std::fs::remove_file(&other).unwrap();
    edit(&project, &[("id_ed25519.pub", "other.pub")]);
    refused(real(&project, &["up", "--yes"], &[]), 4).says("cannot log in").says("other.pub");
    nothing_changed(&project);

    edit(&project, &[]);
    project.dacapo(&["up", "--yes"]).exits(0);
}

#[test]
fn no_capacity_and_no_money_leave_nothing_that_bills() {
    let project = Project::new();
    set(&project, &json!({"cloud": {"balance": 0.01}}));
    refused(project.dacapo(&["up", "--yes"]), 8).says("insufficient_funds").says("add credit");
    nothing_bills(&project);

    let stock = |first, second| {
        json!({"cloud": {"balance": 50, "stock": {
            "FIN-03": {"1RTX6000ADA.10V": first, "1L40S.20V": first},
            "FIN-01": {"1RTX6000ADA.10V": first, "1L40S.20V": second},
        }}})
    };
    set(&project, &stock(0, 0));
    let up = refused(project.dacapo(&["up", "--yes"]), 6).says("nothing bills");
    for tried in ["`1RTX6000ADA.10V` in FIN-03", "`1L40S.20V` in FIN-01"] {
        assert!(up.stderr.contains(tried), "{tried} was tried: {}", up.stderr);
    }
    nothing_bills(&project);
    set(&project, &stock(0, 1));
    project.dacapo(&["up", "--yes"]).exits(0).says("1L40S.20V in FIN-01, running");
}

#[test]
fn two_at_once_on_one_laptop_make_one_machine() {
    let project = Project::new();
    let timing = json!({"ordered": 5.0, "provisioning": 400.0, "starting": 20.0, "shutting_down": 30.0,
        "deleting": 20.0, "deleting_volume": 20.0});
    set(&project, &json!({"cloud": {"timing": timing}}));
    let mut first = project.command(&["--sandbox", "up", "--yes"]);
    let mut first = first.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(first.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains("ordered at")), "the first one orders a machine");
    refused(project.dacapo(&["up", "--yes"]), 9).says("on this laptop by another dacapo");
    let rest: Vec<_> = lines.collect();
    assert!(first.wait().unwrap().success(), "{rest:#?}");
    let billing = project.bill()["billing"].as_array().unwrap().len();
    assert_eq!(billing, 2, "one machine and its volume");
}

#[test]
fn a_lease_of_another_laptop_is_respected_until_it_runs_out() {
    let project = Project::with_speed(1);
    set(&project, &json!({"cloud": {"balance": 0.01}}));
    project.dacapo(&["up", "--yes"]).exits(8);
    let mut record = record(&project);
    record["lease"] = json!({"owner": "ada@desktop", "laptop": "another", "writes": 7});
    record["intent"] = Value::Null;
    put_record(&project, &record);
    let before = writes(&project);
    let held = refused(project.dacapo(&["up", "--yes"]), 9).says("is held by ada@desktop for another 1");
    assert!(held.stderr.contains(" s\n"), "it says for how many seconds: {}", held.stderr);
    assert_eq!(writes(&project), before, "a held session is not written to");
    project.dacapo(&["sandbox", "jump", "130"]).exits(0);
    project.dacapo(&["up", "--yes"]).exits(8).says("insufficient_funds");
}

/// Some revision of the session's record, as the world's Dropbox holds it.
fn record(project: &Project) -> Value {
    let objects = std::fs::read_dir(project.sandbox().join("dropbox/objects")).unwrap();
    let mut files = objects.filter_map(|object| std::fs::read(object.unwrap().path()).ok());
    files
        .find_map(|bytes| {
            serde_json::from_slice::<Value>(&bytes).ok().filter(|value| value["session"] == "lesson3")
        })
        .expect("the record is in the store")
}

fn put_record(project: &Project, record: &Value) {
    let ready: Ready = serde_json::from_value(project.ready.clone()).unwrap();
    let now = project.bill()["now"].as_str().unwrap().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let bytes = serde_json::to_vec(record).unwrap();
    let path = "/fastai/lesson3/.dacapo/lesson3.json";
    runtime.block_on(Admin::of(&ready).unwrap().seed_store(path, &bytes, now)).unwrap();
}

#[test]
fn a_server_without_python_is_said_and_goes_on_once_it_has_one() {
    let project = Project::new();
    let stub = without(&project, "python3");
    refused(project.dacapo(&["up", "--yes"]), 1).says("`python3` was not found on the server");
    std::fs::remove_file(stub).unwrap();
    let stub = without(&project, "git");
    refused(project.dacapo(&["up", "--yes"]), 1).says("install git on the server");
    std::fs::remove_file(stub).unwrap();
    project.dacapo(&["up", "--yes"]).exits(0);
    assert_eq!(project.bill()["billing"].as_array().unwrap().len(), 2, "still the one machine");
}

/// Puts a program that isn't there in front of the one that every instance has.
fn without(project: &Project, program: &str) -> std::path::PathBuf {
    let stub = project.sandbox().join("bin").join(program);
    std::fs::write(&stub, format!("#!/bin/sh\necho '{program}: not found' >&2\nexit 127\n")).unwrap();
    std::fs::set_permissions(&stub, std::fs::Permissions::from_mode(0o755)).unwrap();
    stub
}

#[test]
fn what_may_be_lost_with_the_server_is_kept_until_it_is_named() {
    let project = Project::new();
    project.dacapo(&["up", "--yes"]).exits(0);
    let machine = billing_id(&project, "instance");
    let volume = billing_id(&project, "volume");

    std::fs::write(project.path().join("other.toml"), edited(&[("/fastai/lesson3", "/fastai/other")]))
        .unwrap();
    for command in ["up", "down"] {
        let other = ["--file", "other.toml", command, "--yes"];
        refused(project.dacapo(&other), 5).says("another session named `lesson3`").says(&machine);
    }
    let before = writes(&project);
    for program in ["python3", "git"] {
        let stub = without(&project, program);
        refused(project.dacapo(&["down", "--yes"]), 5).says(&format!("{program}: not found"));
        std::fs::remove_file(stub).unwrap();
    }
    set(&project, &json!({"cloud": {"status": {&machine: "offline"}}}));
    refused(project.dacapo(&["down", "--yes"]), 5).says("is offline").says("--discard server:unreachable");
    refused(project.dacapo(&["run", "--", "true"]), 255).says("is offline");
    let deleted = writes(&project).split_off(before.len());
    assert!(!deleted.iter().any(|write| write.contains("/instances")), "nothing was deleted: {deleted:?}");

    set(&project, &json!({"cloud": {"status": {&machine: "discontinued"}}}));
    project.dacapo(&["plan"]).exits(0).says("vanished").says("boots the kept disk");
    refused(project.dacapo(&["down", "--yes"]), 5)
        .says("vanished without our doing")
        .says("--discard server:gone");
    let gone = project.dacapo(&["down", "--yes", "--discard", "server:gone"]).exits(0);
    assert!(!gone.stdout.contains("nothing of it bills"), "its volume does: {}", gone.stdout);
    let last = gone.says("but this still bills").says(&format!("--discard volume:{volume}"));
    assert_eq!(last.code, 0);
    let discard = format!("volume:{volume}");
    project.dacapo(&["down", "--yes", "--discard", &discard]).exits(0).says("nothing of it bills");
    nothing_bills(&project);
}

#[track_caller]
fn billing_id(project: &Project, kind: &str) -> String {
    let bill = project.bill();
    let one = bill["billing"].as_array().unwrap().iter().find(|one| one["kind"] == kind).unwrap();
    one["id"].as_str().unwrap().to_owned()
}
