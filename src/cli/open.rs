//! `dacapo open`: the server's page in the cloud's console.

use std::io::{self, Write as _};
use std::process::Stdio;

use clap::Args;

use super::load::Loaded;
use super::worlds::Worlds;
use super::{Global, cannot_print};
use crate::error::{ExitCode, Result};

/// The console; it has no documented address for a single machine.
const CONSOLE: &str = "https://console.verda.com/";
/// What opens an address: on Linux, on macOS, in WSL.
const OPENERS: [&str; 3] = ["xdg-open", "open", "wslview"];

const EXAMPLES: &str = "Examples:
  dacapo open          prints the address and opens the browser
  dacapo open --print  prints it, and nothing else";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Open {
    /// Print the address without opening a browser
    #[arg(long)]
    print: bool,
}

pub(super) async fn run(global: &Global, asked: &Open) -> Result<ExitCode> {
    let loaded = Loaded::read(global, None)?;
    let worlds = Worlds::open(global, &loaded).await?;
    let (rented, _) = worlds.server(&loaded.spec).await?;
    let mut out = io::stdout().lock();
    let told = if global.json {
        writeln!(out, "{}", serde_json::json!({"version": 1, "url": CONSOLE, "machine": rented.id}))
    } else {
        writeln!(out, "{CONSOLE}")
    };
    told.map_err(cannot_print)?;
    // A rehearsal's machine is on no page, and whoever reads JSON is no person.
    if !asked.print && !global.json && global.sandbox.is_none() {
        open();
    }
    Ok(ExitCode::Ok)
}

/// Opens the page in whatever there is; without a browser the printed address is what helps.
fn open() {
    for program in OPENERS {
        let mut command = std::process::Command::new(program);
        command.arg(CONSOLE).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if command.status().is_ok_and(|status| status.success()) {
            return;
        }
    }
}
