//! (spec, lock, observed) → plan; pure.
//!
//! Everything is decided here: what differs, what is done about it and in which order, what stands
//! against deleting, what it costs. Only this module can make an [`Action`]; nothing is written that
//! doesn't carry one out.

mod artifacts;
mod code;
mod machine;
mod money;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use crate::digest::ContentHash;
use crate::error::{Error, ExitCode, Result};
use crate::facts::{Instance, Money, Probe, PublicKey, Server, Status, StoredFile, Volume};
use crate::guard::{self, Discard, Evidence, Finding, Guard};
use crate::lock::Lock;
use crate::observed::Observed;
use crate::record::{Base, Rented};
use crate::spec::{Compress, Spec, State};
use crate::version::file_name;
use crate::world::World;

pub use artifacts::{UPLOAD_LIMIT, stored_contents};
pub use machine::Candidate;
pub use money::{Bill, Billing};

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

    /// Tells whether two plans ask for the same approval: the same changes, actions and findings.
    ///
    /// In which words somebody didn't answer is no part of it: a bad connection has others each time.
    pub fn agrees_with(&self, other: &Self) -> bool {
        let blocked = |plan: &Self| plan.blocked.iter().map(Blocked::wordless).collect::<Vec<_>>();
        let guards = |plan: &Self| plan.guards.iter().map(GuardState::wordless).collect::<Vec<_>>();
        self.desired == other.desired
            && self.actions == other.actions
            && blocked(self) == blocked(other)
            && guards(self) == guards(other)
    }
}

/// One thing that `apply` does. Only the planner makes these.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Action {
    id: usize,
    after: Vec<usize>,
    kind: Kind,
}

impl Action {
    /// Its place in the plan, from 0.
    pub fn id(&self) -> usize {
        self.id
    }

    /// The earlier actions that it waits for.
    pub fn after(&self) -> &[usize] {
        &self.after
    }

    /// What it does.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }
}

#[cfg(test)]
impl Action {
    /// Returns an action that no plan holds, for the tests of what carries actions out.
    pub(crate) fn unplanned(kind: Kind) -> Self {
        Self { id: 0, after: Vec::new(), kind }
    }
}

/// What an action does. Every kind is an idempotent "ensure".
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Kind {
    /// Wait out an open create, or the doubt whether one is open, before absence is believed.
    Settle,
    /// Note in the record a machine of ours that it doesn't know, or that it takes to be ending and that is
    /// to stay.
    Adopt {
        /// The cloud's id.
        machine: String,
    },
    /// Note in the record that its machine is gone.
    Forget {
        /// The cloud's id.
        machine: String,
    },
    /// Register the login key with the account.
    RegisterKey {
        /// The name it gets there.
        name: String,
        /// The key.
        key: PublicKey,
    },
    /// Create the machine, at the first candidate that is to be had.
    Create {
        /// In order of preference.
        candidates: Vec<Candidate>,
    },
    /// Start a machine that was shut down.
    Start {
        /// The cloud's id.
        machine: String,
    },
    /// Wait until the machine runs, its sshd answers with the right key and the login works.
    Ready,
    /// Clone the repo.
    Clone {
        /// The commit that the checkout must come to; the branch's tip.
        commit: String,
    },
    /// Fast-forward a clean checkout.
    FastForward {
        /// Where it is.
        from: String,
        /// Where it goes.
        to: String,
    },
    /// Store an artifact's bytes as a new version.
    Store {
        /// The artifact's name.
        artifact: String,
        /// Its path under the checkout.
        path: String,
        /// The content that was seen; what is stored is what is there then, and said.
        content: ContentHash,
        /// Its size in bytes.
        size: u64,
        /// How it is packed.
        compress: Compress,
    },
    /// Bring a stored version to the server.
    Pull {
        /// The artifact's name.
        artifact: String,
        /// Its path under the checkout.
        path: String,
        /// The version's name.
        version: String,
        /// The object.
        object: StoredFile,
        /// Whether it is a gzip.
        packed: bool,
        /// The content it must unpack to, where that is known.
        content: Option<ContentHash>,
        /// What lies there now, safe in the store; nothing otherwise.
        replaces: Option<ContentHash>,
    },
    /// Mark the end of set-up: what is newer on the disk from then on is somebody's work.
    SetUp,
    /// Delete the machine and its volumes, once it is proven that nothing on them is lost.
    Delete {
        /// The cloud's id.
        machine: String,
        /// Every volume that goes with it.
        volumes: Vec<String>,
    },
    /// Delete a volume that a machine of ours left behind.
    DeleteVolume {
        /// The cloud's id.
        volume: String,
        /// Its name.
        name: String,
    },
}

/// Bytes on the server that differ from what was brought.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "work", rename_all = "snake_case")]
pub enum Work {
    /// Commits that the remote doesn't have, or paths that differ from the last commit.
    Code {
        /// Names of branches and the like that are ahead.
        unpushed: Vec<String>,
        /// How many paths differ.
        dirty: usize,
    },
    /// An artifact with another content than the version it came from.
    Artifact {
        /// Its name.
        name: String,
        /// The content.
        content: ContentHash,
        /// Its size in bytes.
        size: u64,
        /// The version that was brought, if any.
        base: Option<String>,
    },
}

/// A change that can't be made as things stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "blocked", rename_all = "snake_case")]
pub enum Blocked {
    /// The spec asks for another machine than was created.
    Replace {
        /// What differs: key, what was created, what the spec asks for.
        differences: Vec<(String, String, String)>,
    },
    /// The server's branch has work, and the remote's has moved on.
    BehindWithWork {
        /// The remote's commit.
        to: String,
    },
    /// The checkout is on another branch than the spec asks for.
    OtherBranch {
        /// The branch; none when HEAD is detached.
        found: Option<String>,
    },
    /// What lies at the checkout's path can't be used.
    Checkout {
        /// Why.
        why: String,
    },
    /// The server can't be looked at, so nothing can be brought to it.
    Unreachable {
        /// Why.
        why: String,
    },
    /// The machine vanished without our doing.
    Lost {
        /// Its id.
        machine: String,
    },
    /// The machine is in a state that we don't know.
    Unsettled {
        /// Its id.
        machine: String,
        /// The cloud's word.
        status: String,
    },
    /// An artifact to be stored is larger than one upload takes.
    TooLarge {
        /// Its name.
        name: String,
        /// Its size in bytes.
        size: u64,
    },
}

impl Blocked {
    /// Returns it without the words of a failed connection.
    fn wordless(&self) -> Self {
        match self {
            Self::Unreachable { .. } => Self::Unreachable { why: String::new() },
            other => other.clone(),
        }
    }
}

/// Something to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "note", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields say what the variants are about")]
pub enum Note {
    /// None of the candidates is in stock, as far as the cloud says.
    OutOfStock,
    /// No stored version of the artifact exists yet.
    NoVersion { artifact: String },
    /// A newer version is stored, but the server's bytes are work and stay.
    NewerStored { artifact: String, version: String },
    /// The next `up` brings the pinned version, not the one that is stored now.
    Pinned { artifact: String, version: String },
    /// The artifact's file isn't there, or is empty.
    MissingArtifact { artifact: String },
    /// The artifact's path holds something that can't be read.
    UnreadableArtifact { artifact: String, why: String },
    /// The laptop's own commits won't reach the server.
    LaptopUnpushed { commits: usize, dirty: bool },
    /// The spec's key isn't the one that the machine was created with.
    OtherKey { created_with: String },
    /// No agent answers, or it doesn't hold the spec's key, and the private key isn't there either.
    CannotLogIn { fingerprint: String, agent: bool },
    /// A volume bills that no machine of this session holds, or that its machine leaves behind.
    LeftVolume { id: String, name: String, price_per_hour: Money },
    /// Another machine in the account bills.
    OtherMachine { id: String, hostname: String, price_per_hour: Money, session: Option<String> },
    /// What is on the machine isn't known: no login has been completed.
    NotLoggedIn,
    /// GPU wasn't reported by the server.
    NoGpu,
}

/// One guard, judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GuardState {
    /// Which.
    pub guard: Guard,
    /// What stands against it.
    pub findings: Vec<Finding>,
    /// What was named as a loss.
    pub discarded: Vec<Finding>,
    /// What speaks for it.
    pub evidence: Vec<Shown>,
}

impl GuardState {
    /// Returns it without the words of failed connections.
    fn wordless(&self) -> Self {
        let wordless = |finding: &Finding| match finding {
            Finding::Unreachable { .. } => Finding::Unreachable { why: String::new() },
            Finding::RemoteUnreachable { .. } => Finding::RemoteUnreachable { why: String::new() },
            other => other.clone(),
        };
        let Self { guard, findings, discarded, evidence } = self;
        let [findings, discarded] = [findings, discarded].map(|all| all.iter().map(wordless).collect());
        Self { guard: *guard, findings, discarded, evidence: evidence.clone() }
    }
}

/// Something that was shown to be safe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "shown", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields say what the variants are about")]
pub enum Shown {
    /// Every one of so many tips is contained in the remote.
    Pushed { tips: usize, head: Option<String> },
    /// There is no checkout.
    NoCheckout,
    /// The content is a stored version.
    Stored { artifact: String, version: String },
    /// The content will be stored first.
    WillBeStored { artifact: String },
    /// There is nothing at the artifact's path.
    NothingThere { artifact: String },
    /// No file is newer than the end of set-up.
    NoNewFiles,
    /// No program is at work.
    NoProcesses,
    /// No login of ours was ever completed.
    NeverUsed,
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
        Ok(Self { request, observed, machine, unknown, plan })
    }

    fn add(&mut self, kind: Kind) -> usize {
        let id = self.plan.actions.len();
        let after = self.plan.actions.iter().filter(|earlier| waits_for(&kind, &earlier.kind));
        let after = after.map(|earlier| earlier.id).collect();
        self.plan.actions.push(Action { id, after, kind });
        id
    }

    fn note(&mut self, note: Note) {
        self.plan.notes.push(note);
    }

    fn run(&mut self) -> Result<()> {
        let fresh = self.bring_machine()?;
        self.bring_code(fresh)?;
        self.bring_artifacts(fresh)?;
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

    fn end(&mut self) {
        self.forget_unknown();
        let Some(living) = self.machine else {
            return match self.unrecorded() {
                Some(ours) => drop(self.add(Kind::Adopt { machine: ours.id.clone() })),
                None => self.settle(),
            };
        };
        self.plan.observed = self.observed_world(living);
        match &living.instance.status {
            Status::Discontinued => self.gone(living),
            Status::Deleting if living.rented.is_in_use() => self.unsettled(living),
            _ => self.delete(living),
        }
    }

    fn forget_unknown(&mut self) {
        if let Some(unknown) = self.unknown {
            self.add(Kind::Forget { machine: unknown.id.clone() });
        }
    }

    /// An open create may still arrive, a machine may still be going: absence is waited for, not believed.
    fn settle(&mut self) {
        let record = &self.observed.record;
        let going = self.observed.cloud.instances.iter().any(|instance| record.may_own(instance));
        if going || record.intent.is_some() || record.absence_from(self.observed.now()).is_some() {
            self.add(Kind::Settle);
        }
    }

    fn unsettled(&mut self, living: Living<'_>) {
        let (machine, status) = (living.rented.id.clone(), living.instance.status.to_string());
        self.plan.blocked.push(Blocked::Unsettled { machine, status });
    }

    fn gone(&mut self, living: Living<'_>) {
        let named = self.request.discards.contains(&Discard::Gone);
        if living.rented.is_in_use() && !named {
            self.plan.blocked.push(Blocked::Lost { machine: living.rented.id.clone() });
        } else {
            self.plan.observed = World::default();
            self.add(Kind::Forget { machine: living.rented.id.clone() });
            self.settle();
        }
    }

    /// Plans the end of a machine. One that is already going was judged when that was decided: nothing can
    /// be shown on it any more, and what is left to do is to wait until it is gone.
    fn delete(&mut self, living: Living<'_>) {
        if living.instance.status != Status::Deleting {
            let stored = if living.rented.login { self.store_work() } else { Vec::new() };
            self.judge(living, &stored);
        }
        let mut volumes = crate::record::volumes_of(living.instance);
        volumes.sort();
        self.note_kept_volumes(living, &volumes);
        self.add(Kind::Delete { machine: living.rented.id.clone(), volumes });
    }

    /// A volume that somebody attached goes on billing when the machine is gone, and isn't ours to delete.
    fn note_kept_volumes(&mut self, living: Living<'_>, going: &[String]) {
        let kept =
            |volume: &&Volume| living.instance.volumes.contains(&volume.id) && !going.contains(&volume.id);
        let mut kept: Vec<&Volume> = self.observed.cloud.volumes.iter().filter(kept).collect();
        kept.sort_by_key(|volume| &volume.id);
        kept.into_iter().for_each(|volume| self.note(left(volume)));
    }

    /// Judges the guards on the evidence as it will be once the planned versions are stored.
    fn judge(&mut self, living: Living<'_>, will_be_stored: &[String]) {
        if !living.rented.login {
            let evidence = vec![Shown::NeverUsed];
            self.plan.guards.push(GuardState {
                guard: Guard::Server,
                findings: Vec::new(),
                discarded: Vec::new(),
                evidence,
            });
            return;
        }
        let paths = artifact_paths(self.request.spec);
        let mut stored = stored_contents(self.request.spec, &self.observed.store.files);
        stored.extend(
            self.seen_artifacts()
                .into_iter()
                .filter_map(|(name, content)| will_be_stored.contains(&name).then_some(content)),
        );
        let evidence = evidence(self.request.spec, self.observed, &paths, &stored);
        let mut all = guard::findings(&evidence);
        all.sort();
        let against = guard::uncovered(all.clone(), self.request.discards);
        for which in Guard::ALL {
            let findings: Vec<_> = against.iter().filter(|f| f.guard() == which).cloned().collect();
            let discarded: Vec<_> =
                all.iter().filter(|f| f.guard() == which && !against.contains(f)).cloned().collect();
            let shown = self.shown(which, will_be_stored, findings.is_empty() && discarded.is_empty());
            if !findings.is_empty() || !discarded.is_empty() || !shown.is_empty() {
                self.plan.guards.push(GuardState { guard: which, findings, discarded, evidence: shown });
            }
        }
    }

    fn shown(&self, guard: Guard, will_be_stored: &[String], clean: bool) -> Vec<Shown> {
        let Server::Seen(probe) = &self.observed.server else { return Vec::new() };
        match guard {
            Guard::Repo if clean => vec![probe.checkout.as_ref().map_or(Shown::NoCheckout, |checkout| {
                Shown::Pushed { tips: checkout.tips.len(), head: checkout.head.clone() }
            })],
            Guard::Artifacts => self.shown_artifacts(will_be_stored),
            Guard::Files if clean => vec![Shown::NoNewFiles],
            Guard::Processes if clean => vec![Shown::NoProcesses],
            _ => Vec::new(),
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

    /// Volumes of ours that no machine holds: deleted where our own receipt explains them, else shown.
    fn leftover_volumes(&mut self) {
        let left_behind = |volume: &&Volume| {
            self.observed.owns_tags(&volume.tags)
                && !matches!(volume.status.as_str(), "deleted" | "deleting")
                && !self.is_held(volume)
        };
        let mut ours: Vec<&Volume> = self.observed.cloud.volumes.iter().filter(left_behind).collect();
        ours.sort_by_key(|volume| &volume.id);
        for volume in ours {
            let named = self.request.discards.contains(&Discard::Volume(volume.id.clone()));
            let deletable = volume.status == "detached" && volume.instance.is_none();
            if deletable && (named || self.is_explained(volume)) {
                self.add(Kind::DeleteVolume { volume: volume.id.clone(), name: volume.name.clone() });
            } else {
                self.note(left(volume));
            }
        }
    }

    /// Tells whether a machine that is there has the volume; the volume's own word may outlive its machine.
    fn is_held(&self, volume: &Volume) -> bool {
        let record = &self.observed.record;
        let there = |instance: &&Instance| {
            instance.status != Status::Discontinued && !record.gone.contains(&instance.id)
        };
        let recorded = self.machine.map(|living| living.instance);
        self.observed.cloud.instances.iter().chain(recorded).filter(there).any(|instance| {
            instance.volumes.contains(&volume.id) || volume.instance.as_ref() == Some(&instance.id)
        })
    }

    /// Tells whether a receipt of ours says that the volume was to go with a machine that did go.
    ///
    /// The recorded machine's own receipt counts once the machine is gone: before that it may have been
    /// written for a deletion that never happened, and the disk may have been worked on since.
    fn is_explained(&self, volume: &Volume) -> bool {
        let gone = self.machine.filter(|living| living.instance.status == Status::Discontinued);
        match gone {
            Some(living) if living.instance.volumes.contains(&volume.id) => {
                living.rented.ending.as_ref().is_some_and(|ending| ending.volumes.contains(&volume.id))
            }
            _ => self.observed.record.ended.as_ref().is_some_and(|ended| ended.volumes.contains(&volume.id)),
        }
    }

    fn recorded(&self) -> Option<&'a String> {
        self.observed.record.machine.as_ref().map(|machine| &machine.id)
    }

    /// The machine of ours that the record doesn't know; the oldest where there are several.
    fn unrecorded(&self) -> Option<&'a Instance> {
        let record = &self.observed.record;
        let ours = self.observed.cloud.instances.iter().filter(|instance| {
            record.may_own(instance)
                && instance.status != Status::Deleting
                && self.recorded() != Some(&instance.id)
        });
        ours.min_by_key(|instance| (instance.created_at, &instance.id))
    }

    fn base(&self) -> Option<&'a Base> {
        self.machine.map(|living| &living.rented.base)
    }

    fn finish(self) -> Plan {
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

/// Gathers what the guards judge.
pub fn evidence<'a>(
    spec: &Spec,
    observed: &'a Observed,
    artifacts: &'a BTreeMap<String, String>,
    stored: &'a [ContentHash],
) -> Evidence<'a> {
    let remote = match &observed.server {
        Server::Seen(probe) => probe.checkout.as_ref().and_then(|checkout| checkout.remote.as_deref()),
        _ => None,
    };
    Evidence {
        machine: observed.record.machine.as_ref().map_or("", |machine| machine.id.as_str()),
        taken_at: observed.now(),
        server: &observed.server,
        repo: &observed.repo,
        url_matches: remote == Some(spec.repo.url.as_str()),
        artifacts,
        stored,
    }
}

/// Returns artifact name → path under the checkout.
pub fn artifact_paths(spec: &Spec) -> BTreeMap<String, String> {
    spec.artifacts.iter().map(|(name, artifact)| (name.clone(), artifact.path.clone())).collect()
}

/// Tells whether an action has to wait for an earlier one.
///
/// A session has one machine, so nearly everything waits for everything before it. Transfers of different
/// files don't wait for each other; versions are named for the file, so two artifacts whose files have one
/// name take turns. A volume left behind earlier has nothing to do with the machine of today: it goes even if
/// that one may not.
fn waits_for(kind: &Kind, earlier: &Kind) -> bool {
    match (kind, earlier) {
        (Kind::DeleteVolume { .. }, earlier) => matches!(earlier, Kind::Forget { .. }),
        (Kind::Pull { path, .. }, Kind::Pull { path: other, .. })
        | (Kind::Store { path, .. }, Kind::Store { path: other, .. }) => {
            file_name(path).eq_ignore_ascii_case(file_name(other))
        }
        _ => true,
    }
}

fn left(volume: &Volume) -> Note {
    Note::LeftVolume {
        id: volume.id.clone(),
        name: volume.name.clone(),
        price_per_hour: volume.price_per_hour,
    }
}

fn other_account(session: &str, id: &str) -> Error {
    Error::of(ExitCode::Refused, format!("the account doesn't know machine `{id}` of `{session}`"))
        .why("the session's record says that it lives")
        .hint(
            "are these the credentials of the account that rented it? Use the right ones; \
             if the machine is truly gone, say so with `--discard server:gone`",
        )
}
