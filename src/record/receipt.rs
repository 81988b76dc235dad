//! What a session was: one receipt per machine that we ended, written beside the record and never changed.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Base, Kept, Rented};
use crate::digest::ContentHash;
use crate::facts::{Instance, Money};

/// The receipt of one machine: `<store>/.dacapo/receipts/<session>/<time>-<machine>.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The format: 1.
    pub version: u32,
    /// The session's name.
    pub session: String,
    /// The machine's id.
    pub machine: String,
    /// What it was.
    pub machine_type: String,
    /// Where it was.
    pub location: String,
    /// When the cloud took the order.
    pub from: Timestamp,
    /// When its end was decided.
    pub to: Timestamp,
    /// What it cost per hour, its disk aside.
    pub price_per_hour: Money,
    /// The account's currency.
    pub currency: String,
    /// The branch and commit that were brought, and those that it ended at.
    pub code: [Code; 2],
    /// The artifacts that were brought, and those that were stored or brought last.
    pub artifacts: [BTreeMap<String, Kept>; 2],
    /// The losses that were named.
    pub discarded: Vec<String>,
    /// The disk that stayed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_disk: Option<String>,
}

/// Where a checkout stood.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Code {
    /// The branch.
    pub branch: Option<String>,
    /// The commit.
    pub commit: Option<String>,
}

/// A receipt as it is stored: with a hash by which it is known when somebody has changed it.
#[derive(Serialize, Deserialize)]
struct Sealed {
    receipt: Receipt,
    seal: ContentHash,
}

impl Receipt {
    /// Returns the receipt of a machine that is about to be ended.
    pub fn of(session: &str, rented: &Rented, instance: &Instance, to: Timestamp, currency: &str) -> Self {
        let Base { branch, commit, artifacts } = rented.brought.clone().unwrap_or_default();
        let out = &rented.base;
        Self {
            version: 1,
            session: session.to_owned(),
            machine: rented.id.clone(),
            machine_type: instance.r#type.clone(),
            location: instance.location.clone(),
            from: instance.created_at,
            to,
            price_per_hour: instance.price_per_hour,
            currency: currency.to_owned(),
            code: [Code { branch, commit }, Code { branch: out.branch.clone(), commit: out.commit.clone() }],
            artifacts: [artifacts, out.artifacts.clone()],
            discarded: Vec::new(),
            kept_disk: None,
        }
    }

    /// Returns how long the machine was there, in seconds.
    pub fn seconds(&self) -> i64 {
        self.to.duration_since(self.from).as_secs().max(0)
    }

    /// Returns what the machine cost, its disk aside.
    pub fn cost(&self) -> Money {
        self.price_per_hour.for_seconds(self.seconds())
    }

    /// Returns its path below the store's folder: always the same of the same machine's end.
    pub fn path(&self) -> String {
        let plain = |c: &char| c.is_ascii_alphanumeric() || *c == '-';
        let machine: String = self.machine.chars().filter(plain).take(36).collect();
        format!("{}{}-{machine}.json", folder(&self.session), self.to.strftime("%Y%m%dT%H%M%SZ"))
    }

    /// Returns the receipt as the JSON that is stored.
    pub fn to_json(&self) -> Vec<u8> {
        let sealed = Sealed { receipt: self.clone(), seal: self.seal() };
        let mut text = serde_json::to_vec_pretty(&sealed).expect("a receipt has string keys only");
        text.push(b'\n');
        text
    }

    /// Reads a stored receipt of a session.
    ///
    /// Fails with what is wrong with it; one that was changed since it was written is refused.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let Sealed { receipt, seal } = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if receipt.version != 1 {
            return Err(format!(
                "its format is {}, and this dacapo knows 1: use a newer dacapo",
                receipt.version
            ));
        }
        if receipt.seal() != seal {
            return Err("it was changed since dacapo wrote it".to_owned());
        }
        Ok(receipt)
    }

    fn seal(&self) -> ContentHash {
        ContentHash::of(&serde_json::to_vec(self).expect("a receipt has string keys only"))
    }
}

/// Returns the folder of a session's receipts, below the store's folder.
pub fn folder(session: &str) -> String {
    format!("{RECEIPTS}{session}/")
}

/// Returns the session whose receipt lies at a path below the store's folder; none where it can't be one.
pub fn session_of(path: &str) -> Option<&str> {
    let (session, name) = path.strip_prefix(RECEIPTS)?.split_once('/')?;
    name.ends_with(".json").then_some(session)
}

/// Where receipts lie, below the store's folder.
pub const RECEIPTS: &str = ".dacapo/receipts/";
