//! Carries out a plan, action by action, and says what happens as events.
//!
//! Nothing is decided here outside `record::next` and `guard::prove`: what is known only now (a new
//! machine's address, fresh evidence) is looked up, not chosen. Every action can be run again.

mod bring;
mod hold;
mod machine;
mod orphans;
mod prune;
mod shared;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::error::{Error, ExitCode, Result};
use crate::event::{Event, Sender, Stage};
use crate::guard::{Discard, Finding};
use crate::plan::{Action, Kind, Plan, Prune};
use crate::provider::Providers;
use crate::record::Goal;
use crate::spec::{Spec, State};

pub use hold::{Hold, holding, refuse_held, take_lease};
pub use orphans::remove;
use shared::Shared;

/// Set by the first Ctrl-C; looked at between calls, so that a call in flight is finished.
#[derive(Clone, Default)]
pub struct Interrupt(Arc<(AtomicBool, Notify)>);

impl Interrupt {
    /// Asks for a stop at the next safe point.
    pub fn request(&self) {
        self.0.0.store(true, Ordering::SeqCst);
        self.0.1.notify_waiters();
    }

    /// Tells whether a stop was asked for.
    pub fn is_requested(&self) -> bool {
        self.0.0.load(Ordering::SeqCst)
    }

    /// Carries out what a later run can go on with, up to its end or until a stop is asked for.
    async fn ends<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            done = work => done,
            () = self.requested() => Err(interrupted()),
        }
    }

    /// Waits until a stop is asked for.
    pub async fn requested(&self) {
        let notified = self.0.1.notified();
        if !self.is_requested() {
            notified.await;
        }
    }
}

/// What carrying out a plan needs beside the plan.
pub struct Context<'a> {
    /// The four worlds.
    pub providers: &'a Providers,
    /// The spec that was planned for.
    pub spec: &'a Spec,
    /// Where it lies.
    pub spec_directory: &'a Path,
    /// Losses named with `--discard`.
    pub discards: &'a [Discard],
    /// The account's currency.
    pub currency: &'a str,
    /// A source of fresh random words, for nonces.
    pub random: &'a (dyn Fn() -> String + Sync),
    /// Where events go.
    pub events: Sender,
    /// Ctrl-C.
    pub interrupt: Interrupt,
}

/// How carrying out a plan ended.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The first failure; none when everything was done.
    pub error: Option<Error>,
    /// What stood against a deletion when the evidence was taken afresh.
    pub findings: Vec<Finding>,
    /// Whether Ctrl-C ended it early.
    pub interrupted: bool,
}

/// Carries out the plan under the lease that `hold` stands for.
///
/// Actions run in the plan's order; one that waits for a failed one isn't started. A plan with blocked
/// changes or findings is carried out as far as it goes: its deletion fails on the evidence.
pub async fn apply(plan: &Plan, context: &Context<'_>, hold: &mut Hold) -> Outcome {
    // Whoever ends the session without its session.toml at hand does it by what the record says.
    if context.spec.state == State::Running {
        hold.note_spec(context.spec);
    }
    act(&plan.actions, context, hold).await
}

/// Deletes the versions that are planned to go, under the lease that `hold` stands for.
pub async fn prune(plan: &Prune, context: &Context<'_>, hold: &mut Hold) -> Outcome {
    act(&plan.actions, context, hold).await
}

async fn act(actions: &[Action], context: &Context<'_>, hold: &mut Hold) -> Outcome {
    let mut outcome = Outcome::default();
    let mut failed: Vec<usize> = Vec::new();
    let mut shared = Shared::default();
    write_receipts(context, hold).await;
    for action in actions {
        let held_up = action.after().iter().any(|id| failed.contains(id));
        if held_up || context.interrupt.is_requested() {
            outcome.interrupted |= !held_up;
            failed.push(action.id());
            context.events.send(Event::NotStarted { id: action.id() });
            continue;
        }
        if !action.is_transfer() {
            shared.close().await;
        }
        if let Err(error) = carry_out(action, context, hold, &mut shared, &mut outcome).await {
            shared.close().await;
            failed.push(action.id());
            context.events.send(Event::Failed { id: action.id(), error: error.clone() });
            outcome.interrupted |= error.kind == ExitCode::Interrupted;
            outcome.error.get_or_insert(error);
        }
    }
    shared.close().await;
    if let Err(error) = hold.write_notes(context.providers).await {
        outcome.error.get_or_insert(error);
    }
    write_receipts(context, hold).await;
    outcome
}

/// Puts the receipts of machines that are gone beside the record, which held them until now.
///
/// Where that fails the record goes on holding them, for the next run; the end itself is done.
async fn write_receipts(context: &Context<'_>, hold: &mut Hold) {
    for receipt in hold.record().receipts.clone() {
        if context.providers.memory.write_receipt(&receipt).await.is_ok() {
            // Written with the release of the lease: the same receipt twice is one.
            hold.note(hold.record().clone().with_written(&receipt));
        }
    }
}

async fn carry_out(
    action: &Action,
    context: &Context<'_>,
    hold: &mut Hold,
    shared: &mut Shared,
    outcome: &mut Outcome,
) -> Result<()> {
    let started = Instant::now();
    context.events.send(Event::Started { action: action.clone() });
    let mut run = Run {
        context,
        hold,
        action,
        shared,
        waited: Duration::ZERO,
        unclear: Vec::new(),
        late: 0,
        late_since: None,
    };
    match action.kind() {
        Kind::Settle => run.settle().await?,
        Kind::Adopt { .. } | Kind::EndTwin { .. } => run.adopt().await?,
        Kind::MakeWay { machine, .. } => run.make_way(machine).await.map(drop)?,
        Kind::Forget { .. } => run.forget().await?,
        Kind::Recover { volume, location, .. } => run.recover(volume, location).await?,
        Kind::RestoreVolume { volume, .. } => run.restore_volume(volume).await?,
        Kind::CheckStock { candidates } => run.check_stock(candidates).await?,
        Kind::RegisterKey { name, key } => run.register_key(name, key).await?,
        Kind::Create { candidates, .. } => run.create(candidates).await?,
        Kind::Start { machine } => run.start(machine).await?,
        Kind::Ready => run.ready().await?,
        Kind::Clone { commit } => run.clone_repo(commit).await?,
        Kind::FastForward { to, .. } => run.fast_forward(to).await?,
        Kind::Store { artifact, place, path, compress, .. } => {
            run.store(artifact, *place, path, *compress).await?;
        }
        Kind::Pull { .. } => run.pull().await?,
        Kind::SaveBranch { snapshot, tips, tags, .. } => run.save_branch(snapshot, tips, tags).await?,
        Kind::RunStep { position, .. } => run.run_step(*position).await?,
        Kind::InstallPackages { packages } => run.install_packages(packages).await?,
        Kind::StartNotebook { .. } => run.start_notebook().await?,
        Kind::StopNotebook => run.stop_notebook().await?,
        Kind::Commit { branch, message, files, .. } => run.commit(branch, message, files).await?,
        Kind::SetUp => run.finish_set_up().await?,
        Kind::Delete { .. } => run.end(&Goal::Absent, outcome).await?,
        Kind::DeleteVersion { object, manifests, .. } => {
            run.delete_version(object.iter().chain(manifests)).await?
        }
        Kind::KeepDisk { .. } => run.end(&Goal::Kept, outcome).await?,
        Kind::Purge { volume, .. } => run.purge(volume).await?,
        // The spec was noted when the plan began; this makes sure that it is written.
        Kind::NoteLimits { .. } => run.hold.renew(context.providers).await?,
        Kind::DeleteVolume { volume, .. } => run.delete_volume(volume).await?,
    }
    let seconds = started.elapsed().as_secs_f64();
    context.events.send(Event::Done { id: action.id(), seconds });
    Ok(())
}

/// One action under way.
struct Run<'a, 'c> {
    context: &'a Context<'c>,
    hold: &'a mut Hold,
    action: &'a Action,
    shared: &'a mut Shared,
    /// How long the protocol has waited for the cloud to settle.
    waited: Duration,
    /// What was said instead of a clear answer to each order so far.
    unclear: Vec<String>,
    /// How many looks were too old for the order or the deletion that was to rest on them.
    late: usize,
    /// When the first of them was.
    late_since: Option<Instant>,
}

impl Run<'_, '_> {
    fn stage(&self, stage: Stage) {
        self.context.events.stage(self.action.id(), stage);
    }

    fn providers(&self) -> &Providers {
        self.context.providers
    }

    /// Sleeps on the one clock; Ctrl-C and the loss of the lease end the wait.
    async fn wait(&self, duration: Duration) -> Result<()> {
        tokio::select! {
            slept = self.hold.during(self.providers().sleep(duration)) => slept,
            () = self.context.interrupt.requested() => Err(interrupted()),
        }
    }
}

fn interrupted() -> Error {
    Error::of(ExitCode::Interrupted, "interrupted").hint("run the same command again to go on")
}
