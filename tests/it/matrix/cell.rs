//! One cell: a command in a world where one call goes wrong, and what must hold afterwards.

use std::io::Read;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use dacapo::sandbox::Request;

use super::calls::Call;
use super::faults::Fault;
use super::worlds::{Prepared, Start, World, trained};
use crate::support::{Project, Ran};

/// How long one command may take; a loaded machine included.
const WATCHDOG: Duration = Duration::from_secs(120);
/// How a command may end: done, or one of the documented failures.
const DOCUMENTED: [i32; 8] = [0, 1, 3, 4, 5, 6, 7, 8];

/// How long an order may take to show, in the world's seconds.
const QUIET_WINDOW: i64 = 180;

/// The world is no longer the one that was approved.
const STALE: i32 = 7;

/// What the words of a broken promise begin with: such a cell is not tried again.
pub const BROKEN_PROMISE: &str = "a promise is broken: ";

/// What must hold at any time, however slow this machine is.
macro_rules! promise {
    ($holds:expr, $($words:tt)+) => {
        if !$holds {
            return Err(format!("{BROKEN_PROMISE}{}", format_args!($($words)+)));
        }
    };
}

/// What holds unless this machine was too slow for the clock of the cell's world.
macro_rules! ensure {
    ($holds:expr, $($words:tt)+) => {
        if !$holds {
            return Err(format!($($words)+));
        }
    };
}

/// A running world that `plan` is asked in again and again: it changes nothing there.
#[derive(Default)]
pub struct Bench(Option<Project>);

/// Runs the cell; returns how the command ended: `ok`, `retry`, or `exit N`.
pub fn run(call: &Call, fault: &Fault, prepared: &Prepared, bench: &mut Bench) -> Result<String, String> {
    if call.command != ["plan"] {
        return run_in(&prepared.copy(call.start), call, fault, prepared);
    }
    let project = bench.0.take().unwrap_or_else(|| prepared.copy(call.start));
    let outcome = run_in(&project, call, fault, prepared)?;
    bench.0 = Some(project);
    Ok(outcome)
}

impl Bench {
    /// Checks that the world is still as it should be after all that was asked in it.
    pub fn end(self) -> Result<(), String> {
        let Some(project) = self.0 else { return Ok(()) };
        let plan = watched(&project, &["plan", "--detailed-exitcode"])?;
        ensure!(plan.code == 0, "planning has changed the world:\n{}", shown(&plan));
        Ok(())
    }
}

fn run_in(project: &Project, call: &Call, fault: &Fault, prepared: &Prepared) -> Result<String, String> {
    let world = World::of(project);
    let before = world.machines();
    let noted = world.requests().len();
    world.faults(&fault.rules(call));
    let ran = watched(project, call.command)?;
    let told = world.strikes();
    let (matched, struck) = (&told["rules"][0]["matched"], &told["rules"][0]["struck"]);
    let (matched, struck) = (matched.as_u64().unwrap(), struck.as_u64().unwrap());
    ensure!(struck > 0 || fault.is_closed(), "the fault never struck ({matched} calls)\n{}", shown(&ran));
    clear(&ran)?;
    partial(call, project, prepared)?;
    world.clear_faults();

    if call.command == ["plan"] {
        promise!(wrote_nothing(&world.requests()[noted..]), "a plan wrote something");
    } else {
        healed(call, project, ran.code).map_err(|why| format!("{why}\nafter\n{}", shown(&ran)))?;
    }
    let made = world.machines().difference(&before).count();
    let wanted = usize::from(call.start == Start::New);
    promise!(made == wanted, "{made} machines were made, not {wanted}\n{}", shown(&ran));
    ordered_patiently(&world.requests()[noted..]).map_err(|why| format!("{why}\n{}", shown(&ran)))?;
    let keys = world.keys();
    // A key that lands long after it was given up doubles the one that the next run registered: it costs nothing.
    let most = if fault.name == "late" { 2 } else { 1 };
    promise!(keys.len() <= most, "the login key is registered {} times\n{}", keys.len(), shown(&ran));
    afterwards(call, project, &world, prepared).map_err(|why| format!("{why}\nafter\n{}", shown(&ran)))?;
    Ok(match ran.code {
        0 if matched > prepared.usual(call) => "retry".to_owned(),
        0 => "ok".to_owned(),
        code => format!("exit {code}"),
    })
}

/// The same command again ends what was begun, and then nothing is left to do.
fn healed(call: &Call, project: &Project, code: i32) -> Result<(), String> {
    if code != 0 {
        let again = watched_twice(project, call.command)?;
        ensure!(again.code == 0, "not healed:\n{}", shown(&again));
    }
    let state = if is_down(call) { "state=absent" } else { "state=running" };
    let plan = watched(project, &["plan", "--detailed-exitcode", "--set", state])?;
    ensure!(plan.code == 0, "not settled:\n{}", shown(&plan));
    Ok(())
}

/// In the end nothing bills, and what was trained is in the store.
fn afterwards(call: &Call, project: &Project, world: &World, prepared: &Prepared) -> Result<(), String> {
    if call.command == ["plan"] {
        return Ok(());
    }
    if !is_down(call) {
        let model = std::fs::read(project.server().join("lesson3/export.pkl")).unwrap_or_default();
        promise!(model == prepared.model, "the model on the server is not the stored one");
        let down = watched_twice(project, &["down", "--yes"])?;
        ensure!(down.code == 0, "not ended:\n{}", shown(&down));
    }
    world.jump(3600.0);
    let deadline = Instant::now() + WATCHDOG;
    while world.strikes()["under_way"] != 0 {
        ensure!(Instant::now() < deadline, "a late call never landed");
        std::thread::sleep(Duration::from_millis(10));
    }
    world.jump(3600.0);
    let billing = world.bill()["billing"].clone();
    promise!(billing == serde_json::json!([]), "in the end this bills: {billing}");
    if call.start == Start::Worked && stores(call) {
        let up = watched(project, &["up", "--yes"])?;
        ensure!(up.code == 0, "not brought back:\n{}", shown(&up));
        let model = std::fs::read(project.server().join("lesson3/export.pkl")).unwrap_or_default();
        promise!(model == trained(), "the model that was trained is not the one that was brought back");
    }
    Ok(())
}

/// Returns whether the call has to do with storing the model.
fn stores(call: &Call) -> bool {
    ["upload link", "server's upload", "read back upload", "manifest"].contains(&call.name)
}

fn is_down(call: &Call) -> bool {
    call.command[0] == "down"
}

/// A command that failed says what, why and what to do, once; none panics.
fn clear(ran: &Ran) -> Result<(), String> {
    ensure!(DOCUMENTED.contains(&ran.code), "exit code {}\n{}", ran.code, shown(ran));
    promise!(!shown(ran).contains("panicked"), "it panicked\n{}", shown(ran));
    let count = |word: &str| ran.stderr.lines().filter(|line| line.trim_start().starts_with(word)).count();
    let parts = (count("error:"), count("why:") > 0, count("hint:") > 0);
    let wanted = if ran.code == 0 { 0 } else { 1 };
    ensure!(parts.0 == wanted, "{} errors were worded\n{}", parts.0, shown(ran));
    ensure!(ran.code == 0 || (parts.1 && parts.2), "no why or no hint\n{}", shown(ran));
    Ok(())
}

/// Whatever happened, an artifact on the server is whole or not there.
fn partial(call: &Call, project: &Project, prepared: &Prepared) -> Result<(), String> {
    if call.start != Start::New
        || !project.sandbox().join("disks").read_dir().is_ok_and(|mut d| d.next().is_some())
    {
        return Ok(());
    }
    let model = std::fs::read(project.server().join("lesson3/export.pkl"));
    promise!(
        model.is_err() || model.is_ok_and(|model| model == prepared.model),
        "half a model is on the server"
    );
    Ok(())
}

/// After an order whose outcome isn't known there is no other until the quiet window is over.
fn ordered_patiently(requests: &[Request]) -> Result<(), String> {
    let orders: Vec<_> =
        requests.iter().filter(|one| one.method == "POST" && one.path == "/v1/instances").collect();
    for pair in orders.windows(2) {
        let struck = pair[0].struck.as_deref();
        let known = struck.is_none() || matches!(pair[0].status, 400..500) || struck == Some("capacity");
        let waited = pair[1].at.duration_since(pair[0].at).as_secs();
        promise!(known || waited >= QUIET_WINDOW, "ordered again {waited} s after {struck:?}");
    }
    Ok(())
}

fn wrote_nothing(requests: &[Request]) -> bool {
    requests.iter().all(|request| match request.service.as_str() {
        "cloud" => request.method == "GET" || request.path.ends_with("/oauth2/token"),
        "dropbox_content" => !request.path.contains("upload"),
        _ => true,
    })
}

/// Runs a command, and once more if the world went on between the plan that it showed and the one that it was to
/// carry out: a late call landed, or a machine that was going was gone.
fn watched_twice(project: &Project, arguments: &[&str]) -> Result<Ran, String> {
    let ran = watched(project, arguments)?;
    if ran.code == STALE { watched(project, arguments) } else { Ok(ran) }
}

/// Runs a command; one that doesn't end is killed and breaks the cell.
fn watched(project: &Project, arguments: &[&str]) -> Result<Ran, String> {
    let mut command = project.command(&[&["--sandbox"], arguments].concat());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let stdout = collected(child.stdout.take().unwrap());
    let stderr = collected(child.stderr.take().unwrap());
    let code = ended(&mut child);
    let (stdout, stderr) = (stdout.join().unwrap(), stderr.join().unwrap());
    let ran = Ran { code: code.unwrap_or(-1), stdout, stderr };
    ensure!(code.is_some(), "`{}` didn't end within {WATCHDOG:?}\n{}", arguments.join(" "), shown(&ran));
    Ok(ran)
}

fn ended(child: &mut Child) -> Option<i32> {
    let deadline = Instant::now() + WATCHDOG;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status.code().unwrap_or(-1));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    None
}

fn collected(mut from: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn shown(ran: &Ran) -> String {
    format!("exit {}\n{}{}", ran.code, ran.stdout, ran.stderr)
}
