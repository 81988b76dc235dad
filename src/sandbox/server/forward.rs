//! Agent forwarding: a socket on the server's side whose other end is the client's agent.

use std::path::{Path, PathBuf};

use russh::server::Handle;
use tempfile::TempDir;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::AbortHandle;

use crate::error::{Error, Result};

/// The forwarded agent of one connection; the socket goes with it.
pub struct Forwarded {
    directory: TempDir,
    accepting: AbortHandle,
}

impl Forwarded {
    /// Opens a socket in a fresh directory (mode 0700) below `runtime` and passes every connection on.
    ///
    /// `runtime` must be short: a socket's path may have about 100 bytes.
    pub fn open(runtime: &Path, handle: Handle) -> Result<Self> {
        let wording = |error| Error::new("cannot forward the agent").because(&error as &std::io::Error);
        let directory = tempfile::Builder::new().prefix("forward-").tempdir_in(runtime).map_err(wording)?;
        let listener = UnixListener::bind(socket_in(&directory)).map_err(wording)?;
        let accepting = tokio::spawn(accept(listener, handle)).abort_handle();
        Ok(Self { directory, accepting })
    }

    /// Returns what `SSH_AUTH_SOCK` says.
    pub fn socket(&self) -> PathBuf {
        socket_in(&self.directory)
    }
}

impl Drop for Forwarded {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn socket_in(directory: &TempDir) -> PathBuf {
    directory.path().join("agent")
}

async fn accept(listener: UnixListener, handle: Handle) {
    while let Ok((local, _)) = listener.accept().await {
        tokio::spawn(pass_on(local, handle.clone()));
    }
}

async fn pass_on(mut local: UnixStream, handle: Handle) {
    let Ok(channel) = handle.channel_open_agent().await else { return };
    // Either side closing ends it; there is nobody to tell.
    tokio::io::copy_bidirectional(&mut local, &mut channel.into_stream()).await.ok();
}
