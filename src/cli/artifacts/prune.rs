//! `dacapo artifacts prune`: plan, approve, take the lease, look again, delete.

use std::collections::BTreeMap;
use std::io::{self, Write as _};

use clap::Args;

use super::super::carry_out::{approved, shown};
use super::super::load::Loaded;
use super::super::worlds::Worlds;
use super::super::{Global, cannot_print, interrupts, random_word};
use crate::apply::{self, Context, Hold, Interrupt, Outcome, holding};
use crate::error::{Error, ExitCode, Result};
use crate::event::Sender;
use crate::facts::{StoredFile, folded};
use crate::lock::lock_path;
use crate::observe::{Held, held, read_manifest};
use crate::plan::{self, Mention, Prune, PruneRequest, Uploads};
use crate::provider::repo::past_locks;
use crate::report;

const EXAMPLES: &str = "Examples:
  dacapo artifacts prune --keep 3        shows what would go, and asks
  dacapo artifacts prune --keep 3 --yes  doesn't ask";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Asked {
    /// The artifact that is meant; every one when not given
    artifact: Option<String>,
    /// How many of the newest versions stay in any case
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    keep: u32,
    /// Let versions go, too, that were uploaded by hand
    #[arg(long)]
    uploads: bool,
    /// Delete without asking
    #[arg(long, short)]
    yes: bool,
}

pub(super) async fn run(global: &Global, asked: &Asked) -> Result<ExitCode> {
    let loaded = Loaded::read(global, None)?;
    let worlds = Worlds::open(global, &loaded).await?;
    let job = Job { global, asked, loaded: &loaded, worlds: &worlds, interrupt: interrupts(global) };
    let (held, plan) = job.look().await?;
    job.print(&plan)?;
    if plan.actions.is_empty() {
        return Ok(ExitCode::Ok);
    }
    approved(asked.yes, &job.interrupt).await?;
    let outcome = job.act(&plan, held).await?;
    match outcome.error {
        Some(error) => Err(error),
        None if outcome.interrupted => {
            Err(Error::of(ExitCode::Interrupted, "interrupted").hint("run the same command again to go on"))
        }
        None => job.finish(&plan),
    }
}

/// One run of `prune`.
struct Job<'a> {
    global: &'a Global,
    asked: &'a Asked,
    loaded: &'a Loaded,
    worlds: &'a Worlds,
    interrupt: Interrupt,
}

impl Job<'_> {
    /// Looks at the store, at every lock and at every record, and plans.
    ///
    /// What the manifests say is asked last, and only of the versions that would go.
    async fn look(&self) -> Result<(Held, Prune)> {
        let (providers, spec) = (&self.worlds.providers, &self.loaded.spec);
        let store = providers.store()?;
        let look = providers.memory.look(&spec.name).await?;
        let files = &look.store.files;
        // The store's clock stands in for the cloud's, which isn't asked here.
        let held = held(spec, &look, look.store.now)?;
        let mut mentions = self.locks().await?;
        mentions.push(Mention::of(&held.record));
        mentions.extend(self.other_records(files).await?);
        let planned = |told: &BTreeMap<_, _>| {
            plan::prune(PruneRequest {
                spec,
                artifact: self.asked.artifact.as_deref(),
                keep: self.asked.keep as usize,
                uploads: if self.asked.uploads { Uploads::Go } else { Uploads::Stay },
                files,
                mentions: &mentions,
                told,
            })
        };
        let mut told = BTreeMap::new();
        for version in planned(&told)?.going(spec, files) {
            told.insert(version.name.clone(), read_manifest(store, &version).await?);
        }
        let plan = planned(&told)?;
        Ok((held, plan))
    }

    /// Every lock that the repo's history holds, and those that lie here now.
    async fn locks(&self) -> Result<Vec<Mention>> {
        let loaded = self.loaded;
        let past = past_locks(&loaded.directory, &self.worlds.providers.settings.git).await?;
        let mut mentions: Vec<Mention> =
            past.into_iter().map(|past| Mention::in_lock(&past.at, &past.text)).collect();
        // A rehearsal has a lock of its own; the one beside the spec speaks all the same.
        for path in [lock_path(&loaded.file()), loaded.lock_path.clone()] {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            match std::fs::read(&path) {
                Ok(bytes) => mentions.push(Mention::in_lock(&name, &String::from_utf8_lossy(&bytes))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(Error::new(format!("cannot read `{}`", path.display())).because(&error));
                }
            }
        }
        Ok(mentions)
    }

    /// Other sessions may keep their versions in the same folder. Receipts lie deeper: what a session once had is
    /// history, and keeps nothing.
    async fn other_records(&self, files: &[StoredFile]) -> Result<Vec<Mention>> {
        let store = self.worlds.providers.store()?;
        let mut mentions = Vec::new();
        for file in files {
            let path = folded(&file.path);
            let session = path.strip_prefix(".dacapo/").and_then(|name| name.strip_suffix(".json"));
            let other = |name: &&str| !name.contains('/') && *name != folded(&self.loaded.spec.name);
            let Some(session) = session.filter(other) else {
                continue;
            };
            if let Some(bytes) = store.read(&file.path).await? {
                mentions.push(Mention::in_record(session, &bytes));
            }
        }
        Ok(mentions)
    }

    async fn act(&self, approved: &Prune, held: Held) -> Result<Outcome> {
        let acting = async |hold: &mut Hold| self.act_holding(approved, hold).await;
        holding(&self.worlds.providers, held, acting).await
    }

    async fn act_holding(&self, approved: &Prune, hold: &mut Hold) -> Result<Outcome> {
        let (_, plan) = self.look().await?;
        if plan.actions != approved.actions {
            return Err(Error::of(
                ExitCode::Stale,
                "the store changed since the plan was shown; nothing was deleted",
            )
            .why("the plan that is made now differs from the one that was approved")
            .hint("run the same command again to see the new plan"));
        }
        let (events, inbox) = Sender::channel();
        let random = random_word;
        let context = Context {
            providers: &self.worlds.providers,
            spec: &self.loaded.spec,
            spec_directory: &self.loaded.directory,
            discards: &[],
            currency: "",
            random: &random,
            events,
            interrupt: self.interrupt.clone(),
        };
        let acting = async {
            let outcome = apply::prune(&plan, &context, hold).await;
            // Dropping the context closes the channel, which ends the reader.
            drop(context);
            outcome
        };
        Ok(shown(self.global, "", inbox, |_| {}, acting).await)
    }

    fn print(&self, plan: &Prune) -> Result<()> {
        let mut out = io::stdout().lock();
        let told = if self.global.json {
            writeln!(out, "{}", serde_json::json!({"version": 1, "prune": plan}))
        } else {
            report::prune(&mut out, plan)
        };
        told.map_err(cannot_print)
    }

    fn finish(&self, plan: &Prune) -> Result<ExitCode> {
        let told = if self.global.json { Ok(()) } else { report::pruned(&mut io::stdout().lock(), plan) };
        told.map(|()| ExitCode::Ok).map_err(cannot_print)
    }
}
