//! `dacapo ssh`: a shell on the server.

use clap::Args;

use super::load::Loaded;
use super::worlds::Worlds;
use super::{Global, interrupts};
use crate::error::{Error, ExitCode, Result};

const EXAMPLES: &str = "Examples:
  dacapo ssh                 a shell in the checkout; its exit code is ours
  dacapo ssh -A              with the ssh agent along, for git on the server
  echo nvidia-smi | dacapo ssh
  dacapo run -- nvidia-smi   one command, without a terminal";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Ssh {
    /// Forward the ssh agent for as long as the shell is open
    #[arg(short = 'A')]
    forward_agent: bool,
}

pub(super) async fn run(global: &Global, asked: &Ssh) -> Result<ExitCode> {
    let loaded = Loaded::read(global, None)?;
    let interrupt = interrupts(global);
    let entering = async {
        let worlds = Worlds::open(global, &loaded).await?;
        let (rented, instance) = worlds.server(&loaded.spec).await?;
        let entered = worlds.providers.connect(&loaded.spec, &rented, &instance, asked.forward_agent).await;
        entered.map_err(Error::from)
    };
    let mut connection = tokio::select! {
        entered = entering => entered?,
        () = interrupt.requested() => return Err(Error::of(ExitCode::Interrupted, "interrupted")),
    };
    // Ctrl-C is the server's as long as the terminal is.
    let code = connection.shell(&loaded.spec.repo.path, interrupt.requested()).await;
    connection.close().await;
    Ok(ExitCode::Remote(code?))
}
