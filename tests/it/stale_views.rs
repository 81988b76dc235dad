//! Answers that don't tell what happened, lists that lag, and a world that is changed by somebody else: between
//! the plan's approval and its first action, or in the middle of anything.

use std::path::Path;
use std::process::{Child, Command};

use serde_json::{Value, json};

use crate::interrupt::{Started, last_record, until, write_record};
use crate::matrix::worlds::World;
use crate::support::{Project, Ran};

const UP: &[&str] = &["up", "--yes"];
const DOWN: &[&str] = &["down", "--yes"];

/// What is struck, and how.
fn rule(method: &str, path: &str, fault: Value) -> Value {
    json!({"method": method, "path": path, "fault": fault})
}

fn changes(method: &str, path: &str, set: Value) -> Value {
    rule(method, path, json!({"world": {"set": set}}))
}

fn evicted() -> Value {
    json!({"cloud": {"status": {"*": "discontinued"}}})
}

/// Asserts how many machines and volumes bill.
#[track_caller]
fn bills(world: &World, machines: usize, volumes: usize) {
    // A disk takes seconds to the trash, and a run doesn't wait where an earlier one had it deleted.
    let counted = || (world.billing("instance").len(), world.billing("volume").len());
    until(&format!("{machines} machine(s) and {volumes} volume(s) bill"), || {
        counted() == (machines, volumes)
    });
}

fn calls(world: &World, method: &str, path: &str) -> usize {
    world.requests().iter().filter(|one| one.method == method && one.path == path).count()
}

/// A project whose session is up, and its world.
fn up() -> (Project, World) {
    let project = Project::new();
    let world = World::of(&project);
    project.dacapo(UP).exits(0);
    (project, world)
}

/// One more `up` brings the session about and leaves nothing to do; one `down` ends all of it.
#[track_caller]
fn heals(project: &Project, world: &World) {
    project.dacapo(UP).exits(0);
    bills(world, 1, 1);
    project.dacapo(&["plan", "--detailed-exitcode"]).exits(0);
    project.dacapo(DOWN).exits(0);
    world.jump(600.0);
    bills(world, 0, 0);
}

#[test]
fn a_create_that_timed_out_but_happened_is_found_and_not_sent_again() {
    let project = Project::new();
    let world = World::of(&project);
    world.faults(&[rule("POST", "/v1/instances", json!("gateway_timeout_after"))]);
    project.dacapo(UP).exits(0).says("no clear answer").says("watching the cloud until");
    bills(&world, 1, 1);
    assert_eq!(calls(&world, "POST", "/v1/instances"), 1);
    heals(&project, &world);
}

#[test]
fn a_create_that_timed_out_is_found_though_the_list_shows_it_late() {
    let project = Project::new();
    let world = World::of(&project);
    world.set(&json!({"cloud": {"list_lag": 100.0}}));
    world.faults(&[rule("POST", "/v1/instances", json!("gateway_timeout_after"))]);
    project.dacapo(UP).exits(0).says("no clear answer");
    bills(&world, 1, 1);
    assert_eq!(calls(&world, "POST", "/v1/instances"), 1);
    heals(&project, &world);
}

#[test]
fn a_create_whose_client_was_told_nothing_is_awaited_though_it_lands_late() {
    let project = Project::new();
    let world = World::of(&project);
    world.faults(&[rule("POST", "/v1/instances", json!({"late": {"seconds": 100.0}}))]);
    project.dacapo(UP).exits(0).says("no clear answer");
    bills(&world, 1, 1);
    assert_eq!(calls(&world, "POST", "/v1/instances"), 1);
    heals(&project, &world);
}

#[test]
fn a_second_machine_of_the_same_order_is_ended_by_the_next_run() {
    let (project, world) = up();
    let machine = world.instance();
    copy_of_ours(&world, None);
    bills(&world, 2, 2);
    project.dacapo(UP).exits(0).says("a second one of this session's orders");
    bills(&world, 1, 1);
    assert_eq!(world.instance(), machine, "the one that was logged in to stays");
    heals(&project, &world);
}

#[test]
fn a_list_that_does_not_show_the_machine_yet_is_not_taken_for_absence() {
    let (project, world) = up();
    project.dacapo(DOWN).exits(0);
    world.set(&json!({"cloud": {"list_lag": 3_000.0}}));
    project.dacapo(UP).exits(0);
    project.dacapo(&["plan", "--detailed-exitcode"]).exits(0).says("nothing to do");
    project.dacapo(UP).exits(0).says("nothing to do");
    bills(&world, 1, 1);
    // Nor is a machine that it still shows taken for a living one.
    project.dacapo(DOWN).exits(0);
    bills(&world, 0, 0);
    project.dacapo(DOWN).exits(0).says("nothing to do");
}

#[test]
fn a_deletion_that_happened_but_was_answered_with_a_failure_is_seen_through() {
    let (project, world) = up();
    world.faults(&[rule("PUT", "/v1/instances", json!("internal_error_after"))]);
    let down = project.dacapo(DOWN);
    assert!([0, 1].contains(&down.code), "{down:?}");
    project.dacapo(DOWN).exits(0);
    bills(&world, 0, 0);
    heals(&project, &world);
}

#[test]
fn a_volumes_deletion_that_happened_but_was_answered_with_a_failure_is_seen_through() {
    let (project, world) = up();
    project.dacapo(&["down", "--yes", "--keep-disk"]).exits(0);
    bills(&world, 0, 1);
    world.faults(&[rule("PUT", "/v1/volumes", json!("internal_error_after"))]);
    let volume = format!("volume:{}", world.billing("volume")[0]);
    let down = project.dacapo(&["down", "--yes", "--discard", &volume]);
    assert!([0, 1].contains(&down.code), "{down:?}");
    project.dacapo(DOWN).exits(0);
    bills(&world, 0, 0);
    heals(&project, &world);
}

/// Runs a command whose plan is approved; `change` comes between the approval and the lease.
fn changed_meanwhile(project: &Project, world: &World, command: &[&str], change: impl FnOnce()) -> Ran {
    let pause = json!({"delay": {"seconds": 5_000.0}});
    world.faults(&[rule("POST", "/2/files/upload", pause)]);
    let process = Started::new(project, command);
    until("the plan is approved", || world.strikes()["rules"][0]["struck"] == 1);
    change();
    world.clear_faults();
    world.jump(6_000.0);
    process.end()
}

#[track_caller]
fn is_stale(ran: Ran) {
    ran.exits(7)
        .says("the world changed since the plan was shown; nothing was done")
        .says("differs from the one that was approved")
        .says("run the same command again to see the new plan");
}

fn act(world: &World, action: &str, more: &Value) {
    let machine = world.instance();
    let mut body = json!({"action": action, "id": [machine]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    world.cloud("PUT", "/instances", &body);
}

#[test]
fn a_machine_deleted_by_hand_after_the_approval_stops_the_run_and_is_named() {
    let (project, world) = up();
    let machine = world.instance();
    is_stale(changed_meanwhile(&project, &world, DOWN, || {
        act(&world, "delete", &json!({"volume_ids": []}));
        world.jump(60.0);
    }));
    bills(&world, 0, 1);
    let down = project.dacapo(DOWN).exits(5);
    down.says(&machine).says("vanished without our doing").says("--discard server:gone");
    // Its disk is booted again, with whatever is on it.
    project.dacapo(UP).exits(0).says("boots the kept disk");
    heals(&project, &world);
}

#[test]
fn a_machine_shut_down_by_hand_after_the_approval_stops_the_run() {
    let (project, world) = up();
    project.on_server("printf 'trained' > export.pkl");
    is_stale(changed_meanwhile(&project, &world, DOWN, || act(&world, "shutdown", &json!({}))));
    bills(&world, 1, 1);
    project.dacapo(DOWN).exits(5).says("the machine is offline");
    heals(&project, &world);
    project.dacapo(UP).exits(0);
    assert_eq!(std::fs::read(project.server().join("lesson3/export.pkl")).unwrap(), b"trained");
}

#[test]
fn a_second_machine_with_our_mark_after_the_approval_stops_the_run_and_is_for_a_person() {
    let (project, world) = up();
    let second = std::cell::RefCell::new(String::new());
    is_stale(changed_meanwhile(&project, &world, DOWN, || {
        second.replace(copy_of_ours(&world, Some("of-somebody-else"))).clear()
    }));
    bills(&world, 2, 2);
    let second = second.take();
    for command in [UP, DOWN] {
        project.dacapo(command).exits(5).says(&second).says("carries this session's mark too, and bills");
        bills(&world, 2, 2);
    }
    let volume =
        serde_json::from_str::<Value>(&world.cloud("GET", &format!("/instances/{second}"), &Value::Null));
    let volumes = [volume.unwrap()["os_volume_id"].clone()];
    world.cloud("PUT", "/instances", &json!({"action": "delete", "id": [second], "volume_ids": volumes}));
    world.jump(600.0);
    heals(&project, &world);
}

/// Orders a machine with the tags that ours has, by another nonce or the same, and returns its id once it runs.
fn copy_of_ours(world: &World, other: Option<&str>) -> String {
    let requests = world.requests();
    let ordered = requests.iter().find(|one| one.method == "POST" && one.path == "/v1/instances").unwrap();
    let mut order: Value = serde_json::from_str(&ordered.body).unwrap();
    order.as_object_mut().unwrap().remove("startup_script_id");
    let text = order.to_string();
    let nonce = text.split("nonce=").nth(1).unwrap().split('"').next().unwrap();
    let order = serde_json::from_str(&text.replace(nonce, other.unwrap_or(nonce))).unwrap();
    let id = world.cloud("POST", "/instances", &order);
    world.jump(600.0);
    id.trim_matches('"').to_owned()
}

#[test]
fn a_kept_disk_deleted_by_hand_after_the_approval_stops_the_run_and_is_taken_out_of_the_trash() {
    let (project, world) = up();
    project.on_server("echo work > ~/work.txt");
    project.dacapo(&["down", "--yes", "--keep-disk"]).exits(0);
    let disk = world.billing("volume")[0].clone();
    is_stale(changed_meanwhile(&project, &world, UP, || {
        world.cloud("PUT", "/volumes", &json!({"action": "delete", "id": [disk]}));
    }));
    bills(&world, 0, 0);
    project.dacapo(UP).exits(0).says("out of the trash");
    bills(&world, 1, 1);
    assert_eq!(std::fs::read(project.server().join("work.txt")).unwrap(), b"work\n");
    project.on_server("rm ~/work.txt");
    heals(&project, &world);
}

#[test]
fn a_file_written_on_the_server_after_the_approval_stops_the_run() {
    let (project, world) = up();
    is_stale(changed_meanwhile(&project, &world, DOWN, || project.on_server("echo work > ~/work.txt")));
    bills(&world, 1, 1);
    project.dacapo(DOWN).exits(5).says("new file: work.txt").says("--discard files:work.txt");
    assert_eq!(std::fs::read(project.server().join("work.txt")).unwrap(), b"work\n");
    project.on_server("rm ~/work.txt");
    heals(&project, &world);
}

#[test]
fn a_remote_branch_forced_back_after_the_approval_stops_the_run() {
    let (project, world) = up();
    let on_the_host = |arguments: &[&str]| -> String {
        let remote = project.sandbox().join("git/github.com/me/lesson3.git");
        git(&remote, arguments)
    };
    project.on_server("git -c user.name=x -c user.email=x@y commit -q --allow-empty -m more");
    project.dacapo(&["run", "-A", "--", "git", "push", "-q", "origin", "HEAD:main"]).exits(0);
    let tip = on_the_host(&["rev-parse", "main"]);
    is_stale(changed_meanwhile(&project, &world, DOWN, || {
        on_the_host(&["update-ref", "refs/heads/main", "main~1"]);
    }));
    bills(&world, 1, 1);
    project.dacapo(DOWN).exits(5).says(&tip[..7]).says("--discard repo:unpushed");
    assert_eq!(git(&project.server().join("lesson3"), &["rev-parse", "HEAD"]), tip);
    on_the_host(&["update-ref", "refs/heads/main", &tip]);
    heals(&project, &world);
}

fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git").args(arguments).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn a_version_stored_by_somebody_else_after_the_approval_stops_the_run() {
    let project = Project::new();
    let world = World::of(&project);
    is_stale(changed_meanwhile(&project, &world, UP, || {
        project.store_file("/fastai/lesson3/2099-01-01_export.pkl", b"newer");
    }));
    bills(&world, 0, 0);
    project.dacapo(UP).exits(0).says("2099-01-01_export.pkl");
    assert_eq!(std::fs::read(project.server().join("lesson3/export.pkl")).unwrap(), b"newer");
    heals(&project, &world);
}

/// A spot session and its world; the machine is up if `running`.
fn spot(running: bool) -> (Project, World) {
    let spec = include_str!("../../session.toml").replace("[instance]", "[instance]\nmarket = \"spot\"");
    let project =
        Project::with_spec(&spec.replace("[artifacts.", "on_absent = \"save-branch\"\n\n[artifacts."));
    let world = World::of(&project);
    if running {
        project.dacapo(UP).exits(0);
    }
    (project, world)
}

#[test]
fn a_machine_evicted_while_it_boots_holds_nothing_and_another_is_ordered() {
    let (project, world) = spot(false);
    world.faults(&[changes("GET", "/v1/instances/*", evicted())]);
    project.dacapo(UP).exits(0).says("ended as `discontinued`");
    bills(&world, 1, 1);
    heals(&project, &world);
}

#[test]
fn a_machine_that_vanishes_before_its_first_login_leaves_no_disk_that_bills() {
    let project = Project::new();
    let world = World::of(&project);
    // In mid-run: the run plans again at its end, and ends the disk that is left.
    world.faults(&[changes("GET", "/v1/instances/*", evicted())]);
    project.dacapo(UP).exits(0).says("ended as `discontinued`");
    bills(&world, 1, 1);
    heals(&project, &world);
    // After a run that never got in: the next command does.
    for command in [DOWN, UP] {
        project.ssh_faults(&json!({"refuse": true}));
        assert_ne!(project.dacapo(UP).code, 0);
        bills(&world, 1, 1);
        world.set(&evicted());
        bills(&world, 0, 1);
        project.ssh_faults(&json!({}));
        project.dacapo(command).exits(0);
        let running = usize::from(command == UP);
        bills(&world, running, running);
    }
    heals(&project, &world);
}

/// Takes the machine away while the server is asked for something, and returns how the command ended.
fn evicted_while(project: &Project, world: &World, operation: &str, command: &[&str]) -> Ran {
    world.plan(&json!({"ssh": {"hold": [{"asked": format!("\"op\":\"{operation}\"")}]}}));
    let process = Started::new(project, command);
    until("it is asked", || world.strikes()["holds"][0]["held"] == true);
    world.set(&evicted());
    let ran = process.end();
    world.plan(&json!({"ssh": {}}));
    ran
}

/// An eviction ended a run: one clear error, nothing bills, and nothing is forgotten or taken for absent.
#[track_caller]
fn is_missed(ran: Ran, project: &Project, world: &World) {
    assert!([1, 7].contains(&ran.code), "{ran:?}");
    ran.says("why: ").says("hint: ");
    world.jump(3_600.0);
    bills(world, 0, 0);
    project.dacapo(DOWN).exits(5).says("vanished without our doing").says("is in the trash until");
}

#[test]
fn a_machine_evicted_while_the_repo_is_cloned_is_missed_and_its_disk_is_booted_again() {
    let (project, world) = spot(false);
    let up = evicted_while(&project, &world, "clone", UP);
    is_missed(up, &project, &world);
    project.dacapo(UP).exits(0).says("out of the trash");
    heals(&project, &world);
}

#[test]
fn a_machine_evicted_while_a_model_is_brought_is_missed_and_its_disk_is_booted_again() {
    let (project, world) = spot(false);
    let up = evicted_while(&project, &world, "pull", UP);
    is_missed(up, &project, &world);
    project.dacapo(UP).exits(0).says("out of the trash");
    heals(&project, &world);
}

#[test]
fn a_machine_evicted_while_its_work_is_saved_is_missed_and_the_work_is_there_again() {
    let (project, world) = spot(true);
    project.on_server(
        "git config user.name x; git config user.email x@y; echo work > notes.txt; printf trained > export.pkl",
    );
    for operation in ["pack", "save"] {
        let down = evicted_while(&project, &world, operation, DOWN);
        is_missed(down, &project, &world);
        project.dacapo(UP).exits(0).says("out of the trash");
        assert_eq!(std::fs::read(project.server().join("lesson3/notes.txt")).unwrap(), b"work\n");
        assert_eq!(std::fs::read(project.server().join("lesson3/export.pkl")).unwrap(), b"trained");
    }
    project.dacapo(DOWN).exits(0).says("the remote has `dacapo/lesson3/");
    bills(&world, 0, 0);
    project.dacapo(UP).exits(0);
    assert_eq!(std::fs::read(project.server().join("lesson3/export.pkl")).unwrap(), b"trained");
}

#[test]
fn a_machine_that_is_deleted_by_hand_while_it_is_being_ended_leaves_no_disk_that_bills() {
    let (project, world) = up();
    let mut rule = changes("POST", "/2/files/upload", evicted());
    rule["mentions"] = json!("\"ending\": {");
    world.faults(&[rule]);
    project.dacapo(DOWN).exits(0).says("is gone; the trash keeps it");
    assert_eq!(world.strikes()["rules"][0]["struck"], 1);
    bills(&world, 0, 0);
}

#[test]
fn reap_that_loses_its_lease_begins_anew_and_does_not_keep_a_disk_for_it() {
    let (project, world) = up();
    std::fs::write(project.server().join("lesson3/export.pkl"), "trained").unwrap();
    world.jump(9.0 * 3_600.0);
    world.plan(&json!({"ssh": {"hold": [{"asked": "\"op\":\"pack\""}]}}));
    let reap = Started::new(&project, &["reap"]);
    until("it is asked", || world.strikes()["holds"][0]["held"] == true);
    // As the last call of a dead process does that arrives late.
    let mut record = last_record(&project);
    record["lease"] = Value::Null;
    write_record(&project, &record);
    world.plan(&json!({"ssh": {}}));
    reap.end().exits(0).says("is ended, and nothing on it is lost");
    bills(&world, 0, 0);
}

/// A job in the checkout.
struct Job(Child);

impl Job {
    /// One that starts a new program all the time, and writes a model.
    fn training(project: &Project) -> Self {
        let job = "n=0; while [ -e train.py ]; do n=$((n+1)); echo $n > export.pkl; sleep 0.01; done";
        Self::on(project, &["sh", "-c", job])
    }

    fn on(project: &Project, words: &[&str]) -> Self {
        let checkout = project.server().join("lesson3");
        Self(Command::new(words[0]).args(&words[1..]).current_dir(checkout).spawn().unwrap())
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        // It may have ended by itself: then there is nothing to kill.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn reap_ends_a_machine_whose_programs_change_all_the_time_and_keeps_its_disk() {
    let (project, world) = up();
    world.jump(9.0 * 3_600.0);
    let _job = Job::training(&project);
    project.dacapo(&["reap"]).exits(0).says("stays and bills");
    bills(&world, 0, 1);
}

#[test]
fn programs_named_as_a_loss_are_a_loss_whichever_run_when_the_disk_is_kept() {
    let (project, world) = up();
    let _job = Job::training(&project);
    project.dacapo(&["down", "--yes", "--keep-disk"]).exits(5).says("sh").says("--discard processes");
    bills(&world, 1, 1);
    project.dacapo(&["down", "--yes", "--keep-disk", "--discard", "processes"]).exits(0);
    bills(&world, 0, 1);
}

#[test]
fn who_may_have_changed_the_world_after_the_approval_is_named() {
    let (project, world) = up();
    let _job = Job::on(&project, &["sleep", "600"]);
    let changed = || project.on_server("printf trained > export.pkl");
    changed_meanwhile(&project, &world, DOWN, changed)
        .exits(7)
        .says("`sleep 600` is at work on the server, and may change it all the time")
        .says("stop it, then run the same command again");
    bills(&world, 1, 1);
}

#[test]
fn a_machine_evicted_between_its_proof_and_its_deletion_leaves_nothing_behind() {
    let (project, world) = spot(true);
    let mut rule = changes("POST", "/2/files/upload", evicted());
    rule["mentions"] = json!("\"ending\": {");
    world.faults(&[rule]);
    project.dacapo(DOWN).exits(0);
    assert_eq!(world.strikes()["rules"][0]["struck"], 1);
    world.jump(3_600.0);
    bills(&world, 0, 0);
    heals(&project, &world);
}
