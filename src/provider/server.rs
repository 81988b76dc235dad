//! The rented machine, over SSH: what runs there is `server/helper/`, one operation per request.
//!
//! Every call has a deadline, and believes only what the helper's last line says. The agent is forwarded
//! on connections that were opened for it, and nowhere else.

mod copy;
mod exchange;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod host_key;
mod hosts;
mod login;
mod master;
mod notebook;
mod run;
mod set_up;
mod shell;
mod transfer;
mod trouble;
mod wire;

use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use openssh::Session;
use serde::de::DeserializeOwned;
use tokio::process::Command;
use tokio::time::timeout;

pub use copy::{Copied, Copy, Entry, Found, Moved, Side, State, copy};
pub use host_key::HostKey;
pub use hosts::{Entry as HostEntry, Hosts, Keys};
pub use login::{Limits, Login};
pub use notebook::Forward;
pub use transfer::{Host, LargePush, Mint, Support, Told};
pub use trouble::{Kind, Result, SshError, Trouble};
pub use wire::{
    Brought, CloneRequest, CommitRequest, FastForwardRequest, GivenNotebook, Hello, InstallRequest,
    NotebookAddress, NotebookRequest, PackRequest, Packed, ProbeRequest, PullRequest, Pulled, SaveRequest,
    Sent, SetUpRequest, StepRequest, SurroundingsRequest, UploadSession,
};

use crate::error::Error;
use crate::facts::Probe;
use exchange::{Exchange, Started};
use login::{AgentKeys, Entered, agent_keys};
use wire::Ask;

/// The most that small questions may take.
const SHORT: Duration = Duration::from_secs(180);
/// The most that a probe may take: it hashes every artifact.
const LOOK: Duration = Duration::from_secs(30 * 60);
/// The most that bringing the repo may take.
const BRING: Duration = Duration::from_secs(2 * 60 * 60);
/// The most that a transfer may take; a silent one ends much sooner.
const TRANSFER: Duration = Duration::from_secs(12 * 60 * 60);
/// How long opening a session on a live connection may take.
const START: Duration = Duration::from_secs(30);
/// How long saying goodbye may take.
const CLOSE: Duration = Duration::from_secs(5);

/// What to do about a server that takes no agent along.
const NOT_FORWARDED: &str = "allow it in the server's `/etc/ssh/sshd_config` (`AllowAgentForwarding yes`) and \
     restart its sshd, then run the command again";
/// How long a session may be refused because the one before it is still ending.
const CROWDED: Duration = Duration::from_secs(3);
/// How long to wait between two attempts.
const AGAIN: Duration = Duration::from_millis(100);

/// A login on the server; ends when dropped.
pub struct Connection {
    session: Option<Arc<Session>>,
    host_key: String,
    login: Login,
    forwards_agent: bool,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Connection({})", self.login.ip)
    }
}

impl Connection {
    /// Logs in. With a pinned key nothing else is believed; without one the key shown is taken, once.
    ///
    /// `forward_agent` is for short-lived connections only: once one command has asked for the agent,
    /// the server offers it to all later ones.
    pub async fn open(login: Login, forward_agent: bool) -> Result<Self> {
        let Entered { session, host_key } = login.enter(forward_agent).await?;
        Ok(Self { session: Some(Arc::new(session)), host_key, login, forwards_agent: forward_agent })
    }

    /// Returns the host key, `ssh-ed25519 AAAA…`, that must be pinned from now on.
    pub fn host_key(&self) -> &str {
        &self.host_key
    }

    /// Looks at the machine and, on the first login, begins to tell new files from old.
    pub async fn hello(&mut self) -> Result<Hello> {
        self.ask("cannot look at the server", SHORT, &Ask::Hello).await
    }

    /// Reports everything that a plan needs to know of the server.
    pub async fn probe(&mut self, ask: &ProbeRequest) -> Result<Probe> {
        self.ask("cannot look at the server", LOOK, &Ask::Probe(ask)).await
    }

    /// Clones the repo; a checkout of the same remote is left as it is, and its state returned.
    ///
    /// Needs a connection that forwards the agent for ssh urls.
    pub async fn clone(&mut self, ask: &CloneRequest) -> Result<Brought> {
        let what = format!("cannot clone the repo to `{}` on the server", ask.path);
        check_words(&what, &[&ask.url, &ask.branch], ask.commit.as_deref())?;
        self.ask_with_agent(&what, &Ask::Clone(ask)).await
    }

    /// Brings a clean checkout forward on its branch; refuses whatever would need more than that.
    pub async fn fast_forward(&mut self, ask: &FastForwardRequest) -> Result<Brought> {
        let what = format!("cannot bring `{}` on the server forward", ask.path);
        check_words(&what, &[&ask.branch], Some(&ask.to))?;
        self.ask_with_agent(&what, &Ask::FastForward(ask)).await
    }

    /// Pushes to a branch of its own what the remote lacks; returns the branch's commit, none where only tags
    /// were to be pushed. Nothing in the checkout changes, whether it succeeds or not.
    pub async fn save(&mut self, ask: &SaveRequest) -> Result<Option<String>> {
        let what = format!("cannot save `{}` to a branch", ask.path);
        check_words(&what, &[&ask.url, &ask.branch], ask.snapshot.as_deref())?;
        self.ask_with_agent(&what, &Ask::Save(ask)).await
    }

    /// Commits the files that were agreed on and pushes the branch; what else differs stays as it is.
    pub async fn commit(&mut self, ask: &CommitRequest) -> Result<Brought> {
        let what = format!("cannot save `{}` to its branch", ask.path);
        check_words(&what, &[&ask.url, &ask.branch], None)?;
        self.ask_with_agent(&what, &Ask::Commit(ask)).await
    }

    /// Marks set-up as ended: from the first such call on, files count as new.
    pub async fn finish_set_up(&mut self) -> Result<()> {
        self.ask("cannot mark the server's set-up as ended", SHORT, &Ask::FinishSetUp).await
    }

    /// Ends the connection.
    pub async fn close(mut self) {
        if let Some(session) = self.session.take().and_then(Arc::into_inner) {
            let _ = timeout(CLOSE, session.close()).await;
        }
    }

    async fn ask<T: DeserializeOwned>(&self, what: &str, limit: Duration, ask: &Ask<'_>) -> Result<T> {
        let started = self.start(what).await?;
        Exchange { what, limit }.carry_out(started, ask).await
    }

    /// Asks for what needs the agent; where it doesn't arrive, tells whose fault that is.
    async fn ask_with_agent<T: DeserializeOwned>(&self, what: &str, ask: &Ask<'_>) -> Result<T> {
        let mut answer = self.ask(what, BRING, ask).await;
        if let Err(SshError { trouble: Trouble::Said(Kind::AgentAbsent), error }) = &mut answer
            && let AgentKeys::Listed(_) = agent_keys(self.login.agent.as_deref()).await
        {
            error.why.push("the agent here holds keys, but the server doesn't take it along".into());
            error.hint = Some(NOT_FORWARDED.into());
        }
        answer
    }

    /// Starts `python3` on the server: by a child of ours where the agent goes with it, which the
    /// multiplexing crate can't ask for.
    async fn start(&self, what: &str) -> Result<Started> {
        let arguments = exchange::python_arguments();
        if self.forwards_agent {
            let mut command = self.own_ssh("python3", &arguments, true);
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let child = command.spawn().map_err(|error| SshError::local(Error::new(what).because(&error)))?;
            return Ok(Started::own(child));
        }
        let child = self.session_for(what, &arguments).await?;
        Ok(Started::remote(child))
    }

    /// Runs `python3` in a session of its own, its three streams pipes.
    ///
    /// Waits a little for one that is still ending, in case the server allows no second one.
    async fn session_for(&self, what: &str, arguments: &[String]) -> Result<openssh::Child<Arc<Session>>> {
        let since = Instant::now();
        loop {
            let mut command = Arc::clone(self.session()).arc_command("python3");
            command.args(arguments);
            command.stdin(openssh::Stdio::piped());
            command.stdout(openssh::Stdio::piped()).stderr(openssh::Stdio::piped());
            let error = match timeout(START, command.spawn()).await {
                Ok(Ok(child)) => return Ok(child),
                Ok(Err(error)) => error,
                Err(_) => {
                    return Err(self.unreachable(what, format!("no session after {} s", START.as_secs())));
                }
            };
            if !is_crowded(&error) {
                return Err(self.not_started(what, &error));
            }
            if since.elapsed() > CROWDED {
                return Err(self.crowded(what, &error));
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Returns our own `ssh` that runs a program on the connection's socket. Its own process group keeps Ctrl-C
    /// from ending it before us.
    fn own_ssh(&self, program: &str, arguments: &[String], with_agent: bool) -> Command {
        let mut command = self.ssh_client(with_agent, false);
        let words = std::iter::once(program).chain(arguments.iter().map(String::as_str)).map(shell_word);
        command.arg(words.collect::<Vec<_>>().join(" ")).process_group(0);
        command
    }

    /// Returns our own `ssh` on the connection's socket, asking for the agent and a terminal where they are wanted;
    /// a command line is still to be added.
    ///
    /// With a dead connection it fails at once (`ProxyCommand=false`) instead of dialling anywhere, and it
    /// reads no configuration.
    fn ssh_client(&self, with_agent: bool, with_terminal: bool) -> Command {
        let mut command = Command::new("ssh");
        command
            .args(["-F", "none", if with_agent { "-A" } else { "-a" }, "-S"])
            .arg(self.session().control_socket())
            .args(["-o", "BatchMode=yes", "-o", "ProxyCommand=false"])
            // At the end of a session with a terminal it would name the host, which is `none` here.
            .args(if with_terminal { &["-o", "LogLevel=ERROR", "-t"][..] } else { &["-T"] })
            .args(["-p", "9", "none", "--"])
            .kill_on_drop(true)
            .env_clear()
            .envs(["PATH", "HOME"].into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        if let Some(agent) = &self.login.agent {
            command.env("SSH_AUTH_SOCK", agent);
        }
        command
    }

    fn session(&self) -> &Arc<Session> {
        self.session.as_ref().expect("only `close` takes the session, and it takes the connection with it")
    }

    fn crowded(&self, what: &str, error: &openssh::Error) -> SshError {
        let error = Error::new(what)
            .why(format!("the server at `{}` allows no further session on this connection", self.login.ip))
            .because(error)
            .hint("raise `MaxSessions` in the server's `/etc/ssh/sshd_config` and restart its sshd");
        SshError::new(Trouble::Unreachable, error)
    }

    fn not_started(&self, what: &str, error: &openssh::Error) -> SshError {
        let words = Error::new(what).because(error).to_string();
        self.unreachable(what, words.trim_start_matches(what).trim_start_matches(": ").to_owned())
    }

    fn unreachable(&self, what: &str, why: String) -> SshError {
        let error = Error::new(what)
            .why(format!("the connection to the server at `{}` is gone", self.login.ip))
            .why(why)
            .hint("run the command again");
        SshError::new(Trouble::Unreachable, error)
    }
}

/// Returns whether the server refused a session for having as many as it allows (`MaxSessions`).
fn is_crowded(error: &openssh::Error) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        if error.to_string().contains("Session open refused by peer") {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Refuses words that git would read as options, and commits that are none.
fn check_words(what: &str, words: &[&str], commit: Option<&str>) -> Result<()> {
    let bad =
        words.iter().find(|word| word.is_empty() || word.starts_with('-') || word.contains(['\0', '\n']));
    let hex =
        |commit: &&str| matches!(commit.len(), 40 | 64) && commit.bytes().all(|b| b.is_ascii_hexdigit());
    match (bad, commit) {
        (Some(word), _) => {
            Err(SshError::local(Error::new(what).why(format!("`{word}` is not a name for git"))))
        }
        (None, Some(commit)) if !hex(&commit) => {
            Err(SshError::local(Error::new(what).why(format!("`{commit}` is not a commit"))))
        }
        _ => Ok(()),
    }
}

/// Quotes one word for a POSIX shell.
fn shell_word(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests;
