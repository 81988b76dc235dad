//! What one transfer leaves for the next: its connection, and what it knows of the store.

use std::collections::BTreeMap;
use std::time::Instant;

use jiff::Timestamp;

use super::Context;
use crate::error::{Error, ExitCode, Result};
use crate::facts::{Instance, LargeFiles, Status, Store, StoredFile, Surroundings};
use crate::plan::Place;
use crate::provider::Providers;
use crate::provider::repo::checkout_root;
use crate::provider::server::{Connection, Host, SurroundingsRequest};
use crate::record::{Record, Rented};

/// What transfers share while nothing else happens between them.
#[derive(Default)]
pub(super) struct Shared {
    server: Option<Host>,
    laptop: Option<Host>,
    listing: Option<Listing>,
    free_space: Option<u64>,
    surroundings: BTreeMap<Place, Surroundings>,
}

/// The store as it was listed, with what was added to it since.
pub(super) struct Listing {
    store: Store,
    at: Instant,
}

impl Listing {
    /// Every file that is known to be there.
    pub(super) fn files(&self) -> &[StoredFile] {
        &self.store.files
    }

    /// Whether large files can be stored.
    pub(super) fn large_files(&self) -> LargeFiles {
        self.store.large_files
    }

    /// The store's time.
    pub(super) fn now(&self, providers: &Providers) -> Timestamp {
        self.store.now + providers.clock().since(self.at)
    }
}

impl Shared {
    /// Returns where the files of `place` lie, connected when it is first asked for.
    pub(super) async fn host(
        &mut self,
        context: &Context<'_>,
        record: &Record,
        place: Place,
    ) -> Result<&mut Host> {
        let held = match place {
            Place::Server => &mut self.server,
            Place::Laptop => &mut self.laptop,
        };
        if let Some(host) = held {
            return Ok(host);
        }
        let host = match place {
            Place::Server => Host::server(connect(context, record, false).await?),
            Place::Laptop => Host::laptop(checkout_root(context.spec_directory, &context.spec.repo.url))?,
        };
        Ok(held.insert(host))
    }

    /// Asks what artifacts of `place` are made in, once.
    ///
    /// The question is a fresh one: since the plan, and since the code was brought, there may be new commits.
    pub(super) async fn look_around(
        &mut self,
        context: &Context<'_>,
        record: &Record,
        place: Place,
    ) -> Result<()> {
        if self.surroundings.contains_key(&place) {
            return Ok(());
        }
        let spec = context.spec;
        let checkout = match place {
            Place::Server => spec.repo.path.clone(),
            Place::Laptop => ".".to_owned(),
        };
        let artifacts = spec.artifacts.values().map(|artifact| artifact.path.clone()).collect();
        let host = self.host(context, record, place).await?;
        let seen = host.surroundings(&SurroundingsRequest { checkout, artifacts }).await?;
        self.surroundings.insert(place, seen);
        Ok(())
    }

    /// Returns what artifacts of `place` are made in, where it could be told.
    pub(super) fn surroundings(&self, place: Place) -> Option<&Surroundings> {
        self.surroundings.get(&place)
    }

    /// Returns the store's listing, read when it is first asked for.
    pub(super) async fn listing(&mut self, providers: &Providers, session: &str) -> Result<&mut Listing> {
        if self.listing.is_none() {
            let at = Instant::now();
            let store = providers.memory.look(session).await?.store;
            self.listing = Some(Listing { store, at });
        }
        Ok(self.listing.as_mut().expect("it was put there just now"))
    }

    /// Returns how many bytes the store has left; it is asked again only when `wanted` might not fit.
    pub(super) async fn free_space(&mut self, providers: &Providers, wanted: u64) -> Result<u64> {
        match self.free_space {
            // Whoever else writes there meanwhile has this much room.
            Some(free) if free / 2 >= wanted => Ok(free),
            _ => Ok(*self.free_space.insert(providers.store()?.free_space().await?)),
        }
    }

    /// Forgets how much space there was.
    pub(super) fn forget_space(&mut self) {
        self.free_space = None;
    }

    /// Takes up what was stored just now.
    pub(super) fn add(&mut self, file: StoredFile) {
        self.free_space = self.free_space.map(|free| free.saturating_sub(file.size));
        if let Some(listing) = &mut self.listing {
            listing.store.files.push(file);
        }
    }

    /// Forgets the listing: somebody else has changed the store.
    pub(super) fn forget_listing(&mut self) {
        self.listing = None;
    }

    /// Ends the connections and forgets what was seen.
    pub(super) async fn close(&mut self) {
        let Self { server, laptop, .. } = std::mem::take(self);
        for host in [server, laptop].into_iter().flatten() {
            host.close().await;
        }
    }
}

/// Logs in on the machine that the record names, if it runs.
pub(super) async fn connect(
    context: &Context<'_>,
    record: &Record,
    forward_agent: bool,
) -> Result<Connection> {
    let (rented, instance) = running(context, record).await?;
    Ok(context.providers.connect(context.spec, rented, &instance, forward_agent).await?)
}

/// Returns the machine that the record names, if it runs.
pub(super) async fn running<'r>(context: &Context<'_>, record: &'r Record) -> Result<(&'r Rented, Instance)> {
    let rented = record.machine.as_ref().ok_or_else(|| {
        Error::of(ExitCode::Stale, "the record names no machine any more")
            .hint("`dacapo plan` shows what is left")
    })?;
    let running = context.providers.cloud.instance(&rented.id).await?;
    let instance = running.filter(|instance| instance.status == Status::Running).ok_or_else(|| {
        Error::of(ExitCode::Stale, format!("machine `{}` doesn't run any more", rented.id))
            .hint("`dacapo plan` shows what is left")
    })?;
    Ok((rented, instance))
}
