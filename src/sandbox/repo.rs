//! The rehearsed git host: one SSH server that answers for every host name a spec uses, opened by the
//! laptop's key alone, as github.com would be.

mod address;
mod lesson3;
mod seed;

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use russh::keys::ssh_key::public::KeyData;
use russh::keys::{PrivateKey, PublicKey};
use tokio::net::TcpStream;
use tokio::process::Command;

use super::server::connection::{self, Asked, Host};
use super::server::{Journal, SshRequest, key};
use crate::error::{Error, Result};
use address::Address;
pub use lesson3::MODEL;
pub use seed::Source;

/// What the git host needs to know of the sandbox around it.
#[derive(Clone)]
pub struct Surroundings {
    /// The sandbox's directory; repositories lie in `git/HOST/PATH.git`.
    pub directory: PathBuf,
    /// The sandbox's own `PATH`, where git is.
    pub search_path: OsString,
    /// The only key that may log in, as a line of an `authorized_keys` file.
    pub laptop_key: String,
    /// The laptop's known hosts, to which seeded hosts are added.
    pub known_hosts: PathBuf,
    /// Where received requests go.
    pub journal: Journal,
}

/// The git host; clones are the same host.
#[derive(Clone)]
pub struct GitHost {
    inner: Arc<Inner>,
}

struct Inner {
    surroundings: Surroundings,
    laptop_key: KeyData,
    identity: PrivateKey,
}

impl GitHost {
    /// Returns the git host kept in the sandbox's directory, with the host key made the first time.
    pub fn new(surroundings: Surroundings) -> Result<Self> {
        let laptop_key = PublicKey::from_openssh(&surroundings.laptop_key)
            .map_err(|error| Error::new("cannot read the laptop's public key").because(&error))?
            .key_data()
            .clone();
        let identity = key::load_or_make(&surroundings.directory.join("git/host_key"), "sandbox")?;
        Ok(Self { inner: Arc::new(Inner { surroundings, laptop_key, identity }) })
    }

    /// Returns whether a repository was seeded under this host name.
    pub fn knows(&self, host: &str) -> bool {
        address::host(host).is_some_and(|host| self.inner.directory_of(&host).is_dir())
    }

    /// Serves one connection that asked for `host` until it ends.
    pub async fn serve(&self, stream: TcpStream, host: &str) -> Result<()> {
        let host = address::host(host).ok_or_else(|| Error::new(format!("`{host}` is no host name")))?;
        let journal = self.inner.surroundings.journal.clone();
        let named = Named { git: self.inner.clone(), host };
        journal(named.request("", "git connect".to_owned()));
        connection::serve(stream, self.inner.identity.clone(), Arc::new(named), journal).await;
        Ok(())
    }

    /// Makes the repository that `url` names, unless it exists, and lets the laptop know its host.
    ///
    /// `branch` is the branch a clone checks out, and the only one of [`Source::Lesson3`]. Addresses are
    /// `git@host:path` and `ssh://user@host[:port]/path`; others are errors, since only an SSH address
    /// proves that the laptop's key is needed.
    pub async fn seed(&self, url: &str, branch: &str, source: Source<'_>) -> Result<()> {
        let address = Address::parse(url)?;
        let repository = self.inner.repository(&address.host, &address.path);
        if !repository.exists() {
            seed::make(&self.inner.git(), &repository, branch, source).await?;
        }
        self.inner.introduce(&address)
    }

    /// Returns the bare repository that `url` names, whether it exists or not: for looking inside.
    pub fn repository(&self, url: &str) -> Result<PathBuf> {
        let address = Address::parse(url)?;
        Ok(self.inner.repository(&address.host, &address.path))
    }
}

impl Inner {
    fn directory_of(&self, host: &str) -> PathBuf {
        self.surroundings.directory.join("git").join(host)
    }

    fn repository(&self, host: &str, path: &str) -> PathBuf {
        self.directory_of(host).join(format!("{path}.git"))
    }

    /// Returns a git that obeys no configuration but a repository's own and never leaves this machine.
    fn git(&self) -> seed::Git {
        seed::Git {
            search_path: self.surroundings.search_path.clone(),
            home: self.surroundings.directory.join("git"),
        }
    }

    /// Adds the host key to the laptop's known hosts, once per name.
    fn introduce(&self, address: &Address) -> Result<()> {
        let file = &self.surroundings.known_hosts;
        let wording =
            |error: std::io::Error| Error::new(format!("cannot write `{}`", file.display())).because(&error);
        let key = PublicKey::new(self.identity.public_key().key_data().clone(), "");
        let line = format!("{} {}", address.known_as(), key::public_line(&key)?.trim_end());
        let known = std::fs::read_to_string(file).unwrap_or_default();
        if known.lines().any(|other| other == line) {
            return Ok(());
        }
        let mut known = OpenOptions::new().append(true).create(true).open(file).map_err(wording)?;
        known.write_all(format!("{line}\n").as_bytes()).map_err(wording)
    }
}

/// The git host under the name one connection called it by.
struct Named {
    git: Arc<Inner>,
    host: String,
}

impl Host for Named {
    fn admits(&self, _user: &str, key: &KeyData) -> bool {
        *key == self.git.laptop_key
    }

    fn command(&self, asked: &Asked<'_>) -> Result<Command, String> {
        let line = asked.line.ok_or("The sandbox's git host serves git and no shell.\n")?;
        let line = line.to_str().ok_or("the command is not UTF-8\n")?;
        let (service, path) = address::command(line).ok_or_else(|| {
            format!("Invalid command: {line}\nThe sandbox's git host serves git and no shell.\n")
        })?;
        let repository = self.git.repository(&self.host, &path);
        if !repository.is_dir() {
            return Err("ERROR: Repository not found.\n".to_owned());
        }
        let mut command = self.git.git().command();
        if let Some(version) = asked.git_protocol {
            command.env("GIT_PROTOCOL", version);
        }
        command
            .args(["-c", "uploadpack.allowFilter=true", "-c", "uploadpack.allowAnySHA1InWant=true"])
            // No work of its own behind a push: it would outlive the sandbox.
            .args(["-c", "receive.autogc=false", "-c", "gc.auto=0"])
            .arg(service)
            .arg(repository);
        Ok(command)
    }

    fn request(&self, user: &str, what: String) -> SshRequest {
        SshRequest { instance: self.host.clone(), user: user.to_owned(), what, stdin: Vec::new() }
    }

    fn forwards_below(&self) -> Option<&Path> {
        None
    }
}
