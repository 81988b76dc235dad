//! Two runs at once on one session, switched between at any effect and any wait.
//!
//! At a switch the run that is left stands still as its laptop may do that sleeps: for no time, until its lease
//! has run out, or for longer than any window. Going on, it carries out what it had decided. What it can't be
//! stopped at is between its last look and an order, and between renewing the lease and what that is for: a call
//! is taken to arrive while the lease lasts.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::available_parallelism;

use super::cloud::*;
use super::process::*;
use super::rules::Rule;
use super::*;

/// How long a run may stand still when it is left: not at all, up to its lease, past it, past every window.
const PAUSES: [i64; 4] = [0, LEASE.as_secs() / TICK - 1, LEASE.as_secs() / TICK + 1, 15];
/// How often somebody tries again who was refused.
const AGAIN: usize = 2;
/// More steps than any two runs that make progress take.
const ENDLESS: usize = 2_000;
const RUNS: usize = 3;

/// Two commands given at once, and what was there before.
struct Scene {
    name: &'static str,
    /// The session is up when they begin.
    up: bool,
    wishes: [Wish; 2],
}

const fn scene(name: &'static str, up: bool, one: Wish, other: Wish) -> Scene {
    Scene { name, up, wishes: [one, other] }
}

const SCENES: [Scene; 8] = [
    scene("up and up", false, Wish::Up, Wish::Up),
    scene("up and down", false, Wish::Up, Wish::Down),
    scene("down and up of what is there", true, Wish::Down, Wish::Up),
    scene("down and down", true, Wish::Down, Wish::Down),
    scene("keeping and up", true, Wish::Keep, Wish::Up),
    scene("keeping and down", true, Wish::Keep, Wish::Down),
    scene("replacing and down", true, Wish::Replace, Wish::Down),
    scene("replacing and replacing", true, Wish::Replace, Wish::Replace),
];

/// Two runs, one of which goes on while the other stands still.
struct Pair {
    world: World,
    runs: [Process; 2],
    /// How each ended, once it has.
    ends: [Option<Ending>; 2],
    /// How often each was tried again.
    again: [usize; 2],
    active: usize,
    switches: usize,
    steps: usize,
    /// At which steps they were switched, and for how long the one that was left stood still.
    trail: [Option<(usize, i64)>; 4],
}

#[derive(Clone, Copy, PartialEq)]
enum Ending {
    Reached,
    /// It was told who holds the session, or lost it.
    Refused,
    Failed,
    /// It named the machines that carry the session's mark.
    Several,
}

#[derive(Debug, Default)]
struct Found {
    schedules: u64,
    /// Schedules in which one of the two had to stop for the other.
    refused: u64,
    two: u64,
    lost: u64,
    two_at_work: u64,
    /// A lease was taken that hadn't run out.
    stolen: u64,
    /// The loser was told wrong who holds the session, or until when.
    mistold: u64,
    /// The next runs didn't end in exactly one machine, and then in none.
    unhealed: u64,
    stopped: u64,
    endless: u64,
    /// The switches of the first schedule in which something went wrong, the last one first.
    trail: Option<String>,
}

impl Found {
    fn violations(&self) -> u64 {
        let Self { schedules: _, refused: _, two, lost, two_at_work, stolen, mistold, .. } = self;
        let Self { unhealed, stopped, endless, .. } = self;
        two + lost + two_at_work + stolen + mistold + unhealed + stopped + endless
    }

    fn add(&mut self, other: &Self) {
        self.schedules += other.schedules;
        self.refused += other.refused;
        self.two += other.two;
        self.lost += other.lost;
        self.two_at_work += other.two_at_work;
        self.stolen += other.stolen;
        self.mistold += other.mistold;
        self.unhealed += other.unhealed;
        self.stopped += other.stopped;
        self.endless += other.endless;
        self.trail = self.trail.take().or_else(|| other.trail.clone());
    }
}

struct Scheduler<'a> {
    scene: &'a Scene,
    switches: usize,
    /// How many of the first switches have been taken, by whichever thread.
    claimed: &'a AtomicUsize,
    met: usize,
    found: Found,
}

/// Runs every schedule of a scene with at most so many switches; `memories` is 1 with a store, 2 without.
fn interleave(rule: Rule, memories: usize, scene: &Scene, switches: usize) -> Found {
    let claimed = AtomicUsize::new(0);
    let threads = available_parallelism().map_or(1, usize::from);
    let mut found = Found::default();
    std::thread::scope(|scope| {
        let one = || {
            let mut scheduler =
                Scheduler { scene, switches, claimed: &claimed, met: 0, found: Found::default() };
            scheduler.begin(rule, memories);
            scheduler.found
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
        workers.into_iter().for_each(|worker| found.add(&worker.join().expect("it doesn't panic")));
    });
    // Each thread has followed the schedule without switches.
    found.schedules -= threads as u64 - 1;
    found
}

impl Scheduler<'_> {
    fn begin(&mut self, rule: Rule, memories: usize) {
        let records = (0..memories).map(|_| Memory::new(memories > 1)).collect();
        let mut world = World::new(rule, records, &[]);
        if self.scene.up {
            run_alone(&mut world, 0, 0, Wish::Up).expect("nothing stands in its way");
        }
        let runs = [0, 1].map(|one| Process::start(&mut world, one as u32, one % memories));
        self.follow(Pair {
            world,
            runs,
            ends: [None; 2],
            again: [0; 2],
            active: 0,
            switches: self.switches,
            steps: 0,
            trail: [None; 4],
        });
    }

    /// Follows one schedule to its end, branching off a new one for each switch that may be made on the way.
    fn follow(&mut self, mut pair: Pair) {
        while let Some(active) = pair.next_active() {
            pair.steps += 1;
            if pair.steps > ENDLESS {
                self.found.endless += 1;
                break;
            }
            let Pair { world, runs, .. } = &mut pair;
            match runs[active].step(world, self.scene.wishes[active]) {
                Doing::Effect(effect) => {
                    if runs[active].may_be_left_before(world, &effect) {
                        self.branch(&pair, Some(&effect));
                    }
                    self.take(&mut pair, &effect);
                    if matches!(pair.runs[active].due, None | Some(Effect::Put(..))) {
                        self.branch(&pair, None);
                    }
                }
                Doing::Waited => self.branch(&pair, None),
                Doing::Reached(_) => pair.ends[active] = Some(Ending::Reached),
                Doing::Held(elsewhere) => {
                    self.found.mistold += u64::from(!pair.is_true(&elsewhere));
                    pair.ends[active] = Some(Ending::Refused);
                }
                Doing::Stopped(Some(Stop::Several(_))) => pair.ends[active] = Some(Ending::Several),
                Doing::Stopped(_) => {
                    self.found.stopped += 1;
                    break;
                }
            }
            self.try_again(&mut pair);
        }
        self.judge(pair);
    }

    /// Whoever was refused tries again, once the other has had its turn.
    fn try_again(&mut self, pair: &mut Pair) {
        let active = pair.active;
        let refused = matches!(pair.ends[active], Some(Ending::Refused | Ending::Failed));
        if !refused || pair.again[active] == AGAIN {
            return;
        }
        pair.again[active] += 1;
        pair.ends[active] = None;
        let memory = active % pair.world.memories.len();
        pair.runs[active] = Process::start(&mut pair.world, active as u32, memory);
        match pair.ends[1 - active] {
            None => pair.active = 1 - active,
            Some(_) => pair.world.cloud.pass(LEASE.as_secs() / TICK),
        }
    }

    fn branch(&mut self, pair: &Pair, effect: Option<&Effect>) {
        if pair.switches == 0 || pair.ends[1 - pair.active].is_some() {
            return;
        }
        for pause in PAUSES {
            if pair.switches == self.switches && !self.claim() {
                continue;
            }
            let mut other = pair.fork();
            if let Some(effect) = effect {
                other.runs[pair.active].due.get_or_insert_with(|| effect.clone());
            }
            other.active = 1 - pair.active;
            other.world.cloud.pass(pause);
            other.trail[other.switches % 4] = Some((pair.steps, pause));
            self.follow(other);
        }
    }

    /// Takes the next switch of the schedule without any, unless another thread has taken it.
    fn claim(&mut self) -> bool {
        self.met += 1;
        self.claimed.compare_exchange(self.met - 1, self.met, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    fn take(&mut self, pair: &mut Pair, effect: &Effect) {
        let (active, shared) = (pair.active, pair.world.memories.len() == 1);
        let holder = &pair.runs[1 - active];
        let held =
            shared && holder.has_the_lease() && !pair.world.has_run_out() && holder.is_newest(&pair.world);
        let run = &mut pair.runs[active];
        run.take(&mut pair.world, effect);
        let taken = matches!(effect, Effect::Put(_, Put::Take)) && run.over.is_none();
        self.found.stolen += u64::from(taken && held && pair.ends[1 - active].is_none());
        if let Some(number) = run.given_over(effect, self.scene.wishes[active]) {
            self.work(&mut pair.world.cloud, number);
        }
        pair.ends[active] = match pair.runs[active].over {
            None => None,
            Some(End::Beaten) => {
                self.found.mistold +=
                    u64::from(pair.world.holder().is_some_and(|holder| !pair.is_true(&holder)));
                Some(Ending::Refused)
            }
            Some(End::Failed | End::Told) => Some(Ending::Failed),
        };
    }

    /// Whoever has brought the session up works on it.
    fn work(&mut self, cloud: &mut Cloud, number: usize) {
        let disk = cloud.vms[number].disk;
        cloud.vms[number].worked = true;
        cloud.work_on(disk);
        let at_work = cloud.vms.iter().filter(|vm| vm.worked && vm.is_alive()).count();
        self.found.two_at_work += u64::from(at_work > 1);
    }

    /// What is there at the end, an hour later, and after the next runs.
    fn judge(&mut self, pair: Pair) {
        self.found.schedules += 1;
        let trail = pair.trail;
        let refused = pair.again != [0; 2] || pair.ends.contains(&Some(Ending::Refused));
        self.found.refused += u64::from(refused);
        let mut world = pair.world;
        world.cloud.pass(HOUR);
        if world.memories.len() == 1 {
            self.found.two += u64::from(world.cloud.alive() > 1);
            let healed = [(Wish::Up, 1), (Wish::Down, 0)].into_iter().all(|(wish, alive)| {
                run_alone(&mut world, 0, 0, wish).is_some() && world.cloud.alive() == alive
            });
            self.found.unhealed += u64::from(!healed || world.cloud.billing_disks().next().is_some());
            self.found.lost += u64::from(world.cloud.made & !world.cloud.saved != 0);
        } else {
            self.judge_without_a_store(world);
        }
        if self.found.violations() > 0 && self.found.trail.is_none() {
            self.found.trail = Some(format!("{trail:?}"));
        }
    }

    /// Nobody is held off: each laptop goes on with the older machine, and the newer one goes before anybody
    /// comes to it.
    fn judge_without_a_store(&mut self, mut world: World) {
        let up = (0..2).all(|memory| runs(&mut world, memory as u32, memory, Wish::Up));
        self.found.unhealed += u64::from(!up || world.cloud.alive() != 1);
        self.found.lost += u64::from(world.cloud.lost != 0);
        // To the other laptop it has vanished then: it can't know that its work was saved.
        let down = runs(&mut world, 0, 0, Wish::Down);
        let left = world.cloud.alive() > 0 || world.cloud.billing_disks().next().is_some();
        self.found.unhealed += u64::from(!down || left);
        self.found.lost += u64::from(world.cloud.made & !world.cloud.saved != 0);
    }
}

/// Whether a command reaches its end, run again where another laptop's machine stands in its way.
fn runs(world: &mut World, laptop: u32, memory: usize, wish: Wish) -> bool {
    (0..RUNS).any(|_| run_alone(world, laptop, memory, wish).is_some())
}

impl Pair {
    fn fork(&self) -> Self {
        let runs = [self.runs[0].fork(), self.runs[1].fork()];
        Self { world: self.world.clone(), runs, switches: self.switches - 1, ..*self }
    }

    /// The run that goes on: the active one or, where that is over, the other.
    fn next_active(&mut self) -> Option<usize> {
        if self.ends[self.active].is_some() {
            self.active = 1 - self.active;
        }
        self.ends[self.active].is_none().then_some(self.active)
    }

    /// Whether the other run is the one that has the lease, for so long.
    fn is_true(&self, elsewhere: &Elsewhere) -> bool {
        let other = &self.runs[1 - self.active];
        let left = LEASE.as_secs() - (self.world.cloud.tick - self.world.memories[0].written) * TICK;
        elsewhere.owner == other.laptop.to_string() && elsewhere.left == left && left > 0
    }
}

/// Runs a command, again where it fails, until it is done; none where three runs don't do it.
fn run_alone(world: &mut World, laptop: u32, memory: usize, wish: Wish) -> Option<()> {
    let (mut wanted, mut runs) = (wish, 1);
    let mut run = Process::start(world, laptop, memory);
    for _ in 0..ENDLESS {
        match run.step(world, wanted) {
            Doing::Effect(effect) => run.take(world, &effect),
            Doing::Waited => {}
            Doing::Held(_) => world.cloud.pass(1),
            Doing::Reached(_) if wanted == wish => return Some(()),
            Doing::Reached(_) => (wanted, runs) = (wish, 0),
            Doing::Stopped(_) => return None,
        }
        if let Some(end) = run.over {
            // A machine that is off or vanished is brought up first.
            (wanted, runs) = if end == End::Told { (Wish::Up, 0) } else { (wanted, runs + 1) };
            run = Process::start(world, laptop, memory);
        }
        if runs > RUNS {
            return None;
        }
    }
    None
}

/// How many switches a schedule has; fewer where every test run has to wait for it.
fn switches() -> usize {
    if std::env::var("DACAPO_DEPTH").is_ok() { 3 } else { 2 }
}

fn all(memories: usize, scenes: &[Scene]) -> Found {
    let (mut found, begun) = (Found::default(), std::time::Instant::now());
    for scene in scenes {
        let one = interleave(Rule::Ours, memories, scene, switches());
        println!("{:>10} schedules, {} violations: {}", one.schedules, one.violations(), scene.name);
        assert_eq!(one.violations(), 0, "{}: {one:?}", scene.name);
        found.add(&one);
    }
    let (schedules, refused, seconds) = (found.schedules, found.refused, begun.elapsed().as_secs());
    println!("{schedules:>10} schedules, in {refused} of which one made way for the other, {seconds} s");
    found
}

#[test]
fn two_at_once_never_leave_two_machines_or_lose_work_and_the_loser_is_told_who_won() {
    let found = all(1, &SCENES);
    let enough = if switches() == 3 { 100_000 } else { 2_000 };
    assert!(found.schedules > enough && found.refused > enough / 2, "{found:?}");
}

/// Each laptop has a record of its own, so nobody is held off: they may rent a machine each.
#[test]
fn without_a_store_two_ups_at_once_end_with_the_older_machine_and_lose_nothing() {
    let found = all(2, &SCENES[..1]);
    assert!(found.schedules > 1_000, "{found:?}");
}

/// A test that can't fail proves nothing.
#[test]
fn every_broken_rule_of_the_lease_is_found_out() {
    for rule in [Rule::NoCompare, Rule::NotRenewed, Rule::LeaseIgnored, Rule::SendsLate] {
        let caught = |scene: &&Scene| interleave(rule, 1, scene, 1).violations() > 0;
        let scene = SCENES.iter().find(caught);
        println!("{rule:?} is found out by `{}`", scene.map_or("nothing", |scene| scene.name));
        assert!(scene.is_some(), "{rule:?} is not found out");
    }
}
