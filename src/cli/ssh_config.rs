//! `dacapo ssh-config`: `ssh NAME`, editors and rsync reach the server while it lives.

mod own;

use std::io::{self, Write as _};
use std::path::Path;

use clap::Args;
use serde_json::json;

use super::load::{Loaded, find, start};
use super::worlds::{Beginning, Worlds};
use super::{Global, cannot_print};
use crate::error::{Error, ExitCode, Result};
use crate::facts::Status;
use crate::observe::living;
use crate::observed::Observed;
use crate::provider::server::Hosts;
use crate::report;
use crate::spec::Spec;
use own::OwnConfig;

const EXAMPLES: &str = "Examples:
  dacapo ssh-config            writes the entry, and says how to use it
  dacapo ssh-config --install  adds one Include line to ~/.ssh/config too
  dacapo ssh-config --print    prints the entry, and writes it nowhere
  dacapo ssh-config --remove   takes the line and the entries out again";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct SshConfig {
    /// Add an Include line at the top of ~/.ssh/config, once
    #[arg(long, conflicts_with_all = ["print", "remove"])]
    install: bool,
    /// Print the entry, and write it nowhere
    #[arg(long, conflicts_with = "remove")]
    print: bool,
    /// Remove the entries and the Include line
    #[arg(long)]
    remove: bool,
}

pub(super) async fn run(global: &Global, asked: &SshConfig) -> Result<ExitCode> {
    if asked.remove {
        return remove(global).await;
    }
    let loaded = Loaded::read(global, None)?;
    let worlds = Worlds::open(global, &loaded).await?;
    let settings = &worlds.providers.settings;
    let hosts = Hosts::below(&settings.state);
    let own = OwnConfig::of(&settings.ssh.home);
    let there = worlds.living(&loaded.spec).await;
    if asked.print {
        let (record, rented, instance) = there?;
        let entry = worlds.providers.host_entry(&loaded.spec, &record.store, &rented, &instance)?;
        let mut out = io::stdout().lock();
        let told = if global.json {
            let value = json!({"host": loaded.spec.name, "text": entry.text});
            writeln!(out, "{}", json!({"version": 1, "entry": value}))
        } else {
            out.write_all(entry.text.as_bytes())
        };
        return told.map(|()| ExitCode::Ok).map_err(cannot_print);
    }
    let included = if asked.install {
        // The line and the file may well be there before the first server is.
        hosts.make().map_err(|error| cannot_keep(hosts.path(), &error))?;
        own.include(hosts.path(), |path, line| {
            report::ssh_config_installs(&mut io::stderr().lock(), path, line).map_err(cannot_print)
        })?;
        true
    } else {
        own.includes(hosts.path())
    };
    let host = match there {
        Ok((record, rented, instance)) => {
            let entry = worlds.providers.host_entry(&loaded.spec, &record.store, &rented, &instance)?;
            hosts.put(&entry).map_err(|error| cannot_keep(hosts.path(), &error))?;
            Some(loaded.spec.name.as_str())
        }
        Err(_) if asked.install => None,
        Err(error) => return Err(error),
    };
    let taken = own.names(&loaded.spec.name);
    let mut out = io::stdout().lock();
    let told = if global.json {
        let path = hosts.path().display().to_string();
        let value = json!({"path": path, "host": host, "included": included, "also_yours": taken});
        writeln!(out, "{}", json!({"version": 1, "ssh_config": value}))
    } else {
        let line = own::line(hosts.path())?;
        let rehearsed = global.sandbox.is_some();
        let file = if included { own.path() } else { hosts.path() };
        let kept = report::SshConfig {
            host,
            session: &loaded.spec.name,
            file,
            included,
            line: &line,
            rehearsed,
            taken,
        };
        report::ssh_config(&mut out, kept)
    };
    told.map(|()| ExitCode::Ok).map_err(cannot_print)
}

/// Takes everything out again; it needs no session, whose project may be gone.
async fn remove(global: &Global) -> Result<ExitCode> {
    let start = start(global)?;
    let beside = find(global, &start).ok().and_then(|path| path.parent().map(Path::to_path_buf));
    let Beginning { home, state, .. } = Beginning::open(global, &beside.unwrap_or(start), true).await?;
    let (hosts, own) = (Hosts::below(&state), OwnConfig::of(&home));
    let was_there = own.leave_out(hosts.path())?;
    hosts.remove().map_err(|error| cannot_keep(hosts.path(), &error))?;
    let from = was_there.then(|| own.path());
    let mut out = io::stdout().lock();
    let told = if global.json {
        let value = json!({"path": hosts.path(), "included": from});
        writeln!(out, "{}", json!({"version": 1, "removed": value}))
    } else {
        report::ssh_config_removed(&mut out, from)
    };
    told.map(|()| ExitCode::Ok).map_err(cannot_print)
}

/// Brings the entry of a session up to what was seen, where somebody asked for entries on this laptop.
///
/// It is a convenience: where it can't be written, nothing else suffers.
pub(super) fn keep_up(worlds: &Worlds, spec: &Spec, observed: &Observed) {
    let hosts = Hosts::below(&worlds.providers.settings.state);
    if !hosts.is_kept() {
        return;
    }
    let store = &observed.record.store;
    let kept = match (living(observed), observed.instance()) {
        (Ok((rented, instance)), _) => worlds
            .providers
            .host_entry(spec, store, rented, instance)
            .and_then(|entry| hosts.put(&entry).map_err(|error| cannot_keep(hosts.path(), &error))),
        // One that is shut down may start again.
        (Err(_), Some(instance)) if instance.status != Status::Discontinued => return,
        (Err(_), _) => hosts.forget(&spec.name, store).map_err(|error| cannot_keep(hosts.path(), &error)),
    };
    if let Err(error) = kept {
        tracing::debug!("{error}");
    }
}

fn cannot_keep(path: &Path, error: &io::Error) -> Error {
    Error::new(format!("cannot write `{}`", path.display())).because(error)
}
