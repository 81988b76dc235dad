//! `dacapo doctor`: what a session needs on this laptop and in the accounts, tried one by one; each failure with its fix.

mod agent;

use std::io::{self, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use clap::Args;
use jiff::Timestamp;

use super::load::Loaded;
use super::worlds::{Surroundings, Worlds};
use super::{Global, cannot_print};
use crate::credentials::{self, kept_path};
use crate::error::{Error, ExitCode, Result};
use crate::provider::Providers;
use crate::report::{self, Check};
use crate::spec::Spec;

/// How far this laptop's clock may be off before it is worth a word, in seconds: tokens and proofs live for minutes.
const SKEW: i64 = 60;
/// The oldest python3 that can move files of this laptop.
const PYTHON: (u32, u32) = (3, 8);

const EXAMPLES: &str = "Examples:
  dacapo doctor            tries programs, keys, credentials, services
  dacapo doctor --offline  asks nobody";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Doctor {
    /// Ask nobody: look at this laptop alone
    #[arg(long)]
    offline: bool,
}

pub(super) async fn run(global: &Global, asked: &Doctor) -> Result<ExitCode> {
    let mut checks = vec![Check::good("dacapo", env!("CARGO_PKG_VERSION"))];
    checks.extend(["git", "ssh", "ssh-add", "ssh-keygen"].map(program));
    checks.push(python());
    match Loaded::read(global, None) {
        Err(error) => checks.push(Check::from_error("session.toml", &error)),
        Ok(loaded) => {
            checks.push(Check::good("session.toml", &loaded.path.display().to_string()));
            checks.extend(session(global, asked, &loaded).await);
        }
    }
    let mut out = io::stdout().lock();
    let told = if global.json {
        writeln!(out, "{}", serde_json::json!({"version": 1, "checks": checks}))
    } else {
        report::checks(&mut out, &checks)
    };
    told.map_err(cannot_print)?;
    Ok(if checks.iter().any(Check::is_bad) { ExitCode::Error } else { ExitCode::Ok })
}

/// What the session needs: keys, credentials and, unless nobody is to be asked, the services themselves.
async fn session(global: &Global, asked: &Doctor, loaded: &Loaded) -> Vec<Check> {
    let mut checks = Vec::new();
    let mut surroundings = None;
    if global.sandbox.is_none() {
        match Surroundings::of_the_process() {
            Err(error) => return vec![Check::from_error("home", &error)],
            Ok(found) => {
                checks.extend(kept(&found, &loaded.spec));
                surroundings = Some(found);
            }
        }
    }
    let worlds = match Worlds::open(global, loaded).await {
        Ok(worlds) => worlds,
        // Missing credentials were told by name already.
        Err(_) if checks.iter().any(Check::is_bad) => {
            if let Some(surroundings) = &surroundings {
                checks.push(agent::own(surroundings).await.0);
            }
            return checks;
        }
        Err(error) => {
            checks.push(Check::from_error("worlds", &error));
            return checks;
        }
    };
    let providers = &worlds.providers;
    checks.extend(keys(providers, &loaded.spec, surroundings.as_ref()).await);
    checks.push(writable("state folder", &providers.settings.state));
    if asked.offline {
        checks.push(Check::unknown("services", "not asked (--offline)"));
        return checks;
    }
    let (cloud, store, repo) = tokio::join!(
        cloud(providers, &loaded.spec, global.sandbox.is_some()),
        store(providers, &loaded.spec),
        repo(providers)
    );
    checks.extend(cloud.into_iter().chain(store).chain([repo]));
    checks
}

fn program(name: &'static str) -> Check {
    let fix = "install git and the OpenSSH client";
    // ssh-add and ssh-keygen have no way to say their version; that they start is enough.
    let arguments: &[&str] = match name {
        "git" => &["--version"],
        "ssh" => &["-V"],
        _ => &["-?"],
    };
    let started = Command::new(name).args(arguments).stdin(Stdio::null()).output();
    match started {
        Err(error) => Check::bad(name, &error.to_string(), fix),
        Ok(output) if matches!(name, "git" | "ssh") => {
            let said = if output.stdout.is_empty() { output.stderr } else { output.stdout };
            Check::good(name, String::from_utf8_lossy(&said).lines().next().unwrap_or_default())
        }
        Ok(_) => Check::good(name, "there"),
    }
}

/// Only files of this laptop need it: the server has one of its own.
fn python() -> Check {
    let version = "import sys; print('%d.%d.%d' % sys.version_info[:3])";
    let output = Command::new("python3").args(["-IS", "-c", version]).stdin(Stdio::null()).output();
    let text = output.ok().filter(|output| output.status.success()).map(|output| output.stdout);
    let text = text.map(|text| String::from_utf8_lossy(&text).trim().to_owned());
    let fix = "`artifacts push --from laptop` and `pull --to laptop` need python3, 3.8 or newer";
    let Some(text) = text else { return Check::worth_knowing("python3", "not there", fix) };
    let mut numbers = text.split('.').filter_map(|number| number.parse::<u32>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) if (major, minor) >= PYTHON => Check::good("python3", &text),
        _ => Check::worth_knowing("python3", &text, fix),
    }
}

/// Where the credentials are, each by itself.
fn kept(surroundings: &Surroundings, spec: &Spec) -> Vec<Check> {
    let Surroundings { environment, home } = surroundings;
    let shown = kept_path(environment, home).display().to_string();
    let cloud = credentials::cloud(environment, home)
        .map(|found| Check::good("cloud credentials", &format!("{} at {}", found.client_id, found.base_url)));
    let mut checks = vec![cloud.unwrap_or_else(|error| Check::from_error("cloud credentials", &error))];
    if spec.store.is_some() {
        let store = credentials::store(environment, home).map(|found| {
            let large = if found.app_folder { "" } else { "; files over 150 MB need an app-folder app" };
            Check::good("Dropbox credentials", &format!("found (environment, or {shown}){large}"))
        });
        checks.push(store.unwrap_or_else(|error| Check::from_error("Dropbox credentials", &error)));
    }
    checks
}

async fn keys(providers: &Providers, spec: &Spec, surroundings: Option<&Surroundings>) -> Vec<Check> {
    let (check, held) = match surroundings {
        Some(surroundings) => agent::own(surroundings).await,
        None => agent::rehearsed(providers.settings.ssh.agent.as_deref()).await,
    };
    let mut checks = vec![check];
    checks.push(match providers.public_key(spec) {
        Err(error) => Check::from_error("login key", &error),
        Ok((key, path)) => {
            let fingerprint = key.fingerprint();
            if held.contains(&fingerprint) || path.with_extension("").is_file() {
                Check::good("login key", &format!("{fingerprint} ({})", spec.instance.ssh_key))
            } else {
                let what = "the agent doesn't hold it, and its private half isn't beside it";
                Check::bad("login key", &format!("{fingerprint}: {what}"), "`ssh-add` the private half")
            }
        }
    });
    checks
}

/// Whether a folder is there, or could be made, and can be written to.
fn writable(name: &'static str, folder: &Path) -> Check {
    let there = folder.ancestors().find(|folder| folder.is_dir());
    let shown = folder.display().to_string();
    match there.map(tempfile::tempfile_in) {
        Some(Ok(_)) => Check::good(name, &shown),
        Some(Err(error)) => {
            Check::bad(name, &format!("{shown}: {error}"), "make it yours, or set XDG_STATE_HOME")
        }
        None => Check::bad(name, &format!("{shown} can't be made"), "set XDG_STATE_HOME"),
    }
}

async fn cloud(providers: &Providers, spec: &Spec, rehearsed: bool) -> Vec<Check> {
    let look = match providers.cloud.look(spec.instance.market).await {
        Ok(look) => look,
        Err(error) => return vec![Check::from_error("cloud", &error)],
    };
    let said = format!("{} machine(s), balance {} {}", look.instances.len(), look.balance, look.currency);
    let mut checks = vec![Check::good("cloud", &said)];
    // A rehearsal's clock runs as fast as it likes.
    let skew = look.now.duration_since(Timestamp::now()).as_secs();
    if !rehearsed {
        let said = format!("{} s from the cloud's", skew.abs());
        checks.push(if skew.abs() > SKEW {
            Check::worth_knowing(
                "clock",
                &said,
                "set it by the network; dacapo itself goes by the services' clocks",
            )
        } else {
            Check::good("clock", &said)
        });
    }
    let unknown: Vec<&str> = spec
        .instance
        .types
        .iter()
        .map(String::as_str)
        .filter(|name| !look.types.iter().any(|offer| offer.name == **name))
        .collect();
    if !unknown.is_empty() {
        let said = format!("the cloud doesn't know {}", unknown.join(", "));
        checks.push(Check::bad("instance type", &said, "`dacapo init` lists what there is"));
    }
    checks
}

async fn store(providers: &Providers, spec: &Spec) -> Option<Check> {
    spec.store.as_ref()?;
    let client = match providers.store() {
        Ok(client) => client,
        Err(error) => return Some(Check::from_error("Dropbox", &error)),
    };
    let seen = async {
        let account = client.account().await?;
        let look = providers.memory.look(&spec.name).await?;
        Ok::<_, Error>(format!(
            "{account}: {} file(s); whether it may write shows when it does",
            look.store.files.len()
        ))
    };
    Some(
        seen.await
            .map_or_else(|error| Check::from_error("Dropbox", &error), |said| Check::good("Dropbox", &said)),
    )
}

async fn repo(providers: &Providers) -> Check {
    match providers.remote.listing().await {
        Ok((refs, _)) => Check::good("git remote", &format!("{} branch(es) and other refs", refs.len())),
        Err(error) => Check::from_error("git remote", &error),
    }
}
