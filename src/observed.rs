//! Everything that one look at the four worlds brought back, in one value.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::facts::{Cloud, Environment, Instance, Notebook, PublicKey, Repo, Server, Store};
use crate::record::{Record, Rented};
use crate::version::Told;

/// One look at the four worlds.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// The cloud.
    pub cloud: Cloud,
    /// The server, where there is one to look at.
    pub server: Server,
    /// The git remote and the local checkout.
    pub repo: Repo,
    /// The store; its id is `local` where the spec names none.
    pub store: Store,
    /// The session's record, or a new one where there is none.
    pub record: Record,
    /// The login key that the spec names.
    pub key: PublicKey,
    /// Git identity and such are not part of a look; who asks is: `user@host`.
    pub laptop: Laptop,
    /// What a closer look brought: it is taken only where versions are about to be brought.
    pub closer: Closer,
}

/// How versions came to be, and what they will be used in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Closer {
    /// What is told of the versions that are about to be brought, by name.
    pub told: BTreeMap<String, Told>,
    /// What programs on the server run with, where it was asked.
    pub environment: Option<Environment>,
}

/// What the laptop says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Laptop {
    /// Fingerprints of the keys that the agent holds; none when no agent answers.
    pub agent: Option<Vec<String>>,
    /// Whether the private half of the spec's key lies beside it.
    pub private_key: bool,
    /// Whether the spec lies in the repo that it names: then the commit stays out of the lock.
    pub spec_in_repo: bool,
}

impl Observed {
    /// The cloud's clock when the look was taken: the `now` of every decision.
    pub fn now(&self) -> Timestamp {
        self.cloud.now
    }

    /// The recorded machine as the cloud shows it.
    pub fn instance(&self) -> Option<&Instance> {
        match &self.record.machine {
            Some(Rented { id, .. }) => self
                .cloud
                .instances
                .iter()
                .find(|instance| &instance.id == id)
                .or_else(|| self.cloud.recorded.as_ref().and_then(Option::as_ref)),
            None => None,
        }
    }

    /// The notebook server on the machine, where there is one, running or not.
    pub fn notebook(&self) -> Option<&Notebook> {
        match &self.server {
            Server::Seen(probe) => probe.notebook.as_ref(),
            Server::None | Server::Unreachable(_) => None,
        }
    }

    /// Tags of what belongs to this session, for volumes.
    pub fn owns_tags(&self, tags: &BTreeMap<String, String>) -> bool {
        tags.get(crate::record::TAG_SESSION) == Some(&self.record.session)
            && tags.get(crate::record::TAG_STORE) == Some(&self.record.store)
    }
}
