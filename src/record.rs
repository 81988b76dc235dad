//! The session's shared memory, and the protocol that keeps creating and deleting exact; pure.
//!
//! The cloud has no idempotency key, its list lags, and a timed-out POST may land later. So an intent is
//! noted here before the POST, the id the moment it arrives, and while an intent is open neither a second
//! POST nor absence is believed until the nonce shows or the window is over. [`next`] says the one next
//! step; `apply` carries it out and asks again.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::digest::ContentHash;
use crate::facts::{Instance, Limits, PublicKey, Status};
use crate::guard::{self, Proof};
use crate::world::Machine;

mod lease;
mod receipt;
#[cfg(test)]
mod tests;

pub use lease::{Elsewhere, LEASE};
pub use receipt::{Code, RECEIPTS, Receipt, folder as receipts_of, session_of};

/// How long an unclear create may take to show: list lag plus the latest arrival of a POST, plus one.
pub const QUIET_WINDOW: SignedDuration = SignedDuration::from_secs(180);

/// How many digits of its key's hash a startup script's name ends with.
const SCRIPT_KEY: usize = 16;

/// How many host keys an open intent remembers: one for each process that was about to order.
const KEYS: usize = 8;

/// The latest time that a record may hold (the year 9000): windows are added to it.
const LATEST: Timestamp = Timestamp::constant(221_845_392_000, 0);

/// The tag that names the session.
pub const TAG_SESSION: &str = "dacapo-session";
/// The tag that names the store.
pub const TAG_STORE: &str = "dacapo-store";
/// The tag that says how long the machine may run, from the cloud's `created_at`.
pub const TAG_DEADLINE: &str = "dacapo-deadline";
/// The tag that keeps everybody from ending the machine.
pub const TAG_PROTECT: &str = "dacapo-protect";
/// The tag that names the create.
pub const TAG_NONCE: &str = "dacapo-nonce";

/// The session's shared memory: `<store>/.dacapo/<name>.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The format: 1.
    pub version: u32,
    /// The session's name.
    pub session: String,
    /// What stands for account and path of the store.
    pub store: String,
    /// Who is applying the session now.
    #[serde(default)]
    pub lease: Option<Lease>,
    /// When a record was started although an earlier one may have been lost: from then on absence is
    /// waited for, as after an unclear create.
    #[serde(default)]
    pub doubt: Option<Timestamp>,
    /// A create whose outcome isn't known.
    #[serde(default)]
    pub intent: Option<Intent>,
    /// The machine that lives, as far as we know.
    #[serde(default)]
    pub machine: Option<Rented>,
    /// The disk that waits for its next machine; it bills until that machine is ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<Disk>,
    /// What the last session left: its commit and its artifacts.
    #[serde(default)]
    pub last: Base,
    /// The last machine that we ended.
    #[serde(default)]
    pub ended: Option<Ended>,
    /// What the session is to be, as the lines of a session.toml: for whoever ends it without one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spec: Vec<String>,
    /// When `reap` was last seen to look after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reaped: Option<Timestamp>,
    /// Receipts of machines that are gone, until they are written beside the record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub receipts: Vec<Receipt>,
    /// Ids of the last machines that the cloud itself said are gone: the list may show them a little longer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<String>,
}

/// Who holds the session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// For people: `user@host`.
    pub owner: String,
    /// The laptop: the same laptop may take its own lease over at once when its file lock is free.
    pub laptop: String,
    /// How often this holder has written the record: each write differs, so that each one counts.
    #[serde(default)]
    pub writes: u64,
}

/// A create that was about to be sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// The word that the machine will carry in a tag and in its description.
    pub nonce: String,
    /// When this was noted, or when the last unclear answer came; by the cloud's clock.
    pub noted_at: Timestamp,
    /// Whether an answer came, which said neither yes nor no: then the POST was sent before `noted_at`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unclear: bool,
    /// What was asked for.
    pub asked: Machine,
    /// The kept disk that the machine is to boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boots: Option<String>,
    /// The host keys that the machine may show, as `type base64`: the one made for this order, those made
    /// for earlier orders under this nonce, or the one that the kept disk has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host_keys: Vec<String>,
}

/// A machine of ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rented {
    /// The cloud's id.
    pub id: String,
    /// The nonce it was created with; none when that isn't known any more.
    pub nonce: Option<String>,
    /// What creation asked for; none for a machine that was adopted without its record.
    pub asked: Option<Machine>,
    /// The pinned host key, as `type base64`.
    #[serde(default)]
    pub host_key: Option<String>,
    /// The host keys that it may show on the first contact; none where nobody knows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host_keys: Vec<String>,
    /// Whether a login of ours was ever completed. True for adopted machines: nobody knows.
    pub login: bool,
    /// The kept disk that it was created with: it holds work from the first moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub booted: Option<Disk>,
    /// Its OS volume's id, once that was seen: it is what is left if the machine vanishes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os_volume: Option<String>,
    /// What was last brought to it or stored from it.
    #[serde(default)]
    pub base: Base,
    /// What had been brought to it when its set-up ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brought: Option<Base>,
    /// Set right before the delete call: from then on the machine's absence is our doing.
    #[serde(default)]
    pub ending: Option<Ended>,
}

/// A disk without its machine, and what is known of what is on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// The volume's id.
    pub volume: String,
    /// Where it is: a machine that boots it must be there too.
    pub location: String,
    /// What the creation of its last machine asked for; none where that isn't known.
    pub asked: Option<Machine>,
    /// The host key that is on it; none where that isn't known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_key: Option<String>,
    /// What was last brought to it or stored from it.
    #[serde(default)]
    pub base: Base,
}

/// What was last brought to the server or stored from it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// The branch that was brought.
    #[serde(default)]
    pub branch: Option<String>,
    /// The commit that was brought.
    #[serde(default)]
    pub commit: Option<String>,
    /// The artifacts, by name.
    #[serde(default)]
    pub artifacts: BTreeMap<String, Kept>,
}

/// An artifact whose bytes are on the server and in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The stored version.
    pub version: String,
    /// The unpacked content.
    pub payload: ContentHash,
    /// Its size in bytes.
    pub size: u64,
}

/// A machine that we ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Its id.
    pub id: String,
    /// When the deletion was decided, by the cloud's clock.
    pub at: Timestamp,
    /// The volumes that go with it; in the last receipt also those of machines before it.
    pub volumes: Vec<String>,
    /// The losses that were named.
    pub discarded: Vec<String>,
    /// The disk that stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<Disk>,
    /// What is to be told of it once it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Box<Receipt>>,
}

impl Record {
    /// Returns a record for a session that has none; `doubt` when an earlier one may have been lost.
    pub fn start(session: &str, store: &str, doubt: Option<Timestamp>) -> Self {
        Self {
            version: 1,
            session: session.to_owned(),
            store: store.to_owned(),
            lease: None,
            doubt,
            intent: None,
            machine: None,
            disk: None,
            last: Base::default(),
            ended: None,
            spec: Vec::new(),
            reaped: None,
            receipts: Vec::new(),
            gone: Vec::new(),
        }
    }

    /// Returns the record as the JSON that is stored.
    pub fn to_json(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec_pretty(self).expect("a record has string keys only");
        text.push(b'\n');
        text
    }

    /// Reads a stored record.
    ///
    /// Fails with what is wrong with the text; a version newer than 1 is refused.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let record: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if record.version != 1 {
            return Err(format!(
                "its format is {}, and this dacapo knows 1: use a newer dacapo",
                record.version
            ));
        }
        let noted = record.intent.as_ref().map(|intent| intent.noted_at);
        if noted.max(record.doubt).is_some_and(|time| time > LATEST) {
            return Err("it holds a time that no clock shows".to_owned());
        }
        // Nothing of ours writes such characters; names and ids from here are shown and handed on.
        if !is_plain(&String::from_utf8_lossy(&record.to_json())) {
            return Err("it holds control characters".to_owned());
        }
        Ok(record)
    }

    /// Returns when absence can be believed; none when it can be believed now.
    pub fn absence_from(&self, now: Timestamp) -> Option<Timestamp> {
        self.absence_after(Times::OURS, now)
    }

    fn absence_after(&self, times: Times, now: Timestamp) -> Option<Timestamp> {
        let sent = |intent: &Intent| {
            let later = if intent.unclear { SignedDuration::ZERO } else { times.send_within };
            intent.noted_at + later
        };
        let since = self.intent.as_ref().map(sent).max(self.doubt);
        since.map(|since| since + times.window).filter(|until| *until > now)
    }

    /// Tells whether the cloud's machine is this session's.
    pub fn owns(&self, instance: &Instance) -> bool {
        marked(instance) == Some((self.session.as_str(), self.store.as_str()))
    }

    /// Returns the recorded machine's id where the cloud has to be asked for it by id: the list doesn't show
    /// it, or its end was decided and the list may lag behind that.
    pub fn asks_for(&self, list: &[Instance]) -> Option<&str> {
        let machine = self.machine.as_ref()?;
        let listed = list.iter().any(|instance| instance.id == machine.id);
        (machine.ending.is_some() || !listed).then_some(&machine.id)
    }

    /// Tells whether a machine beside the recorded one came of an order in this record: of the same one, which
    /// arrived twice, or of one that is still open. Only the recorded one was ever logged in to.
    pub fn ordered(&self, other: &Instance) -> bool {
        let recorded = self.machine.as_ref().filter(|machine| machine.asked.is_some());
        let answered = recorded.and_then(|machine| machine.nonce.as_deref());
        let open = self.intent.as_ref().map(|intent| intent.nonce.as_str());
        nonce(other).is_some_and(|nonce| [answered, open].contains(&Some(nonce)))
    }

    /// Tells whether a listed machine is this session's and not one that is known to be gone already.
    pub fn may_own(&self, instance: &Instance) -> bool {
        self.owns(instance) && instance.status != Status::Discontinued && !self.gone.contains(&instance.id)
    }

    /// Returns the oldest living machine of this session that isn't the recorded one.
    pub fn unrecorded<'a>(&self, list: &'a [Instance]) -> Option<&'a Instance> {
        let recorded = self.machine.as_ref().map(|machine| &machine.id);
        let living = list.iter().filter(|instance| {
            self.may_own(instance) && instance.status != Status::Deleting && recorded != Some(&instance.id)
        });
        living.min_by_key(|instance| (instance.created_at, &instance.id))
    }

    /// Returns the machine that the recorded one goes for: the older of two laptops' orders stays, where nobody
    /// has been on ours.
    pub fn makes_way_for<'a>(&self, list: &'a [Instance], ours: &Instance) -> Option<&'a Instance> {
        self.machine.as_ref().filter(|machine| machine.id == ours.id && !machine.may_hold_work())?;
        let older = |other: &&Instance| (other.created_at, &other.id) < (ours.created_at, &ours.id);
        self.unrecorded(list).filter(|other| older(other) && !self.ordered(other))
    }

    /// Returns the record with the created machine noted and the intent closed.
    #[must_use]
    pub fn with_created(mut self, id: String) -> Self {
        let intent = self.intent.take();
        self.doubt = None;
        let boots = intent.as_ref().and_then(|intent| intent.boots.as_ref());
        let booted = self.disk.take_if(|disk| Some(&disk.volume) == boots);
        self.machine = Some(Rented {
            id,
            nonce: intent.as_ref().map(|intent| intent.nonce.clone()),
            host_keys: intent.as_ref().map(|intent| intent.host_keys.clone()).unwrap_or_default(),
            asked: intent.map(|intent| intent.asked),
            host_key: None,
            login: false,
            base: booted.as_ref().map(|disk| disk.base.clone()).unwrap_or_default(),
            brought: booted.as_ref().map(|disk| disk.base.clone()),
            booted,
            os_volume: None,
            ending: None,
        });
        self
    }

    /// Returns the record with the machine's disk noted, where the cloud tells of it for the first time.
    pub fn with_disk_of(&self, instance: &Instance) -> Option<Self> {
        let (machine, disk) = (self.machine.as_ref()?, instance.os_volume.as_ref()?);
        if machine.id != instance.id || machine.os_volume.as_ref() == Some(disk) {
            return None;
        }
        let machine = Rented { os_volume: Some(disk.clone()), ..machine.clone() };
        Some(Self { machine: Some(machine), ..self.clone() })
    }

    /// Returns the record with the machine gone, as the cloud says of its id: what it left is kept as `last`.
    #[must_use]
    pub fn without_machine(mut self) -> Self {
        if let Some(machine) = &self.machine {
            self.gone.push(machine.id.clone());
            self.gone.drain(..self.gone.len().saturating_sub(REMEMBERED));
        }
        self.without_unknown()
    }

    /// Returns the record without a machine that vanished, as the cloud says of its id.
    ///
    /// Where nobody was ever on it, what its creation made goes with it, as if we had ended it.
    #[must_use]
    pub fn without_gone(mut self, gone: &Instance, now: Timestamp) -> Self {
        if let Some(machine) = &mut self.machine
            && let Some(disk) = machine.unused_disk(gone)
        {
            let (id, volumes) = (machine.id.clone(), vec![disk]);
            let (discarded, kept, receipt) = (Vec::new(), None, None);
            machine.ending = Some(Ended { id, at: now, volumes, discarded, kept, receipt });
        }
        self.without_machine()
    }

    /// Returns the record without a machine that the account doesn't know. Should it turn up after all, it
    /// is a machine of ours like any other.
    #[must_use]
    pub fn without_unknown(mut self) -> Self {
        if let Some(machine) = self.machine.take() {
            // The disk of a machine that vanished is waited for only where somebody says which one it is.
            self.disk = machine.left_disk().or(self.disk);
            if machine.login {
                self.last = machine.base;
            }
            self.close(machine.ending);
        }
        self
    }

    /// Returns the record with a machine that vanished noted as gone, and its disk as waiting for the next.
    #[must_use]
    pub fn with_recovered(self, volume: String, location: String) -> Self {
        let machine = self.machine.as_ref();
        let asked = machine.and_then(|machine| machine.asked.clone());
        let host_key = machine.and_then(Rented::disk_key);
        let base = machine.map(|machine| machine.base.clone()).unwrap_or_default();
        Self { disk: Some(Disk { volume, location, asked, host_key, base }), ..self.without_machine() }
    }

    /// Returns the record with this receipt written.
    #[must_use]
    pub fn with_written(mut self, receipt: &Receipt) -> Self {
        self.receipts.retain(|other| other != receipt);
        self
    }

    /// Takes a receipt over. It goes on explaining volumes that outlived the machines before.
    fn close(&mut self, ending: Option<Ended>) {
        let Some(mut ending) = ending else { return };
        self.receipts.extend(ending.receipt.take().map(|receipt| *receipt));
        self.receipts.drain(..self.receipts.len().saturating_sub(REMEMBERED));
        let earlier = self.ended.take().map(|ended| ended.volumes).unwrap_or_default();
        let unheard: Vec<String> = earlier.into_iter().filter(|id| !ending.volumes.contains(id)).collect();
        ending.volumes.extend(unheard.into_iter().take(REMEMBERED));
        self.ended = Some(ending);
    }

    fn with_adopted(mut self, instance: &Instance) -> Self {
        // Found by the open intent's own nonce, the machine is what that POST asked for and nobody has
        // been on it. Otherwise its past is unknown and is taken to hold work.
        match self.intent.take_if(|intent| nonce(instance) == Some(intent.nonce.as_str())) {
            Some(intent) => {
                self.intent = Some(intent);
                self.with_created(instance.id.clone())
            }
            None => {
                let never_up = matches!(&instance.status, Status::Failed(word) if word != "error");
                self.machine = Some(Rented {
                    id: instance.id.clone(),
                    nonce: nonce(instance).map(str::to_owned),
                    asked: None,
                    host_key: None,
                    host_keys: Vec::new(),
                    login: !never_up,
                    booted: None,
                    os_volume: instance.os_volume.clone(),
                    base: Base::default(),
                    brought: None,
                    ending: None,
                });
                self
            }
        }
    }
}

impl Intent {
    /// Returns the intent after an answer that said neither yes nor no: what may be on its way was sent by now.
    #[must_use]
    pub fn heard_of(&self, now: Timestamp) -> Self {
        Self { noted_at: now.max(self.noted_at), unclear: true, ..self.clone() }
    }
}

impl Rented {
    /// Tells whether the machine's disappearing would be somebody else's doing and might cost work.
    pub fn is_in_use(&self) -> bool {
        self.login && self.ending.is_none()
    }

    /// Tells whether its disk may hold what is nowhere else.
    pub fn may_hold_work(&self) -> bool {
        self.login || self.booted.is_some()
    }

    /// Returns the host keys that it may show: the pinned one or, until one is, those that were foreseen.
    /// Without any the key of the first contact has to be taken.
    pub fn known_keys(&self) -> &[String] {
        self.host_key.as_ref().map_or(&self.host_keys, std::slice::from_ref)
    }

    /// Returns the host key that is on its disk, where that is certain.
    pub fn disk_key(&self) -> Option<String> {
        let booted = || self.booted.as_ref().and_then(|disk| disk.host_key.clone());
        self.host_key.clone().or_else(booted)
    }

    /// Returns the disk of a machine that vanished before anybody was on it: it holds nothing.
    pub fn unused_disk(&self, gone: &Instance) -> Option<String> {
        let unused = self.ending.is_none() && !self.may_hold_work();
        gone.os_volume.clone().or_else(|| self.os_volume.clone()).filter(|_| unused)
    }

    /// Tells whether a disk is left that waits for another machine once this one is gone.
    pub fn leaves_disk(&self) -> bool {
        self.left_disk().is_some()
    }

    /// The disk that is left when the machine is gone: the one that was to stay or, where nobody ever came
    /// to work on it again, the one that it was to boot.
    fn left_disk(&self) -> Option<Disk> {
        let kept = self.ending.as_ref().and_then(|ending| ending.kept.clone());
        let deleted =
            |disk: &Disk| self.ending.as_ref().is_some_and(|ending| ending.volumes.contains(&disk.volume));
        let unused = || self.booted.clone().filter(|disk| !self.login && !deleted(disk));
        kept.or_else(unused).map(|disk| Disk { base: self.base.clone(), ..disk })
    }
}

/// Whether JSON of ours holds no character that is escaped or could turn round what is beside it.
fn is_plain(json: &str) -> bool {
    let mut chars = json.chars();
    while let Some(c) = chars.next() {
        let odd = match c {
            '\\' => !matches!(chars.next(), Some('"' | '\\')),
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
            c => c.is_control() && c != '\n',
        };
        if odd {
            return false;
        }
    }
    true
}

/// Returns the volumes that go with a machine when it is deleted: what its creation made.
///
/// A volume that somebody attached later isn't ours; it stays, detached.
pub fn volumes_of(instance: &Instance) -> Vec<String> {
    // Early in its life a machine doesn't tell which of its volumes is the OS volume; nothing else can have
    // been attached by then.
    instance.os_volume.as_ref().map_or_else(|| instance.volumes.clone(), |os| vec![os.clone()])
}

/// Returns the session and store that a machine is marked with: by tags or, where it has no dacapo tag
/// at all, by its description.
pub fn mark(instance: &Instance) -> Option<(String, String)> {
    marked(instance).map(|(session, store)| (session.to_owned(), store.to_owned()))
}

fn marked(instance: &Instance) -> Option<(&str, &str)> {
    if instance.tags.keys().any(|key| key.starts_with("dacapo-")) {
        let tag = |key: &str| instance.tags.get(key).map(String::as_str);
        return Some((tag(TAG_SESSION)?, tag(TAG_STORE)?));
    }
    Some((described(instance, "session=")?, described(instance, "store=")?))
}

/// Returns the nonce that a machine was created with.
pub fn nonce(instance: &Instance) -> Option<&str> {
    instance.tags.get(TAG_NONCE).map(String::as_str).or_else(|| described(instance, "nonce="))
}

/// Returns the tags that mark a machine and its volumes.
pub fn tags(session: &str, store: &str, nonce: &str) -> BTreeMap<String, String> {
    [(TAG_SESSION, session), (TAG_STORE, store), (TAG_NONCE, nonce)]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

/// Returns the tags by which any machine can tell when this one is to be ended.
pub fn limit_tags(limits: &Limits) -> BTreeMap<String, String> {
    let protect = limits.protect.then(|| (TAG_PROTECT.to_owned(), "yes".to_owned()));
    let deadline = (TAG_DEADLINE.to_owned(), limits.deadline.to_string());
    protect.into_iter().chain([deadline]).collect()
}

/// Returns the limits that a machine's own tags tell of: a deadline of 8 h where they don't.
pub fn tagged_limits(tags: &BTreeMap<String, String>) -> Limits {
    let deadline = tags.get(TAG_DEADLINE).and_then(|text| text.parse().ok()).unwrap_or_default();
    Limits { deadline, protect: tags.contains_key(TAG_PROTECT), ..Limits::default() }
}

/// Returns the description that marks a machine where tags are not to be had.
pub fn description(session: &str, store: &str, nonce: &str) -> String {
    format!("dacapo session={session} store={store} nonce={nonce}")
}

/// Returns the name of the startup script that sets a host key: whose it is, and which key.
pub fn script_name(session: &str, store: &str, host_key: &PublicKey) -> String {
    let key = ContentHash::of(host_key.as_str().as_bytes()).to_string();
    format!("{}{}", script_prefix(session, store), &key[..SCRIPT_KEY])
}

/// Returns what the names of a session's startup scripts begin with.
pub fn script_prefix(session: &str, store: &str) -> String {
    format!("dacapo-host-key-{store}-{session}-")
}

/// Tells whether a startup script is one that this session made.
pub fn owns_script(session: &str, store: &str, name: &str) -> bool {
    let key = name.strip_prefix(&script_prefix(session, store));
    key.is_some_and(|key| key.len() == SCRIPT_KEY && key.bytes().all(|digit| digit.is_ascii_hexdigit()))
}

fn described<'a>(instance: &'a Instance, key: &str) -> Option<&'a str> {
    let rest = instance.description.strip_prefix("dacapo ")?;
    rest.split(' ').find_map(|word| word.strip_prefix(key))
}

/// What the protocol is to reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Goal {
    /// One machine, asked for like this if it has to be created.
    Running(Box<Machine>),
    /// No machine.
    Absent,
    /// No machine, but its disk stays with whatever it holds.
    Kept,
}

/// What the cloud says now.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The cloud's clock.
    pub now: Timestamp,
    /// The list; it may lag.
    pub list: &'a [Instance],
    /// The record's machine, asked for by id: exact. None inside when the account doesn't know the id.
    pub recorded: Option<&'a Instance>,
}

/// What this process carries from step to step.
#[derive(Debug, Default)]
pub struct Hand {
    /// A fresh random word for a new intent.
    pub nonce: String,
    /// The public half of the host key that this process has made for a new machine.
    pub host_key: Option<String>,
    /// The intent that this process noted and hasn't posted yet: only then is a POST known to be the first.
    pub noted: Option<Timestamp>,
    /// A proof in hand.
    pub proof: Option<Proof>,
}

/// The one next thing to do.
#[derive(Debug)]
pub enum Step {
    /// Write this record, by compare-and-swap.
    Write(Box<Record>),
    /// Send the create of the open intent, once.
    Post(Intent),
    /// Look again, at the latest at this time.
    Wait(Timestamp),
    /// Gather evidence about the machine, judge it, and come back with the proof.
    Prove,
    /// Shut the machine down, so that its disk is left in order.
    ShutDown(String),
    /// Delete the proven machine.
    Delete(Proof),
    /// Reached; the machine, where there is to be one.
    Done(Option<String>),
    /// It can't go on without a person.
    Stop(Stop),
}

/// Why the protocol can't go on by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The account doesn't know the machine that the record says lives.
    OtherAccount(String),
    /// The machine vanished without our doing.
    Lost(String),
    /// More than one machine carries this session's mark.
    Several(Vec<String>),
}

const POLL: SignedDuration = SignedDuration::from_secs(5);

/// How long after its intent was noted a POST may still be sent. An intent that nobody has heard of since is
/// waited out for so much longer than the window.
pub const SEND_WITHIN: SignedDuration = SignedDuration::from_secs(60);

/// How many machines a record remembers as gone; a list that lags shows a few of them at most.
const REMEMBERED: usize = 16;

/// Says the one next step towards `goal`. Takes the proof out of `hand` when it is used.
///
/// A step may be carried out twice, or not at all: whoever asks again, from wherever, gets the step that is
/// right then. Deleting a machine that is gone already counts as done.
pub fn next(record: &Record, view: View<'_>, goal: &Goal, hand: &mut Hand) -> Step {
    next_within(Times::OURS, record, view, goal, hand)
}

/// The times that the protocol rests on.
#[derive(Clone, Copy)]
struct Times {
    window: SignedDuration,
    send_within: SignedDuration,
}

impl Times {
    const OURS: Self = Self { window: QUIET_WINDOW, send_within: SEND_WITHIN };
}

fn next_within(times: Times, record: &Record, view: View<'_>, goal: &Goal, hand: &mut Hand) -> Step {
    match &record.machine {
        Some(machine) => with_machine(record, machine, view, goal, hand),
        None => without_machine(times, record, view, goal, hand),
    }
}

fn with_machine(record: &Record, machine: &Rented, view: View<'_>, goal: &Goal, hand: &mut Hand) -> Step {
    let Some(instance) = view.recorded else {
        return Step::Stop(Stop::OtherAccount(machine.id.clone()));
    };
    if instance.status == Status::Discontinued {
        return if machine.is_in_use() {
            Step::Stop(Stop::Lost(machine.id.clone()))
        } else {
            Step::Write(Box::new(record.clone().without_gone(instance, view.now)))
        };
    }
    if let Some(step) = second_machine(record, machine, instance, view, hand) {
        return step;
    }
    match (goal, &instance.status) {
        (_, Status::Deleting) => Step::Wait(view.now + POLL),
        (Goal::Running(_), Status::Failed(_)) | (Goal::Absent | Goal::Kept, _) => {
            end(record, machine, instance, view, goal, hand)
        }
        (Goal::Running(_), _) if machine.ending.is_some() => {
            let mut kept = record.clone();
            kept.machine.as_mut().expect("it was matched").ending = None;
            Step::Write(Box::new(kept))
        }
        (Goal::Running(_), _) => Step::Done(Some(machine.id.clone())),
    }
}

fn end(
    record: &Record,
    machine: &Rented,
    instance: &Instance,
    view: View<'_>,
    goal: &Goal,
    hand: &mut Hand,
) -> Step {
    if matches!(instance.status, Status::Ordered(_) | Status::Provisioning) {
        return Step::Wait(view.now + POLL);
    }
    let keeps = keeps_disk(machine, instance, goal);
    let Some(kept) = keeps.then(|| disk_of(machine, instance)).map_or(Some(None), |disk| disk.map(Some))
    else {
        // The disk that is to stay can't be named yet, so nothing shows that it stays.
        return Step::Wait(view.now + POLL);
    };
    let usable = |proof: &Proof| {
        proof.machine() == machine.id && proof.is_valid(view.now) && proof.keeps_disk() == keeps
    };
    let unused = || {
        let by_nobody = guard::prove_unused(&machine.id, machine.may_hold_work(), view.now);
        by_nobody.or_else(|| {
            returns_disk(machine, instance).then(|| guard::prove_kept_unused(&machine.id, view.now))
        })
    };
    let Some(proof) = hand.proof.take().filter(usable).or_else(unused) else { return Step::Prove };
    let volumes = if keeps { Vec::new() } else { volumes_of(instance) };
    let volume = |disk: &Option<Disk>| disk.as_ref().map(|disk| disk.volume.clone());
    let noted = machine
        .ending
        .as_ref()
        .is_some_and(|ending| same(&ending.volumes, &volumes) && volume(&ending.kept) == volume(&kept));
    if noted && keeps && instance.status == Status::Running {
        hand.proof = Some(proof);
        return Step::ShutDown(machine.id.clone());
    }
    if noted {
        return Step::Delete(proof);
    }
    hand.proof = Some(proof);
    let mut ending = record.clone();
    ending.machine.as_mut().expect("it was matched").ending = Some(Ended {
        id: machine.id.clone(),
        at: view.now,
        volumes,
        discarded: Vec::new(),
        kept,
        receipt: None,
    });
    Step::Write(Box::new(ending))
}

/// Whether the machine's disk outlives it: where that is the goal, and where a kept disk was never booted.
fn keeps_disk(machine: &Rented, instance: &Instance, goal: &Goal) -> bool {
    machine.may_hold_work() && (*goal == Goal::Kept || returns_disk(machine, instance))
}

/// Whether the machine failed before anybody could work on the kept disk that it was to boot.
fn returns_disk(machine: &Rented, instance: &Instance) -> bool {
    machine.booted.is_some() && !machine.login && matches!(instance.status, Status::Failed(_))
}

fn disk_of(machine: &Rented, instance: &Instance) -> Option<Disk> {
    let booted = || machine.booted.as_ref().map(|disk| disk.volume.clone());
    let volume = instance.os_volume.clone().or_else(booted)?;
    let (asked, base) = (machine.asked.clone(), machine.base.clone());
    let host_key = machine.disk_key();
    Some(Disk { volume, location: instance.location.clone(), asked, host_key, base })
}

fn same(some: &[String], others: &[String]) -> bool {
    some.len() == others.len() && some.iter().all(|id| others.contains(id))
}

fn without_machine(times: Times, record: &Record, view: View<'_>, goal: &Goal, hand: &mut Hand) -> Step {
    let ours = || view.list.iter().filter(|instance| record.may_own(instance));
    if let Some(instance) = record.unrecorded(view.list) {
        return Step::Write(Box::new(record.clone().with_adopted(instance)));
    }
    // There is nothing to know of a machine that is going away, only to wait for.
    if ours().next().is_some() {
        return Step::Wait(view.now + POLL);
    }
    let sendable = |intent: &&Intent| {
        hand.noted == Some(intent.noted_at) && view.now <= intent.noted_at + times.send_within
    };
    if let Some(intent) = record.intent.as_ref().filter(sendable) {
        hand.noted = None;
        return Step::Post(intent.clone());
    }
    if let Some(until) = record.absence_after(times, view.now) {
        return Step::Wait(until.min(view.now + POLL));
    }
    match goal {
        Goal::Running(asked) => {
            let nonce = record.intent.as_ref().map_or(&hand.nonce, |intent| &intent.nonce).clone();
            hand.noted = Some(view.now);
            let boots = record.disk.as_ref().map(|disk| disk.volume.clone());
            let host_keys = foreseen_keys(record, hand);
            let (noted_at, unclear, asked) = (view.now, false, (**asked).clone());
            let intent = Intent { nonce, noted_at, unclear, asked, boots, host_keys };
            Step::Write(Box::new(Record { intent: Some(intent), doubt: None, ..record.clone() }))
        }
        Goal::Absent | Goal::Kept if record.intent.is_some() || record.doubt.is_some() => {
            Step::Write(Box::new(Record { intent: None, doubt: None, ..record.clone() }))
        }
        Goal::Absent | Goal::Kept => Step::Done(None),
    }
}

/// Returns the host keys that the machine may show which is about to be ordered.
///
/// A kept disk has its own. A new one gets the key of this process; an order of another process under the
/// same nonce may still turn up against all expectation, so its key is not forgotten.
fn foreseen_keys(record: &Record, hand: &Hand) -> Vec<String> {
    if let Some(disk) = &record.disk {
        return disk.host_key.iter().cloned().collect();
    }
    let mut keys = record.intent.as_ref().map(|intent| intent.host_keys.clone()).unwrap_or_default();
    keys.extend(hand.host_key.clone().filter(|key| !keys.contains(key)));
    keys.drain(..keys.len().saturating_sub(KEYS));
    keys
}

/// Deals with living machines of this session beside the recorded one.
///
/// One of our own orders holds nothing, since we only ever log in to the recorded machine. Another laptop's,
/// which has a record of its own, stays where it is the older one and nobody has come to ours yet; it sees to
/// the same where ours is the older one. Any other is for a person to decide.
fn second_machine(
    record: &Record,
    machine: &Rented,
    instance: &Instance,
    view: View<'_>,
    hand: &mut Hand,
) -> Option<Step> {
    let other = record.unrecorded(view.list)?;
    if record.makes_way_for(view.list, instance).is_some() {
        return Some(end(record, machine, instance, view, &Goal::Absent, hand));
    }
    Some(match (record.ordered(other), &other.status) {
        (false, _) => Step::Stop(Stop::Several(vec![machine.id.clone(), other.id.clone()])),
        (true, Status::Ordered(_) | Status::Provisioning) => Step::Wait(view.now + POLL),
        (true, _) => guard::prove_unused(&other.id, false, view.now)
            .map_or_else(|| Step::Wait(view.now + POLL), Step::Delete),
    })
}
