//! Ctrl-C and its kin during `up`, `down` and `run`; what `run` passes on; a connection that is lost.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Project, Ran};

/// How long anything here may take before the test says that it never will.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn ctrl_c_while_the_machine_boots_says_what_bills_and_what_ends_it() {
    stop_up_while_booting("INT");
}

#[test]
fn a_termination_while_the_machine_boots_says_what_bills_and_what_ends_it() {
    stop_up_while_booting("TERM");
}

fn stop_up_while_booting(signal: &str) {
    let project = Project::with_speed(20);
    let mut up = Started::new(&project, &["up", "--yes"]);
    up.wait_for("provisioning");
    up.signal(signal);
    let ran = up.end().exits(130).says("usd/h; `dacapo --sandbox down` ends it");
    assert!(!ran.stderr.contains("logged in"), "it went on to the end: {}", ran.stderr);

    let record = last_record(&project);
    let bill = project.bill();
    let machine = bill["billing"].as_array().unwrap().iter().find(|item| item["kind"] == "instance").unwrap();
    assert_eq!(record["machine"]["id"], machine["id"], "the record names what bills: {record:#}");
    assert_eq!((&record["lease"], &record["intent"]), (&Value::Null, &Value::Null), "{record:#}");

    project.dacapo(&["down", "--yes"]).exits(0);
    assert_eq!(project.bill()["billing"], json!([]));
}

#[test]
fn ctrl_c_while_an_order_is_under_way_waits_for_its_answer_and_notes_the_machine() {
    let project = Project::with_speed(20);
    let delay = json!({"delay": {"seconds": 60.0, "after": true}});
    project.fail(&json!({"rules": [{"method": "POST", "path": "/v1/instances", "fault": delay}]}));
    let up = Started::new(&project, &["up", "--yes"]);
    let machine = || {
        let bill = project.bill();
        let one = bill["billing"].as_array().unwrap().iter().find(|item| item["kind"] == "instance")?;
        Some(one["id"].clone())
    };
    until("the order has its effect", || machine().is_some());
    up.signal("INT");
    up.end().exits(130).says("usd/h; `dacapo --sandbox down` ends it");
    assert_eq!(last_record(&project)["machine"]["id"], machine().unwrap(), "what bills is noted");
    project.dacapo(&["down", "--yes"]).exits(0);
    assert_eq!(project.bill()["billing"], json!([]));
}

#[test]
fn ctrl_c_while_the_server_is_being_deleted_sees_the_deletion_through() {
    stop_down_while_deleting("INT");
}

#[test]
fn a_termination_while_the_server_is_being_deleted_sees_the_deletion_through() {
    stop_down_while_deleting("TERM");
}

fn stop_down_while_deleting(signal: &str) {
    let project = Project::with_speed(20);
    project.dacapo(&["up", "--yes"]).exits(0);
    let slow = json!({"cloud": {"timing": {"deleting": 60.0}}}).to_string();
    project.dacapo(&["sandbox", "set", &slow]).exits(0);
    let mut down = Started::new(&project, &["down", "--yes"]);
    down.wait_for("is being deleted");
    down.signal(signal);
    let ran = down.end();
    assert!([0, 130].contains(&ran.code), "{ran:?}");
    assert!(ran.stderr.contains("is gone"), "the end was not waited for: {}", ran.stderr);
    assert_eq!(project.bill()["billing"], json!([]));
    project.dacapo(&["down", "--yes"]).exits(0).says("nothing to do");
}

#[test]
fn a_session_that_another_laptop_took_meanwhile_is_left_at_the_next_write() {
    let project = Project::with_speed(20);
    let mut up = Started::new(&project, &["up", "--yes"]);
    up.wait_for("provisioning");
    let mut taken = last_record(&project);
    taken["lease"] = json!({"owner": "ada@desktop", "laptop": "another", "writes": 1});
    write_record(&project, &taken);
    let ran = up.end().exits(9).says("ada@desktop has taken `lesson3` meanwhile");
    assert!(!ran.stderr.contains("is cloned"), "nothing is done without the lease: {}", ran.stderr);
    assert_eq!(last_record(&project), taken, "theirs is not written over");
}

#[test]
fn an_interrupted_command_leaves_no_process_of_its_group_on_the_server() {
    let project = Project::new();
    project.dacapo(&["up", "--yes"]).exits(0);
    for signal in ["INT", "TERM"] {
        let mut run =
            Started::new(&project, &["run", "--", "sh", "-c", "sleep 1000 & echo under way; sleep 1001"]);
        run.wait_for("under way");
        // The shell has said its word just before it starts the second.
        until("both are there", || sleepers(&project).len() == 2);
        run.signal(signal);
        run.end().exits(130);
        assert_eq!(sleepers(&project), [""; 0], "after SIG{signal}");
    }
}

#[test]
fn exit_codes_of_commands_are_passed_on() {
    let project = Project::new();
    project.dacapo(&["up", "--yes"]).exits(0);
    for code in [0, 3, 127, 255] {
        project.dacapo(&["run", "--", "sh", "-c", &format!("exit {code}")]).exits(code);
    }
    project.dacapo(&["run", "--", "no-such-program"]).exits(127).says("no-such-program");
}

#[test]
fn a_mebibyte_of_any_bytes_comes_back_from_cat_as_it_was() {
    let project = Project::new();
    project.dacapo(&["up", "--yes"]).exits(0);
    let bytes: Vec<u8> = (0..1_048_576_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 23) as u8).collect();
    let mut child = project
        .command(&["--sandbox", "run", "--", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let sent = bytes.clone();
    let writing = std::thread::spawn(move || stdin.write_all(&sent).unwrap());
    let output = child.wait_with_output().unwrap();
    writing.join().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(0), bytes.len()));
    assert!(output.stdout == bytes, "the same bytes");
}

#[test]
fn a_lost_connection_says_so_with_255() {
    let project = Project::new();
    project.dacapo(&["up", "--yes"]).exits(0);
    let mut run = Started::new(&project, &["run", "--", "sh", "-c", "echo under way; exec sleep 1000"]);
    run.wait_for("under way");
    let masters = processes(&project, |line| line.starts_with("ssh ") && line.contains(" -M "));
    assert_eq!(masters.len(), 1, "one connection: {masters:?}");
    signal(masters[0].0, "KILL");
    run.end().exits(255).says("connection to the server was lost").says("dacapo status");
    // What was started there goes on, and ends with the server.
    project.dacapo(&["down", "--yes", "--discard", "processes"]).exits(0);
}

#[test]
fn ctrl_c_at_the_question_is_a_no() {
    const AT_THE_QUESTION: &str = "import os, pty, signal, sys
signal.alarm(60)
child, terminal = pty.fork()
if child == 0:
    os.execv(sys.argv[1], sys.argv[1:])
said = b''
while b'Only `yes` does' not in said:
    said += os.read(terminal, 4096)
os.write(terminal, b'\\x03')
try:
    while more := os.read(terminal, 4096):
        said += more
except OSError:
    pass
status = os.waitpid(child, 0)[1]
sys.stdout.buffer.write(said)
sys.exit(os.WEXITSTATUS(status) if os.WIFEXITED(status) else 1)";
    let project = Project::new();
    let dacapo = project.command(&["--sandbox", "up"]);
    let mut python = Command::new("python3");
    python.args(["-c", AT_THE_QUESTION]).arg(dacapo.get_program()).args(dacapo.get_args());
    python.current_dir(project.path()).env("HOME", project.path().join("outside-home"));
    crate::support::ran(python.output().unwrap()).exits(130).says("nothing was done");
    assert_eq!(project.bill()["billing"], json!([]));
}

#[test]
fn a_server_whose_deletion_was_cut_short_takes_no_more_work_until_it_is_kept() {
    let project = Project::new();
    project.dacapo(&["up", "--yes"]).exits(0);
    let mut record = last_record(&project);
    let id = record["machine"]["id"].clone();
    record["machine"]["ending"] =
        json!({"id": id, "at": "2026-11-24T00:00:00Z", "volumes": [], "discarded": []});
    write_record(&project, &record);
    project.dacapo(&["run", "--", "true"]).exits(255).says("about to be deleted").says("up` keeps it");
    project.dacapo(&["up", "--yes"]).exits(0);
    project.dacapo(&["run", "--", "true"]).exits(0);
}

/// Puts a record in the store, as a `down` that was cut short would have left it.
pub fn write_record(project: &Project, record: &Value) {
    const UPLOAD: &str = "import sys, urllib.request
url, token, argument, body = sys.argv[1:]
headers = {'Authorization': 'Bearer ' + token, 'Dropbox-API-Arg': argument,
           'Content-Type': 'application/octet-stream'}
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
opener.open(urllib.request.Request(url + '/2/files/upload', body.encode(), headers))";
    let ready = |name: &str| project.ready[name].as_str().unwrap();
    let argument = json!({"path": "/fastai/lesson3/.dacapo/lesson3.json", "mode": "overwrite"}).to_string();
    let mut python = Command::new("python3");
    python.args(["-c", UPLOAD, ready("dropbox_content"), ready("dropbox_token"), &argument]);
    let output = python.arg(record.to_string()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A `dacapo` that runs, and what it has said so far.
pub struct Started {
    child: Child,
    lines: Receiver<(bool, String)>,
    ran: Ran,
}

impl Started {
    pub fn new(project: &Project, arguments: &[&str]) -> Self {
        Self::of(project.command(&[&["--sandbox"], arguments].concat()))
    }

    pub fn of(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let (sender, lines) = channel();
        let pass_on = |is_stdout, stream: Box<dyn Read + Send>| {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    if sender.send((is_stdout, line)).is_err() {
                        return;
                    }
                }
            })
        };
        pass_on(true, Box::new(stdout));
        pass_on(false, Box::new(stderr));
        Self { child, lines, ran: Ran { code: -1, stdout: String::new(), stderr: String::new() } }
    }

    /// Waits for a line that contains a text.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while let Ok((is_stdout, line)) = self.lines.recv_timeout(deadline - Instant::now()) {
            let found = line.contains(text);
            self.keep(is_stdout, &line);
            if found {
                return;
            }
        }
        panic!("`{text}` was not said in {:?}", self.ran);
    }

    pub fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    pub fn is_stopped(&self) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        status.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
    }

    /// Waits for the end; one that doesn't come fails the test.
    #[track_caller]
    pub fn end(mut self) -> Ran {
        until("it ended", || self.child.try_wait().unwrap().is_some());
        while let Ok((is_stdout, line)) = self.lines.recv_timeout(PATIENCE) {
            self.keep(is_stdout, &line);
        }
        let code = self.child.wait().unwrap().code().unwrap_or(-1);
        let Ran { stdout, stderr, .. } = &mut self.ran;
        Ran { code, stdout: std::mem::take(stdout), stderr: std::mem::take(stderr) }
    }

    fn keep(&mut self, is_stdout: bool, line: &str) {
        let stream = if is_stdout { &mut self.ran.stdout } else { &mut self.ran.stderr };
        stream.push_str(line);
        stream.push('\n');
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // Only a test that fails leaves one running.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Polls until something holds.
#[track_caller]
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn signal(process: u32, name: &str) {
    // The shell's own `kill`: there is no safe call for it in Rust.
    let sent = Command::new("sh").args(["-c", &format!("kill -s {name} {process}")]).status().unwrap();
    assert!(sent.success());
}

/// The record as it was last written, taken from what the store received.
pub fn last_record(project: &Project) -> Value {
    let written = |request: &Value| {
        let into = request["headers"]["dropbox-api-arg"].as_str().unwrap_or_default();
        request["status"] == 200 && into.contains("/.dacapo/lesson3.json")
    };
    let requests = project.requests();
    let last = requests
        .iter()
        .rev()
        .find(|request| written(request) && request["path"].as_str().unwrap().ends_with("/files/upload"));
    serde_json::from_str(last.expect("a record was written")["body"].as_str().unwrap()).unwrap()
}

/// The command lines of the `sleep`s that run on the project's server.
fn sleepers(project: &Project) -> Vec<String> {
    let found = processes(project, |line| line.starts_with("sleep 100"));
    found.into_iter().map(|(_, line)| line).collect()
}

/// This project's processes whose command line, words parted by blanks, is like this.
pub fn processes(project: &Project, like: impl Fn(&str) -> bool) -> Vec<(u32, String)> {
    let mine = project.path().to_string_lossy().into_owned();
    let entries = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let read = |process: PathBuf| {
        let number = process.file_name()?.to_str()?.parse().ok()?;
        let words = std::fs::read(process.join("cmdline")).ok()?;
        let environment = std::fs::read(process.join("environ")).ok()?;
        let line = String::from_utf8_lossy(&words).replace('\0', " ");
        let surroundings = String::from_utf8_lossy(&environment).into_owned();
        (like(&line) && (line.contains(&mine) || surroundings.contains(&mine))).then_some((number, line))
    };
    entries.filter_map(read).collect()
}
