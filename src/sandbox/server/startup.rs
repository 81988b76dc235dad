//! Startup scripts, run once on a new disk: by this machine's shell, with `DESTDIR` as their root.
//!
//! Nothing here could hold a script that writes elsewhere, so only one that says that it knows `DESTDIR` is run.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Error, Result};

/// Runs a script that keeps below `DESTDIR`; leaves any other alone, as if its image ran none.
///
/// That it fails is no news to the cloud: it says neither how a script ended nor what it printed.
pub fn run(script: &str, root: &Path, home: &Path) -> Result<()> {
    if !script.contains("${DESTDIR-}") {
        return Ok(());
    }
    let failed = |error: std::io::Error| Error::new("cannot run a startup script").because(&error);
    let mut shell = Command::new("/bin/sh")
        .arg("-s")
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", home)
        .env("DESTDIR", root)
        .current_dir(home)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    // Not as an argument: a script holds secrets, and arguments are everybody's to read.
    if let Some(mut stdin) = shell.stdin.take() {
        // A script that has ended early reads no more.
        stdin.write_all(script.as_bytes()).ok();
    }
    shell.wait().map(drop).map_err(failed)
}

/// Returns where a script puts the host key, on a disk.
pub fn host_key_file(root: &Path) -> PathBuf {
    root.join("etc/ssh/ssh_host_ed25519_key")
}
