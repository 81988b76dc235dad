//! Two at once: one laptop or two, a holder that dies or sleeps. One works, the other says who does; there is
//! never a second server and never a lost byte.

mod rounds;

use std::process::Command;

use serde_json::{Value, json};

use crate::interrupt::{Started, until};
use crate::matrix::worlds::World;
use crate::support::{Project, Ran, ran, without_store};

/// A little more than a lease lasts, in the world's seconds.
const LEASE_IS_OVER: f64 = 130.0;

/// `dacapo --sandbox` on one of several laptops, each with locks, caches and records of its own.
pub fn at(project: &Project, laptop: &str, arguments: &[&str]) -> Command {
    let mut command = project.command(&[&["--sandbox"], arguments].concat());
    command.env("DACAPO_SANDBOX_LAPTOP", laptop);
    command
}

fn run_at(project: &Project, laptop: &str, arguments: &[&str]) -> Ran {
    ran(at(project, laptop, arguments).output().unwrap())
}

fn started_at(project: &Project, laptop: &str, arguments: &[&str]) -> Started {
    Started::of(at(project, laptop, arguments))
}

/// Stops a process where it is: its laptop was shut in mid-apply. The lease runs out meanwhile.
fn sleeps(process: &Started, world: &World) {
    process.signal("STOP");
    until("it has stopped", || process.is_stopped());
    world.jump(LEASE_IS_OVER);
}

/// Stops a process where it is, by all clocks alike, until another laptop can take the session over.
fn taken_over(project: &Project, process: &Started, command: &str) -> Ran {
    process.signal("STOP");
    until("it has stopped", || process.is_stopped());
    let mut ran = None;
    until("the lease has run out", || {
        let tried = run_at(project, "second", &[command, "--yes"]);
        let free = tried.code != 9;
        ran = Some(tried);
        free
    });
    ran.expect("it was tried").exits(0)
}

/// Waits until it has come.
fn wait_for_call(world: &World) {
    until("the call came", || world.strikes()["rules"][0]["struck"] == 1);
}

fn delayed(service: &str, method: &str, path: &str, skip: u64) -> Value {
    json!({"service": service, "method": method, "path": path, "skip": skip,
           "fault": {"delay": {"seconds": LEASE_IS_OVER / 2.0, "after": true}}})
}

/// A process that wakes up without its lease stops. The other one has done its work and given the session back.
#[track_caller]
fn stops_without_harm(process: Started) {
    process.signal("CONT");
    process.end().exits(9).says("somebody else has taken `lesson3` meanwhile").says("given it back since");
}

#[track_caller]
fn one_machine(world: &World) -> String {
    let machines = world.billing("instance");
    assert_eq!((machines.len(), world.billing("volume").len()), (1, 1), "one machine and its disk bill");
    machines[0].clone()
}

#[track_caller]
fn nothing_bills(world: &World) {
    assert_eq!(world.bill()["billing"], json!([]));
}

fn orders(world: &World) -> usize {
    let requests = world.requests();
    requests.iter().filter(|one| one.method == "POST" && one.path == "/v1/instances").count()
}

#[test]
fn the_second_on_one_laptop_is_told_so_at_once() {
    let project = Project::with_speed(20);
    let mut first = started_at(&project, "first", &["up", "--yes"]);
    first.wait_for("provisioning");
    // However long the first one sleeps: its process is there, and so is its lock.
    sleeps(&first, &World::of(&project));
    run_at(&project, "first", &["up", "--yes"]).exits(9).says("is being applied on this laptop by another");
    first.signal("CONT");
    first.end().exits(0);
    one_machine(&World::of(&project));
}

#[test]
fn the_second_laptop_is_told_who_holds_the_session_and_for_how_long() {
    let project = Project::with_speed(20);
    let mut first = started_at(&project, "first", &["up", "--yes"]);
    first.wait_for("provisioning");
    let second = run_at(&project, "second", &["up", "--yes"]).exits(9);
    let seconds = second.stderr.split("is held by you@first for another ").nth(1);
    let seconds: i64 = seconds.and_then(|rest| rest.split(' ').next()).unwrap().parse().unwrap();
    assert!((1..=120).contains(&seconds), "{seconds}");
    run_at(&project, "second", &["down", "--yes"]).exits(9).says("is held by you@first");
    first.end().exits(0);
    run_at(&project, "second", &["down", "--yes"]).exits(0);
    nothing_bills(&World::of(&project));
}

#[test]
fn the_lease_is_renewed_however_long_the_machine_takes() {
    let project = Project::with_speed(30);
    let world = World::of(&project);
    // Each of them takes longer than a lease holds, and long enough for a second laptop to find them at it.
    world.set(&json!({"cloud": {"timing": {"provisioning": 700.0, "deleting": 700.0}}}));
    for command in ["up", "down"] {
        let noted = world.requests().len();
        let at_work = started_at(&project, "first", &[command, "--yes"]);
        let renewed = || renewals(&world, noted);
        until("renewed for longer than a lease holds", || {
            renewed().iter().max().zip(renewed().iter().min()).is_some_and(|(last, first)| last - first > 130)
        });
        run_at(&project, "second", &["up", "--yes"]).exits(9).says("is held by you@first");
        at_work.end().exits(0);
        let mut at = renewed();
        at.sort_unstable();
        let longest = at.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
        assert!(longest < 120, "{command}: {longest} s without a renewal");
    }
    nothing_bills(&world);
}

/// When the record was written, in seconds of the world.
fn renewals(world: &World, noted: usize) -> Vec<i64> {
    let requests = world.requests();
    let written = requests[noted..].iter().filter(|one| {
        let into = one.headers.get("dropbox-api-arg").map_or("", String::as_str);
        one.status == 200 && one.path.ends_with("/files/upload") && into.contains("/.dacapo/lesson3.json")
    });
    written.map(|one| one.at.as_second()).collect()
}

#[test]
fn the_lease_of_a_killed_holder_runs_out_and_its_machine_is_taken_over() {
    let project = Project::with_speed(20);
    let world = World::of(&project);
    let mut first = started_at(&project, "first", &["up", "--yes"]);
    first.wait_for("provisioning");
    first.signal("KILL");
    first.end().exits(-1);
    let machine = one_machine(&world);
    run_at(&project, "second", &["up", "--yes"]).exits(9).says("is held by you@first for another");
    world.jump(LEASE_IS_OVER);
    run_at(&project, "second", &["up", "--yes"]).exits(0);
    assert_eq!(one_machine(&world), machine, "the same one goes on");
    // On the laptop where it was killed the lock file is free: nothing has to be waited for.
    run_at(&project, "first", &["plan", "--detailed-exitcode"]).exits(0);
}

#[test]
fn a_killed_holder_goes_on_at_once_on_its_own_laptop() {
    let project = Project::with_speed(20);
    let mut first = started_at(&project, "first", &["up", "--yes"]);
    first.wait_for("provisioning");
    first.signal("KILL");
    first.end().exits(-1);
    run_at(&project, "first", &["up", "--yes"]).exits(0);
    one_machine(&World::of(&project));
}

#[test]
fn whoever_wakes_up_without_the_lease_says_who_has_it_and_for_how_long() {
    let project = Project::with_speed(20);
    let world = World::of(&project);
    let mut first = started_at(&project, "first", &["up", "--yes"]);
    first.wait_for("provisioning");
    sleeps(&first, &world);
    let mut second = started_at(&project, "second", &["down", "--yes"]);
    second.wait_for("is being deleted");
    second.signal("STOP");
    first.signal("CONT");
    first.end().exits(9).says("you@second has taken `lesson3` meanwhile").says("is theirs for another ");
    second.signal("CONT");
    second.end().exits(0);
    nothing_bills(&world);
}

#[test]
fn a_laptop_that_slept_before_its_order_orders_nothing() {
    // The intent is noted; the startup script, or the last look before the order, is under way.
    for (method, path, skip) in [("POST", "/v1/scripts", 0), ("GET", "/v1/instances", 3)] {
        let project = Project::new();
        let world = World::of(&project);
        world.faults(&[delayed("cloud", method, path, skip)]);
        let first = started_at(&project, "first", &["up", "--yes"]);
        wait_for_call(&world);
        assert_eq!(orders(&world), 0, "{method} {path}: not yet");
        taken_over(&project, &first, "up");
        let machine = one_machine(&world);
        stops_without_harm(first);
        assert_eq!(one_machine(&world), machine, "{method} {path}");
        assert_eq!(orders(&world), 1, "{method} {path}");
        run_at(&project, "first", &["plan", "--detailed-exitcode"]).exits(0);
    }
}

#[test]
fn a_laptop_that_slept_before_its_deletion_deletes_nothing() {
    // The receipt is noted; the last look before the deletion is under way.
    let project = Project::new();
    let world = World::of(&project);
    run_at(&project, "first", &["up", "--yes"]).exits(0);
    let machine = one_machine(&world);
    world.faults(&[delayed("cloud", "GET", "/v1/instances", 6)]);
    let first = started_at(&project, "first", &["down", "--yes"]);
    wait_for_call(&world);
    let receipt = world.requests().iter().rev().any(|one| one.body.contains("\"ending\": {"));
    assert!(receipt, "what is asked is the last look");
    taken_over(&project, &first, "up").says("which carries this session's mark");
    project.on_server("echo work > ~/work.txt");
    stops_without_harm(first);
    assert_eq!(one_machine(&world), machine);
    assert_eq!(std::fs::read(project.server().join("work.txt")).unwrap(), b"work\n");
    run_at(&project, "second", &["down", "--yes"]).exits(5).says("work.txt");
}

#[test]
fn a_laptop_that_slept_while_it_brought_a_version_overwrites_nothing() {
    let project = Project::new();
    let world = World::of(&project);
    run_at(&project, "first", &["up", "--yes"]).exits(0);
    project.store_file("/fastai/lesson3/2099-01-01_export.pkl", b"a newer model");
    world.faults(&[delayed("dropbox_api", "POST", "/2/files/get_temporary_link", 0)]);
    let first = started_at(&project, "first", &["up", "--yes"]);
    wait_for_call(&world);
    taken_over(&project, &first, "up");
    project.on_server("printf 'trained since' > export.pkl");
    stops_without_harm(first);
    assert_eq!(std::fs::read(project.server().join("lesson3/export.pkl")).unwrap(), b"trained since");
    run_at(&project, "second", &["down", "--yes"]).exits(0).says("store model");
}

#[test]
fn clocks_that_are_years_apart_change_nothing() {
    let mut project = Project::without_world(include_str!("../../session.toml"));
    project.speed(60);
    project.start_world_with(&["--start", "2031-05-06T07:08:09Z"]);
    let world = World::of(&project);
    let mut first = started_at(&project, "first", &["up", "--yes"]);
    first.wait_for("provisioning");
    run_at(&project, "second", &["down", "--yes"]).exits(9).says("is held by you@first for another");
    first.signal("KILL");
    first.end().exits(-1);
    world.jump(LEASE_IS_OVER);
    run_at(&project, "second", &["up", "--yes"]).exits(0);
    one_machine(&world);
    run_at(&project, "second", &["status"]).exits(0).says("2031-05-06");
    run_at(&project, "second", &["down", "--yes"]).exits(0);
    nothing_bills(&world);
}

/// Nobody is held off without a store. Both look before either order shows, so both rent a machine; the newer one goes
/// before anybody comes to it, and its laptop takes the older one over.
#[test]
fn without_a_store_two_that_order_at_once_end_with_one_machine() {
    let project = Project::with_speed(30);
    std::fs::write(project.path().join("session.toml"), without_store()).unwrap();
    let world = World::of(&project);
    // Neither order shows before its machine could be logged in to.
    world.set(&json!({"cloud": {"list_lag": 120.0, "timing": {"provisioning": 5.0}}}));
    let both = ["first", "second"].map(|laptop| {
        let mut up = started_at(&project, laptop, &["up", "--yes"]);
        up.wait_for("watching the cloud until");
        up.signal("STOP");
        up
    });
    // Long enough under way for the other one's last look.
    let held = json!({"service": "cloud", "method": "POST", "path": "/v1/instances",
                      "fault": {"delay": {"seconds": 50, "after": false}}});
    world.faults(&[held]);
    world.jump(200.0);
    both.iter().for_each(|up| up.signal("CONT"));
    let ends = both.map(|up| up.end().code);
    assert_eq!(world.machines().len(), 2, "{ends:?}: each of them rented one");
    let again = |laptop: &str| {
        let mut runs = (0..2).map(|_| run_at(&project, laptop, &["up", "--yes"]));
        runs.find(|ran| ran.code == 0).unwrap_or_else(|| panic!("{laptop} after {ends:?}"));
    };
    // Until then the list still shows what is gone.
    world.jump(130.0);
    ["second", "first"].into_iter().for_each(again);
    let stays = one_machine(&world);
    let requests = world.requests();
    let deletions = requests.iter().filter(|one| one.method == "PUT" && one.path == "/v1/instances");
    assert_eq!(deletions.count(), 1, "the newer one, and nothing else");
    for laptop in ["first", "second"] {
        run_at(&project, laptop, &["plan", "--detailed-exitcode"]).exits(0);
    }
    assert_eq!(one_machine(&world), stays);
    run_at(&project, "second", &["down", "--yes"]).exits(0);
    nothing_bills(&world);
    // What the other laptop did is not its own doing: it says that the machine vanished, once the list does.
    world.jump(130.0);
    run_at(&project, "first", &["down", "--yes"]).exits(5).says("vanished");
}
