//! `dacapo orphans`: what bills in the account and belongs to no session.toml below this folder.

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;

use super::load::{Loaded, start};
use super::worlds::Worlds;
use super::{Global, cannot_print};
use crate::apply;
use crate::error::{Error, ExitCode, Result};
use crate::facts::Cloud;
use crate::plan::{Orphan, orphans, removal};
use crate::provider::store::RecordRead;
use crate::record::{Record, mark};
use crate::report;

/// How deep below this folder session files are looked for.
const DEEPEST: usize = 8;

const EXAMPLES: &str = "Examples:
  dacapo orphans  lists them, with price and age
  dacapo orphans --remove 0d184ad4-dbe1-46da-a0dd-89ea13cfcefd  puts one into the trash";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Orphans {
    /// Remove these, to the trash: only what carries a session's mark, and no machine before its deadline
    #[arg(long, value_name = "ID", num_args = 1..)]
    remove: Vec<String>,
}

pub(super) async fn run(global: &Global, asked: &Orphans) -> Result<ExitCode> {
    let specs = specs_below(global, &start(global)?)?;
    let mut sessions = BTreeSet::new();
    let mut worlds: Vec<Worlds> = Vec::new();
    for loaded in &specs {
        let opened = Worlds::open(global, loaded).await?;
        let look = opened.providers.memory.look(&loaded.spec.name).await?;
        sessions.insert((loaded.spec.name.clone(), look.store.id));
        worlds.push(opened);
    }
    let first = worlds.first().ok_or_else(|| {
        Error::of(ExitCode::Usage, "there is no `session.toml` here or below")
            .why("orphans are what belongs to none, so at least one must say where the account is")
            .hint("run it in the folder that holds your projects")
    })?;
    let cloud = first.providers.cloud.look(Default::default()).await?;
    let found = orphans(&cloud, &sessions);
    if asked.remove.is_empty() {
        return told(global, &found, &cloud);
    }
    let records = records(&worlds, &cloud).await?;
    for action in removal(&asked.remove, &cloud, &found, &records)? {
        apply::remove(&first.providers, &action).await?;
    }
    let (now, instances) = first.providers.cloud.instances().await?;
    let volumes = first.providers.cloud.volumes().await?;
    let after = Cloud { now, instances, volumes, ..cloud };
    let left: Vec<Orphan> =
        orphans(&after, &sessions).into_iter().filter(|one| !asked.remove.contains(&one.id)).collect();
    told(global, &left, &after)
}

fn told(global: &Global, found: &[Orphan], cloud: &Cloud) -> Result<ExitCode> {
    let mut out = io::stdout().lock();
    let told = if global.json {
        let value = serde_json::json!({"version": 1, "orphans": found, "currency": cloud.currency});
        writeln!(out, "{value}")
    } else {
        report::orphans(&mut out, found, cloud.now, &cloud.currency)
    };
    told.map(|()| ExitCode::Ok).map_err(cannot_print)
}

/// The records of sessions that machines carry the mark of, in every store that a spec here names.
async fn records(worlds: &[Worlds], cloud: &Cloud) -> Result<Vec<Record>> {
    let names: BTreeSet<String> =
        cloud.instances.iter().filter_map(mark).map(|(session, _)| session).collect();
    let mut records = Vec::new();
    for world in worlds {
        for name in &names {
            if let RecordRead::Found { bytes, .. } = world.providers.memory.read(name).await? {
                records.extend(Record::parse(&bytes).ok());
            }
        }
    }
    Ok(records)
}

/// Reads every session file below the folder. One that can't be read might hide whose a machine is, so it
/// is an error.
fn specs_below(global: &Global, folder: &Path) -> Result<Vec<Loaded>> {
    let mut found = Vec::new();
    collect(folder, DEEPEST, &mut found);
    found.sort();
    found
        .into_iter()
        .map(|path| Loaded::read(&Global { file: Some(path), set: Vec::new(), ..global.clone() }, None))
        .collect()
}

fn collect(folder: &Path, deeper: usize, found: &mut Vec<PathBuf>) {
    let file = folder.join("session.toml");
    if file.is_file() {
        found.push(file);
    }
    let Some(deeper) = deeper.checked_sub(1) else { return };
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(|entry| entry.ok());
    for entry in entries {
        let name = entry.file_name();
        let skipped = name.to_string_lossy().starts_with('.') || name == "target" || name == "node_modules";
        if !skipped && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&entry.path(), deeper, found);
        }
    }
}
