//! `dacapo ssh`: a shell at a real terminal, and one that reads what is piped to it.

use std::io::Write as _;
use std::process::Stdio;

use serde_json::json;

use crate::interrupt::until;
use crate::support::{Project, Ran, ran};
use crate::terminal::Terminal;

fn up() -> Project {
    let project = Project::new();
    project.dacapo(&["up", "--yes"]).exits(0);
    project
}

/// A shell at a terminal, ready for what is typed.
fn shell(project: &Project, more: &[&str]) -> Terminal {
    let terminal = Terminal::start(project.command(&[&["--sandbox", "ssh"], more].concat()));
    terminal.types("echo rea''dy\n");
    terminal.shows("ready");
    terminal
}

#[test]
fn the_shell_starts_in_the_checkout_at_a_terminal_of_our_kind_and_size_and_its_exit_code_is_ours() {
    let project = up();
    let shell = shell(&project, &[]);
    shell.types("tty >/dev/null && echo \"at:$TERM:${PWD##*/}:$(stty size)\"\n");
    shell.shows("at:xterm-256color:lesson3:24 80");
    shell.resize(50, 132);
    // The new size travels beside what is typed, so it is looked for until it has come.
    shell.types("until [ \"$(stty size)\" = '50 132' ]; do :; done; echo grow''n\n");
    shell.shows("grown");
    shell.types("exit 7\n");
    assert_eq!(shell.ends(), 7);
}

#[test]
fn ctrl_c_interrupts_what_runs_there_and_the_shell_goes_on() {
    let project = up();
    let shell = shell(&project, &[]);
    shell.types("sh -c 'echo under w''ay; exec sleep 1000'\n");
    shell.shows("under way");
    shell.types("\u{3}");
    shell.types("echo end''ed with $?\n");
    shell.shows("ended with 130");
    // Ctrl-D is an end as good as any.
    shell.types("\u{4}");
    assert_eq!(shell.ends(), 0);
}

#[test]
fn before_the_checkout_is_there_the_shell_starts_at_home() {
    let project = up();
    std::fs::remove_dir_all(project.server().join("lesson3")).unwrap();
    let shell = shell(&project, &[]);
    shell.types("[ \"$PWD\" = \"$HOME\" ] && echo at ho''me\n");
    shell.shows("at home");
    shell.types("exit\n");
    assert_eq!(shell.ends(), 0);
}

#[test]
fn the_agent_is_there_with_a_flag_and_only_then() {
    let project = up();
    let asks = "ssh-add -l >/dev/null 2>&1; echo agent says $?\n";
    assert!(!piped(&project, &[], asks).exits(0).stdout.contains("agent says 0"));
    piped(&project, &["-A"], asks).exits(0).says("agent says 0");
    let shell = shell(&project, &["-A"]);
    shell.types("git fetch && echo fetc''hed\n");
    shell.shows("fetched");
    shell.types("exit\n");
    assert_eq!(shell.ends(), 0);
}

#[test]
fn without_a_terminal_the_shell_reads_what_is_piped_to_it() {
    let project = up();
    let told = piped(&project, &[], "tty; echo in ${PWD##*/}\nexit 3\n").exits(3);
    assert_eq!(told.stdout, "not a tty\nin lesson3\n");
    // With nothing to read there is nothing to do, and nobody is waited for.
    project.dacapo(&["ssh"]).exits(0);
}

#[test]
fn a_shell_without_a_server_names_the_command_that_makes_one() {
    let project = Project::new();
    project.dacapo(&["ssh"]).exits(255).says("has no server").says("dacapo up");
}

#[test]
fn another_host_key_is_an_alarm_and_nothing_is_sent() {
    let project = up();
    project.ssh_faults(&json!({"other_host_key": true}));
    let before = shells(&project);
    piped(&project, &["-A"], "touch reached\n").exits(1).says("IS NOT THE ONE IT WAS");
    assert_eq!(shells(&project), before);
    assert!(!project.server().join("lesson3/reached").exists());
}

#[test]
fn a_lost_connection_ends_the_shell_with_255_and_gives_the_terminal_back() {
    let project = up();
    let shell = shell(&project, &[]);
    project.ssh_faults(&json!({"cut": {}}));
    shell.shows("the shell is gone");
    assert_eq!(shell.ends(), 255);
}

#[test]
fn a_termination_takes_the_shell_and_what_runs_in_it_along() {
    let project = up();
    let shell = shell(&project, &[]);
    shell.types("echo $$ > number; echo note''d; exec sleep 1000\n");
    shell.shows("noted");
    let number = std::fs::read_to_string(project.server().join("lesson3/number")).unwrap();
    let process = std::path::Path::new("/proc").join(number.trim());
    // A shell that is about to become another program loses a signal that comes right then.
    let sleeps = || std::fs::read_to_string(process.join("comm")).is_ok_and(|name| name == "sleep\n");
    until("it sleeps", sleeps);
    let killed = std::process::Command::new("kill").arg(shell.id().to_string()).status();
    assert!(killed.unwrap().success());
    assert_eq!(shell.ends(), 130);
    until("the shell is gone from the server", || !process.exists());
}

#[test]
fn what_a_shell_left_in_its_history_stands_in_the_way_of_no_end() {
    let project = up();
    let shell = shell(&project, &[]);
    shell.types("history -a 2>/dev/null; exit\n");
    shell.ends();
    project.dacapo(&["down", "--yes"]).exits(0);
}

/// Runs a shell that reads `input`.
fn piped(project: &Project, more: &[&str], input: &str) -> Ran {
    let mut command = project.command(&[&["--sandbox", "ssh"], more].concat());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // One that refuses to start reads nothing.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    ran(child.wait_with_output().unwrap())
}

/// How often a shell was asked for.
fn shells(project: &Project) -> usize {
    let asked = |path: &str| path.contains("exec \"${SHELL:-/bin/sh}\" -l");
    project.requests().iter().filter(|request| request["path"].as_str().is_some_and(asked)).count()
}
