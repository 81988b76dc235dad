//! Running git and its kin: bounded, quiet, without prompts and without our secrets.

use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use super::GitEnvironment;
use crate::credentials::SECRET_VARIABLES;
use crate::error::{Error, Result};
use crate::provider::http::readable;

/// Variables by which a surrounding git would make ours work on another repo, or ask a person.
const MISLEADING: [&str; 12] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
    "GIT_ASKPASS",
    "SSH_ASKPASS",
    "GIT_TRACE",
    "GIT_TRACE_CURL",
    "GIT_CEILING_DIRECTORIES",
];

/// The most that a child may print, on each of its two outputs: the refs of a very large remote fit.
const PRINTED: u64 = 64 * 1024 * 1024;

/// What git says after every failure of a remote, whatever its cause.
const PHRASES: [&str; 3] =
    ["Could not read from remote repository", "Please make sure you have the", "and the repository exists"];

/// How a child ended.
pub(super) struct Finished {
    pub(super) status: ExitStatus,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Finished {
    pub(super) fn success(&self) -> bool {
        self.status.success()
    }

    /// Its own words, for a message: the last lines that say something.
    pub(super) fn words(&self) -> String {
        let says =
            |line: &&str| !line.trim().is_empty() && !PHRASES.iter().any(|phrase| line.contains(phrase));
        let lines: Vec<&str> = self.stderr.lines().filter(says).collect();
        let words = readable(&lines[lines.len().saturating_sub(3)..].join("; "));
        if words.is_empty() { format!("it ended with {}", self.status) } else { words }
    }
}

/// Returns a command with the environment that belongs to it.
pub(super) fn command(program: &str, environment: &GitEnvironment) -> Command {
    let mut command = Command::new(program);
    if environment.isolated {
        command.env_clear();
        command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    }
    for name in SECRET_VARIABLES.iter().chain(&MISLEADING) {
        command.env_remove(name);
    }
    // git's words are matched and quoted.
    command.env("LC_ALL", "C");
    command.envs(environment.variables.iter().map(|(name, value)| (name, value)));
    if let Some(agent) = &environment.agent {
        command.env("SSH_AUTH_SOCK", agent);
    }
    command.process_group(0).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Returns git, which neither asks a person nor fetches behind our back.
pub(super) fn git(environment: &GitEnvironment) -> Command {
    let mut command = command("git", environment);
    command
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_NO_LAZY_FETCH", "1")
        .env("GIT_OPTIONAL_LOCKS", "0")
        .env("GIT_SSH_COMMAND", ssh_command(environment));
    command
}

/// The user's ssh in batch mode; a master it started would outlive us and hold our pipes open.
fn ssh_command(environment: &GitEnvironment) -> String {
    let configured = || git2::Config::open_default().ok()?.get_string("core.sshcommand").ok();
    let own = environment.ssh_command.clone();
    let ssh = own.or_else(|| if environment.isolated { None } else { configured() });
    format!("{} -o BatchMode=yes -o ControlMaster=no", ssh.as_deref().unwrap_or("ssh"))
}

/// Runs a command to its end, at most for `limit` and until it has printed too much; then it is killed, and
/// its own children find their pipes closed.
pub(super) async fn finish(command: Command, input: &str, limit: Duration) -> Result<Finished> {
    let Output { status, stdout, stderr } = output(command, input, limit).await?;
    let [stdout, stderr] = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Ok(Finished { status, stdout, stderr })
}

/// The same, for a command that prints more than text.
pub(super) async fn output(mut command: Command, input: &str, limit: Duration) -> Result<Output> {
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    tracing::debug!("{program} {:?}", command.as_std().get_args().collect::<Vec<_>>());
    let failed = |error: &std::io::Error| {
        let hint = format!("install `{program}` or put it on `PATH`");
        Error::new(format!("cannot run `{program}`")).because(error).hint(hint)
    };
    let mut child = command.spawn().map_err(|error| failed(&error))?;
    let stdin = child.stdin.take();
    let write = async {
        if let Some(mut stdin) = stdin {
            // A child that has read enough closes its end; how it ended is what counts.
            stdin.write_all(input.as_bytes()).await.ok();
        }
    };
    let printed = (child.stdout.take(), child.stderr.take());
    let run = async {
        let read = async { tokio::try_join!(bounded(printed.0), bounded(printed.1)) };
        let ((), printed) = tokio::join!(write, read);
        let (stdout, stderr) = printed?;
        let status = child.wait().await?;
        Ok::<_, std::io::Error>(Output { status, stdout, stderr })
    };
    match tokio::time::timeout(limit, run).await {
        Ok(Ok(output)) => Ok(output),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::FileTooLarge => {
            Err(Error::new(format!("`{program}` printed more than {} MiB", PRINTED >> 20))
                .why("what it talks to never comes to an end")
                .hint("check `repo.url`: is this the repo that you mean?"))
        }
        Ok(Err(error)) => Err(failed(&error)),
        Err(_) => Err(Error::new(format!("`{program}` did not end within {} s", limit.as_secs()))
            .hint("check the network, then run the command again")),
    }
}

/// Reads a child's output to its end; more than it may print is an error.
async fn bounded(from: Option<impl AsyncRead + Unpin>) -> std::io::Result<Vec<u8>> {
    let mut printed = Vec::new();
    if let Some(from) = from {
        from.take(PRINTED + 1).read_to_end(&mut printed).await?;
    }
    if printed.len() as u64 > PRINTED {
        return Err(std::io::ErrorKind::FileTooLarge.into());
    }
    Ok(printed)
}
