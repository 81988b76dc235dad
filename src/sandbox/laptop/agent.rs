//! The laptop's private ssh-agent.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};

use crate::error::{Error, Result};

/// An ssh-agent that holds the laptop's key and ends with us, even when we are killed.
///
/// ssh-agent ends when the command it was started with does. That command waits for the end of a pipe
/// whose other end is ours, and the system closes ours however we end.
pub struct Agent {
    socket: PathBuf,
    // Both are kept for what happens when they are dropped.
    _pipe: ChildStdin,
    _child: Child,
}

impl Agent {
    /// Starts an agent with a socket below `runtime` and gives it the key.
    pub async fn start(runtime: &Path, key_file: &Path) -> Result<Self> {
        let mut name = [0; 4];
        getrandom::fill(&mut name).map_err(|error| Error::new("cannot name a socket").because(&error))?;
        let socket = runtime.join(format!("agent-{}", hex::encode(name)));
        let (child, pipe) = start(&socket).await?;
        add(&socket, key_file).await?;
        Ok(Self { socket, _pipe: pipe, _child: child })
    }

    /// Returns the path of its socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }
}

async fn start(socket: &Path) -> Result<(Child, ChildStdin)> {
    let mut child = Command::new("ssh-agent")
        .arg("-a")
        .arg(socket)
        // The command starts once the socket is there, so its first line says that it can be used.
        .args(["/bin/sh", "-c", "echo ready; exec cat >/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed("ssh-agent").because(&error))?;
    let pipe = child.stdin.take().expect("standard input is a pipe");
    let output = child.stdout.take().expect("standard output is a pipe");
    let line = BufReader::new(output).lines().next_line().await;
    match line.map_err(|error| failed("ssh-agent").because(&error))? {
        Some(_) => Ok((child, pipe)),
        None => Err(failed("ssh-agent").why("it ended at once")),
    }
}

async fn add(socket: &Path, key_file: &Path) -> Result<()> {
    let output = Command::new("ssh-add")
        .arg("-q")
        .arg(key_file)
        .env("SSH_AUTH_SOCK", socket)
        .stdin(Stdio::null())
        .output()
        .await
        .map_err(|error| failed("ssh-add").because(&error))?;
    if !output.status.success() {
        return Err(failed("ssh-add").why(String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(())
}

fn failed(program: &str) -> Error {
    Error::new(format!("cannot give the sandbox's laptop its agent: `{program}` failed"))
        .hint("the sandbox needs the OpenSSH client: `ssh`, `ssh-agent`, `ssh-add`")
}
