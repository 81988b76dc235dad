//! Crash points, all of them: the real program is killed at every effect that it has, and run again.
//!
//! A run's effects are numbered by kind: durable writes on the laptop, calls that change something, requests
//! to the helper on the server. Each is a case: the program is killed (SIGKILL) before the effect, right after
//! it and before the answer, and while the call is under way; then the same command is run again, on the
//! same laptop or on one that has lost every file but its key and session.toml. It must converge within three
//! runs that ask nobody, and then write nothing; one machine bills for a running session and none for an
//! absent one, also an hour later; whatever existed is still there; and what only looks like ours is
//! untouched.
//!
//! `cargo test` runs a sample that is always the same. `tests/crashes/run` runs all of it and resumes.

mod census;
mod points;
mod scenarios;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use dacapo::durable::Kept;
use points::{Kind, LEFT_OUT, NOT_REACHED, Phase, Point, WRITING};
use scenarios::{End, Prepared, SCENARIOS, Scenario};

use crate::matrix::worlds::World;
use crate::support::{Project, Ran};

/// How many cases `cargo test` runs.
const SAMPLE: usize = 36;
/// How many cases run at once: most of their time is waiting.
const WORKERS: usize = 10;
/// How many worlds are made at once.
const PREPARING: usize = 3;
/// How often a command may be run until there is nothing left to do.
const RUNS: usize = 3;
/// Where finished cases are noted, a line each.
const PROGRESS: &str = "target/crashes.progress";

/// The prepared world of each scenario.
static WORLDS: [OnceLock<Prepared>; SCENARIOS.len()] = [const { OnceLock::new() }; SCENARIOS.len()];

/// Where the command is run again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Laptop {
    /// Where it was killed.
    Same,
    /// On one without any file of ours.
    Bare,
}

/// One crash.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Case {
    scenario: usize,
    point: Point,
    phase: Phase,
    laptop: Laptop,
}

impl Case {
    fn title(&self) -> String {
        let Self { scenario, point, phase, laptop } = self;
        format!(
            "{}, {phase} {point}, {} laptop",
            SCENARIOS[*scenario].name,
            match laptop {
                Laptop::Same => "same",
                Laptop::Bare => "bare",
            }
        )
    }
}

#[test]
fn killed_at_any_effect_and_run_again_nothing_is_lost_and_nothing_is_left_billing() {
    let mode = std::env::var("DACAPO_CRASHES").unwrap_or_default();
    let started = Instant::now();
    prepare();
    assert_eq!(unreached(), BTreeSet::new(), "effects that no scenario has");
    let all = cases();
    let only = mode.strip_prefix("all:");
    let count = match (mode.as_str(), mode.strip_prefix("sample:")) {
        ("", _) => SAMPLE,
        (_, Some(count)) => count.parse().unwrap(),
        _ => usize::MAX,
    };
    let mut chosen = sample(&all, count);
    chosen.retain(|case| only.is_none_or(|word| case.title().contains(word)));
    let finished = if mode.is_empty() { BTreeSet::new() } else { finished() };
    let left: Vec<Case> = chosen.iter().filter(|case| !finished.contains(&case.title())).cloned().collect();
    if !mode.is_empty() {
        let points: usize = WORLDS.iter().map(|world| world.get().unwrap().points.len()).sum();
        eprintln!("{} scenarios, {points} points, {} cases, {} left", SCENARIOS.len(), all.len(), left.len());
    }
    let Totals { healed, missed, broken } = run(&left, !mode.is_empty());
    if !mode.is_empty() {
        let heals = healed + chosen.len() - left.len();
        eprintln!(
            "{heals} of {} crashes healed, {} broken, {missed} points not come to, {:.1} min",
            chosen.len(),
            broken.len(),
            started.elapsed().as_secs_f64() / 60.0
        );
    }
    assert!(missed <= left.len() / 6 + 1, "{missed} of {} cases were never come to", left.len());
    assert!(broken.is_empty(), "{} of {} cases:\n{}", broken.len(), left.len(), broken.join("\n"));
}

/// Makes every scenario's world; few at once, or a run that is slow renews its lease more often than it would.
fn prepare() {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..PREPARING {
            scope.spawn(|| {
                while let Some(scenario) = SCENARIOS.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let number = SCENARIOS.iter().position(|other| other.name == scenario.name).unwrap();
                    scenario.prepared(&WORLDS[number]);
                }
            });
        }
    });
}

fn points(scenario: usize) -> &'static [Point] {
    &WORLDS[scenario].get().expect("it was prepared").points
}

/// Every case there is.
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for scenario in 0..SCENARIOS.len() {
        for point in points(scenario) {
            for phase in point.kind.phases() {
                for laptop in [Laptop::Same, Laptop::Bare] {
                    cases.push(Case { scenario, point: point.clone(), phase: *phase, laptop });
                }
            }
        }
    }
    cases
}

/// Returns the kinds of effects in the code that no scenario reaches.
fn unreached() -> BTreeSet<String> {
    let reached: BTreeSet<&Kind> =
        (0..SCENARIOS.len()).flat_map(|scenario| points(scenario).iter().map(|point| &point.kind)).collect();
    let call =
        |service: &str, method: &str, path: &str| Kind::Call(service.into(), method.into(), path.into());
    let calls = crate::matrix::writing_calls().into_iter();
    let mut wanted: Vec<Kind> = calls.map(|(service, method, path)| call(service, method, path)).collect();
    wanted.push(call("dropbox_api", "POST", "/2/files/delete_v2"));
    wanted.extend(WRITING.map(Kind::Asked));
    // `login` asks a person and belongs to no session; a report is made after everything else.
    let kept = Kept::ALL.into_iter().filter(|kept| !matches!(kept, Kept::Credentials | Kept::Page));
    wanted.extend(kept.map(|kept| Kind::File(kept.name())));
    let mut unreached: BTreeSet<_> =
        wanted.into_iter().filter(|kind| !reached.contains(kind)).map(|kind| kind.to_string()).collect();
    let main = include_str!("../../src/provider/server/helper/main.py");
    let listed = main.split("OPERATIONS = {").nth(1).unwrap().split('}').next().unwrap();
    let known = |name: &&str| !WRITING.contains(name) && !LEFT_OUT.contains(name);
    unreached.extend(listed.split('"').skip(1).step_by(2).filter(known).map(str::to_owned));
    unreached
}

/// Picks cases by a sequence that is always the same, in turn from each scenario and phase.
fn sample(all: &[Case], count: usize) -> Vec<Case> {
    let mut groups: BTreeMap<(usize, usize), Vec<Case>> = BTreeMap::new();
    for case in all {
        // The first round has each scenario once, and every phase among them.
        let round = (case.phase as usize + case.scenario) % 4;
        groups.entry((round, case.scenario)).or_default().push(case.clone());
    }
    let mut state: u64 = 1;
    let mut chosen = Vec::new();
    while chosen.len() < count.min(all.len()) {
        for group in groups.values_mut().filter(|group| !group.is_empty()) {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            chosen.push(group.swap_remove((state >> 33) as usize % group.len()));
        }
    }
    chosen.truncate(count);
    chosen
}

/// How the cases ended.
struct Totals {
    healed: usize,
    /// Points that the run did not come to this time.
    missed: usize,
    broken: Vec<String>,
}

/// Runs cases until all are done or the minutes that were given are over.
fn run(cases: &[Case], aloud: bool) -> Totals {
    let minutes =
        std::env::var("DACAPO_CRASHES_MINUTES").ok().and_then(|minutes| minutes.parse::<f64>().ok());
    let end = minutes.map(|minutes| Instant::now() + Duration::from_secs_f64(minutes * 60.0));
    let next = AtomicUsize::new(0);
    let (healed, missed, broken) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while end.is_none_or(|end| Instant::now() < end)
                    && let Some(case) = cases.get(next.fetch_add(1, Ordering::SeqCst))
                {
                    match patiently(case) {
                        Ok(false) => drop(missed.fetch_add(1, Ordering::SeqCst)),
                        Ok(true) => {
                            healed.fetch_add(1, Ordering::SeqCst);
                            if aloud {
                                note_finished(case);
                            }
                        }
                        Err(why) => {
                            if aloud {
                                eprintln!("BROKEN {}: {why}", case.title());
                            }
                            broken.lock().unwrap().push(format!("{}: {why}", case.title()));
                        }
                    }
                }
            });
        }
    });
    let broken = broken.into_inner().unwrap();
    Totals { healed: healed.into_inner(), missed: missed.into_inner(), broken }
}

/// Runs a case; once more where the run ended before it came to the point, since not every run is alike. Tells whether
/// it came to it: how often the lease is renewed beside the work depends on how busy this machine is.
fn patiently(case: &Case) -> Result<bool, String> {
    let is_missed =
        |outcome: &Result<(), String>| outcome.as_ref().err().is_some_and(|why| why.starts_with(NOT_REACHED));
    let tried = std::panic::catch_unwind(|| {
        Some(one(case)).filter(|first| !is_missed(first)).unwrap_or_else(|| one(case))
    });
    let outcome = tried.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.unwrap_or_else(|| "the test itself panicked".to_owned()))
    });
    // So does whether a machine is taken away before or after the plan is made once more.
    let is_evicted = SCENARIOS[case.scenario].name == "spot eviction";
    let may_renew = match &case.point.kind {
        Kind::Call(_, _, path) => path.ends_with("/2/files/upload"),
        Kind::File(name) => *name == Kept::Record.name(),
        Kind::Asked(_) => false,
    };
    if (may_renew || is_evicted) && is_missed(&outcome) { Ok(false) } else { outcome.map(|()| true) }
}

fn one(case: &Case) -> Result<(), String> {
    let scenario = &SCENARIOS[case.scenario];
    let prepared = WORLDS[case.scenario].get().expect("it was prepared");
    let project = prepared.copy(scenario);
    let world = World::of(&project);
    let rules = (scenario.rules)(&world);
    points::kill_at(&project, &world, scenario.command, &case.point, case.phase, &rules)?;
    world.clear_faults();
    if case.laptop == Laptop::Bare {
        lose_local_files(&project);
    }
    world.jump(scenario.pause);
    let noted = world.requests().len();
    let mut said = converge(scenario, &project, &world)?;
    if case.phase == Phase::Late {
        // What was under way lands by then; it may have left something to do.
        world.jump(60.0);
        while world.strikes()["under_way"] != 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
        said += &converge(scenario, &project, &world)?;
    }
    let told = |why: String| format!("{why}\nafter\n{said}");
    bills(scenario, prepared, &world).map_err(told)?;
    for request in &world.requests()[noted..] {
        let touched =
            prepared.foreign.iter().find(|id| request.method != "GET" && request.body.contains(*id));
        if let Some(id) = touched {
            return Err(told(format!("{} {} names {id}, which isn't ours", request.method, request.path)));
        }
    }
    let after = census::take(&project, &world.billing("volume"));
    let lost = census::lost(&prepared.before, &after);
    let pruned = |at: &&String| scenario.name == "prune" && at.starts_with("stored");
    let lost: Vec<_> = lost.into_iter().filter(|at| !pruned(at)).collect();
    if !lost.is_empty() {
        return Err(told(format!("lost: {lost:?}")));
    }
    world.jump(3600.0);
    bills(scenario, prepared, &world).map_err(|why| told(format!("an hour later: {why}")))
}

/// Runs the command until it finds nothing to do; returns what it said.
fn converge(scenario: &Scenario, project: &Project, world: &World) -> Result<String, String> {
    let mut said = String::new();
    for _ in 0..=RUNS {
        let noted = world.requests().len();
        let Ran { code, stdout, stderr } = project.dacapo(scenario.command);
        said += &format!("exit {code}\n{stdout}{stderr}");
        let mut changes = points::changes(&world.requests()[noted..]);
        if scenario.code != 0 {
            // What was refused is tried again each time, on fresh evidence and under the lease.
            changes.retain(|kind| !kind.ends_with("/2/files/upload"));
        }
        if code == scenario.code && changes.is_empty() {
            return Ok(said);
        }
    }
    Err(format!("after {RUNS} runs there is still something to do\n{said}"))
}

/// Checks what bills: ours as it should, and what isn't ours as ever.
fn bills(scenario: &Scenario, prepared: &Prepared, world: &World) -> Result<(), String> {
    let [machines, disks] = ["instance", "volume"].map(|kind| world.billing(kind));
    if let Some(gone) = prepared.foreign.iter().find(|id| !machines.contains(id) && !disks.contains(id)) {
        return Err(format!("{gone} isn't ours and bills no longer"));
    }
    let ours = |all: Vec<String>| -> Vec<String> {
        all.into_iter().filter(|id| !prepared.foreign.contains(id)).collect()
    };
    let (machines, disks) = (ours(machines), ours(disks));
    let fits = match scenario.end {
        End::Running => machines.len() == 1 && disks.len() == 1,
        End::Same => machines.len() == 1 && disks.len() == 1 && machines.first() == prepared.machine.as_ref(),
        End::Absent => machines.is_empty() && disks.is_empty(),
    };
    if fits {
        Ok(())
    } else {
        Err(format!("{:?}, but this bills: machines {machines:?}, volumes {disks:?}", scenario.end))
    }
}

/// Removes every file of ours from the laptop: caches, lock, record. The login key and session.toml stay.
fn lose_local_files(project: &Project) {
    for folder in [".local", ".cache"] {
        let _ = std::fs::remove_dir_all(project.laptop().join(folder));
    }
    let _ = std::fs::remove_file(project.sandbox().join("session.lock"));
}

fn finished() -> BTreeSet<String> {
    let text = std::fs::read_to_string(progress()).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn note_finished(case: &Case) {
    let mut file = std::fs::File::options().create(true).append(true).open(progress()).unwrap();
    writeln!(file, "{}", case.title()).unwrap();
}

fn progress() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(PROGRESS)
}
