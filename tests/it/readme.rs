//! The README's stories, run as they stand, and the examples.
//!
//! `UPDATE_README=1 cargo test readme` writes what the commands really print into the README.

use std::path::Path;
use std::process::Command;

use regex::{Captures, Regex};

use crate::support::{Project, ran};

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
const STORY_BEGINS: &str = "<!-- story: begins -->";
const STORY_ENDS: &str = "<!-- story: ends -->";

#[test]
fn the_readme_shows_what_its_commands_print() {
    let readme = std::fs::read_to_string(README).unwrap();
    let (before, rest) = readme.split_once(STORY_BEGINS).unwrap();
    let (story, after) = rest.split_once(STORY_ENDS).unwrap();
    let project = Project::without_world(include_str!("../../session.toml"));
    let retold = std::panic::catch_unwind(|| retell(&project, story));
    let stopped = in_shell(&project, "dacapo --sandbox sandbox stop");
    assert_eq!(stopped.code, 0, "{}", stopped.output);
    let retold = retold.unwrap();
    if std::env::var_os("UPDATE_README").is_some() {
        let new = format!("{before}{STORY_BEGINS}{retold}{STORY_ENDS}{after}");
        return std::fs::write(README, new).unwrap();
    }
    let (told, retold) = (steady(story), steady(&retold));
    let differ = similar::TextDiff::from_lines(&told, &retold);
    let shown = differ.unified_diff().header("README.md", "printed").to_string();
    assert!(told == retold, "UPDATE_README=1 rewrites the README:\n{shown}");
}

#[test]
fn what_varies_is_evened_out_and_what_matters_is_not() {
    let even = |text: &str| steady(text);
    assert_eq!(even("done 0.1 s"), even("done 12.9 s"));
    assert_eq!(
        even("spent so far 0.1 usd; balance 49.80 usd"),
        even("spent so far 9.2 usd; balance 1.00 usd")
    );
    assert_ne!(even("1.1720 usd/h"), even("1.5425 usd/h"));
    assert_ne!(even("2026-11-20_export.pkl.gz"), even("2026-11-21_export.pkl.gz"));
    assert_eq!(even("stored as 2027-01-02_a.pkl"), even("stored as 2026-11-24_a.pkl"));
    assert_ne!(even("\"billing\":[]"), even("\"billing\":[{}]"));
    assert_ne!(even("✓ repo"), even("✗ repo"));
}

#[test]
fn each_example_runs_without_arguments() {
    let examples = Path::new(env!("CARGO_BIN_EXE_dacapo")).with_file_name("examples");
    for (name, said) in [
        ("rehearse", ["Plan: 6 action(s).", "nothing to do: `lesson3`", "nothing of this session bills"]),
        ("drift", ["version 2026-11-21_export.pkl ", "1. start machine", "== The machine was shut down"]),
    ] {
        let program = examples.join(name);
        // A filtered build (`cargo test --test it`) leaves the examples out.
        if !program.is_file() {
            continue;
        }
        let output = Command::new(program).output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{name}: {out}{err}");
        said.iter().for_each(|said| assert!(out.contains(said), "{name}: `{said}` is not in\n{out}"));
    }
}

#[test]
fn a_key_named_without_a_home_counts_from_the_folder_of_the_session_file() {
    let spec = include_str!("../../session.toml").replace("~/.ssh/id_ed25519.pub", "keys/mine.pub");
    let project = Project::without_world(&spec);
    std::fs::create_dir_all(project.path().join("keys")).unwrap();
    std::fs::create_dir_all(project.path().join("notebooks")).unwrap();
    std::fs::write(project.path().join("keys/mine.pub"), "found, but no key\n").unwrap();
    let credentials = ["VERDA_CLIENT_ID", "VERDA_CLIENT_SECRET", "DROPBOX_ACCESS_TOKEN"];
    let mut plan = project.command(&["plan"]);
    // The key is looked at before any service; should it ever not be, these lead nowhere.
    plan.envs(credentials.map(|name| (name, "unused")));
    for name in ["VERDA_BASE_URL", "DROPBOX_API_URL", "DROPBOX_CONTENT_URL"] {
        plan.env(name, "http://127.0.0.1:9/v1");
    }
    let ran = ran(plan.current_dir(project.path().join("notebooks")).output().unwrap());
    ran.exits(3).says("`keys/mine.pub` is not an OpenSSH public key");
}

struct Shown {
    code: i32,
    output: String,
}

/// Runs the story's commands and returns the story with what they print.
///
/// A command ends with 0 unless `echo $?` behind it shows another code.
fn retell(project: &Project, story: &str) -> String {
    let mut told = String::new();
    let mut console = false;
    let mut last = 0;
    for line in story.split_inclusive('\n') {
        let words = line.trim_end();
        if words.starts_with("```") {
            console = words == "```console";
        }
        if let Some(command) = words.strip_prefix("$ ").filter(|_| console) {
            told.push_str(line);
            if command == "echo $?" {
                told.push_str(&format!("{last}\n"));
                last = 0;
                continue;
            }
            assert_eq!(last, 0, "the command before `{command}`\n{told}");
            let shown = in_shell(project, command);
            told.push_str(&trimmed(&shown.output));
            last = shown.code;
        } else if !console || words.starts_with("```") {
            told.push_str(line);
        }
    }
    assert_eq!(last, 0, "the last command\n{told}");
    told
}

/// Runs one command line; both streams go to one file, in the order in which they were written.
fn in_shell(project: &Project, command: &str) -> Shown {
    assert!(command.contains(" --sandbox "), "a story stays in the embedded world: `{command}`");
    let program = Path::new(env!("CARGO_BIN_EXE_dacapo"));
    let path = format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let printed = project.path().join("printed");
    let file = std::fs::File::create(&printed).unwrap();
    let status = Command::new("sh")
        .args(["-c", &command.replace("cargo run --", "dacapo")])
        .current_dir(project.path())
        .env_clear()
        .env("PATH", path)
        .env("HOME", project.path().join("outside-home"))
        .stdin(std::process::Stdio::null())
        .stdout(file.try_clone().unwrap())
        .stderr(file)
        .status()
        .unwrap();
    Shown { code: status.code().unwrap_or(-1), output: std::fs::read_to_string(printed).unwrap() }
}

fn trimmed(text: &str) -> String {
    text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// Evens out what must vary from run to run, and nothing else.
fn steady(text: &str) -> String {
    // How often the machine's status is seen depends on how fast this machine is.
    let seen = Regex::new(r"(?m)^    (ordered|provisioning|running|waiting for sshd: .*)\n").unwrap();
    let text = seen.replace_all(text, "");
    let rules = [
        (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID"),
        (r"SHA256:[A-Za-z0-9+/]{43}", "FINGERPRINT"),
        (r"\b[0-9a-f]{10,64}\b", "HASH"),
        (r"\b[0-9a-f]{7}\.\.[0-9a-f]{7}\b", "HASHES"),
        (r"\b20\d\d-\d\d-\d\dT[0-9:.]+Z", "TIME"),
        (r"\b20\d\d-\d\d-\d\d \d\d:\d\d\b", "MINUTE"),
        (r"\b\d+\.\d h\b", "HOURS"),
        (r#""(balance|cost|spent)":[0-9.e-]+"#, "\"$1\":MONEY"),
        (r"\b[0-9.]+ s\b", "SECONDS"),
        (r"\b[0-9.]+ [kMG]?B free", "SPACE free"),
        (r"(Python|git) \d+(\.\d+)+", "$1 VERSION"),
        (r"127\.77\.\d+\.\d+", "IP"),
    ];
    let mut text = text.into_owned();
    for (pattern, name) in rules {
        text = Regex::new(pattern).unwrap().replace_all(&text, name).into_owned();
    }
    // Prices are the catalogue's; what was spent is the clock's.
    let money = Regex::new(r"\d+\.\d+ usd(/h)?").unwrap();
    let unless_price = |found: &Captures<'_>| {
        if found.get(1).is_some() { found[0].to_owned() } else { "MONEY usd".to_owned() }
    };
    let text = money.replace_all(&text, unless_price).into_owned();
    // The example's own version is older than any run.
    let date = Regex::new(r"\b20\d\d-\d\d-\d\d_").unwrap();
    let unless_old = |found: &Captures<'_>| {
        if &found[0] == "2026-11-20_" { found[0].to_owned() } else { "TODAY_".to_owned() }
    };
    date.replace_all(&text, unless_old).into_owned()
}
