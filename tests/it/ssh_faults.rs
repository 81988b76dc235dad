//! SSH that goes wrong: each fault ends in success or in one clear error, and the next run heals.

use serde_json::{Value, json};

use crate::interrupt::{Started, processes, until};
use crate::support::{Project, Ran};

/// What the next run must bring about, whatever went wrong before: a server as the spec says, one of it,
/// and then nothing that bills.
fn heals(project: &Project) {
    project.ssh_faults(&json!({}));
    project.dacapo(&["up", "--yes"]).exits(0);
    project.dacapo(&["plan", "--detailed-exitcode"]).exits(0).says("nothing to do");
    assert_eq!(billing(project), 2, "one server and its volume");
    ends(project);
}

fn ends(project: &Project) {
    project.ssh_faults(&json!({}));
    project.dacapo(&["down", "--yes"]).exits(0);
    assert_eq!(billing(project), 0, "nothing bills afterwards");
    until("every ssh of this project has ended", || ssh_processes(project).is_empty());
}

fn billing(project: &Project) -> usize {
    project.bill()["billing"].as_array().unwrap().len()
}

fn ssh_processes(project: &Project) -> Vec<(u32, String)> {
    processes(project, |line| line.starts_with("ssh ") || line.contains(" sandbox gateway "))
}

/// A project whose server is up, before anything goes wrong.
fn up() -> Project {
    let project = Project::new();
    project.dacapo(&["up", "--yes"]).exits(0);
    project
}

/// Asserts that one error was told, with a cause.
#[track_caller]
fn one_error(ran: Ran) -> Ran {
    let errors = ran.stderr.lines().filter(|line| line.starts_with("error: ")).count();
    assert_eq!(errors, 1, "one error in\n{}", ran.stderr);
    ran.says("why: ")
}

/// The commands and the agents that reached servers.
fn reached(project: &Project) -> Vec<Value> {
    let requests = project.requests().into_iter();
    requests.filter(|request| request["service"] == "ssh" && request["path"] != "ssh connect").collect()
}

#[test]
fn a_new_server_that_refuses_connections_or_the_key_is_waited_for() {
    let project = Project::new();
    project.ssh_faults(&json!({"refuse": true, "connections": 3}));
    project.dacapo(&["up", "--yes"]).exits(0).says("waiting for sshd");
    ends(&project);
    project.ssh_faults(&json!({"refuse_key": true, "connections": 2}));
    project.dacapo(&["up", "--yes"]).exits(0).says("Permission denied");
    heals(&project);
}

#[test]
fn a_server_that_refuses_connections_is_unknown_and_is_not_deleted() {
    let project = up();
    project.ssh_faults(&json!({"refuse": true}));
    project.dacapo(&["plan"]).exits(0).says("the server can't be looked at");
    one_error(project.dacapo(&["run", "--", "true"])).says("doesn't answer").exits(1);
    project.dacapo(&["down", "--yes"]).exits(5).says("server:unreachable");
    assert_eq!(billing(&project), 2);
    heals(&project);
}

#[test]
fn a_server_given_up_by_name_goes_though_nobody_answers() {
    let project = up();
    project.ssh_faults(&json!({"refuse": true}));
    project.dacapo(&["down", "--yes", "--discard", "server:unreachable"]).exits(0);
    assert_eq!(billing(&project), 0);
}

#[test]
fn connections_cut_at_any_point_heal_on_the_next_run() {
    let project = Project::new();
    // In the greeting, while logging in, and in the middle of the helper's source.
    for bytes in [30, 4500, 20_000] {
        project.ssh_faults(&json!({"cut": {"after_bytes": bytes}, "connections": 1}));
        let ran = project.dacapo(&["up", "--yes"]);
        if ran.code != 0 {
            one_error(ran.exits(1));
        }
        project.dacapo(&["up", "--yes"]).exits(0);
        assert_eq!(billing(&project), 2, "one server and its volume, cut after {bytes} bytes");
        project.ssh_faults(&json!({"cut": {"after_bytes": bytes}}));
        // What nobody could look at is not deleted.
        project.dacapo(&["down", "--yes"]).exits(5).says("server:unreachable");
        ends(&project);
    }
}

#[test]
fn a_connection_cut_while_a_model_is_brought_says_so_and_the_next_run_brings_it() {
    let project = Project::new();
    project.ssh_faults(&json!({"bytes_per_second": 60_000}));
    let mut up = Started::new(&project, &["up", "--yes"]);
    up.wait_for("[5] bring model");
    let before = connections(&project);
    until("its connection is there", || connections(&project) > before);
    project.ssh_faults(&json!({"cut": {}, "connections": null}));
    one_error(up.end().exits(1)).says("hint: ");
    heals(&project);
}

fn connections(project: &Project) -> usize {
    project.requests().iter().filter(|request| request["path"] == "ssh connect").count()
}

#[test]
fn a_connection_cut_under_a_command_ends_it_with_255() {
    let project = up();
    for forward in [&["run", "--"][..], &["run", "-A", "--"]] {
        let mut run = Started::new(&project, &[forward, &["sh", "-c", "echo begun; sleep 1000"]].concat());
        run.wait_for("begun");
        project.ssh_faults(&json!({"cut": {}}));
        one_error(run.end().exits(255)).says("connection to the server was lost").says("dacapo status");
        project.ssh_faults(&json!({}));
    }
    project.dacapo(&["down", "--yes", "--discard", "processes"]).exits(0);
    assert_eq!(billing(&project), 0);
}

#[test]
fn the_sandbox_clock_cuts_a_connection_too() {
    let project = up();
    project.ssh_faults(&json!({"cut": {"after_seconds": 100_000.0}}));
    let mut run = Started::new(&project, &["run", "--", "sh", "-c", "echo begun; sleep 1000"]);
    run.wait_for("begun");
    project.dacapo(&["sandbox", "jump", "100000"]).exits(0);
    run.end().exits(255);
    project.ssh_faults(&json!({}));
    // What was started there goes on, and ends with the server.
    project.dacapo(&["down", "--yes", "--discard", "processes"]).exits(0);
}

#[test]
fn a_line_that_falls_silent_is_given_up_and_leaves_no_ssh_behind() {
    let project = up();
    // Before the first word, while logging in, and in the middle of the helper's source.
    for bytes in [0, 4500, 20_000] {
        project.ssh_faults(&json!({"stall": {"after_bytes": bytes}}));
        project.dacapo(&["plan"]).exits(0).says("the server can't be looked at");
        until("no ssh is left waiting", || ssh_processes(&project).is_empty());
    }
    project.ssh_faults(&json!({}));
    let mut run = Started::new(&project, &["run", "--", "sh", "-c", "echo begun; sleep 1000"]);
    run.wait_for("begun");
    project.ssh_faults(&json!({"stall": {}}));
    one_error(run.end().exits(255)).says("connection to the server was lost");
    project.ssh_faults(&json!({}));
    project.dacapo(&["down", "--yes", "--discard", "processes"]).exits(0);
    assert_eq!(billing(&project), 0);
}

#[test]
fn a_slow_and_distant_server_is_only_slow() {
    let project = Project::new();
    project.ssh_faults(&json!({"bytes_per_second": 100_000, "delay_ms": 50}));
    project.dacapo(&["up", "--yes"]).exits(0);
    project.dacapo(&["run", "--", "sh", "-c", "exit 7"]).exits(7);
    heals(&project);
}

#[test]
fn the_last_words_of_a_command_come_however_late_the_line_brings_them() {
    let project = up();
    project.ssh_faults(&json!({"bytes_per_second": 200_000}));
    let ran = project.dacapo(&["run", "--", "sh", "-c", "head -c 400000 /dev/zero | tr '\\0' x; exit 7"]);
    assert_eq!((ran.code, ran.stdout.len()), (7, 400_000));
    ends(&project);
}

#[test]
fn an_impostor_is_refused_and_receives_neither_command_nor_agent() {
    let project = up();
    let before = reached(&project);
    project.ssh_faults(&json!({"other_host_key": true}));
    for run in [&["run", "--", "true"][..], &["run", "-A", "--", "git", "push"]] {
        one_error(project.dacapo(run).exits(1)).says("IS NOT THE ONE IT WAS").says("SHA256:");
    }
    project.dacapo(&["plan"]).exits(0).says("IS NOT THE ONE IT WAS");
    project.dacapo(&["down", "--yes"]).exits(5).says("IS NOT THE ONE IT WAS");
    assert_eq!(reached(&project), before, "nothing reached the impostor");
    heals(&project);
}

#[test]
fn a_key_that_is_refused_later_is_told_as_such() {
    let project = up();
    project.ssh_faults(&json!({"refuse_key": true}));
    one_error(project.dacapo(&["run", "--", "true"]).exits(4)).says("Permission denied");
    project.dacapo(&["down", "--yes"]).exits(5).says("server:unreachable");
    heals(&project);
}

#[test]
fn a_server_that_takes_no_agent_along_is_named_and_so_is_the_remedy() {
    let project = Project::new();
    project.ssh_faults(&json!({"no_agent": true}));
    one_error(project.dacapo(&["up", "--yes"]).exits(4)).says("AllowAgentForwarding");
    project.ssh_faults(&json!({}));
    project.dacapo(&["up", "--yes"]).exits(0);
    project.ssh_faults(&json!({"no_agent": true}));
    project.dacapo(&["run", "-A", "--", "git", "push"]).exits(125).says("AllowAgentForwarding");
    project.dacapo(&["run", "--", "true"]).exits(0);
    heals(&project);
}

#[test]
fn a_server_that_allows_one_session_is_enough() {
    let project = Project::new();
    project.ssh_faults(&json!({"max_sessions": 1}));
    project.dacapo(&["up", "--yes"]).exits(0);
    for forward in [&["run", "--"][..], &["run", "-A", "--"]] {
        let mut run = Started::new(&project, &[forward, &["sh", "-c", "echo begun; sleep 1000"]].concat());
        run.wait_for("begun");
        run.signal("INT");
        run.end().exits(130);
    }
    project.dacapo(&["run", "--", "python3", "train.py"]).exits(0);
    project.dacapo(&["down", "--yes"]).exits(0).says("nothing of it bills");
    project.dacapo(&["up", "--yes"]).exits(0);
    heals(&project);
}

#[test]
fn a_banner_is_no_answer() {
    let project = Project::new();
    project.ssh_faults(&json!({"banner": "Permission denied (publickey).\n{\"nonce\": 1}\n"}));
    project.dacapo(&["up", "--yes"]).exits(0);
    let ran = project.dacapo(&["run", "--", "echo", "alone"]).exits(0);
    assert_eq!(ran.stdout, "alone\n");
    heals(&project);
}
