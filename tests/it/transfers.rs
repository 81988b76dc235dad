//! Artifacts of any size, between server, laptop and store: whole, resumed, and never half.
//!
//! `DACAPO_ARTIFACT_MIB` sets how large the interrupted one is; `tests/large/run` takes 5 GiB.

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Child, Stdio};

use serde_json::{Value, json};

use crate::support::{Project, Ran, ran};

const MIB: u64 = 1024 * 1024;
/// What one request may carry, and how many may be under way at once.
const REQUEST: u64 = 68 * MIB;
const CONNECTIONS: u64 = 8;

/// How long the interrupted upload would take without interruptions.
const SECONDS_OF_ALL: u64 = 8;

/// Interruptions of one upload.
const INTERRUPTIONS: u64 = 10;

#[test]
fn a_large_artifact_arrives_whole_though_its_push_is_interrupted_ten_times() {
    let mib = std::env::var("DACAPO_ARTIFACT_MIB").map_or(300, |mib| mib.parse().unwrap());
    let size = mib * MIB + 12_345;
    let mut project = with_unpacked_model();
    // A helper goes on for a moment after its laptop has died: it must not get to the end in that moment.
    let rate = size / SECONDS_OF_ALL / CONNECTIONS / 1000;
    project.start_world_with(&["--link", &format!("rate={rate}kB")]);
    project.dacapo(&["up", "--yes"]).exits(0);
    let file = project.server().join("lesson3/export.pkl");
    write_noise(&file, size, 7);
    let content = hash(&project, &file);

    let mut random = Random(mib);
    for round in 0..INTERRUPTIONS {
        let threshold = size * (round + 1) / (INTERRUPTIONS + 2);
        let how = (round + random.below(2)) % 5;
        eprintln!("interruption {round}: {how} at {threshold} of {size} bytes");
        interrupt(&project, how, threshold);
    }
    let last = project.dacapo(&["artifacts", "push", "--yes"]).exits(0);
    assert!(last.stderr.contains("goes on at"), "{}", last.stderr);

    let stored = newest(&project);
    assert_eq!((&stored["content"], &stored["stored_size"]), (&json!(content), &json!(size)));
    let sent: u64 = project.requests().iter().filter_map(sent_bytes).sum();
    eprintln!("{sent} bytes were sent for {size}, over {} runs", INTERRUPTIONS + 1);
    let again = INTERRUPTIONS * CONNECTIONS * REQUEST.min(size / (2 * CONNECTIONS));
    assert!(sent - size <= again, "{} bytes were sent again", sent - size);

    std::fs::remove_file(&file).unwrap();
    project.dacapo(&["artifacts", "pull", "--yes"]).exits(0);
    assert_eq!(hash(&project, &file), content, "what comes back is what was made");
    let left = std::fs::read_dir(project.server().join(".dacapo")).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!left.iter().any(|name| name.starts_with("push-") || name.starts_with("pack")), "{left:?}");
    project.dacapo(&["down", "--yes"]).exits(0);
}

#[test]
fn a_pull_that_was_cut_goes_on_with_what_is_there() {
    let project = with_unpacked_model();
    let size = 60 * MIB + 1;
    let file = project.path().join("export.pkl");
    write_noise(&file, size, 3);
    let content = hash(&project, &file);
    project.dacapo(&["artifacts", "push", "--from", "laptop", "--yes"]).exits(0);
    std::fs::remove_file(&file).unwrap();

    pull_half(&project, size);
    assert!(!file.exists(), "nothing half is ever in its place");

    let again = project.dacapo(&["artifacts", "pull", "--to", "laptop", "--yes"]).exits(0);
    let goes_on = again.stderr.lines().find(|line| line.contains("goes on at")).map(str::to_owned);
    assert!(goes_on.is_some(), "{}", again.stderr);
    assert_eq!(hash(&project, &file), content);
    assert!(!project.path().join("export.pkl.dacapo-part").exists());
}

#[test]
fn a_part_that_was_changed_between_two_runs_is_fetched_again() {
    let project = with_unpacked_model();
    let size = 40 * MIB;
    let file = project.path().join("export.pkl");
    write_noise(&file, size, 4);
    let content = hash(&project, &file);
    project.dacapo(&["artifacts", "push", "--from", "laptop", "--yes"]).exits(0);
    std::fs::remove_file(&file).unwrap();
    pull_half(&project, size);
    // Whatever block is there, some byte of it is another one now.
    let part =
        std::fs::File::options().write(true).open(project.path().join("export.pkl.dacapo-part")).unwrap();
    for block in 0..10 {
        part.write_all_at(b"not what was sent", block * 4 * MIB + 99).unwrap();
    }
    drop(part);
    let again = project.dacapo(&["artifacts", "pull", "--to", "laptop", "--yes"]).exits(0);
    assert!(!again.stderr.contains("goes on at"), "nothing of it is what it was: {}", again.stderr);
    assert_eq!(hash(&project, &file), content);
}

#[test]
fn files_of_the_laptop_are_stored_and_brought_back_and_never_lost() {
    let project = Project::new();
    let file = project.path().join("export.pkl");
    let push = || project.dacapo(&["artifacts", "push", "--from", "laptop", "--yes"]);
    let pull = |what: &str| project.dacapo(&["artifacts", "pull", what, "--to", "laptop", "--yes"]);
    push().exits(0).says("its file is missing or empty").says("nothing to move");
    project
        .dacapo(&["artifacts", "push", "model", "--from", "laptop", "--yes"])
        .exits(1)
        .says("no such file");

    std::fs::write(&file, "made here").unwrap();
    push().exits(0).says("confirmed by the store");
    push().exits(0).says("model is stored already, as").says("nothing to move");
    let stored = newest(&project)["name"].as_str().unwrap().to_owned();
    assert!(stored.ends_with("_export.pkl.gz"), "{stored}");

    pull("model@2026-11-20_export.pkl.gz").exits(0);
    assert_eq!(std::fs::read(&file).unwrap().len(), 700, "the seeded version");
    pull("model").exits(0);
    assert_eq!(std::fs::read(&file).unwrap(), b"made here");

    // Bytes that nobody else has: they stay where the newest is wanted, and are stored first where another
    // version is named.
    std::fs::write(&file, "nowhere else").unwrap();
    pull("model").exits(0).says("the server's own bytes stay").says("nothing to move");
    assert_eq!(std::fs::read(&file).unwrap(), b"nowhere else");
    pull(&format!("model@{stored}")).exits(0);
    assert_eq!(std::fs::read(&file).unwrap(), b"made here");
    pull("model@latest").exits(0);
    assert_eq!(std::fs::read(&file).unwrap(), b"nowhere else", "it was stored before it was replaced");

    pull("modle").exits(3).says("did you mean `model`?");
    pull("modle@latest").exits(3).says("did you mean `model`?");
    pull("model@2026-01-01_export.pkl").exits(3).says("no stored version");
    project.dacapo(&["artifacts", "push", "--yes"]).exits(1).says("has no server that is ready");
}

#[test]
fn what_cannot_be_an_artifact_is_said_to_be_none() {
    let project = Project::new();
    let file = project.path().join("export.pkl");
    let push = || project.dacapo(&["artifacts", "push", "model", "--from", "laptop", "--yes"]);
    let elsewhere = project.path().join("elsewhere");
    std::fs::write(&elsewhere, "precious").unwrap();

    std::fs::write(&file, "").unwrap();
    push().exits(1).says("the file is empty");
    std::fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink("elsewhere", &file).unwrap();
    push().exits(1).says("symbolic link");
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    push().exits(1).says("a folder");
    std::fs::remove_dir(&file).unwrap();
    let fifo = std::process::Command::new("mkfifo").arg(&file).status().unwrap();
    assert!(fifo.success());
    push().exits(1).says("not a regular file");
    assert_eq!(
        project.dacapo(&["artifacts", "list", "--json"]).json()["artifacts"][0]["versions"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn a_store_that_stumbles_is_asked_again_and_a_full_one_is_not_filled() {
    let project = Project::new();
    let file = project.path().join("export.pkl");
    let push = || project.dacapo(&["artifacts", "push", "--from", "laptop", "--yes"]);
    let link = |fault: &str| json!({"rules": [{"service": "dropbox_content", "path": "/apitul/**", "fault": fault}]});
    for (number, fault) in ["dropbox_down", "dropbox_down_after", "cut", "cut_after"].iter().enumerate() {
        std::fs::write(&file, format!("content {number}")).unwrap();
        project.fail(&link(fault));
        push().exits(0);
        let versions =
            project.dacapo(&["artifacts", "list", "--json"]).json()["artifacts"][0]["versions"].clone();
        assert_eq!(versions.as_array().unwrap().len(), number + 2, "{fault}: one version for one content");
    }

    write_noise(&file, 2 * MIB, 1);
    set_world(&project, &json!({"dropbox": {"allocated": MIB}}));
    let uploads = || {
        project
            .requests()
            .iter()
            .filter(|request| request["path"].as_str().unwrap().starts_with("/apitul/"))
            .count()
    };
    let before = uploads();
    push().exits(1).says("too full").says("make room in the Dropbox");
    assert_eq!(uploads(), before, "nothing was sent");
    set_world(&project, &json!({"dropbox": {"allocated": 1_000_000_000}}));
    push().exits(0);
}

#[test]
fn holes_of_a_sparse_file_are_stored_as_what_they_read_as() {
    let project = with_unpacked_model();
    let file = project.path().join("export.pkl");
    let size = 400 * MIB;
    std::fs::File::create(&file).unwrap().set_len(size).unwrap();
    let content = hash(&project, &file);
    project.dacapo(&["artifacts", "push", "--from", "laptop", "--yes"]).exits(0);
    assert_eq!(
        (&newest(&project)["content"], &newest(&project)["stored_size"]),
        (&json!(content), &json!(size))
    );
    // Packed it is small, and the same version all the same.
    let packed = ["--set", "artifacts.model.compress=gzip"];
    let again = [&["artifacts", "push", "--from", "laptop", "--yes"], &packed[..]].concat();
    project.dacapo(&again).exits(0).says("is stored already");
}

#[test]
fn a_session_that_is_lost_is_begun_anew_and_an_upload_finished_unseen_is_found() {
    let project = with_unpacked_model();
    let file = project.path().join("export.pkl");
    let push = || project.dacapo(&["artifacts", "push", "--from", "laptop", "--yes"]);
    let finish =
        |fault: Value| json!({"rules": [{"path": "/2/files/upload_session/finish", "fault": fault}]});
    for (seed, plan) in [
        finish(json!("dropbox_down")),
        finish(json!("dropbox_down_after")),
        finish(json!("cut_after")),
        finish(json!("too_many_write_operations")),
        json!({"rules": [{"path": "/2/files/upload_session/append_v2", "skip": 3, "fault": {"answer": {
            "status": 409, "body": {"error_summary": "not_found/.", "error": {".tag": "not_found"}}}}}]}),
    ]
    .into_iter()
    .enumerate()
    {
        write_noise(&file, 151 * MIB, seed as u64);
        project.fail(&plan);
        push().exits(0);
        let stored = newest(&project);
        assert_eq!(stored["content"], json!(hash(&project, &file)), "{plan}");
        let versions =
            project.dacapo(&["artifacts", "list", "--json"]).json()["artifacts"][0]["versions"].clone();
        assert_eq!(versions.as_array().unwrap().len(), seed + 2, "{plan}: one version for one content");
    }
}

#[test]
fn a_session_from_a_week_ago_is_not_gone_on_with() {
    let project = with_unpacked_model();
    let file = project.path().join("export.pkl");
    write_noise(&file, 160 * MIB, 9);
    let mut push =
        project.command(&["--sandbox", "--json", "artifacts", "push", "--from", "laptop", "--yes"]);
    let mut push = push.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    read_until_moved(&mut push, 70 * MIB);
    push.kill().unwrap();
    push.wait().unwrap();
    project.dacapo(&["sandbox", "jump", &(8 * 24 * 3600).to_string()]).exits(0);
    let again = project.dacapo(&["artifacts", "push", "--from", "laptop", "--yes"]).exits(0);
    assert!(!again.stderr.contains("goes on at"), "{}", again.stderr);
    assert_eq!(newest(&project)["content"], json!(hash(&project, &file)));
}

#[test]
fn the_token_that_a_server_is_lent_is_nowhere_to_be_read() {
    let project = with_unpacked_model();
    project.dacapo(&["up", "--yes"]).exits(0);
    write_noise(&project.server().join("lesson3/export.pkl"), 200 * MIB, 5);
    let mut push = project.command(&["--sandbox", "--json", "artifacts", "push", "--yes"]);
    let mut push = push.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    read_until_moved(&mut push, 60 * MIB);
    // Tokens begin with `sl.` and are long: nothing else here looks like that.
    let token = regex::bytes::Regex::new(r"sl\.[A-Za-z0-9_-]{40,}").unwrap();
    let mut looked = 0;
    for process in std::fs::read_dir("/proc").unwrap() {
        for name in ["cmdline", "environ"] {
            let Ok(bytes) = std::fs::read(process.as_ref().unwrap().path().join(name)) else { continue };
            assert!(!token.is_match(&bytes), "{process:?} {name}");
            looked += 1;
        }
    }
    assert!(looked > 10, "{looked}");
    let said = finished(push).exits(0);
    assert!(!token.is_match(said.stdout.as_bytes()) && !token.is_match(said.stderr.as_bytes()));
    let own = project.server().join(".dacapo");
    for file in std::fs::read_dir(own).unwrap() {
        assert!(!token.is_match(&std::fs::read(file.unwrap().path()).unwrap()));
    }
    // The token could write and nothing else.
    let minted: Vec<_> =
        project.requests().into_iter().filter(|request| request["path"] == "/oauth2/token").collect();
    assert!(
        minted.iter().any(|request| request["body"].as_str().unwrap().contains("scope=files.content.write")),
        "{minted:?}"
    );
}

fn set_world(project: &Project, changes: &Value) {
    project.fail(
        &json!({"rules": [{"path": "/2/users/get_current_account", "fault": {"world": {"set": changes}}}]}),
    );
}

/// Pulls to the laptop and kills the run half-way, on a line that would take four seconds for all.
fn pull_half(project: &Project, size: u64) {
    let speed = project.ready["clock_speed"].as_f64().unwrap();
    let rate = (size / CONNECTIONS) as f64 / 4.0 / speed;
    project.fail(&json!({"rules": [{"service": "dropbox_content", "path": "/**", "times": "always",
        "fault": {"change": {"rate": rate}}}]}));
    let mut pull = project.command(&["--sandbox", "--json", "artifacts", "pull", "--to", "laptop", "--yes"]);
    let mut pull = pull.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    read_until_moved(&mut pull, size / 2);
    pull.kill().unwrap();
    pull.wait().unwrap();
    project.dacapo(&["sandbox", "faults", "--clear"]).exits(0);
}

/// Starts a push and ends it in one of five ways once so many bytes have arrived.
fn interrupt(project: &Project, how: u64, threshold: u64) {
    let append = |fault: &str, times: u64| json!({"rules": [{"path": "/2/files/upload_session/append_v2", "fault": fault, "times": times}]});
    match how {
        // These two are got over without anybody's help; the laptop dies afterwards.
        2 => project.fail(&append("dropbox_down", 6)),
        3 => project.fail(&append("expired_token", 1)),
        _ => {}
    }
    let mut push = project.command(&["--sandbox", "--json", "artifacts", "push", "--yes"]);
    let mut push = push.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    read_until_moved(&mut push, threshold);
    match how {
        1 => {
            project.ssh_faults(&json!({"cut": {}}));
            let ended = finished(push).exits(1);
            assert!(ended.stdout.contains("connection to the server"), "{}", ended.stdout);
            project.ssh_faults(&json!({}));
        }
        4 => {
            kill_helper(&project.server());
            finished(push).exits(1);
        }
        _ => {
            push.kill().unwrap();
            push.wait().unwrap();
        }
    }
}

/// Reads a run's events until a transfer is that far.
fn read_until_moved(run: &mut Child, threshold: u64) {
    let mut lines = BufReader::new(run.stdout.as_mut().unwrap());
    let mut said = Vec::new();
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line).unwrap() == 0 {
            break;
        }
        let event: Value = serde_json::from_str(&line).unwrap();
        if event["event"] == "progress" && event["stage"]["stage"] == "bytes" {
            // Packing and sending both tell bytes; an artifact that is sent as it lies there isn't packed.
            if event["stage"]["done"].as_u64().unwrap() >= threshold {
                return;
            }
        }
        said.push(line);
    }
    let mut errors = String::new();
    run.stderr.as_mut().unwrap().read_to_string(&mut errors).unwrap();
    let end = said.split_off(said.len().saturating_sub(8)).concat();
    panic!("the run ended before {threshold} bytes were moved: {end}{errors}");
}

fn finished(mut run: Child) -> Ran {
    let mut rest = String::new();
    run.stdout.as_mut().unwrap().read_to_string(&mut rest).unwrap();
    run.stdout = None;
    Ran { stdout: rest, ..ran(run.wait_with_output().unwrap()) }
}

/// Kills the helper that works in this home, and no other test's.
fn kill_helper(home: &Path) {
    let wanted = format!("HOME={}", home.display());
    for process in std::fs::read_dir("/proc").unwrap() {
        let process = process.unwrap().path();
        let read = |name: &str| std::fs::read(process.join(name)).unwrap_or_default();
        let has = |text: &[u8], word: &[u8]| text.split(|byte| *byte == 0).any(|part| part == word);
        if has(&read("cmdline"), b"-IS") && has(&read("environ"), wanted.as_bytes()) {
            let id = process.file_name().unwrap().to_str().unwrap().to_owned();
            assert!(std::process::Command::new("kill").args(["-9", &id]).status().unwrap().success());
            return;
        }
    }
    panic!("no helper is at work in {}", home.display());
}

/// How many bytes an append brought that the store took.
fn sent_bytes(request: &Value) -> Option<u64> {
    let taken = request["path"] == "/2/files/upload_session/append_v2" && request["status"] == 200;
    taken.then(|| request["headers"]["content-length"].as_str().unwrap().parse().unwrap())
}

fn with_unpacked_model() -> Project {
    Project::with_spec(&include_str!("../../session.toml").replace("\"gzip\"", "\"none\""))
}

/// Writes bytes that no packer makes smaller, the same for the same seed.
fn write_noise(path: &Path, size: u64, seed: u64) {
    let file = std::fs::File::create(path).unwrap();
    let mut random = Random(seed);
    let mut piece = vec![0_u8; MIB as usize];
    let mut at = 0;
    while at < size {
        for word in piece.chunks_exact_mut(8) {
            word.copy_from_slice(&random.next().to_le_bytes());
        }
        let now = (size - at).min(MIB);
        file.write_all_at(&piece[..now as usize], at).unwrap();
        at += now;
    }
}

fn hash(project: &Project, file: &Path) -> String {
    let output = project.command(&["hash"]).arg(file).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().to_owned()
}

fn newest(project: &Project) -> Value {
    let list = project.dacapo(&["artifacts", "list", "--json"]).exits(0).json();
    list["artifacts"][0]["versions"].as_array().unwrap().last().unwrap().clone()
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
