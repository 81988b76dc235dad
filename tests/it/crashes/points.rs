//! The points at which a run is killed: what has an effect, counted by kind, and the moments of each.

use std::collections::BTreeMap;
use std::fmt;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use dacapo::durable::{Kept, Moment};
use dacapo::sandbox::Request;
use serde_json::{Value, json};

use crate::matrix::worlds::World;
use crate::support::Project;

/// How long a run may take to get where it is to be killed.
const PATIENCE: Duration = Duration::from_secs(60);
/// How much later a call lands whose client is dead, in the world's seconds: in the middle of the next run.
const LATE: f64 = 40.0;
/// More than there ever are of one kind.
const NEVER: u64 = 1_000_000;

/// What the helper is asked that changes something there.
pub const WRITING: [&str; 12] = [
    "hello",
    "clone",
    "fast_forward",
    "pull",
    "pack",
    "push",
    "save",
    "commit",
    "run_step",
    "finish_set_up",
    "start_notebook",
    "stop_notebook",
];
/// What only looks; and what belongs to files that are too large for here, which `tests/large` and
/// `tests/helper` interrupt; and what belongs to `run`, where the user's command is the effect. Packages of a lock
/// take a package index: `setup.rs` has theirs.
pub const LEFT_OUT: [&str; 9] = [
    "probe",
    "hash",
    "surroundings",
    "push_session",
    "discard_pack",
    "outcome",
    "interrupt",
    "install_packages",
    "notebook_address",
];

/// An effect, by its kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A durable write on the laptop, by its name.
    File(&'static str),
    /// A call that changes something or begins a transfer: service, method and path, as fault plans write them.
    Call(String, String, String),
    /// A request to the helper on the server.
    Asked(&'static str),
}

/// When the process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// The effect never comes.
    Before,
    /// The effect comes while the next run is at work.
    Late,
    /// A file is written under another name, but isn't in its place yet.
    Written,
    /// The effect has come, and nothing of the answer.
    After,
}

/// The n-th effect of its kind in a run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    pub kind: Kind,
    pub number: u64,
}

impl Kind {
    /// Returns the moments at which a run can be killed there.
    ///
    /// *After the answer, before it is noted* is no moment of its own: what came of the answer is in memory
    /// alone until the next effect, so that nothing is left of it but what *before* the next effect leaves.
    /// A file that is in its place leaves just that, too.
    pub fn phases(&self) -> &'static [Phase] {
        match self {
            Self::File("git_cache") => &[Phase::Before, Phase::After],
            Self::File(_) => &[Phase::Before, Phase::Written],
            Self::Call(_, method, _) if method == "GET" => &[Phase::Before, Phase::After],
            Self::Call(..) => &[Phase::Before, Phase::Late, Phase::After],
            Self::Asked(_) => &[Phase::Before, Phase::After],
        }
    }

    /// Returns the kind of a call, where it is one that counts.
    fn of(request: &Request) -> Option<Self> {
        let (service, method, path) = (&*request.service, &*request.method, &*request.path);
        let path = match (service, method) {
            ("cloud", "DELETE") if path.starts_with("/v1/scripts/") => "/v1/scripts/*".to_owned(),
            ("cloud", "POST" | "PUT" | "DELETE" | "PATCH") => path.to_owned(),
            ("dropbox_api", _) if reads(path) => return None,
            ("dropbox_api", _) => path.to_owned(),
            ("dropbox_content", _) if path.starts_with("/cd/") => "/cd/0/get/*/file".to_owned(),
            ("dropbox_content", _) if path.starts_with("/apitul/") => "/apitul/1/*".to_owned(),
            ("dropbox_content", _) if path.contains("upload") => path.to_owned(),
            _ => return None,
        };
        Some(Self::Call(service.to_owned(), method.to_owned(), path))
    }

    /// Returns whether it changes something that anybody else sees; a login or a link is none of that.
    fn changes(&self) -> bool {
        match self {
            Self::File(_) => false,
            Self::Call(_, method, path) => {
                method != "GET" && !path.ends_with("token") && !path.contains("get_temporary")
            }
            Self::Asked(operation) => *operation != "hello",
        }
    }
}

fn reads(path: &str) -> bool {
    ["list_folder", "get_metadata", "get_current_account", "get_space_usage"]
        .iter()
        .any(|read| path.contains(read))
}

/// Returns whether any of these requests changed something.
pub fn changes(requests: &[Request]) -> Vec<String> {
    let kinds = requests.iter().filter_map(Kind::of).filter(Kind::changes);
    kinds.map(|kind| kind.to_string()).collect()
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(name) => write!(f, "file {name}"),
            Self::Call(service, method, path) => write!(f, "{service} {method} {path}"),
            Self::Asked(operation) => write!(f, "server {operation}"),
        }
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} #{}", self.kind, self.number + 1)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Before => "before",
            Self::Late => "late",
            Self::Written => "written",
            Self::After => "after",
        })
    }
}

/// Runs a command to its end, and returns every point that it passed and how it ended.
pub fn count(project: &Project, world: &World, command: &[&str]) -> (Vec<Point>, crate::support::Ran) {
    let noted = world.requests().len();
    let log = project.path().join("points");
    let holds: Vec<Value> =
        WRITING.iter().map(|operation| json!({"asked": asked(operation), "skip": NEVER})).collect();
    world.plan(&json!({"ssh": {"hold": holds}}));
    let mut child = project.command(&[&["--sandbox"], command].concat());
    let ran = crate::support::ran(child.env("DACAPO_CRASH", &log).output().unwrap());
    let mut counts: BTreeMap<Kind, u64> = BTreeMap::new();
    for kind in world.requests()[noted..].iter().filter_map(Kind::of) {
        *counts.entry(kind).or_default() += 1;
    }
    for (operation, told) in WRITING.iter().zip(world.strikes()["holds"].as_array().unwrap()) {
        counts.insert(Kind::Asked(operation), told["met"].as_u64().unwrap());
    }
    for line in std::fs::read_to_string(&log).unwrap_or_default().lines() {
        if let Some((name, "before")) = line.split_once(' ') {
            let kept = Kept::ALL.into_iter().find(|kept| kept.name() == name).unwrap();
            *counts.entry(Kind::File(kept.name())).or_default() += 1;
        }
    }
    let points = counts
        .into_iter()
        .flat_map(|(kind, count)| (0..count).map(move |number| Point { kind: kind.clone(), number }));
    (points.collect(), ran)
}

/// Runs a command that is killed at a point; an error says how it ended instead.
pub fn kill_at(
    project: &Project,
    world: &World,
    command: &[&str],
    point: &Point,
    phase: Phase,
    rules: &[Value],
) -> Result<(), String> {
    let mut child = project.command(&[&["--sandbox"], command].concat());
    child.stdout(Stdio::null()).stderr(Stdio::null());
    let there: Box<dyn Fn() -> bool> = match &point.kind {
        Kind::File(name) => {
            let log = project.path().join("points");
            let moment = match phase {
                Phase::Before | Phase::Late => Moment::Before,
                Phase::Written => Moment::Written,
                Phase::After => Moment::Replaced,
            };
            let asked = format!("{} {name} {} {}", log.display(), moment.name(), point.number);
            child.env("DACAPO_CRASH", asked);
            world.plan(&json!({"rules": rules}));
            Box::new(|| false)
        }
        Kind::Call(service, method, path) => {
            let fault = match phase {
                Phase::Late => json!({"late": {"seconds": LATE, "silent": true}}),
                phase => json!({"silence": {"after": phase == Phase::After}}),
            };
            let rule = json!({"name": "here", "service": service, "method": method, "path": path,
                              "skip": point.number, "fault": fault});
            let all: Vec<&Value> = std::iter::once(&rule).chain(rules).collect();
            world.plan(&json!({"rules": all}));
            Box::new(|| {
                // The effect of a call comes before it is noted.
                world.strikes()["rules"][0]["struck"] == 1
                    && world.requests().iter().any(|one| one.struck.as_deref() == Some("here"))
            })
        }
        Kind::Asked(operation) => {
            let answered = (phase == Phase::After).then_some("\"result\"");
            let hold = json!({"asked": asked(operation), "answered": answered, "skip": point.number});
            world.plan(&json!({"rules": rules, "ssh": {"hold": [hold]}}));
            Box::new(|| world.strikes()["holds"][0]["held"] == true)
        }
    };
    killed(&mut child.spawn().unwrap(), &*there)
}

/// Waits until a process is where it is to be, and kills it there; or until it is killed there.
fn killed(child: &mut Child, there: &dyn Fn() -> bool) -> Result<(), String> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().unwrap() {
            let signal = std::os::unix::process::ExitStatusExt::signal(&status);
            return if signal == Some(9) { Ok(()) } else { Err(format!("{NOT_REACHED} ({status})")) };
        }
        if there() {
            child.kill().unwrap();
            child.wait().unwrap();
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    Err(format!("{NOT_REACHED} (it took too long)"))
}

/// What is said of a run that didn't come by.
pub const NOT_REACHED: &str = "the point was not reached";

/// The text by which a request to the helper is known.
fn asked(operation: &str) -> String {
    format!("\"op\":\"{operation}\"")
}
