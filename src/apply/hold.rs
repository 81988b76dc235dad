//! The lease, and the record that is written under it by compare-and-swap.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::{Arc, Mutex as Slot, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex, Notify, watch};

use super::Outcome;
use crate::error::{Error, ExitCode, Result};
use crate::observe::Held;
use crate::provider::http::Moment;
use crate::provider::store::{RecordRead, Written};
use crate::provider::{Laptop, Providers, private_folder};
use crate::record::{Elsewhere, Lease, Record};
use crate::spec::Spec;

/// How long after its last write the record is written again, whatever is under way.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// How long after its last write the lease is surely still ours, by this laptop's own clocks.
const SURELY: Duration = Duration::from_secs(90);

/// The session, held by this process: nobody else writes its record without our noticing.
pub struct Hold {
    /// The record with all that was noted.
    record: Record,
    heart: Arc<Heart>,
    /// Why the lease is lost, from when it is.
    lost: watch::Receiver<Option<Error>>,
    /// Freed by the kernel when this process ends, however it ends.
    _lock: File,
}

/// What renews the lease beside the work that goes on under it.
struct Heart {
    /// Held while a write is under way: there is one at a time.
    last: Mutex<Last>,
    /// The record where it has something that isn't written yet.
    noted: Slot<Option<Record>>,
    /// When the last write that took effect was sent.
    renewed: Slot<Moment>,
    lost: watch::Sender<Option<Error>>,
    /// The work is done.
    stop: Notify,
}

/// What was last written.
struct Last {
    record: Record,
    rev: Option<String>,
    lease: Lease,
    /// When it was sent, or tried to be.
    at: Moment,
}

/// Carries out `work` under the lease, which is renewed all the while and given back at the end.
pub async fn holding(
    providers: &Providers,
    held: Held,
    work: impl AsyncFnOnce(&mut Hold) -> Result<Outcome>,
) -> Result<Outcome> {
    let mut hold = take_lease(providers, held).await?;
    let heart = hold.heart.clone();
    let working = async {
        let done = work(&mut hold).await;
        heart.stop.notify_one();
        done
    };
    // A beat under way is waited for: dropped, it would leave open which revision is the last.
    let (done, ()) = tokio::join!(working, heart.beat(providers));
    let released = hold.release(providers).await;
    let outcome = done?;
    match (released, &outcome.error) {
        (Err(error), None) => Err(error),
        // Whatever went wrong may be the work of whoever has the lease now.
        (Err(lost), Some(error)) if lost.kind == ExitCode::Lease && error.kind != ExitCode::Interrupted => {
            Ok(Outcome { error: Some(lost), ..outcome })
        }
        _ => Ok(outcome),
    }
}

/// Takes the session: the local file lock, then the lease in the record.
///
/// Fails with [`ExitCode::Lease`] when somebody else holds either. A lease of this same laptop is taken
/// over at once, since the file lock was free; another laptop's when it has run out, by the store's clock.
pub async fn take_lease(providers: &Providers, held: Held) -> Result<Hold> {
    let session = held.record.session.clone();
    let lock = lock_file(providers, &held.record)?;
    let laptop = &providers.settings.laptop;
    let leased = held.record.leased_to(&laptop.owner, &laptop.id, held.age_seconds);
    let record = leased.map_err(|elsewhere| refused(&session, &elsewhere))?;
    let lease = record.lease.clone().expect("it was just taken");
    let at = Moment::now();
    match providers.memory.write(&session, &record.to_json(), held.rev.as_deref()).await? {
        Written::Done { rev, .. } => {
            let last = Last { record: record.clone(), rev: Some(rev), lease, at };
            let (lost, watched) = watch::channel(None);
            let heart = Heart {
                last: Mutex::new(last),
                noted: Slot::default(),
                renewed: Slot::new(at),
                lost,
                stop: Notify::new(),
            };
            Ok(Hold { record, heart: Arc::new(heart), lost: watched, _lock: lock })
        }
        Written::Conflict => Err(beaten(providers, &session).await),
    }
}

/// Refuses what rests on a look at a session that somebody else is at work on.
///
/// Fails with [`ExitCode::Lease`] while another laptop's lease hasn't run out.
pub fn refuse_held(held: &Held, laptop: &Laptop) -> Result<()> {
    let elsewhere = held
        .record
        .holder(held.age_seconds)
        .filter(|_| held.record.lease.as_ref().is_some_and(|lease| lease.laptop != laptop.id));
    elsewhere.map_or(Ok(()), |elsewhere| Err(refused(&held.record.session, &elsewhere)))
}

impl Hold {
    /// The record as it was last written, with what was noted since.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Writes the record, which renews the lease. A conflict means that the lease was lost: stop.
    pub async fn write(&mut self, providers: &Providers, record: Record) -> Result<()> {
        let record = self.heart.write(providers, record, true).await?;
        self.record = record;
        Ok(())
    }

    /// Takes a change of the record that may be lost without harm: it is written with the next one.
    pub fn note(&mut self, record: Record) {
        self.record = record.clone();
        *self.heart.noted() = Some(record);
    }

    /// Takes up in the record that `reap` looked after the session.
    pub fn note_reaped(&mut self, now: jiff::Timestamp) {
        self.note(Record { reaped: Some(now), ..self.record.clone() });
    }

    /// Takes up in the record what the session is to be; written with the next change.
    pub fn note_spec(&mut self, spec: &Spec) {
        let lines = spec.to_lines();
        if self.record.spec != lines {
            self.note(Record { spec: lines, ..self.record.clone() });
        }
    }

    /// Writes what was only noted so far.
    pub async fn write_notes(&mut self, providers: &Providers) -> Result<()> {
        let unwritten = self.heart.noted().is_some();
        if unwritten { self.renew(providers).await } else { Ok(()) }
    }

    /// Carries out what serves nobody any more once the lease is lost.
    pub async fn during<T>(&self, work: impl Future<Output = T>) -> Result<T> {
        tokio::select! {
            done = work => Ok(done),
            why = self.lost() => Err(why),
        }
    }

    /// Renews the lease right before a create, a delete or an overwrite.
    pub async fn renew(&mut self, providers: &Providers) -> Result<()> {
        self.write(providers, self.record.clone()).await
    }

    /// Tells whether nobody can have taken the lease: to be asked between the last answer and the call.
    ///
    /// A laptop may be suspended anywhere; then an answer that was on its way tells of times long past.
    pub fn is_surely_ours(&self, providers: &Providers) -> bool {
        let renewed = *self.heart.renewed.lock().unwrap_or_else(PoisonError::into_inner);
        providers.clock().passed(renewed) < SURELY
    }

    /// Gives the session back.
    pub async fn release(self, providers: &Providers) -> Result<()> {
        self.heart.write(providers, self.record, false).await.map(drop)
    }

    /// Waits until the lease is lost, and says to whom.
    async fn lost(&self) -> Error {
        let mut lost = self.lost.clone();
        match lost.wait_for(Option::is_some).await.map(|why| why.clone()) {
            Ok(Some(why)) => why,
            _ => std::future::pending().await,
        }
    }
}

impl Heart {
    /// Renews the lease whenever nobody else has for a while, until it is lost or the work is done.
    async fn beat(&self, providers: &Providers) {
        loop {
            let passed = providers.clock().passed(self.last.lock().await.at);
            tokio::select! {
                () = self.stop.notified() => return,
                () = providers.sleep(HEARTBEAT.saturating_sub(passed)) => {}
            }
            let mut last = tokio::select! {
                biased;
                () = self.stop.notified() => return,
                last = self.last.lock() => last,
            };
            if providers.clock().passed(last.at) < HEARTBEAT {
                continue;
            }
            let noted = self.noted().take();
            let record = noted.clone().unwrap_or_else(|| last.record.clone());
            if self.put(providers, &mut last, record, true).await.is_err() {
                if self.lost.borrow().is_some() {
                    return;
                }
                // A store that can't be reached now is asked again; the next change of the world asks in any case.
                last.at = Moment::now();
                let mut slot = self.noted();
                *slot = slot.take().or(noted);
            }
        }
    }

    async fn write(&self, providers: &Providers, record: Record, keep: bool) -> Result<Record> {
        let mut last = self.last.lock().await;
        if let Some(why) = self.lost.borrow().clone() {
            return Err(why);
        }
        self.put(providers, &mut last, record, keep).await?;
        *self.noted() = None;
        Ok(last.record.clone())
    }

    /// Writes over what was last written; with the lease, or without it to give the session back.
    async fn put(&self, providers: &Providers, last: &mut Last, record: Record, keep: bool) -> Result<()> {
        last.lease.writes = last.lease.writes.wrapping_add(1);
        let record = Record { lease: keep.then(|| last.lease.clone()), ..record };
        let bytes = record.to_json();
        // A record that nobody can read again would hide what bills.
        Record::parse(&bytes).map_err(|why| {
            Error::new(format!(
                "the record of `{}` would not be readable, so it was not written",
                record.session
            ))
            .why(why)
            .hint("nothing was changed by this step; the record as it was before still holds")
        })?;
        let at = Moment::now();
        match providers.memory.write(&record.session, &bytes, last.rev.as_deref()).await? {
            Written::Done { rev, .. } => {
                last.rev = Some(rev);
                last.record = record;
                last.at = at;
                *self.renewed.lock().unwrap_or_else(PoisonError::into_inner) = at;
                Ok(())
            }
            Written::Conflict => {
                let why = beaten(providers, &record.session).await;
                self.lost.send_replace(Some(why.clone()));
                Err(why)
            }
        }
    }

    fn noted(&self) -> std::sync::MutexGuard<'_, Option<Record>> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lock_file(providers: &Providers, record: &Record) -> Result<File> {
    let folder = providers.settings.state.join("locks");
    let path = folder.join(format!("{}-{}", record.store, record.session));
    let failed =
        |error: std::io::Error| Error::new(format!("cannot lock `{}`", path.display())).because(&error);
    private_folder(&folder).map_err(failed)?;
    let mut options = File::options();
    let file = options.create(true).truncate(false).write(true).mode(0o600).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(Error::of(
            ExitCode::Lease,
            format!("`{}` is being applied on this laptop by another dacapo", record.session),
        )
        .why("it holds the session's lock file")
        .hint("wait for it to end, or stop it with Ctrl-C")),
        Err(std::fs::TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// Words the loss of the lease, with who has it now.
async fn beaten(providers: &Providers, session: &str) -> Error {
    let taken = || Error::of(ExitCode::Lease, format!("somebody else has taken `{session}` meanwhile"));
    let error = match providers.memory.read(session).await {
        Ok(RecordRead::Found { bytes, modified, now, .. }) => {
            let holder = |record: Record| record.holder(now.duration_since(modified).as_secs());
            match Record::parse(&bytes).ok().and_then(holder) {
                Some(Elsewhere { owner, left }) => {
                    Error::of(ExitCode::Lease, format!("{owner} has taken `{session}` meanwhile"))
                        .why(format!("the lease in its record is theirs for another {left} s"))
                }
                None => {
                    taken().why("its record was written by another dacapo, which has given it back since")
                }
            }
        }
        _ => taken().why("its record was written by another dacapo since this one read it"),
    };
    error.hint("nothing more was done here; `dacapo plan` shows what is left to do")
}

fn refused(session: &str, Elsewhere { owner, left }: &Elsewhere) -> Error {
    Error::of(ExitCode::Lease, format!("`{session}` is held by {owner} for another {left} s"))
        .why("the lease in its record is theirs: two at once would undo each other's work")
        .hint("wait for it to end; a lease that isn't renewed runs out by itself")
}
