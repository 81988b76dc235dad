//! Which stored versions go, which stay, and why; pure.
//!
//! A version goes only if nothing speaks for it: what isn't known speaks for it, too.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::{Action, Kind};
use crate::digest::ContentHash;
use crate::error::{Error, ExitCode, Result};
use crate::facts::StoredFile;
use crate::lock::Lock;
use crate::record::{Base, Record};
use crate::spec::{Artifact, Spec, Wanted, nearest};
use crate::version::{Told, Version, left_manifests, manifests_of, versions};

/// What is asked for, and everything that may speak for a version.
#[derive(Clone, Copy, Debug)]
pub struct PruneRequest<'a> {
    /// `session.toml`.
    pub spec: &'a Spec,
    /// The one artifact that is meant; all where none is named.
    pub artifact: Option<&'a str>,
    /// How many of the newest stay. The newest one always does.
    pub keep: usize,
    /// What becomes of uploads by hand.
    pub uploads: Uploads,
    /// The store's listing.
    pub files: &'a [StoredFile],
    /// Locks and records.
    pub mentions: &'a [Mention],
    /// What is told of versions, by name. Of those that would go everything has to be told in the end; until
    /// then they count as ours.
    pub told: &'a BTreeMap<String, Told>,
}

/// What becomes of versions that nobody but a person can have uploaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uploads {
    /// They stay.
    Stay,
    /// They are treated like any other.
    Go,
}

/// Something that names versions, which must not go therefore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mention {
    by: By,
    names: Names,
}

/// Who names a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum By {
    /// A lock, at the place that is said.
    Lock {
        /// For people.
        at: String,
    },
    /// A session's record: its machine has the version, or the last one had it.
    Record {
        /// The session.
        session: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Names {
    /// Names, and the contents as far as they are known.
    Versions(Vec<(String, Option<ContentHash>)>),
    /// A text that couldn't be read as what it is: whatever it contains, it names.
    Text(String),
}

impl Mention {
    /// Reads a lock; one of another format, or with a conflict in it, still names what stands in it.
    pub fn in_lock(at: &str, text: &str) -> Self {
        let names = match Lock::parse(text) {
            Ok(lock) => Names::Versions(
                lock.artifacts.into_values().map(|locked| (locked.version, locked.content)).collect(),
            ),
            Err(_) => Names::Text(text.to_owned()),
        };
        Self { by: By::Lock { at: at.to_owned() }, names }
    }

    /// Reads a session's record as it lies in the store.
    pub fn in_record(session: &str, bytes: &[u8]) -> Self {
        match Record::parse(bytes) {
            Ok(record) => Self::of(&record),
            Err(_) => Self {
                by: By::Record { session: session.to_owned() },
                names: Names::Text(String::from_utf8_lossy(bytes).into_owned()),
            },
        }
    }

    /// Returns what a record names: what its machine has, and what the last one left.
    pub fn of(record: &Record) -> Self {
        let bases = record.machine.iter().map(|machine| &machine.base).chain([&record.last]);
        let kept = bases.flat_map(|base: &Base| base.artifacts.values());
        let names = kept.map(|kept| (kept.version.clone(), Some(kept.payload))).collect();
        Self { by: By::Record { session: record.session.clone() }, names: Names::Versions(names) }
    }

    /// Equal content is equal identity: who names one of two equal versions names both.
    fn names(&self, version: &Version) -> bool {
        match &self.names {
            Names::Versions(all) => all.iter().any(|(name, content)| {
                *name == version.name || content.is_some() && *content == version.payload
            }),
            Names::Text(text) => {
                text.contains(&version.name)
                    || version.payload.is_some_and(|payload| text.contains(&payload.to_string()))
            }
        }
    }
}

/// Why a version stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Reason {
    /// It is the newest one.
    Newest,
    /// It is one of the newest, as many as were asked for.
    Recent,
    /// `session.toml` names it.
    Pinned,
    /// A lock or a record names it.
    Named(By),
    /// It was uploaded by hand.
    ByHand,
    /// Its manifest can't be used, so nobody can tell what it is.
    UnusableManifest {
        /// Why.
        why: String,
    },
}

/// What is to go and what stays.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Prune {
    /// Every artifact that is meant.
    pub artifacts: Vec<Pruned>,
    /// What `apply` will do: the oldest versions first.
    pub actions: Vec<Action>,
}

/// One artifact's versions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pruned {
    /// The artifact's name.
    pub artifact: String,
    /// Oldest first.
    pub versions: Vec<Judged>,
}

/// One version, judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Judged {
    /// Its name.
    pub name: String,
    /// The bytes it takes in the store.
    pub stored_size: u64,
    /// When the store took it.
    pub stored_at: Timestamp,
    /// Its content, where it is known.
    pub content: Option<ContentHash>,
    /// Why it stays; it goes where this is empty.
    pub stays: Vec<Reason>,
}

/// Plans which versions go.
pub fn prune(request: PruneRequest<'_>) -> Result<Prune> {
    let (mut artifacts, mut actions) = (Vec::new(), Vec::new());
    for (name, artifact) in meant(request)? {
        let stored = versions(request.files, artifact.file_name());
        let judged: Vec<Judged> = (0..stored.len())
            .map(|at| judge(request, artifact, &stored[at], stored.len() - 1 - at))
            .collect();
        for (version, judged) in stored.into_iter().zip(&judged) {
            if judged.stays.is_empty() {
                let manifests = manifests_of(request.files, &version.name).into_iter().cloned().collect();
                let (artifact, object) = (name.clone(), Some(version.file));
                let kind = Kind::DeleteVersion { artifact, version: version.name, object, manifests };
                add(&mut actions, kind);
            }
        }
        for (version, left) in left_manifests(request.files, artifact.file_name()) {
            let (artifact, version) = (name.clone(), version.to_owned());
            let kind = Kind::DeleteVersion { artifact, version, object: None, manifests: vec![left.clone()] };
            add(&mut actions, kind);
        }
        artifacts.push(Pruned { artifact: name.clone(), versions: judged });
    }
    Ok(Prune { artifacts, actions })
}

impl Prune {
    /// Returns the versions that would go, as the store has them.
    pub fn going(&self, spec: &Spec, files: &[StoredFile]) -> Vec<Version> {
        let all = self.artifacts.iter().filter_map(|pruned| {
            let stored = versions(files, spec.artifacts.get(&pruned.artifact)?.file_name());
            Some(stored.into_iter().zip(&pruned.versions).filter(|(_, judged)| judged.stays.is_empty()))
        });
        all.flatten().map(|(version, _)| version).collect()
    }
}

fn add(actions: &mut Vec<Action>, kind: Kind) {
    let action = Action::new(kind, actions);
    actions.push(action);
}

fn meant(request: PruneRequest<'_>) -> Result<Vec<(&String, &Artifact)>> {
    let all = &request.spec.artifacts;
    let Some(name) = request.artifact else { return Ok(all.iter().collect()) };
    all.get_key_value(name).map(|found| vec![found]).ok_or_else(|| unknown_artifact(request.spec, name))
}

/// Returns the refusal of an artifact's name that the spec doesn't have.
pub fn unknown_artifact(spec: &Spec, name: &str) -> Error {
    let names: Vec<&String> = spec.artifacts.keys().collect();
    let error = Error::of(ExitCode::Usage, format!("session.toml has no artifact `{name}`"))
        .why(format!("it has {}", super::machine::quoted(&names)));
    match nearest(name, names.iter().map(|name| name.as_str())) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error.hint("name one of these"),
    }
}

/// Judges one version, of which `newer` are newer.
fn judge(request: PruneRequest<'_>, artifact: &Artifact, version: &Version, newer: usize) -> Judged {
    let mut stays = Vec::new();
    if newer == 0 {
        stays.push(Reason::Newest);
    } else if newer < request.keep {
        stays.push(Reason::Recent);
    }
    let pinned = match &artifact.version {
        Wanted::Named(name) => *name == version.name,
        Wanted::Content(content) => Some(*content) == version.payload,
        Wanted::Latest | Wanted::None => false,
    };
    stays.extend(pinned.then_some(Reason::Pinned));
    let naming = request.mentions.iter().filter(|mention| mention.names(version)).map(|mention| &mention.by);
    // One lock and one record say enough: a history may hold hundreds.
    let first = |is_lock: bool| naming.clone().find(|by| matches!(by, By::Lock { .. }) == is_lock);
    stays.extend([first(true), first(false)].into_iter().flatten().cloned().map(Reason::Named));
    match request.told.get(&version.name) {
        _ if version.manifest.is_none() => stays.extend(by_hand(request)),
        Some(Told::By(made)) if made.by_hand => stays.extend(by_hand(request)),
        Some(Told::Unusable(why)) => stays.push(Reason::UnusableManifest { why: why.clone() }),
        Some(Told::By(_) | Told::Nothing) | None => {}
    }
    Judged {
        name: version.name.clone(),
        stored_size: version.file.size,
        stored_at: version.file.modified,
        content: version.payload,
        stays,
    }
}

fn by_hand(request: PruneRequest<'_>) -> Option<Reason> {
    (request.uploads == Uploads::Stay).then_some(Reason::ByHand)
}
