//! `dacapo artifacts`: what the store keeps of each artifact, where it came from, and what of it is wanted.

mod diff;
mod pin;
mod prune;

use std::io::{self, Write as _};

use clap::{Subcommand, ValueEnum};
use serde_json::json;

use super::load::Loaded;
use super::worlds::Worlds;
use super::{Approve, Global, cannot_print, carry_out};
use crate::error::{Error, ExitCode, Result};
use crate::observe::read_manifest;
use crate::plan::Direction;
use crate::provider::store::StoreClient;
use crate::report;
use crate::spec::{Artifact, nearest};
use crate::version::{Manifest, Told, Version, versions};

const LIST: &str = "Examples:
  dacapo artifacts list         oldest first
  dacapo artifacts list --json  for programs";

const SHOW: &str = "Examples:
  dacapo artifacts show latest                    what `up` would bring, and how it came to be
  dacapo artifacts show 2026-11-20_export.pkl.gz  this one";

const DIFF: &str = "Examples:
  dacapo artifacts diff 2026-11-20_export.pkl.gz  how the latest differs from it";

const PIN: &str = "Examples:
  dacapo artifacts pin 2026-11-20_export.pkl.gz  session.toml names it from now on
  dacapo artifacts pin latest                    session.toml names none";

const PUSH: &str = "Examples:
  dacapo artifacts push --yes                      all, from the server
  dacapo artifacts push model --from laptop --yes  one, from the checkout here";

const PULL: &str = "Examples:
  dacapo artifacts pull --yes  as session.toml wants them, to the server
  dacapo artifacts pull model@2026-11-20_export.pkl.gz --to laptop --yes";

#[derive(Subcommand, Debug)]
pub(super) enum Command {
    /// List the stored versions, oldest first
    #[command(after_help = LIST)]
    List,
    /// Show where a version came from
    #[command(after_help = SHOW)]
    Show {
        /// Its name, or `content:` and the first digits of its content hash
        version: String,
    },
    /// Show what differs between two versions: content, commit, environment, packages
    #[command(after_help = DIFF)]
    Diff {
        /// The one version, as for `show`
        first: String,
        /// The other one; the latest of the same artifact when not given
        second: Option<String>,
    },
    /// Write into session.toml which version is to be brought
    #[command(after_help = PIN)]
    Pin {
        /// The version, as for `show`; `latest` undoes it
        version: String,
        /// The artifact; needed where the version doesn't tell it
        artifact: Option<String>,
    },
    /// Delete old versions that nothing names any more; shows first which, and why the others stay
    Prune(prune::Asked),
    /// Store artifacts now, as new versions where their content isn't stored yet
    #[command(after_help = PUSH)]
    Push {
        /// The artifacts; all that have a file when none is named
        #[arg(value_name = "ARTIFACT", add = super::shell::artifacts())]
        names: Vec<String>,
        /// Where their files are
        #[arg(long, value_name = "PLACE", default_value = "server")]
        from: Place,
        #[command(flatten)]
        approve: Approve,
    },
    /// Bring stored versions now; what lies there and is stored nowhere stays
    #[command(after_help = PULL)]
    Pull {
        /// The artifacts, as session.toml wants them or as ARTIFACT@VERSION; all when none is named
        #[arg(value_name = "ARTIFACT[@VERSION]", add = super::shell::artifacts())]
        names: Vec<String>,
        /// Where to
        #[arg(long, value_name = "PLACE", default_value = "server")]
        to: Place,
        #[command(flatten)]
        approve: Approve,
    },
}

/// Where artifacts' files are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Place {
    /// The session's server
    Server,
    /// The checkout on this laptop
    Laptop,
}

/// Which artifacts are to be moved.
pub(super) struct Moved {
    pub(super) direction: Direction,
    pub(super) names: Vec<String>,
    pub(super) laptop: bool,
}

/// The versions of each artifact, oldest first.
type Stored = [(String, Vec<Version>)];

pub(super) async fn run(global: &Global, command: Command) -> Result<ExitCode> {
    match command {
        Command::Push { names, from, approve } => {
            let moved = Moved { direction: Direction::Push, names, laptop: from == Place::Laptop };
            carry_out::transfer(global, &approve, &moved).await
        }
        Command::Pull { names, to, approve } => {
            let (global, names) = with_versions(global, names)?;
            let moved = Moved { direction: Direction::Pull, names, laptop: to == Place::Laptop };
            carry_out::transfer(&global, &approve, &moved).await
        }
        Command::Prune(asked) => prune::run(global, &asked).await,
        Command::List => Shelf::open(global).await?.list(global),
        Command::Show { version } => Shelf::open(global).await?.show(global, &version).await,
        Command::Diff { first, second } => {
            let asked = diff::Asked { first: &first, second: second.as_deref() };
            diff::run(global, asked, &Shelf::open(global).await?).await
        }
        Command::Pin { version, artifact } => {
            let asked = pin::Asked { version: &version, artifact: artifact.as_deref() };
            pin::run(global, asked, &Shelf::open(global).await?)
        }
    }
}

/// Takes the versions off the names: they count for this run as if session.toml named them.
///
/// A name that is no artifact's keeps nothing but itself, for the plan to say so.
fn with_versions(global: &Global, mut names: Vec<String>) -> Result<(Global, Vec<String>)> {
    let mut global = global.clone();
    let known = Loaded::read(&global, None)?.spec.artifacts;
    for name in &mut names {
        if let Some((artifact, version)) = name.clone().split_once('@') {
            if known.contains_key(artifact) {
                global.set.push(format!("artifacts.{artifact}.version={version}"));
            }
            artifact.clone_into(name);
        }
    }
    Ok((global, names))
}

/// What the store keeps of the artifacts that session.toml names.
struct Shelf {
    loaded: Loaded,
    worlds: Worlds,
    /// The versions of each artifact, oldest first.
    stored: Vec<(String, Vec<Version>)>,
}

impl Shelf {
    async fn open(global: &Global) -> Result<Self> {
        let loaded = Loaded::read(global, None)?;
        let worlds = Worlds::open(global, &loaded).await?;
        let look = worlds.providers.memory.look(&loaded.spec.name).await?;
        let of = |(name, artifact): (&String, &Artifact)| {
            (name.clone(), versions(&look.store.files, artifact.file_name()))
        };
        let stored = loaded.spec.artifacts.iter().map(of).collect();
        Ok(Self { loaded, worlds, stored })
    }

    fn store(&self) -> Result<&StoreClient> {
        self.worlds.providers.store()
    }

    fn list(&self, global: &Global) -> Result<ExitCode> {
        let mut out = io::stdout().lock();
        let path = |name: &String| &self.loaded.spec.artifacts[name].path;
        let told = if global.json {
            let artifact = |(name, versions): &(String, Vec<Version>)| {
                let versions: Vec<_> = versions.iter().map(listed).collect();
                json!({"name": name, "path": path(name), "versions": versions})
            };
            let artifacts: Vec<_> = self.stored.iter().map(artifact).collect();
            writeln!(out, "{}", json!({"version": 1, "artifacts": artifacts}))
        } else {
            let mut all = self.stored.iter();
            all.try_for_each(|(name, versions)| report::versions(&mut out, name, path(name), versions))
        };
        told.map(|()| ExitCode::Ok).map_err(cannot_print)
    }

    async fn show(&self, global: &Global, wanted: &str) -> Result<ExitCode> {
        let (artifact, version) = chosen(&self.stored, wanted)?;
        let manifest = manifest_of(self.store()?, version).await?;
        let mut out = io::stdout().lock();
        let told = if global.json {
            let mut value = described(version, manifest.as_ref());
            value["artifact"] = json!(artifact);
            writeln!(out, "{}", json!({"version": 1, "stored": value}))
        } else {
            report::version(&mut out, artifact, version, manifest.as_ref())
        };
        told.map(|()| ExitCode::Ok).map_err(cannot_print)
    }
}

/// Returns the newest version, where only one artifact can be meant.
fn latest(stored: &Stored) -> Result<(&str, &Version)> {
    let [(name, versions)] = stored else {
        return Err(Error::of(ExitCode::Usage, "`latest` of which artifact?")
            .why(format!("session.toml has {}", stored.len()))
            .hint("give the version's name: `dacapo artifacts list` shows them"));
    };
    let newest = versions.last().map(|version| (name.as_str(), version));
    newest.ok_or_else(|| Error::of(ExitCode::Usage, format!("no version of `{name}` is stored yet")))
}

/// Returns the one version meant: by its name, by its content, or the latest.
fn chosen<'a>(stored: &'a Stored, wanted: &str) -> Result<(&'a str, &'a Version)> {
    if wanted == "latest" {
        return latest(stored);
    }
    let all =
        || stored.iter().flat_map(|(name, versions)| versions.iter().map(move |one| (name.as_str(), one)));
    let content = wanted.strip_prefix("content:");
    let meant = |version: &Version| match content {
        Some(digits) => version.payload.is_some_and(|payload| payload.to_string().starts_with(digits)),
        None => version.name == wanted,
    };
    // Equal content is equal identity: of several versions with it, the newest stands for all.
    let found: Vec<_> = all().filter(|(_, version)| meant(version)).collect();
    let contents: std::collections::BTreeSet<_> = found.iter().map(|(_, version)| version.payload).collect();
    match found.last() {
        Some(last) if contents.len() == 1 => Ok(*last),
        Some(_) => Err(Error::of(ExitCode::Usage, format!("`{wanted}` fits {} contents", contents.len()))
            .hint("give more digits of the hash")),
        None => {
            let error = Error::of(ExitCode::Usage, format!("the store has no version `{wanted}`"));
            let names = all().map(|(_, version)| version.name.as_str());
            Err(match nearest(wanted, names) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error.hint("`dacapo artifacts list` shows the versions that it has"),
            })
        }
    }
}

/// Reads a version's manifest; none when it has none.
async fn manifest_of(store: &StoreClient, version: &Version) -> Result<Option<Manifest>> {
    match read_manifest(store, version).await? {
        Told::Nothing => Ok(None),
        Told::By(manifest) => Ok(Some(*manifest)),
        Told::Unusable(why) => {
            let name = version.manifest.as_deref().unwrap_or_default();
            Err(Error::new(format!("cannot use the manifest `{name}`"))
                .why(why)
                .hint("Dropbox keeps its earlier revisions; restore the one that dacapo wrote"))
        }
    }
}

fn described(version: &Version, manifest: Option<&Manifest>) -> serde_json::Value {
    let mut value = listed(version);
    value["manifest"] = json!(manifest);
    value
}

fn listed(version: &Version) -> serde_json::Value {
    json!({
        "name": version.name,
        "content": version.payload,
        "packed": version.packed,
        "stored_size": version.file.size,
        "stored_content": version.file.content,
        "stored_at": version.file.modified,
        "rev": version.file.rev,
    })
}
