//! `dacapo log`: the receipts of the sessions that ended, from the store, as any laptop sees them.

use std::io::{self, Write as _};

use clap::Args;

use super::load::Loaded;
use super::worlds::Worlds;
use super::{Global, cannot_print};
use crate::error::{Error, ExitCode, Result};
use crate::provider::store::RecordRead;
use crate::record::{Receipt, Record, receipts_of, session_of};
use crate::report;
use crate::spec::Spec;

const EXAMPLES: &str = "Examples:
  dacapo log               this session's, oldest first
  dacapo log lesson3       of the session that is named, in the same store
  dacapo log --all --json  every session's of the store, for programs";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Log {
    /// List these sessions of the store, instead of session.toml's
    #[arg(value_name = "SESSION", conflicts_with = "all", add = super::shell::sessions())]
    sessions: Vec<String>,
    /// List every session of the store
    #[arg(long)]
    all: bool,
}

/// Receipts as they are kept, and those that can't be used, with why.
pub(super) struct Receipts {
    pub(super) receipts: Vec<Receipt>,
    pub(super) unusable: Vec<(String, String)>,
}

pub(super) async fn run(global: &Global, asked: &Log) -> Result<ExitCode> {
    let loaded = Loaded::read(global, None)?;
    let worlds = Worlds::open(global, &loaded).await?;
    let this = std::slice::from_ref(&loaded.spec.name);
    let named = if asked.sessions.is_empty() { this } else { &asked.sessions };
    let Receipts { receipts, unusable } =
        receipts(&worlds, &loaded.spec, (!asked.all).then_some(named)).await?;
    if let Some(none) = asked.sessions.iter().find(|name| is_without(name, &receipts, &unusable)) {
        return Err(Error::new(format!("no session `{none}` has ended in this store"))
            .hint(format!("`{} log --all` lists those that have", worlds.prefix)));
    }
    told(global, &receipts, &unusable, asked.all || named.len() > 1)?;
    unusable.is_empty().then_some(ExitCode::Ok).ok_or_else(|| damaged(unusable))
}

fn is_without(session: &str, receipts: &[Receipt], unusable: &[(String, String)]) -> bool {
    let folder = receipts_of(session);
    !receipts.iter().any(|receipt| receipt.session == session)
        && !unusable.iter().any(|(path, _)| path.starts_with(&folder))
}

/// Reads the receipts of the named sessions, or of every session of the store, oldest first.
pub(super) async fn receipts(worlds: &Worlds, spec: &Spec, named: Option<&[String]>) -> Result<Receipts> {
    let memory = &worlds.providers.memory;
    let look = memory.look(&spec.name).await?;
    let is_asked = |session: &str| named.is_none_or(|named| named.iter().any(|name| name == session));
    let (mut receipts, mut unusable) = (Vec::new(), Vec::new());
    for path in memory.receipts(&look.store) {
        if !session_of(&path).is_some_and(is_asked) {
            continue;
        }
        match memory.read_receipt(&path).await? {
            Ok(receipt) => receipts.push(receipt),
            Err(why) => unusable.push((path, why)),
        }
    }
    for receipt in waiting(look.record).into_iter().filter(|receipt| is_asked(&receipt.session)) {
        // What is beside the record already, or was changed there, is not told a second time.
        let known = |path: String| unusable.iter().any(|(other, _)| *other == path);
        if !receipts.contains(&receipt) && !known(receipt.path()) {
            receipts.push(receipt);
        }
    }
    receipts.sort_by(|one, other| (one.to, &one.machine).cmp(&(other.to, &other.machine)));
    Ok(Receipts { receipts, unusable })
}

/// The receipts that nobody could write yet.
fn waiting(read: RecordRead) -> Vec<Receipt> {
    let RecordRead::Found { bytes, .. } = read else { return Vec::new() };
    Record::parse(&bytes).map(|record| record.receipts).unwrap_or_default()
}

fn told(global: &Global, receipts: &[Receipt], unusable: &[(String, String)], all: bool) -> Result<()> {
    let mut out = io::stdout().lock();
    let told = if global.json {
        let told = |receipt: &Receipt| {
            let mut value = serde_json::json!(receipt);
            value["seconds"] = receipt.seconds().into();
            value["cost"] = serde_json::json!(receipt.cost());
            value
        };
        let sessions: Vec<_> = receipts.iter().map(told).collect();
        let unusable: Vec<_> =
            unusable.iter().map(|(path, why)| serde_json::json!({"path": path, "why": why})).collect();
        writeln!(out, "{}", serde_json::json!({"version": 1, "sessions": sessions, "unusable": unusable}))
    } else {
        report::log(&mut out, receipts, all)
    };
    told.map_err(cannot_print)
}

fn damaged(unusable: Vec<(String, String)>) -> Error {
    let error = Error::new(format!("{} receipt(s) can't be used and were passed over", unusable.len()));
    let error = unusable.into_iter().fold(error, |error, (path, why)| error.why(format!("`{path}`: {why}")));
    error.hint("Dropbox keeps its earlier revisions: restore the one that dacapo wrote, or delete the file")
}
