//! Every way for a run of the protocol to be cut off, explored against a model of the cloud.
//!
//! At every effect a run may be killed before or after it and healed from the same laptop or, once the lease has
//! run out, from another; the effect may be repeated before or after it took place; a POST may get no answer
//! and land late, or be refused for want of capacity; the cloud may take the machine away. Up to `DACAPO_DEPTH`
//! such faults strike one after another, in the healing runs as well. Each new run knows only the record.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::available_parallelism;

use super::cloud::*;
use super::process::*;
use super::rules::Rule;
use super::stories::*;
use super::*;

/// More steps than any case that makes progress takes.
const ENDLESS: usize = 2_000;
/// More machines than any case that makes progress creates.
const MACHINES: usize = 16;
/// How many runs one command may need after the last fault.
const RUNS: usize = 3;

#[derive(Clone, Copy, Debug)]
enum Fault {
    /// Killed before or after the effect, and healed from the same laptop or another.
    Killed {
        after: bool,
        elsewhere: bool,
    },
    /// No answer: tried again, or for a POST unclear.
    Error {
        after: bool,
    },
    Late,
    LateAndKilled {
        elsewhere: bool,
    },
    /// The cloud has no such machine left.
    SoldOut,
    /// The cloud takes the machine away.
    Evicted,
}

const ALWAYS: [Fault; 7] = [
    Fault::Killed { after: false, elsewhere: false },
    Fault::Killed { after: false, elsewhere: true },
    Fault::Killed { after: true, elsewhere: false },
    Fault::Killed { after: true, elsewhere: true },
    Fault::Error { after: false },
    Fault::Error { after: true },
    Fault::Evicted,
];
const POSTS: [Fault; 4] = [
    Fault::Late,
    Fault::LateAndKilled { elsewhere: false },
    Fault::LateAndKilled { elsewhere: true },
    Fault::SoldOut,
];

/// One world with one run in it, on the way to its end.
struct Case {
    world: World,
    run: Process,
    laptops: u32,
    leg: usize,
    /// The machine has to be brought up before the leg goes on.
    detour: bool,
    runs: usize,
    faults: usize,
    steps: usize,
    /// The disks that had no machine when the record was lost. The protocol can't know of them any more; every
    /// plan names them by their tags, with what they cost.
    told: Vec<usize>,
    /// Which faults have struck, and at which step.
    trail: [Option<(usize, Fault)>; 4],
}

impl Case {
    fn fork(&self, fault: Fault) -> Self {
        let (faults, mut trail, told) = (self.faults - 1, self.trail, self.told.clone());
        trail[faults % 4] = Some((self.steps, fault));
        Self { world: self.world.clone(), run: self.run.fork(), faults, trail, told, runs: 0, ..*self }
    }

    fn run_again(&mut self, elsewhere: bool) {
        self.laptops += u32::from(elsewhere);
        self.runs += 1;
        let laptop = if elsewhere { self.laptops } else { self.run.laptop };
        self.run = Process::start(&mut self.world, laptop, 0);
    }
}

/// What exploring found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) cases: u64,
    pub(super) not_one: u64,
    pub(super) billing: u64,
    pub(super) lost: u64,
    pub(super) two_at_work: u64,
    /// It stopped for a person, or touched what isn't the session's.
    pub(super) stopped: u64,
    pub(super) endless: u64,
    /// More than three runs without a fault before the end was reached.
    pub(super) slow: u64,
    /// The end was reached, and one more run would write something.
    pub(super) restless: u64,
    /// A disk bills that the record doesn't know of.
    pub(super) stray: u64,
    /// A disk was kept, and the next machine has another.
    pub(super) not_booted: u64,
    /// The machine is of another kind than was asked for.
    pub(super) wrong_kind: u64,
    /// What struck in the first case in which something went wrong, the last fault first.
    pub(super) trail: Option<String>,
}

impl Found {
    pub(super) fn violations(&self) -> u64 {
        let Self { cases: _, not_one, billing, lost, two_at_work, stopped, endless, .. } = self;
        let Self { slow, restless, stray, not_booted, wrong_kind, .. } = self;
        not_one
            + billing
            + lost
            + two_at_work
            + stopped
            + endless
            + slow
            + restless
            + stray
            + not_booted
            + wrong_kind
    }

    fn add(&mut self, other: &Self) {
        self.cases += other.cases;
        self.not_one += other.not_one;
        self.billing += other.billing;
        self.lost += other.lost;
        self.two_at_work += other.two_at_work;
        self.stopped += other.stopped;
        self.endless += other.endless;
        self.slow += other.slow;
        self.restless += other.restless;
        self.stray += other.stray;
        self.not_booted += other.not_booted;
        self.wrong_kind += other.wrong_kind;
        self.trail = self.trail.take().or_else(|| other.trail.clone());
    }
}

struct Explorer<'a> {
    story: &'a Story,
    depth: usize,
    /// Behind which of the first faults the others are explored: 1 for each, 2 for every second.
    every: usize,
    /// How many branches of the case without faults have been taken, by whichever thread.
    claimed: &'a AtomicUsize,
    met: usize,
    found: Found,
}

/// Explores a story on all cores.
pub(super) fn explore_every(every: usize, rule: Rule, story: &Story, depth: usize) -> Found {
    let claimed = AtomicUsize::new(0);
    let threads = if depth > 1 { available_parallelism().map_or(1, usize::from) } else { 1 };
    let mut found = Found::default();
    std::thread::scope(|scope| {
        let one = || {
            let mut explorer =
                Explorer { story, depth, every, claimed: &claimed, met: 0, found: Found::default() };
            explorer.begin(rule);
            explorer.found
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
        workers.into_iter().for_each(|worker| found.add(&worker.join().expect("it doesn't panic")));
    });
    // Each thread has followed the case without faults.
    found.cases -= threads as u64 - 1;
    found
}

impl Explorer<'_> {
    fn begin(&mut self, rule: Rule) {
        let mut world = World::new(rule, vec![Memory::new(false)], self.story.failing);
        let run = Process::start(&mut world, 0, 0);
        let faults = self.depth;
        self.run(Case {
            world,
            run,
            laptops: 0,
            leg: 0,
            detour: false,
            runs: 1,
            faults,
            steps: 0,
            told: Vec::new(),
            trail: [None; 4],
        });
    }

    /// Follows one case to its end, branching off a new case for each fault that may strike on the way.
    fn run(&mut self, mut case: Case) {
        while let Some(leg) = self.story.legs.get(case.leg).copied() {
            let (Leg::Want(wish) | Leg::Once(wish)) = leg else {
                case.world.memories = vec![Memory::new(true)];
                case.told = case.world.cloud.detached();
                self.next_leg(&mut case);
                continue;
            };
            let wish = if case.detour { Wish::Up } else { wish };
            case.steps += 1;
            if case.steps > ENDLESS || case.world.cloud.vms.len() == MACHINES {
                self.found.endless += 1;
                break;
            }
            match case.run.step(&mut case.world, wish) {
                Doing::Effect(effect) => {
                    self.branch(&case, leg, &effect);
                    case.run.take(&mut case.world, &effect);
                    self.after(&mut case);
                }
                Doing::Waited => {}
                // It says for how long, so that is when it is tried again.
                Doing::Held(elsewhere) => case.world.cloud.pass((elsewhere.left + TICK - 1) / TICK),
                Doing::Reached(machine) => self.reached(&mut case, wish, machine),
                Doing::Stopped(_) => {
                    self.found.stopped += 1;
                    break;
                }
            }
        }
        self.found.lost += u64::from(case.world.cloud.lost != 0);
        self.found.cases += 1;
        if self.found.violations() > 0 && self.found.trail.is_none() {
            self.found.trail = Some(format!("{:?}", case.trail));
        }
    }

    /// A run that is over is followed by another.
    fn after(&mut self, case: &mut Case) {
        match case.run.over {
            None => return,
            Some(End::Told) => (case.detour, case.runs) = (true, 0),
            Some(End::Failed | End::Beaten) => {}
        }
        case.run_again(false);
        self.found.slow += u64::from(case.runs == RUNS + 1);
    }

    fn branch(&mut self, case: &Case, leg: Leg, effect: &Effect) {
        if case.faults == 0 {
            return;
        }
        let posts: &[Fault] = if matches!(effect, Effect::Post(_)) { &POSTS } else { &[] };
        for fault in ALWAYS.iter().chain(posts) {
            if case.faults == self.depth && !self.claim() {
                continue;
            }
            let mut other = case.fork(*fault);
            if case.faults == self.depth && !self.met.is_multiple_of(self.every) {
                other.faults = 0;
            }
            if !strike(&mut other, effect, *fault) {
                continue;
            }
            if let Fault::Killed { elsewhere, .. } | Fault::LateAndKilled { elsewhere } = fault {
                let torn = other.world.rule == Rule::TornRecord && matches!(effect, Effect::Put(..));
                if torn {
                    other.world.memories = vec![Memory::new(false)];
                }
                other.run_again(*elsewhere);
                other.leg += usize::from(matches!(leg, Leg::Once(_)) && !other.detour);
            }
            self.run(other);
        }
    }

    /// Takes the next branch of the case without faults, unless another thread has taken it.
    fn claim(&mut self) -> bool {
        self.met += 1;
        self.claimed.compare_exchange(self.met - 1, self.met, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Nothing is left to do: what there is now, in an hour, and for one more run.
    fn reached(&mut self, case: &mut Case, wish: Wish, machine: Option<usize>) {
        let record = case.world.memories[0].record.clone();
        let (mut later, one) = (case.world.clone(), usize::from(wish.is_up()));
        let mut alive = vec![later.cloud.alive()];
        for pause in [LAG + 1, HOUR] {
            later.cloud.pass(pause);
            alive.push(later.cloud.alive());
            let again = Process::start(&mut later, case.run.laptop, 0).step(&mut later, wish);
            self.found.restless += u64::from(!matches!(again, Doing::Reached(same) if same == machine));
        }
        let wrong = u64::from(alive.iter().any(|alive| *alive != one));
        *(if wish.is_up() { &mut self.found.not_one } else { &mut self.found.billing }) += wrong;
        self.judge_disks(&later.cloud, &record, &case.told);
        if let Some(number) = machine {
            self.work(case, wish, number);
        }
        if case.detour {
            (case.detour, case.runs) = (false, 0);
            return case.run_again(false);
        }
        self.next_leg(case);
    }

    /// Every disk that bills is the machine's or the one that the record says is waiting, and all work is on one
    /// of these two or saved.
    fn judge_disks(&mut self, cloud: &Cloud, record: &Record, told: &[usize]) {
        let machine = record.machine.as_ref().and_then(|machine| number(&machine.id));
        let attached = machine.map(|number| cloud.vms[number].disk);
        let waiting = record.disk.as_ref().map(|disk| disk_number(&disk.volume));
        let known = |disk: usize| Some(disk) == attached || Some(disk) == waiting || told.contains(&disk);
        self.found.stray += u64::from(!cloud.billing_disks().all(known));
        let bytes = |disk: Option<usize>| disk.map_or(0, |disk| cloud.disks[disk].bytes);
        // Where both the record and the machine are gone, its disk still has what was on it, if in the trash.
        let forgotten = self.story.legs.contains(&Leg::RecordLost);
        let still = cloud.disks.iter().filter(|disk| forgotten && disk.place != Place::Deleted);
        let somewhere =
            still.fold(cloud.saved | bytes(attached) | bytes(waiting), |all, disk| all | disk.bytes);
        self.found.lost += u64::from(cloud.lost == 0 && cloud.made & !somewhere != 0);
    }

    fn work(&mut self, case: &mut Case, wish: Wish, number: usize) {
        let cloud = &mut case.world.cloud;
        let vm = &mut cloud.vms[number];
        self.found.wrong_kind += u64::from(wish == Wish::Replace && vm.kind < 2);
        vm.worked = true;
        let disk = vm.disk;
        let unsaved = |other: &VmDisk| other.bytes & !cloud.saved != 0;
        let elsewhere = cloud.disks.iter().enumerate().any(|(other, one)| other != disk && unsaved(one));
        let known = !self.story.legs.contains(&Leg::RecordLost);
        self.found.not_booted += u64::from(known && elsewhere);
        cloud.work_on(disk);
        let at_work = cloud.vms.iter().filter(|vm| vm.worked && vm.is_alive()).count();
        self.found.two_at_work += u64::from(at_work > 1);
    }

    fn next_leg(&self, case: &mut Case) {
        (case.leg, case.runs) = (case.leg + 1, 0);
        case.run_again(true);
    }
}

/// Lets the fault happen; false where there is nothing that it could happen to.
fn strike(case: &mut Case, effect: &Effect, fault: Fault) -> bool {
    let (world, run) = (&mut case.world, &mut case.run);
    match (effect, fault) {
        (_, Fault::Killed { after: false, .. }) => {}
        (_, Fault::Killed { after: true, .. }) => drop(run.affect(world, effect)),
        (_, Fault::Evicted) => return world.cloud.evict(),
        (Effect::Post(intent), Fault::Error { after }) => {
            if after {
                run.affect(world, effect);
                if world.rule == Rule::PostsTwice {
                    run.affect(world, effect);
                }
            }
            run.unclear(world, intent);
        }
        (Effect::Post(intent), Fault::Late | Fault::LateAndKilled { .. }) => {
            let order = world.rule.order(intent);
            world.cloud.create_late(order);
            world.cloud.pass(1);
            run.unclear(world, intent);
        }
        (Effect::Post(_), Fault::SoldOut) => run.refused(Put::SoldOut),
        (_, Fault::Error { after: true }) => {
            run.take(world, effect);
            return run.over.is_none();
        }
        _ => {
            // The same bytes are sent again, however much later.
            if matches!(effect, Effect::Put(..)) {
                run.due.get_or_insert_with(|| effect.clone());
            }
            world.cloud.pass(1);
        }
    }
    true
}

/// How many faults may strike, and behind which of the first ones the others are explored. Where nobody asks for
/// more, all single faults and a sample of the pairs.
fn extent() -> (usize, usize) {
    let depth = std::env::var("DACAPO_DEPTH").ok().and_then(|depth| depth.parse().ok());
    depth.map_or((2, SAMPLE), |depth| (depth, 1))
}

/// One first fault in so many has second ones explored behind it in each test run.
const SAMPLE: usize = 10;

#[test]
fn no_fault_anywhere_makes_two_machines_leaves_a_bill_or_loses_work() {
    let ((depth, every), begun) = (extent(), std::time::Instant::now());
    let mut cases = 0;
    for story in &STORIES {
        let found = explore_every(every, Rule::Ours, story, depth);
        println!("{:>10} cases, {} violations: {}", found.cases, found.violations(), story.name);
        assert_eq!(found.violations(), 0, "{}: {found:?}", story.name);
        cases += found.cases;
    }
    let seconds = begun.elapsed().as_secs();
    println!("{cases:>10} cases of up to {depth} faults, 0 violations, {seconds} s");
    let enough = [20, 3_000, 20_000, 10_000_000][depth.min(3)];
    assert!(cases >= enough, "only {cases} cases: the exploration no longer explores");
}
