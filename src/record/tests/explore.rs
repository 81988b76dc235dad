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
}

impl Leg {
    fn is_up(self) -> bool {
        matches!(self, Self::Up | Self::UpOnce)
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
    /// The id is noted only after the machine has come up.
    LateId,
}

#[derive(Clone)]
struct Story {
    legs: &'static [Leg],
    /// How many of the first machines end in `no_capacity`.
    failing: usize,
}

#[derive(Clone)]
struct Vm {
    nonce: String,
    fails: bool,
    made: i64,
    ended: Option<i64>,
    /// Somebody of ours worked on it.
    worked: bool,
    /// Its work is nowhere else.
    unsaved: bool,
}

#[derive(Clone, Default)]
struct Cloud {
    tick: i64,
    vms: Vec<Vm>,
    late: Vec<(i64, String)>,
    failing: usize,
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
            let arrived: Vec<(i64, String)> = arrived;
            arrived.into_iter().for_each(|(_, nonce)| drop(self.create(nonce)));
        }
    }

    fn create(&mut self, nonce: String) -> String {
        let fails = self.vms.len() < self.failing;
        let (made, ended) = (self.tick, None);
        self.vms.push(Vm { nonce, fails, made, ended, worked: false, unsaved: false });
        (self.vms.len() - 1).to_string()
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
            _ => Status::Running,
        };
        Some(Instance {
            created_at: at(vm.made * TICK),
            tags: BTreeMap::new(),
            description: description("lesson3", "abcd", &vm.nonce),
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

/// What a run is about to do to the outside.
enum Effect {
    Write(Box<Record>),
    Post(Intent),
    Delete(String),
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
        let hand = Hand { nonce: self.hand.nonce.clone(), noted: self.hand.noted, proof: None };
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
}

impl Found {
    fn violations(&self) -> u64 {
        self.not_one + self.billing + self.lost + self.two_at_work + self.stopped + self.endless
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
        let goal = if leg.is_up() { running() } else { Goal::Absent };
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
            Step::Delete(proof) => Some(Effect::Delete(proof.machine().to_owned())),
            Step::Wait(_) => {
                case.cloud.pass(1);
                None
            }
            Step::Prove => {
                self.prove(case);
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

    /// Saves the work and takes the proof, as apply does.
    fn prove(&self, case: &mut Case) {
        let Some(machine) = &case.record.machine else { return };
        let number: usize = machine.id.parse().expect("the model's ids are numbers");
        case.cloud.vms[number].unsaved = false;
        let evidence = guard::Evidence {
            machine: &machine.id,
            taken_at: case.cloud.now(),
            server: &self.clean,
            repo: &Repo::default(),
            url_matches: true,
            artifacts: &BTreeMap::new(),
            stored: &[],
        };
        case.hand.proof = Some(guard::prove(&evidence, &[]).expect("it holds nothing"));
    }

    /// The protocol says done: a machine that came up is logged in to and worked on, then the leg is over.
    fn done(&mut self, case: &mut Case, leg: Leg, machine: Option<String>) -> Option<Effect> {
        let Some(id) = machine else {
            let mut later = case.cloud.clone();
            later.pass(3600 / TICK);
            self.found.billing += u64::from(leg.is_up() || later.alive() > 0);
            self.next_leg(case);
            return None;
        };
        if case.cloud.exact(&id).is_none_or(|vm| vm.status != Status::Running) {
            case.cloud.pass(1);
            return None;
        }
        let mut record = case.record.clone();
        let rented = record.machine.as_mut().expect("it is done");
        if !rented.login {
            rented.login = true;
            return Some(Effect::Write(Box::new(record)));
        }
        self.work(case, &id);
        let mut later = case.cloud.clone();
        later.pass(LAG + LATE + 1);
        self.found.not_one += u64::from(later.alive() != 1);
        self.next_leg(case);
        None
    }

    fn work(&mut self, case: &mut Case, id: &str) {
        let number: usize = id.parse().expect("the model's ids are numbers");
        let vm = &mut case.cloud.vms[number];
        (vm.worked, vm.unsaved) = (true, true);
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
                other.leg += usize::from(matches!(leg, Leg::UpOnce | Leg::DownOnce));
            }
            self.run(other);
        }
    }

    fn strike(&mut self, case: &mut Case, effect: &Effect, fault: Fault) {
        match (effect, fault) {
            (_, Fault::KilledBefore) => {}
            (_, Fault::ErrorBefore) => case.cloud.pass(1),
            (Effect::Post(intent), Fault::Late | Fault::LateAndKilled) => {
                case.cloud.late.push((case.cloud.tick + LATE, intent.nonce.clone()));
                case.cloud.pass(1);
            }
            (effect, _) => drop(self.take_effect(case, effect)),
        }
    }

    /// The effect, and the answer to it.
    fn carry_out(&mut self, case: &mut Case, effect: Effect) {
        let answer = self.take_effect(case, &effect);
        let (Effect::Post(intent), Some(id)) = (effect, answer) else { return };
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
            Effect::Post(intent) => Some(case.cloud.create(intent.nonce.clone())),
            Effect::Delete(id) => {
                let number: usize = id.parse().expect("the model's ids are numbers");
                let tick = case.cloud.tick;
                let vm = &mut case.cloud.vms[number];
                // A machine that is being built can't be deleted.
                if vm.ended.is_none() && vm.made < tick {
                    vm.ended = Some(tick + 1);
                    self.found.lost += u64::from(vm.unsaved);
                }
                None
            }
        };
        case.cloud.pass(1);
        answer
    }
}

const STORIES: [(&str, Story); 6] = [
    ("up, then down", Story { legs: &[Leg::Up, Leg::Down], failing: 0 }),
    ("up cut off, then down", Story { legs: &[Leg::UpOnce, Leg::Down], failing: 0 }),
    ("up and down, twice", Story { legs: &[Leg::Up, Leg::Down, Leg::Up, Leg::Down], failing: 0 }),
    ("down cut off, then up", Story { legs: &[Leg::Up, Leg::DownOnce, Leg::Up, Leg::Down], failing: 0 }),
    ("no capacity at first", Story { legs: &[Leg::Up, Leg::Down], failing: 2 }),
    ("no capacity, up cut off, then down", Story { legs: &[Leg::UpOnce, Leg::Down], failing: 1 }),
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
