//! A shell of the user's on the server, at our own terminal.

use std::future::Future;
use std::io::{IsTerminal as _, stdin};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child;
use tokio::time::timeout;

use super::trouble::{Result, SshError, Trouble};
use super::{Connection, shell_word};
use crate::error::{Error, ExitCode};

/// What is run there: the login shell, in the checkout where there is one. Whatever the login shell is, `sh` reads it.
const START: &str = r#"cd -- "$1" 2>/dev/null; exec "${SHELL:-/bin/sh}" -l"#;
/// How long ssh may take to give the terminal back.
const GIVE_BACK: Duration = Duration::from_secs(5);

impl Connection {
    /// Runs the login shell in a folder below the home directory, or in that one where the folder isn't there yet,
    /// and returns its exit code.
    ///
    /// It has a terminal where our standard input is one; else it reads commands from there. `interrupt` ends it:
    /// that is not Ctrl-C, which a terminal hands to the server.
    pub async fn shell(&mut self, directory: &str, interrupt: impl Future<Output = ()>) -> Result<u8> {
        let what = "cannot open a shell on the server";
        let terminal = stdin().is_terminal();
        let line = ["sh", "-c", START, "sh", directory].map(shell_word).join(" ");
        let mut command = self.ssh_client(self.forwards_agent, terminal);
        // It stays in our process group: no other may read the terminal.
        command.arg(line).stdin(Stdio::inherit()).stdout(Stdio::inherit()).stderr(Stdio::inherit());
        if let Some(kind) = std::env::var_os("TERM") {
            command.env("TERM", kind);
        }
        let mut child = command.spawn().map_err(|error| SshError::local(Error::new(what).because(&error)))?;
        let status = tokio::select! {
            status = child.wait() => status,
            () = interrupt => return Err(ended(child).await),
        };
        let status = status.map_err(|error| SshError::local(Error::new(what).because(&error)))?;
        match status.code().and_then(|code| u8::try_from(code).ok()) {
            Some(code) if code != 255 || self.lives().await => Ok(code),
            _ => Err(lost()),
        }
    }
}

/// Has ssh put the terminal back as it was before it ends.
async fn ended(mut child: Child) -> SshError {
    let number = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    // It fails only where it has ended already.
    let _ = number.map(|number| kill_process(number, Signal::TERM));
    let _ = timeout(GIVE_BACK, child.wait()).await;
    SshError::local(
        Error::of(ExitCode::Interrupted, "interrupted").why("the shell's terminal was taken away"),
    )
}

fn lost() -> SshError {
    let error = Error::of(ExitCode::Remote(255), "the shell is gone")
        .why("the connection to the server was lost")
        .hint("`dacapo status` shows what still runs from the checkout; programs in tmux or screen go on");
    SshError::new(Trouble::Lost, error)
}
