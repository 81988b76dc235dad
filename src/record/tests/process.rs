//! A run of `apply` as the explorations see it: `next`, carried out on the model as `apply` does on the worlds.

use std::rc::Rc;
use std::sync::LazyLock;

use super::cloud::*;
use super::rules::Rule;
use super::*;
use crate::facts::{Probe, Repo, Server};

/// What is wanted of the session.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Wish {
    Up,
    Down,
    /// The machine goes, its disk stays.
    Keep,
    /// The machine makes way for another kind.
    Replace,
}

impl Wish {
    pub(super) fn is_up(self) -> bool {
        matches!(self, Self::Up | Self::Replace)
    }

    /// The kinds of machine that agree with the spec.
    fn kinds(self) -> std::ops::Range<usize> {
        if self == Self::Replace { 2..4 } else { 0..4 }
    }

    /// What the plan asks of the protocol: a machine of another kind than is wanted goes first.
    fn goal(self, record: &Record, candidate: usize) -> &'static Goal {
        let first = if self == Self::Replace { 2 } else { 0 };
        match self {
            Self::Down => &Goal::Absent,
            Self::Keep => &Goal::Kept,
            Self::Up => &GOALS[candidate],
            Self::Replace if kind(record).is_some_and(|kind| !self.kinds().contains(&kind)) => &Goal::Absent,
            Self::Replace => &GOALS[first + candidate],
        }
    }
}

static GOALS: LazyLock<[Goal; 4]> = LazyLock::new(|| {
    KINDS.map(|kind| Goal::Running(Box::new(Machine { r#type: kind.to_owned(), ..asked() })))
});

fn kind(record: &Record) -> Option<usize> {
    let asked = record.machine.as_ref()?.asked.as_ref()?;
    KINDS.iter().position(|kind| *kind == asked.r#type)
}

/// Where a record lies: in the store, or on one laptop.
#[derive(Clone)]
pub(super) struct Memory {
    pub(super) record: Rc<Record>,
    /// 0 where none was written yet.
    pub(super) rev: u32,
    pub(super) written: i64,
    /// An earlier one may have been lost.
    pub(super) doubted: bool,
}

impl Memory {
    pub(super) fn new(doubted: bool) -> Self {
        Self { record: Rc::new(empty()), rev: 0, written: 0, doubted }
    }
}

/// Everything outside of the runs.
#[derive(Clone)]
pub(super) struct World {
    pub(super) cloud: Cloud,
    /// One record that all laptops share or, without a store, one for each.
    pub(super) memories: Vec<Memory>,
    pub(super) nonces: u32,
    pub(super) rule: Rule,
}

impl World {
    pub(super) fn new(rule: Rule, memories: Vec<Memory>, failing: &'static [usize]) -> Self {
        Self { cloud: Cloud::new(failing), memories, nonces: 0, rule }
    }

    /// Whether nobody has a lease any more, whoever took it.
    pub(super) fn has_run_out(&self) -> bool {
        (self.cloud.tick - self.memories[0].written) * TICK >= LEASE.as_secs()
    }

    /// Who has the lease now.
    pub(super) fn holder(&self) -> Option<Elsewhere> {
        let memory = &self.memories[0];
        memory.record.holder((self.cloud.tick - memory.written) * TICK)
    }

    fn word(&mut self) -> String {
        self.nonces += 1;
        format!("n{}", self.nonces)
    }
}

/// Why the record is written.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Put {
    Take,
    Renew,
    Release,
    /// As the protocol says.
    Step,
    /// The id of the machine that was created.
    Created,
    /// An order was refused: the next candidate's turn.
    SoldOut,
    /// An order was refused for good.
    Refused,
}

/// What a run is about to do to the outside.
#[derive(Clone)]
pub(super) enum Effect {
    Put(Rc<Record>, Put),
    Post(Rc<Intent>),
    ShutDown(usize),
    Start(usize),
    Restore(usize),
    Delete { number: usize, keeps: bool },
}

/// What a run does next.
pub(super) enum Doing {
    Effect(Effect),
    /// It looked, or time has passed.
    Waited,
    /// Nothing is left to do; the machine, where there is to be one.
    Reached(Option<usize>),
    /// Somebody else has the lease.
    Held(Elsewhere),
    /// A person has to decide; none where something would be touched that isn't ours.
    Stopped(Option<Stop>),
}

#[derive(Clone, Copy, PartialEq)]
enum Phase {
    Plan,
    Act,
    Leave,
}

/// How a run ended that is over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum End {
    /// Running it again may do.
    Failed,
    /// It has told that the machine has to be brought up first: it vanished, or it is off.
    Told,
    /// Somebody else wrote the record.
    Beaten,
}

pub(super) struct Process {
    pub(super) laptop: u32,
    memory: usize,
    record: Rc<Record>,
    rev: u32,
    hand: Hand,
    phase: Phase,
    candidate: usize,
    /// A machine that failed is being removed, to make way for the next candidate.
    removing: bool,
    /// The created machine is waited for.
    building: bool,
    unclear: usize,
    /// How many ticks were waited for a disk or a machine.
    waited: usize,
    /// When the proof in hand was taken.
    proven: Timestamp,
    /// The lease was renewed to make sure that nobody else has it.
    sure: bool,
    /// What comes next whatever the protocol says, and what comes after that.
    pub(super) due: Option<Effect>,
    after: Option<Effect>,
    /// The id that a broken rule knows and hasn't noted.
    unnoted: Option<usize>,
    leaves: Option<End>,
    pub(super) over: Option<End>,
}

/// How many orders without a clear answer one run sends.
const ORDERS: usize = 3;
/// How many ticks a disk may take to be let go of once its machine is gone: five minutes.
const DETACHED: usize = 15;
/// How many ticks a machine may take until it is built: half an hour.
const BOOT: usize = 90;
const CANDIDATES: usize = 2;

impl Process {
    pub(super) fn start(world: &mut World, laptop: u32, memory: usize) -> Self {
        Self {
            laptop,
            memory,
            record: world.memories[memory].record.clone(),
            rev: 0,
            hand: Hand { nonce: world.word(), ..Hand::default() },
            phase: Phase::Plan,
            candidate: 0,
            removing: false,
            building: false,
            unclear: 0,
            waited: 0,
            proven: world.cloud.now(),
            sure: false,
            due: None,
            after: None,
            unnoted: None,
            leaves: None,
            over: None,
        }
    }

    /// The same run on another branch.
    pub(super) fn fork(&self) -> Self {
        let Hand { nonce, noted, host_key, proof } = &self.hand;
        let proof = proof.as_ref().map(|proof| prove(proof.machine(), self.proven, proof.keeps_disk()));
        let hand = Hand { nonce: nonce.clone(), noted: *noted, host_key: host_key.clone(), proof };
        let (record, due, after) = (self.record.clone(), self.due.clone(), self.after.clone());
        Self { record, hand, due, after, ..*self }
    }

    pub(super) fn has_the_lease(&self) -> bool {
        self.phase != Phase::Plan
    }

    /// Whether nobody else has written the record since.
    pub(super) fn is_newest(&self, world: &World) -> bool {
        self.rev == world.memories[self.memory].rev
    }

    /// Whether time may pass before this: not where the lease was just renewed for it, nor between the look that
    /// an order rests on and the order.
    pub(super) fn may_be_left_before(&self, world: &World, effect: &Effect) -> bool {
        match effect {
            Effect::Put(..) => true,
            Effect::Post(_) => false,
            _ => world.rule == Rule::NotRenewed,
        }
    }

    /// The machine that is worked on once `up` has given the lease back by this effect.
    pub(super) fn given_over(&self, effect: &Effect, wish: Wish) -> Option<usize> {
        let Effect::Put(_, Put::Release) = effect else { return None };
        let machine = self.record.machine.as_ref().filter(|_| self.over.is_none() && wish.is_up())?;
        number(&machine.id)
    }

    /// Goes on to the next effect, which is returned and not carried out.
    pub(super) fn step(&mut self, world: &mut World, wish: Wish) -> Doing {
        if let Some(effect) = &self.due {
            return Doing::Effect(effect.clone());
        }
        match self.phase {
            Phase::Plan => self.plan(world, wish),
            Phase::Act => self.act(world, wish),
            Phase::Leave => {
                let record = Record { lease: None, ..(*self.record).clone() };
                Doing::Effect(Effect::Put(Rc::new(record), Put::Release))
            }
        }
    }

    /// Reads the record, and takes the lease if anything is to be done.
    fn plan(&mut self, world: &mut World, wish: Wish) -> Doing {
        let now = world.cloud.now();
        let memory = &mut world.memories[self.memory];
        if memory.rev == 0 && memory.doubted {
            memory.record = Rc::new(Record { doubt: Some(now), ..(*memory.record).clone() });
        }
        (self.record, self.rev) = (memory.record.clone(), memory.rev);
        let age = (world.cloud.tick - memory.written) * TICK;
        if let Some(reached) = self.reached(world, wish) {
            return reached;
        }
        let age = match world.rule {
            Rule::LeaseIgnored => LEASE.as_secs(),
            Rule::LeaseForEver => 0,
            _ => age,
        };
        let name = self.laptop.to_string();
        match (*self.record).clone().leased_to(&name, &name, age) {
            Ok(leased) => Doing::Effect(Effect::Put(Rc::new(leased), Put::Take)),
            Err(elsewhere) => Doing::Held(elsewhere),
        }
    }

    /// Whether the plan is empty.
    fn reached(&self, world: &mut World, wish: Wish) -> Option<Doing> {
        match self.look(world, wish, &mut Hand::default()) {
            Step::Done(None) if !wish.is_up() => Some(Doing::Reached(None)),
            Step::Done(Some(id)) if self.record.machine.as_ref().is_some_and(|machine| machine.login) => {
                let number = number(&id)?;
                let view = world.cloud.view(&self.record);
                view.recorded.filter(|instance| instance.status == Status::Running)?;
                if world.cloud.exact(number).status == Status::Running {
                    return Some(Doing::Reached(Some(number)));
                }
                // It vanished a moment ago; the list will tell.
                world.cloud.pass(1);
                Some(Doing::Waited)
            }
            _ => None,
        }
    }

    fn look(&self, world: &mut World, wish: Wish, hand: &mut Hand) -> Step {
        let settles = self.removing || self.candidate == CANDIDATES;
        let goal = if settles { &Goal::Absent } else { wish.goal(&self.record, self.candidate) };
        let (rule, mut view) = (world.rule, world.cloud.view(&self.record));
        let gone;
        if rule == Rule::ListedOrGone
            && let Some(recorded) = view.recorded
            && !view.list.iter().any(|instance| instance.id == recorded.id)
        {
            gone = Instance { status: Status::Discontinued, ..recorded.clone() };
            view.recorded = Some(&gone);
        }
        next_within(rule.times(goal), &self.record, view, goal, hand)
    }

    fn act(&mut self, world: &mut World, wish: Wish) -> Doing {
        let sure = std::mem::take(&mut self.sure);
        if let Some(doing) = self.before_the_next(world, wish) {
            return doing;
        }
        let mut hand = std::mem::take(&mut self.hand);
        let step = self.look(world, wish, &mut hand);
        self.hand = hand;
        match step {
            Step::Write(record) => self.write(world, record),
            // The intent was written a moment ago, which renewed the lease.
            Step::Post(intent) => Doing::Effect(Effect::Post(Rc::new(intent))),
            Step::ShutDown(id) => match number(&id) {
                Some(number) => self.renewed(world, Effect::ShutDown(number)),
                None => Doing::Stopped(None),
            },
            Step::Delete(proof) => match number(proof.machine()) {
                Some(number) => {
                    let keeps = proof.keeps_disk() && world.rule != Rule::DeleteDisk;
                    self.renewed(world, Effect::Delete { number, keeps })
                }
                None => Doing::Stopped(None),
            },
            Step::Wait(_) if world.rule == Rule::AsksAPerson && self.record.intent.is_some() => {
                Doing::Stopped(None)
            }
            Step::Wait(_) => waited(world),
            Step::Prove => self.prove(world, wish),
            Step::Done(Some(id)) => self.arrived(world, &id),
            Step::Done(None) => self.nothing_there(world),
            // Somebody else may have done it: only who still has the lease can tell.
            Step::Stop(_) if !sure => {
                self.sure = true;
                self.due = Some(Effect::Put(self.record.clone(), Put::Renew));
                Doing::Waited
            }
            Step::Stop(Stop::Lost(id)) => self.lost(world, wish, &id),
            Step::Stop(stop) => Doing::Stopped(Some(stop)),
        }
    }

    /// What `apply` looks at before it asks the protocol again.
    fn before_the_next(&mut self, world: &mut World, wish: Wish) -> Option<Doing> {
        if let Some(number) = self.unnoted {
            if world.cloud.exact(number).status != Status::Running {
                return Some(waited(world));
            }
            self.unnoted = None;
            let record = Rc::new((*self.record).clone().with_created(number.to_string()));
            return Some(Doing::Effect(Effect::Put(record, Put::Created)));
        }
        if !wish.is_up() {
            return None;
        }
        if self.building {
            let machine = self.record.machine.as_ref().and_then(|machine| number(&machine.id))?;
            match world.cloud.exact(machine).status {
                Status::Failed(_) | Status::Discontinued => self.removing = true,
                Status::Running => {}
                _ => return Some(self.wait_at_most(world, BOOT)),
            }
            self.building = false;
        }
        let disk = self.record.disk.as_ref().filter(|_| self.record.machine.is_none())?;
        let disk = disk_number(&disk.volume);
        match world.cloud.disks[disk].place {
            Place::Trash => Some(self.renewed(world, Effect::Restore(disk))),
            // With an order on its way it may be that machine's already: the protocol waits for it to show.
            _ if self.record.intent.is_none() && world.cloud.is_held(disk) => {
                Some(self.wait_at_most(world, DETACHED))
            }
            _ => None,
        }
    }

    /// Waits, but not without an end: somebody else may have the lease by now, and do something else.
    fn wait_at_most(&mut self, world: &mut World, ticks: usize) -> Doing {
        self.waited += 1;
        if self.waited > ticks { self.leave(Some(End::Failed)) } else { waited(world) }
    }

    fn write(&mut self, world: &mut World, mut record: Box<Record>) -> Doing {
        match world.rule {
            Rule::NoGone => record.gone.clear(),
            Rule::CountsFromTheNote => {
                record.intent = record.intent.map(|intent| Intent { unclear: true, ..intent });
            }
            Rule::NoDisk => record.disk = None,
            rule if rule.notes_no_intent() && record.intent.is_some() => {
                self.hand.noted = None;
                let intent = record.intent.expect("it was looked at");
                return Doing::Effect(Effect::Post(Rc::new(intent)));
            }
            _ => {}
        }
        Doing::Effect(Effect::Put(record.into(), Put::Step))
    }

    /// Renews the lease, and only then carries out what can't be taken back.
    fn renewed(&mut self, world: &World, effect: Effect) -> Doing {
        if world.rule == Rule::NotRenewed {
            self.due = Some(effect.clone());
            return Doing::Effect(effect);
        }
        let renewal = Effect::Put(self.record.clone(), Put::Renew);
        (self.due, self.after) = (Some(renewal.clone()), Some(effect));
        Doing::Effect(renewal)
    }

    /// Saves the work and takes the proof, as `apply` does; where the disk stays nothing is saved.
    fn prove(&mut self, world: &mut World, wish: Wish) -> Doing {
        let machine = self.record.machine.as_ref().expect("it is to be proven");
        let Some(number) = number(&machine.id) else { return Doing::Stopped(None) };
        let keeps = wish == Wish::Keep && !self.removing;
        let status = world.cloud.exact(number).status.clone();
        if !keeps && status != Status::Running {
            // It can't be looked at: it is off, or it vanished and the list doesn't know it yet.
            world.cloud.pass(LAG + 1);
            return self.leave(Some(if status == Status::Offline { End::Told } else { End::Failed }));
        }
        if !keeps && world.rule != Rule::NotSaved {
            world.cloud.save(world.cloud.vms[number].disk);
        }
        self.proven = world.cloud.now();
        self.hand.proof = Some(prove(&machine.id, self.proven, keeps));
        Doing::Waited
    }

    /// There is a machine: it is waited for, started where it is off, and logged in to.
    fn arrived(&mut self, world: &mut World, id: &str) -> Doing {
        let Some(number) = number(id) else { return Doing::Stopped(None) };
        let rented = self.record.machine.as_ref().expect("it is done");
        let shown_by = world.cloud.exact(number).created_at + QUIET_WINDOW;
        let early = world.memories.len() > 1 && world.cloud.now() < shown_by;
        match world.cloud.exact(number).status {
            Status::Running if rented.login => self.leave(None),
            // Another laptop's order may not show yet.
            Status::Running if early => waited(world),
            Status::Running => {
                let mut record = (*self.record).clone();
                record.machine.as_mut().expect("it is done").login = true;
                Doing::Effect(Effect::Put(Rc::new(record), Put::Step))
            }
            Status::Offline => self.renewed(world, Effect::Start(number)),
            Status::Failed(_) | Status::Discontinued if !rented.login => {
                self.removing = true;
                Doing::Waited
            }
            _ => waited(world),
        }
    }

    fn nothing_there(&mut self, world: &mut World) -> Doing {
        if self.removing {
            self.removing = false;
            self.next_candidate(world);
            return Doing::Waited;
        }
        self.leave((self.candidate == CANDIDATES).then_some(End::Failed))
    }

    fn next_candidate(&mut self, world: &mut World) {
        self.candidate += 1;
        self.hand = Hand { nonce: world.word(), ..Hand::default() };
    }

    /// A machine vanished without our doing: `up` boots its disk again, everything else says so.
    fn lost(&mut self, world: &mut World, wish: Wish, id: &str) -> Doing {
        let Some(number) = number(id).filter(|number| world.cloud.vms[*number].evicted) else {
            return Doing::Stopped(None);
        };
        if !wish.is_up() || world.rule == Rule::VanishedIsForAPerson {
            return self.leave(Some(End::Told));
        }
        let disk = world.cloud.vms[number].disk;
        if world.cloud.disks[disk].place == Place::Trash {
            return self.renewed(world, Effect::Restore(disk));
        }
        let record = (*self.record).clone().with_recovered(disk_id(disk), "FIN-01".to_owned());
        Doing::Effect(Effect::Put(Rc::new(record), Put::Step))
    }

    fn leave(&mut self, end: Option<End>) -> Doing {
        (self.phase, self.leaves) = (Phase::Leave, end);
        Doing::Waited
    }

    /// Carries the effect out. A record that somebody else wrote meanwhile ends the run.
    pub(super) fn take(&mut self, world: &mut World, effect: &Effect) {
        let answer = self.affect(world, effect);
        if self.over.is_some() {
            return;
        }
        self.due = self.after.take();
        match (effect, answer) {
            (Effect::Put(_, put), _) => self.written(world, *put),
            (Effect::Post(_), Some(number)) if world.rule.notes_late() => self.unnoted = Some(number),
            (Effect::Post(intent), Some(number)) => {
                let posted = Record { intent: Some((**intent).clone()), ..(*self.record).clone() };
                let created = Rc::new(posted.with_created(number.to_string()));
                self.due = Some(Effect::Put(created, Put::Created));
            }
            (Effect::Post(_), None) => self.refused(Put::Refused),
            _ => {}
        }
    }

    /// The effect on the outside alone; a created machine is returned.
    pub(super) fn affect(&mut self, world: &mut World, effect: &Effect) -> Option<usize> {
        let mut created = None;
        match effect {
            Effect::Put(record, _) => self.put(world, record),
            Effect::Post(intent) => created = world.cloud.create(world.rule.order(intent)),
            Effect::ShutDown(number) => world.cloud.vms[*number].off = true,
            Effect::Start(number) => world.cloud.vms[*number].off = false,
            Effect::Restore(disk) => world.cloud.disks[*disk].place = Place::There,
            Effect::Delete { number, keeps } => world.cloud.delete(*number, *keeps),
        }
        world.cloud.pass(1);
        created
    }

    fn put(&mut self, world: &mut World, record: &Rc<Record>) {
        let tick = world.cloud.tick;
        let memory = &mut world.memories[self.memory];
        if memory.rev != self.rev && world.rule != Rule::NoCompare {
            self.over = Some(End::Beaten);
            return;
        }
        memory.rev += 1;
        (memory.record, memory.written) = (record.clone(), tick);
        (self.record, self.rev) = (record.clone(), memory.rev);
    }

    fn written(&mut self, world: &mut World, put: Put) {
        match put {
            Put::Take => self.phase = Phase::Act,
            Put::Release => {
                self.phase = Phase::Plan;
                self.over = self.leaves.take();
            }
            Put::Created => self.building = true,
            Put::SoldOut => self.next_candidate(world),
            Put::Refused => drop(self.leave(Some(End::Failed))),
            Put::Renew | Put::Step => {}
        }
    }

    /// The order was refused: the intent is closed.
    pub(super) fn refused(&mut self, put: Put) {
        let record = Record { intent: None, ..(*self.record).clone() };
        (self.due, self.after) = (Some(Effect::Put(Rc::new(record), put)), None);
    }

    /// The order got no clear answer: what may be on its way is waited for from now on.
    pub(super) fn unclear(&mut self, world: &World, intent: &Intent) {
        self.unclear += 1;
        let later = intent.heard_of(world.cloud.now());
        (self.due, self.after) = (None, None);
        if !world.rule.notes_no_intent() {
            let record = Record { intent: Some(later), ..(*self.record).clone() };
            self.due = Some(Effect::Put(Rc::new(record), Put::Step));
        }
        if self.unclear == ORDERS {
            drop(self.leave(Some(End::Failed)));
        }
    }
}

/// The proof for a machine on which nothing would be lost.
fn prove(machine: &str, taken_at: Timestamp, keeps: bool) -> Proof {
    let evidence = guard::Evidence {
        machine,
        taken_at,
        server: &CLEAN,
        repo: &Repo::default(),
        url_matches: true,
        artifacts: &BTreeMap::new(),
        stored: &[],
    };
    let judge = if keeps { guard::prove_kept } else { guard::prove };
    judge(&evidence, &[]).expect("nothing on it would be lost")
}

fn waited(world: &mut World) -> Doing {
    world.cloud.pass(1);
    Doing::Waited
}

/// A server that holds nothing that isn't saved.
static CLEAN: LazyLock<Server> = LazyLock::new(|| {
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
        setup: None,
    }))
});
