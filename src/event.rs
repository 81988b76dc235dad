//! What happened while a plan was carried out, as data; only `report` has words for it.

use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::mpsc;

use crate::digest::ContentHash;
use crate::error::Error;
use crate::facts::Money;
use crate::plan::{Action, Candidate};

/// One thing that happened. `--json` prints these, one a line.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// An action began.
    Started {
        /// Which.
        action: Action,
    },
    /// Something happened within an action.
    Progress {
        /// The action's place in the plan.
        id: usize,
        /// What.
        stage: Stage,
    },
    /// An action is done.
    Done {
        /// The action's place in the plan.
        id: usize,
        /// How long it took.
        seconds: f64,
    },
    /// An action failed; whatever waits for it isn't started.
    Failed {
        /// The action's place in the plan.
        id: usize,
        /// Why.
        error: Error,
    },
    /// An action wasn't started, because an earlier one failed or the run was interrupted.
    NotStarted {
        /// The action's place in the plan.
        id: usize,
    },
}

/// What happens within an action.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "stage", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields say what the variants are about")]
pub enum Stage {
    /// The outcome of a create isn't known; the cloud is watched until then.
    Watching { until: Timestamp },
    /// A create got no clear answer.
    Unclear { why: String },
    /// A candidate is sold out.
    NoCapacity { candidate: Candidate, why: String },
    /// The cloud took the order.
    Created { machine: String, candidate: Candidate },
    /// A machine that never came up is deleted.
    Removing { machine: String, status: String },
    /// The machine's status, as the cloud says it.
    Status { status: String },
    /// The machine has its address.
    Address { ip: String },
    /// sshd doesn't answer yet.
    Connecting { why: String },
    /// The host key seen at the first contact; pinned from now on.
    HostKey { fingerprint: String, foreseen: bool },
    /// The login works.
    LoggedIn { python: String, git: Option<String>, gpu: Option<String> },
    /// The checkout is at this commit.
    AtCommit { branch: String, commit: String },
    /// Bytes moved so far.
    Bytes { done: u64, total: Option<u64> },
    /// What an artifact was made in couldn't be asked; it is stored all the same.
    Unexplained { why: String },
    /// A transfer goes on where an earlier one ended.
    Resumed { bytes: u64 },
    /// Something is tried again after a pause.
    Waiting { why: String, seconds: u64 },
    /// A program on the server has said something.
    Said { line: String },
    /// A step of set-up has printed something.
    Output { line: String },
    /// A step of set-up had run already, with the inputs as they are.
    RanBefore,
    /// The notebook server answers to its token.
    NotebookRuns { version: Option<String>, port: u16, given: bool },
    /// An artifact was hashed and packed.
    Packed { payload: ContentHash, size: u64, stored_size: u64 },
    /// An artifact is a stored version, confirmed by the store.
    Stored { version: String, payload: ContentHash, new: bool },
    /// An artifact was brought and verified.
    Pulled { version: String, payload: ContentHash, size: u64 },
    /// The remote has the branch, as this laptop was told by the remote itself.
    Saved { branch: String, commit: Option<String> },
    /// A file of the store is deleted, confirmed by the store.
    Deleted { path: String },
    /// Every guard was satisfied, on evidence taken just now.
    Proven,
    /// The machine was told to shut down.
    ShuttingDown { machine: String },
    /// The cloud took the deletion.
    Deleting { machine: String },
    /// The cloud says that the machine is gone.
    Gone { machine: String },
    /// The cloud says that the volume is gone; it is in the trash until then.
    VolumeGone { volume: String },
    /// The disk outlived its machine, as it was to, and bills.
    Kept { volume: String, price_per_hour: Money, price_per_month: Money },
}

/// Sends events to whoever listens; nobody listening is no error.
#[derive(Clone, Debug)]
pub struct Sender(mpsc::UnboundedSender<Event>);

impl Sender {
    /// Returns a sender and the inbox that its events arrive in.
    pub fn channel() -> (Self, mpsc::UnboundedReceiver<Event>) {
        let (sender, inbox) = mpsc::unbounded_channel();
        (Self(sender), inbox)
    }

    /// Sends one event.
    pub fn send(&self, event: Event) {
        // A closed inbox means that the listener has given up; the work goes on all the same.
        let _ = self.0.send(event);
    }

    /// Sends what happened within an action.
    pub fn stage(&self, id: usize, stage: Stage) {
        self.send(Event::Progress { id, stage });
    }
}
