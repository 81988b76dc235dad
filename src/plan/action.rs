//! What `apply` can be told to do. Only the planner makes an [`Action`].

use serde::Serialize;

use super::{Candidate, StepReason};
use crate::digest::ContentHash;
use crate::facts::{Limits, PublicKey, StoredFile, folded};
use crate::spec::Compress;
use crate::version::file_name;

/// One thing that `apply` does. Only the planner makes these.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Action {
    id: usize,
    after: Vec<usize>,
    kind: Kind,
}

impl Action {
    pub(super) fn new(kind: Kind, earlier: &[Self]) -> Self {
        let after =
            earlier.iter().filter(|earlier| waits_for(&kind, &earlier.kind)).map(|earlier| earlier.id);
        Self { id: earlier.len(), after: after.collect(), kind }
    }

    /// Its place in the plan, from 0.
    pub fn id(&self) -> usize {
        self.id
    }

    /// The earlier actions that it waits for.
    pub fn after(&self) -> &[usize] {
        &self.after
    }

    /// What it does.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// Tells whether it moves an artifact: such actions share connections and looks.
    pub fn is_transfer(&self) -> bool {
        matches!(self.kind, Kind::Store { .. } | Kind::Pull { .. })
    }
}

#[cfg(test)]
impl Action {
    /// Returns an action that no plan holds, for the tests of what carries actions out.
    pub(crate) fn unplanned(kind: Kind) -> Self {
        Self { id: 0, after: Vec::new(), kind }
    }
}

/// Where an artifact's file lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// Under the checkout on the rented machine.
    #[default]
    Server,
    /// Under the checkout on this laptop.
    Laptop,
}

/// What an action does. Every kind is an idempotent "ensure".
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Kind {
    /// Wait out an open create, or the doubt whether one is open, before absence is believed.
    Settle,
    /// Note in the record a machine of ours that it doesn't know, or that it takes to be ending and that is
    /// to stay.
    Adopt {
        /// The cloud's id.
        machine: String,
    },
    /// Delete a second machine of our own orders: nobody was ever on it.
    EndTwin {
        /// The cloud's id.
        machine: String,
    },
    /// Delete the recorded machine, which nobody was ever on, and note the older one that another laptop
    /// rented at the same time.
    MakeWay {
        /// The cloud's id.
        machine: String,
        /// The id of the one that stays.
        older: String,
    },
    /// Note in the record that its machine is gone.
    Forget {
        /// The cloud's id.
        machine: String,
    },
    /// Register the login key with the account.
    RegisterKey {
        /// The name it gets there.
        name: String,
        /// The key.
        key: PublicKey,
    },
    /// Create the machine, at the first candidate that is to be had.
    Create {
        /// In order of preference.
        candidates: Vec<Candidate>,
        /// The kept disk that it boots, with everything that is on it.
        #[serde(skip_serializing_if = "Option::is_none")]
        boots: Option<String>,
    },
    /// Make sure that a replacement is in stock and can be paid, before the present machine goes.
    CheckStock {
        /// In order of preference.
        candidates: Vec<Candidate>,
    },
    /// Note in the record that its machine vanished, and that its disk waits for another.
    Recover {
        /// The cloud's id.
        machine: String,
        /// The disk's id.
        volume: String,
        /// Where the disk is.
        location: String,
    },
    /// Take a disk out of the trash.
    RestoreVolume {
        /// The cloud's id.
        volume: String,
        /// Its name.
        name: String,
    },
    /// Start a machine that was shut down.
    Start {
        /// The cloud's id.
        machine: String,
    },
    /// Wait until the machine runs, its sshd answers with the right key and the login works.
    Ready,
    /// Clone the repo.
    Clone {
        /// The commit that the checkout must come to; the branch's tip.
        commit: String,
    },
    /// Fast-forward a clean checkout.
    FastForward {
        /// Where it is.
        from: String,
        /// Where it goes.
        to: String,
    },
    /// Store an artifact's bytes as a new version.
    Store {
        /// The artifact's name.
        artifact: String,
        /// Where it lies.
        place: Place,
        /// Its path under the checkout.
        path: String,
        /// The content that was seen; what is stored is what is there then, and said.
        content: ContentHash,
        /// Its size in bytes.
        size: u64,
        /// How it is packed.
        compress: Compress,
    },
    /// Bring a stored version to where it belongs.
    Pull {
        /// The artifact's name.
        artifact: String,
        /// Where it goes.
        place: Place,
        /// Its path under the checkout.
        path: String,
        /// The version's name.
        version: String,
        /// The object.
        object: StoredFile,
        /// Whether it is a gzip.
        packed: bool,
        /// The content it must unpack to, where that is known.
        content: Option<ContentHash>,
        /// What lies there now, safe in the store; nothing otherwise.
        replaces: Option<ContentHash>,
    },
    /// Push what the remote lacks to a branch of its own, `dacapo/SESSION/TIME`; on the server nothing changes.
    SaveBranch {
        /// The commit of what differs, which its name tells byte for byte; none where nothing differs.
        snapshot: Option<String>,
        /// What is in it: path, how it differs, size.
        files: Vec<(String, String, Option<u64>)>,
        /// Names and their commits that the remote lacks.
        tips: Vec<(String, String)>,
        /// Tags that the remote lacks, and what they name.
        tags: Vec<(String, String)>,
    },
    /// Make sure that a step of set-up has run, with the inputs as they are then.
    RunStep {
        /// Which, from 0.
        position: usize,
        /// Its text.
        run: String,
        /// Why it is to run.
        why: StepReason,
    },
    /// Make sure that the packages are those of the lock, and no others.
    InstallPackages {
        /// As the lock has them.
        packages: Vec<String>,
    },
    /// Make sure that the notebook server runs so.
    StartNotebook {
        /// Where it listens on the machine's loopback.
        port: u16,
        /// The folder that it shows, below the checkout.
        directory: String,
        /// What is installed beside it.
        packages: Vec<String>,
        /// Whether one that runs otherwise ends first; no kernel runs in it.
        restarts: bool,
    },
    /// End the notebook server that was started by us; no kernel runs in it.
    StopNotebook,
    /// Commit what differs on the server and push it to the branch that the checkout is on.
    Commit {
        /// The branch.
        branch: String,
        /// What the commit says.
        message: String,
        /// What is in it: path, how it differs, size; nothing where there are only commits to push.
        files: Vec<(String, String, Option<u64>)>,
        /// Where the branch is now.
        head: Option<String>,
    },
    /// Mark the end of set-up: what is newer on the disk from then on is somebody's work.
    SetUp,
    /// Delete the machine and its volumes, once it is proven that nothing on them is lost.
    Delete {
        /// The cloud's id.
        machine: String,
        /// Every volume that goes with it.
        volumes: Vec<String>,
    },
    /// Delete a stored version: the object, then the manifests beside it, each only as it was seen.
    DeleteVersion {
        /// The artifact's name.
        artifact: String,
        /// The version's name.
        version: String,
        /// The object; none where it is gone already and only its manifests are left.
        object: Option<StoredFile>,
        /// What lies beside it.
        manifests: Vec<StoredFile>,
    },
    /// Note in the record that the session's limits are others now.
    NoteLimits {
        /// What they are.
        limits: Limits,
    },
    /// Delete for good a volume that is in the trash.
    Purge {
        /// The cloud's id.
        volume: String,
        /// Its name.
        name: String,
    },
    /// Shut the machine down and delete it; its disk stays.
    KeepDisk {
        /// The cloud's id.
        machine: String,
        /// The disk's id, where the cloud says it already.
        volume: Option<String>,
    },
    /// Delete a volume that a machine of ours left behind.
    DeleteVolume {
        /// The cloud's id.
        volume: String,
        /// Its name.
        name: String,
    },
}

/// Tells whether an action has to wait for an earlier one.
///
/// A session has one machine, so nearly everything waits for everything before it. Transfers of different
/// files don't wait for each other; versions are named for the file, so two artifacts whose files have one
/// name take turns. A volume left behind earlier has nothing to do with the machine of today: it goes even if
/// that one may not.
fn waits_for(kind: &Kind, earlier: &Kind) -> bool {
    match (kind, earlier) {
        (Kind::DeleteVolume { .. }, earlier) => matches!(earlier, Kind::Forget { .. }),
        // Work is told from what was there by this mark, whether or not there is a notebook.
        (Kind::SetUp, Kind::StartNotebook { .. } | Kind::StopNotebook) => false,
        // Whether one version goes says nothing about another.
        (Kind::DeleteVersion { .. }, _) => false,
        (Kind::Pull { path, .. }, Kind::Pull { path: other, .. })
        | (Kind::Store { path, .. }, Kind::Store { path: other, .. }) => {
            folded(file_name(path)) == folded(file_name(other))
        }
        _ => true,
    }
}
