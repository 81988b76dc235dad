//! The model of a cloud that the protocol is explored against.
//!
//! No idempotency key; the list is three ticks old, so it shows a new machine late and a deleted one for a
//! while; a POST that timed out may arrive four ticks later; GET by id is exact. It holds lookalikes too: the
//! same host name without a tag of ours, the same name in another store, another session in the same store.

use std::rc::Rc;

use super::*;

/// Seconds that one effect takes.
pub(super) const TICK: i64 = 20;
pub(super) const LAG: i64 = 3;
pub(super) const LATE: i64 = 4;
pub(super) const HOUR: i64 = 3600 / TICK;

/// What may be asked for: two candidates of the spec, and two of the one that replaces it.
pub(super) const KINDS: [&str; 4] = ["1L40S.20V", "1A100.22V", "1H100.80S", "1B200.30V"];

#[derive(Clone, Copy)]
pub(super) struct Vm {
    pub(super) nonce: u32,
    pub(super) kind: usize,
    pub(super) fails: bool,
    pub(super) made: i64,
    pub(super) ended: Option<i64>,
    /// The cloud ended it without being asked.
    pub(super) evicted: bool,
    pub(super) off: bool,
    /// Somebody of ours worked on it.
    pub(super) worked: bool,
    pub(super) disk: usize,
    /// Nothing on it says whose it is.
    pub(super) unmarked: bool,
}

impl Vm {
    pub(super) fn is_alive(&self) -> bool {
        self.ended.is_none()
    }
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Place {
    There,
    /// It can be restored, and bills nothing.
    Trash,
    Deleted,
}

#[derive(Clone, Copy)]
pub(super) struct VmDisk {
    pub(super) place: Place,
    /// What was made on it, a bit for each piece of work.
    pub(super) bytes: u64,
}

/// What a POST asks for.
#[derive(Clone, Copy)]
pub(super) struct Order {
    pub(super) nonce: u32,
    pub(super) kind: usize,
    pub(super) boots: Option<usize>,
    pub(super) unmarked: bool,
}

impl Order {
    pub(super) fn of(intent: &Intent) -> Self {
        let kind = KINDS.iter().position(|kind| *kind == intent.asked.r#type);
        Self {
            nonce: intent
                .nonce
                .strip_prefix('n')
                .and_then(|nonce| nonce.parse().ok())
                .expect("a nonce of ours"),
            kind: kind.expect("a kind of ours"),
            boots: intent.boots.as_deref().map(disk_number),
            unmarked: false,
        }
    }
}

/// Instances as they were last shown; built again only once one of them changes.
#[derive(Clone, Default)]
struct Shown {
    statuses: u64,
    list: Vec<Instance>,
}

#[derive(Clone, Default)]
pub(super) struct Cloud {
    pub(super) tick: i64,
    pub(super) vms: Vec<Vm>,
    pub(super) disks: Vec<VmDisk>,
    late: Vec<(i64, Order)>,
    /// Which machines, in the order of their creation, end in `no_capacity`.
    failing: &'static [usize],
    /// The work that is in the store or in the repo's remote.
    pub(super) saved: u64,
    /// All work that was ever made.
    pub(super) made: u64,
    /// The work that went with a disk and was nowhere else.
    pub(super) lost: u64,
    shown: Rc<Shown>,
    exact: Option<Rc<(usize, Code, Instance)>>,
}

/// A status in four bits; 0 where nothing is shown.
type Code = u64;

impl Cloud {
    pub(super) fn new(failing: &'static [usize]) -> Self {
        Self { failing, ..Self::default() }
    }

    pub(super) fn now(&self) -> Timestamp {
        at(self.tick * TICK)
    }

    pub(super) fn pass(&mut self, ticks: i64) {
        let until = self.tick + ticks;
        while let Some(first) = (0..self.late.len()).min_by_key(|at| self.late[*at].0)
            && self.late[first].0 <= until
        {
            let (when, order) = self.late.remove(first);
            self.tick = when;
            self.create(order);
        }
        self.tick = until;
    }

    /// Takes an order; none for one that would boot a disk which a machine still has, or which isn't there.
    pub(super) fn create(&mut self, order: Order) -> Option<usize> {
        let disk = order.boots.unwrap_or(self.disks.len());
        if order.boots.is_none() {
            self.disks.push(VmDisk { place: Place::There, bytes: 0 });
        }
        if self.is_held(disk) || self.disks[disk].place != Place::There {
            return None;
        }
        let number = self.vms.len();
        let fails = self.failing.contains(&number);
        self.vms.push(Vm {
            nonce: order.nonce,
            kind: order.kind,
            fails,
            made: self.tick,
            ended: None,
            evicted: false,
            off: false,
            worked: false,
            disk,
            unmarked: order.unmarked,
        });
        Some(number)
    }

    /// Takes an order that arrives later.
    pub(super) fn create_late(&mut self, order: Order) {
        self.late.push((self.tick + LATE, order));
    }

    /// Takes a deletion; nothing where the machine is being built, or gone.
    pub(super) fn delete(&mut self, number: usize, keeps: bool) {
        let vm = &mut self.vms[number];
        if !vm.is_alive() || vm.made >= self.tick {
            return;
        }
        vm.ended = Some(self.tick + 1);
        if !keeps {
            let disk = &mut self.disks[vm.disk];
            disk.place = Place::Deleted;
            self.lost |= disk.bytes & !self.saved;
        }
    }

    /// The cloud ends the oldest machine that lives; false where none does. Its disk goes into the trash.
    pub(super) fn evict(&mut self) -> bool {
        let Some(vm) = self.vms.iter_mut().find(|vm| vm.is_alive()) else { return false };
        (vm.ended, vm.evicted) = (Some(self.tick), true);
        self.disks[vm.disk].place = Place::Trash;
        true
    }

    /// Makes a piece of work on a disk.
    pub(super) fn work_on(&mut self, disk: usize) {
        let piece = 1 << self.made.count_ones();
        self.made |= piece;
        self.disks[disk].bytes |= piece;
    }

    pub(super) fn save(&mut self, disk: usize) {
        self.saved |= self.disks[disk].bytes;
    }

    /// Whether a machine has this disk.
    pub(super) fn is_held(&self, disk: usize) -> bool {
        self.vms
            .iter()
            .any(|vm| vm.disk == disk && vm.ended.is_none_or(|ended| !vm.evicted && ended >= self.tick))
    }

    /// The disks that bill.
    pub(super) fn billing_disks(&self) -> impl Iterator<Item = usize> {
        (0..self.disks.len()).filter(|disk| self.disks[*disk].place == Place::There)
    }

    /// The disks that bill and have no machine.
    pub(super) fn detached(&self) -> Vec<usize> {
        self.billing_disks().filter(|disk| !self.is_held(*disk)).collect()
    }

    pub(super) fn alive(&self) -> usize {
        self.vms.iter().filter(|vm| vm.is_alive()).count()
    }

    fn code(&self, vm: &Vm, tick: i64) -> Code {
        match vm.ended {
            _ if vm.made > tick => 0,
            Some(ended) if ended < tick || (vm.evicted && ended == tick) => 1,
            Some(ended) if ended == tick => 2,
            _ if vm.made == tick => 3,
            _ if vm.fails => 4,
            _ if vm.off => 5,
            _ => 6,
        }
    }

    fn instance(&self, number: usize, code: Code) -> Instance {
        let vm = &self.vms[number];
        let status = match code {
            1 => Status::Discontinued,
            2 => Status::Deleting,
            3 => Status::Provisioning,
            4 => Status::Failed("no_capacity".to_owned()),
            5 => Status::Offline,
            _ => Status::Running,
        };
        let marked = || description("lesson3", "abcd", &format!("n{}", vm.nonce));
        Instance {
            created_at: at(vm.made * TICK),
            r#type: KINDS[vm.kind].to_owned(),
            tags: BTreeMap::new(),
            description: if vm.unmarked { String::new() } else { marked() },
            os_volume: Some(disk_id(vm.disk)),
            volumes: vec![disk_id(vm.disk)],
            ..instance(&number.to_string(), "", status)
        }
    }

    /// The list as it is shown now.
    pub(super) fn list(&mut self) -> &[Instance] {
        let tick = self.tick - LAG;
        let codes = self.vms.iter().enumerate().map(|(number, vm)| self.code(vm, tick) << (4 * number));
        let statuses = codes.fold(0, |all, one| all | one);
        if self.shown.statuses != statuses || self.shown.list.is_empty() {
            assert!(self.vms.len() <= 16, "more machines than any story makes");
            let codes = (0..self.vms.len()).map(|number| (number, statuses >> (4 * number) & 15));
            let shown = codes.filter(|(_, code)| *code > 1).map(|(number, code)| self.instance(number, code));
            let shown: Vec<Instance> = shown.collect();
            let now = Rc::make_mut(&mut self.shown);
            if now.list.is_empty() {
                now.list.extend(lookalikes());
            }
            now.list.truncate(LOOKALIKES);
            now.list.extend(shown);
            now.statuses = statuses;
        }
        &self.shown.list
    }

    /// The machine as it is now.
    pub(super) fn exact(&mut self, number: usize) -> &Instance {
        let code = self.code(&self.vms[number], self.tick);
        if self.exact.as_ref().is_none_or(|exact| (exact.0, exact.1) != (number, code)) {
            self.exact = Some(Rc::new((number, code, self.instance(number, code))));
        }
        &self.exact.as_ref().expect("it was just filled").2
    }

    /// The view that the protocol gets of the record's machine and of the list.
    pub(super) fn view(&mut self, record: &Record) -> View<'_> {
        let now = self.now();
        self.list();
        let asked = record.asks_for(&self.shown.list).and_then(number);
        if let Some(number) = asked {
            self.exact(number);
        }
        let list = &self.shown.list;
        let recorded = match (asked, &record.machine) {
            (Some(_), _) => self.exact.as_ref().map(|exact| &exact.2),
            (None, Some(machine)) => list.iter().find(|instance| instance.id == machine.id),
            (None, None) => None,
        };
        View { now, list, recorded }
    }
}

const LOOKALIKES: usize = 4;

/// Machines that look like the session's and aren't, older and newer ones.
fn lookalikes() -> [Instance; LOOKALIKES] {
    let like = |id: &str, made, description: String| Instance {
        tags: BTreeMap::new(),
        created_at: at(made),
        description,
        ..instance(id, "", Status::Running)
    };
    let other_store = Instance {
        tags: tags("lesson3", "else", "n1"),
        ..like("other-store", -1000, description("lesson3", "abcd", "n1"))
    };
    [
        like("same-host", -1000, String::new()),
        other_store,
        like("other-session", -1000, description("lesson4", "abcd", "n1")),
        like("other-words", 100_000, description("lesson30", "abcd", "n1")),
    ]
}

pub(super) fn disk_id(number: usize) -> String {
    format!("disk-{number}")
}

pub(super) fn disk_number(id: &str) -> usize {
    id.strip_prefix("disk-").and_then(|number| number.parse().ok()).expect("the model's own id")
}

/// The number of a machine of the session's; none for a lookalike.
pub(super) fn number(id: &str) -> Option<usize> {
    id.parse().ok()
}
