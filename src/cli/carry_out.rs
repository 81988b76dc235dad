//! `apply`, `up` and `down`: plan, approve, take the lease, look again, act, until nothing is left.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::mpsc::UnboundedReceiver;

use super::artifacts::Moved;
use super::load::Loaded;
use super::saved::Saved;
use super::worlds::Worlds;
use super::{
    Approve, Global, cannot_print, interrupts, is_terminal, look, may_bill, overview, page, print_plan,
    random_word, request, with_trash,
};
use crate::apply::{self, Context, Hold, Interrupt, Outcome, holding, refuse_held};
use crate::error::{Error, ExitCode, Result};
use crate::event::{Event, Sender};
use crate::facts::{ArtifactFile, Server};
use crate::guard::Finding;
use crate::observe::{Held, Reading, observe};
use crate::observed::Observed;
use crate::plan::{self, Kind, Note, Plan, Transfers, artifact_paths};
use crate::provider::repo::{checkout_root, speaks_ssh};
use crate::provider::server::Host;
use crate::report::{self, Live, Mode, Timeline};
use crate::spec::{OnAbsent, Spec, State};

/// An approved plan may uncover a world that needs another: found machines, repaired ones.
pub(super) const ROUNDS: usize = 4;
/// What finding out what bills may take after an interrupt; its own budget, so that it isn't cut short.
const LAST_LOOK: Duration = Duration::from_secs(30);

/// One run of `apply`: what was asked for, and the worlds it is asked of.
pub(super) struct Job<'a> {
    pub(super) global: &'a Global,
    pub(super) approve: &'a Approve,
    pub(super) loaded: &'a Loaded,
    pub(super) worlds: &'a Worlds,
    pub(super) wish: Wish<'a>,
    pub(super) interrupt: Interrupt,
    /// When each step began and ended, over all rounds.
    run: RefCell<Timeline>,
    begun: Instant,
}

/// What is to be carried out.
#[derive(Clone, Copy)]
pub(super) enum Wish<'a> {
    /// What session.toml says.
    Session,
    /// Artifacts are moved, and nothing else.
    Transfers(&'a Moved),
    /// What was changed on the server is saved, under these words.
    Save(&'a str),
}

pub(super) async fn apply(global: &Global, approve: &Approve, state: Option<State>) -> Result<ExitCode> {
    let loaded = Loaded::read(global, state)?;
    let worlds = Worlds::open(global, &loaded).await?;
    let wish = Wish::Session;
    let job = Job::new(global, approve, &loaded, &worlds, wish, interrupts(global));
    for round in 0..ROUNDS {
        let (observed, held, plan) = job.look().await?;
        if plan.actions.is_empty() {
            if !plan.blocked.is_empty() {
                // What seems to be in the way may be what somebody else is about to change.
                refuse_held(&held, &worlds.providers.settings.laptop)?;
            }
            return job.finish(&plan, &observed, round > 0);
        }
        job.print(&plan)?;
        preflight(&plan, &observed, &loaded.spec)?;
        approved(approve.yes, &job.interrupt).await?;
        let outcome = job.act(&plan, held).await?;
        if let Some(code) = job.told(outcome).await? {
            return Ok(code);
        }
    }
    Err(Error::new("the world keeps changing while it is being changed")
        .why(format!("after {ROUNDS} rounds there is still something to do"))
        .hint("`dacapo plan` shows what is left; is somebody else at work on this session?"))
}

/// Carries out the plan in a file, once: it is approved, if it is the one that is made now.
pub(super) async fn apply_saved(global: &Global, file: &Path) -> Result<ExitCode> {
    let saved = Saved::read(global, file)?;
    let (global, asked) = saved.request(global)?;
    let approve = Approve { asked, yes: true };
    let loaded = Loaded::read(&global, None)?;
    let worlds = Worlds::open(&global, &loaded).await?;
    let wish = Wish::Session;
    let job = Job::new(&global, &approve, &loaded, &worlds, wish, interrupts(&global));
    let (observed, held, plan) = job.look().await?;
    job.print(&plan)?;
    saved.compare(&loaded, &plan)?;
    if !plan.actions.is_empty() {
        preflight(&plan, &observed, &loaded.spec)?;
        let outcome = job.act(&plan, held).await?;
        if let Some(code) = job.told(outcome).await? {
            return Ok(code);
        }
    }
    let (observed, _, left) = job.look().await?;
    if left.actions.is_empty() {
        return job.finish(&left, &observed, !plan.actions.is_empty());
    }
    // What the actions brought to light was approved by nobody.
    job.print(&left)?;
    Ok(ExitCode::Pending)
}

/// Moves artifacts to or from the store.
pub(super) async fn transfer(global: &Global, approve: &Approve, moved: &Moved) -> Result<ExitCode> {
    let loaded = Loaded::read(global, None)?;
    let worlds = Worlds::open(global, &loaded).await?;
    let wish = Wish::Transfers(moved);
    let job = Job::new(global, approve, &loaded, &worlds, wish, interrupts(global));
    let (_, held, plan) = job.look().await?;
    job.print(&plan)?;
    if !plan.actions.is_empty() {
        approved(approve.yes, &job.interrupt).await?;
        let outcome = job.act(&plan, held).await?;
        if let Some(code) = job.told(outcome).await? {
            return Ok(code);
        }
    }
    if plan.blocked.is_empty() { Ok(ExitCode::Ok) } else { Err(left_over(&plan)) }
}

/// Saves what was changed on the server, and leaves everything else as it is.
pub(super) async fn save(global: &Global, approve: &Approve, message: &str) -> Result<ExitCode> {
    let loaded = Loaded::read(global, None)?;
    let worlds = Worlds::open(global, &loaded).await?;
    let wish = Wish::Save(message);
    let job = Job::new(global, approve, &loaded, &worlds, wish, interrupts(global));
    let (_, held, plan) = job.look().await?;
    job.print(&plan)?;
    if !plan.actions.is_empty() {
        approved(approve.yes, &job.interrupt).await?;
        let outcome = job.act(&plan, held).await?;
        if let Some(code) = job.told(outcome).await? {
            return Ok(code);
        }
        if !global.json {
            job.tell_saved(&plan).await?;
        }
    }
    if plan.blocked.is_empty() { Ok(ExitCode::Ok) } else { Err(left_over(&plan)) }
}

impl<'a> Job<'a> {
    pub(super) fn new(
        global: &'a Global,
        approve: &'a Approve,
        loaded: &'a Loaded,
        worlds: &'a Worlds,
        wish: Wish<'a>,
        interrupt: Interrupt,
    ) -> Self {
        let run = RefCell::new(Timeline::begin(&loaded.spec.name, Timestamp::now()));
        Self { global, approve, loaded, worlds, wish, interrupt, run, begun: Instant::now() }
    }
}

impl Job<'_> {
    /// Says where everything is now, as the worlds say it.
    async fn tell_saved(&self, plan: &Plan) -> Result<()> {
        let (observed, _, _) = self.look().await?;
        let base = observed.record.machine.map(|machine| machine.base).unwrap_or_default();
        let stored = plan.actions.iter().filter_map(|action| match action.kind() {
            Kind::Store { artifact, .. } => Some((artifact.as_str(), &base.artifacts.get(artifact)?.version)),
            _ => None,
        });
        let stored: Vec<(&str, &str)> = stored.map(|(name, version)| (name, version.as_str())).collect();
        let commits = plan.actions.iter().any(|action| matches!(action.kind(), Kind::Commit { .. }));
        let code = commits.then_some((base.branch, base.commit));
        let code = match &code {
            Some((Some(branch), Some(commit))) => Some((branch.as_str(), commit.as_str())),
            _ => None,
        };
        report::saved_now(&mut io::stdout().lock(), code, &stored).map_err(cannot_print)
    }

    /// Looks at the four worlds and plans again, for comparing with what was approved.
    async fn look_again(&self) -> Result<Plan> {
        let (spec, directory) = (self.looked_for(), &self.loaded.directory);
        let (observed, _) = observe(&self.worlds.providers, &spec, directory, Reading::Remembered).await?;
        let observed = with_trash(observed, &self.approve.asked, self.worlds).await?;
        let laptop = self.files_on_laptop().await?;
        self.planned(&observed, laptop.as_ref())
    }

    /// Looks at the four worlds and plans.
    pub(super) async fn look(&self) -> Result<(Observed, Held, Plan)> {
        let laptop = self.files_on_laptop().await?;
        let (spec, directory) = (self.looked_for(), &self.loaded.directory);
        look(self.worlds, &spec, directory, &self.approve.asked, |observed| {
            self.planned(observed, laptop.as_ref())
        })
        .await
    }

    /// The spec to look by: what may be pushed is told where the end would push it.
    fn looked_for(&self) -> Cow<'_, Spec> {
        let spec = &self.loaded.spec;
        match self.wish {
            Wish::Session | Wish::Transfers(_) => Cow::Borrowed(spec),
            Wish::Save(_) => {
                let mut spec = spec.clone();
                (spec.state, spec.repo.on_absent) = (State::Absent, OnAbsent::SaveBranch);
                Cow::Owned(spec)
            }
        }
    }

    fn planned(&self, observed: &Observed, laptop: Option<&BTreeMap<String, ArtifactFile>>) -> Result<Plan> {
        let request = request(self.loaded, &self.approve.asked);
        match self.wish {
            Wish::Session => plan::plan(request, observed),
            Wish::Save(message) => plan::plan_save(request, observed, message),
            Wish::Transfers(Moved { direction, names, .. }) => {
                plan::plan_transfers(request, observed, Transfers { direction: *direction, names, laptop })
            }
        }
    }

    /// Looks at the laptop's files, where they are what is to be moved.
    async fn files_on_laptop(&self) -> Result<Option<BTreeMap<String, ArtifactFile>>> {
        let Wish::Transfers(Moved { laptop: true, .. }) = self.wish else { return Ok(None) };
        let spec = &self.loaded.spec;
        let mut host = Host::laptop(checkout_root(&self.loaded.directory, &spec.repo.url))?;
        Ok(Some(host.files(&artifact_paths(spec)).await?))
    }

    fn print(&self, plan: &Plan) -> Result<()> {
        match self.wish {
            _ if self.global.quiet => Ok(()),
            Wish::Transfers(_) if !self.global.json => {
                report::transfers(&mut io::stdout().lock(), plan).map_err(cannot_print)
            }
            Wish::Save(_) if !self.global.json => {
                report::saving(&mut io::stdout().lock(), plan).map_err(cannot_print)
            }
            _ => print_plan(self.global, plan, &self.worlds.prefix),
        }
    }

    /// Takes the lease, looks again, and carries the plan out if the world is still the one that was approved.
    pub(super) async fn act(&self, approved: &Plan, held: Held) -> Result<Outcome> {
        let acting = async |hold: &mut Hold| self.act_holding(approved, hold).await;
        holding(&self.worlds.providers, held, acting).await
    }

    async fn act_holding(&self, approved: &Plan, hold: &mut Hold) -> Result<Outcome> {
        let plan = self.look_again().await?;
        if !plan.agrees_with(approved) {
            return Err(stale(&plan));
        }
        let (events, inbox) = Sender::channel();
        let random = random_word;
        let context = Context {
            providers: &self.worlds.providers,
            spec: &self.loaded.spec,
            spec_directory: &self.loaded.directory,
            discards: &self.approve.asked.discard,
            currency: &plan.money.currency,
            random: &random,
            events,
            interrupt: self.interrupt.clone(),
        };
        let acting = async {
            let outcome = apply::apply(&plan, &context, hold).await;
            // Dropping the context closes the channel, which ends the reader.
            drop(context);
            outcome
        };
        let currency = &plan.money.currency;
        let noted = |event: &Event| self.run.borrow_mut().take(event, self.begun.elapsed(), currency);
        let outcome = shown(self.global, currency, inbox, noted, acting).await;
        page::keep_run(&self.worlds.providers.settings, &self.run.borrow());
        Ok(outcome)
    }

    /// Says how a round ended; none when the next look decides.
    async fn told(&self, outcome: Outcome) -> Result<Option<ExitCode>> {
        if !outcome.findings.is_empty() && !self.global.json {
            let mut out = io::stderr().lock();
            report::refusal(&mut out, &outcome.findings, &self.worlds.prefix).map_err(cannot_print)?;
        }
        if outcome.interrupted {
            return self.say_what_bills().await.map(Some);
        }
        outcome.error.map_or(Ok(None), Err)
    }

    /// Nothing is left to do: writes the lock, says what there is.
    fn finish(&self, plan: &Plan, observed: &Observed, acted: bool) -> Result<ExitCode> {
        let loaded = self.loaded;
        if may_bill(&observed.record) || acted {
            loaded.write_lock(&plan::lock(&loaded.spec, observed, loaded.lock.as_ref()))?;
        }
        if acted && plan.blocked.is_empty() && !self.global.json && !self.global.quiet {
            let told = report::summary(&mut io::stdout().lock(), plan, observed, &self.worlds.prefix);
            return told.map(|()| ExitCode::Ok).map_err(cannot_print);
        }
        self.print(plan)?;
        if plan.blocked.is_empty() { Ok(ExitCode::Ok) } else { Err(left_over(plan)) }
    }

    async fn say_what_bills(&self) -> Result<ExitCode> {
        let loaded = self.loaded;
        let look = observe(&self.worlds.providers, &loaded.spec, &loaded.directory, Reading::Remembered);
        let seen = tokio::time::timeout(LAST_LOOK, look).await.ok().and_then(Result::ok);
        let bill = seen.and_then(|(observed, _)| overview(loaded, &observed).ok().map(|plan| plan.money));
        let currency = bill.as_ref().map_or(String::new(), |bill| bill.currency.clone());
        let price = bill.map(|bill| bill.per_hour());
        let (mut words, prefix) = (Vec::new(), &self.worlds.prefix);
        report::interrupted(&mut words, &loaded.spec.name, price, &currency, prefix).map_err(cannot_print)?;
        if self.global.json {
            let words = String::from_utf8_lossy(&words).trim_end().to_owned();
            return Err(Error::of(ExitCode::Interrupted, words));
        }
        let told = io::stderr().lock().write_all(&words);
        told.map(|()| ExitCode::Interrupted).map_err(cannot_print)
    }
}

fn left_over(plan: &Plan) -> Error {
    Error::of(ExitCode::Refused, "what is left can't be done as things stand")
        .why(format!("{} finding(s) stand against it", plan.blocked.len()))
        .hint("the reasons stand above")
}

/// Says that the plan that is made now isn't the one that was approved, and what may keep it from ever being so.
fn stale(plan: &Plan) -> Error {
    let error = Error::of(ExitCode::Stale, "the world changed since the plan was shown; nothing was done")
        .why("the plan that is made now differs from the one that was approved");
    let told = plan.guards.iter().flat_map(|state| state.findings.iter().chain(&state.discarded));
    let at_work = told.into_iter().find_map(|finding| match finding {
        Finding::Process { command, .. } => Some(command),
        _ => None,
    });
    let Some(command) = at_work else {
        return error.hint("run the same command again to see the new plan");
    };
    error
        .why(format!("`{command}` is at work on the server, and may change it all the time"))
        .hint("wait for it or stop it, then run the same command again")
}

/// Refuses what would fail for want of a key, before a machine bills for nothing.
fn preflight(plan: &Plan, observed: &Observed, spec: &Spec) -> Result<()> {
    let any = |wanted: fn(&Kind) -> bool| plan.actions.iter().any(|action| wanted(action.kind()));
    let in_agent = observed.laptop.agent.as_deref();
    let lacking = plan.notes.iter().find_map(|note| match note {
        Note::CannotLogIn { fingerprint, .. } => Some(fingerprint),
        _ => None,
    });
    // A server that was seen has let us in: whatever key did that will do it again.
    let seen = matches!(observed.server, Server::Seen(_));
    if let Some(fingerprint) = lacking.filter(|_| !seen && any(|kind| matches!(kind, Kind::Ready))) {
        let agent = in_agent.map_or("no ssh agent answers", |_| "the ssh agent doesn't hold that key");
        return Err(no_key(format!("cannot log in to a server with the key {fingerprint}"))
            .why(format!("{agent}, and its private key isn't beside `{}`", spec.instance.ssh_key)));
    }
    let fetches = any(|kind| matches!(kind, Kind::Clone { .. } | Kind::FastForward { .. }));
    if fetches && speaks_ssh(&spec.repo.url) && in_agent.is_none_or(<[String]>::is_empty) {
        let agent = in_agent.map_or("no ssh agent answers", |_| "the ssh agent holds no key");
        return Err(no_key(format!("cannot bring `{}` to the server", spec.repo.url))
            .why(format!("git on the server asks this laptop's ssh agent for a key, and {agent}")));
    }
    Ok(())
}

fn no_key(what: String) -> Error {
    Error::of(ExitCode::Credentials, what)
        .hint("load the key: `ssh-add`, then run the same command again; `dacapo doctor` says where an agent is to be had")
}

/// Shows and notes what happens while `acting` goes on; it must drop what it sends events with when it ends.
pub(super) async fn shown<T>(
    global: &Global,
    currency: &str,
    mut inbox: UnboundedReceiver<Event>,
    mut noted: impl FnMut(&Event),
    acting: impl Future<Output = T>,
) -> T {
    let mode = mode(global);
    let out: Box<dyn io::Write> =
        if mode == Mode::Json { Box::new(io::stdout()) } else { Box::new(io::stderr()) };
    let mut live = Live::new(mode, out, currency);
    let reading = async {
        while let Some(event) = inbox.recv().await {
            live.show(&event);
            noted(&event);
        }
    };
    tokio::join!(acting, reading).0
}

/// Asks for approval unless it was given; fails where it isn't. Ctrl-C at the question is a no.
pub(super) async fn approved(yes: bool, interrupt: &Interrupt) -> Result<()> {
    if yes {
        return Ok(());
    }
    let refused = || Error::of(ExitCode::Interrupted, "not approved: nothing was done");
    if !is_terminal() {
        return Err(Error::of(ExitCode::Usage, "nobody is there to approve the plan")
            .why("the standard input or the standard error is no terminal; nothing was done")
            .hint("pass `--yes` to carry the plan out without asking"));
    }
    report::ask(&mut io::stderr().lock()).map_err(cannot_print)?;
    io::stderr().flush().map_err(cannot_print)?;
    // Reading blocks, and nothing but an end of the process takes the terminal from it again.
    let reading =
        tokio::task::spawn_blocking(|| io::stdin().lines().next().unwrap_or_else(|| Ok(String::new())));
    let answer = tokio::select! {
        answer = reading => answer.map_err(io::Error::from).and_then(|answer| answer),
        () = interrupt.requested() => return Err(refused()),
    };
    let answer = answer.map_err(|error| Error::new("cannot read the answer").because(&error))?;
    if answer.trim() == "yes" { Ok(()) } else { Err(refused()) }
}

fn mode(global: &Global) -> Mode {
    match (global.json, is_terminal()) {
        _ if global.quiet => Mode::Silent,
        (true, _) => Mode::Json,
        (false, true) => Mode::Terminal,
        (false, false) => Mode::Lines,
    }
}
