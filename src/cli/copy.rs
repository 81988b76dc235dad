//! `dacapo cp`: files to the server and back.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt as _;

use clap::Args;

use super::load::{Loaded, start};
use super::worlds::Worlds;
use super::{Global, cannot_print, interrupts};
use crate::error::{Error, ExitCode, Result};
use crate::provider::server::{self, Copied, Copy, Found, Moved, Side, State};
use crate::report::{self, Copying};

const EXAMPLES: &str = "Examples:
  dacapo cp notes.csv :data/           into `data` of the checkout on the server
  dacapo cp :runs/loss.png .           from there
  dacapo cp -r :~/logs server:out .    `server:` says the same as `:`, and `~` is the home there
  dacapo cp --overwrite train.py :     replaces another content; the one on the server is gone then";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Cp {
    /// Copy folders with all that is in them
    #[arg(short, long)]
    recursive: bool,
    /// Replace what is there with another content
    #[arg(long)]
    overwrite: bool,
    /// What to copy, and where to: `:PATH` is on the server and counts from the checkout
    #[arg(required = true, num_args = 2.., value_names = ["SOURCE", "TARGET"])]
    paths: Vec<OsString>,
}

pub(super) async fn run(global: &Global, asked: &Cp) -> Result<ExitCode> {
    let (paths, target, up) = sides(&asked.paths)?;
    let loaded = Loaded::read(global, None)?;
    let worlds = Worlds::open(global, &loaded).await?;
    let (rented, instance) = worlds.server(&loaded.spec).await?;
    let here = start(global)?;
    let interrupt = interrupts(global);
    let copying = async {
        let connection = worlds.providers.connect(&loaded.spec, &rented, &instance, false).await?;
        let (server, laptop) = (Side::Server(&connection, &loaded.spec.repo.path), Side::Laptop(&here));
        let (from, to) = if up { (laptop, server) } else { (server, laptop) };
        let ask =
            Copy { paths: &paths, target: &target, recursive: asked.recursive, overwrite: asked.overwrite };
        let mut bar = Copying::new();
        let mut moved = |moved| match moved {
            Moved::Of(bytes) => bar.begin(bytes),
            Moved::More(bytes) => bar.add(bytes),
        };
        let copied = server::copy(from, to, ask, &mut moved).await;
        bar.end();
        connection.close().await;
        copied
    };
    let copied = tokio::select! {
        copied = copying => copied?,
        () = interrupt.requested() => {
            return Err(Error::of(ExitCode::Interrupted, "interrupted")
                .why("files that were copied whole stay; nothing is left of others")
                .hint("run the same command again to go on"));
        }
    };
    told(global, &copied, up)
}

/// Tells the server's side from the laptop's.
fn sides(paths: &[OsString]) -> Result<(Vec<Vec<u8>>, Vec<u8>, bool)> {
    let (target, sources) = paths.split_last().expect("there are two at least");
    let there = |path: &OsString| on_server(path).is_some();
    let up = on_server(target);
    if sources.iter().any(|path| there(path) == up.is_some()) {
        let place = if up.is_some() { "on the server" } else { "on this laptop" };
        let hint = match up {
            Some(_) => "copy on the server itself: `dacapo run -- cp …`",
            None => "a path on the server begins with `:`, for example `:data/train.csv`",
        };
        return Err(Error::of(ExitCode::Usage, "one side of a copy is the server, the other this laptop")
            .why(format!("the target is {place}, and so is a source"))
            .hint(hint));
    }
    let bytes = |path: &OsStr| path.as_bytes().to_vec();
    let sources =
        sources.iter().map(|path| on_server(path).map_or_else(|| bytes(path), <[u8]>::to_vec)).collect();
    Ok((sources, up.map_or_else(|| bytes(target), <[u8]>::to_vec), up.is_some()))
}

/// Returns the path on the server that is meant; none where it is the laptop's. `.` is the checkout.
fn on_server(path: &OsStr) -> Option<&[u8]> {
    let bytes = path.as_bytes();
    let path = bytes.strip_prefix(b"server:").or_else(|| bytes.strip_prefix(b":"))?;
    Some(if path.is_empty() { b"." } else { path })
}

fn told(global: &Global, copied: &Copied, up: bool) -> Result<ExitCode> {
    let to = if up { "server" } else { "laptop" };
    let mut out = io::stdout().lock();
    let told = if global.json {
        let entries: Vec<_> = copied
            .entries
            .iter()
            .filter_map(|(entry, place, state)| match &entry.found {
                Found::File { size, content } => Some(serde_json::json!({
                    "path": place, "size": size, "content": content,
                    "copied": *state != State::Same, "replaced": *state == State::Different,
                })),
                Found::Folder | Found::Link { .. } => None,
            })
            .collect();
        let value = serde_json::json!({"version": 1, "to": to, "files": entries, "left_out": copied.skipped});
        io::Write::write_fmt(&mut out, format_args!("{value}\n"))
    } else {
        let files = |wanted: &dyn Fn(State) -> bool| -> Vec<(&str, u64)> {
            let of = copied.entries.iter().filter(|(_, _, state)| wanted(*state));
            of.filter_map(|(entry, place, _)| match entry.found {
                Found::File { size, .. } => Some((place.as_str(), size)),
                Found::Folder | Found::Link { .. } => None,
            })
            .collect()
        };
        let (new, same) = (files(&|state| state != State::Same), files(&|state| state == State::Same));
        report::copied(&mut out, &new, same.len(), &copied.skipped)
    };
    told.map_err(cannot_print)?;
    Ok(if copied.skipped.is_empty() { ExitCode::Ok } else { ExitCode::Error })
}
