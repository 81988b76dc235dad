//! What is killed: commands, each in a world that is prepared once and copied for every case.

use std::sync::OnceLock;

use serde_json::{Value, json};

use super::census::{self, Census};
use super::points::{self, Point};
use crate::matrix::worlds::{World, trained};
use crate::support::Project;

/// How fast the clock of a case's world runs. No faster, or the lease is renewed again and again while this machine is
/// busy: effects that differ from run to run and are all alike.
const SPEED: u32 = 40;

/// One command in one kind of world.
pub struct Scenario {
    pub name: &'static str,
    pub command: &'static [&'static str],
    /// How it ends once there is nothing left to do.
    pub code: i32,
    /// What bills then.
    pub end: End,
    prepare: fn() -> Project,
    /// How fast the clock of each copy runs.
    speed: u32,
    /// What is done in each copy before anything is killed.
    ready: fn(&Project),
    /// How many seconds pass before anybody runs it again.
    pub pause: f64,
    /// What goes wrong besides.
    pub rules: fn(&World) -> Vec<Value>,
}

/// What is there in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// One machine and its volume.
    Running,
    /// The machine that was there before.
    Same,
    /// Nothing.
    Absent,
}

/// A scenario's world, its points, and what existed in it.
pub struct Prepared {
    project: Project,
    pub points: Vec<Point>,
    pub before: Census,
    /// What isn't ours, by id.
    pub foreign: Vec<String>,
    /// The machine of ours that is there, if one is.
    pub machine: Option<String>,
}

const UP: &[&str] = &["up", "--yes"];
const APPLY: &[&str] = &["apply", "--yes"];
const DOWN: &[&str] = &["down", "--yes"];
const REPLACE: &[&str] = &["apply", "--yes", "--replace", "--set", "instance.type=1L40S.20V"];
const BOTH: &[&str] = &["apply", "--yes", "--set", "artifacts.model.version=2026-11-25_export.pkl.gz"];
const NEWER: &str = "/fastai/lesson3/2026-11-25_export.pkl.gz";

const USUAL: Scenario = Scenario {
    name: "",
    command: UP,
    code: 0,
    end: End::Running,
    prepare: fresh,
    speed: SPEED,
    ready: |_| (),
    pause: 0.0,
    rules: |_| Vec::new(),
};

/// Every scenario.
pub const SCENARIOS: &[Scenario] = &[
    Scenario { name: "fresh up", ..USUAL },
    Scenario { name: "up, set-up", prepare: || with_spec(with_set_up()), ..USUAL },
    Scenario { name: "up without a store", prepare: || with_spec(without_store()), ..USUAL },
    Scenario { name: "up, unclear create", rules: |_| vec![order(json!("cut_after"))], ..USUAL },
    Scenario { name: "up, second candidate", rules: |_| vec![order(json!("capacity"))], ..USUAL },
    Scenario { name: "adopt", prepare: forgotten, ..USUAL },
    Scenario { name: "code drift", command: APPLY, prepare: drifted, ..USUAL },
    Scenario { name: "replace", command: REPLACE, prepare: worked, ..USUAL },
    Scenario {
        name: "artifact newer here",
        command: &["artifacts", "push", "--yes"],
        prepare: worked,
        end: End::Same,
        ..USUAL
    },
    Scenario { name: "artifact newer there", command: APPLY, prepare: newer, end: End::Same, ..USUAL },
    Scenario { name: "artifact newer on both sides", command: BOTH, prepare: both, end: End::Same, ..USUAL },
    // Slowly, so that the second write is the one before the work and no renewal; until the disk is in the trash.
    Scenario { name: "spot eviction", prepare: spot, speed: 8, pause: 30.0, rules: evicted, ..USUAL },
    Scenario { name: "notebook", prepare: installed, ready: with_notebook, end: End::Same, ..USUAL },
    Scenario {
        name: "no notebook any more",
        prepare: installed,
        ready: without_notebook,
        end: End::Same,
        ..USUAL
    },
    Scenario { name: "down, clean", command: DOWN, prepare: up, end: End::Absent, ..USUAL },
    Scenario { name: "down without a store", command: DOWN, prepare: storeless, end: End::Absent, ..USUAL },
    Scenario { name: "save", command: &["save", "--yes"], prepare: edited, end: End::Same, ..USUAL },
    Scenario { name: "down, saves first", command: DOWN, prepare: worked, end: End::Absent, ..USUAL },
    Scenario { name: "down, saves a branch", command: DOWN, prepare: branch, end: End::Absent, ..USUAL },
    Scenario { name: "down, refused", command: DOWN, code: 5, prepare: refused, end: End::Same, ..USUAL },
    Scenario {
        name: "down, emptied trash",
        command: &["down", "--yes", "--purge"],
        prepare: up,
        end: End::Absent,
        ..USUAL
    },
    // It names the other session's machine, which is due as well and whose record isn't there.
    Scenario { name: "reap", command: &["reap"], code: 5, prepare: due, end: End::Absent, ..USUAL },
    Scenario {
        name: "plan, kept in a file",
        command: &["plan", "-o", "session.plan"],
        prepare: up,
        end: End::Same,
        ..USUAL
    },
    Scenario {
        name: "pin",
        command: &["artifacts", "pin", "2026-11-20_export.pkl.gz"],
        prepare: up,
        end: End::Same,
        ..USUAL
    },
    Scenario {
        name: "prune",
        command: &["artifacts", "prune", "--keep", "1", "--yes"],
        prepare: stocked,
        end: End::Same,
        ..USUAL
    },
];

fn storeless() -> Project {
    let project = with_spec(without_store());
    project.dacapo(&["up", "--yes"]).exits(0);
    project
}

fn edited() -> Project {
    let project = worked();
    project.on_server("echo more >> train.py");
    project
}

impl Scenario {
    /// Makes the world, and learns its points from a run in which nothing is killed.
    pub fn prepared(&'static self, place: &'static OnceLock<Prepared>) -> &'static Prepared {
        place.get_or_init(|| {
            let mut project = (self.prepare)();
            let world = World::of(&project);
            let machines = world.machines_of_bill();
            let foreign = world.foreign();
            let machine = machines.into_iter().find(|id| !foreign.contains(id));
            let foreign_disks = world.disks_of(&foreign);
            let disks = world.billing("volume");
            drop(world);
            project.stop_world();
            let before = census::take(&project, &disks);

            let dry = project.copy(self.speed);
            (self.ready)(&dry);
            let world = World::of(&dry);
            world.plan(&json!({"rules": (self.rules)(&world)}));
            let (points, ran) = points::count(&dry, &world, self.command);
            // A machine that is taken away in mid-run may fail the run; the next one heals it.
            let documented = [0, self.code, 1, 5, 7].contains(&ran.code);
            assert!(documented, "{}: exit {}\n{}{}", self.name, ran.code, ran.stdout, ran.stderr);
            let foreign = [foreign, foreign_disks].concat();
            Prepared { project, points, before, foreign, machine }
        })
    }
}

impl Prepared {
    /// Returns a copy that runs and is ready for the scenario's command.
    pub fn copy(&self, scenario: &Scenario) -> Project {
        let copy = self.project.copy(scenario.speed);
        (scenario.ready)(&copy);
        copy
    }
}

impl World {
    fn machines_of_bill(&self) -> Vec<String> {
        self.billing("instance")
    }

    /// Returns the ids of what bills, of one kind.
    pub fn billing(&self, kind: &str) -> Vec<String> {
        let bill = self.bill();
        let all = bill["billing"].as_array().unwrap().iter().filter(|one| one["kind"] == kind);
        all.map(|one| one["id"].as_str().unwrap().to_owned()).collect()
    }

    /// Returns the machines that only look like ours.
    fn foreign(&self) -> Vec<String> {
        let listed: Value = serde_json::from_str(&self.cloud("GET", "/instances", &Value::Null)).unwrap();
        let foreign = listed.as_array().unwrap().iter().filter(|one| one["description"] == FOREIGN);
        foreign.map(|one| one["id"].as_str().unwrap().to_owned()).collect()
    }

    fn disks_of(&self, machines: &[String]) -> Vec<String> {
        let disk = |id: &String| {
            let shown = self.cloud("GET", &format!("/instances/{id}"), &Value::Null);
            serde_json::from_str::<Value>(&shown).unwrap()["os_volume_id"].as_str().unwrap().to_owned()
        };
        machines.iter().map(disk).collect()
    }
}

const FOREIGN: &str = "somebody else's";
const FOREIGN_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g them@elsewhere";

fn order(fault: Value) -> Value {
    json!({"service": "cloud", "method": "POST", "path": "/v1/instances", "fault": fault})
}

/// The machine is taken away while the code is brought up to date.
fn evicted(world: &World) -> Vec<Value> {
    let foreign = world.foreign();
    let ours = world.billing("instance").into_iter().find(|id| !foreign.contains(id)).unwrap();
    vec![json!({"service": "dropbox_content", "method": "POST", "path": "/2/files/upload", "skip": 1,
                "fault": {"world": {"set": {"cloud": {"status": {ours: "discontinued"}}}, "after": true}}})]
}

/// A world in which nothing of ours was ever there, but much that looks like it.
fn fresh() -> Project {
    with_spec(include_str!("../../../session.toml").to_owned())
}

fn with_spec(spec: String) -> Project {
    let mut project = Project::without_world(&spec);
    project.speed(SPEED);
    project.start_world();
    project.dacapo(&["plan"]).exits(0);
    let world = World::of(&project);
    world.set(&json!({"cloud": {"balance": 1000.0}}));
    let key = world.cloud("POST", "/ssh-keys", &json!({"name": "theirs", "key": FOREIGN_KEY}));
    let lookalike = |tags: Value| {
        let order = json!({"instance_type": "CPU.4V.16G", "image": "ubuntu-24.04", "hostname": "lesson3",
                           "description": FOREIGN, "ssh_key_ids": [key], "location_code": "FIN-01",
                           "os_volume": {"name": "lesson3", "size": 50, "tags": tags}, "tags": tags});
        world.cloud("POST", "/instances", &order);
    };
    // The same name without a tag, and with the tags of another session in the same store.
    lookalike(json!([]));
    let kept = std::fs::read_to_string(project.sandbox().join("state/world.json")).unwrap();
    let kept: Value = serde_json::from_str(&kept).unwrap();
    let account = kept["store"]["account"].as_str().unwrap();
    let store = dacapo::digest::sha256_hex(format!("{account}\n/fastai/lesson3").as_bytes())[..16].to_owned();
    lookalike(
        json!([{"key": "dacapo-session", "value": "lesson4"}, {"key": "dacapo-store", "value": store}]),
    );
    // They boot.
    world.jump(600.0);
    drop(world);
    project
}

/// What it makes in the home is nobody's work, however often it is cut short.
fn with_set_up() -> String {
    let steps = r#"["mkdir -p ~/.cache && echo one >> ~/.cache/ran", "echo two > ~/made"]"#;
    let spec = include_str!("../../../session.toml");
    format!("{spec}\n[setup]\nrun = {steps}\ninputs = [\"train.py\"]\n")
}

/// The session is up, and a notebook server is installed there.
fn installed() -> Project {
    let project = up();
    crate::notebook::install(&project);
    project
}

/// The session is to have a notebook, on a port of its own: cases that run at once share this machine's.
fn with_notebook(project: &Project) {
    let spec = include_str!("../../../session.toml");
    let notebook = format!("{spec}\n[notebook]\nport = {}\n", crate::notebook::free_port());
    std::fs::write(project.path().join("session.toml"), notebook).unwrap();
}

/// It has one, and is to have none.
fn without_notebook(project: &Project) {
    with_notebook(project);
    project.dacapo(UP).exits(0).says("2.0-standin answers on port");
    std::fs::write(project.path().join("session.toml"), include_str!("../../../session.toml")).unwrap();
}

fn without_store() -> String {
    let spec = include_str!("../../../session.toml");
    let lines = spec
        .lines()
        .take_while(|line| !line.starts_with("[artifacts"))
        .filter(|line| !line.starts_with("store"));
    lines.map(|line| format!("{line}\n")).collect()
}

fn up() -> Project {
    upped(fresh())
}

fn upped(project: Project) -> Project {
    project.dacapo(UP).exits(0);
    project
}

fn worked() -> Project {
    let project = up();
    std::fs::write(project.server().join("lesson3/export.pkl"), trained()).unwrap();
    project
}

/// Nothing is left but session.toml: no cache, no lock, no record.
fn forgotten() -> Project {
    let project = up();
    project.delete_stored("/fastai/lesson3/.dacapo/lesson3.json");
    super::lose_local_files(&project);
    project
}

fn drifted() -> Project {
    let project = up();
    push_to_remote(&project);
    project
}

/// Somebody has put another model into the store.
fn newer() -> Project {
    let project = up();
    put_newer(&project);
    project
}

fn both() -> Project {
    let project = worked();
    put_newer(&project);
    project
}

fn put_newer(project: &Project) {
    let packed = std::process::Command::new("sh").args(["-c", "seq 1 4000 | gzip -n"]).output().unwrap();
    assert!(packed.status.success());
    project.store_file(NEWER, &packed.stdout);
}

fn spot() -> Project {
    let spec = include_str!("../../../session.toml").replace("[instance]", "[instance]\nmarket = \"spot\"");
    let project = upped(with_spec(spec));
    std::fs::write(project.server().join("lesson3/export.pkl"), trained()).unwrap();
    push_to_remote(&project);
    project
}

fn branch() -> Project {
    let spec = include_str!("../../../session.toml");
    let spec = spec.replace("[artifacts.", "on_absent = \"save-branch\"\n\n[artifacts.");
    let project = upped(with_spec(spec));
    std::fs::write(project.server().join("lesson3/export.pkl"), trained()).unwrap();
    project.on_server(
        "git config user.name x; git config user.email x@y
         echo stashed > README.md; git stash -q; echo staged > README.md; git add README.md
         echo tree > README.md; echo more > notes.txt; git tag -a -m 'the best' best
         git branch side $(git commit-tree HEAD^{tree} -p HEAD -m 'on a side')",
    );
    project
}

fn refused() -> Project {
    let project = worked();
    project.on_server("echo work > notes.txt");
    project
}

/// The machine is past its deadline, and its work isn't stored.
fn due() -> Project {
    let project = worked();
    World::of(&project).jump(9.0 * 3600.0);
    project
}

/// Three versions of the model, of which prune leaves one.
fn stocked() -> Project {
    let project = up();
    for version in ["first", "second", "third"] {
        std::fs::write(project.server().join("lesson3/export.pkl"), format!("the {version} model\n"))
            .unwrap();
        project.dacapo(&["artifacts", "push", "--yes"]).exits(0);
    }
    project
}

/// Commits a new file to the remote's branch, as another person would.
fn push_to_remote(project: &Project) {
    let remote = project.sandbox().join("git/github.com/me/lesson3.git");
    let folder = tempfile::tempdir().unwrap();
    let script = format!(
        "git clone -q '{}' . && echo new > new.txt && git add -A && git -c user.name=x -c user.email=x@y commit -qm new && git push -q",
        remote.display()
    );
    let mut shell = std::process::Command::new("sh");
    shell.args(["-ec", &script]).current_dir(folder.path());
    let done = shell.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1").output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}
