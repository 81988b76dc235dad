//! Every way for a run of the protocol to be cut off, explored against a model of the cloud.
//!
//! The model: no idempotency key; the list is three ticks old, so it shows a new machine late and a deleted
//! one for a while; a POST that timed out may arrive four ticks later; GET by id is exact. Every effect may
//! be cut off: killed before, killed after, an error before, an error after, a late arrival. Up to
//! `DACAPO_DEPTH` such faults (2 by default) strike one after another, in the healing runs as well; each new
//! run is another laptop's, which knows only the record.

use super::*;
use crate::facts::{Probe, Repo, Server};

const TICK: i64 = 20;
const LAG: i64 = 3;
const LATE: i64 = 4;
/// More steps than any run that makes progress takes.
const ENDLESS: usize = 600;

/// One leg of a story: what is wanted, and whether it is tried again after it was cut off.
#[derive(Clone, Copy)]
enum Leg {
    Up,
    UpOnce,
    Down,
    DownOnce,
    /// The machine goes, its disk stays.
    Keep,
    KeepOnce,
    /// The machine makes way for another kind.
    Replace,
    ReplaceOnce,
}

impl Leg {
    fn is_up(self) -> bool {
        matches!(self, Self::Up | Self::UpOnce | Self::Replace | Self::ReplaceOnce)
    }

    fn is_tried_once(self) -> bool {
        matches!(self, Self::UpOnce | Self::DownOnce | Self::KeepOnce | Self::ReplaceOnce)
    }

    /// What the plan asks of the protocol: a machine of another kind than is wanted goes first.
    fn goal(self, record: &Record) -> Goal {
        let other = Machine { r#type: "other".to_owned(), ..asked() };
        match self {
            Self::Up | Self::UpOnce => running(),
            Self::Down | Self::DownOnce => Goal::Absent,
            Self::Keep | Self::KeepOnce => Goal::Kept,
            Self::Replace | Self::ReplaceOnce => {
                let there = record.machine.as_ref().and_then(|machine| machine.asked.as_ref());
                let differs = there.is_some_and(|there| *there != other);
                if differs { Goal::Absent } else { Goal::Running(Box::new(other)) }
            }
        }
    }
}

/// The rule under test: ours, and weaker ones.
#[derive(Clone, Copy, PartialEq)]
enum Rule {
    Ours,
    /// Absence is believed after so many ticks.
    Window(i64),
    /// The POST is sent without a note of it.
    NoIntent,
    /// A machine that is gone is forgotten at once.
    NoGone,
    /// A disk that was kept is forgotten.
    NoDisk,
    /// A machine that is to leave its disk is deleted with it.
    DeleteDisk,
    /// The id is noted only after the machine has come up.
    LateId,
}

#[derive(Clone)]
struct Story {
    legs: &'static [Leg],
    /// Which machines, in the order of their creation, end in `no_capacity`.
    failing: &'static [usize],
}

#[derive(Clone)]
struct Vm {
    nonce: String,
    fails: bool,
    made: i64,
    ended: Option<i64>,
    off: bool,
    /// Somebody of ours worked on it.
    worked: bool,
    disk: usize,
    other_kind: bool,
}

#[derive(Clone, Default)]
struct VmDisk {
    /// It is gone, or goes with its machine.
    deleted: bool,
    /// Work on it is nowhere else.
    unsaved: bool,
}

#[derive(Clone, Default)]
struct Cloud {
    tick: i64,
    vms: Vec<Vm>,
    disks: Vec<VmDisk>,
    late: Vec<(i64, Intent)>,
    failing: &'static [usize],
}

impl Cloud {
    fn now(&self) -> Timestamp {
        at(self.tick * TICK)
    }

    fn pass(&mut self, ticks: i64) {
        for _ in 0..ticks {
            self.tick += 1;
            let (arrived, late) =
                std::mem::take(&mut self.late).into_iter().partition(|(when, _)| *when <= self.tick);
            self.late = late;
            let arrived: Vec<(i64, Intent)> = arrived;
            arrived.into_iter().for_each(|(_, intent)| drop(self.create(&intent)));
        }
    }

    /// Takes an order; none for one that would boot a disk which a machine still has, or which is gone.
    fn create(&mut self, intent: &Intent) -> Option<String> {
        let disk = match &intent.boots {
            Some(disk) => disk_number(disk),
            None => {
                self.disks.push(VmDisk::default());
                self.disks.len() - 1
            }
        };
        let held = self.vms.iter().any(|vm| vm.disk == disk && self.is_there(vm));
        if held || self.disks[disk].deleted {
            return None;
        }
        let fails = self.failing.contains(&self.vms.len());
        let (made, ended) = (self.tick, None);
        let other_kind = intent.asked.r#type == "other";
        let nonce = intent.nonce.clone();
        self.vms.push(Vm { nonce, fails, made, ended, off: false, worked: false, disk, other_kind });
        Some((self.vms.len() - 1).to_string())
    }

    fn is_there(&self, vm: &Vm) -> bool {
        vm.ended.is_none_or(|ended| ended >= self.tick)
    }

    /// The disks that bill: those that no machine takes with it.
    fn billing_disks(&self) -> Vec<String> {
        (0..self.disks.len()).filter(|disk| !self.disks[*disk].deleted).map(disk_id).collect()
    }

    fn shown(&self, number: usize, tick: i64) -> Option<Instance> {
        let vm = &self.vms[number];
        if vm.made > tick {
            return None;
        }
        let status = match vm.ended {
            Some(ended) if ended < tick => Status::Discontinued,
            Some(ended) if ended == tick => Status::Deleting,
            _ if vm.made == tick => Status::Provisioning,
            _ if vm.fails => Status::Failed("no_capacity".to_owned()),
            _ if vm.off => Status::Offline,
            _ => Status::Running,
        };
        Some(Instance {
            created_at: at(vm.made * TICK),
            tags: BTreeMap::new(),
            description: description("lesson3", "abcd", &vm.nonce),
            os_volume: Some(disk_id(vm.disk)),
            volumes: vec![disk_id(vm.disk)],
            ..instance(&number.to_string(), "", status)
        })
    }

    fn list(&self) -> Vec<Instance> {
        let shown = (0..self.vms.len()).filter_map(|number| self.shown(number, self.tick - LAG));
        shown.filter(|instance| instance.status != Status::Discontinued).collect()
    }

    fn exact(&self, id: &str) -> Option<Instance> {
        self.shown(id.parse().ok()?, self.tick)
    }

    fn alive(&self) -> usize {
        self.vms.iter().filter(|vm| vm.ended.is_none()).count()
    }
}

fn disk_id(number: usize) -> String {
    format!("disk-{number}")
}

fn disk_number(id: &str) -> usize {
    id.strip_prefix("disk-").and_then(|number| number.parse().ok()).expect("the model's own id")
}

/// What a run is about to do to the outside.
enum Effect {
    Write(Box<Record>),
    Post(Intent),
    ShutDown(String),
    Delete { id: String, keeps: bool },
}

#[derive(Clone, Copy)]
enum Fault {
    KilledBefore,
    KilledAfter,
    ErrorBefore,
    ErrorAfter,
    Late,
    LateAndKilled,
}

/// One world with one run in it, on the way to its end.
struct Case {
    cloud: Cloud,
    record: Record,
    hand: Hand,
    laptops: u32,
    leg: usize,
    faults: usize,
    /// The id that a broken rule knows and hasn't noted.
    unnoted: Option<String>,
    steps: usize,
}

impl Case {
    fn fork(&self, faults: usize) -> Self {
        let hand = Hand { nonce: self.hand.nonce.clone(), noted: self.hand.noted, ..Hand::default() };
        let (cloud, record) = (self.cloud.clone(), self.record.clone());
        Self { cloud, record, hand, faults, unnoted: self.unnoted.clone(), ..*self }
    }

    fn fresh_laptop(&mut self) {
        self.laptops += 1;
        self.unnoted = None;
        self.hand = Hand { nonce: format!("n{}", self.laptops), ..Hand::default() };
    }
}

/// What exploring found.
#[derive(Debug, Default)]
struct Found {
    cases: u64,
    not_one: u64,
    billing: u64,
    lost: u64,
    two_at_work: u64,
    stopped: u64,
    endless: u64,
    /// A disk bills that the record doesn't know of.
    stray: u64,
    /// A disk was kept, and the next machine has another.
    not_booted: u64,
    /// The machine is of another kind than was asked for.
    wrong_kind: u64,
}

impl Found {
    fn violations(&self) -> u64 {
        self.not_one
            + self.billing
            + self.lost
            + self.two_at_work
            + self.stopped
            + self.endless
            + self.stray
            + self.not_booted
            + self.wrong_kind
    }
}

struct Explorer {
    rule: Rule,
    story: Story,
    clean: Server,
    found: Found,
}

fn explore(rule: Rule, story: &Story, depth: usize) -> Found {
    let mut explorer =
        Explorer { rule, story: story.clone(), clean: clean_server(), found: Found::default() };
    let mut case = Case {
        cloud: Cloud { failing: story.failing, ..Cloud::default() },
        record: empty(),
        hand: Hand::default(),
        laptops: 0,
        leg: 0,
        faults: depth,
        unnoted: None,
        steps: 0,
    };
    case.fresh_laptop();
    explorer.run(case);
    explorer.found
}

fn clean_server() -> Server {
    Server::Seen(Box::new(Probe {
        python: String::new(),
        git: None,
        gpu: None,
        home: String::new(),
        disk_free: 0,
        set_up: true,
        checkout: None,
        artifacts: BTreeMap::new(),
        files: Some(Vec::new()),
        more_files: 0,
        processes: Vec::new(),
        notebook: None,
    }))
}

impl Explorer {
    /// Follows one case to its end, branching off a new case for each fault that may strike on the way.
    fn run(&mut self, mut case: Case) {
        while let Some(leg) = self.story.legs.get(case.leg).copied() {
            case.steps += 1;
            if case.steps > ENDLESS {
                self.found.endless += 1;
                break;
            }
            let Some(effect) = self.step(&mut case, leg) else { continue };
            self.branch(&case, leg, &effect);
            self.carry_out(&mut case, effect);
        }
        self.found.cases += 1;
    }

    /// Asks for the next step; the effect that it has on the outside is returned, not carried out.
    fn step(&mut self, case: &mut Case, leg: Leg) -> Option<Effect> {
        let list = case.cloud.list();
        let recorded = case.record.machine.as_ref().and_then(|machine| case.cloud.exact(&machine.id));
        let view = View { now: case.cloud.now(), list: &list, recorded: recorded.as_ref() };
        let goal = leg.goal(&case.record);
        if let Some(id) = case.unnoted.clone() {
            return self.note_late(case, id);
        }
        let window = match self.rule {
            Rule::Window(ticks) => SignedDuration::from_secs(ticks * TICK),
            _ => QUIET_WINDOW,
        };
        match next_within(window, &case.record, view, &goal, &mut case.hand) {
            Step::Write(record) => Some(self.write(case, record)),
            Step::Post(intent) => Some(Effect::Post(intent)),
            Step::ShutDown(id) => Some(Effect::ShutDown(id)),
            Step::Delete(proof) => {
                let keeps = proof.keeps_disk() && self.rule != Rule::DeleteDisk;
                Some(Effect::Delete { id: proof.machine().to_owned(), keeps })
            }
            Step::Wait(_) => {
                case.cloud.pass(1);
                None
            }
            Step::Prove => {
                self.prove(case, &goal);
                None
            }
            Step::Done(machine) => self.done(case, leg, machine),
            Step::Stop(_) => {
                self.found.stopped += 1;
                case.leg = self.story.legs.len();
                None
            }
        }
    }

    fn write(&self, case: &mut Case, mut record: Box<Record>) -> Effect {
        match self.rule {
            Rule::NoGone => record.gone.clear(),
            Rule::NoDisk => record.disk = None,
            Rule::NoIntent if record.intent.is_some() => {
                case.hand.noted = None;
                return Effect::Post(record.intent.expect("it was looked at"));
            }
            _ => {}
        }
        Effect::Write(record)
    }

    fn note_late(&self, case: &mut Case, id: String) -> Option<Effect> {
        let up = case.cloud.exact(&id).is_some_and(|vm| vm.status == Status::Running);
        if !up {
            case.cloud.pass(1);
            return None;
        }
        case.unnoted = None;
        Some(Effect::Write(Box::new(case.record.clone().with_created(id))))
    }

    /// Saves the work and takes the proof, as apply does; where the disk stays nothing is saved.
    fn prove(&self, case: &mut Case, goal: &Goal) {
        let Some(machine) = &case.record.machine else { return };
        let number: usize = machine.id.parse().expect("the model's ids are numbers");
        let keeps = *goal == Goal::Kept;
        let disk = case.cloud.vms[number].disk;
        case.cloud.disks[disk].unsaved &= keeps;
        let evidence = guard::Evidence {
            machine: &machine.id,
            taken_at: case.cloud.now(),
            server: &self.clean,
            repo: &Repo::default(),
            url_matches: true,
            artifacts: &BTreeMap::new(),
            stored: &[],
        };
        let judge = if keeps { guard::prove_kept } else { guard::prove };
        case.hand.proof = Some(judge(&evidence, &[]).expect("nothing on it would be lost"));
    }

    /// The protocol says done: a machine that came up is logged in to and worked on, then the leg is over.
    fn done(&mut self, case: &mut Case, leg: Leg, machine: Option<String>) -> Option<Effect> {
        let Some(id) = machine else {
            if matches!(leg, Leg::Replace | Leg::ReplaceOnce) {
                return None;
            }
            let mut later = case.cloud.clone();
            later.pass(3600 / TICK);
            self.found.billing += u64::from(leg.is_up() || later.alive() > 0);
            self.found_stray(&later, &case.record);
            self.next_leg(case);
            return None;
        };
        if case.cloud.exact(&id).is_none_or(|vm| vm.status != Status::Running) {
            // A machine that was shut down is started, as the plan says.
            case.cloud.vms[id.parse::<usize>().expect("the model's ids are numbers")].off = false;
            case.cloud.pass(1);
            return None;
        }
        let mut record = case.record.clone();
        let rented = record.machine.as_mut().expect("it is done");
        if !rented.login {
            rented.login = true;
            return Some(Effect::Write(Box::new(record)));
        }
        self.work(case, leg, &id);
        let mut later = case.cloud.clone();
        later.pass(LAG + LATE + 1);
        self.found.not_one += u64::from(later.alive() != 1);
        self.found_stray(&later, &case.record);
        self.next_leg(case);
        None
    }

    /// Every disk that bills is the machine's or the one that the record says is waiting.
    fn found_stray(&mut self, cloud: &Cloud, record: &Record) {
        let machine = record.machine.as_ref().and_then(|machine| machine.id.parse::<usize>().ok());
        let attached = machine.map(|number| disk_id(cloud.vms[number].disk));
        let waiting = record.disk.as_ref().map(|disk| disk.volume.clone());
        let known = |disk: &String| Some(disk) == attached.as_ref() || Some(disk) == waiting.as_ref();
        self.found.stray += u64::from(!cloud.billing_disks().iter().all(known));
    }

    fn work(&mut self, case: &mut Case, leg: Leg, id: &str) {
        let number: usize = id.parse().expect("the model's ids are numbers");
        let vm = &mut case.cloud.vms[number];
        let wanted = matches!(leg, Leg::Replace | Leg::ReplaceOnce);
        self.found.wrong_kind += u64::from(wanted && !vm.other_kind);
        let disk = vm.disk;
        vm.worked = true;
        let elsewhere = |(number, other): (usize, &VmDisk)| number != disk && other.unsaved;
        self.found.not_booted += u64::from(case.cloud.disks.iter().enumerate().any(elsewhere));
        case.cloud.disks[disk].unsaved = true;
        let at_work = case.cloud.vms.iter().filter(|vm| vm.worked && vm.ended.is_none()).count();
        self.found.two_at_work += u64::from(at_work > 1);
    }

    fn next_leg(&self, case: &mut Case) {
        case.leg += 1;
        case.fresh_laptop();
    }

    fn branch(&mut self, case: &Case, leg: Leg, effect: &Effect) {
        let Some(faults) = case.faults.checked_sub(1) else { return };
        let posts = matches!(effect, Effect::Post(_));
        let late = [Fault::Late, Fault::LateAndKilled];
        let always = [Fault::KilledBefore, Fault::KilledAfter, Fault::ErrorBefore, Fault::ErrorAfter];
        for fault in always.into_iter().chain(late.into_iter().filter(|_| posts)) {
            let mut other = case.fork(faults);
            self.strike(&mut other, effect, fault);
            if matches!(fault, Fault::KilledBefore | Fault::KilledAfter | Fault::LateAndKilled) {
                other.fresh_laptop();
                other.leg += usize::from(leg.is_tried_once());
            }
            self.run(other);
        }
    }

    fn strike(&mut self, case: &mut Case, effect: &Effect, fault: Fault) {
        match (effect, fault) {
            (_, Fault::KilledBefore) => {}
            (_, Fault::ErrorBefore) => case.cloud.pass(1),
            (Effect::Post(intent), Fault::Late | Fault::LateAndKilled) => {
                case.cloud.late.push((case.cloud.tick + LATE, intent.clone()));
                case.cloud.pass(1);
            }
            (effect, _) => drop(self.take_effect(case, effect)),
        }
    }

    /// The effect, and the answer to it.
    fn carry_out(&mut self, case: &mut Case, effect: Effect) {
        let answer = self.take_effect(case, &effect);
        let Effect::Post(intent) = effect else { return };
        // Clearly refused: the intent is closed, and the run ends with an error; the next one goes on.
        let Some(id) = answer else {
            case.record.intent = None;
            return case.fresh_laptop();
        };
        if self.rule == Rule::LateId {
            case.unnoted = Some(id);
            return;
        }
        let posted = Record { intent: Some(intent), ..case.record.clone() };
        let effect = Effect::Write(Box::new(posted.with_created(id)));
        let leg = self.story.legs[case.leg];
        self.branch(case, leg, &effect);
        self.take_effect(case, &effect);
    }

    fn take_effect(&mut self, case: &mut Case, effect: &Effect) -> Option<String> {
        let answer = match effect {
            Effect::Write(record) => {
                case.record = (**record).clone();
                None
            }
            Effect::Post(intent) => case.cloud.create(intent),
            Effect::ShutDown(id) => {
                case.cloud.vms[id.parse::<usize>().expect("the model's ids are numbers")].off = true;
                None
            }
            Effect::Delete { id, keeps } => {
                let number: usize = id.parse().expect("the model's ids are numbers");
                let tick = case.cloud.tick;
                let vm = &mut case.cloud.vms[number];
                // A machine that is being built can't be deleted.
                if vm.ended.is_none() && vm.made < tick {
                    vm.ended = Some(tick + 1);
                    let disk = &mut case.cloud.disks[vm.disk];
                    disk.deleted = !keeps;
                    self.found.lost += u64::from(disk.unsaved && !keeps);
                }
                None
            }
        };
        case.cloud.pass(1);
        answer
    }
}

const STORIES: [(&str, Story); 13] = [
    ("up, then down", Story { legs: &[Leg::Up, Leg::Down], failing: &[] }),
    ("up cut off, then down", Story { legs: &[Leg::UpOnce, Leg::Down], failing: &[] }),
    ("up and down, twice", Story { legs: &[Leg::Up, Leg::Down, Leg::Up, Leg::Down], failing: &[] }),
    ("down cut off, then up", Story { legs: &[Leg::Up, Leg::DownOnce, Leg::Up, Leg::Down], failing: &[] }),
    ("no capacity at first", Story { legs: &[Leg::Up, Leg::Down], failing: &[0, 1] }),
    ("no capacity, up cut off, then down", Story { legs: &[Leg::UpOnce, Leg::Down], failing: &[0] }),
    (
        "a disk kept, booted and ended",
        Story { legs: &[Leg::Up, Leg::Keep, Leg::Up, Leg::Down], failing: &[] },
    ),
    ("keeping cut off, then up", Story { legs: &[Leg::Up, Leg::KeepOnce, Leg::Up, Leg::Down], failing: &[] }),
    ("keeping cut off, then down", Story { legs: &[Leg::Up, Leg::KeepOnce, Leg::Down], failing: &[] }),
    ("booting cut off", Story { legs: &[Leg::Up, Leg::Keep, Leg::UpOnce, Leg::Up, Leg::Down], failing: &[] }),
    ("no capacity for a kept disk", Story { legs: &[Leg::Up, Leg::Keep, Leg::Up, Leg::Down], failing: &[1] }),
    ("replaced", Story { legs: &[Leg::Up, Leg::Replace, Leg::Down], failing: &[] }),
    ("replacing cut off, then down", Story { legs: &[Leg::Up, Leg::ReplaceOnce, Leg::Down], failing: &[] }),
];

fn depth() -> usize {
    std::env::var("DACAPO_DEPTH").ok().and_then(|depth| depth.parse().ok()).unwrap_or(2)
}

#[test]
fn no_fault_anywhere_makes_two_machines_leaves_a_bill_or_loses_work() {
    let mut cases = 0;
    for (name, story) in STORIES {
        let found = explore(Rule::Ours, &story, depth());
        report(name, &found);
        assert_eq!(found.violations(), 0, "{name}: {found:?}");
        cases += found.cases;
    }
    report("all", &cases);
    assert!(depth() < 2 || cases > 9_000, "only {cases} cases: the exploration no longer explores");
}

/// A test that can't fail proves nothing: each broken rule is found out.
#[test]
fn every_broken_rule_is_found_out() {
    let found = |rule, story: usize| explore(rule, &STORIES[story].1, depth().min(2));
    let short = Rule::Window(LAG + LATE - 1);
    assert!(found(short, 1).billing > 0, "a window too short leaves a bill after `down`");
    assert!(found(short, 0).not_one > 0, "a window too short makes two machines");
    assert!(found(Rule::NoIntent, 0).not_one > 0, "a POST without a note is repeated");
    assert!(found(Rule::NoIntent, 1).billing > 0, "a POST without a note is forgotten");
    assert!(found(Rule::NoGone, 2).stopped > 0, "a machine that is gone looks alive while the list lags");
    let found_at_once = |rule| explore(rule, &STORIES[6].1, 0);
    assert!(found_at_once(Rule::NoDisk).stray > 0, "a kept disk that is forgotten bills unseen");
    assert!(found_at_once(Rule::NoDisk).not_booted > 0, "a kept disk that is forgotten isn't booted again");
    assert!(
        found_at_once(Rule::DeleteDisk).lost > 0,
        "a disk that goes with its machine takes the work along"
    );
    assert_eq!(found(Rule::Window(LAG + LATE + 1), 1).violations(), 0, "the window needs no more than this");
}

/// Noting the id at once shortens the wait; that nothing goes wrong without it is the intent's doing.
#[test]
fn an_id_that_is_noted_late_is_healed_by_the_intent() {
    for (name, story) in &STORIES[..2] {
        let found = explore(Rule::LateId, story, depth().min(2));
        assert_eq!(found.violations(), 0, "{name}: {found:?}");
    }
}

/// Shown with `--nocapture`.
fn report(what: &str, found: &dyn std::fmt::Debug) {
    println!("{what} (depth {}): {found:?}", depth());
}
