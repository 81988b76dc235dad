//! `dacapo save`: what was changed on the server, put where it outlives it, while the session goes on.

use clap::Args;

use super::{Approve, Asked, Global, carry_out};
use crate::error::{Error, ExitCode, Result};

const EXAMPLES: &str = "Examples:
  dacapo save                          lists what would be committed and stored, and asks
  dacapo save -m \"train longer\" --yes  commits, pushes and stores without asking";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Save {
    /// What the commit says
    #[arg(long, short, default_value = "Work in progress")]
    message: String,
    /// Save without asking
    #[arg(long, short)]
    yes: bool,
}

pub(super) async fn run(global: &Global, asked: &Save) -> Result<ExitCode> {
    if asked.message.trim().is_empty() || asked.message.contains('\0') {
        return Err(Error::of(ExitCode::Usage, "a commit needs a message").hint("give one with `-m`"));
    }
    let approve = Approve { asked: Asked::default(), yes: asked.yes };
    carry_out::save(global, &approve, &asked.message).await
}
