//! What one instance lets in and how its commands run.

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use russh::keys::PublicKey;
use russh::keys::ssh_key::public::KeyData;
use tokio::process::Command;

use super::connection::{Asked, Host};
use super::descendants::{INSTANCE, WORLD};
use super::{Access, Inner, SshRequest};

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
}

impl Instance {
    pub fn new(
        servers: Arc<Inner>,
        address: Ipv4Addr,
        access: Access,
        home: PathBuf,
        connection: u64,
    ) -> Self {
        // A line that is no key lets nobody in, as in sshd.
        let keys = access.keys.iter().filter_map(|line| PublicKey::from_openssh(line).ok());
        let keys = keys.map(|key| key.key_data().clone()).collect();
        Self { servers, address, access, keys, home, connection }
    }

    /// Returns the note of this connection.
    pub fn connected(&self) -> SshRequest {
        self.request("", "ssh connect".to_owned())
    }

    fn still_there(&self) -> bool {
        (self.servers.lookup)(self.address)
            .is_some_and(|now| now.instance == self.access.instance && now.disk == self.access.disk)
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
        user == self.access.user && self.keys.contains(key)
    }

    fn command(&self, asked: &Asked<'_>) -> Result<Command, String> {
        if !self.still_there() {
            return Err("the instance is shutting down\n".to_owned());
        }
        let mut command = Command::new("/bin/sh");
        command
            .arg("-c")
            .arg(asked.line)
            .env_clear()
            .env("PATH", self.search_path())
            .env("HOME", &self.home)
            .env("USER", &self.access.user)
            .env("LOGNAME", &self.access.user)
            .env("SHELL", "/bin/sh")
            .env("LANG", "C.UTF-8")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", self.home.join(".gitconfig"))
            .env(INSTANCE, &self.access.instance)
            .env(WORLD, &self.servers.surroundings.directory)
            .current_dir(&self.home);
        if let Some(socket) = &asked.agent {
            command.env("SSH_AUTH_SOCK", socket);
        }
        Ok(command)
    }

    fn request(&self, user: &str, what: String) -> SshRequest {
        SshRequest { instance: self.access.instance.clone(), user: user.to_owned(), what, stdin: Vec::new() }
    }

    fn forwards_below(&self) -> Option<&Path> {
        Some(&self.servers.surroundings.runtime)
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
