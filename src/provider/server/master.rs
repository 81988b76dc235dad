//! Starts the `ssh` that holds a connection in the background, and leaves none behind that didn't get there.
//!
//! The multiplexing crate could start it too, but would leave it waiting for ever when a server falls
//! silent while logging in: ssh's own time-outs begin and end before and after that.

use std::fs;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::process::Stdio;

use openssh::Session;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;

use super::login::Login;

/// How long ssh stays behind for us once we were killed, in seconds.
const PERSIST: u32 = 60;

/// How much of ssh's log is read.
const LOG: u64 = 64 * 1024;

/// Why there is no connection.
pub(super) enum Failed {
    /// There is no `ssh` program.
    NoProgram,
    /// It cannot be started.
    NotStarted(io::Error),
    /// It ended and said this.
    Said(String),
    /// It took too long.
    TooLong,
}

/// Logs in with a generated configuration; `control` holds the connection's socket and goes with it.
pub(super) async fn launch(login: &Login, config: &Path, control: TempDir) -> Result<Session, Failed> {
    // The names under which the crate looks for both.
    let (socket, log) = (control.path().join("master"), control.path().join("log"));
    let mut command = command(login, config);
    command.arg("-S").arg(&socket).arg("-E").arg(&log).args(["-M", "-f", "-N", &login.ip]);
    let status = match timeout(login.limits.login, command.status()).await {
        Err(_) => return Err(Failed::TooLong),
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => return Err(Failed::NoProgram),
        Ok(Err(error)) => return Err(Failed::NotStarted(error)),
        Ok(Ok(status)) => status,
    };
    if status.success() {
        return Ok(Session::new_native_mux(control));
    }
    Err(Failed::Said(said(&log).unwrap_or_default()))
}

/// Reads the last words in ssh's log: a server that talks without end is quoted in there.
fn said(log: &Path) -> io::Result<String> {
    let mut log = fs::File::open(log)?;
    let length = log.metadata()?.len();
    log.seek(SeekFrom::Start(length.saturating_sub(LOG)))?;
    let mut words = Vec::new();
    log.take(LOG).read_to_end(&mut words)?;
    Ok(String::from_utf8_lossy(&words).into_owned())
}

fn command(login: &Login, config: &Path) -> Command {
    let mut command = Command::new("ssh");
    let checking = if login.host_key.is_some() { "yes" } else { "accept-new" };
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        // A server's banner goes here; ssh's own words, which are read, go to its log.
        .stderr(Stdio::null())
        // Ctrl-C is for us to hear first.
        .process_group(0)
        .kill_on_drop(true)
        .arg("-F")
        .arg(config)
        .args(["-o", "BatchMode=yes"])
        .args(["-o", &format!("ControlPersist={PERSIST}s")])
        .args(["-o", &format!("StrictHostKeyChecking={checking}")])
        .args(["-o", &format!("ConnectTimeout={}", login.limits.connect.as_secs())])
        .args(["-o", &format!("ServerAliveInterval={}", login.limits.alive.as_secs())])
        .args(["-p", &login.port.to_string(), "-l", &login.user]);
    if let Some(identity) = &login.identity {
        command.args(["-o", "IdentitiesOnly=yes", "-i"]).arg(identity);
    }
    if let Some(agent) = &login.agent {
        command.env("SSH_AUTH_SOCK", agent);
    }
    command
}
