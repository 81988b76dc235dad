//! What there is to choose from: the cloud's machines and images, this laptop's keys, the repo that it stands in.

use std::path::{Path, PathBuf};

use super::super::Global;
use super::super::worlds::Beginning;
use crate::error::{Error, ExitCode, Result};
use crate::facts::{self, InstanceType, PublicKey};
use crate::provider::agent::agent_public_keys;
use crate::provider::repo::{Here, here};

/// Everything that answers can be chosen from.
#[derive(Clone)]
pub(super) struct Offer {
    /// What the cloud sells now; none where it isn't asked.
    pub(super) cloud: Option<facts::Cloud>,
    pub(super) keys: Vec<Key>,
    pub(super) here: Here,
    /// The folder that session.toml is to lie in.
    pub(super) directory: PathBuf,
    pub(super) home: PathBuf,
    /// Whether there are credentials for a store.
    pub(super) stores: bool,
    /// What to type before a command's name.
    pub(super) prefix: String,
}

/// A key that may log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    /// Its public half's file, as session.toml names it.
    pub(super) file: String,
    pub(super) held: bool,
    /// What is to be written to the file, where the agent alone has the key.
    pub(super) unwritten: Option<(PublicKey, String)>,
}

impl Offer {
    pub(super) async fn look(global: &Global, path: &Path, offline: bool) -> Result<Self> {
        let directory = path.parent().unwrap_or(Path::new("/")).to_path_buf();
        if !directory.is_dir() {
            return Err(Error::of(ExitCode::Usage, format!("there is no folder `{}`", directory.display()))
                .hint("make it first, or name another with `-C` or `--file`"));
        }
        let Beginning { cloud, agent, home, stores, prefix, state: _ } =
            Beginning::open(global, &directory, offline).await?;
        let cloud = match cloud {
            Some(client) => Some(client.look(Default::default()).await.map_err(|error| {
                let hint = error.hint.clone().map_or(String::new(), |hint| format!("{hint}; "));
                error.hint(format!("{hint}`--offline` asks nobody, and takes type and image as given"))
            })?),
            None => None,
        };
        let held = agent_public_keys(agent.as_deref()).await.unwrap_or_default();
        let keys = keys(&home, &held);
        let here = here(&directory).unwrap_or_default();
        Ok(Self { cloud, keys, here, directory, home, stores, prefix })
    }

    /// Returns the machines for sale, those in stock first, then by price.
    pub(super) fn types(&self) -> Vec<&InstanceType> {
        let mut types: Vec<_> = self.cloud.iter().flat_map(|cloud| &cloud.types).collect();
        types.sort_by_key(|offer| {
            (self.in_stock(&offer.name).is_empty(), offer.price_per_hour, offer.name.clone())
        });
        types
    }

    /// Returns the locations that have a type in stock now.
    pub(super) fn in_stock(&self, name: &str) -> Vec<&str> {
        let stock = self.cloud.iter().flat_map(|cloud| &cloud.stock);
        stock
            .filter(|(_, types)| types.iter().any(|one| one == name))
            .map(|(code, _)| code.as_str())
            .collect()
    }

    /// Returns the images that all of the types boot, the likeliest first.
    pub(super) fn images(&self, types: &[String]) -> Vec<&str> {
        let Some(cloud) = &self.cloud else { return Vec::new() };
        let chosen: Vec<_> = cloud.types.iter().filter(|offer| types.contains(&offer.name)).collect();
        let boots = |slug: &str| {
            chosen.iter().all(|offer| offer.images.is_empty() || offer.images.iter().any(|one| one == slug))
        };
        let mut slugs: Vec<&str> =
            cloud.images.iter().map(|image| image.slug.as_str()).filter(|slug| boots(slug)).collect();
        slugs.sort_by_key(|slug| std::cmp::Reverse((likely(slug), *slug)));
        slugs.dedup();
        slugs
    }
}

/// How likely an image is wanted: its name says what is on it.
fn likely(slug: &str) -> u8 {
    let says = |word: &str| slug.contains(word);
    match () {
        () if says("cuda") && says("docker") => 3,
        () if says("cuda") => 2,
        () if says("base") => 1,
        () => 0,
    }
}

/// The public keys in `~/.ssh`, and those that only the agent has; likeliest first.
fn keys(home: &Path, held: &[(PublicKey, String)]) -> Vec<Key> {
    let files =
        std::fs::read_dir(home.join(".ssh")).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut found: Vec<(PublicKey, Key, bool)> = files.filter_map(|path| in_file(&path, held)).collect();
    found.sort_by_key(|(_, key, usable)| {
        (!key.held, !usable, key.file != "~/.ssh/id_ed25519.pub", key.file.clone())
    });
    found.dedup_by(|one, other| one.0 == other.0);
    let mut keys: Vec<Key> = Vec::new();
    for (public, comment) in
        held.iter().filter(|(public, _)| !found.iter().any(|(known, ..)| known == public))
    {
        let number = keys.len() + 1;
        let file = format!("~/.ssh/dacapo-agent-{number}.pub");
        keys.push(Key { file, held: true, unwritten: Some((public.clone(), comment.clone())) });
    }
    let (mut held, rest): (Vec<_>, Vec<_>) =
        found.into_iter().map(|(_, key, _)| key).partition(|key| key.held);
    held.append(&mut keys);
    held.extend(rest);
    held
}

/// A key whose file is a public key's; and whether its private half is at hand.
fn in_file(path: &Path, held: &[(PublicKey, String)]) -> Option<(PublicKey, Key, bool)> {
    let name = path.file_name()?.to_str()?.to_owned();
    if !name.ends_with(".pub") || name.ends_with("-cert.pub") {
        return None;
    }
    let public = PublicKey::parse(&std::fs::read_to_string(path).ok()?)?;
    let held = held.iter().any(|(known, _)| *known == public);
    let usable = held || path.with_extension("").is_file();
    Some((public, Key { file: format!("~/.ssh/{name}"), held, unwritten: None }, usable))
}
