//! What one instance lets in and how its commands run.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use russh::keys::PublicKey;
use russh::keys::ssh_key::public::KeyData;
use tokio::process::Command;

use super::connection::{Asked, Host, MAX_SESSIONS};
use super::descendants::{INSTANCE, WORLD, ports};
use super::{Access, Hold, Inner, SshFaults, SshRequest};

/// Where Ubuntu's login shells look for programs.
const USUAL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// One instance as one connection sees it.
pub struct Instance {
    servers: Arc<Inner>,
    address: Ipv4Addr,
    access: Access,
    keys: Vec<KeyData>,
    home: PathBuf,
    connection: u64,
    faults: SshFaults,
}

impl Instance {
    pub(super) fn new(
        servers: Arc<Inner>,
        address: Ipv4Addr,
        access: Access,
        home: PathBuf,
        connection: u64,
        faults: SshFaults,
    ) -> Self {
        // A line that is no key lets nobody in, as in sshd.
        let keys = access.keys.iter().filter_map(|line| PublicKey::from_openssh(line).ok());
        let keys = keys.map(|key| key.key_data().clone()).collect();
        Self { servers, address, access, keys, home, connection, faults }
    }

    /// Returns the note of this connection.
    pub fn connected(&self) -> SshRequest {
        self.request("", "ssh connect".to_owned())
    }

    /// Returns what opens the door, as lines of an `authorized_keys` file.
    pub(super) fn authorized_keys(&self) -> String {
        if self.faults.refuse_key { String::new() } else { self.access.keys.join("\n") }
    }

    /// Returns the home directory.
    pub(super) fn home(&self) -> &Path {
        &self.home
    }

    fn still_there(&self) -> bool {
        (self.servers.lookup)(self.address)
            .is_some_and(|now| now.instance == self.access.instance && now.disk == self.access.disk)
    }

    /// Returns all that a command finds in its environment, marks and agent aside.
    pub(super) fn environment(&self) -> [(&'static str, OsString); 8] {
        [
            ("PATH", self.search_path()),
            ("HOME", self.home.clone().into()),
            ("USER", self.access.user.clone().into()),
            ("LOGNAME", self.access.user.clone().into()),
            ("SHELL", self.shell().into()),
            ("LANG", "C.UTF-8".into()),
            ("GIT_CONFIG_NOSYSTEM", "1".into()),
            ("GIT_CONFIG_GLOBAL", self.home.join(".gitconfig").into()),
        ]
    }

    /// Returns the ports on which what runs here listens.
    pub(super) fn ports(&self) -> BTreeSet<u16> {
        ports(&self.access.instance, &self.servers.surroundings.directory)
    }

    /// Returns the variables by which everything that runs here is found again.
    pub(super) fn marks(&self) -> [(&'static str, OsString); 2] {
        [
            (INSTANCE, self.access.instance.clone().into()),
            (WORLD, self.servers.surroundings.directory.clone().into()),
        ]
    }

    /// Returns the login user's shell.
    pub(super) fn shell(&self) -> PathBuf {
        self.servers.surroundings.directory.join("bin/shell")
    }

    fn search_path(&self) -> OsString {
        let mut path = self.servers.surroundings.directory.join("bin").into_os_string();
        for more in [USUAL_PATH, &self.servers.surroundings.search_path] {
            path.push(":");
            path.push(more);
        }
        path
    }
}

impl Host for Instance {
    fn admits(&self, user: &str, key: &KeyData) -> bool {
        user == self.access.user && self.keys.contains(key) && !self.faults.refuse_key
    }

    fn command(&self, asked: &Asked<'_>) -> Result<Command, String> {
        if !self.still_there() {
            return Err("the instance is shutting down\n".to_owned());
        }
        let mut command = match asked.line {
            Some(line) => {
                let mut command = Command::new("/bin/sh");
                command.arg("-c").arg(line);
                command
            }
            None => {
                let mut command = Command::new(self.shell());
                command.arg("-l");
                command
            }
        };
        command.env_clear().envs(self.environment()).envs(self.marks()).current_dir(&self.home);
        if let Some(kind) = asked.terminal {
            command.env("TERM", kind);
        }
        if let Some(socket) = &asked.agent {
            command.env("SSH_AUTH_SOCK", socket);
        }
        Ok(command)
    }

    fn request(&self, user: &str, what: String) -> SshRequest {
        SshRequest { instance: self.access.instance.clone(), user: user.to_owned(), what, stdin: Vec::new() }
    }

    fn forwards_below(&self) -> Option<&Path> {
        (!self.faults.no_agent).then_some(self.servers.surroundings.runtime.as_path())
    }

    fn has_terminals(&self) -> bool {
        true
    }

    fn max_sessions(&self) -> u16 {
        self.faults.max_sessions.unwrap_or(MAX_SESSIONS)
    }

    /// Its loopback is this machine's: what other programs listen on here is none of it.
    fn leads_to(&self, port: u16) -> bool {
        self.still_there() && self.ports().contains(&port)
    }

    fn banner(&self) -> Option<String> {
        self.faults.banner.clone()
    }

    fn holds(&self) -> &[Hold] {
        &self.faults.hold
    }

    fn started(&self, process: u32) -> bool {
        let mut open = self.servers.lock();
        let connected = open.connections.iter().any(|connection| connection.number == self.connection);
        if connected {
            open.processes.push((process, self.access.instance.clone()));
        }
        connected
    }

    fn ended(&self, process: u32) {
        self.servers.lock().processes.retain(|(other, _)| *other != process);
    }
}
