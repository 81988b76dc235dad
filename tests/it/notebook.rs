//! The notebook server's bad days, and the way to it; a stand-in answers where a real one can't be brought to do
//! so. `tests/notebook` has the real one, with a real browser.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::interrupt::until;
use crate::support::Project;

const STANDIN: &str = include_str!("notebook/standin.py");

/// A project whose server has a notebook server installed, on this port.
fn with_notebook() -> (Project, u16) {
    let port = free_port();
    let spec = include_str!("../../session.toml")
        .replace("\n\n[instance]", "\ndisposable = [\"standin.json\"]\n\n[instance]");
    let project = Project::with_spec(&spec);
    project.dacapo(&["up", "--yes"]).exits(0);
    install(&project);
    let notebook = format!("{spec}\n[notebook]\nport = {port}\n");
    std::fs::write(project.path().join("session.toml"), notebook).unwrap();
    (project, port)
}

/// Puts the stand-in where the server's JupyterLab would be installed.
pub fn install(project: &Project) {
    let bin = project.server().join(".dacapo/notebook/venv/bin");
    std::fs::create_dir_all(&bin).unwrap();
    std::fs::write(project.server().join(".dacapo/notebook/venv.installed"), "jupyterlab>=4,<5").unwrap();
    let python = bin.join("python");
    std::fs::write(&python, "#!/bin/sh\nexec python3 \"$0.py\" \"$@\"\n").unwrap();
    std::fs::write(bin.join("python.py"), STANDIN).unwrap();
    std::fs::set_permissions(&python, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// The same, running.
fn running() -> (Project, u16) {
    let (project, port) = with_notebook();
    project.dacapo(&["up", "--yes"]).exits(0).says("2.0-standin answers on port");
    (project, port)
}

/// A port that nobody has, from below those that a system hands out by itself: no other test gets it meanwhile.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let mut ports = std::iter::repeat_with(|| {
        let next = std::process::id().wrapping_mul(97).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        10_000 + u16::try_from(next % 20_000).unwrap()
    });
    ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}

pub fn behaves(project: &Project, how: &Value) {
    std::fs::write(project.server().join("standin.json"), how.to_string()).unwrap();
}

fn token(project: &Project) -> String {
    std::fs::read_to_string(project.server().join(".dacapo/notebook/token")).unwrap().trim().to_owned()
}

fn pid(project: &Project) -> u64 {
    let state = std::fs::read(project.server().join(".dacapo/notebook/state.json")).unwrap();
    serde_json::from_slice::<Value>(&state).unwrap()["pid"].as_u64().unwrap()
}

fn lives(pid: u64) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z"))
}

/// `dacapo notebook`, until it is dropped.
struct Way {
    child: Child,
    out: BufReader<ChildStdout>,
    url: String,
    said: Arc<Mutex<String>>,
}

impl Way {
    fn open(project: &Project, arguments: &[&str], environment: &[(&str, &Path)]) -> Self {
        let mut command = project.command(&[&["--sandbox", "notebook"], arguments].concat());
        command.envs(environment.iter().copied()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut url = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut url).unwrap();
        let said = Arc::new(Mutex::new(String::new()));
        let (heard, lines) = (Arc::clone(&said), BufReader::new(child.stderr.take().unwrap()).lines());
        let hearing = std::thread::spawn(move || {
            lines.map_while(Result::ok).for_each(|line| heard.lock().unwrap().push_str(&(line + "\n")));
        });
        if url.is_empty() {
            hearing.join().unwrap();
            panic!("no address was printed: {}", said.lock().unwrap());
        }
        Self { child, out, url: url.trim().to_owned(), said }
    }

    fn says(&self, text: &str) {
        until(&format!("`{text}` is said"), || self.said.lock().unwrap().contains(text));
    }

    /// The port on the laptop, from `http://127.0.0.1:PORT/lab?token=…`.
    fn port(&self) -> u16 {
        self.url.split(['/', ':']).nth(4).unwrap().parse().unwrap()
    }

    fn interrupt(mut self) -> Option<i32> {
        let signal = ["-INT", &self.child.id().to_string()];
        assert!(Command::new("kill").args(signal).status().unwrap().success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The first line of the answer to one request; empty when the connection was closed without one.
fn asked(port: u16, path: &str, token: &str) -> String {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return String::new() };
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let request = format!("GET {path} HTTP/1.0\r\nAuthorization: token {token}\r\n\r\n");
    let mut answer = String::new();
    // A way that leads nowhere may be closed before, or while, it is asked.
    let _ = stream.write_all(request.as_bytes()).and_then(|()| stream.read_to_string(&mut answer));
    answer.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn it_is_started_once_survives_the_login_and_ends_with_its_table() {
    let (project, _) = running();
    let first = pid(&project);
    project.dacapo(&["plan", "--detailed-exitcode"]).exits(0).says("nothing to do").says("the notebook runs");
    project.dacapo(&["up", "--yes"]).exits(0);
    assert!(lives(first) && pid(&project) == first, "the same one");
    project.dacapo(&["plan", "--set", "state=absent"]).exits(0).says("✓ processes").says("✓ files");
    std::fs::write(project.path().join("session.toml"), include_str!("../../session.toml")).unwrap();
    project.dacapo(&["plan"]).exits(0).says("-[notebook]").says("end the notebook server");
    project.dacapo(&["up", "--yes"]).exits(0);
    assert!(!lives(first));
    assert!(!project.server().join(".dacapo/notebook/token").exists(), "its token goes with it");
    project.dacapo(&["plan", "--detailed-exitcode"]).exits(0);
}

#[test]
fn a_busy_kernel_stands_against_the_end_by_its_notebooks_name_and_an_idle_one_does_not() {
    let (project, _) = running();
    behaves(&project, &json!({"kernels": [["idle.ipynb", "idle"]]}));
    project.dacapo(&["plan", "--set", "state=absent"]).exits(0).says("✓ processes").says("open: idle.ipynb");
    behaves(&project, &json!({"kernels": [["idle.ipynb", "idle"], ["train.ipynb", "busy"]]}));
    let down = project.dacapo(&["down", "--yes"]).exits(5);
    down.says("`kernel of train.ipynb` is at work (busy kernel)").says("--discard processes");
    project.dacapo(&["plan"]).exits(0).says("2 kernel(s), busy: train.ipynb");
    project
        .dacapo(&["status"])
        .exits(0)
        .says("           idle.ipynb: idle")
        .says("           train.ipynb: busy");
    let status = project.dacapo(&["status", "--json"]).exits(0).json();
    let kernels =
        json!([{"document": "idle.ipynb", "idle": true}, {"document": "train.ipynb", "idle": false}]);
    assert_eq!(status["notebook"]["kernels"], kernels);
    project.dacapo(&["up", "--yes", "--set", "notebook.directory=data"]).exits(5).says("kernels run in it");
    behaves(&project, &json!({}));
    project.dacapo(&["down", "--yes"]).exits(0);
}

#[test]
fn a_port_that_something_else_has_is_named_with_who_has_it() {
    let (project, port) = with_notebook();
    let _taken = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let failed = project.dacapo(&["up", "--yes"]).exits(1).says("cannot start the notebook server");
    failed.says(&format!("process {}", std::process::id())).says(&format!("on port {port} already"));
    drop(_taken);
    project.dacapo(&["up", "--yes"]).exits(0);
}

#[test]
fn one_that_dies_at_once_is_quoted_without_its_token() {
    let (project, _) = with_notebook();
    behaves(&project, &json!({"dies": true}));
    let failed = project.dacapo(&["up", "--yes"]).exits(1);
    let failed = failed.says("JupyterLab ended at once").says("bad traitlet").says("token=****");
    assert!(!failed.stderr.contains('\u{1b}'), "{:?}", failed.stderr);
    project.dacapo(&["plan", "--detailed-exitcode"]).exits(2).says("start JupyterLab");
    behaves(&project, &json!({}));
    project.dacapo(&["up", "--yes"]).exits(0);
}

#[test]
fn one_that_asks_for_a_password_says_so() {
    let (project, _) = with_notebook();
    behaves(&project, &json!({"locked": true}));
    project.dacapo(&["up", "--yes"]).exits(1).says("it asks for a password").says("take the password out");
    project.dacapo(&["plan"]).exits(0).says("the notebook server doesn't run: it asks for a password");
    let failed = project.dacapo(&["notebook"]).exits(1).says("it asks for a password");
    assert_eq!(failed.stdout, "");
}

#[test]
fn one_that_is_just_starting_a_kernel_is_asked_again() {
    let (project, _) = running();
    // As Jupyter does when the kernel is in its list and has no last activity yet.
    behaves(&project, &json!({"begins": 3, "kernels": [["train.ipynb", "busy"]]}));
    project.dacapo(&["plan", "--set", "state=absent"]).exits(0).says("train.ipynb` is at work");
    behaves(&project, &json!({"begins": 10_000}));
    project.dacapo(&["plan"]).exits(0).says("it answered 500 to `/api/kernels`");
}

#[test]
fn without_a_table_without_a_server_and_without_a_running_one_there_is_no_way_to_it() {
    let project = Project::new();
    project.dacapo(&["notebook"]).exits(3).says("there is no `[notebook]` in session.toml");
    let asked = ["notebook", "--set", "notebook.port=8888"];
    project.dacapo(&asked).exits(255).says("has no server");
    project.dacapo(&["up", "--yes"]).exits(0);
    project.dacapo(&asked).exits(255).says("doesn't run").says("dacapo --sandbox up` starts it");
}

#[test]
fn a_port_of_the_laptop_that_is_taken_is_named() {
    let (project, _) = running();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let failed = project.dacapo(&["notebook", "--port", &port]).exits(1);
    failed.says(&format!("cannot listen on port {port} of this laptop")).says("leave `--port` out");
    drop(taken);
    let way = Way::open(&project, &["--port", &port], &[]);
    assert_eq!(way.port().to_string(), port);
    assert_eq!(way.interrupt(), Some(0));
}

#[test]
fn a_way_that_is_cut_comes_back_on_the_same_port_and_a_request_waits_for_it() {
    let (project, _) = running();
    let way = Way::open(&project, &[], &[]);
    let token = token(&project);
    assert_eq!(way.url, format!("http://127.0.0.1:{}/lab?token={token}", way.port()));
    assert_eq!(asked(way.port(), "/api/status", &token), "HTTP/1.0 200 OK");
    project.ssh_faults(&json!({"refuse": true, "cut": {}}));
    way.says("the connection is gone");
    way.says("no connection yet");
    let (port, held) = (way.port(), token.clone());
    let waiting = std::thread::spawn(move || asked(port, "/api/status", &held));
    project.dacapo(&["sandbox", "faults", "--clear"]).exits(0);
    way.says("the connection is back");
    assert_eq!(waiting.join().unwrap(), "HTTP/1.0 200 OK");
    assert_eq!(way.interrupt(), Some(0));
}

#[test]
fn one_that_was_started_anew_has_another_address_and_a_server_that_is_gone_ends_the_way() {
    let (project, _) = running();
    let mut way = Way::open(&project, &["--json"], &[]);
    let url = |line: &str, token: &str| {
        let told: Value = serde_json::from_str(line).unwrap();
        assert_eq!((&told["version"], &told["session"]), (&json!(1), &json!("lesson3")));
        assert_eq!(told["url"], format!("http://127.0.0.1:{}/lab?token={token}", told["port"]));
        told["port"].clone()
    };
    let before = (token(&project), pid(&project));
    let port = url(&way.url, &before.0);
    assert!(Command::new("kill").args(["-9", &before.1.to_string()]).status().unwrap().success());
    until("it has ended", || !lives(before.1));
    project.dacapo(&["up", "--yes"]).exits(0);
    assert_ne!(token(&project), before.0);
    project.ssh_faults(&json!({"refuse": true, "cut": {}}));
    way.says("the connection is gone");
    project.dacapo(&["sandbox", "faults", "--clear"]).exits(0);
    let mut line = String::new();
    way.out.read_line(&mut line).unwrap();
    assert_eq!(url(&line, &token(&project)), port, "the port stays");
    project.dacapo(&["down", "--yes"]).exits(0);
    until("the way has ended", || way.child.try_wait().unwrap().is_some());
    assert_eq!(way.child.wait().unwrap().code(), Some(255));
}

#[test]
fn the_way_leads_to_what_the_server_listens_on_and_to_nothing_else_of_this_machine() {
    let (project, port) = running();
    let others = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = others.local_addr().unwrap().port();
    others.set_nonblocking(true).unwrap();
    // Whoever else logs in may ask for any host and port.
    let reach = |host: &str, port: u16| {
        let (near, token) = (free_port(), token(&project));
        let [config, user] = ["ssh", "user"].map(|key| project.ready[key].as_str().unwrap());
        let address = instance_address(&project);
        let forward = format!("127.0.0.1:{near}:{host}:{port}");
        let options = ["-F", config, "-o", "StrictHostKeyChecking=no", "-o", "ExitOnForwardFailure=yes"];
        let mut ssh = Command::new("ssh");
        ssh.args(options).args(["-o", "LogLevel=ERROR", "-o", "UserKnownHostsFile=/dev/null"]);
        ssh.args(["-L", &forward, &format!("{user}@{address}"), "echo open; cat"]);
        let mut ssh = ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = [0; 4];
        ssh.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
        let answer = asked(near, "/api/status", &token);
        drop(ssh.stdin.take());
        ssh.wait().unwrap();
        answer
    };
    assert_eq!(reach("127.0.0.1", port), "HTTP/1.0 200 OK");
    assert_eq!(reach("127.0.0.1", other), "", "another program of this machine");
    assert_eq!(reach("127.0.0.2", port), "");
    assert_eq!(reach("example.org", port), "", "nothing is resolved");
    assert!(others.accept().is_err(), "nobody came there");
}

fn instance_address(project: &Project) -> String {
    project.dacapo(&["status", "--json"]).exits(0).json()["machine"]["ip"].as_str().unwrap().to_owned()
}

#[test]
fn a_browser_that_is_not_there_is_named_and_the_way_stays_open() {
    let (project, _) = running();
    let way = Way::open(&project, &["--open"], &[("BROWSER", Path::new("/no/such/browser"))]);
    way.says("no browser was started: `/no/such/browser` isn't there; open the address yourself");
    assert_eq!(asked(way.port(), "/api/status", &token(&project)), "HTTP/1.0 200 OK");
}

#[test]
fn the_browser_is_led_to_the_address_once_and_gets_no_token_as_an_argument() {
    let (project, _) = running();
    let (browser, came) = (project.path().join("browser"), project.path().join("came"));
    let script = "#!/usr/bin/env python3
import os, sys, urllib.error, urllib.request as u
class Stay(u.HTTPRedirectHandler):
    def redirect_request(self, *_): return None
def ask(address):
    try: return u.build_opener(Stay).open(address).status
    except urllib.error.HTTPError as error: return error.headers.get('Location') or error.code
    except OSError: return 'closed'
base = sys.argv[1].rsplit('/', 1)[0]
came = os.path.dirname(__file__) + '/came'
with open(came + '.new', 'w') as file:
    print(sys.argv[1], ask(base + '/guessed'), ask(sys.argv[1]), ask(sys.argv[1]), sep='\\n', file=file)
os.rename(came + '.new', came)";
    std::fs::write(&browser, script).unwrap();
    std::fs::set_permissions(&browser, std::fs::Permissions::from_mode(0o755)).unwrap();
    let way = Way::open(&project, &["--open"], &[("BROWSER", &browser)]);
    until("the browser came", || came.exists());
    let came = std::fs::read_to_string(came).unwrap();
    let [argument, guessed, first, second] = came.lines().collect::<Vec<_>>()[..] else { panic!("{came}") };
    assert!(argument.starts_with("http://127.0.0.1:") && !argument.contains(&token(&project)), "{argument}");
    assert_eq!((guessed, first, second), ("404", way.url.as_str(), "closed"));
}

/// What the help shows, a browser that does nothing standing in for a real one and a free port for 8899.
#[test]
fn the_examples_of_its_help_open_the_way() {
    let (project, _) = running();
    for line in ["dacapo notebook", "dacapo notebook --open", "dacapo notebook --port 8899"] {
        let port = free_port().to_string();
        let line = line.replace("8899", &port);
        let way = Way::open(
            &project,
            &line.split(' ').skip(2).collect::<Vec<_>>(),
            &[("BROWSER", Path::new("true"))],
        );
        assert_eq!(asked(way.port(), "/api/status", &token(&project)), "HTTP/1.0 200 OK", "{line}");
        assert!(!line.contains("--port") || way.port().to_string() == port);
        assert_eq!(way.interrupt(), Some(0), "{line}");
    }
}
