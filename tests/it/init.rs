//! `dacapo init`: a first session.toml, from flags, defaults and a person at a terminal.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::interrupt::until;
use crate::support::{Project, Ran, ran};
use crate::terminal::Terminal;

/// A world, and beside its own session.toml a checkout without one.
fn begun() -> (Project, PathBuf) {
    let project = Project::new();
    let checkout = project.path().join("lesson 4");
    git(project.path(), &["init", "-q", "-b", "trunk", "lesson 4"]);
    git(&checkout, &["remote", "add", "origin", "git@github.com:me/lesson4.git"]);
    (project, checkout)
}

fn git(folder: &Path, arguments: &[&str]) {
    let mut git = Command::new("git");
    git.current_dir(folder).args(arguments).env("GIT_CONFIG_GLOBAL", "/dev/null");
    assert!(git.status().unwrap().success());
}

/// `dacapo init` in a folder, against the project's world.
fn command(project: &Project, folder: &Path, arguments: &[&str]) -> Command {
    let world = format!("--sandbox={}", project.sandbox().display());
    let mut command = project.command(&[&[world.as_str(), "init"], arguments].concat());
    command.current_dir(folder);
    command
}

fn init(project: &Project, folder: &Path, arguments: &[&str]) -> Ran {
    ran(command(project, folder, arguments).output().unwrap())
}

fn at_terminal(project: &Project, folder: &Path, kind: &str) -> Terminal {
    let mut command = command(project, folder, &[]);
    command.env("LC_ALL", "C");
    Terminal::start_as(command, kind)
}

fn written(folder: &Path) -> toml::Table {
    toml::from_str(&std::fs::read_to_string(folder.join("session.toml")).unwrap()).unwrap()
}

/// What a session.toml says, section by section.
fn says(folder: &Path, section: &str, key: &str) -> String {
    written(folder)[section][key].as_str().unwrap().to_owned()
}

fn nothing_written(folder: &Path) {
    assert!(!folder.join("session.toml").exists());
    assert!(!folder.join("session.schema.json").exists());
}

#[test]
fn the_defaults_are_what_the_cloud_sells_and_the_repo_that_one_stands_in() {
    let (project, folder) = begun();
    init(&project, &folder, &["--yes"]).exits(0).says("session `lesson-4`").says("plan` shows what it takes");
    assert_eq!(written(&folder)["name"].as_str(), Some("lesson-4"));
    // The cheapest with one GPU and CUDA that is in stock, and the newest image with both CUDA and Docker.
    assert_eq!(says(&folder, "instance", "type"), "1RTX6000ADA.10V");
    assert_eq!(says(&folder, "instance", "image"), "ubuntu-24.04-cuda-13.0-open-docker");
    assert_eq!(says(&folder, "instance", "ssh_key"), "~/.ssh/id_ed25519.pub");
    assert_eq!(says(&folder, "repo", "url"), "git@github.com:me/lesson4.git");
    assert_eq!(says(&folder, "repo", "branch"), "trunk");
    assert_eq!(says(&folder, "repo", "path"), "lesson 4");
    assert_eq!(says(&folder, "limits", "deadline"), "8h");
    let schema = std::fs::read_to_string(folder.join("session.schema.json")).unwrap();
    assert_eq!(schema, project.run(&["schema"]).stdout);
    let text = std::fs::read_to_string(folder.join("session.toml")).unwrap();
    assert!(text.starts_with("#:schema ./session.schema.json\n"), "{text}");
    assert!(crate::habits::valid(&serde_json::from_str(&schema).unwrap(), &text), "{text}");
    let mut validate = project.command(&["validate"]);
    validate.current_dir(&folder);
    ran(validate.output().unwrap()).exits(0).says("session `lesson-4`");
}

#[test]
fn what_init_wrote_can_be_brought_up_and_down() {
    let project = Project::new();
    let old = project.path().join("session.toml");
    std::fs::remove_file(&old).unwrap();
    let flags = ["--repo", "git@github.com:me/lesson3.git", "--artifact", "model=export.pkl"];
    project.dacapo(&[&["init", "--yes", "--name", "lesson3"], &flags[..]].concat()).exits(0);
    project
        .dacapo(&["up", "--yes"])
        .exits(0)
        .says("code       main at")
        .says("version 2026-11-20_export.pkl.gz");
    project.dacapo(&["down", "--yes"]).exits(0);
}

#[test]
fn every_question_has_a_flag_and_offline_asks_nobody() {
    let project = Project::without_world("");
    std::fs::remove_file(project.path().join("session.toml")).unwrap();
    std::fs::write(
        project.path().join("me.pub"),
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ2Xn0xq0t3p3Y7y2f8m\n",
    )
    .unwrap();
    let flags = [
        "init",
        "--offline",
        "--name",
        "lesson3",
        "--type",
        "1V100.6V,1L40S.20V",
        "--location",
        "FIN-01",
        "--location",
        "FIN-03",
        "--image",
        "ubuntu-24.04",
        "--key",
        "me.pub",
        "--repo",
        "https://github.com/me/lesson3.git",
        "--branch",
        "dev",
        "--path",
        "work",
        "--artifact",
        "model=export.pkl",
        "--artifact",
        "log=out/log.csv",
        "--store",
        "dropbox:/fastai",
        "--deadline",
        "90m",
        "--max-price",
        "1.6",
        "--max-cost",
        "9",
        "--notebook",
        "--json",
    ];
    let said = project.run(&flags).exits(0).json();
    assert_eq!(said["written"]["session"], "lesson3");
    let spec = written(project.path());
    let expected = json!({
        "name": "lesson3", "state": "running", "store": "dropbox:/fastai",
        "instance": {"type": ["1V100.6V", "1L40S.20V"], "location": ["FIN-01", "FIN-03"], "image": "ubuntu-24.04",
                     "ssh_key": "me.pub", "os_volume": {"size_gb": 100}},
        "limits": {"deadline": "90m", "max_price_per_hour": 1.6, "max_cost": 9.0},
        "repo": {"url": "https://github.com/me/lesson3.git", "branch": "dev", "path": "work"},
        "artifacts": {"model": {"path": "export.pkl", "version": "latest"},
                      "log": {"path": "out/log.csv", "version": "latest"}},
        "notebook": {},
    });
    assert_eq!(serde_json::to_value(spec).unwrap(), expected);
    project.run(&["validate"]).exits(0);
}

#[test]
fn without_a_terminal_each_missing_answer_is_named_by_its_flag() {
    let (project, folder) = begun();
    let ran = init(&project, &folder, &[]).exits(3).says("`--yes`");
    for flag in ["--name", "--repo", "--type", "--image", "--key"] {
        assert!(ran.stderr.contains(&format!("`{flag}`")), "{flag}: {}", ran.stderr);
    }
    init(&project, &folder, &["--yes", "--offline"]).exits(3).says("`--type`, `--image`");
    nothing_written(&folder);
}

#[test]
fn a_session_file_that_is_there_is_never_written_over() {
    let (project, folder) = begun();
    std::fs::write(folder.join("session.toml"), "mine").unwrap();
    init(&project, &folder, &["--yes"]).exits(3).says("is there already");
    assert_eq!(std::fs::read_to_string(folder.join("session.toml")).unwrap(), "mine");
    init(&project, &folder, &["--yes", "--file", "other.toml"]).exits(0);
    assert!(folder.join("other.toml").exists());
    std::os::unix::fs::symlink("nowhere", folder.join("link.toml")).unwrap();
    init(&project, &folder, &["--yes", "--file", "link.toml"]).exits(3).says("is there already");
    init(&project, &folder, &["--yes", "--file", "no/such/session.toml"]).exits(3).says("there is no folder");
}

#[test]
fn answers_that_contradict_each_other_or_the_cloud_write_nothing() {
    let (project, folder) = begun();
    let home = project.laptop();
    std::fs::write(home.join(".ssh/text.pub"), "not a key\n").unwrap();
    std::fs::copy(home.join(".ssh/id_ed25519"), home.join(".ssh/private.pub")).unwrap();
    let cases: &[(&[&str], &str)] = &[
        (&["--type", "1L40S.20V", "--location", "ICE-01"], "no 1L40S.20V is to be had in ICE-01"),
        (&["--location", "FIN-99"], "no location `FIN-99`"),
        (&["--type", "1V100.6W"], "did you mean `1V100.6V`"),
        (&["--type", "1V100.6V", "--image", "ubuntu-24.04-cuda-13.0-open"], "`1V100.6V` can't boot"),
        (&["--image", "ubuntu"], "no image `ubuntu`"),
        (&["--key", "~/.ssh/none.pub"], "cannot read the public key"),
        (&["--key", "~/.ssh/text.pub"], "is not an OpenSSH public key"),
        (&["--key", "~/.ssh/private.pub"], "is a private key"),
        (&["--store", "none", "--artifact", "model=export.pkl"], "leaves no place for the artifacts"),
        (
            &["--artifact", "a=x/export.pkl", "--artifact", "b=y/export.pkl"],
            "has the file name of `artifacts.a`",
        ),
        (&["--artifact", "model"], "NAME=PATH"),
        (&["--max-cost", "1", "--deadline", "8h"], "8h cost more than 1 usd"),
        (&["--max-price", "0.01"], "no machine is that cheap"),
        (&["--deadline", "soon"], "`limits.deadline`"),
        (&["--name", "a\"\n[limits]\nprotect = true"], "`name`"),
        (&["--repo", "https://me:secret@host/a.git"], "carries a login"),
        (&["--set", "name=x"], "`--set` overrides"),
    ];
    for (flags, said) in cases {
        let ran = init(&project, &folder, &[&["--yes"], *flags].concat()).exits(3).says(said);
        assert!(!ran.stderr.contains("secret"), "{}", ran.stderr);
        nothing_written(&folder);
    }
    let elsewhere = tempfile::tempdir().unwrap();
    let branch = ["--yes", "--branch", "dev"];
    init(&project, elsewhere.path(), &branch).exits(3).says("of which repo").says("`--repo`");
    nothing_written(elsewhere.path());
}

#[test]
fn a_cloud_that_cannot_be_asked_is_told_and_offline_is_the_way_round() {
    let project = Project::without_world("");
    std::fs::remove_file(project.path().join("session.toml")).unwrap();
    project.run(&["init", "--yes"]).exits(4).says("dacapo login cloud").says("--offline");
    nothing_written(project.path());
    let mut homeless = project.command(&["init", "--yes"]);
    homeless.env_remove("HOME");
    ran(homeless.output().unwrap()).exits(3).says("set HOME");
}

#[test]
fn a_key_pair_is_made_on_request_and_never_over_one_that_is_there() {
    let (project, folder) = begun();
    let key = project.laptop().join(".ssh/id_ed25519");
    let before = std::fs::read(&key).unwrap();
    init(&project, &folder, &["--yes", "--new-key"]).exits(3).says("a key is never written over");
    assert_eq!(std::fs::read(&key).unwrap(), before);
    nothing_written(&folder);
    let made = project.laptop().join(".ssh/other");
    std::fs::write(made.with_extension("pub"), "somebody's\n").unwrap();
    init(&project, &folder, &["--yes", "--new-key", "--key", "~/.ssh/other.pub"]).exits(3);
    assert!(!made.exists());
    std::fs::remove_file(made.with_extension("pub")).unwrap();
    init(&project, &folder, &["--yes", "--new-key", "--key", "~/.ssh/other.pub"]).exits(0).says("`ssh-add ");
    assert_eq!(std::fs::metadata(&made).unwrap().permissions().mode() & 0o777, 0o600);
    let public = Command::new("ssh-keygen").args(["-y", "-P", "", "-f"]).arg(&made).output().unwrap();
    let kept = std::fs::read_to_string(made.with_extension("pub")).unwrap();
    assert!(kept.starts_with("ssh-ed25519 "), "{kept}");
    assert!(
        String::from_utf8(public.stdout)
            .unwrap()
            .trim_end()
            .starts_with(kept.trim_end().rsplit_once(' ').unwrap().0)
    );
    assert_eq!(says(&folder, "instance", "ssh_key"), "~/.ssh/other.pub");
    let left = std::fs::read_dir(project.laptop().join(".ssh")).unwrap();
    let left: Vec<_> = left
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name.to_string_lossy().contains("dacapo"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_key_that_only_the_agent_has_gets_a_file_for_its_public_half() {
    let (project, folder) = begun();
    let home = project.laptop();
    let public = std::fs::read_to_string(home.join(".ssh/id_ed25519.pub")).unwrap();
    for half in ["id_ed25519", "id_ed25519.pub"] {
        std::fs::rename(home.join(".ssh").join(half), project.path().join(half)).unwrap();
    }
    init(&project, &folder, &["--yes"]).exits(0);
    assert_eq!(says(&folder, "instance", "ssh_key"), "~/.ssh/dacapo-agent-1.pub");
    let kept = std::fs::read_to_string(home.join(".ssh/dacapo-agent-1.pub")).unwrap();
    assert!(public.starts_with(kept.trim_end()), "{kept} {public}");
}

#[test]
fn at_a_terminal_enter_takes_what_there_is_and_a_bad_answer_is_asked_for_again() {
    let (project, folder) = begun();
    let terminal = at_terminal(&project, &folder, "xterm-256color");
    terminal.resize(24, 40);
    terminal.shows("Name of the session [lesson-4]: ");
    terminal.types("Lesson 4\r");
    terminal.shows("lower case only");
    terminal.shows("Name of the session");
    terminal.types("four\r");
    for what in ["Git remote", "Branch", "Folder on the server"] {
        terminal.shows(what);
        terminal.types("\r");
    }
    // A list: live prices and stock, no line wider than the terminal.
    terminal.shows("Machine");
    let list = terminal.shows("1RTX6000ADA.10V");
    terminal.types("\r");
    for line in list.lines() {
        assert!(console::measure_text_width(line) <= 40, "{line}");
    }
    terminal.shows("Location");
    terminal.types("\u{1b}[B\r");
    for what in ["Image", "A file worth keeping", "Dropbox folder", "It may live for", "It may cost at most"]
    {
        terminal.shows(what);
        terminal.types("\r");
    }
    terminal.shows("Run JupyterLab");
    terminal.types("y");
    terminal.shows("wrote ");
    assert_eq!(terminal.ends(), 0);
    assert_eq!(written(&folder)["name"].as_str(), Some("four"));
    assert_eq!(says(&folder, "instance", "type"), "1RTX6000ADA.10V");
    assert_eq!(says(&folder, "instance", "location"), "FIN-01");
    assert!(written(&folder).contains_key("notebook"));
}

#[test]
fn ctrl_c_writes_nothing_at_a_text_and_at_a_list() {
    let (project, folder) = begun();
    for texts in [0, 4] {
        let terminal = at_terminal(&project, &folder, "xterm-256color");
        terminal.shows("Name of the session");
        for what in &["Git remote", "Branch", "Folder on the server", "Machine"][..texts] {
            terminal.types("\r");
            terminal.shows(what);
        }
        if texts > 0 {
            terminal.shows("1RTX6000ADA.10V");
        }
        terminal.types("\u{3}");
        terminal.shows("nothing was written");
        assert_eq!(terminal.ends(), 130);
        nothing_written(&folder);
    }
}

#[test]
fn a_dumb_terminal_gets_numbers_and_no_escape_sequence() {
    let (project, folder) = begun();
    let terminal = at_terminal(&project, &folder, "dumb");
    let mut shown = terminal.shows("Name of the session [lesson-4]: ");
    terminal.types("no good\n");
    shown += &terminal.shows("Name of the session [lesson-4]: ");
    for what in ["Git remote", "Branch", "Folder on the server", "Machine [", "Location [", "Image ["] {
        terminal.types("\n");
        shown += &terminal.shows(what);
    }
    for what in
        ["A file worth keeping", "Dropbox folder", "It may live for", "It may cost at most", "JupyterLab"]
    {
        terminal.types("\n");
        shown += &terminal.shows(what);
    }
    terminal.types("maybe\n");
    shown += &terminal.shows("answer y or n");
    terminal.types("n\n");
    shown += &terminal.shows("wrote ");
    assert_eq!(terminal.ends(), 0);
    assert!(!shown.contains('\u{1b}') && shown.is_ascii(), "{shown:?}");
    assert!(shown.contains("  2 1V100.6V"), "{shown}");
    assert_eq!(says(&folder, "instance", "type"), "1RTX6000ADA.10V");
    // Ctrl-C at a question that is read line by line.
    std::fs::remove_file(folder.join("session.toml")).unwrap();
    let terminal = at_terminal(&project, &folder, "dumb");
    terminal.shows("Name of the session");
    terminal.types("\u{3}");
    assert_eq!(terminal.ends(), 130);
    assert!(!folder.join("session.toml").exists());
}

#[test]
fn at_a_terminal_a_laptop_without_a_key_is_offered_one_and_ssh_keygen_asks_for_the_passphrase() {
    let project = Project::without_world("");
    std::fs::remove_file(project.path().join("session.toml")).unwrap();
    let flags = [
        "init",
        "--offline",
        "--name",
        "a",
        "--type",
        "a",
        "--image",
        "b",
        "--repo",
        "git@h:a/b.git",
        "--branch",
        "c",
        "--path",
        "d",
        "--artifact",
        "model=m",
        "--store",
        "dropbox:/a",
        "--deadline",
        "1h",
        "--max-cost",
        "1",
        "--notebook",
    ];
    let key = project.path().join("outside-home/.ssh/id_ed25519");
    let terminal = Terminal::start(project.command(&flags));
    terminal.shows("make one");
    terminal.types("y");
    terminal.shows("(empty for no passphrase): ");
    // A signal that comes before it reads is one that it never hears of.
    let waits = format!(" (ssh-keygen) S {} ", terminal.id());
    until("ssh-keygen waits", || {
        let processes = std::fs::read_dir("/proc").unwrap();
        let mut stats =
            processes.filter_map(|one| std::fs::read_to_string(one.ok()?.path().join("stat")).ok());
        stats.any(|stat| stat.contains(&waits))
    });
    terminal.types("\u{3}");
    terminal.shows("nothing was written");
    assert_eq!(terminal.ends(), 130);
    assert!(std::fs::read_dir(key.parent().unwrap()).unwrap().next().is_none());
    nothing_written(project.path());
    let terminal = Terminal::start(project.command(&flags));
    terminal.shows("make one");
    terminal.types("y");
    terminal.shows("passphrase");
    terminal.types("open sesame\n");
    terminal.shows("again");
    terminal.types("open sesame\n");
    terminal.shows("wrote ");
    assert_eq!(terminal.ends(), 0);
    let opens = |with: &str| {
        Command::new("ssh-keygen").args(["-y", "-P", with, "-f"]).arg(&key).output().unwrap().status.success()
    };
    assert!(opens("open sesame") && !opens(""));
    project.run(&["validate"]).exits(0);
}
