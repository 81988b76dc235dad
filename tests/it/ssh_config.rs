//! `dacapo ssh-config`: the system's own ssh reaches the server while it lives, and the user's configuration is theirs.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use serde_json::json;

use crate::support::{Project, Ran, ran};

const LINE_STARTS: &str = "Include \"";

fn up() -> Project {
    let project = Project::new();
    project.dacapo(&["up", "--yes"]).exits(0);
    project
}

fn hosts(project: &Project) -> PathBuf {
    project.laptop().join(".local/state/dacapo/ssh_config")
}

fn own(project: &Project) -> PathBuf {
    project.laptop().join(".ssh/config")
}

fn read(path: PathBuf) -> String {
    std::fs::read_to_string(path).unwrap()
}

/// The system's own ssh, with nothing but this configuration and no agent in its environment.
fn ssh(project: &Project, config: PathBuf, words: &[&str]) -> Ran {
    let mut ssh = Command::new("ssh");
    ssh.arg("-F").arg(config).args(["-o", "BatchMode=yes"]).args(words);
    ssh.current_dir(project.path()).env_remove("SSH_AUTH_SOCK");
    ran(ssh.output().unwrap())
}

#[test]
fn the_systems_ssh_reaches_the_server_while_it_lives_and_not_a_moment_longer() {
    let project = up();
    project.dacapo(&["ssh-config"]).exits(0).says(&format!("ssh -F {} lesson3", hosts(&project).display()));
    assert!(!own(&project).exists(), "nobody asked for a change of the user's own file");
    ssh(&project, hosts(&project), &["lesson3", "echo in $(basename $HOME)"]).exits(0).says("in home");
    let text = read(hosts(&project));
    for said in ["StrictHostKeyChecking yes", "ForwardAgent no", "HostKeyAlias ", "UserKnownHostsFile "] {
        assert!(text.contains(said), "{said}: {text}");
    }
    // Another key than the pinned one is refused.
    project.ssh_faults(&json!({"other_host_key": true}));
    ssh(&project, hosts(&project), &["lesson3", "true"]).exits(255).says("verification failed");
    project.ssh_faults(&json!({}));
    project.dacapo(&["down", "--yes"]).exits(0);
    assert!(!read(hosts(&project)).contains("lesson3"));
    project.dacapo(&["ssh-config"]).exits(255).says("has no server");
    // Whoever asked once has it again with the next server.
    project.dacapo(&["up", "--yes"]).exits(0);
    ssh(&project, hosts(&project), &["lesson3", "echo back"]).exits(0).says("back");
}

#[test]
fn one_line_at_the_top_of_the_users_own_configuration_is_added_once_and_taken_out_again() {
    let project = up();
    let theirs = "# mine\nHost other\n  HostName example.invalid\n";
    std::fs::write(own(&project), theirs).unwrap();
    std::fs::set_permissions(own(&project), std::fs::Permissions::from_mode(0o640)).unwrap();
    project.dacapo(&["ssh-config", "--install"]).exits(0).says("adding at the top of");
    let text = read(own(&project));
    assert!(text.starts_with(LINE_STARTS) && text.ends_with(theirs), "{text}");
    assert_eq!(text.lines().count(), 4);
    assert_eq!(std::fs::metadata(own(&project)).unwrap().permissions().mode() & 0o777, 0o640);
    let again = project.dacapo(&["ssh-config", "--install"]).exits(0);
    assert!(!again.stderr.contains("adding"), "{}", again.stderr);
    assert_eq!(read(own(&project)), text);
    ssh(&project, own(&project), &["lesson3", "echo included"]).exits(0).says("included");
    let told = project.dacapo(&["ssh-config", "--json"]).exits(0).json();
    assert_eq!(
        (&told["ssh_config"]["included"], &told["ssh_config"]["host"]),
        (&json!(true), &json!("lesson3"))
    );
    project.dacapo(&["ssh-config", "--remove"]).exits(0);
    assert_eq!(read(own(&project)), theirs);
    assert!(!hosts(&project).exists());
    // Nobody asks for it any more.
    project.dacapo(&["status"]).exits(0);
    assert!(!hosts(&project).exists());
}

#[test]
fn a_configuration_that_is_a_link_is_changed_where_it_leads_and_one_that_leads_nowhere_is_left() {
    let project = Project::new();
    let elsewhere = project.path().join("dotfiles");
    std::fs::write(&elsewhere, "Host other\n").unwrap();
    std::os::unix::fs::symlink(&elsewhere, own(&project)).unwrap();
    project.dacapo(&["ssh-config", "--install"]).exits(0).says("as soon as its server lives");
    assert!(std::fs::symlink_metadata(own(&project)).unwrap().is_symlink());
    assert!(read(elsewhere.clone()).starts_with(LINE_STARTS));
    std::fs::remove_file(elsewhere).unwrap();
    project.dacapo(&["ssh-config", "--install"]).exits(1).says("a link that leads nowhere").says("by hand");
}

#[test]
fn outside_a_rehearsal_the_line_goes_without_a_session_and_without_credentials() {
    let project = Project::without_world("");
    std::fs::remove_file(project.path().join("session.toml")).unwrap();
    let home = project.path().join("outside-home");
    let (own, hosts) = (home.join(".ssh/config"), home.join(".local/state/dacapo/ssh_config"));
    for file in [&own, &hosts] {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    }
    std::fs::write(&hosts, "").unwrap();
    std::fs::write(&own, format!("Include \"{}\"\nHost a\n", hosts.display())).unwrap();
    project.run(&["ssh-config", "--remove"]).exits(0).says("and the line in");
    assert_eq!(read(own), "Host a\n");
    assert!(!hosts.exists());
    project.run(&["ssh-config", "--remove"]).exits(0);
}

#[test]
fn printing_writes_neither_file() {
    let project = up();
    let text = project.dacapo(&["ssh-config", "--print"]).exits(0).stdout;
    assert!(text.starts_with("Host lesson3\n  HostName 127.77."), "{text}");
    assert!(!hosts(&project).exists() && !own(&project).exists());
    std::fs::write(project.path().join("printed"), text).unwrap();
    ssh(&project, project.path().join("printed"), &["lesson3", "echo printed"]).exits(0).says("printed");
}

#[test]
fn a_name_that_the_users_own_configuration_has_too_is_told() {
    let project = up();
    std::fs::write(own(&project), "Host a lesson3\n  User me\n").unwrap();
    project.dacapo(&["ssh-config"]).exits(0).says("has a host `lesson3` too");
}

#[test]
fn sessions_live_side_by_side_and_each_goes_by_itself() {
    let project = up();
    let other = include_str!("../../session.toml").replace("name  = \"lesson3\"", "name = \"lesson4\"");
    std::fs::write(project.path().join("other.toml"), other).unwrap();
    project.dacapo(&["ssh-config"]).exits(0);
    project.dacapo(&["up", "--yes", "-f", "other.toml"]).exits(0);
    for host in ["lesson3", "lesson4"] {
        ssh(&project, hosts(&project), &[host, "hostname >/dev/null; echo reached"]).exits(0).says("reached");
    }
    project.dacapo(&["down", "--yes", "-f", "other.toml"]).exits(0);
    let text = read(hosts(&project));
    assert!(text.contains("Host lesson3\n") && !text.contains("lesson4"), "{text}");
}

#[test]
fn a_server_that_was_ended_elsewhere_loses_its_entry_at_the_next_look() {
    let project = up();
    for (ends, looks) in
        [(&["reap"][..], None), (&["down", "--yes"], Some("status")), (&["down", "--yes"], Some("plan"))]
    {
        project.dacapo(&["up", "--yes"]).exits(0);
        project.dacapo(&["ssh-config"]).exits(0);
        if let Some(looks) = looks {
            let mut elsewhere = project.command(&[&["--sandbox"], ends].concat());
            elsewhere.env("DACAPO_SANDBOX_LAPTOP", "second");
            ran(elsewhere.output().unwrap()).exits(0);
            assert!(read(hosts(&project)).contains("Host lesson3"));
            project.dacapo(&[looks]).exits(0);
        } else {
            project.dacapo(&["sandbox", "jump", "40000"]).exits(0);
            project.dacapo(ends).exits(0);
        }
        assert!(!read(hosts(&project)).contains("lesson3"), "{looks:?}");
    }
}
