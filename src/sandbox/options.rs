//! How a sandbox is to run, and where a running one is reached.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::link::Link;

/// How a sandbox is to run.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// How many sandbox seconds go by in a real one; 60 by default.
    pub clock_speed: f64,
    /// Where a new world's clock starts; now by default. A world that exists goes on from where it was.
    pub start: Option<Timestamp>,
    /// How long (in real time) the process stays when nobody asks anything; 10 minutes by default.
    pub idle: Duration,
    /// The program whose `sandbox gateway` leads ssh into the world; the running one by default.
    pub exe: Option<PathBuf>,
    /// The OpenSSH server that serves instances, by its absolute path; the sandbox's own by default.
    pub sshd: Option<PathBuf>,
    /// A file with what the HTTP services do wrong from the start; nothing by default.
    pub faults: Option<PathBuf>,
    /// How far away Dropbox's content host is and how wide the way there; it is right here by default.
    pub link: Option<Link>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            clock_speed: 60.0,
            start: None,
            idle: Duration::from_secs(600),
            exe: None,
            sshd: None,
            faults: None,
            link: None,
        }
    }
}

/// Where a running sandbox is reached, and with which secrets.
///
/// The file that holds it is private; `Debug` shows no secret.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Ready {
    /// The cloud's base URL, ending in `/v1`.
    pub cloud: String,
    /// The base URL of Dropbox's API host.
    pub dropbox_api: String,
    /// The base URL of Dropbox's content host.
    pub dropbox_content: String,
    /// The cloud's client id.
    pub client_id: String,
    /// The cloud's client secret.
    pub client_secret: String,
    /// A Dropbox access token that doesn't expire.
    pub dropbox_token: String,
    /// A Dropbox refresh token.
    pub dropbox_refresh_token: String,
    /// The Dropbox app's key.
    pub dropbox_app_key: String,
    /// The login name on instances.
    pub user: String,
    /// The generated ssh_config.
    pub ssh: PathBuf,
    /// The ProxyCommand that leads into the world, for configurations of one's own.
    pub proxy: String,
    /// What the git host answers for.
    pub git: String,
    /// The base URL of the admin routes.
    pub admin: String,
    /// Lets one in to the admin routes.
    pub admin_key: String,
    /// The laptop's home.
    pub home: PathBuf,
    /// The laptop's ssh-agent socket.
    pub agent: PathBuf,
    /// The laptop's known_hosts.
    pub known_hosts: PathBuf,
    /// The gateway's address.
    pub gateway: String,
    /// How many sandbox seconds go by in a real one.
    pub clock_speed: f64,
    /// The process that serves.
    pub pid: u32,
}

impl std::fmt::Debug for Ready {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ready").field("cloud", &self.cloud).field("pid", &self.pid).finish_non_exhaustive()
    }
}
