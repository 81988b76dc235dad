//! `dacapo artifacts`: what the store keeps of each artifact.

use std::io::{self, Write as _};

use clap::{Subcommand, ValueEnum};
use serde_json::json;

use super::load::Loaded;
use super::worlds::Worlds;
use super::{Approve, Global, cannot_print, carry_out};
use crate::error::{Error, ExitCode, Result};
use crate::plan::Direction;
use crate::provider::store::StoreClient;
use crate::report;
use crate::spec::{Spec, nearest};
use crate::version::{Manifest, Version, file_name, versions};

#[derive(Subcommand, Debug)]
pub(super) enum Command {
    /// List the stored versions, oldest first
    List,
    /// Show where a version came from
    Show {
        /// Its name, or `content:` and the first digits of its content hash
        version: String,
    },
    /// Store artifacts now, as new versions where their content isn't stored yet
    Push {
        /// The artifacts; all that have a file when none is named
        #[arg(value_name = "ARTIFACT")]
        names: Vec<String>,
        /// Where their files are
        #[arg(long, value_name = "PLACE", default_value = "server")]
        from: Place,
        #[command(flatten)]
        approve: Approve,
    },
    /// Bring stored versions now; what lies there and is stored nowhere stays
    Pull {
        /// The artifacts, as session.toml wants them or as ARTIFACT@VERSION; all when none is named
        #[arg(value_name = "ARTIFACT[@VERSION]")]
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

pub(super) async fn run(global: &Global, command: Command) -> Result<ExitCode> {
    match command {
        Command::List => look(global, None).await,
        Command::Show { version } => look(global, Some(&version)).await,
        Command::Push { names, from, approve } => {
            let moved = Moved { direction: Direction::Push, names, laptop: from == Place::Laptop };
            carry_out::transfer(global, &approve, &moved).await
        }
        Command::Pull { names, to, approve } => {
            let (global, names) = with_versions(global, names)?;
            let moved = Moved { direction: Direction::Pull, names, laptop: to == Place::Laptop };
            carry_out::transfer(&global, &approve, &moved).await
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

/// Lists all versions, or shows one.
async fn look(global: &Global, version: Option<&str>) -> Result<ExitCode> {
    let loaded = Loaded::read(global, None)?;
    let worlds = Worlds::open(global, &loaded).await?;
    let look = worlds.providers.memory.look(&loaded.spec.name).await?;
    let stored: Vec<(&str, Vec<Version>)> = loaded
        .spec
        .artifacts
        .iter()
        .map(|(name, artifact)| (name.as_str(), versions(&look.store.files, file_name(&artifact.path))))
        .collect();
    match version {
        None => list(global, &loaded.spec, &stored),
        Some(version) => show(global, worlds.providers.store()?, &stored, version).await,
    }
}

fn list(global: &Global, spec: &Spec, stored: &[(&str, Vec<Version>)]) -> Result<ExitCode> {
    let mut out = io::stdout().lock();
    let told = if global.json {
        let artifacts: Vec<_> = stored
            .iter()
            .map(|(name, versions)| {
                let path = &spec.artifacts[*name].path;
                json!({"name": name, "path": path, "versions": versions.iter().map(described).collect::<Vec<_>>()})
            })
            .collect();
        writeln!(out, "{}", json!({"version": 1, "artifacts": artifacts}))
    } else {
        stored.iter().try_for_each(|(name, versions)| {
            report::versions(&mut out, name, &spec.artifacts[*name].path, versions)
        })
    };
    told.map(|()| ExitCode::Ok).map_err(cannot_print)
}

async fn show(
    global: &Global,
    store: &StoreClient,
    stored: &[(&str, Vec<Version>)],
    wanted: &str,
) -> Result<ExitCode> {
    let (artifact, version) = chosen(stored, wanted)?;
    let manifest = manifest_of(store, version).await?;
    let mut out = io::stdout().lock();
    let told = if global.json {
        let mut value = described(version);
        value["artifact"] = json!(artifact);
        value["manifest"] = json!(manifest);
        writeln!(out, "{}", json!({"version": 1, "stored": value}))
    } else {
        report::version(&mut out, artifact, version, manifest.as_ref())
    };
    told.map(|()| ExitCode::Ok).map_err(cannot_print)
}

/// Returns the one version meant, by its name or by its content.
fn chosen<'a>(stored: &'a [(&str, Vec<Version>)], wanted: &str) -> Result<(&'a str, &'a Version)> {
    let all = || stored.iter().flat_map(|(name, versions)| versions.iter().map(move |one| (*name, one)));
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
    let Some(name) = &version.manifest else { return Ok(None) };
    let unusable = |why: String| {
        Error::new(format!("cannot use the manifest `{name}`"))
            .why(why)
            .hint("Dropbox keeps its earlier revisions; restore the one that dacapo wrote")
    };
    let bytes = store.read(name).await?.ok_or_else(|| unusable("it was removed a moment ago".to_owned()))?;
    let manifest = Manifest::parse(&bytes).map_err(unusable)?;
    if manifest.speaks_of(version) {
        Ok(Some(manifest))
    } else {
        Err(unusable("it doesn't say what its own name says: it was edited".to_owned()))
    }
}

fn described(version: &Version) -> serde_json::Value {
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
