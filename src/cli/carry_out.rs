//! `apply`, `up` and `down`: plan, approve, take the lease, look again, act, until nothing is left.

use std::io::{self, Write as _};
use std::time::Duration;

use super::load::Loaded;
use super::worlds::Worlds;
use super::{
    Approve, Global, cannot_print, interrupts, is_terminal, may_bill, overview, print_plan, random_word,
    request, with_trash,
};
use crate::apply::{self, Context, Hold, Interrupt, Outcome, take_lease};
use crate::error::{Error, ExitCode, Result};
use crate::event::Sender;
use crate::facts::Server;
use crate::observe::{Held, Reading, observe};
use crate::observed::Observed;
use crate::plan::{self, Kind, Note, Plan};
use crate::provider::repo::speaks_ssh;
use crate::report::{self, Live, Mode};
use crate::spec::{Spec, State};

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
    pub(super) interrupt: Interrupt,
}

pub(super) async fn apply(global: &Global, approve: &Approve, state: Option<State>) -> Result<ExitCode> {
    let loaded = Loaded::read(global, state)?;
    let worlds = Worlds::open(global, &loaded).await?;
    let job = Job { global, approve, loaded: &loaded, worlds: &worlds, interrupt: interrupts() };
    for round in 0..ROUNDS {
        let (observed, held, plan) = job.look().await?;
        if plan.actions.is_empty() {
            return job.finish(&plan, &observed, round > 0);
        }
        job.print(&plan)?;
        preflight(&plan, &observed, &loaded.spec)?;
        if !approved(approve, &job.interrupt).await? {
            return Err(Error::of(ExitCode::Interrupted, "not approved: nothing was done"));
        }
        let outcome = job.act(&plan, held).await?;
        if let Some(code) = job.told(outcome).await? {
            return Ok(code);
        }
    }
    Err(Error::new("the world keeps changing while it is being changed")
        .why(format!("after {ROUNDS} rounds there is still something to do"))
        .hint("`dacapo plan` shows what is left; is somebody else at work on this session?"))
}

impl Job<'_> {
    /// Looks at the four worlds and plans.
    pub(super) async fn look(&self) -> Result<(Observed, Held, Plan)> {
        let loaded = self.loaded;
        let (observed, held) =
            observe(&self.worlds.providers, &loaded.spec, &loaded.directory, Reading::Remembered).await?;
        let observed = with_trash(observed, &self.approve.asked, self.worlds).await?;
        let plan = plan::plan(request(loaded, &self.approve.asked), &observed)?;
        Ok((observed, held, plan))
    }

    fn print(&self, plan: &Plan) -> Result<()> {
        print_plan(self.global, plan, &self.worlds.prefix)
    }

    /// Takes the lease, looks again, and carries the plan out if the world is still the one that was approved.
    pub(super) async fn act(&self, approved: &Plan, held: Held) -> Result<Outcome> {
        let mut hold = take_lease(&self.worlds.providers, held).await?;
        let done = self.act_holding(approved, &mut hold).await;
        let released = hold.release(&self.worlds.providers).await;
        let outcome = done?;
        // The work is done whether or not the lease could be given back; it runs out by itself.
        if outcome.error.is_none() { released.map(|()| outcome) } else { Ok(outcome) }
    }

    async fn act_holding(&self, approved: &Plan, hold: &mut Hold) -> Result<Outcome> {
        let (_, _, plan) = self.look().await?;
        if !plan.agrees_with(approved) {
            return Err(Error::of(
                ExitCode::Stale,
                "the world changed since the plan was shown; nothing was done",
            )
            .why("the plan that is made now differs from the one that was approved")
            .hint("run the same command again to see the new plan"));
        }
        let (events, mut inbox) = Sender::channel();
        let random = random_word;
        let context = Context {
            providers: &self.worlds.providers,
            spec: &self.loaded.spec,
            spec_directory: &self.loaded.directory,
            discards: &self.approve.asked.discard,
            random: &random,
            events,
            interrupt: self.interrupt.clone(),
        };
        let mode = mode(self.global);
        let out: Box<dyn io::Write> =
            if mode == Mode::Json { Box::new(io::stdout()) } else { Box::new(io::stderr()) };
        let mut live = Live::new(mode, out, &plan.money.currency);
        let acting = async {
            let outcome = apply::apply(&plan, &context, hold).await;
            // Dropping the context closes the channel, which ends the reader.
            drop(context);
            outcome
        };
        let reading = async {
            while let Some(event) = inbox.recv().await {
                live.show(&event);
            }
        };
        let (outcome, ()) = tokio::join!(acting, reading);
        Ok(outcome)
    }

    /// Says how a round ended; none when the next look decides.
    async fn told(&self, outcome: Outcome) -> Result<Option<ExitCode>> {
        if !outcome.findings.is_empty() && !self.global.json {
            let mut out = io::stderr().lock();
            report::refusal(&mut out, &outcome.findings, &self.worlds.prefix).map_err(cannot_print)?;
        }
        if outcome.interrupted {
            self.say_what_bills().await?;
            return Ok(Some(ExitCode::Interrupted));
        }
        outcome.error.map_or(Ok(None), Err)
    }

    /// Nothing is left to do: writes the lock, says what there is.
    fn finish(&self, plan: &Plan, observed: &Observed, acted: bool) -> Result<ExitCode> {
        let loaded = self.loaded;
        if may_bill(&observed.record) || acted {
            loaded.write_lock(&plan::lock(&loaded.spec, observed, loaded.lock.as_ref()))?;
        }
        if acted && plan.blocked.is_empty() && !self.global.json {
            let told = report::summary(&mut io::stdout().lock(), plan, observed, &self.worlds.prefix);
            return told.map(|()| ExitCode::Ok).map_err(cannot_print);
        }
        self.print(plan)?;
        if plan.blocked.is_empty() {
            return Ok(ExitCode::Ok);
        }
        Err(Error::of(ExitCode::Refused, "what is left can't be done as things stand")
            .why(format!("{} finding(s) stand against it", plan.blocked.len()))
            .hint("the reasons stand above"))
    }

    async fn say_what_bills(&self) -> Result<()> {
        let loaded = self.loaded;
        let look = observe(&self.worlds.providers, &loaded.spec, &loaded.directory, Reading::Remembered);
        let seen = tokio::time::timeout(LAST_LOOK, look).await.ok().and_then(Result::ok);
        let bill = seen.and_then(|(observed, _)| overview(loaded, &observed).ok().map(|plan| plan.money));
        let currency = bill.as_ref().map_or(String::new(), |bill| bill.currency.clone());
        let price = bill.map(|bill| bill.per_hour());
        let (mut out, prefix) = (io::stderr().lock(), &self.worlds.prefix);
        report::interrupted(&mut out, &loaded.spec.name, price, &currency, prefix).map_err(cannot_print)
    }
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
        .hint("load the key: `ssh-add`, then `ssh-add -l` to see it; then run the same command again")
}

/// Asks for approval; Ctrl-C at the question is a no.
async fn approved(approve: &Approve, interrupt: &Interrupt) -> Result<bool> {
    if approve.yes {
        return Ok(true);
    }
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
        () = interrupt.requested() => return Ok(false),
    };
    let answer = answer.map_err(|error| Error::new("cannot read the answer").because(&error))?;
    Ok(answer.trim() == "yes")
}

fn mode(global: &Global) -> Mode {
    match (global.json, is_terminal()) {
        (true, _) => Mode::Json,
        (false, true) => Mode::Terminal,
        (false, false) => Mode::Lines,
    }
}
