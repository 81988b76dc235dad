//! Asks all four worlds at once.
//!
//! One token per service, one round of concurrent reads, one SSH connection with one probe, one ls-remote,
//! however many keys, volumes and artifacts there are. Two things cost more, and only when they arise: a
//! recorded machine that the list doesn't show is asked for by id, and commits that the remote's refs don't
//! name outright need its history.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use jiff::Timestamp;

use crate::error::{Error, ExitCode, Result};
use crate::facts::{Cloud, Environment, Instance, Probe, PublicKey, Repo, Server, Status};
use crate::observed::{Closer, Laptop, Observed};
use crate::plan::{Plan, artifact_paths, to_be_brought};
use crate::provider::Providers;
use crate::provider::agent::agent_keys;
use crate::provider::repo::local_checkout;
use crate::provider::server::{GivenNotebook, Host, ProbeRequest, SurroundingsRequest};
use crate::provider::store::{RecordRead, StoreClient, StoreLook};
use crate::record::{Record, Rented};
use crate::spec::{NOTEBOOK_PORT, OnAbsent, Spec, State};
use crate::version::{Manifest, Told, Version};

/// The record as it was read, with what compare-and-swap needs.
#[derive(Clone, Debug)]
pub struct Held {
    /// The record; a new one where there is none.
    pub record: Record,
    /// The revision that was read; none where there is no record yet.
    pub rev: Option<String>,
    /// How long ago it was last written, in seconds by the store's clock.
    pub age_seconds: i64,
}

/// How artifacts on the server are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// A large file that is as it was at an earlier look isn't read again.
    Remembered,
    /// Every byte is read: for what decides over a deletion.
    Anew,
}

/// Takes one look at the four worlds.
pub async fn observe(
    providers: &Providers,
    spec: &Spec,
    spec_directory: &Path,
    reading: Reading,
) -> Result<(Observed, Held)> {
    let key_path = providers.key_path(spec).with_extension("");
    let key = match providers.public_key(spec) {
        Err(error) if spec.state == State::Running => return Err(error),
        key => key.map(|(key, _)| key),
    };
    let (cloud, look, refs, agent) = tokio::join!(
        providers.cloud.look(spec.instance.market),
        providers.memory.look(&spec.name),
        providers.remote.listing(),
        agent_keys(providers.settings.ssh.agent.as_deref()),
    );
    let (mut cloud, look) = (cloud?, look?);
    let mut repo = match refs {
        Ok((refs, tags)) => Repo { refs: Some(refs), tags, ..Repo::default() },
        Err(error) => {
            let denied = error.kind == ExitCode::Credentials;
            Repo { unreachable: Some(error.to_string()), denied, ..Repo::default() }
        }
    };
    let held = held(spec, &look, cloud.now)?;
    find_recorded(providers, &mut cloud, &held.record).await?;
    find_disk(providers, &mut cloud, &held.record).await?;
    let key = key.or_else(|error| created_with(&held.record, &cloud).ok_or(error))?;
    let mut observed = Observed {
        cloud,
        server: Server::None,
        repo: Repo::default(),
        store: look.store,
        record: held.record.clone(),
        key,
        laptop: Laptop { agent, private_key: key_path.is_file(), spec_in_repo: false },
        closer: Closer::default(),
    };
    let tip = repo.refs.as_ref().and_then(|refs| refs.get(&format!("refs/heads/{}", spec.repo.branch)));
    repo.local = local_checkout(spec_directory, &spec.repo.url, &spec.repo.branch, tip.map(String::as_str));
    observed.laptop.spec_in_repo = repo.local.is_some();
    observed.server = look_at_server(providers, spec, &observed, tip.cloned(), reading).await;
    compare_with_remote(providers, spec, &mut repo, &observed.server).await;
    observed.repo = repo;
    Ok((observed, held))
}

/// Looks closer at what the plan would bring: one read for each version that has a manifest and, where one
/// tells its environment and the server is there, one question to the server.
///
/// Tells whether anything was learned; an empty plan costs nothing.
pub async fn look_closer(
    providers: &Providers,
    spec: &Spec,
    observed: &mut Observed,
    plan: &Plan,
) -> Result<bool> {
    let mut told = BTreeMap::new();
    for version in to_be_brought(plan, &observed.store.files) {
        told.insert(version.name.clone(), read_manifest(providers.store()?, &version).await?);
    }
    let tells = |told: &Told| matches!(told, Told::By(made) if made.environment.is_some());
    if told.values().any(tells) {
        observed.closer.environment = environment(providers, spec, observed).await;
    }
    observed.closer.told = told;
    Ok(!observed.closer.told.is_empty())
}

/// Reads what is told of a version; a manifest that can't be used is no failure.
pub async fn read_manifest(store: &StoreClient, version: &Version) -> Result<Told> {
    let Some(name) = &version.manifest else { return Ok(Told::Nothing) };
    Ok(match store.read(name).await? {
        Some(bytes) => Manifest::told(&bytes, version),
        None => Told::Unusable("it was removed a moment ago".to_owned()),
    })
}

/// Asks the server what programs run with; where it can't be told, nothing is compared with it.
async fn environment(providers: &Providers, spec: &Spec, observed: &Observed) -> Option<Environment> {
    let Server::Seen(_) = observed.server else { return None };
    let (rented, instance) = (observed.record.machine.as_ref()?, observed.instance()?);
    let ask = SurroundingsRequest { checkout: spec.repo.path.clone(), artifacts: Vec::new() };
    let mut server = Host::server(providers.connect(spec, rented, instance, false).await.ok()?);
    let surroundings = server.surroundings(&ask).await;
    server.close().await;
    Some(surroundings.ok()?.environment)
}

/// Reads the record that a look brought; `now` is when absence begins to be waited for where it is gone.
pub fn held(spec: &Spec, look: &StoreLook, now: Timestamp) -> Result<Held> {
    let new = |doubt| Record::start(&spec.name, &look.store.id, doubt);
    match &look.record {
        // The intent is noted before any POST: where no record ever was, nothing can be on its way.
        RecordRead::Never => Ok(Held { record: new(None), rev: None, age_seconds: 0 }),
        RecordRead::Deleted => Ok(Held { record: new(Some(now)), rev: None, age_seconds: 0 }),
        RecordRead::Found { bytes, rev, modified, now } => {
            let record = Record::parse(bytes).map_err(|why| unreadable(spec, why))?;
            if record.session != spec.name || record.store != look.store.id {
                return Err(unreadable(spec, "it belongs to another session or store".to_owned()));
            }
            let age_seconds = now.duration_since(*modified).as_secs();
            Ok(Held { record, rev: Some(rev.clone()), age_seconds })
        }
    }
}

/// Whoever ends a session may lack its key's file: the account still has the key, of the record's fingerprint.
/// Where no machine is left nobody has to log in, and what an adopted one was made with nobody knows: any key will do.
fn created_with(record: &Record, cloud: &Cloud) -> Option<PublicKey> {
    let mut keys = cloud.keys.iter().map(|key| &key.key);
    let Some(asked) = record.machine.as_ref().and_then(|machine| machine.asked.as_ref()) else {
        return keys.next().cloned();
    };
    keys.find(|key| key.fingerprint() == asked.ssh_key).cloned()
}

fn unreadable(spec: &Spec, why: String) -> Error {
    Error::new(format!("cannot read the record of `{}`", spec.name))
        .why(why)
        .hint(format!("it is `.dacapo/{}.json` in the store: restore its earlier revision there", spec.name))
}

/// A machine that the list doesn't show may still live: the list lags. Asking by id is exact.
async fn find_recorded(providers: &Providers, cloud: &mut Cloud, record: &Record) -> Result<()> {
    let Some(Rented { id, .. }) = &record.machine else { return Ok(()) };
    if !cloud.instances.iter().any(|instance| &instance.id == id) {
        cloud.recorded = Some(providers.cloud.instance(id).await?);
    }
    Ok(())
}

/// The trash is looked at only where a disk of ours may be in it: one that waits and isn't listed, or that of
/// a machine that vanished.
async fn find_disk(providers: &Providers, cloud: &mut Cloud, record: &Record) -> Result<()> {
    let listed = |id: &String| cloud.volumes.iter().any(|volume| volume.id == *id);
    let missing = record.disk.as_ref().is_some_and(|disk| !listed(&disk.volume));
    let vanished = record.machine.as_ref().filter(|machine| machine.is_in_use()).is_some_and(|machine| {
        let found = cloud.recorded.as_ref().and_then(Option::as_ref);
        found.is_some_and(|instance| instance.id == machine.id && instance.status == Status::Discontinued)
    });
    if missing || vanished {
        cloud.trash = Some(providers.cloud.trash().await?);
    }
    Ok(())
}

async fn look_at_server(
    providers: &Providers,
    spec: &Spec,
    observed: &Observed,
    wanted: Option<String>,
    reading: Reading,
) -> Server {
    let (Some(rented), Some(instance)) = (&observed.record.machine, observed.instance()) else {
        return Server::None;
    };
    match instance.status {
        Status::Running if rented.may_hold_work() => {}
        Status::Running | Status::Ordered(_) | Status::Provisioning | Status::Discontinued => {
            return Server::None;
        }
        _ => return Server::Unreachable(format!("the machine is {}", instance.status)),
    }
    let request = ProbeRequest {
        checkout: spec.repo.path.clone(),
        artifacts: artifact_paths(spec),
        disposable: spec.disposable.clone(),
        wanted,
        fresh: reading == Reading::Anew,
        save: (spec.state == State::Absent && spec.repo.on_absent == OnAbsent::SaveBranch)
            .then(|| spec.repo.save.clone()),
        notebook: given_notebook(spec, instance),
        setup: spec.setup.as_ref().map(|setup| setup.inputs.clone()),
    };
    let probed: Result<Probe> = async {
        let mut connection = providers.connect(spec, rented, instance, false).await?;
        let probe = connection.probe(&request).await;
        connection.close().await;
        Ok(probe?)
    }
    .await;
    match probed {
        Ok(probe) => Server::Seen(Box::new(probe)),
        Err(error) => Server::Unreachable(error.to_string()),
    }
}

/// Returns the notebook server that a machine's image runs; its port is the spec's, its token the cloud's.
pub fn given_notebook(spec: &Spec, instance: &Instance) -> Option<GivenNotebook> {
    let port = spec.notebook.as_ref().map_or(NOTEBOOK_PORT, |notebook| notebook.port);
    instance.notebook.clone().map(|token| GivenNotebook { port, token })
}

/// Finds out which of the server's commits the remote contains.
async fn compare_with_remote(providers: &Providers, spec: &Spec, repo: &mut Repo, server: &Server) {
    let (Some(refs), Server::Seen(probe)) = (repo.refs.clone(), server) else { return };
    let Some(checkout) = &probe.checkout else { return };
    let tips = checkout.tips.iter().map(|tip| tip.commit.clone());
    let commits: BTreeSet<String> = tips.chain(checkout.snapshot.clone()).collect();
    match providers.remote.contained(&refs, &commits).await {
        Ok(contained) => repo.contained = contained,
        Err(error) => return unreachable_remote(repo, &error),
    }
    let tip = refs.get(&format!("refs/heads/{}", spec.repo.branch));
    let (Some(head), Some(tip)) = (&checkout.head, tip) else { return };
    if repo.contained.get(head) == Some(&true) {
        match providers.remote.is_ancestor(&refs, head, tip).await {
            Ok(behind) => repo.head_behind = Some(behind),
            Err(error) => unreachable_remote(repo, &error),
        }
    }
}

/// Missing evidence counts as failure: without its history the remote vouches for nothing.
fn unreachable_remote(repo: &mut Repo, error: &Error) {
    repo.refs = None;
    repo.tags = BTreeMap::new();
    repo.contained = BTreeMap::new();
    repo.unreachable = Some(error.to_string());
}

/// Finds the machine that an adopted record would name, for `run` and the like.
pub fn living(observed: &Observed) -> Result<(&Rented, &Instance)> {
    let name = &observed.record.session;
    match (&observed.record.machine, observed.instance()) {
        (Some(rented), Some(instance)) if instance.status == Status::Running && rented.login => {
            Ok((rented, instance))
        }
        (Some(_), Some(instance)) => Err(Error::of(
            ExitCode::Remote(255),
            format!("the server of `{name}` is not ready: its machine is {}", instance.status),
        )
        .hint("`dacapo up` makes it ready")),
        _ => Err(Error::of(ExitCode::Remote(255), format!("`{name}` has no server"))
            .hint("`dacapo up` creates it")),
    }
}
