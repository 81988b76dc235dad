//! What goes wrong between us and the server, in a form that callers can match on.

use std::fmt;

use serde::Deserialize;

use crate::error::{Error, ExitCode};

/// The result of anything done on the server; `?` turns its error into the crate's own.
pub type Result<T, E = SshError> = std::result::Result<T, E>;

/// A worded error, and what kind of trouble it is.
#[derive(Clone, Debug)]
pub struct SshError {
    /// For whoever has to decide what happens next.
    pub trouble: Trouble,
    /// For whoever reads it.
    pub error: Error,
}

/// The kinds of trouble that mean different things to a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Nobody answers, or the connection was lost before anything was asked.
    Unreachable,
    /// The server answers and doesn't let us in.
    LoginRefused,
    /// Whoever answers doesn't hold the key that was pinned.
    HostKey,
    /// The connection broke, or fell silent, while something was under way: what became of it is unknown.
    Lost,
    /// Python 3 is missing on the server.
    NoPython,
    /// The server did what it could and said why it stopped.
    Said(Kind),
    /// Something on this side: files, the ssh program, a request that makes no sense.
    Local,
}

/// Why the helper stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// git isn't installed.
    NoGit,
    /// The remote has no such repository, or doesn't show it to us.
    NoRepo,
    /// The remote has no such branch.
    NoBranch,
    /// The remote's branch doesn't hold the commit.
    NoCommit,
    /// The git host refuses the key.
    GitDenied,
    /// The git host's key is unknown, or not the known one.
    GitHostKey,
    /// git failed in some other way.
    Git,
    /// No agent is forwarded.
    AgentAbsent,
    /// The forwarded agent holds no key.
    AgentEmpty,
    /// Something else lies at the path.
    Occupied,
    /// The checkout is on another branch.
    OtherBranch,
    /// The checkout holds changes that are in the way.
    Dirty,
    /// The checkout has commits of its own.
    Diverged,
    /// The bytes are no longer those that were planned with.
    Changed,
    /// The bytes received, or taken, are not those that were promised.
    Mismatch,
    /// The stored bytes are no gzip file.
    NotGzip,
    /// The store refused.
    Http,
    /// The store couldn't be reached, or the connection broke again and again.
    Network,
    /// The end of an upload is unknown.
    Unclear,
    /// The store doesn't know the upload session any more, or takes nothing for it.
    SessionGone,
    /// More bytes than may be stored.
    TooLarge,
    /// There is no such file.
    Missing,
    /// The server's disk is full.
    DiskFull,
    /// Another helper is at work.
    Busy,
    /// A program took too long.
    Timeout,
    /// A step of set-up ended with another code than 0.
    StepFailed,
    /// A step of set-up took longer than it may.
    StepTimeout,
    /// What a step of set-up depends on isn't there, or is no file.
    Input,
    /// The python3 of the checkout has no pip.
    NoPip,
    /// The packages on the server are others than the lock's, and stay so.
    PackagesDiffer,
    /// Something else listens on the port that the notebook server is to have.
    PortTaken,
    /// JupyterLab is missing and can't be installed.
    NoNotebook,
    /// The notebook server ended by itself.
    NotebookDied,
    /// The notebook server doesn't take its token.
    NotebookLocked,
    /// The notebook server doesn't answer.
    NotebookSilent,
    /// Kernels run in the notebook server that was to be ended.
    NotebookInUse,
    /// The operating system refused.
    Os,
    /// The request was refused as nonsense.
    BadRequest,
    /// The helper itself failed, or said something this side doesn't know.
    #[serde(other)]
    Bug,
}

impl Kind {
    /// Returns the exit code that this kind of failure ends the process with.
    pub fn exit_code(self) -> ExitCode {
        match self {
            Self::GitDenied | Self::AgentAbsent | Self::AgentEmpty => ExitCode::Credentials,
            Self::Occupied
            | Self::OtherBranch
            | Self::Dirty
            | Self::Diverged
            | Self::TooLarge
            | Self::NotebookInUse => ExitCode::Refused,
            Self::Changed => ExitCode::Stale,
            _ => ExitCode::Error,
        }
    }

    fn hint(self) -> Option<&'static str> {
        Some(match self {
            Self::NoGit => "install git on the server, then run `apply` again",
            Self::NoRepo => "check `url` under `[repo]`, and that the key in your ssh agent may read it",
            Self::NoBranch => "push the branch, or correct `branch` under `[repo]`",
            Self::NoCommit => "push the branch that holds it, then run `apply` again",
            Self::GitDenied => "load the key that the git host knows: `ssh-add`, then `ssh-add -l` to see it",
            Self::GitHostKey => {
                "connect to the git host once from here, so that its key is in your known_hosts"
            }
            Self::AgentAbsent => "start an ssh agent and load your key: `eval $(ssh-agent)`, then `ssh-add`",
            Self::AgentEmpty => "load your key into the ssh agent: `ssh-add`, then `ssh-add -l` to see it",
            Self::Occupied => "move it away on the server, or choose another path in `session.toml`",
            Self::OtherBranch | Self::Dirty | Self::Diverged => {
                "commit and push it from the server (`dacapo run -A -- git push`), then run `apply` again"
            }
            Self::Changed => "run `apply` again: it looks at what lies there now",
            Self::Mismatch | Self::Network | Self::Busy => "run `apply` again",
            Self::SessionGone => "run `apply` again: it begins the upload anew",
            Self::Unclear => "run `apply` again: it looks whether the store has it",
            Self::NotGzip => "the stored version isn't what its name says; pin another one",
            Self::DiskFull => "free space on the server, or choose a larger `os_volume`",
            Self::Http => {
                "run the command again: it asks for a new link and sends or fetches what is missing"
            }
            Self::StepFailed => {
                "mend it and run `apply` again: it goes on with this step. All that it said is in \
                 `~/.dacapo/setup/` on the server; `dacapo run -- COMMAND` looks around there"
            }
            Self::StepTimeout => {
                "run `apply` again if it only needs more time, with a larger `timeout` under `[setup]`; all that it \
                 said is in `~/.dacapo/setup/` on the server"
            }
            Self::Input => "put the file into the repo and push it, or correct `inputs` under `[setup]`",
            Self::NoPip => {
                "have a step of set-up make a virtual environment (`python3 -m venv .venv`) or install pip"
            }
            Self::PackagesDiffer => {
                "run without `--locked` to take the packages as they are: that writes session.lock anew"
            }
            Self::PortTaken => "end what listens there, or set another `port` under `[notebook]`",
            Self::NoNotebook => {
                "install what is missing on the server (on Ubuntu: `dacapo run -- apt-get install -y \
                 python3-venv`), or JupyterLab itself, then run `apply` again"
            }
            Self::NotebookDied => {
                "its log is `~/.dacapo/notebook/log` on the server; mend what it says, then run `apply` again"
            }
            Self::NotebookLocked => {
                "take the password out of Jupyter's own settings on the server and restart it, or set \
                 another `port` under `[notebook]`"
            }
            Self::NotebookSilent => {
                "look at it on the server (`dacapo run -- tail ~/.dacapo/notebook/log`), then run `apply` again"
            }
            Self::NotebookInUse => {
                "shut its kernels down in the notebook first: what they hold would be lost"
            }
            Self::TooLarge => return None,
            _ => {
                "run the command again; if it ends the same way, look at the server: `dacapo run -- COMMAND`"
            }
        })
    }
}

impl SshError {
    pub(super) fn new(trouble: Trouble, error: Error) -> Self {
        Self { trouble, error }
    }

    pub(super) fn local(error: Error) -> Self {
        Self::new(Trouble::Local, error)
    }

    pub(super) fn said(what: &str, kind: Kind, why: Vec<String>) -> Self {
        let mut error = Error::of(kind.exit_code(), what);
        error.why = why;
        error.hint = kind.hint().map(Into::into);
        Self::new(Trouble::Said(kind), error)
    }

    /// Returns whether the server couldn't be asked at all, as opposed to having answered with a no.
    pub fn is_unreachable(&self) -> bool {
        matches!(self.trouble, Trouble::Unreachable | Trouble::Lost)
    }
}

impl From<SshError> for Error {
    fn from(error: SshError) -> Self {
        error.error
    }
}

impl fmt::Display for SshError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for SshError {}
