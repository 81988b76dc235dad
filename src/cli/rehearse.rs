//! `dacapo sandbox …`: serving, looking into and ending the embedded world; seeding it for a spec.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Subcommand;
use jiff::Timestamp;
use serde_json::json;

use super::load::{find, sandbox_directory, start};
use super::worlds::own_executable;
use super::{Global, cannot_print};
use crate::error::{Error, ExitCode, Result};
use crate::provider::repo::local_checkout;
use crate::report;
use crate::sandbox::repo::MODEL;
use crate::sandbox::{self, Admin, Faults, Link, Options, Ready, gateway};
use crate::spec::Spec;
use crate::version::file_name;

const SERVE: &str = "Examples:
  dacapo sandbox serve --dir world --clock-speed 1  until Ctrl-C; the first line says where it is";

const BILL: &str = "Examples:
  dacapo sandbox bill         what bills, and what was spent
  dacapo sandbox bill --json  for programs";

const REQUESTS: &str = "Examples:
  dacapo sandbox requests | tail -n 3  the last three";

const FAULTS: &str = "Examples:
  dacapo sandbox faults faults.json  adds these
  dacapo sandbox faults              shows how often each has struck
  dacapo sandbox faults --clear      all is well again";

const JUMP: &str = "Examples:
  dacapo sandbox jump 3600  an hour goes by at once";

const RESET: &str = "Examples:
  dacapo sandbox reset  no machine, no version, nothing spent";

const STOP: &str = "Examples:
  dacapo sandbox stop  the next rehearsal goes on from where it was";

#[derive(Subcommand, Debug)]
pub(super) enum Command {
    /// Serve the world in the foreground for other programs; prints one JSON line when ready
    #[command(after_help = SERVE)]
    Serve {
        /// Where the world is kept
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
        /// Sandbox seconds per real second
        #[arg(long, value_name = "N", default_value_t = 60.0)]
        clock_speed: f64,
        /// Where a new world's clock starts
        #[arg(long, value_name = "TIME")]
        start: Option<Timestamp>,
        /// Real seconds without a request after which the world ends
        #[arg(long, value_name = "SECONDS", default_value_t = 600)]
        idle: u64,
        /// Have instances served by the system's OpenSSH server instead of the sandbox's own
        #[arg(long, value_name = "PATH")]
        sshd: Option<PathBuf>,
        /// What goes wrong from the start, as JSON (see `dacapo sandbox faults`)
        #[arg(long, value_name = "FILE")]
        faults: Option<PathBuf>,
        /// How far away Dropbox's content host is, and how many bytes a second each connection to it takes
        #[arg(long, value_name = "rtt=TIME,rate=BYTES")]
        link: Option<Link>,
    },
    /// Show what bills in the world
    #[command(after_help = BILL)]
    Bill,
    /// Show every request that the world received, as JSON lines
    #[command(after_help = REQUESTS)]
    Requests,
    /// Make the world fail: show the rules and how often each has struck, add to them, clear them
    #[command(after_help = FAULTS)]
    Faults {
        /// What to add, as JSON: {"rules": [{"service": "cloud", "fault": "capacity"}], "ssh": {"refuse": true}}
        #[arg(value_name = "FILE")]
        plan: Option<PathBuf>,
        /// Forget the rules so far first
        #[arg(long)]
        clear: bool,
    },
    /// Let time pass in the world
    #[command(after_help = JUMP)]
    Jump {
        /// Sandbox seconds
        seconds: f64,
    },
    /// Change the world behind the services' backs; JSON as the documentation says
    #[command(hide = true)]
    Set {
        /// What to change
        changes: String,
    },
    /// Empty the world
    #[command(after_help = RESET)]
    Reset,
    /// End the world's process; what it keeps stays
    #[command(after_help = STOP)]
    Stop,
    /// Carry one ssh connection into the world (ssh's ProxyCommand)
    #[command(hide = true)]
    Gateway {
        /// Where the world is kept
        #[arg(long)]
        dir: PathBuf,
        /// The host that ssh wants
        host: String,
        /// Its port
        port: u16,
    },
}

pub(super) async fn run(global: &Global, command: Command) -> Result<ExitCode> {
    match command {
        Command::Serve { dir, clock_speed, start, idle, sshd, faults, link } => {
            let idle = Duration::from_secs(idle);
            let options = Options { clock_speed, start, idle, sshd, faults, link, ..Options::default() };
            let dir = dir.map_or_else(|| directory(global), Ok)?;
            sandbox::serve(&dir, options, announce).await.map(|()| ExitCode::Ok)
        }
        Command::Gateway { dir, host, port } => gateway::pipe(&dir, &host, port).map(|()| ExitCode::Ok),
        Command::Stop => stop(global).await,
        Command::Bill => bill(global).await,
        Command::Requests => requests(global).await,
        Command::Faults { plan, clear } => faults(global, plan.as_deref(), clear).await,
        Command::Jump { seconds } => admin(global).await?.jump(seconds).await.map(|_| ExitCode::Ok),
        Command::Set { changes } => {
            let changes = serde_json::from_str(&changes)
                .map_err(|error| Error::of(ExitCode::Usage, "the changes are not JSON").because(&error))?;
            admin(global).await?.set(&changes).await.map(|()| ExitCode::Ok)
        }
        Command::Reset => admin(global).await?.reset().await.map(|()| ExitCode::Ok),
    }
}

/// Makes the world answer for what the spec names: its git repository and, once, a version of its model.
///
/// A repository that is the local checkout's own remote is seeded from that checkout, any other from the
/// example project.
pub async fn seed(ready: &Ready, spec: &Spec, spec_directory: &Path) -> Result<()> {
    let admin = Admin::of(ready)?;
    let repo = &spec.repo;
    let own = local_checkout(spec_directory, &repo.url, &repo.branch, None).is_some();
    let checkout = own.then_some(spec_directory);
    admin.seed(&repo.url, &json!({"branch": repo.branch, "checkout": checkout})).await?;
    let (name, bytes) = MODEL;
    let named_like_it =
        |path: &str| name.strip_suffix(".gz").is_some_and(|name| name.ends_with(file_name(path)));
    match &spec.store {
        Some(store) if spec.artifacts.values().any(|artifact| named_like_it(&artifact.path)) => {
            let uploaded = "2026-11-20T18:30:00Z".parse().expect("it is a time");
            admin.seed_store_once(&format!("{}/{name}", store.as_str()), bytes, uploaded).await
        }
        _ => Ok(()),
    }
}

/// Returns where the world is kept that the command line means.
fn directory(global: &Global) -> Result<PathBuf> {
    let start = start(global)?;
    let beside = find(global, &start).ok().and_then(|path| path.parent().map(Path::to_path_buf));
    let beside = beside.unwrap_or(start);
    Ok(sandbox_directory(global, &beside).unwrap_or_else(|| beside.join(".dacapo/sandbox")))
}

async fn admin(global: &Global) -> Result<Admin> {
    let ready = sandbox::attach(&directory(global)?, &own_executable()?, &Options::default()).await?;
    Admin::of(&ready)
}

async fn stop(global: &Global) -> Result<ExitCode> {
    if let Some(ready) = sandbox::living(&directory(global)?).await {
        Admin::of(&ready)?.stop().await?;
    }
    Ok(ExitCode::Ok)
}

async fn bill(global: &Global) -> Result<ExitCode> {
    let bill = admin(global).await?.bill().await?;
    if global.json {
        print(bill)?;
    } else {
        report::sandbox_bill(&mut io::stdout().lock(), &bill).map_err(cannot_print)?;
    }
    Ok(ExitCode::Ok)
}

async fn faults(global: &Global, plan: Option<&Path>, clear: bool) -> Result<ExitCode> {
    let plan = plan.map(Faults::read).transpose()?;
    let admin = admin(global).await?;
    if clear {
        admin.clear_faults().await?;
    }
    let told = match plan {
        Some(plan) => admin.faults(&json!(plan)).await?,
        None => admin.strikes().await?,
    };
    told["rules"].as_array().into_iter().flatten().cloned().try_for_each(print).map(|()| ExitCode::Ok)
}

async fn requests(global: &Global) -> Result<ExitCode> {
    let requests = admin(global).await?.requests().await?;
    requests.into_iter().map(|request| json!(request)).try_for_each(print).map(|()| ExitCode::Ok)
}

fn announce(ready: &Ready) {
    // Nobody listening is no reason not to serve.
    let _ = print(json!(ready));
}

/// Prints one line for programs.
fn print(mut line: serde_json::Value) -> Result<()> {
    line["version"] = 1.into();
    writeln!(io::stdout().lock(), "{line}").map_err(cannot_print)
}
