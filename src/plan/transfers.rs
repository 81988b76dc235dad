//! Plans that only move artifacts, now, for `artifacts push` and `artifacts pull`.
//!
//! The same rules hold as in the plan of the session: what is stored already isn't stored again, and what
//! is nowhere else isn't overwritten.

use std::collections::BTreeMap;

use super::artifacts::Present;
use super::{Draft, Note, Place, Plan, Request};
use crate::error::{Error, ExitCode, Result};
use crate::facts::{ArtifactFile, Server};
use crate::observed::Observed;
use crate::spec::{Artifact, nearest};

/// Which way artifacts are to be moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the store.
    Push,
    /// From the store.
    Pull,
}

/// Which artifacts are to be moved, and where their files are.
#[derive(Clone, Copy, Debug)]
pub struct Transfers<'a> {
    /// Which way.
    pub direction: Direction,
    /// Their names; all of them where there is none.
    pub names: &'a [String],
    /// What lies on the laptop, where it is the laptop's files that are meant.
    pub laptop: Option<&'a BTreeMap<String, ArtifactFile>>,
}

/// Plans what moves the artifacts.
///
/// Fails where there is no such artifact or version, or where their files can't be looked at.
pub fn plan_transfers(request: Request<'_>, observed: &Observed, asked: Transfers<'_>) -> Result<Plan> {
    let mut draft = Draft::new(request, observed)?;
    if let Some(files) = asked.laptop {
        (draft.place, draft.files) = (Place::Laptop, Some(files));
    } else if draft.files.is_none() {
        return Err(no_server(observed));
    }
    for (name, artifact) in chosen(request, asked.names)? {
        if asked.direction == Direction::Push && !asked.names.is_empty() {
            draft.must_be_there(name, artifact)?;
        }
        draft.note_unreadable(name);
        match asked.direction {
            Direction::Push => draft.push(name, artifact),
            Direction::Pull => {
                let (wanted, present) = (draft.wanted_version(name, artifact)?, draft.at_path(name));
                draft.bring_artifact(name, artifact, wanted, present);
            }
        }
    }
    super::money::bill(&mut draft);
    // Nothing else is said to differ: these plans are about nothing else.
    draft.plan.observed = draft.plan.desired.clone();
    Ok(draft.finish())
}

/// Plans to store every artifact that has a file.
pub(super) fn push_all(draft: &mut Draft<'_>, request: Request<'_>) {
    for (name, artifact) in &request.spec.artifacts {
        draft.note_unreadable(name);
        draft.push(name, artifact);
    }
}

impl Draft<'_> {
    /// What was named can't be passed over.
    fn must_be_there(&self, name: &str, artifact: &Artifact) -> Result<()> {
        let why = match self.files.and_then(|files| files.get(name)) {
            Some(ArtifactFile::File { size: 1.., .. }) => return Ok(()),
            Some(ArtifactFile::File { .. }) => "the file is empty".to_owned(),
            Some(ArtifactFile::Unreadable { why }) => why.clone(),
            Some(ArtifactFile::Missing) | None => "there is no such file".to_owned(),
        };
        Err(Error::new(format!("`{name}` cannot be stored from `{}`", artifact.path))
            .why(why)
            .hint("put the file there, or name the artifacts that have one"))
    }

    fn push(&mut self, name: &str, artifact: &Artifact) {
        match self.at_path(name) {
            Present::Work { content, size, .. } => drop(self.store(name, artifact, content, size)),
            Present::Brought(kept) => drop(self.store(name, artifact, kept.payload, kept.size)),
            Present::Version(kept) => {
                self.note(Note::AlreadyStored { artifact: name.to_owned(), version: kept.version });
            }
            Present::Nothing => self.note(Note::MissingArtifact { artifact: name.to_owned() }),
            Present::Unreadable => {}
        }
    }
}

fn chosen<'a>(request: Request<'a>, names: &'a [String]) -> Result<Vec<(&'a str, &'a Artifact)>> {
    let all = &request.spec.artifacts;
    if names.is_empty() {
        return Ok(all.iter().map(|(name, artifact)| (name.as_str(), artifact)).collect());
    }
    let mut chosen = Vec::new();
    for name in names {
        let Some((name, artifact)) = all.get_key_value(name) else { return Err(no_artifact(request, name)) };
        chosen.push((name.as_str(), artifact));
    }
    chosen.sort_by_key(|(name, _)| *name);
    chosen.dedup_by_key(|(name, _)| *name);
    Ok(chosen)
}

fn no_artifact(request: Request<'_>, name: &str) -> Error {
    let names = request.spec.artifacts.keys().map(String::as_str);
    let hint = nearest(name, names.clone()).map_or_else(
        || {
            format!(
                "the artifacts are {}",
                super::machine::quoted(&names.map(str::to_owned).collect::<Vec<_>>())
            )
        },
        |near| format!("did you mean `{near}`?"),
    );
    Error::of(ExitCode::Usage, format!("there is no artifact `{name}`")).hint(hint)
}

pub(super) fn no_server(observed: &Observed) -> Error {
    let name = &observed.record.session;
    match &observed.server {
        Server::Unreachable(why) => {
            Error::new(format!("the server of `{name}` can't be looked at")).why(why.clone())
        }
        Server::None | Server::Seen(_) => Error::new(format!("`{name}` has no server that is ready")),
    }
    .hint("`dacapo up` makes it ready; `--from laptop` and `--to laptop` move files of this laptop")
}
