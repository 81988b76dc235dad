//! `dacapo artifacts`: what the store keeps of each artifact, where it came from, and what of it is wanted.

mod diff;
mod pin;
mod prune;

use std::io::{self, Write as _};

use clap::Subcommand;
use serde_json::json;

use super::load::Loaded;
use super::worlds::Worlds;
use super::{Global, cannot_print};
use crate::error::{Error, ExitCode, Result};
use crate::observe::read_manifest;
use crate::provider::store::StoreClient;
use crate::report;
use crate::spec::{Artifact, Spec, nearest};
use crate::version::{Manifest, Told, Version, versions};

#[derive(Subcommand, Debug)]
pub(super) enum Command {
    /// List the stored versions, oldest first
    List,
    /// Show where a version came from
    Show {
        /// Its name, or `content:` and the first digits of its content hash
        version: String,
    },
    /// Show what differs between two versions: content, commit, environment, packages
    Diff {
        /// The one version, as for `show`
        first: String,
        /// The other one; the latest of the same artifact when not given
        second: Option<String>,
    },
    /// Write into session.toml which version is to be brought
    Pin {
        /// The version, as for `show`; `latest` undoes it
        version: String,
        /// The artifact; needed where the version doesn't tell it
        artifact: Option<String>,
    },
    /// Delete old versions that nothing names any more; shows first which, and why the others stay
    Prune(prune::Asked),
}

/// The versions of each artifact, oldest first.
type Stored<'a> = [(&'a str, Vec<Version>)];

pub(super) async fn run(global: &Global, command: Command) -> Result<ExitCode> {
    let loaded = Loaded::read(global, None)?;
    let worlds = Worlds::open(global, &loaded).await?;
    let stored = async || stored(&worlds, &loaded.spec).await;
    match command {
        Command::List => list(global, &loaded.spec, &stored().await?),
        Command::Show { version } => {
            show(global, worlds.providers.store()?, &stored().await?, &version).await
        }
        Command::Diff { first, second } => {
            let asked = diff::Asked { first: &first, second: second.as_deref() };
            diff::run(global, asked, &loaded, &worlds, &stored().await?).await
        }
        Command::Pin { version, artifact } => {
            let asked = pin::Asked { version: &version, artifact: artifact.as_deref() };
            pin::run(global, asked, &loaded, &worlds.prefix, &stored().await?)
        }
        Command::Prune(asked) => prune::run(global, &asked, &loaded, &worlds).await,
    }
}

async fn stored<'a>(worlds: &Worlds, spec: &'a Spec) -> Result<Vec<(&'a str, Vec<Version>)>> {
    let look = worlds.providers.memory.look(&spec.name).await?;
    let of = |(name, artifact): (&'a String, &'a Artifact)| {
        (name.as_str(), versions(&look.store.files, artifact.file_name()))
    };
    Ok(spec.artifacts.iter().map(of).collect())
}

fn list(global: &Global, spec: &Spec, stored: &Stored<'_>) -> Result<ExitCode> {
    let mut out = io::stdout().lock();
    let told = if global.json {
        let artifacts: Vec<_> = stored
            .iter()
            .map(|(name, versions)| {
                let path = &spec.artifacts[*name].path;
                json!({"name": name, "path": path, "versions": versions.iter().map(listed).collect::<Vec<_>>()})
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

async fn show(global: &Global, store: &StoreClient, stored: &Stored<'_>, wanted: &str) -> Result<ExitCode> {
    let (artifact, version) = chosen(stored, wanted)?;
    let manifest = manifest_of(store, version).await?;
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

/// Returns the newest version, where only one artifact can be meant.
fn latest<'a>(stored: &'a Stored<'_>) -> Result<(&'a str, &'a Version)> {
    let [(name, versions)] = stored else {
        return Err(Error::of(ExitCode::Usage, "`latest` of which artifact?")
            .why(format!("session.toml has {}", stored.len()))
            .hint("give the version's name: `dacapo artifacts list` shows them"));
    };
    let newest = versions.last().map(|version| (*name, version));
    newest.ok_or_else(|| Error::of(ExitCode::Usage, format!("no version of `{name}` is stored yet")))
}

/// Returns the one version meant: by its name, by its content, or the latest.
fn chosen<'a>(stored: &'a Stored<'_>, wanted: &str) -> Result<(&'a str, &'a Version)> {
    if wanted == "latest" {
        return latest(stored);
    }
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
