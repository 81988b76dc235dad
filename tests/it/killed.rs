//! `up` and `down`, killed with SIGKILL at random moments and run again: the same world in the end.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::interrupt::{Started, last_record, until};
use crate::support::Project;

const MOMENTS: u64 = 10;

#[test]
fn killed_at_any_moment_and_run_again_the_world_is_the_same_first_half() {
    kill_and_run_again(1);
}

#[test]
fn killed_at_any_moment_and_run_again_the_world_is_the_same_second_half() {
    kill_and_run_again(2);
}

#[test]
fn killed_while_the_machine_boots_its_id_is_noted_already_and_nothing_is_locked() {
    let project = Project::with_speed(20);
    let mut up = Started::new(&project, &["up", "--yes"]);
    up.wait_for("provisioning");
    up.signal("KILL");
    up.end();
    let bill = project.bill();
    let machine = bill["billing"].as_array().unwrap().iter().find(|item| item["kind"] == "instance").unwrap();
    assert_eq!(last_record(&project)["machine"]["id"], machine["id"], "an id is noted before any waiting");
    project.dacapo(&["up", "--yes"]).exits(0);
    assert_eq!(billing(&project), ["instance", "volume"]);
}

fn kill_and_run_again(seed: u64) {
    let project = Project::with_speed(60);
    let mut random = seed;
    let up = whole(&project, "up");
    let mut model = std::fs::read(project.server().join("lesson3/export.pkl")).unwrap();
    let down = whole(&project, "down");
    for moment in 0..MOMENTS {
        let label = format!("seed {seed}, moment {moment}");
        kill(&project, "up", up, &mut random);
        let mut again = project.dacapo(&["up", "--yes"]);
        if again.code == 7 {
            again = project.dacapo(&["up", "--yes"]);
        }
        assert_eq!(again.code, 0, "{label}: {}\n{}", again.stdout, again.stderr);
        assert_eq!(billing(&project), ["instance", "volume"], "{label}: one machine and its volume");
        let brought = std::fs::read(project.server().join("lesson3/export.pkl")).unwrap();
        assert_eq!(brought, model, "{label}: the model that was stored");
        project.dacapo(&["plan", "--detailed-exitcode"]).exits(0);

        model = format!("trained on {label}\n").repeat(2_000).into_bytes();
        std::fs::write(project.server().join("lesson3/export.pkl"), &model).unwrap();
        kill(&project, "down", down, &mut random);
        let mut again = project.dacapo(&["down", "--yes"]);
        if again.code == 7 {
            // The machine has come up between its two looks.
            again = project.dacapo(&["down", "--yes"]);
        }
        assert_eq!(again.code, 0, "{label}: {}\n{}", again.stdout, again.stderr);
        // The killed one may have had the machine deleted: its disk takes seconds more to the trash.
        until(&format!("{label}: nothing bills"), || billing(&project).is_empty());
    }
    project.dacapo(&["up", "--yes"]).exits(0);
    let last = std::fs::read(project.server().join("lesson3/export.pkl")).unwrap();
    assert_eq!(last, model, "the last model of all is back");
}

/// Lets a command run to its end and returns how long it took.
fn whole(project: &Project, command: &str) -> Duration {
    let started = Instant::now();
    project.dacapo(&[command, "--yes"]).exits(0);
    started.elapsed()
}

/// Kills a command somewhere between its start and a little after its usual end.
fn kill(project: &Project, command: &str, usual: Duration, random: &mut u64) {
    *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    let after = usual.mul_f64((*random >> 33) as f64 / f64::from(1u32 << 31) * 1.1);
    let mut child = project.command(&["--sandbox", command, "--yes"]);
    let mut child =
        child.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    // The moment is the point of the test: nothing is waited for here.
    std::thread::sleep(after);
    child.kill().unwrap();
    child.wait().unwrap();
}

fn billing(project: &Project) -> Vec<String> {
    let bill = project.bill();
    let kinds =
        bill["billing"].as_array().unwrap().iter().map(|item| item["kind"].as_str().unwrap().to_owned());
    let mut kinds: Vec<_> = kinds.collect();
    kinds.sort();
    kinds
}

/// The answers come after a minute and a half: whatever they tell may have changed since.
#[test]
fn a_laptop_that_is_always_too_late_orders_nothing_and_says_so() {
    let project = Project::with_speed(300);
    let slow = json!({"service": "cloud", "method": "GET", "path": "/v1/instances", "times": "always",
                      "fault": {"delay": {"seconds": 100, "after": true}}});
    project.fail(&json!({"rules": [slow]}));
    let late = "its last look at the cloud was too old for that, ";
    project.dacapo(&["up", "--yes"]).exits(1).says("a machine for `lesson3` was not ordered").says(late);
    let ordered = |one: &Value| one["method"] == "POST" && one["path"] == "/v1/instances";
    assert!(!project.requests().iter().any(ordered));
    project.dacapo(&["sandbox", "faults", "--clear"]).exits(0);
    project.dacapo(&["up", "--yes"]).exits(0);
    assert_eq!(billing(&project), ["instance", "volume"]);
}
