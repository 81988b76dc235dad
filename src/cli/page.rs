//! `dacapo report`: a session, or all of a store's, as a page to look at.

use std::path::{Path, PathBuf};

use clap::Args;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::load::{Loaded, start};
use super::worlds::Worlds;
use super::{Global, cannot_print, log, overview};
use crate::durable::{Draft, Kept};
use crate::error::{Error, ExitCode, Result};
use crate::observe::{Reading, observe, read_manifest};
use crate::provider::Settings;
use crate::report::{self, Made, Page, Timeline};
use crate::spec::Artifact;
use crate::version::{Told, Version, versions};

const EXAMPLES: &str = "Examples:
  dacapo report -o report.html        this session: last run, cost, versions, what bills
  dacapo report --all -o report.html  with the receipts of every session of the store
  dacapo report -o report.svg         its pictures alone";

/// How many manifests are read at once.
const AT_ONCE: usize = 8;
/// Where the last runs are kept, below the state directory.
const RUNS: &str = "runs";
/// The largest timeline that is read.
const LARGEST: u64 = 4 * 1024 * 1024;

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Asked {
    /// Write it to this file, by its ending a page (.html) or its pictures alone (.svg)
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
    /// With the receipts of every session of the store
    #[arg(long)]
    all: bool,
}

#[derive(Clone, Copy)]
enum Form {
    Page,
    Drawing,
}

pub(super) async fn run(global: &Global, asked: &Asked) -> Result<ExitCode> {
    let form = form(&asked.out)?;
    let loaded = Loaded::read(global, None)?;
    let worlds = Worlds::open(global, &loaded).await?;
    let providers = &worlds.providers;
    let (observed, _) = observe(providers, &loaded.spec, &loaded.directory, Reading::Remembered).await?;
    let plan = overview(&loaded, &observed)?;
    let this = std::slice::from_ref(&loaded.spec.name);
    let kept = log::receipts(&worlds, &loaded.spec, (!asked.all).then_some(this)).await?;
    let mut artifacts = Vec::new();
    for (name, artifact) in &loaded.spec.artifacts {
        artifacts.push((name.clone(), made(&worlds, &observed.store.files, artifact).await?));
    }
    let last = last_run(&providers.settings, &loaded.spec.name);
    let page = Page {
        title: if asked.all { "all sessions" } else { &loaded.spec.name },
        now: observed.now(),
        bill: &plan.money,
        since: observed.instance().map(|instance| instance.created_at),
        receipts: &kept.receipts,
        unusable: kept.unusable.len(),
        artifacts: &artifacts,
        last: last.as_ref(),
    };
    let text = match form {
        Form::Page => report::page(&page),
        Form::Drawing => report::drawing(&page),
    };
    let path = start(global)?.join(&asked.out);
    let written = Draft::write(Kept::Page, &path, text.as_bytes()).and_then(Draft::replace);
    written.map_err(|error| Error::new(format!("cannot write `{}`", path.display())).because(&error))?;
    told(global, &path, &asked.out)?;
    Ok(ExitCode::Ok)
}

fn told(global: &Global, path: &Path, typed: &Path) -> Result<()> {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    let told = if global.json {
        writeln!(out, "{}", serde_json::json!({"version": 1, "path": path}))
    } else {
        report::written(&mut out, typed)
    };
    told.map_err(cannot_print)
}

fn form(path: &Path) -> Result<Form> {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    match ending.to_ascii_lowercase().as_str() {
        "html" | "htm" => Ok(Form::Page),
        "svg" => Ok(Form::Drawing),
        _ => Err(Error::of(ExitCode::Usage, format!("`{}` ends in neither .html nor .svg", path.display()))
            .hint("the file's ending says what is written: `-o report.html` or `-o report.svg`")),
    }
}

/// The versions with what their manifests say; a manifest that can't be used tells nothing.
async fn made(worlds: &Worlds, files: &[crate::facts::StoredFile], artifact: &Artifact) -> Result<Vec<Made>> {
    let store = worlds.providers.store()?;
    let with_manifest = async |version: Version| -> Result<Made> {
        let manifest = match read_manifest(store, &version).await? {
            Told::By(manifest) => Some(*manifest),
            Told::Nothing | Told::Unusable(_) => None,
        };
        Ok(Made { version, manifest })
    };
    stream::iter(versions(files, artifact.file_name()))
        .map(with_manifest)
        .buffered(AT_ONCE)
        .try_collect()
        .await
}

/// Keeps a run's timeline. One that can't be written is missing from the next report, and harms nothing.
pub(super) fn keep_run(settings: &Settings, run: &Timeline) {
    let path = path_of(settings, &run.session);
    let folder = path.parent().expect("it lies in a folder");
    let made = crate::provider::private_folder(folder);
    let _ = made.and_then(|()| Draft::write(Kept::Timeline, &path, &run.to_json()).and_then(Draft::replace));
}

fn last_run(settings: &Settings, session: &str) -> Option<Timeline> {
    let path = path_of(settings, session);
    let size = path.metadata().ok()?.len();
    (size <= LARGEST).then(|| std::fs::read(path).ok()).flatten().and_then(|text| Timeline::parse(&text))
}

fn path_of(settings: &Settings, session: &str) -> PathBuf {
    settings.state.join(RUNS).join(format!("{session}.json"))
}

/// Returns the sessions that had a run here, by the state directory.
pub(super) fn sessions_here(state: &Path) -> Vec<String> {
    let runs = std::fs::read_dir(state.join(RUNS)).into_iter().flatten().filter_map(|entry| entry.ok());
    let names = runs.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter_map(|name| name.strip_suffix(".json").map(str::to_owned)).collect()
}
