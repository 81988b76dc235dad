//! The desired world: reads `session.toml`, finds every mistake in it, and gives a `Spec`.
//!
//! Pure: given text, never a file. What only the worlds can tell (does this type exist, is that branch
//! there) is not asked here.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize, Serializer};

use crate::digest::ContentHash;
use crate::error::{Error, ExitCode};
use crate::facts::{Deadline, Limits};
use crate::world::Market;

mod bytes;
mod check;
mod overrides;
mod pin;
mod read;
mod render;
mod sketch;
mod syntax;
#[cfg(test)]
mod tests;
mod tree;
mod written;

pub use bytes::{LARGEST, NotText, text_of};
pub use check::{LONGEST_FILE_NAME, slug};
pub use overrides::Override;
pub use pin::pinned;
pub use render::render;
pub use sketch::{SCHEMA_FILE, Sketch, objection};

/// The JSON schema of session.toml, for editors; `parse` is stricter.
pub const SCHEMA: &str = include_str!("spec/schema.json");

/// The size of the OS volume where the spec doesn't say, in GB.
pub const OS_VOLUME_GB: u32 = 100;

/// The smallest and largest OS volume that a spec may ask for, in GB.
pub const OS_VOLUME_LIMITS_GB: std::ops::RangeInclusive<u32> = 50..=10_240;

/// What `session.toml` asks for, complete and checked for itself.
///
/// Every text in it is free of control characters and safe to hand to a command as one argument: none
/// starts with `-`, no path leaves the folder that it counts from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Spec {
    /// The session's identity within its store, and its host name.
    pub name: String,
    /// Whether the server should be there.
    pub state: State,
    /// Where versions, record and receipts are kept; always there when `artifacts` isn't empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<StorePath>,
    /// Globs (as the crate `globset` reads them) under the login user's home: what may die with the server.
    pub disposable: Vec<String>,
    /// The server to rent.
    pub instance: Instance,
    /// The code to bring to it.
    pub repo: Repo,
    /// The files worth keeping, by name.
    pub artifacts: BTreeMap<String, Artifact>,
    /// What the session may cost, and how long it may run.
    pub limits: Limits,
    /// What is to be run on the machine once code and artifacts are there; none where nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub setup: Option<SetUp>,
    /// The notebook server to run; none where there is to be none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notebook: Option<Notebook>,
}

/// Whether the server should be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Rented and usable.
    Running,
    /// Gone, everything saved, nothing billing.
    Absent,
}

impl State {
    /// Returns the word used in `session.toml`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Absent => "absent",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A folder in Dropbox, as its API wants it: empty for the root, else `/` and the path, never a `/` at
/// the end. Dropbox doesn't tell case apart; this keeps the case that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorePath(String);

impl StorePath {
    /// Returns the path without `dropbox:`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StorePath {
    /// As written in `session.toml`: `dropbox:/fastai/lesson3`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "dropbox:{}", if self.0.is_empty() { "/" } else { &self.0 })
    }
}

impl Serialize for StorePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The server to rent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Instance {
    /// Instance types in order of preference: at least one, none twice.
    pub types: Vec<String>,
    /// Location codes in order of preference, none twice; empty for any.
    pub locations: Vec<String>,
    /// The image's slug.
    pub image: String,
    /// The public key's file as written; may start with `~/`, and counts from the spec's folder otherwise.
    pub ssh_key: String,
    /// The size of the OS volume in GB.
    pub os_volume_gb: u32,
    /// What becomes of the OS volume when the session is absent.
    pub on_absent: DiskFate,
    /// How the machine is bought.
    pub market: Market,
}

/// What becomes of the OS volume when the session is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DiskFate {
    /// It goes with the machine, once nothing on it would be lost.
    #[default]
    Delete,
    /// It stays and bills, and the next machine boots it.
    Keep,
}

/// The code to bring to the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Repo {
    /// `user@host:path`, `ssh://…` or `https://…`; never holds a password.
    pub url: String,
    /// A branch name that git accepts.
    pub branch: String,
    /// Where it is checked out, below the login user's home.
    pub path: String,
    /// What becomes of work that the remote lacks when the server is to go.
    pub on_absent: OnAbsent,
    /// Paths below the checkout, or folders, that are saved whatever their names and sizes.
    pub save: Vec<String>,
}

/// What becomes of work that only the server has when the server is to go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnAbsent {
    /// It stands against it.
    #[default]
    Refuse,
    /// What git can carry is pushed to a branch of its own first.
    SaveBranch,
}

/// A file worth keeping.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Artifact {
    /// Below the checkout. No two artifacts of a spec share a file name, whatever its case.
    pub path: String,
    /// The version to bring.
    pub version: Wanted,
    /// How it is packed in the store.
    pub compress: Compress,
}

impl Artifact {
    /// Returns the last part of the path: what stored versions are named after.
    pub fn file_name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}

/// The version of an artifact to bring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The newest one stored.
    Latest,
    /// None: the server starts without it.
    None,
    /// The stored version of this name.
    Named(String),
    /// The stored version with these bytes.
    Content(ContentHash),
}

impl fmt::Display for Wanted {
    /// As written in `session.toml`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("latest"),
            Self::None => f.write_str("none"),
            Self::Named(name) => f.write_str(name),
            Self::Content(hash) => write!(f, "content:{hash}"),
        }
    }
}

impl Serialize for Wanted {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// How an artifact is packed in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compress {
    /// As it is.
    None,
    /// With gzip.
    Gzip,
}

/// What is to be run on the machine, once, before anybody works there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SetUp {
    /// The steps: commands for `sh`, each one line, run in the checkout in this order; at least one.
    pub run: Vec<String>,
    /// Files of the checkout, sorted, none twice: when the content of one changes, every step runs again.
    pub inputs: Vec<String>,
    /// The most that one step may take.
    pub timeout: Deadline,
}

/// The most steps, and the most inputs of them.
pub const MOST_STEPS: usize = 50;

/// The notebook server to run on the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Notebook {
    /// Where it listens on the machine's loopback.
    pub port: u16,
    /// Which one.
    pub kind: NotebookKind,
    /// The folder that it shows, below the checkout; `.` for all of it.
    pub directory: String,
    /// Requirements to install beside it, each a name with what pip takes behind it, sorted, none twice.
    pub packages: Vec<String>,
}

/// The port of a notebook server where the spec doesn't say.
pub const NOTEBOOK_PORT: u16 = 8888;

/// Which notebook server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NotebookKind {
    /// JupyterLab.
    #[default]
    JupyterLab,
}

impl NotebookKind {
    /// Returns the word used in `session.toml`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::JupyterLab => "jupyter-lab",
        }
    }
}

/// One mistake, and the place that it is at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// What is wrong, in one line.
    pub message: String,
    /// The bytes at fault, in the file or in the override; always within the text and on its
    /// character boundaries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub span: Option<Range<usize>>,
    /// What stands beside the carets: what was expected there.
    pub label: String,
    /// What to write instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Which text `span` counts in.
    pub origin: Origin,
}

impl From<Diagnostic> for Error {
    /// For a mistake that has no file to be shown in, such as a broken `--set`.
    fn from(diagnostic: Diagnostic) -> Self {
        let error = Self::of(ExitCode::Usage, diagnostic.message).why(diagnostic.label);
        match diagnostic.hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

/// Which text a diagnostic points into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// `session.toml`.
    File,
    /// The override at this index of those given.
    Override(usize),
}

/// Reads a spec, with `overrides` put over it in their order.
///
/// The error holds every mistake found, in the order of the file, those of the overrides last; it is
/// never empty. A syntax error hides only what it makes doubtful: its own line or section, and
/// what seems to be missing.
pub fn parse(text: &str, overrides: &[Override]) -> Result<Spec, Vec<Diagnostic>> {
    let (mut root, broken) = syntax::read(text);
    let mut mistakes = Vec::new();
    for (index, each) in overrides.iter().enumerate() {
        mistakes.extend(each.put_over(&mut root, Origin::Override(index)).err());
    }
    let spec = read::Reader::new(text, overrides, broken.is_empty(), &mut mistakes).spec(root);
    mistakes.extend(broken);
    match spec {
        Some(spec) if mistakes.is_empty() => Ok(spec),
        _ => {
            mistakes.sort_by_key(|mistake| (mistake.origin, mistake.span.as_ref().map(|span| span.start)));
            Err(mistakes)
        }
    }
}

/// Returns the word of `among` that was probably meant by `word`; none when nothing is near.
///
/// Near is: few letters differ (case doesn't count), else one is the other's beginning.
pub fn nearest<'a>(word: &str, among: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let meant = word.to_lowercase();
    let allowed = (meant.chars().count() / 3).max(1);
    let mut best: Option<(usize, &str)> = None;
    let mut longer: Option<&str> = None;
    for candidate in among {
        let lower = candidate.to_lowercase();
        let distance = strsim::damerau_levenshtein(&meant, &lower);
        if distance <= allowed && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
        let begins =
            meant.len() >= 3 && lower.starts_with(&meant) || lower.len() >= 3 && meant.starts_with(&lower);
        if begins && longer.is_none_or(|known| candidate.len() < known.len()) {
            longer = Some(candidate);
        }
    }
    best.map(|(_, candidate)| candidate).or(longer)
}
