//! Signing in, and finding out what is missing: against the sandbox's services, but outside a rehearsal.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{Project, Ran, ran};

/// `dacapo` as for the real services, which are the world's here; the home is empty at first.
pub fn outside(project: &Project, arguments: &[&str]) -> Command {
    let mut command = project.command(arguments);
    let ready = |name: &str| project.ready[name].as_str().unwrap().to_owned();
    command
        .env("VERDA_BASE_URL", ready("cloud"))
        .env("DROPBOX_API_URL", ready("dropbox_api"))
        .env("DROPBOX_CONTENT_URL", ready("dropbox_content"));
    command
}

fn kept(project: &Project) -> std::path::PathBuf {
    project.path().join("outside-home/.config/dacapo/credentials.toml")
}

pub fn with_input(mut command: Command, answer: impl FnOnce(&str) -> String) -> Ran {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut said = String::new();
    let mut errors = std::io::BufReader::new(child.stderr.take().unwrap());
    // The page stands before the question; the cloud has none.
    while command.get_args().any(|argument| argument == "dropbox") && !said.contains("/oauth2/authorize") {
        if std::io::BufRead::read_line(&mut errors, &mut said).unwrap() == 0 {
            break;
        }
    }
    let _ = writeln!(input, "{}", answer(&said));
    drop(input);
    std::io::Read::read_to_string(&mut errors, &mut said).unwrap();
    let mut ran = ran(child.wait_with_output().unwrap());
    ran.stderr = said;
    ran
}

/// Agrees on the page, as a person would, and returns the code that it shows.
pub fn agree(said: &str) -> String {
    let page = said.split_whitespace().find(|word| word.contains("/oauth2/authorize")).unwrap();
    let output = Command::new("python3")
        .args(["-c", "import sys, urllib.request as u; print(u.build_opener(u.ProxyHandler({})).open(sys.argv[1]).read().decode())", page])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn whoever_agrees_on_the_page_is_signed_in_until_logout() {
    let project = Project::new();
    // The first rehearsal puts a version into the store.
    project.dacapo(&["artifacts", "list"]).exits(0).says("2026-11-20_export.pkl.gz");
    let key = project.ready["dropbox_app_key"].as_str().unwrap().to_owned();
    outside(&project, &["login", "dropbox"]).output().map(ran).unwrap().exits(3).says("--app-key");
    outside(&project, &["login", "dropbox", "--app-key", &key])
        .output()
        .map(ran)
        .unwrap()
        .exits(3)
        .says("--code-stdin");
    let sign_in = ["login", "dropbox", "--app-key", &key, "--app-folder", "--code-stdin"];
    with_input(outside(&project, &sign_in), |_| "no such code".to_owned())
        .exits(4)
        .says("didn't take the code");
    assert!(!kept(&project).exists());
    with_input(outside(&project, &sign_in), agree).exits(0).says("signed in to Dropbox");
    assert_eq!(std::fs::metadata(kept(&project)).unwrap().permissions().mode() & 0o777, 0o600);

    let (id, secret) = (&project.ready["client_id"], project.ready["client_secret"].as_str().unwrap());
    let cloud = ["login", "cloud", "--client-id", id.as_str().unwrap(), "--secret-stdin"];
    with_input(outside(&project, &cloud), |_| "wrong".to_owned()).exits(4);
    let signed_in =
        with_input(outside(&project, &cloud), |_| secret.to_owned()).exits(0).says("signed in to the cloud");
    assert!(!format!("{signed_in:?}").contains(secret), "{signed_in:?}");

    // Nothing else says how to ask either service.
    outside(&project, &["artifacts", "list"])
        .output()
        .map(ran)
        .unwrap()
        .exits(0)
        .says("2026-11-20_export.pkl.gz");
    outside(&project, &["logout", "dropbox"]).output().map(ran).unwrap().exits(0).says("signed out");
    outside(&project, &["artifacts", "list"])
        .output()
        .map(ran)
        .unwrap()
        .exits(4)
        .says("dacapo login dropbox");
    outside(&project, &["logout"]).output().map(ran).unwrap().exits(0);
    assert!(!kept(&project).exists());
    project.dacapo(&["login", "cloud"]).exits(3).says("the sandbox needs no login");
}

#[test]
fn a_credentials_file_of_a_newer_dacapo_or_for_all_to_read_is_not_touched() {
    let project = Project::without_world(include_str!("../../session.toml"));
    std::fs::create_dir_all(kept(&project).parent().unwrap()).unwrap();
    for (text, mode, said) in
        [("version = 9\n", 0o600, "use the newer dacapo"), ("version = 1\n", 0o644, "chmod 600")]
    {
        std::fs::write(kept(&project), text).unwrap();
        std::fs::set_permissions(kept(&project), std::fs::Permissions::from_mode(mode)).unwrap();
        for command in [&["plan"][..], &["login", "cloud", "--client-id", "a", "--secret-stdin"], &["logout"]]
        {
            project.run(command).exits(4).says(said);
        }
        assert_eq!(std::fs::read_to_string(kept(&project)).unwrap(), text);
    }
}

fn states(value: &Value) -> Vec<(String, String)> {
    let checks = value["checks"].as_array().unwrap().iter();
    checks
        .map(|check| [&check["name"], &check["state"]].map(|text| text.as_str().unwrap().to_owned()).into())
        .collect()
}

#[test]
fn the_doctor_finds_a_rehearsal_in_good_health() {
    let project = Project::new();
    let ran = project.dacapo(&["doctor", "--json"]).exits(0);
    let states = states(&ran.json());
    for name in ["git", "ssh", "session.toml", "ssh agent", "login key", "cloud", "Dropbox", "git remote"] {
        assert!(states.contains(&(name.to_owned(), "good".to_owned())), "{name}: {states:?}");
    }
    project.dacapo(&["doctor"]).exits(0).says("✓ cloud");
}

#[test]
fn the_doctor_names_each_thing_that_is_missing_and_its_fix() {
    let project = Project::without_world(include_str!("../../session.toml"));
    let ran = project.run(&["doctor", "--offline"]).exits(1);
    for said in ["✗ cloud credentials", "dacapo login cloud", "✗ Dropbox credentials", "dacapo login dropbox"]
    {
        assert!(ran.stdout.contains(said), "`{said}` is not in\n{}", ran.stdout);
    }
    std::fs::write(project.path().join("session.toml"), "name = 1\n").unwrap();
    project.run(&["doctor", "--offline"]).exits(1).says("✗ session.toml");
    let mut homeless = project.command(&["doctor", "--offline"]);
    homeless.env_remove("HOME").env("PATH", "/nowhere");
    ran_with(homeless).exits(1).says("✗ git").says("install git and the OpenSSH client");
}

#[test]
fn the_doctor_asks_the_services_and_says_what_they_said() {
    let project = Project::new();
    let mut command = outside(&project, &["doctor"]);
    command
        .env("VERDA_CLIENT_ID", "wrong")
        .env("VERDA_CLIENT_SECRET", "s3cr3t")
        .env("DROPBOX_ACCESS_TOKEN", "t0k3n");
    let ran = ran_with(command).exits(1).says("✗ cloud ").says("✗ Dropbox ").says("✗ ssh agent");
    assert!(!ran.stdout.contains("s3cr3t") && !ran.stdout.contains("t0k3n"), "{}", ran.stdout);
}

#[test]
fn the_doctor_says_what_to_do_about_an_agent_that_is_unset_gone_dead_empty_or_elsewhere() {
    let project = Project::new();
    let doctor = |variables: &[(&str, &str)]| {
        let mut command = outside(&project, &["doctor", "--offline"]);
        command.envs(variables.iter().copied());
        ran_with(command).stdout
    };
    let said = |variables: &[(&str, &str)], said: &[&str]| {
        let shown = doctor(variables);
        for said in said {
            assert!(shown.contains(said), "{variables:?}: `{said}` is not in\n{shown}");
        }
    };
    let socket = project.path().join("dead.sock");
    let dead = socket.to_str().unwrap();
    said(&[], &["✗ ssh agent", "SSH_AUTH_SOCK isn't set", "`eval \"$(ssh-agent)\"`"]);
    said(&[("SSH_AUTH_SOCK", dead)], &["which isn't there: that agent has ended"]);
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    said(&[("SSH_AUTH_SOCK", dead)], &["nobody answers at"]);
    said(
        &[("WSL_DISTRO_NAME", "Debian"), ("SSH_AUTH_SOCK", dead)],
        &["in WSL", "wsl2-ssh-agent or npiperelay"],
    );
    // One that was started behind this shell's back.
    let runtime = project.path().join("run");
    std::fs::create_dir(&runtime).unwrap();
    let agent = project.ready["agent"].as_str().unwrap();
    std::os::unix::fs::symlink(agent, runtime.join("ssh-agent.socket")).unwrap();
    let runtime = runtime.to_str().unwrap();
    let fix = format!("`export SSH_AUTH_SOCK={runtime}/ssh-agent.socket`");
    said(&[("XDG_RUNTIME_DIR", runtime)], &[&fix]);
    said(&[("SSH_AUTH_SOCK", agent)], &["✓ ssh agent", "1 key(s)"]);
    std::fs::remove_file(&socket).unwrap();
    let mut empty = Command::new("ssh-agent").args(["-D", "-a", dead]).stdout(Stdio::null()).spawn().unwrap();
    crate::interrupt::until("the agent listens", || socket.exists());
    said(&[("SSH_AUTH_SOCK", dead)], &["it holds no key"]);
    empty.kill().unwrap();
    empty.wait().unwrap();
}

#[test]
fn a_home_that_cannot_be_written_to_is_told_by_what_needs_it() {
    let project = Project::new();
    let mut command = outside(&project, &["doctor", "--offline"]);
    // Nobody, not even root, makes a file there.
    command.env("HOME", "/proc/self").env("VERDA_CLIENT_ID", "a").env("VERDA_CLIENT_SECRET", "b");
    command.env("DROPBOX_ACCESS_TOKEN", "c");
    ran_with(command).exits(1).says("✗ state folder").says("XDG_STATE_HOME");
    let (id, secret) = (&project.ready["client_id"], project.ready["client_secret"].as_str().unwrap());
    let mut login =
        outside(&project, &["login", "cloud", "--client-id", id.as_str().unwrap(), "--secret-stdin"]);
    login.env("HOME", "/proc/self");
    with_input(login, |_| secret.to_owned())
        .exits(1)
        .says("cannot write `/proc/self/.config/dacapo/credentials.toml`");
}

#[test]
fn credentials_with_keys_that_are_not_known_here_are_an_error_that_quotes_none_of_them() {
    let project = Project::without_world(include_str!("../../session.toml"));
    std::fs::create_dir_all(kept(&project).parent().unwrap()).unwrap();
    let texts = [
        "version = 1\ntoken = \"s3cr3t\"\n",
        "version = 1\n[cloud]\nclient_id = \"a\"\nclient_secret = \"s3cr3t\"\nregion = \"x\"\n",
    ];
    for text in texts {
        std::fs::write(kept(&project), text).unwrap();
        std::fs::set_permissions(kept(&project), std::fs::Permissions::from_mode(0o600)).unwrap();
        for command in [&["plan"][..], &["init", "--yes", "--file", "other.toml"], &["logout"]] {
            let ran = project.run(command).exits(4).says("cannot read `").says("dacapo login");
            assert!(!format!("{ran:?}").contains("s3cr3t"), "{ran:?}");
        }
        assert_eq!(std::fs::read_to_string(kept(&project)).unwrap(), text);
    }
}

fn ran_with(mut command: Command) -> Ran {
    ran(command.output().unwrap())
}
