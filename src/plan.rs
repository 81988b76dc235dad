//! (spec, lock, observed) → plan; pure.
//!
//! Everything is decided here: what differs, what is done about it and in which order, what stands
//! against deleting, what it costs. Only this module can make an [`Action`]; nothing is written that
//! doesn't carry one out.

mod action;
mod approval;
mod artifacts;
mod code;
mod disk;
mod due;
mod end;
mod environment;
mod machine;
mod money;
mod notebook;
mod only;
mod orphans;
mod prune;
mod save;
mod save_now;
mod set_up;
#[cfg(test)]
mod tests;
mod told;
mod transfers;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use crate::error::{Error, ExitCode, Result};
use crate::facts::{ArtifactFile, Instance, Probe, Server, Status};
use crate::guard::Discard;
use crate::lock::Lock;
use crate::observed::Observed;
use crate::record::{Base, Rented};
use crate::spec::{Spec, State};
use crate::world::World;

pub use action::{Action, Kind, Place};
pub use approval::Approval;
pub use artifacts::{UPLOAD_LIMIT, store_limit, stored_contents};
pub use disk::LostDisk;
pub use due::{Due, due};
pub use end::{artifact_paths, evidence};
pub use environment::{Difference, to_be_brought};
pub use machine::Candidate;
pub use money::{Bill, Billing, Until};
pub use only::Part;
pub use orphans::{Orphan, orphans, removal};
pub use prune::{By, Judged, Mention, Prune, PruneRequest, Pruned, Reason, Uploads, prune, unknown_artifact};
pub use save_now::plan_save;
pub use set_up::StepReason;
pub use told::{Blocked, GuardState, Note, Shown, Work};
pub use transfers::{Direction, Transfers, plan_transfers};

/// What is to be done, and everything that a person needs to approve it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    /// The session's name.
    pub session: String,
    /// The cloud's clock when the look was taken.
    pub at: Timestamp,
    /// What `session.toml` asks for, resolved. Only what is known to differ differs from `observed`.
    pub desired: World,
    /// What is there; work counts as what it is based on.
    pub observed: World,
    /// What `apply` will do, in an order that can be run.
    pub actions: Vec<Action>,
    /// Bytes on the server that differ from the base: shown, protected, never a change.
    pub work: Vec<Work>,
    /// Changes that can't be made as things stand; `apply` does the rest and exits 5.
    pub blocked: Vec<Blocked>,
    /// What is shown before the machine goes; empty unless it is to go.
    pub guards: Vec<GuardState>,
    /// What a person should know; nothing is done about it.
    pub notes: Vec<Note>,
    /// What it costs.
    pub money: Bill,
}

impl Plan {
    /// Tells whether there is anything to do or to complain about.
    pub fn is_empty(&self) -> bool {
        self.actions.is_empty() && self.blocked.is_empty()
    }

    /// Tells whether `apply` can carry all of it out.
    pub fn is_refused(&self) -> bool {
        !self.blocked.is_empty() || self.guards.iter().any(|state| !state.findings.is_empty())
    }
}

/// How the user asks for this plan.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// `session.toml`, with overrides.
    pub spec: &'a Spec,
    /// `session.lock`, where there is one.
    pub lock: Option<&'a Lock>,
    /// `--locked`: bring exactly what the lock says.
    pub locked: bool,
    /// Losses named with `--discard`.
    pub discards: &'a [Discard],
    /// `--keep-disk`: a machine that is to go leaves its disk.
    pub keep_disk: bool,
    /// `--purge`: what went into the trash with this session's machines goes for good.
    pub purge: bool,
    /// `--replace`: a machine that isn't what the spec asks for makes way for another.
    pub replace: bool,
    /// `--only`: the parts whose actions are wanted; all of them when none is named.
    pub only: &'a [Part],
}

impl<'a> Request<'a> {
    /// Returns the plainest request: nothing named, nothing allowed beyond the spec.
    pub fn of(spec: &'a Spec) -> Self {
        Self {
            spec,
            lock: None,
            locked: false,
            discards: &[],
            keep_disk: false,
            purge: false,
            replace: false,
            only: &[],
        }
    }
}

/// Plans what leads from the observed world to the spec's.
///
/// Fails only where the spec asks for something that doesn't exist, or somebody else's machine has the name.
pub fn plan(request: Request<'_>, observed: &Observed) -> Result<Plan> {
    let mut draft = Draft::new(request, observed)?;
    draft.stop_at_a_namesake()?;
    draft.note_the_surroundings();
    match request.spec.state {
        State::Running => draft.run()?,
        State::Absent => draft.end(),
    }
    draft.leftover_volumes();
    draft.purge();
    Ok(draft.finish())
}

/// Returns the lock that the present world resolves the spec to.
pub fn lock(spec: &Spec, observed: &Observed, before: Option<&Lock>) -> Lock {
    machine::lock(spec, observed, before)
}

/// A plan in the making.
struct Draft<'a> {
    request: Request<'a>,
    observed: &'a Observed,
    /// The recorded machine as the cloud shows it.
    machine: Option<Living<'a>>,
    /// The recorded machine where the account doesn't know it and the user named it as gone.
    unknown: Option<&'a Rented>,
    /// Where the artifacts are that this is about, and what lies there; none where that can't be seen.
    place: Place,
    files: Option<&'a BTreeMap<String, ArtifactFile>>,
    plan: Plan,
}

/// A machine of ours that is there.
#[derive(Clone, Copy)]
struct Living<'a> {
    rented: &'a Rented,
    instance: &'a Instance,
}

impl<'a> Draft<'a> {
    fn new(request: Request<'a>, observed: &'a Observed) -> Result<Self> {
        let plan = Plan {
            session: request.spec.name.clone(),
            at: observed.now(),
            desired: World::default(),
            observed: World::default(),
            actions: Vec::new(),
            work: Vec::new(),
            blocked: Vec::new(),
            guards: Vec::new(),
            notes: Vec::new(),
            money: Bill::default(),
        };
        let (machine, unknown) = match (&observed.record.machine, observed.instance()) {
            (Some(rented), Some(instance)) => (Some(Living { rented, instance }), None),
            (Some(rented), None) if request.discards.contains(&Discard::Gone) => (None, Some(rented)),
            (Some(rented), None) => return Err(other_account(&request.spec.name, &rented.id)),
            (None, _) => (None, None),
        };
        let files = match &observed.server {
            Server::Seen(probe) => Some(&probe.artifacts),
            Server::None | Server::Unreachable(_) => None,
        };
        Ok(Self { request, observed, machine, unknown, place: Place::Server, files, plan })
    }

    fn add(&mut self, kind: Kind) -> usize {
        let action = Action::new(kind, &self.plan.actions);
        let id = action.id();
        self.plan.actions.push(action);
        id
    }

    fn note(&mut self, note: Note) {
        self.plan.notes.push(note);
    }

    fn run(&mut self) -> Result<()> {
        self.note_limits();
        let fresh = self.bring_machine()?;
        self.bring_code(fresh)?;
        self.bring_artifacts(fresh)?;
        self.bring_set_up(fresh)?;
        self.bring_notebook(fresh);
        self.mark_set_up(fresh);
        Ok(())
    }

    /// Set-up ends when everything was brought; work that stands in the way doesn't hold it up.
    ///
    /// On a server that was there before, the marker would hide every file made since the first login: it
    /// is put down only where there is none. Without it the files guard goes on counting from that login.
    fn mark_set_up(&mut self, fresh: Fresh) {
        let nothing_new =
            |probe: &Probe| probe.files.as_ref().is_some_and(Vec::is_empty) && probe.more_files == 0;
        let unmarked = match &self.observed.server {
            Server::Seen(probe) if fresh == Fresh::No => !probe.set_up && nothing_new(probe),
            _ => false,
        };
        if fresh == Fresh::Yes || unmarked {
            self.add(Kind::SetUp);
        }
    }

    fn stop_at_a_namesake(&self) -> Result<()> {
        let record = &self.observed.record;
        let strangers = self.observed.cloud.instances.iter().filter(|instance| {
            let other = |(session, store)| session == record.session && store != record.store;
            crate::record::mark(instance).is_some_and(other) && instance.status != Status::Discontinued
        });
        let Some(instance) = strangers.min_by_key(|instance| &instance.id) else { return Ok(()) };
        Err(Error::of(
            ExitCode::Refused,
            format!("a machine of another session named `{}` is in this account", record.session),
        )
        .why(format!("machine `{}` carries this name with another store", instance.id))
        .hint("give this session another `name`, or use the store that the machine was created with"))
    }

    fn note_the_surroundings(&mut self) {
        money::bill(self);
        self.note_the_laptop();
        self.note_other_machines();
    }

    fn note_the_laptop(&mut self) {
        let wanted = self.request.spec.state == State::Running;
        if let Some(local) = &self.observed.repo.local
            && wanted
            && (local.unpushed > 0 || local.dirty)
        {
            self.note(Note::LaptopUnpushed { commits: local.unpushed, dirty: local.dirty });
        }
        let fingerprint = self.observed.key.fingerprint();
        let laptop = &self.observed.laptop;
        let in_agent = laptop.agent.as_ref().is_some_and(|keys| keys.contains(&fingerprint));
        if !in_agent && !laptop.private_key && (wanted || self.machine.is_some()) {
            self.note(Note::CannotLogIn { fingerprint, agent: laptop.agent.is_some() });
        }
    }

    fn note_other_machines(&mut self) {
        let record = &self.observed.record;
        let other = |instance: &&Instance| {
            !record.owns(instance)
                && record.machine.as_ref().is_none_or(|machine| machine.id != instance.id)
                && !matches!(instance.status, Status::Discontinued | Status::Deleting | Status::Failed(_))
        };
        let mut others: Vec<&Instance> = self.observed.cloud.instances.iter().filter(other).collect();
        others.sort_by_key(|instance| &instance.id);
        self.plan.notes.extend(others.into_iter().map(|instance| Note::OtherMachine {
            id: instance.id.clone(),
            hostname: instance.hostname.clone(),
            price_per_hour: instance.price_per_hour,
            session: crate::record::mark(instance).map(|(session, _)| session),
        }));
    }

    /// The machine of ours that the record doesn't know; the oldest where there are several.
    fn unrecorded(&self) -> Option<&'a Instance> {
        self.observed.record.unrecorded(&self.observed.cloud.instances)
    }

    /// What was last brought to where the artifacts are; nobody remembers that of the laptop.
    fn base(&self) -> Option<&'a Base> {
        self.machine.filter(|_| self.place == Place::Server).map(|living| &living.rented.base)
    }

    fn finish(mut self) -> Plan {
        if !self.request.only.is_empty() {
            let actions = self.plan.keep_only(self.request.only);
            if actions > 0 {
                self.note(Note::LeftOut { actions });
            }
        }
        self.plan
    }
}

/// Whether the server's disk is, or will be, as the image made it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fresh {
    Yes,
    No,
    /// It is not known: the server couldn't be looked at.
    Unknown,
}

fn other_account(session: &str, id: &str) -> Error {
    Error::of(ExitCode::Refused, format!("the account doesn't know machine `{id}` of `{session}`"))
        .why("the session's record says that it lives")
        .hint(
            "are these the credentials of the account that rented it? Use the right ones; \
             if the machine is truly gone, say so with `--discard server:gone`",
        )
}
