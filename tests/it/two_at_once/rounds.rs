//! Two laptops that begin at random offsets, round after round.
//!
//! `cargo test` runs a few rounds that always begin alike; `tests/two-at-once/run` runs as many as are asked
//! for. A world serves ten rounds, and everything in them follows from its seed but the threads of two cores.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::at;
use crate::matrix::worlds::World;
use crate::support::{Project, Ran, ran};

/// How many rounds `cargo test` runs.
const SAMPLE: usize = 6;
/// How many rounds one world serves.
const SERIES: usize = 10;
/// How many worlds run at once: most of their time is waiting.
const WORKERS: usize = 3;
const LAPTOPS: [&str; 2] = ["first", "second"];

/// How often what happened.
type Totals = BTreeMap<String, usize>;

#[test]
fn two_laptops_at_any_offset_make_one_server_at_most_and_lose_nothing() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<usize>().unwrap());
    let asked = number("DACAPO_ROUNDS");
    let (rounds, seed) = (asked.unwrap_or(SAMPLE), number("DACAPO_SEED").unwrap_or(1));
    // A sample is spread over all workers, since nobody reads its totals.
    let series = if asked.is_some() { SERIES } else { rounds.div_ceil(WORKERS) };
    let (next, started) = (AtomicUsize::new(0), Instant::now());
    let (totals, broken) = (Mutex::new(Totals::new()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let first = next.fetch_add(series, Ordering::SeqCst);
                    if first >= rounds {
                        return;
                    }
                    let seed = seed + first / series;
                    let ended = std::panic::catch_unwind(|| {
                        Series::new(seed).run(series.min(rounds - first), asked.is_some())
                    });
                    match ended {
                        Ok(counted) => {
                            let mut totals = totals.lock().unwrap();
                            counted.into_iter().for_each(|(what, count)| {
                                *totals.entry(what).or_default() += count;
                            });
                        }
                        Err(panic) => {
                            let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
                            broken.lock().unwrap().push(format!("DACAPO_SEED={seed}: {text}"));
                        }
                    }
                }
            });
        }
    });
    let (totals, broken) = (totals.into_inner().unwrap(), broken.into_inner().unwrap());
    if asked.is_some() {
        let minutes = started.elapsed().as_secs_f64() / 60.0;
        eprintln!("{rounds} rounds from seed {seed}, {} series broken, {minutes:.1} min", broken.len());
        totals.iter().for_each(|(what, count)| eprintln!("{count:6} {what}"));
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// A world, and what is decided by its seed.
struct Series {
    random: u64,
    project: Project,
    world: World,
    /// How long a command takes alone.
    usual: Duration,
    /// The last model that was trained.
    model: Vec<u8>,
}

impl Series {
    fn new(seed: usize) -> Self {
        let mut random = seed as u64;
        // On a fast clock a lease runs out under its holder's hands whenever this machine is busy.
        let speed = [20, 60, 120][below(&mut random, 3)];
        let project = Project::with_speed(speed);
        let world = World::of(&project);
        let begun = Instant::now();
        ran(at(&project, LAPTOPS[0], &["up", "--yes"]).output().unwrap()).exits(0);
        let usual = begun.elapsed();
        Self { random, project, world, usual, model: Vec::new() }
    }

    fn run(mut self, rounds: usize, aloud: bool) -> Totals {
        let mut totals = Totals::new();
        for round in 0..rounds {
            let told = self.round(round, &mut totals);
            if aloud {
                eprintln!("{told}");
            }
        }
        totals
    }

    fn pick<T: Copy>(&mut self, among: &[T]) -> T {
        among[below(&mut self.random, among.len())]
    }

    /// Lets two commands meet, and judges what they leave; returns it in one line.
    fn round(&mut self, round: usize, totals: &mut Totals) -> String {
        let running = !self.world.billing("instance").is_empty();
        if running {
            self.model = format!("trained in round {round}\n").repeat(2_000).into_bytes();
            std::fs::write(self.project.server().join("lesson3/export.pkl"), &self.model).unwrap();
        }
        // The first one has something to do, mostly, and the second one mostly comes while it does it.
        let (same, other) = if running { ("up", "down") } else { ("down", "up") };
        let commands = [self.pick(&[other, other, other, same]), self.pick(&["up", "down"])];
        let (laptops, part) = (self.pick(&[[0, 1], [1, 0]]), below(&mut self.random, 1_000) as f64 / 1_000.0);
        let offset = self.usual.mul_f64(part * part);
        let title = format!(
            "{} then {} after {offset:.1?}, from {}",
            commands[0],
            commands[1],
            if running { "running" } else { "absent" }
        );
        let noted = self.world.requests().len();
        let ends = self.meet(commands, laptops, offset);
        let story = || -> String {
            let said = |ran: &Ran| format!("--- exit {}\n{}{}", ran.code, ran.stdout, ran.stderr);
            format!("round {round}: {title}\n{}{}", said(&ends[0]), said(&ends[1]))
        };
        for (end, other) in ends.iter().zip([laptops[1], laptops[0]]) {
            assert!([0, 7, 9].contains(&end.code), "{}", story());
            assert!(end.code != 9 || end.stderr.contains("meanwhile") || names(end, other), "{}", story());
        }
        assert!(ends.iter().any(|end| end.code == 0), "nobody works: {}", story());
        assert!(self.world.billing("instance").len() <= 1, "two servers: {}", story());
        let accepted = self.world.requests()[noted..]
            .iter()
            .filter(|one| one.method == "POST" && one.path == "/v1/instances" && one.status == 202)
            .count();
        assert!(accepted <= 1, "{accepted} orders: {}", story());

        let (wish, laptop) = (self.pick(&["up", "down"]), LAPTOPS[self.pick(&[0, 1])]);
        let healed = ran(at(&self.project, laptop, &[wish, "--yes"]).output().unwrap());
        assert_eq!(healed.code, 0, "{}\n{wish}: {}{}", story(), healed.stdout, healed.stderr);
        self.judge(wish, &story);
        let codes = format!("exits {} and {}", ends[0].code, ends[1].code);
        let kinds = [format!("{}/{}", commands[0], commands[1]), codes.clone()];
        kinds.into_iter().for_each(|what| *totals.entry(what).or_default() += 1);
        format!("{title}: {codes}")
    }

    fn meet(&self, commands: [&str; 2], laptops: [usize; 2], offset: Duration) -> [Ran; 2] {
        let start = |number: usize| {
            let mut command = at(&self.project, LAPTOPS[laptops[number]], &[commands[number], "--yes"]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        };
        let first = start(0);
        let reading = std::thread::spawn(|| ran(first.wait_with_output().unwrap()));
        // The moment is the point of the test: nothing is waited for here.
        std::thread::sleep(offset);
        let second = ran(start(1).wait_with_output().unwrap());
        [reading.join().unwrap(), second]
    }

    /// After one more run there is what was wished for, and the last model is there or in the store.
    fn judge(&self, wish: &str, story: &dyn Fn() -> String) {
        let (machines, disks) = (self.world.billing("instance").len(), self.world.billing("volume").len());
        let wanted = if wish == "up" { (1, 1) } else { (0, 0) };
        assert_eq!((machines, disks), wanted, "after {wish}: {}", story());
        if wish == "up" && !self.model.is_empty() {
            let there = std::fs::read(self.project.server().join("lesson3/export.pkl")).unwrap();
            assert!(there == self.model, "the last model is lost: {}", story());
        }
    }
}

/// Whether a refusal says who holds the session, and for how long.
fn names(end: &Ran, holder: usize) -> bool {
    end.stderr.contains(&format!("is held by you@{} for another ", LAPTOPS[holder]))
}

/// Returns a number below `limit`, from a sequence that is always the same.
fn below(random: &mut u64, limit: usize) -> usize {
    *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*random >> 33) as usize % limit
}
