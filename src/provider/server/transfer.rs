//! Moving an artifact to or from the store: what this side adds while the helper does it.
//!
//! The helper runs on the server, or on the laptop for what lies there. It gets a link or a token that ends
//! by itself, and another one when it needs it. Nothing lasting ever reaches it.

use std::collections::BTreeMap;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use futures_util::future::BoxFuture;
use secrecy::SecretString;

use serde::de::DeserializeOwned;
use tokio::process::Command;

use super::exchange::{Exchange, Helper, Started, python_arguments};
use super::wire::{Ask, PackRequest, Packed, PullRequest, Pulled, Sent, SurroundingsRequest, UploadSession};
use super::{Connection, Result, SshError, TRANSFER};
use crate::credentials::ShortLived;
use crate::digest::ContentHash;
use crate::error::Error;
use crate::facts::{ArtifactFile, Surroundings};
use crate::provider::http::Clock;

/// What a transfer says of itself while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// How far it is.
    Moved {
        /// Bytes that are where they belong.
        bytes: u64,
        /// How many there are in all.
        total: Option<u64>,
    },
    /// It goes on where an earlier run ended.
    Resumed {
        /// Bytes that needn't be moved again.
        bytes: u64,
    },
    /// It waits before it tries again.
    Waiting {
        /// In the server's words.
        why: String,
        /// For how long, by the clock of pauses.
        seconds: u64,
    },
    /// A program that runs there has said something.
    Said {
        /// One line of it.
        line: String,
    },
}

/// What the helper on the laptop may know of the environment: where programs lie, and the way out.
const OWN_VARIABLES: [&str; 6] =
    ["PATH", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY", "SSL_CERT_FILE"];

/// Makes another link or token.
pub type Mint<'a> = &'a (dyn Fn() -> BoxFuture<'a, Result<ShortLived, Error>> + Send + Sync);

/// Where a conversation gets new secrets from.
pub(super) struct Secrets<'a> {
    pub first_life: Duration,
    pub mint: Mint<'a>,
}

/// What this side does for a transfer while it runs.
pub struct Support<'a> {
    /// The link or token to begin with.
    pub secret: ShortLived,
    /// Makes those that follow.
    pub mint: Mint<'a>,
    /// Hears how it goes.
    pub told: &'a mut (dyn FnMut(Told) + Send),
    /// The clock of pauses, which a rehearsal lets run faster.
    pub clock: Clock,
}

/// A file to be sent, and the session that it is sent in.
#[derive(Clone, Copy, Debug)]
pub struct LargePush<'a> {
    /// The file, below the home directory.
    pub path: &'a str,
    /// What was made ready of it.
    pub packed: &'a Packed,
    /// The store's upload session.
    pub session: &'a UploadSession,
    /// The store's address for content.
    pub content_url: &'a str,
}

/// Where files lie that are brought from the store or sent to it, and the helper that moves them there.
pub struct Host {
    place: Place,
    /// The helper that has answered last; most of a small transfer's time would be its start.
    helper: Option<Helper>,
}

enum Place {
    /// The rented machine.
    Server(Box<Connection>),
    /// This laptop, and the folder there that stands for the home directory.
    Laptop(PathBuf),
}

impl Host {
    /// Returns the rented machine that a connection leads to.
    pub fn server(connection: Connection) -> Self {
        Self { place: Place::Server(Box::new(connection)), helper: None }
    }

    /// Returns this laptop, with `folder` in place of the home directory.
    ///
    /// What transfers keep there between runs lies in `.dacapo`, where git doesn't see it.
    pub fn laptop(folder: PathBuf) -> Result<Self> {
        let own = folder.join(".dacapo");
        let prepare = || {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&own)?;
            let ignored = own.join(".gitignore");
            if ignored.exists() { Ok(()) } else { std::fs::write(ignored, "*\n") }
        };
        prepare().map_err(|error| {
            SshError::local(Error::new(format!("cannot use `{}`", own.display())).because(&error))
        })?;
        Ok(Self { place: Place::Laptop(folder), helper: None })
    }

    /// Brings stored bytes to their place, verified before they get there.
    ///
    /// Done already is done: bytes that hash to `payload` are left as they are. After trouble with the
    /// network the next call goes on where this one ended.
    pub async fn pull(&mut self, ask: &PullRequest, support: Support<'_>) -> Result<Pulled> {
        let what = format!("cannot bring `{}` to {}", ask.path, self.name());
        let Support { secret, mint, told, clock } = support;
        let secrets = Secrets { first_life: secret.life, mint };
        let ask = Ask::Pull { ask, secret: &secret.value, speed: clock.speed() };
        self.transfer(&what, &ask, told, Some(&secrets)).await
    }

    /// Makes a file ready for the store: its hashes are known, and its bytes stay or a change is noticed.
    pub async fn pack(&mut self, ask: &PackRequest, told: &mut (dyn FnMut(Told) + Send)) -> Result<Packed> {
        let what = format!("cannot make `{}` ready for the store", ask.path);
        self.transfer(&what, &Ask::Pack(ask), told, None).await
    }

    /// Sends a packed file over an upload link and returns the store's own hash of what it took.
    ///
    /// [`Kind::Unclear`](super::Kind::Unclear) and [`Trouble::Lost`](super::Trouble::Lost) mean that the
    /// store may have it: ask the store. A link is good for one call.
    pub async fn push(
        &mut self,
        path: &str,
        packed: &Packed,
        link: &SecretString,
        told: &mut (dyn FnMut(Told) + Send),
        clock: Clock,
    ) -> Result<ContentHash> {
        let ask = Ask::Push {
            path,
            temp: packed.temp.as_deref(),
            stored: packed.stored,
            stored_size: packed.stored_size,
            secret: link,
            speed: clock.speed(),
        };
        self.transfer(&format!("cannot send `{path}` to the store"), &ask, told, None).await
    }

    /// Sends a large file's missing blocks, so that the session holds all of it; the file itself is made
    /// by whoever finishes the session.
    ///
    /// [`Kind::SessionGone`](super::Kind::SessionGone) means that another session is needed.
    pub async fn push_large(&mut self, push: LargePush<'_>, support: Support<'_>) -> Result<Sent> {
        let LargePush { path, packed, session, content_url } = push;
        let Support { secret, mint, told, clock } = support;
        let secrets = Secrets { first_life: secret.life, mint };
        let ask = Ask::PushSession {
            path,
            temp: packed.temp.as_deref(),
            stored: packed.stored,
            stored_size: packed.stored_size,
            session: &session.id,
            started: session.started,
            content_url,
            secret: &secret.value,
            speed: clock.speed(),
        };
        self.transfer(&format!("cannot send `{path}` to the store"), &ask, told, Some(&secrets)).await
    }

    /// Removes what was kept for storing a file; what is gone already is gone.
    pub async fn discard_pack(&mut self, packed: &Packed) -> Result<()> {
        let ask = Ask::DiscardPack { temp: packed.temp.as_deref(), stored: packed.stored };
        let what = format!("cannot remove the packed file from {}", self.name());
        self.transfer(&what, &ask, &mut |_| {}, None).await
    }

    /// Says what lies at some paths below the home directory, by name.
    pub async fn files(
        &mut self,
        paths: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, ArtifactFile>> {
        let what = format!("cannot look at the artifacts on {}", self.name());
        self.transfer(&what, &Ask::Hash { paths }, &mut |_| {}, None).await
    }

    /// Says at which commit the checkout is and what programs in it run with, now.
    pub async fn surroundings(&mut self, ask: &SurroundingsRequest) -> Result<Surroundings> {
        let what = format!("cannot look at the environment on {}", self.name());
        self.transfer(&what, &Ask::Surroundings(ask), &mut |_| {}, None).await
    }

    /// Ends the connection, where there is one.
    pub async fn close(self) {
        let Self { place, helper } = self;
        drop(helper);
        match place {
            Place::Server(connection) => connection.close().await,
            Place::Laptop(_) => {}
        }
    }

    fn name(&self) -> &'static str {
        match self.place {
            Place::Server(_) => "the server",
            Place::Laptop(_) => "this laptop",
        }
    }

    async fn start(&self, what: &str) -> Result<Started> {
        let folder = match &self.place {
            Place::Server(connection) => return connection.start(what).await,
            Place::Laptop(folder) => folder,
        };
        let mut command = Command::new("python3");
        command
            .args(python_arguments())
            .current_dir(folder)
            .process_group(0)
            .kill_on_drop(true)
            .env_clear()
            .env("HOME", folder)
            .envs(OWN_VARIABLES.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = command.spawn().map_err(|error| {
            SshError::local(
                Error::new(what)
                    .because(&error)
                    .hint("files on this laptop are moved by `python3`, 3.8 or newer: install it"),
            )
        })?;
        Ok(Started::own(child))
    }

    async fn transfer<T: DeserializeOwned>(
        &mut self,
        what: &str,
        ask: &Ask<'_>,
        told: &mut (dyn FnMut(Told) + Send),
        secrets: Option<&Secrets<'_>>,
    ) -> Result<T> {
        let ready = match &mut self.helper {
            Some(helper) => helper.is_ready().await,
            None => false,
        };
        if !ready {
            self.helper = Some(Helper::new(self.start(what).await?));
        }
        Exchange { what, limit: TRANSFER }.ask(&mut self.helper, ask, told, secrets).await
    }
}
