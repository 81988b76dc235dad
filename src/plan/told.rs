//! What a plan tells a person besides what it does.

use serde::Serialize;

use super::{Difference, LostDisk};
use crate::digest::ContentHash;
use crate::facts::{LargeFiles, Money};
use crate::guard::{Finding, Guard};

/// Bytes on the server that differ from what was brought.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "work", rename_all = "snake_case")]
pub enum Work {
    /// Commits that the remote doesn't have, or paths that differ from the last commit.
    Code {
        /// Names of branches and the like that are ahead.
        unpushed: Vec<String>,
        /// How many paths differ.
        dirty: usize,
    },
    /// An artifact with another content than the version it came from.
    Artifact {
        /// Its name.
        name: String,
        /// The content.
        content: ContentHash,
        /// Its size in bytes.
        size: u64,
        /// The version that was brought, if any.
        base: Option<String>,
    },
}

/// A change that can't be made as things stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "blocked", rename_all = "snake_case")]
pub enum Blocked {
    /// The spec asks for another machine than was created, and nobody said to replace it.
    Replace {
        /// What differs: key, what was created, what the spec asks for.
        differences: Vec<(String, String, String)>,
    },
    /// The server's branch has work, and the remote's has moved on.
    BehindWithWork {
        /// The remote's commit.
        to: String,
    },
    /// The checkout is on another branch than the spec asks for.
    OtherBranch {
        /// The branch; none when HEAD is detached.
        found: Option<String>,
    },
    /// What lies at the checkout's path can't be used.
    Checkout {
        /// Why.
        why: String,
    },
    /// The server can't be looked at, so nothing can be brought to it.
    Unreachable {
        /// Why.
        why: String,
    },
    /// The machine vanished without our doing.
    Lost {
        /// Its id.
        machine: String,
        /// The commit that was last brought to it, or seen on it.
        commit: Option<String>,
        /// Its disk, where one was found.
        disk: Option<LostDisk>,
    },
    /// The kept disk is neither there nor in the trash.
    DiskGone {
        /// Its id.
        volume: String,
    },
    /// The spec protects the machine from being ended.
    Protected {
        /// Its id.
        machine: String,
    },
    /// A machine beside the session's own carries its mark, and nothing tells where it came from.
    Several {
        /// Its id.
        machine: String,
    },
    /// Nothing that could replace the machine is in stock, as far as the cloud says.
    NoReplacement,
    /// The machine is in a state that we don't know.
    Unsettled {
        /// Its id.
        machine: String,
        /// The cloud's word.
        status: String,
    },
    /// The notebook server would have to end, and kernels run in it.
    NotebookInUse {
        /// Their notebooks.
        kernels: Vec<String>,
        /// Whether another would take its place.
        restarts: bool,
    },
    /// What set-up depends on isn't there, or is no file.
    SetUpInput {
        /// Its path under the checkout.
        path: String,
        /// Why it can't be read; none where nothing is there.
        why: Option<String>,
    },
    /// A file isn't put into a commit.
    LeftOut {
        /// Its path under the checkout.
        path: String,
        /// Why.
        why: String,
    },
    /// An artifact to be stored is larger than can be stored.
    TooLarge {
        /// Its name.
        name: String,
        /// Its size in bytes.
        size: u64,
        /// Why not more.
        large_files: LargeFiles,
    },
}

impl Blocked {
    /// Returns it without the words of a failed connection.
    pub(super) fn wordless(&self) -> Self {
        match self {
            Self::Unreachable { .. } => Self::Unreachable { why: String::new() },
            other => other.clone(),
        }
    }
}

/// Something to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "note", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields say what the variants are about")]
pub enum Note {
    /// None of the candidates is in stock, as far as the cloud says.
    OutOfStock,
    /// No stored version of the artifact exists yet.
    NoVersion { artifact: String },
    /// The wanted version holds the bytes that are there, which came as another version: nothing to bring.
    SameContent { artifact: String, version: String, stored_as: String },
    /// The version that is about to be brought was made in another environment.
    OtherEnvironment { artifact: String, version: String, differences: Vec<Difference> },
    /// The manifest of the version that is about to be brought can't be used.
    UnusableManifest { artifact: String, version: String, why: String },
    /// A newer version is stored, but the server's bytes are work and stay.
    NewerStored { artifact: String, version: String },
    /// The artifact's content is stored already.
    AlreadyStored { artifact: String, version: String },
    /// The next `up` brings the pinned version, not the one that is stored now.
    Pinned { artifact: String, version: String },
    /// The artifact's file isn't there, or is empty.
    MissingArtifact { artifact: String },
    /// The artifact's path holds something that can't be read.
    UnreadableArtifact { artifact: String, why: String },
    /// The laptop's own commits won't reach the server.
    LaptopUnpushed { commits: usize, dirty: bool },
    /// The spec's key isn't the one that the machine was created with.
    OtherKey { created_with: String },
    /// No agent answers, or it doesn't hold the spec's key, and the private key isn't there either.
    CannotLogIn { fingerprint: String, agent: bool },
    /// A volume bills that no machine of this session holds, or that its machine leaves behind.
    LeftVolume { id: String, name: String, price_per_hour: Money },
    /// The machine has cost more than the spec allows: `reap` ends it.
    OverCost { spent: Money, most: Money },
    /// The machine costs more per hour than the spec allows: it was ordered under another limit, or its price rose.
    OverPrice { price: Money, most: Money },
    /// The session's kept disk bills, and is booted by the next `up`.
    KeptDisk { id: String, name: String, price_per_hour: Money, price_per_month: Money },
    /// Another machine in the account bills.
    OtherMachine { id: String, hostname: String, price_per_hour: Money, session: Option<String> },
    /// `--only` leaves actions of other parts out.
    LeftOut { actions: usize },
    /// What is on the machine isn't known: no login has been completed.
    NotLoggedIn,
    /// The code is brought forward first; where that changes an input, set-up runs next.
    SetUpMayRun { inputs: Vec<String> },
    /// The packages on the server are others than those of the lock.
    PackagesDrifted { differences: Vec<Difference> },
    /// The notebook server runs; these of its kernels are at work.
    NotebookRuns {
        version: Option<String>,
        port: u16,
        given: bool,
        kernels: usize,
        busy: Vec<String>,
        terminals: u32,
    },
    /// The notebook server doesn't answer.
    NotebookSilent { why: String },
    /// The notebook server is about to end; what a browser holds unsaved isn't known to it.
    MayBeUnsaved { documents: Vec<String> },
    /// GPU wasn't reported by the server.
    NoGpu,
}

/// One guard, judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GuardState {
    /// Which.
    pub guard: Guard,
    /// What stands against it.
    pub findings: Vec<Finding>,
    /// What was named as a loss.
    pub discarded: Vec<Finding>,
    /// What speaks for it.
    pub evidence: Vec<Shown>,
}

impl GuardState {
    /// Returns what approving a plan approves of it: not the words of failed connections, nor which programs run;
    /// only whether any stands against it.
    pub(super) fn approved(&self) -> Option<Self> {
        if self.guard == Guard::Processes && self.findings.is_empty() {
            return None;
        }
        let wordless = |finding: &Finding| match finding {
            Finding::Unreachable { .. } => Finding::Unreachable { why: String::new() },
            Finding::RemoteUnreachable { .. } => Finding::RemoteUnreachable { why: String::new() },
            Finding::Process { .. } => {
                Finding::Process { pid: 0, command: String::new(), why: String::new() }
            }
            other => other.clone(),
        };
        let Self { guard, findings, discarded, evidence } = self;
        let [mut findings, discarded] =
            [findings, discarded].map(|all| all.iter().map(wordless).collect::<Vec<_>>());
        // How many programs run is no more lasting than which.
        findings.dedup();
        Some(Self { guard: *guard, findings, discarded, evidence: evidence.clone() })
    }
}

/// Something that was shown to be safe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "shown", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields say what the variants are about")]
pub enum Shown {
    /// Every one of so many tips is contained in the remote.
    Pushed { tips: usize, head: Option<String> },
    /// What the remote lacks will be pushed to a branch first: so many files, and branches and the like.
    WillBeSaved { files: usize, tips: usize },
    /// There is no checkout.
    NoCheckout,
    /// The content is a stored version.
    Stored { artifact: String, version: String },
    /// The content will be stored first.
    WillBeStored { artifact: String },
    /// There is nothing at the artifact's path.
    NothingThere { artifact: String },
    /// No file is newer than the end of set-up.
    NoNewFiles,
    /// No program is at work.
    NoProcesses,
    /// No login of ours was ever completed.
    NeverUsed,
}
