//! The seam to the sandbox's SSH half: what it is given, and what the HTTP half asks of it.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;

use super::clock::Clock;
use super::cloud::Access;
use super::journal::Journal;
use super::server::SshFaults;
use crate::error::Result;

/// What the SSH half needs to start.
pub struct SshNeeds {
    /// The sandbox's folder.
    pub dir: PathBuf,
    /// The program whose `sandbox gateway` is ssh's ProxyCommand.
    pub exe: PathBuf,
    /// Tells how to get into the running machine with a given address.
    pub lookup: Lookup,
    /// Where what it receives is noted.
    pub journal: Journal,
    /// The sandbox's time, for those notes.
    pub clock: Clock,
    /// The OpenSSH server that serves instances, by its absolute path; the sandbox's own when missing.
    pub sshd: Option<PathBuf>,
}

/// Finds the running machine that has an address.
pub type Lookup = Arc<dyn Fn(&str) -> Option<Access> + Send + Sync>;

/// Copies what the first volume holds to the second.
pub type CopyDisk = Box<dyn Fn(&str, &str) + Send + Sync>;

/// Puts a repository made from a source where a git URL says.
pub type Seed = Box<dyn Fn(&str, &Value) -> Result<()> + Send + Sync>;

/// The running SSH half.
pub struct SshSide {
    /// Where its parts are, for `Ready`.
    pub places: Places,
    /// Cuts an instance's connections and ends its processes.
    pub disconnect: Box<dyn Fn(&str) + Send + Sync>,
    /// Removes what a volume held.
    pub destroy_disk: Box<dyn Fn(&str) + Send + Sync>,
    /// Copies what one volume holds to another.
    pub copy_disk: CopyDisk,
    /// Returns how many SSH connections are open.
    pub connections: Box<dyn Fn() -> usize + Send + Sync>,
    /// Puts a repository where a git URL says; the value says what it is made from.
    pub seed: Seed,
    /// Makes connections to instances go wrong from now on, or go well again.
    pub faults: Box<dyn Fn(SshFaults) + Send + Sync>,
    /// Returns how it went with everything that was to be held back.
    pub holds: Box<dyn Fn() -> Vec<Value> + Send + Sync>,
    /// Forgets all repositories.
    pub reset: Box<dyn Fn() -> Result<()> + Send + Sync>,
}

/// Files and addresses of the SSH half.
#[derive(Clone, Default)]
pub struct Places {
    /// The login name on instances.
    pub user: String,
    /// The laptop side's ssh_config.
    pub ssh: PathBuf,
    /// The ProxyCommand that leads into the world.
    pub proxy: String,
    /// What the git host answers for, in words.
    pub git: String,
    /// The laptop's home.
    pub home: PathBuf,
    /// The laptop's ssh-agent socket.
    pub agent: PathBuf,
    /// The laptop's known_hosts.
    pub known_hosts: PathBuf,
    /// The gateway's address.
    pub gateway: String,
}
