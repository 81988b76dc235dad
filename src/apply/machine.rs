//! Creating, waiting for, proving and deleting the machine: `record::next`, carried out.

mod first_contact;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use super::{Outcome, Run};
use crate::error::{Error, ExitCode, Result};
use crate::event::Stage;
use crate::facts::{Instance, PublicKey, Status, Volume};
use crate::guard::{self, Finding, Proof, Refusal};
use crate::observe::{Reading, observe};
use crate::plan::{Candidate, artifact_paths, evidence, stored_contents};
use crate::provider::cloud::{Created, Deleted, Order};
use crate::provider::http::Moment;
use crate::provider::server::HostKey;
use crate::record::{self, Goal, Hand, Intent, Receipt, Record, Rented, Step, Stop, View, next};
use crate::spec::State;
use crate::world::Machine;

const POLL: Duration = Duration::from_secs(5);
/// How long a machine may take from the order to its address.
const BOOT: Duration = Duration::from_secs(30 * 60);
/// How long the protocol waits in one action for a machine to leave a passing state.
const SETTLED: Duration = Duration::from_secs(60 * 60);
/// How many orders without a clear answer one action sends, the quiet window between them.
const ORDERS: usize = 3;
/// How often one action finds, right before an order or a deletion, that too much time has passed since its look.
const LATE: usize = 10;
/// For how long, in real time, it must have found so: under a fast clock a busy machine is late for a while.
const LATE_FOR: Duration = Duration::from_secs(60);
/// How long a disk may take to be let go of once its machine is gone.
const DETACHED: Duration = Duration::from_secs(5 * 60);
/// How long a machine may take to shut down before it is asked again.
const OFFLINE: Duration = Duration::from_secs(5 * 60);
/// How long the cloud may take to say that a machine or a volume is gone.
const GONE: Duration = Duration::from_secs(30 * 60);

/// What the cloud says of this session's machines now.
struct Look {
    /// When it was asked.
    asked: Moment,
    now: Timestamp,
    list: Vec<Instance>,
    recorded: Option<Instance>,
}

impl Look {
    fn view(&self) -> View<'_> {
        View { now: self.now, list: &self.list, recorded: self.recorded.as_ref() }
    }
}

impl Run<'_, '_> {
    pub(super) async fn register_key(&mut self, name: &str, key: &PublicKey) -> Result<()> {
        let present = self.providers().cloud.keys().await?;
        if present.iter().any(|registered| registered.key == *key) {
            return Ok(());
        }
        self.hold.renew(self.context.providers).await?;
        self.providers().cloud.add_key(self.action, name, key).await.map(drop)
    }

    /// Creates the machine at the first candidate that is to be had and waits until it is built.
    pub(super) async fn create(&mut self, candidates: &[Candidate]) -> Result<()> {
        // With an order on its way the disk may be that machine's already: it is waited for until it shows.
        if self.hold.record().intent.is_none() {
            self.await_detached().await?;
        }
        self.tell_of_the_window().await?;
        let mut refused = Vec::new();
        for candidate in candidates {
            match self.create_at(candidate).await? {
                Built::Up => return Ok(()),
                Built::NoCapacity(why) => {
                    refused.push(format!("`{}` in {}: {why}", candidate.r#type, candidate.location));
                    self.stage(Stage::NoCapacity { candidate: candidate.clone(), why });
                }
            }
        }
        // A refusal is clear, but a clear word costs little to check: nothing of ours may be on its way.
        self.settle().await?;
        let mut error = Error::of(ExitCode::NoCapacity, "no machine that the spec asks for is to be had");
        error.why = refused;
        Err(error.hint(
            "nothing was created and nothing bills; add an `instance.type` or `location`, or try later",
        ))
    }

    /// A kept disk is let go of some time after its machine; until then no other can boot it.
    async fn await_detached(&mut self) -> Result<()> {
        let Some(disk) = self.hold.record().disk.clone() else { return Ok(()) };
        let mut waited = Duration::ZERO;
        loop {
            let volume = self.providers().cloud.volume(&disk.volume).await?;
            let status = volume.map_or("unknown to the account".to_owned(), |volume| volume.status);
            if status == "detached" {
                return Ok(());
            }
            if waited > DETACHED {
                return Err(Error::new(format!("the kept disk `{}` can't be booted", disk.volume))
                    .why(format!("it is {status}, not detached"))
                    .hint("`dacapo plan` shows what is known of it"));
            }
            self.wait(POLL).await?;
            waited += POLL;
        }
    }

    async fn create_at(&mut self, candidate: &Candidate) -> Result<Built> {
        let goal = Goal::Running(Box::new(self.asked(candidate)?));
        let key = HostKey::make()?;
        let host_key = Some(key.public().as_str().to_owned());
        let mut hand = Hand { nonce: (self.context.random)(), host_key, ..Hand::default() };
        let login_key = self.login_key().await?;
        let (mut script, mut notes) = (None, 0);
        loop {
            if hand.noted.is_some() {
                // An order follows a look that follows a renewal: if this process was suspended, either the
                // lease or the cloud's clock tells.
                self.hold.renew(self.context.providers).await?;
            }
            let look = self.look().await?;
            match next(self.hold.record(), look.view(), &goal, &mut hand) {
                Step::Post(_) if self.unclear.len() >= ORDERS => return Err(never_clear(&self.unclear)),
                // Suspended with the look's answer on its way: nothing was sent, and nothing is before another look.
                Step::Post(intent)
                    if !self.hold.is_surely_ours(self.context.providers)
                        || self.latest(&look) > intent.noted_at + record::SEND_WITHIN =>
                {
                    self.order_is_late()?;
                }
                Step::Post(intent) => {
                    let order = self.order(&intent, login_key.clone(), script.clone());
                    if let Some(why) = self.post(&intent, &order, candidate).await? {
                        return Ok(Built::NoCapacity(why));
                    }
                }
                // The public half is noted with the intent, before anything of the private one leaves here.
                Step::Write(record) if record.machine.is_none() && record.intent.is_some() => {
                    notes += 1;
                    // Noted again without an order in between: the look after the note came too late for one.
                    if notes > self.unclear.len() + 1 {
                        self.order_is_late()?;
                    }
                    let new_disk = orders_new_disk(&record);
                    self.hold.write(self.context.providers, *record).await?;
                    if new_disk && script.is_none() {
                        script = Some(self.add_script(&key).await?);
                    }
                }
                Step::Done(Some(id)) => match self.await_built(&id).await? {
                    // Some machines vanish right after their creation, for want of capacity.
                    status @ (Status::Failed(_) | Status::Discontinued) => {
                        self.remove_failed(&id, &status.to_string()).await?;
                        return Ok(Built::NoCapacity(format!("the machine ended as `{status}`")));
                    }
                    _ => return Ok(Built::Up),
                },
                Step::Prove => return Err(self.failed_with_work()),
                step => self.common(step).await?,
            }
        }
    }

    /// Sends the create, once. Returns why when the candidate is sold out; an unclear answer is waited out.
    async fn post(
        &mut self,
        intent: &Intent,
        order: &Order,
        candidate: &Candidate,
    ) -> Result<Option<String>> {
        match self.providers().cloud.create(self.action, order).await {
            Created::Id(id) => {
                let record = self.hold.record().clone().with_created(id.clone());
                let noted = self.hold.write(self.context.providers, record).await;
                noted.map_err(|error| {
                    error.why(format!("machine `{id}` was created before that, and bills"))
                })?;
                self.stage(Stage::Created { machine: id, candidate: candidate.clone() });
                Ok(None)
            }
            Created::NoCapacity(why) => {
                self.close_intent().await?;
                Ok(Some(why))
            }
            Created::Refused(error) => {
                self.close_intent().await?;
                // The refusal is the news; a script that stays is removed by the next run.
                drop(self.remove_scripts().await);
                Err(error)
            }
            Created::Unclear(why) => {
                let now = self.providers().cloud.instances().await.map_or(intent.noted_at, |(now, _)| now);
                let later = intent.heard_of(now);
                let record = Record { intent: Some(later.clone()), ..self.hold.record().clone() };
                self.hold.write(self.context.providers, record).await?;
                self.unclear.push(why.clone());
                self.stage(Stage::Unclear { why });
                self.stage(Stage::Watching { until: later.noted_at + record::QUIET_WINDOW });
                Ok(None)
            }
        }
    }

    async fn close_intent(&mut self) -> Result<()> {
        let record = Record { intent: None, ..self.hold.record().clone() };
        self.hold.write(self.context.providers, record).await
    }

    /// The steps that every goal takes the same way.
    async fn common(&mut self, step: Step) -> Result<()> {
        match step {
            Step::Write(record) => self.hold.write(self.context.providers, *record).await,
            Step::Wait(until) => {
                let look = self.look().await?;
                let left = until.duration_since(look.now).max(SignedDuration::ZERO).unsigned_abs();
                let pause = left.min(POLL).max(Duration::from_secs(1));
                self.waited += pause;
                if self.waited > SETTLED {
                    return Err(unsettled(&look));
                }
                self.wait(pause).await
            }
            Step::ShutDown(machine) => self.shut_down(&machine).await,
            Step::Delete(proof) => self.delete_proven(proof).await,
            Step::Stop(stop) => Err(self.stopped(&stop).await),
            Step::Post(_) | Step::Prove | Step::Done(_) => Ok(()),
        }
    }

    async fn tell_of_the_window(&mut self) -> Result<()> {
        let record = self.hold.record();
        if record.intent.is_none() && record.doubt.is_none() {
            return Ok(());
        }
        if let Some(until) = self.hold.record().absence_from(self.look().await?.now) {
            self.stage(Stage::Watching { until });
        }
        Ok(())
    }

    /// Waits out whether anything of ours is on its way; what turns up and was never used is deleted.
    pub(super) async fn settle(&mut self) -> Result<()> {
        let mut hand = Hand::default();
        self.tell_of_the_window().await?;
        loop {
            let look = self.look().await?;
            match next(self.hold.record(), look.view(), &Goal::Absent, &mut hand) {
                Step::Done(_) => return self.remove_scripts().await,
                Step::Prove => {
                    return Err(Error::of(ExitCode::Stale, "a machine of this session turned up")
                        .why("it may hold work")
                        .hint("run the same command again: it will look at the machine"));
                }
                step => self.common(step).await?,
            }
        }
    }

    /// Notes a machine of ours that the record doesn't know, or that it is not being ended after all; ends one
    /// that came of the same order.
    pub(super) async fn adopt(&mut self) -> Result<()> {
        let goal = match self.context.spec.state {
            State::Running => Goal::Running(Box::new(self.asked(&Candidate::default())?)),
            // Whoever ends a session may lack what it takes to order a machine.
            State::Absent => Goal::Absent,
        };
        let mut hand = Hand::default();
        loop {
            let look = self.look().await?;
            match next(self.hold.record(), look.view(), &goal, &mut hand) {
                Step::Write(record) if record.machine.is_some() => {
                    return self.hold.write(self.context.providers, *record).await;
                }
                Step::Wait(until) => self.common(Step::Wait(until)).await?,
                Step::Stop(stop) => return Err(self.stopped(&stop).await),
                // A second machine that one order made.
                Step::Delete(proof) if self.rented().is_ok_and(|rented| rented.id != proof.machine()) => {
                    self.common(Step::Delete(proof)).await?;
                }
                // Whatever else it wants, the machine is not there to be noted any more: the next look tells.
                Step::Write(_)
                | Step::Post(_)
                | Step::Prove
                | Step::ShutDown(_)
                | Step::Delete(_)
                | Step::Done(_) => return Ok(()),
            }
        }
    }

    /// Makes sure, where every laptop has a record of its own, that no other one rented a machine at the same
    /// time: the newer one sees the older before anybody comes to it.
    async fn be_alone(&mut self, id: &str) -> Result<()> {
        if self.providers().memory.is_shared() || self.rented()?.may_hold_work() {
            return Ok(());
        }
        let until = self.instance(id).await?.created_at + record::QUIET_WINDOW;
        if self.look().await?.now < until {
            self.stage(Stage::Watching { until });
        }
        loop {
            if self.make_way(id).await? {
                return Err(Error::of(ExitCode::Stale, "an older machine carries this session's mark")
                    .why("another laptop rented it at the same time; the one of this run is deleted again")
                    .hint("run the same command again: it takes the other machine over"));
            }
            if self.look().await?.now >= until {
                return Ok(());
            }
            self.wait(POLL).await?;
        }
    }

    /// Deletes the recorded machine where an older one of this session is there and nobody was ever on ours;
    /// notes the other. Tells whether it did.
    pub(super) async fn make_way(&mut self, id: &str) -> Result<bool> {
        let mut hand = Hand::default();
        loop {
            let look = self.look().await?;
            let record = self.hold.record();
            let ours = record.machine.as_ref().filter(|machine| machine.id == id);
            // A deletion that was decided is seen through: nobody was on the machine, and it may be going.
            let stays = ours.is_some_and(|ours| {
                let instance = look.recorded.as_ref();
                let older = instance.and_then(|instance| record.makes_way_for(&look.list, instance));
                ours.ending.is_none() && older.is_none()
            });
            if stays {
                return Ok(false);
            }
            match next(record, look.view(), &Goal::Absent, &mut hand) {
                Step::Write(record) => {
                    let noted = record.machine.as_ref().is_some_and(|machine| machine.id != id);
                    self.hold.write(self.context.providers, *record).await?;
                    if noted {
                        self.remove_scripts().await?;
                        return Ok(true);
                    }
                }
                Step::Done(_) => return Ok(true),
                Step::Prove => return Err(self.failed_with_work()),
                step => self.common(step).await?,
            }
        }
    }

    /// What stops the protocol may be somebody else's doing: only who still has the lease can tell.
    async fn stopped(&mut self, stop: &Stop) -> Error {
        match self.hold.renew(self.context.providers).await {
            Ok(()) => stopped(&self.hold.record().session, stop),
            Err(beaten) => beaten,
        }
    }

    /// Notes that the recorded machine is gone: by the cloud's own word or, named as a loss, unknown to it.
    pub(super) async fn forget(&mut self) -> Result<()> {
        let look = self.look().await?;
        let record = self.hold.record().clone();
        let record = match &look.recorded {
            Some(gone) => record.without_gone(gone, look.now),
            None => record.without_unknown(),
        };
        self.hold.write(self.context.providers, record).await
    }

    /// Notes that the recorded machine vanished, and that its disk waits for another.
    pub(super) async fn recover(&mut self, volume: &str, location: &str) -> Result<()> {
        let record = self.hold.record().clone().with_recovered(volume.to_owned(), location.to_owned());
        self.hold.write(self.context.providers, record).await
    }

    /// Takes a disk out of the trash; it bills again from then on.
    pub(super) async fn restore_volume(&mut self, id: &str) -> Result<()> {
        self.hold.renew(self.context.providers).await?;
        self.providers().cloud.restore_volume(self.action, id).await
    }

    /// Makes sure, right before a machine makes way for another, that the other is to be had.
    pub(super) async fn check_stock(&mut self, candidates: &[Candidate]) -> Result<()> {
        let (stock, balance) =
            self.providers().cloud.stock_and_balance(self.context.spec.instance.market).await?;
        let in_stock =
            |one: &&Candidate| stock.get(&one.location).is_some_and(|types| types.contains(&one.r#type));
        let Some(cheapest) = candidates.iter().filter(in_stock).map(|one| one.price_per_hour).min() else {
            return Err(Error::of(ExitCode::NoCapacity, "no machine that the spec asks for is in stock now")
                .hint("the present machine stays as it is; try again later"));
        };
        if balance < cheapest {
            return Err(Error::of(ExitCode::Budget, "the balance doesn't pay an hour of the new machine")
                .why(format!("it is {balance}, and the machine costs {cheapest} an hour"))
                .hint("the present machine stays as it is; add credit first"));
        }
        Ok(())
    }

    pub(super) async fn start(&mut self, machine: &str) -> Result<()> {
        self.hold.renew(self.context.providers).await?;
        self.providers().cloud.start(self.action, machine).await?;
        self.await_built(machine).await.map(drop)
    }

    /// Waits until the machine runs or has failed; returns its last status.
    async fn await_built(&mut self, id: &str) -> Result<Status> {
        let mut waited = Duration::ZERO;
        let mut shown = None;
        loop {
            let instance = self.instance(id).await?;
            if shown.as_ref() != Some(&instance.status) {
                self.stage(Stage::Status { status: instance.status.to_string() });
                shown = Some(instance.status.clone());
            }
            // What is left should the machine vanish; a machine that is gone may not tell any more.
            if let Some(noted) = self.hold.record().with_disk_of(&instance) {
                self.hold.note(noted);
            }
            match &instance.status {
                Status::Running if instance.ip.is_some() => {
                    self.stage(Stage::Address { ip: instance.ip.clone().unwrap_or_default() });
                    return Ok(instance.status);
                }
                Status::Failed(_) | Status::Discontinued => return Ok(instance.status),
                _ if waited > BOOT => return Err(too_slow(id, &instance.status)),
                _ => {}
            }
            self.wait(POLL).await?;
            waited += POLL;
        }
    }

    async fn remove_failed(&mut self, id: &str, status: &str) -> Result<()> {
        self.stage(Stage::Removing { machine: id.to_owned(), status: status.to_owned() });
        let mut hand = Hand::default();
        loop {
            let look = self.look().await?;
            match next(self.hold.record(), look.view(), &Goal::Absent, &mut hand) {
                Step::Done(_) => return Ok(()),
                Step::Prove => return Err(self.failed_with_work()),
                step => self.common(step).await?,
            }
        }
    }

    fn failed_with_work(&self) -> Error {
        Error::of(ExitCode::Refused, format!("the machine of `{}` has failed", self.hold.record().session))
            .why("a login of ours was completed on it, so it may hold work")
            .hint("`dacapo down` shows what is known of it")
    }

    /// Proves, on evidence taken now, that nothing on the machine is lost; deletes it and its volumes or,
    /// where the disk is to stay, shuts it down and deletes it alone.
    pub(super) async fn end(&mut self, goal: &Goal, outcome: &mut Outcome) -> Result<()> {
        let mut hand = Hand::default();
        loop {
            let look = self.look().await?;
            match next(self.hold.record(), look.view(), goal, &mut hand) {
                // Of use to nobody any more: were it left by a crash here, the next `up` would remove it.
                Step::Done(_) => return self.remove_scripts().await,
                Step::Prove => match self.prove(goal).await? {
                    Ok(proof) => {
                        if !proof.keeps_disk() {
                            self.stage(Stage::Proven);
                        }
                        hand.proof = Some(proof);
                    }
                    Err(refusal) => {
                        let error = refused(&self.hold.record().session, &refusal.findings);
                        outcome.findings = refusal.findings;
                        return Err(error);
                    }
                },
                Step::Write(record) => {
                    let record = self.with_receipt(*record, &look);
                    self.hold.write(self.context.providers, record).await?;
                }
                step => self.common(step).await?,
            }
        }
    }

    /// Fills in what is to be told of the machine once it is gone, as long as it is there to be told of.
    fn with_receipt(&self, mut record: Record, look: &Look) -> Record {
        let (Some(machine), Some(instance)) = (&mut record.machine, &look.recorded) else { return record };
        let Some(mut ending) = machine.ending.take() else { return record };
        if ending.receipt.is_none() {
            let session = &record.session;
            let mut receipt = Receipt::of(session, machine, instance, ending.at, self.context.currency);
            receipt.discarded = self.context.discards.iter().map(ToString::to_string).collect();
            receipt.kept_disk = ending.kept.as_ref().map(|disk| disk.volume.clone());
            ending.receipt = Some(Box::new(receipt));
        }
        machine.ending = Some(ending);
        record
    }

    /// Looks at all four worlds again and judges what is there now.
    async fn prove(&mut self, goal: &Goal) -> Result<Result<Proof, Refusal>> {
        let spec = self.context.spec;
        let keeps = *goal == Goal::Kept;
        let reading = if keeps { Reading::Remembered } else { Reading::Anew };
        let (observed, _) = observe(self.providers(), spec, self.context.spec_directory, reading).await?;
        let paths = artifact_paths(spec);
        let stored = stored_contents(spec, &observed.store.files);
        let evidence = evidence(spec, &observed, &paths, &stored);
        if keeps {
            return Ok(guard::prove_kept(&evidence, self.context.discards));
        }
        let verdict = guard::prove(&evidence, self.context.discards);
        if verdict.is_ok() {
            self.note_head(&observed.server).await?;
        }
        Ok(verdict)
    }

    async fn shut_down(&mut self, id: &str) -> Result<()> {
        self.hold.renew(self.context.providers).await?;
        self.providers().cloud.shut_down(self.action, id).await?;
        self.stage(Stage::ShuttingDown { machine: id.to_owned() });
        let mut waited = Duration::ZERO;
        while waited <= OFFLINE {
            self.wait(POLL).await?;
            waited += POLL;
            if self.instance(id).await?.status != Status::Running {
                break;
            }
        }
        Ok(())
    }

    /// The commit that the session ends at is the one that the lock will name.
    async fn note_head(&mut self, server: &crate::facts::Server) -> Result<()> {
        let crate::facts::Server::Seen(probe) = server else { return Ok(()) };
        let head = probe.checkout.as_ref().and_then(|checkout| checkout.head.clone());
        let mut record = self.hold.record().clone();
        match (&mut record.machine, head) {
            (Some(machine), Some(head)) if machine.base.commit.as_ref() != Some(&head) => {
                machine.base.commit = Some(head);
                self.hold.write(self.context.providers, record).await
            }
            _ => Ok(()),
        }
    }

    /// Sends one deletion and waits until the cloud says that machine and volumes are gone.
    async fn delete_proven(&mut self, proof: Proof) -> Result<()> {
        let id = proof.machine().to_owned();
        self.hold.renew(self.context.providers).await?;
        let look = self.look().await?;
        let latest = self.latest(&look);
        // Asked for by its id: a list that lags may not tell yet which volumes it has.
        let instance = match look.recorded.filter(|instance| instance.id == id) {
            Some(instance) => instance,
            None => self.instance(&id).await?,
        };
        let kept = proof.keeps_disk().then(|| instance.os_volume.clone()).flatten();
        let volumes = if proof.keeps_disk() { Vec::new() } else { record::volumes_of(&instance) };
        // If this process was suspended since the evidence was taken, both are taken anew.
        if !self.hold.is_surely_ours(self.context.providers) || !proof.is_valid(latest) {
            return self.is_late(&format!("machine `{id}` was not deleted"));
        }
        match self.providers().cloud.delete(self.action, proof, &volumes).await? {
            Deleted::Accepted => self.stage(Stage::Deleting { machine: id.clone() }),
            Deleted::Gone => {}
            Deleted::NotYet(why) => {
                self.stage(Stage::Status { status: why });
                return self.wait(POLL).await;
            }
        }
        self.await_gone(&id).await?;
        for volume in &volumes {
            self.await_volume_gone(volume).await?;
        }
        if let Some(volume) = kept {
            self.confirm_kept(&volume).await?;
        }
        Ok(())
    }

    fn order_is_late(&mut self) -> Result<()> {
        self.is_late(&format!("a machine for `{}` was not ordered", self.hold.record().session))
    }

    /// Counts a look that was too old for what was to rest on it; fails where every one is.
    fn is_late(&mut self, what: &str) -> Result<()> {
        self.late += 1;
        let since = *self.late_since.get_or_insert_with(Instant::now);
        if self.late < LATE || since.elapsed() < LATE_FOR {
            return Ok(());
        }
        Err(Error::new(what)
            .why(format!("its last look at the cloud was too old for that, {} times", self.late))
            .hint("the laptop sleeps, or its connection is very slow; run the same command again when neither is so"))
    }

    /// Reads back that the disk is still there, and says what it costs from now on.
    async fn confirm_kept(&mut self, id: &str) -> Result<()> {
        let volume = self.providers().cloud.volume(id).await?;
        let there = volume.filter(|volume| !matches!(volume.status.as_str(), "deleted" | "deleting"));
        let Some(volume) = there else {
            return Err(Error::new(format!("the disk `{id}` was to stay, and the cloud doesn't have it"))
                .why("its machine was deleted without naming any of its volumes")
                .hint("look for it in the trash in the cloud's console: it can be restored for 96 h"));
        };
        let (price_per_hour, price_per_month) = (volume.price_per_hour, volume.price_per_month);
        self.stage(Stage::Kept { volume: volume.id, price_per_hour, price_per_month });
        Ok(())
    }

    async fn await_gone(&mut self, id: &str) -> Result<()> {
        let mut waited = Duration::ZERO;
        loop {
            let status = self.providers().cloud.instance(id).await?.map(|instance| instance.status);
            match status {
                None | Some(Status::Discontinued) => break,
                Some(status) if waited > GONE => return Err(too_slow(id, &status)),
                Some(_) => {}
            }
            // The deletion was taken: stopping the wait now would leave its end unseen.
            self.providers().sleep(POLL).await;
            waited += POLL;
        }
        self.stage(Stage::Gone { machine: id.to_owned() });
        Ok(())
    }

    async fn await_volume_gone(&mut self, id: &str) -> Result<()> {
        let mut waited = Duration::ZERO;
        loop {
            match self.volume(id).await? {
                None => break,
                // Some minutes after its machine a volume should go by itself; a detached one never will.
                Some(volume) if volume.status == "detached" && volume.instance.is_none() => {
                    self.hold.renew(self.context.providers).await?;
                    self.providers().cloud.delete_volume(self.action, id).await?;
                }
                Some(volume) if waited > GONE => {
                    return Err(Error::new(format!("volume `{id}` is still there and bills"))
                        .why(format!("the cloud says that it is {}", volume.status))
                        .hint("run the same command again; it looks after the volumes it left"));
                }
                Some(_) => {}
            }
            self.providers().sleep(POLL).await;
            waited += POLL;
        }
        self.stage(Stage::VolumeGone { volume: id.to_owned() });
        Ok(())
    }

    /// Deletes for good what is in the trash.
    pub(super) async fn purge(&mut self, id: &str) -> Result<()> {
        self.hold.renew(self.context.providers).await?;
        self.providers().cloud.purge_volume(self.action, id).await
    }

    pub(super) async fn delete_volume(&mut self, id: &str) -> Result<()> {
        self.await_volume_gone(id).await?;
        let mut record = self.hold.record().clone();
        match record.disk.take_if(|disk| disk.volume == id) {
            Some(_) => self.hold.write(self.context.providers, record).await,
            None => Ok(()),
        }
    }

    /// Asked for by its id: the list lags, and what it doesn't show may bill.
    async fn volume(&self, id: &str) -> Result<Option<Volume>> {
        let volume = self.providers().cloud.volume(id).await?;
        Ok(volume.filter(|volume| volume.status != "deleted"))
    }

    async fn look(&self) -> Result<Look> {
        let asked = Moment::now();
        let (now, mut list) = self.providers().cloud.instances().await?;
        let record = self.hold.record();
        let recorded = match (record.asks_for(&list), &record.machine) {
            (Some(id), _) => self.providers().cloud.instance(id).await?,
            (None, Some(Rented { id, .. })) => list.iter().find(|instance| &instance.id == id).cloned(),
            (None, None) => None,
        };
        list.retain(|instance| self.hold.record().owns(instance));
        Ok(Look { asked, now, list, recorded })
    }

    /// Returns the latest that it can be by the cloud's clock.
    fn latest(&self, look: &Look) -> Timestamp {
        look.now + self.providers().clock().passed(look.asked)
    }

    async fn instance(&self, id: &str) -> Result<Instance> {
        self.providers().cloud.instance(id).await?.ok_or_else(|| {
            Error::new(format!("the cloud doesn't know machine `{id}` any more"))
                .why("asked for it by its id, it answers that there is none")
                .hint("`dacapo plan` shows what is left")
        })
    }

    pub(super) fn rented(&self) -> Result<&Rented> {
        self.hold.record().machine.as_ref().ok_or_else(|| {
            Error::of(ExitCode::Stale, "the session has no machine any more")
                .hint("run the same command again")
        })
    }

    fn asked(&self, candidate: &Candidate) -> Result<Machine> {
        let spec = &self.context.spec.instance;
        let (key, _) = self.providers().public_key(self.context.spec)?;
        // A disk that was kept is what it is, whatever the spec asks for today.
        let kept = self.hold.record().disk.as_ref().and_then(|disk| disk.asked.as_ref());
        Ok(Machine {
            r#type: candidate.r#type.clone(),
            location: candidate.location.clone(),
            image: kept.map_or(&spec.image, |kept| &kept.image).clone(),
            ssh_key: key.fingerprint(),
            os_volume_gb: kept.map_or(spec.os_volume_gb, |kept| kept.os_volume_gb),
            market: spec.market,
        })
    }

    /// Returns the account's id of the key that the machine is to let in.
    async fn login_key(&self) -> Result<String> {
        let (key, _) = self.providers().public_key(self.context.spec)?;
        let keys = self.providers().cloud.keys().await?;
        let key = keys.into_iter().find(|registered| registered.key == key).ok_or_else(|| {
            Error::new("the login key isn't registered with the account any more")
                .hint("run the same command again")
        })?;
        Ok(key.id)
    }

    fn order(&self, intent: &Intent, login_key: String, script: Option<String>) -> Order {
        let record = self.hold.record();
        let mut tags = record::tags(&record.session, &record.store, &intent.nonce);
        tags.extend(record::limit_tags(&self.context.spec.limits));
        Order {
            r#type: intent.asked.r#type.clone(),
            image: intent.asked.image.clone(),
            boots: intent.boots.clone(),
            hostname: record.session.clone(),
            description: record::description(&record.session, &record.store, &intent.nonce),
            key_ids: vec![login_key],
            script,
            location: intent.asked.location.clone(),
            os_volume_gb: intent.asked.os_volume_gb,
            market: intent.asked.market,
            os_volume_name: format!("{}-os", record.session),
            tags,
        }
    }
}

/// Whether the record holds an intent to order a machine with a disk of its own. A kept disk has its key.
fn orders_new_disk(record: &Record) -> bool {
    record.machine.is_none() && record.intent.as_ref().is_some_and(|intent| intent.boots.is_none())
}

/// How an attempt at one candidate ended.
enum Built {
    Up,
    NoCapacity(String),
}

fn refused(session: &str, findings: &[Finding]) -> Error {
    let guards: BTreeSet<String> = findings.iter().map(|one| format!("`{}`", one.guard().name())).collect();
    let guards = guards.into_iter().collect::<Vec<_>>().join(", ");
    Error::of(
        ExitCode::Refused,
        format!("the server of `{session}` was not deleted: something would be lost"),
    )
    .why(format!("{} finding(s) of the guard(s) {guards} stand against it", findings.len()))
    .hint("save it, or name each loss as shown above; the server goes on billing")
}

fn too_slow(id: &str, status: &Status) -> Error {
    Error::new(format!("machine `{id}` is still {status}"))
        .why("the cloud took longer than it ever should")
        .hint("it bills; `dacapo status` shows it, the same command again goes on waiting")
}

/// Nothing turned up each time; the intent stays open, so that whoever comes next looks again first.
fn never_clear(unclear: &[String]) -> Error {
    let mut why = unclear.to_vec();
    why.dedup();
    let what =
        format!("the cloud gave no clear answer to {} orders, and no machine has turned up", unclear.len());
    let error = why.into_iter().fold(Error::new(what), Error::why);
    error.hint(
        "none is listed after the quiet window; run the same command again later: it looks again before it orders",
    )
}

fn unsettled(look: &Look) -> Error {
    let states: Vec<String> = look
        .list
        .iter()
        .map(|instance| format!("machine `{}` is {}", instance.id, instance.status))
        .collect();
    let error = Error::new("the cloud has not settled within an hour");
    let error = if states.is_empty() { error.why("it lists no machine of this session") } else { error };
    let error = states.into_iter().fold(error, Error::why);
    error.hint("what it lists bills; the same command again goes on waiting")
}

fn stopped(session: &str, stop: &Stop) -> Error {
    match stop {
        Stop::OtherAccount(id) => {
            Error::of(ExitCode::Refused, format!("the account doesn't know machine `{id}`"))
                .why("the session's record says that it lives")
                .hint("are these the credentials of the account that rented it?")
        }
        Stop::Lost(id) => {
            Error::of(ExitCode::Refused, format!("machine `{id}` of `{session}` vanished without our doing"))
                .hint("`dacapo plan` shows what is known of it")
        }
        Stop::Several(ids) => Error::of(
            ExitCode::Refused,
            format!("more than one machine carries the mark of `{session}`: {}", ids.join(", ")),
        )
        .hint("look at them in the cloud's console and delete the one that holds nothing"),
    }
}
