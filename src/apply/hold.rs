//! The lease, and the record that is written under it by compare-and-swap.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::Duration;

use crate::error::{Error, ExitCode, Result};
use crate::observe::Held;
use crate::provider::store::{RecordRead, Written};
use crate::provider::{Providers, private_folder};
use crate::record::{Elsewhere, Lease, Record};
use crate::spec::Spec;

/// How often the lease is renewed while something long is under way.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// The session, held by this process: nobody else writes its record without our noticing.
pub struct Hold {
    record: Record,
    rev: Option<String>,
    lease: Lease,
    /// Whether the record has something that isn't written yet.
    unwritten: bool,
    /// Freed by the kernel when this process ends, however it ends.
    _lock: File,
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
    let mut hold = Hold { record, rev: held.rev, lease, unwritten: false, _lock: lock };
    match providers.memory.write(&session, &hold.record.to_json(), hold.rev.as_deref()).await? {
        Written::Done { rev, .. } => {
            hold.rev = Some(rev);
            Ok(hold)
        }
        Written::Conflict => Err(beaten(providers, &session).await),
    }
}

impl Hold {
    /// The record as it was last written.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Writes the record, which renews the lease. A conflict means that the lease was lost: stop.
    pub async fn write(&mut self, providers: &Providers, record: Record) -> Result<()> {
        self.lease.writes = self.lease.writes.wrapping_add(1);
        let record = Record { lease: Some(self.lease.clone()), ..record };
        self.put(providers, record).await
    }

    /// Takes a change of the record that may be lost without harm: it is written with the next one.
    pub fn note(&mut self, record: Record) {
        self.record = record;
        self.unwritten = true;
    }

    /// Takes up in the record that `reap` looked after the session.
    pub fn note_reaped(&mut self, now: jiff::Timestamp) {
        self.note(Record { reaped: Some(now), ..self.record.clone() });
    }

    /// Takes up in the record what the session is to be; written with the next change.
    pub fn note_spec(&mut self, spec: &Spec) {
        let lines: Vec<String> = spec.to_toml().lines().map(str::to_owned).collect();
        if self.record.spec != lines {
            self.note(Record { spec: lines, ..self.record.clone() });
        }
    }

    /// Writes what was only noted so far.
    pub async fn write_notes(&mut self, providers: &Providers) -> Result<()> {
        if self.unwritten { self.renew(providers).await } else { Ok(()) }
    }

    /// Keeps the lease alive while something long is under way, which ends if the lease is lost.
    pub async fn during<T>(&mut self, providers: &Providers, work: impl Future<Output = T>) -> Result<T> {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Ok(done),
                () = providers.sleep(HEARTBEAT) => self.renew(providers).await?,
            }
        }
    }

    /// Renews the lease right before a create, a delete or an overwrite.
    pub async fn renew(&mut self, providers: &Providers) -> Result<()> {
        self.write(providers, self.record.clone()).await
    }

    /// Gives the session back.
    pub async fn release(mut self, providers: &Providers) -> Result<()> {
        let record = Record { lease: None, ..self.record.clone() };
        self.put(providers, record).await
    }

    async fn put(&mut self, providers: &Providers, record: Record) -> Result<()> {
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
        match providers.memory.write(&record.session, &bytes, self.rev.as_deref()).await? {
            Written::Done { rev, .. } => {
                self.rev = Some(rev);
                self.record = record;
                self.unwritten = false;
                Ok(())
            }
            Written::Conflict => Err(beaten(providers, &record.session).await),
        }
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

fn refused(session: &str, Elsewhere { owner, left }: &Elsewhere) -> Error {
    Error::of(ExitCode::Lease, format!("`{session}` is held by {owner} for another {left} s"))
        .why("the lease in its record is theirs: two at once would undo each other's work")
        .hint("wait for it to end; a lease that isn't renewed runs out by itself")
}

/// Says who has the session now, where the record still tells.
async fn beaten(providers: &Providers, session: &str) -> Error {
    let error = Error::of(ExitCode::Lease, format!("somebody else has taken `{session}` meanwhile"))
        .why("its record was written by another dacapo since this one read it");
    let error = match holder(providers, session).await {
        Some(Elsewhere { owner, left }) => error.why(format!("{owner} holds it for another {left} s")),
        None => error,
    };
    error.hint("`dacapo plan` shows what is left to do")
}

async fn holder(providers: &Providers, session: &str) -> Option<Elsewhere> {
    let RecordRead::Found { bytes, modified, now, .. } = providers.memory.read(session).await.ok()? else {
        return None;
    };
    Record::parse(&bytes).ok()?.holder(now.duration_since(modified).as_secs())
}
