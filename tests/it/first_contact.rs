//! The host key is made here, before there is a server: nobody else is ever taken for it, from the first contact on.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::interrupt::Started;
use crate::support::{Project, Ran};

/// What is said when the server shows the key that was made for it, and when any key was taken.
const AS_MADE: &str = "as made for it; pinned";
const TAKEN: &str = "taken as shown";

#[test]
fn an_impostor_at_the_first_contact_gets_no_command_and_no_agent() {
    let project = Project::new();
    project.ssh_faults(&json!({"other_host_key": true}));
    let ran = project.dacapo(&["up", "--yes"]).exits(1).says("doesn't show the host key that it was given");
    ran.says("hint: nothing was sent to it");
    assert_eq!(reached(&project), [Value::Null; 0]);
    project.ssh_faults(&json!({}));
    project.dacapo(&["up", "--yes"]).exits(0).says(AS_MADE);
    ends(&project);
}

#[test]
fn the_key_that_the_image_made_is_never_taken_however_long_the_script_takes() {
    let project = Project::new();
    project.ssh_faults(&json!({"no_startup_script": true, "connections": 4}));
    project.dacapo(&["up", "--yes"]).exits(0).says("waiting for sshd").says(AS_MADE);
    ends(&project);
    project.ssh_faults(&json!({"no_startup_script": true}));
    project.dacapo(&["up", "--yes"]).exits(1).says("the startup script that sets the key has not run there");
    // Nobody has been on it, so nothing stands against its end.
    ends(&project);
}

#[test]
fn an_impostor_between_the_first_login_and_the_clone_gets_nothing() {
    let project = Project::new();
    project.ssh_faults(&json!({"no_agent": true}));
    project.dacapo(&["up", "--yes"]).exits(4).says(AS_MADE);
    let before = reached(&project);
    project.ssh_faults(&json!({"other_host_key": true}));
    project.dacapo(&["up", "--yes"]).exits(5).says("IS NOT THE ONE IT WAS");
    assert_eq!(reached(&project), before);
    project.ssh_faults(&json!({}));
    project.dacapo(&["up", "--yes"]).exits(0);
    ends(&project);
}

#[test]
fn an_impostor_who_takes_over_in_mid_session_gets_nothing() {
    let project = Project::new();
    project.dacapo(&["up", "--yes"]).exits(0);
    let mut run = Started::new(&project, &["run", "-A", "--", "sh", "-c", "echo begun; sleep 1000"]);
    run.wait_for("begun");
    project.ssh_faults(&json!({"cut": {}, "other_host_key": true}));
    run.end().exits(255);
    project.ssh_faults(&json!({"other_host_key": true}));
    let before = reached(&project);
    for run in [&["run", "--", "true"][..], &["run", "-A", "--", "git", "push"]] {
        project.dacapo(run).exits(1).says("IS NOT THE ONE IT WAS");
    }
    assert_eq!(reached(&project), before);
    project.ssh_faults(&json!({}));
    project.dacapo(&["down", "--yes", "--discard", "processes"]).exits(0);
}

#[test]
fn the_server_before_at_the_same_address_is_not_taken_for_the_new_one() {
    let project = Project::new();
    project.dacapo(&["up", "--yes"]).exits(0).says("address 127.77.0.2");
    let key = std::fs::read(host_key(&project)).unwrap();
    project.dacapo(&["down", "--yes"]).exits(0);
    let before = reached(&project);
    // Whoever has the old server's key answers at its address.
    std::fs::write(project.sandbox().join("impostor_host_key"), key).unwrap();
    project.ssh_faults(&json!({"other_host_key": true}));
    let ran = project.dacapo(&["up", "--yes"]).exits(1).says("address 127.77.0.2");
    ran.says("doesn't show the host key that it was given");
    assert_eq!(reached(&project), before);
    project.ssh_faults(&json!({}));
    project.dacapo(&["up", "--yes"]).exits(0).says(AS_MADE);
    ends(&project);
}

#[test]
fn a_kept_disk_keeps_its_host_key_and_is_known_by_it() {
    let project = Project::new();
    project.dacapo(&["up", "--yes"]).exits(0);
    project.on_server("echo work > work.txt");
    project.dacapo(&["down", "--yes", "--keep-disk"]).exits(0);
    let before = (reached(&project), scripts_made(&project));
    project.ssh_faults(&json!({"other_host_key": true}));
    project.dacapo(&["up", "--yes"]).exits(1).says("it is the key of the kept disk");
    project.dacapo(&["down", "--yes"]).exits(5).says("IS NOT THE ONE IT WAS");
    assert_eq!((reached(&project), scripts_made(&project)), before);
    project.ssh_faults(&json!({}));
    project.dacapo(&["up", "--yes"]).exits(0).says(AS_MADE);
    project.on_server("grep -q work work.txt && rm work.txt");
    ends(&project);
}

#[test]
fn a_script_that_a_crash_left_goes_with_the_next_up_and_the_next_down_and_nobody_elses() {
    let project = Project::new();
    project.dacapo(&["up", "--yes"]).exits(0);
    let ours = script_named(&project.requests());
    let (prefix, key) = ours.rsplit_once('-').unwrap();
    let others = [format!("{prefix}-2-{key}"), format!("{prefix}-notes"), "lesson3".to_owned()];
    for name in others.iter().chain([&ours]) {
        cloud(&project, "POST", "/scripts", &json!({"name": name, "script": "true"}));
    }
    project.dacapo(&["down", "--yes"]).exits(0);
    assert_eq!(scripts(&project), others);
    cloud(&project, "POST", "/scripts", &json!({"name": ours, "script": "true"}));
    project.dacapo(&["up", "--yes"]).exits(0);
    assert_eq!(scripts(&project), others);
    project.dacapo(&["down", "--yes"]).exits(0);
}

#[test]
fn a_sold_out_candidate_leaves_no_script() {
    let project = Project::new();
    project.fail(&json!({"rules": [{"method": "POST", "path": "/v1/instances", "times": "always", "fault": "capacity"}]}));
    project.dacapo(&["up", "--yes"]).exits(6);
    assert!(scripts_made(&project) > 1, "one for each candidate");
    assert_eq!(scripts(&project), [""; 0]);
}

#[test]
fn a_refused_script_orders_nothing_and_repeats_no_key() {
    let project = Project::new();
    // A service that says what it was sent.
    let echo = "you sent -----BEGIN OPENSSH PRIVATE KEY-----";
    let refuse = json!({"answer": {"status": 422, "body": json!({"code": "invalid_request", "message": echo}).to_string()}});
    project.fail(
        &json!({"rules": [{"method": "POST", "path": "/v1/scripts", "times": "always", "fault": refuse}]}),
    );
    project.dacapo(&["up", "--yes"]).exits(1).says("cannot keep the startup script").says("hint: ");
    let ordered = |one: &Value| one["method"] == "POST" && one["path"] == "/v1/instances";
    assert!(!project.requests().iter().any(ordered), "a machine was ordered without its key");
    project.dacapo(&["sandbox", "faults", "--clear"]).exits(0);
    // The intent is closed, so nothing is waited for.
    let ran = project.dacapo(&["up", "--yes"]).exits(0);
    assert!(!ran.stderr.contains("watching the cloud"), "{}", ran.stderr);
    ends(&project);
}

/// The calls between which a crash could tear apart what belongs together, in their order.
fn steps() -> Vec<(&'static str, Value)> {
    let upload = |text: &str| json!({"path": "/2/files/upload", "mentions": text});
    vec![
        ("note the intent and the public half", upload("\"host_keys\"")),
        ("make the script", json!({"method": "POST", "path": "/v1/scripts"})),
        ("order", json!({"method": "POST", "path": "/v1/instances"})),
        ("note the id", upload("\"login\": false")),
        ("look for scripts", json!({"method": "GET", "path": "/v1/scripts"})),
        ("remove the script", json!({"method": "DELETE", "path": "/v1/scripts/*"})),
        ("note the login", upload("\"login\": true")),
    ]
}

#[test]
fn a_crash_before_any_step_locks_nobody_out_and_leaves_no_script() {
    crash_at_each_step(false);
}

#[test]
fn a_crash_after_any_step_locks_nobody_out_and_leaves_no_script() {
    crash_at_each_step(true);
}

/// Kills `up` while a step hangs, before or after its effect, and runs it again.
fn crash_at_each_step(after: bool) {
    // Slow enough for a lease to outlast a look on a busy machine.
    let project = Project::with_speed(60);
    for (step, which) in steps() {
        let mut rule = which;
        rule["fault"] = json!({"silence": {"after": after}});
        project.fail(&json!({"rules": [rule]}));
        let mut child = project.command(&["--sandbox", "up", "--yes"]);
        let mut child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        until_struck(&project, step);
        child.kill().unwrap();
        child.wait().unwrap();
        project.dacapo(&["sandbox", "faults", "--clear"]).exits(0);

        let ran = project.dacapo(&["up", "--yes"]).exits(0);
        let noted_already = step == "note the login" && after;
        assert_eq!(ran.stderr.contains(AS_MADE), !noted_already, "{step}, after: {after}\n{}", ran.stderr);
        assert!(!ran.stderr.contains(TAKEN), "{step}, after: {after}\n{}", ran.stderr);
        assert_eq!(scripts(&project), [""; 0], "{step}, after: {after}");
        project.dacapo(&["plan", "--detailed-exitcode"]).exits(0);
        let machines = |bill: Value| {
            bill["billing"].as_array().unwrap().iter().filter(|one| one["kind"] == "instance").count()
        };
        assert_eq!(machines(project.bill()), 1, "{step}, after: {after}");
        ends(&project);
    }
}

#[track_caller]
fn until_struck(project: &Project, step: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    let struck = || {
        let listing = project.dacapo(&["sandbox", "faults"]).exits(0).stdout;
        listing.lines().any(|line| serde_json::from_str::<Value>(line).unwrap()["struck"] != 0)
    };
    while !struck() {
        assert!(Instant::now() < deadline, "`{step}` was never come to");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[track_caller]
fn ends(project: &Project) -> Ran {
    project.ssh_faults(&json!({}));
    let ran = project.dacapo(&["down", "--yes"]).exits(0);
    assert_eq!(project.bill()["billing"], json!([]));
    assert_eq!(scripts(project), [""; 0]);
    ran
}

/// The commands and the agents that reached servers.
fn reached(project: &Project) -> Vec<Value> {
    let requests = project.requests().into_iter();
    requests.filter(|request| request["service"] == "ssh" && request["path"] != "ssh connect").collect()
}

fn is_script_made(request: &Value) -> bool {
    request["method"] == "POST" && request["path"] == "/v1/scripts" && request["status"] == 201
}

fn scripts_made(project: &Project) -> usize {
    project.requests().iter().filter(|request| is_script_made(request)).count()
}

/// The name of the last script that was made.
fn script_named(requests: &[Value]) -> String {
    let made = requests.iter().rfind(|request| is_script_made(request)).unwrap();
    let body: Value = serde_json::from_str(made["body"].as_str().unwrap()).unwrap();
    body["name"].as_str().unwrap().to_owned()
}

/// The names of the account's scripts, oldest first.
fn scripts(project: &Project) -> Vec<String> {
    let listed: Vec<Value> = serde_json::from_str(&cloud(project, "GET", "/scripts", &Value::Null)).unwrap();
    listed.iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
}

/// The key that the one server shows.
fn host_key(project: &Project) -> PathBuf {
    project.server().with_file_name("etc").join("ssh/ssh_host_ed25519_key")
}

/// Asks the world's cloud behind dacapo's back, with a token of its own.
#[track_caller]
pub fn cloud(project: &Project, method: &str, path: &str, body: &Value) -> String {
    let script = "import json, sys, urllib.request as u
ask = json.load(sys.stdin)
def call(method, path, body, **headers):
    data = None if body is None else json.dumps(body).encode()
    headers['Content-Type'] = 'application/json'
    return u.urlopen(u.Request(ask['url'] + path, data, headers, method=method)).read().decode()
token = json.loads(call('POST', '/oauth2/token', ask['login']))['access_token']
print(call(ask['method'], ask['path'], ask['body'], Authorization='Bearer ' + token))";
    let login = json!({"grant_type": "client_credentials", "client_id": project.ready["client_id"],
                       "client_secret": project.ready["client_secret"]});
    let ask =
        json!({"url": project.ready["cloud"], "login": login, "method": method, "path": path, "body": body});
    let mut python = Command::new("python3");
    let mut child = python.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), ask.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{method} {path}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_machine_that_lost_its_record_is_pinned_at_the_next_login() {
    let project = Project::new();
    project.dacapo(&["up", "--yes"]).exits(0);
    project.delete_stored("/fastai/lesson3/.dacapo/lesson3.json");
    project.dacapo(&["up", "--yes"]).exits(0).says(TAKEN);
    project.dacapo(&["run", "-A", "--", "git", "fetch"]).exits(0);
    project.ssh_faults(&json!({"other_host_key": true}));
    project.dacapo(&["run", "--", "true"]).exits(1).says("IS NOT THE ONE IT WAS");
    ends(&project);
}
