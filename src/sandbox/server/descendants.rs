//! Everything that runs on an instance, found by a mark in its environment, and its end.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::error::{Error, Result};

/// The variable that names the instance a process belongs to.
pub const INSTANCE: &str = "DACAPO_SANDBOX_INSTANCE";

/// The variable that names the sandbox's directory, so that worlds don't kill each other's processes.
pub const WORLD: &str = "DACAPO_SANDBOX_WORLD";

/// How often is looked again; a process can start another between being found and being killed.
const ROUNDS: usize = 2000;

/// Kills everything on an instance and returns when nothing is left.
///
/// `groups` are the process groups of commands still running: all that can be found where there is no
/// `/proc`.
pub async fn kill(instance: &str, world: &Path, groups: &[u32]) -> Result<()> {
    signal(groups.iter().map(|group| format!("-{group}")).collect()).await?;
    for _ in 0..ROUNDS {
        let found = find(instance, world);
        if found.is_empty() {
            return Ok(());
        }
        signal(found.iter().map(u32::to_string).collect()).await?;
        // A killed process stays in the list for the moment it takes to die.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Err(Error::new(format!("cannot end everything that runs on instance `{instance}`")))
}

/// Returns the processes marked as running on an instance.
fn find(instance: &str, world: &Path) -> Vec<u32> {
    let marks = [mark(INSTANCE, instance.as_bytes()), mark(WORLD, world.as_os_str().as_bytes())];
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let numbers = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter(|number| *number != std::process::id() && is_marked(*number, &marks)).collect()
}

/// Returns the ports of this machine's loopback on which an instance's processes listen; none without `/proc`.
pub fn ports(instance: &str, world: &Path) -> BTreeSet<u16> {
    let sockets: BTreeSet<String> =
        find(instance, world).into_iter().flat_map(descriptors).filter_map(|link| socket_of(&link)).collect();
    let tables =
        ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| fs::read_to_string(table).unwrap_or_default());
    tables.iter().flat_map(|table| table.lines().skip(1)).filter_map(|row| listening(row, &sockets)).collect()
}

fn descriptors(process: u32) -> Vec<String> {
    let Ok(links) = fs::read_dir(format!("/proc/{process}/fd")) else { return Vec::new() };
    let links = links.flatten().filter_map(|link| fs::read_link(link.path()).ok());
    links.map(|link| link.to_string_lossy().into_owned()).collect()
}

fn socket_of(link: &str) -> Option<String> {
    Some(link.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
}

/// Returns the port of a row of the kernel's table that is about one of the sockets, and listens.
fn listening(row: &str, sockets: &BTreeSet<String>) -> Option<u16> {
    const LISTEN: &str = "0A";
    let words: Vec<&str> = row.split_whitespace().collect();
    let (address, state, socket) = (words.get(1)?, words.get(3)?, words.get(9)?);
    let port = u16::from_str_radix(address.rsplit(':').next()?, 16).ok()?;
    (*state == LISTEN && sockets.contains(*socket)).then_some(port)
}

fn mark(name: &str, value: &[u8]) -> Vec<u8> {
    [name.as_bytes(), b"=", value].concat()
}

fn is_marked(process: u32, marks: &[Vec<u8>; 2]) -> bool {
    // Processes of other users can't be read, and can't be ours.
    let Ok(environment) = fs::read(format!("/proc/{process}/environ")) else { return false };
    marks.iter().all(|mark| environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_slice()))
}

async fn signal(targets: Vec<String>) -> Result<()> {
    if targets.is_empty() {
        return Ok(());
    }
    // The shell's own `kill`: sending a signal is no safe call in Rust. It fails for those already gone.
    Command::new("/bin/sh")
        .args(["-c", "kill -s KILL -- \"$@\"", "sh"])
        .args(targets)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .await
        .map(drop)
        .map_err(|error| Error::new("cannot end processes").because(&error))
}
