//! Runs a command of the user's on the server, with our own input and output.

use std::future::Future;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::time::timeout;

use super::Connection;
use super::exchange::{self, Exchange, Started};
use super::trouble::{Result, SshError, Trouble};
use super::wire::Ask;
use crate::error::{Error, ExitCode};

/// What starts the command there and keeps its process group: see its own words. It holds no secret.
pub(super) const LAUNCH: &str = include_str!("launch.py");
/// How long a command may take to end once it was interrupted; it is killed after 10 s.
const INTERRUPTED: Duration = Duration::from_secs(30);
/// How long asking for its end may take.
const ASK: Duration = Duration::from_secs(60);

/// How the command's ssh session ended.
enum End {
    Code(u8),
    /// Exit code 255, or no exit code: the command's own, or a lost connection.
    Unclear(String),
}

impl Connection {
    /// Runs a command in a folder below the home directory and returns its exit code.
    ///
    /// Our standard input, output and error output are its own. When `interrupt` comes first, the
    /// command's whole process group is interrupted on the server, then ended, then killed. A lost
    /// connection is an error with exit code 255, and the command may go on.
    pub async fn run(
        &mut self,
        directory: &str,
        command: &[String],
        forward_agent: bool,
        interrupt: impl Future<Output = ()>,
    ) -> Result<u8> {
        let what = format!("cannot run `{}` on the server", command.first().map_or("", String::as_str));
        if command.is_empty() || (forward_agent && !self.forwards_agent) {
            let why =
                if command.is_empty() { "there is no command" } else { "this connection forwards no agent" };
            return Err(SshError::local(Error::new(what).why(why)));
        }
        let name = exchange::nonce();
        let mut arguments = vec!["-IS".into(), "-c".into(), LAUNCH.into(), directory.into(), name.clone()];
        arguments.push(if forward_agent { "agent" } else { "alone" }.into());
        arguments.extend_from_slice(command);
        let end = self.wait_for(&what, &arguments, forward_agent, &name, interrupt).await?;
        match end {
            End::Code(code) => Ok(code),
            End::Unclear(why) => self.outcome(&what, &name).await.ok_or_else(|| lost(&what, why)),
        }
    }

    async fn wait_for(
        &self,
        what: &str,
        arguments: &[String],
        forward_agent: bool,
        name: &str,
        interrupt: impl Future<Output = ()>,
    ) -> Result<End> {
        // A child of ours even without the agent: it ends once all output has been written, while the
        // multiplexing crate takes the exit code for the end, which comes before the last of the output.
        let mut command = self.own_ssh("python3", arguments, forward_agent);
        command.stdin(Stdio::inherit()).stdout(Stdio::inherit()).stderr(Stdio::inherit());
        let mut child = command.spawn().map_err(|error| SshError::local(Error::new(what).because(&error)))?;
        let ending = async { child.wait().await.map_err(|error| error.to_string()) };
        Ok(self.or_interrupt(ending, name, interrupt).await)
    }

    /// Waits for the end, and brings it about when interrupted.
    async fn or_interrupt(
        &self,
        ending: impl Future<Output = Result<ExitStatus, String>>,
        name: &str,
        interrupt: impl Future<Output = ()>,
    ) -> End {
        tokio::pin!(ending);
        tokio::select! {
            end = &mut ending => return read_end(end),
            () = interrupt => {}
        }
        // The command may end before the rest of its group does; both are waited for.
        let ask = Ask::Interrupt { run: name };
        let stop = self.stop(&ask);
        match timeout(INTERRUPTED, async { tokio::join!(ending, stop) }).await {
            Ok((end, _)) => read_end(end),
            Err(_) => End::Unclear("it was interrupted and didn't end".into()),
        }
    }

    /// Asks for a command's end, over a connection of its own where this one has no room left.
    async fn stop(&self, ask: &Ask<'_>) -> Result<()> {
        let what = "cannot interrupt the command";
        if self.helper::<()>(what, ask).await.is_ok() {
            return Ok(());
        }
        let other = Self::open(self.login.clone(), false).await?;
        let stopped = other.helper::<()>(what, ask).await;
        other.close().await;
        stopped
    }

    /// Asks how a command with an unclear end did end.
    async fn outcome(&self, what: &str, name: &str) -> Option<u8> {
        self.helper::<Option<u8>>(what, &Ask::Outcome { run: name }).await.ok().flatten()
    }

    /// Asks the helper on a session of its own, whatever this connection forwards.
    async fn helper<T: serde::de::DeserializeOwned>(&self, what: &str, ask: &Ask<'_>) -> Result<T> {
        let started: Started = self.start(what).await?;
        Exchange { what, limit: ASK }.carry_out(started, ask).await
    }
}

fn read_end(end: Result<ExitStatus, String>) -> End {
    match end {
        Ok(status) => match status.code().and_then(|code| u8::try_from(code).ok()) {
            Some(255) => End::Unclear("ssh ended with 255".into()),
            Some(code) => End::Code(code),
            None => End::Unclear(format!("ssh ended with {status}")),
        },
        Err(why) => End::Unclear(why),
    }
}

fn lost(what: &str, why: String) -> SshError {
    let error = Error::of(ExitCode::Remote(255), what)
        .why("the connection to the server was lost; the command may still be running there")
        .why(why)
        .hint("`dacapo status` shows what runs from the checkout");
    SshError::new(Trouble::Lost, error)
}
