//! What only a real server has: its own log, login shells that read files, words before the login.

use serde_json::json;

use crate::support::Project;

fn log(project: &Project) -> String {
    std::fs::read_to_string(project.sandbox().join("sshd.log")).unwrap()
}

#[test]
fn it_is_openssh_that_serves_and_it_sees_one_login_name_with_one_key() {
    let project = Project::new();
    project.dacapo(&["up", "--yes"]).exits(0);
    let user = project.ready["user"].as_str().unwrap();
    assert!(log(&project).contains(&format!("Accepted publickey for {user} ")), "{}", log(&project));
    project.dacapo(&["plan"]).exits(0);
    let fingerprints: std::collections::BTreeSet<_> = log(&project)
        .split_whitespace()
        .filter(|word| word.starts_with("SHA256:"))
        .map(str::to_owned)
        .collect();
    assert_eq!(fingerprints.len(), 1, "{fingerprints:?}");
}

#[test]
fn commands_run_in_the_servers_home_and_know_nothing_of_the_testers() {
    let project = Project::new();
    project.dacapo(&["up", "--yes"]).exits(0);
    let ran = project.dacapo(&["run", "--", "sh", "-c", "cd; pwd; env"]).exits(0);
    let home = project.server().to_string_lossy().into_owned();
    assert_eq!(ran.stdout.lines().next(), Some(home.as_str()));
    let names: Vec<_> = ran.stdout.lines().skip(1).filter_map(|line| line.split('=').next()).collect();
    assert!(!names.iter().any(|name| name.starts_with("SSH_") || *name == "MAIL"), "{names:?}");
    assert!(ran.stdout.lines().any(|line| line == format!("HOME={home}")), "{}", ran.stdout);
}

#[test]
fn the_agent_is_there_for_what_asks_for_it_and_for_nothing_else() {
    let project = Project::new();
    project.dacapo(&["up", "--yes"]).exits(0);
    project.dacapo(&["run", "--", "ssh-add", "-l"]).exits(2);
    project.dacapo(&["run", "-A", "--", "ssh-add", "-l"]).exits(0).says("ED25519");
    project.dacapo(&["run", "--", "ssh-add", "-l"]).exits(2);
}

#[test]
fn a_shell_that_greets_in_its_start_files_disturbs_nothing() {
    let project = Project::new();
    project.dacapo(&["up", "--yes"]).exits(0);
    let noise = "echo \"welcome back\"; echo '{\"nonce\": \"0\", \"result\": {}}'; echo careful >&2\n";
    std::fs::write(project.server().join(".bashrc"), noise).unwrap();
    let ran = project.dacapo(&["run", "--", "sh", "-c", "exit 3"]).exits(3);
    // Whether it was read is the login shell's to say: bash reads it, dash doesn't.
    assert_eq!(ran.stdout.contains("welcome back"), shell_is_bash(), "{ran:?}");
    project.dacapo(&["plan", "--detailed-exitcode"]).exits(0);
    project.dacapo(&["down", "--yes", "--discard", "files:.bashrc"]).exits(0);
    assert_eq!(project.bill()["billing"], json!([]));
}

/// Returns whether the shell that the password file names for whoever runs this is bash.
fn shell_is_bash() -> bool {
    let script = "getent passwd \"$(id -un)\" | grep -q 'bash$'";
    std::process::Command::new("sh").args(["-c", script]).status().unwrap().success()
}

#[test]
fn a_machine_that_is_switched_off_cannot_be_looked_at_and_is_not_deleted() {
    let project = Project::new();
    project.dacapo(&["up", "--yes"]).exits(0);
    // The volume bills too; no machine has its id, so nothing is switched off by it.
    for one in project.bill()["billing"].as_array().unwrap() {
        let changes = json!({"cloud": {"status": {one["id"].as_str().unwrap(): "offline"}}});
        project.dacapo(&["sandbox", "set", &changes.to_string()]).exits(0);
    }
    project.dacapo(&["down", "--yes"]).exits(5).says("server:unreachable");
    assert_eq!(project.bill()["billing"].as_array().unwrap().len(), 2);
    project.dacapo(&["down", "--yes", "--discard", "server:unreachable"]).exits(0);
    assert_eq!(project.bill()["billing"], json!([]));
}

#[test]
fn an_sshd_that_is_not_there_is_an_error_that_says_what_to_install() {
    let project = Project::without_world(include_str!("../../session.toml"));
    let ran = project.run(&["sandbox", "serve", "--dir", "world", "--sshd", "/no/such/sshd"]);
    ran.exits(1).says("/no/such/sshd").says("openssh-server");
}
