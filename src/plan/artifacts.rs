//! The artifacts' part of the plan: the base tells which side is newer, content tells what is equal.

use std::collections::BTreeMap;

use super::{Blocked, Draft, Fresh, Kind, Note, Shown, Work};
use crate::digest::ContentHash;
use crate::error::{Error, ExitCode, Result};
use crate::facts::{ArtifactFile, LargeFiles, Server, StoredFile};
use crate::record::{Kept, Rented};
use crate::spec::{self, Spec, Wanted, nearest};
use crate::version::{Version, file_name, versions};
use crate::world::Artifact;

/// The largest object that one upload link takes, in bytes.
pub const UPLOAD_LIMIT: u64 = 150_000_000;
/// The largest object that the store holds, in bytes: 2^41 - 2^22, by the API's specification.
pub const LARGEST: u64 = (1 << 41) - (1 << 22);

/// Returns the largest object that can be stored with what the store lets us do.
pub fn store_limit(large_files: LargeFiles) -> u64 {
    match large_files {
        LargeFiles::Possible => LARGEST,
        LargeFiles::NoRefreshToken | LargeFiles::NoAppFolder => UPLOAD_LIMIT,
    }
}

/// Returns every content that a stored version of one of the spec's artifacts is known to hold.
pub fn stored_contents(spec: &Spec, files: &[StoredFile]) -> Vec<ContentHash> {
    spec.artifacts
        .values()
        .flat_map(|artifact| versions(files, file_name(&artifact.path)))
        .filter_map(|version| version.payload)
        .collect()
}

/// What lies at an artifact's path.
pub(super) enum Present {
    Nothing,
    /// The bytes of a stored version.
    Version(Kept),
    /// The bytes that were brought as a packed version which carries no word of ours: unchanged, so no work,
    /// but nothing in the store confirms today that it holds them.
    Brought(Kept),
    /// Bytes that no stored version has.
    Work {
        content: ContentHash,
        size: u64,
        base: Option<String>,
    },
    Unreadable,
}

impl Draft<'_> {
    pub(super) fn bring_artifacts(&mut self, fresh: Fresh) -> Result<()> {
        if fresh == Fresh::Unknown {
            self.plan.desired.artifacts = self.plan.observed.artifacts.clone();
            return Ok(());
        }
        for (name, artifact) in &self.request.spec.artifacts {
            let wanted = self.wanted_version(name, artifact)?;
            let present = if fresh == Fresh::Yes { Present::Nothing } else { self.at_path(name) };
            if fresh == Fresh::No {
                self.note_unreadable(name);
            }
            self.bring_artifact(name, artifact, wanted, present);
        }
        Ok(())
    }

    pub(super) fn bring_artifact(
        &mut self,
        name: &str,
        artifact: &spec::Artifact,
        wanted: Option<Version>,
        present: Present,
    ) {
        match (wanted, present) {
            (None, Present::Nothing) => {
                if artifact.version == Wanted::Latest {
                    self.note(Note::NoVersion { artifact: name.to_owned() });
                }
            }
            (None, Present::Version(kept) | Present::Brought(kept)) => self.keep(name, artifact, &kept),
            (_, Present::Unreadable) => {}
            (Some(version), Present::Nothing) => self.pull(name, artifact, version, None),
            (Some(version), Present::Version(kept) | Present::Brought(kept)) if is_same(&version, &kept) => {
                self.note_same_content(name, &version, &kept);
                self.keep(name, artifact, &Kept { version: version.name, ..kept });
            }
            (Some(version), Present::Version(kept)) => self.pull(name, artifact, version, Some(kept.payload)),
            (Some(version), Present::Brought(kept)) => {
                self.store_then_pull(name, artifact, version, kept.payload, kept.size);
            }
            (wanted, Present::Work { content, size, base }) => {
                self.work(name, artifact, wanted, content, size, base);
            }
        }
    }

    /// The server's bytes are nowhere else: they stay, unless the spec names another version than the one
    /// they are based on; then they are stored first.
    fn work(
        &mut self,
        name: &str,
        artifact: &spec::Artifact,
        wanted: Option<Version>,
        content: ContentHash,
        size: u64,
        base: Option<String>,
    ) {
        self.plan.work.push(Work::Artifact { name: name.to_owned(), content, size, base: base.clone() });
        if let Some(observed) = self.plan.observed.artifacts.get(name).cloned() {
            self.plan.desired.artifacts.insert(name.to_owned(), observed);
        }
        let Some(version) = wanted.filter(|version| Some(&version.name) != base.as_ref()) else { return };
        match artifact.version {
            Wanted::Named(_) | Wanted::Content(_) => {
                self.store_then_pull(name, artifact, version, content, size);
            }
            Wanted::Latest | Wanted::None => {
                self.note(Note::NewerStored { artifact: name.to_owned(), version: version.name });
            }
        }
    }

    fn store_then_pull(
        &mut self,
        name: &str,
        artifact: &spec::Artifact,
        version: Version,
        content: ContentHash,
        size: u64,
    ) {
        if self.store(name, artifact, content, size) {
            self.pull(name, artifact, version, Some(content));
        }
    }

    fn keep(&mut self, name: &str, artifact: &spec::Artifact, kept: &Kept) {
        let agreed = Artifact {
            path: artifact.path.clone(),
            version: kept.version.clone(),
            content: Some(kept.payload),
        };
        self.plan.observed.artifacts.insert(name.to_owned(), agreed.clone());
        self.plan.desired.artifacts.insert(name.to_owned(), agreed);
    }

    /// Packing and name say nothing: what holds the same bytes is the same version.
    fn note_same_content(&mut self, name: &str, version: &Version, kept: &Kept) {
        if version.name != kept.version {
            let (version, stored_as) = (version.name.clone(), kept.version.clone());
            self.note(Note::SameContent { artifact: name.to_owned(), version, stored_as });
        }
    }

    fn pull(
        &mut self,
        name: &str,
        artifact: &spec::Artifact,
        version: Version,
        replaces: Option<ContentHash>,
    ) {
        self.note_environment(name, &version.name);
        let wanted =
            Artifact { path: artifact.path.clone(), version: version.name.clone(), content: version.payload };
        self.plan.desired.artifacts.insert(name.to_owned(), wanted);
        self.add(Kind::Pull {
            artifact: name.to_owned(),
            place: self.place,
            path: artifact.path.clone(),
            version: version.name,
            object: version.file,
            packed: version.packed,
            content: version.payload,
            replaces,
        });
    }

    /// Plans to store bytes as a new version; false when they are too many.
    pub(super) fn store(
        &mut self,
        name: &str,
        artifact: &spec::Artifact,
        content: ContentHash,
        size: u64,
    ) -> bool {
        // Packing may bring a larger file below the limit, but nobody knows before it is tried.
        let large_files = self.observed.store.large_files;
        if size > store_limit(large_files) && artifact.compress == spec::Compress::None {
            self.plan.blocked.push(Blocked::TooLarge { name: name.to_owned(), size, large_files });
            return false;
        }
        self.add(Kind::Store {
            artifact: name.to_owned(),
            place: self.place,
            path: artifact.path.clone(),
            content,
            size,
            compress: artifact.compress,
        });
        true
    }

    /// Plans to store every artifact whose bytes are nowhere else; returns their names.
    pub(super) fn store_work(&mut self) -> Vec<String> {
        let mut stored = Vec::new();
        for (name, artifact) in &self.request.spec.artifacts {
            self.note_unreadable(name);
            let (content, size) = match self.at_path(name) {
                Present::Work { content, size, base } => {
                    self.plan.work.push(Work::Artifact { name: name.clone(), content, size, base });
                    self.note_pinned(name, artifact);
                    (content, size)
                }
                Present::Brought(kept) => (kept.payload, kept.size),
                Present::Nothing => {
                    self.note(Note::MissingArtifact { artifact: name.clone() });
                    continue;
                }
                Present::Version(_) | Present::Unreadable => continue,
            };
            if self.store(name, artifact, content, size) {
                stored.push(name.clone());
            }
        }
        stored
    }

    fn note_pinned(&mut self, name: &str, artifact: &spec::Artifact) {
        let version = match &artifact.version {
            Wanted::Named(version) => version.clone(),
            Wanted::Content(hash) => format!("content:{hash}"),
            Wanted::Latest | Wanted::None => return,
        };
        self.note(Note::Pinned { artifact: name.to_owned(), version });
    }

    pub(super) fn note_unreadable(&mut self, name: &str) {
        if let Some(ArtifactFile::Unreadable { why }) = self.files.and_then(|files| files.get(name)) {
            self.note(Note::UnreadableArtifact { artifact: name.to_owned(), why: why.clone() });
        }
    }

    pub(super) fn shown_artifacts(&self, will_be_stored: &[String]) -> Vec<Shown> {
        let shown = |name: &String| match self.at_path(name) {
            Present::Nothing => Some(Shown::NothingThere { artifact: name.clone() }),
            Present::Version(kept) => {
                let version = self.confirming(name, kept.payload)?.name;
                Some(Shown::Stored { artifact: name.clone(), version })
            }
            Present::Work { .. } | Present::Brought(_) => {
                will_be_stored.contains(name).then(|| Shown::WillBeStored { artifact: name.clone() })
            }
            Present::Unreadable => None,
        };
        self.request.spec.artifacts.keys().filter_map(shown).collect()
    }

    /// Returns the stored versions that the server's bytes agree with, or are based on, by artifact name.
    pub(super) fn present(&self, rented: &Rented) -> BTreeMap<String, Kept> {
        let kept = |name: &String| match self.at_path(name) {
            Present::Version(kept) | Present::Brought(kept) => Some(kept),
            Present::Work { .. } => rented.base.artifacts.get(name).cloned(),
            Present::Nothing | Present::Unreadable => None,
        };
        self.request.spec.artifacts.keys().filter_map(|name| Some((name.clone(), kept(name)?))).collect()
    }

    pub(super) fn seen_artifacts(&self) -> Vec<(String, ContentHash)> {
        let Server::Seen(probe) = &self.observed.server else { return Vec::new() };
        let seen = |(name, file): (&String, &ArtifactFile)| match file {
            ArtifactFile::File { content, .. } => Some((name.clone(), *content)),
            _ => None,
        };
        probe.artifacts.iter().filter_map(seen).collect()
    }

    pub(super) fn at_path(&self, name: &str) -> Present {
        match self.files.and_then(|files| files.get(name)) {
            Some(ArtifactFile::Missing | ArtifactFile::File { size: 0, .. }) => Present::Nothing,
            Some(ArtifactFile::File { content, size }) => self.identify(name, *content, *size),
            Some(ArtifactFile::Unreadable { .. }) | None => Present::Unreadable,
        }
    }

    fn identify(&self, name: &str, content: ContentHash, size: u64) -> Present {
        let base = self.base().and_then(|base| base.artifacts.get(name));
        let brought = base.filter(|kept| kept.payload == content && self.is_untold(name, &kept.version));
        match (self.confirming(name, content), brought) {
            (Some(_), Some(kept)) => Present::Version(kept.clone()),
            (Some(version), None) => Present::Version(Kept { version: version.name, payload: content, size }),
            (None, Some(kept)) => Present::Brought(kept.clone()),
            (None, None) => Present::Work { content, size, base: base.map(|kept| kept.version.clone()) },
        }
    }

    /// Returns the stored version that is known to hold the content: of equal ones the one that was brought,
    /// else the newest.
    fn confirming(&self, name: &str, content: ContentHash) -> Option<Version> {
        let base = self.base().and_then(|base| base.artifacts.get(name));
        let mut stored = self.stored_versions(name);
        stored.retain(|version| version.payload == Some(content));
        let brought = stored.iter().position(|version| base.is_some_and(|kept| kept.version == version.name));
        match brought {
            Some(brought) => Some(stored.swap_remove(brought)),
            None => stored.pop(),
        }
    }

    /// Tells whether the version is there and nothing tells what it holds.
    fn is_untold(&self, name: &str, version: &str) -> bool {
        self.stored_versions(name).iter().any(|stored| stored.name == version && stored.payload.is_none())
    }

    fn stored_versions(&self, name: &str) -> Vec<Version> {
        let Some(artifact) = self.request.spec.artifacts.get(name) else { return Vec::new() };
        versions(&self.observed.store.files, file_name(&artifact.path))
    }

    pub(super) fn wanted_version(&self, name: &str, artifact: &spec::Artifact) -> Result<Option<Version>> {
        let stored = self.stored_versions(name);
        if self.request.locked && artifact.version != Wanted::None {
            return self.locked_version(name, stored).map(Some);
        }
        match &artifact.version {
            Wanted::None => Ok(None),
            Wanted::Latest => Ok(stored.into_iter().next_back()),
            Wanted::Named(wanted) => pick(name, wanted, stored, |version| version.name == *wanted).map(Some),
            Wanted::Content(hash) => {
                let wanted = format!("content:{hash}");
                pick(name, &wanted, stored, |version| version.payload == Some(*hash)).map(Some)
            }
        }
    }

    fn locked_version(&self, name: &str, stored: Vec<Version>) -> Result<Version> {
        let locked = self.request.lock.and_then(|lock| lock.artifacts.get(name)).ok_or_else(|| {
            Error::of(ExitCode::Usage, format!("`--locked`: session.lock names no version of `{name}`"))
                .hint("run `dacapo up` without `--locked` once, and commit session.lock")
        })?;
        let version = pick(name, &locked.version, stored, |version| version.name == locked.version)?;
        match (locked.content, version.payload) {
            (Some(locked), Some(found)) if locked != found => Err(Error::new(format!(
                "`--locked`: version `{}` of `{name}` holds other bytes than session.lock says",
                version.name
            ))
            .why(format!("locked content:{}, stored content:{}", locked.short(), found.short()))
            .hint("somebody replaced the object; restore its earlier revision in Dropbox")),
            (locked, found) => Ok(Version { payload: found.or(locked), ..version }),
        }
    }
}

fn is_same(version: &Version, kept: &Kept) -> bool {
    match version.payload {
        Some(payload) => payload == kept.payload,
        // A packed upload by hand: its content shows only when it is brought. Same name, same version.
        None => version.name == kept.version,
    }
}

fn pick(name: &str, wanted: &str, stored: Vec<Version>, is: impl Fn(&Version) -> bool) -> Result<Version> {
    let names: Vec<String> = stored.iter().map(|version| version.name.clone()).collect();
    stored.into_iter().rev().find(is).ok_or_else(|| {
        let error = Error::of(ExitCode::Usage, format!("artifact `{name}` has no stored version `{wanted}`"));
        let near = nearest(wanted, names.iter().map(String::as_str));
        let hint = near.map_or_else(
            || "name one of these, `latest` or `none`".to_owned(),
            |near| format!("did you mean `{near}`?"),
        );
        error.why(format!("the store has {}", super::machine::quoted(&names))).hint(hint)
    })
}
