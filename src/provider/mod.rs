//! The real worlds, one file each, and the connections to them.

pub mod agent;
pub mod cloud;
pub mod http;
pub mod memory;
pub mod repo;
pub mod server;
pub mod store;

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::credentials::{CloudCredentials, StoreCredentials};
use crate::error::{Error, ExitCode, Result};
use crate::facts::{Instance, PublicKey};
use crate::record::Rented;
use crate::spec::Spec;

use cloud::CloudClient;
use http::Clock;
use memory::Memory;
use repo::{GitEnvironment, Remote};
use server::{Connection, HostEntry, Keys, Limits, Login, SshError, Trouble};
use store::StoreClient;

/// Makes a folder for this user alone, whatever the umask; one that is there already stays as it is.
pub(crate) fn private_folder(path: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Reads a public key's file, which the user knows as `shown`.
pub fn read_public_key(path: &Path, shown: &str) -> Result<PublicKey> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Error::of(ExitCode::Usage, format!("cannot read the public key `{shown}`"))
            .because(&error)
            .hint("`instance.ssh_key` names a public key file; `ssh-keygen -t ed25519` makes a pair")
    })?;
    if text.contains("PRIVATE KEY") {
        return Err(Error::of(ExitCode::Usage, format!("`{shown}` is a private key"))
            .why("the file's name ends in `.pub`, but a private key is in it")
            .hint(format!("name the public one, `{shown}.pub`; the private one stays where it is")));
    }
    PublicKey::parse(&text).ok_or_else(|| {
        Error::of(ExitCode::Usage, format!("`{shown}` is not an OpenSSH public key"))
            .why("no key of a known type is in the file")
            .hint("its one line starts with a type such as `ssh-ed25519`")
    })
}

/// Where the worlds are and who asks: everything that differs between the real services and the sandbox.
pub struct Settings {
    /// The cloud's address and credentials.
    pub cloud: CloudCredentials,
    /// The store's; none where the spec names no store.
    pub store: Option<StoreCredentials>,
    /// The one clock that everything sleeps by.
    pub clock: Clock,
    /// How git runs on the laptop.
    pub git: GitEnvironment,
    /// How ssh reaches servers.
    pub ssh: Ssh,
    /// Who asks.
    pub laptop: Laptop,
    /// Where this laptop keeps locks and, without a store, records.
    pub state: PathBuf,
}

/// How ssh reaches servers.
pub struct Ssh {
    /// The user to log in as.
    pub user: String,
    /// The agent's socket.
    pub agent: Option<PathBuf>,
    /// A ProxyCommand for the generated configuration.
    pub proxy: Option<String>,
    /// A known_hosts file that answers for git hosts instead of the user's own.
    pub known_hosts: Option<PathBuf>,
    /// The public key's file where it isn't below `home`: beside the spec, or the sandbox's own.
    pub key: Option<PathBuf>,
    /// The home directory that `~` in the spec stands for.
    pub home: PathBuf,
    /// How long servers may be silent.
    pub limits: Limits,
}

/// Who asks.
#[derive(Clone, Debug)]
pub struct Laptop {
    /// For people: `user@host`.
    pub owner: String,
    /// For telling one laptop from another.
    pub id: String,
}

/// The connections to the four worlds, for one spec.
pub struct Providers {
    /// The cloud.
    pub cloud: CloudClient,
    /// The store or, without one, the local file that stands in for the record.
    pub memory: Memory,
    /// The git remote.
    pub remote: Remote,
    /// Where all this is.
    pub settings: Settings,
}

impl Providers {
    /// Makes the clients; nothing is sent yet.
    pub fn open(settings: Settings, spec: &Spec) -> Result<Self> {
        let clock = settings.clock;
        let (address, credentials) = (settings.cloud.base_url.clone(), settings.cloud.clone());
        let cloud = CloudClient::new(&address, credentials, clock)?;
        let memory = match (&spec.store, &settings.store) {
            (Some(path), Some(credentials)) => {
                let (api, content) = (&credentials.api_url, &credentials.content_url);
                let client = StoreClient::new(api, content, credentials.clone(), path.as_str(), clock)?;
                Memory::Store(Box::new(client))
            }
            _ => Memory::Local(settings.state.join("records")),
        };
        let remote = Remote::new(&spec.repo.url, settings.git.clone())?;
        Ok(Self { cloud, memory, remote, settings })
    }

    /// The one clock.
    pub fn clock(&self) -> &Clock {
        &self.settings.clock
    }

    /// Returns the store's client, or says that the spec names no store.
    pub fn store(&self) -> Result<&StoreClient> {
        match &self.memory {
            Memory::Store(client) => Ok(client),
            Memory::Local(_) => {
                Err(Error::of(ExitCode::Usage, "artifacts need a store").hint("add `store` to session.toml"))
            }
        }
    }

    /// Reads the public key that the spec names.
    ///
    /// A missing file and a private key in its place are errors of usage.
    pub fn public_key(&self, spec: &Spec) -> Result<(PublicKey, PathBuf)> {
        let path = self.key_path(spec);
        let key = read_public_key(&path, &spec.instance.ssh_key)?;
        Ok((key, path))
    }

    /// Logs in to a machine of ours that runs.
    pub async fn connect(
        &self,
        spec: &Spec,
        rented: &Rented,
        instance: &Instance,
        forward_agent: bool,
    ) -> server::Result<Connection> {
        let login = self.login(spec, rented, instance)?;
        Connection::open(login, forward_agent).await
    }

    /// Returns what the user's own ssh needs to reach a machine of ours that runs.
    pub fn host_entry(
        &self,
        spec: &Spec,
        store: &str,
        rented: &Rented,
        instance: &Instance,
    ) -> Result<HostEntry> {
        let login = self.login(spec, rented, instance)?;
        let public = self.key_path(spec);
        let identity = login.identity.clone().or_else(|| public.is_file().then_some(public));
        // A rehearsal has an agent of its own; the user's own is known to their ssh already.
        let agent = login.agent.clone().filter(|_| login.proxy.is_some());
        HostEntry::new(&spec.name, store, &login, &Keys { identity, agent })
    }

    fn login(&self, spec: &Spec, rented: &Rented, instance: &Instance) -> server::Result<Login> {
        let ip = instance.ip.clone().ok_or_else(|| SshError {
            trouble: Trouble::Unreachable,
            error: Error::new(format!("machine `{}` has no address yet", instance.id))
                .hint("run it again in a minute"),
        })?;
        let private = self.key_path(spec).with_extension("");
        Ok(Login {
            instance: instance.id.clone(),
            ip,
            port: 22,
            user: self.settings.ssh.user.clone(),
            host_key: rented.known_keys().last().cloned(),
            identity: private.is_file().then_some(private),
            agent: self.settings.ssh.agent.clone(),
            proxy: self.settings.ssh.proxy.clone(),
            directory: self.settings.state.join("ssh"),
            limits: self.settings.ssh.limits,
        })
    }

    /// Returns where the spec's public key lies; a leading `~/` stands for the home directory.
    pub fn key_path(&self, spec: &Spec) -> PathBuf {
        let named = &spec.instance.ssh_key;
        let below_home = |rest| self.settings.ssh.home.join(rest);
        let expanded = named.strip_prefix("~/").map_or_else(|| PathBuf::from(named), below_home);
        self.settings.ssh.key.clone().unwrap_or(expanded)
    }

    /// Sleeps on the one clock.
    pub async fn sleep(&self, duration: Duration) {
        self.clock().sleep(duration).await;
    }
}
