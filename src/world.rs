//! The session as one comparable value: desired and observed worlds are the same type.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::ContentHash;

/// Everything a session consists of; an absent session is the empty world.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct World {
    /// The rented server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine: Option<Machine>,
    /// The repo's checkout on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
    /// The artifacts on it, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub artifacts: BTreeMap<String, Artifact>,
    /// What was run to prepare it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub setup: Option<SetUp>,
    /// The notebook server that runs on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notebook: Option<Notebook>,
}

impl World {
    /// Returns the world as TOML, the form in which it is shown and compared.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a world holds only strings, numbers and tables")
    }
}

/// The rented server, in the words of the spec.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Instance type.
    pub r#type: String,
    /// Location code.
    pub location: String,
    /// Image slug.
    pub image: String,
    /// The login key's fingerprint.
    pub ssh_key: String,
    /// Size of the OS volume in GB.
    pub os_volume_gb: u32,
    /// The market it is bought on.
    #[serde(default, skip_serializing_if = "Market::is_on_demand")]
    pub market: Market,
}

/// How a machine is bought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Market {
    /// At the full price; it stays until it is ended.
    #[default]
    OnDemand,
    /// At a lower price; the cloud may take it away at any moment, without notice.
    Spot,
}

impl Market {
    /// Returns the word used in `session.toml`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OnDemand => "on-demand",
            Self::Spot => "spot",
        }
    }

    fn is_on_demand(&self) -> bool {
        *self == Self::OnDemand
    }
}

/// The checkout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Code {
    /// The remote.
    pub url: String,
    /// The branch.
    pub branch: String,
    /// The commit that was, or is to be, brought.
    pub commit: String,
}

/// The steps of set-up, and what they were given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SetUp {
    /// The commands, in their order.
    pub run: Vec<String>,
    /// The inputs' content by path, where it is known.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, ContentHash>,
}

/// A notebook server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Notebook {
    /// Whether it runs; one that doesn't is left out of the world.
    pub running: bool,
    /// Where it listens on the machine's loopback.
    pub port: u16,
    /// The folder that it shows, below the checkout.
    pub directory: String,
    /// What was installed beside it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<String>,
}

/// One artifact at a stored version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Artifact {
    /// Below the checkout.
    pub path: String,
    /// The stored version's name.
    pub version: String,
    /// The payload's hash, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<ContentHash>,
}
