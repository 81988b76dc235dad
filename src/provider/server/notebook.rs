//! The notebook server: starting it, ending it, its address, and the way to its port.

use std::path::{Path, PathBuf};
use std::time::Duration;

use openssh::{ForwardType, Socket};
use tempfile::TempDir;
use tokio::time::timeout;

use super::exchange::Exchange;
use super::login::control_directory;
use super::transfer::Told;
use super::wire::{Ask, GivenNotebook, NotebookAddress, NotebookRequest};
use super::{Connection, Result, SHORT, START, SshError};
use crate::error::Error;
use crate::facts::Notebook;

/// The most that starting it may take: it may have to be installed first.
const INSTALL: Duration = Duration::from_secs(45 * 60);
/// How long a living connection may take to say that it is one.
const CHECK: Duration = Duration::from_secs(5);

impl Connection {
    /// Makes sure that a notebook server runs as asked; returns what it says of itself.
    ///
    /// One that runs so is left as it is. It outlives this connection.
    pub async fn start_notebook(
        &mut self,
        ask: &NotebookRequest,
        told: &mut (dyn FnMut(Told) + Send),
    ) -> Result<Notebook> {
        let what = "cannot start the notebook server";
        let started = self.start(what).await?;
        Exchange { what, limit: INSTALL }.converse(started, &Ask::StartNotebook(ask), told, None).await
    }

    /// Ends the notebook server that was started by us; one in which kernels run stays, and that's an error.
    pub async fn stop_notebook(&mut self) -> Result<()> {
        self.ask("cannot end the notebook server", SHORT, &Ask::StopNotebook).await
    }

    /// Returns where the notebook server is and what opens it; none where none runs.
    pub async fn notebook_address(
        &mut self,
        given: Option<&GivenNotebook>,
    ) -> Result<Option<NotebookAddress>> {
        self.ask("cannot reach the notebook server", SHORT, &Ask::NotebookAddress { given }).await
    }

    /// Leads a socket of this laptop's to a port of the server's loopback, for as long as this connection lives.
    pub async fn forward(&self, port: u16) -> Result<Forward> {
        let what = format!("cannot reach port {port} of the server");
        // In a folder of this user's alone: whoever reaches the socket reaches the port.
        let folder =
            control_directory().map_err(|error| SshError::local(Error::new(&what).because(&error)))?;
        let socket = folder.path().join("forward");
        let listen = Socket::UnixSocket { path: socket.as_path().into() };
        let connect = Socket::TcpSocket { host: "127.0.0.1".into(), port };
        let asking = self.session().request_port_forward(ForwardType::Local, listen, connect);
        match timeout(START, asking).await {
            Ok(Ok(())) => Ok(Forward { _folder: folder, socket }),
            Ok(Err(error)) => Err(self.not_started(&what, &error)),
            Err(_) => Err(self.unreachable(&what, format!("no answer after {} s", START.as_secs()))),
        }
    }

    /// Tells whether the connection lives, as far as is known: a silent network shows only after a while.
    pub async fn lives(&self) -> bool {
        matches!(timeout(CHECK, self.session().check()).await, Ok(Ok(())))
    }
}

/// The laptop's end of the way to a port of the server's.
#[derive(Debug)]
pub struct Forward {
    _folder: TempDir,
    socket: PathBuf,
}

impl Forward {
    /// Returns the socket that leads there.
    pub fn socket(&self) -> &Path {
        &self.socket
    }
}
