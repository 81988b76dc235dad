//! What is asked of the helper on the server, and what it answers; JSON on both ways.

use std::collections::BTreeMap;

use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::ContentHash;
use crate::facts::Token;

/// What a first login learns.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Hello {
    /// Python's version.
    pub python: String,
    /// git's version; none when it isn't installed.
    pub git: Option<String>,
    /// What `nvidia-smi -L` named first; none when it is missing or fails.
    pub gpu: Option<String>,
    /// The login user's home directory.
    pub home: String,
    /// Bytes free on the disk that holds it.
    pub disk_free: u64,
}

/// What to look at.
#[derive(Clone, Debug, Serialize)]
pub struct ProbeRequest {
    /// The checkout, below the home directory.
    pub checkout: String,
    /// Artifact name → path below the checkout.
    pub artifacts: BTreeMap<String, String>,
    /// Globs below the home directory: what may die with the server.
    pub disposable: Vec<String>,
    /// A commit of which the reply tells whether the checkout's HEAD contains it.
    pub wanted: Option<String>,
    /// Read every artifact anew: what decides over a deletion trusts no earlier look.
    pub fresh: bool,
    /// Where saving to a branch is asked about: the files to take along whatever their names and sizes.
    pub save: Option<Vec<String>>,
    /// The notebook server that the image runs, where it runs one.
    #[serde(flatten)]
    pub notebook: Option<GivenNotebook>,
    /// The inputs of set-up, below the checkout, where set-up is asked about.
    pub setup: Option<Vec<String>>,
}

/// A notebook server that came with the image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GivenNotebook {
    /// Where it listens on the machine's loopback.
    #[serde(rename = "notebook_port")]
    pub port: u16,
    /// What opens it, as the cloud told.
    #[serde(rename = "secret", serialize_with = "token")]
    pub token: Token,
}

/// Which notebook server is to run.
#[derive(Clone, Debug, Serialize)]
pub struct NotebookRequest {
    /// The checkout, below the home directory.
    pub checkout: String,
    /// Where it is to listen on the machine's loopback.
    pub port: u16,
    /// The folder that it shows, below the checkout.
    pub directory: String,
    /// Requirements to install beside it.
    pub packages: Vec<String>,
    /// The one that the image runs; nothing is installed or started then.
    #[serde(flatten)]
    pub given: Option<GivenNotebook>,
}

/// Which step of set-up is to have run.
#[derive(Clone, Debug, Serialize)]
pub struct StepRequest {
    /// What all requests about set-up share.
    #[serde(flatten)]
    pub about: SetUpRequest,
    /// Every step.
    pub steps: Vec<String>,
    /// Which of them, from 0; those before it have run.
    pub position: usize,
    /// The inputs' paths below the checkout.
    pub inputs: Vec<String>,
}

/// Which packages there are to be, and no others.
#[derive(Clone, Debug, Serialize)]
pub struct InstallRequest {
    /// What all requests about set-up share.
    #[serde(flatten)]
    pub about: SetUpRequest,
    /// As `session.lock` has them: `NAME==VERSION`.
    pub packages: Vec<String>,
}

/// What tells set-up's files from the user's, and how long set-up may take.
#[derive(Clone, Debug, Serialize)]
pub struct SetUpRequest {
    /// The checkout, below the home directory.
    pub checkout: String,
    /// Artifact name → path below the checkout.
    pub artifacts: BTreeMap<String, String>,
    /// Globs below the home directory: what may die with the server.
    pub disposable: Vec<String>,
    /// In seconds.
    pub limit: f64,
}

/// Where a notebook server is, and what opens it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct NotebookAddress {
    /// Where it listens on the machine's loopback.
    pub port: u16,
    /// What opens it.
    #[serde(deserialize_with = "told_token")]
    pub token: Token,
}

/// What to push to a branch of its own, and what it must be made of.
#[derive(Clone, Debug, Serialize)]
pub struct SaveRequest {
    /// The remote; the checkout's must be the same.
    pub url: String,
    /// Below the home directory.
    pub path: String,
    /// The new branch, and the folder for tags.
    pub branch: String,
    /// The commit of what differs, as the probe named it; what is there must still come to it.
    pub snapshot: Option<String>,
    /// Names and commits that the remote lacks.
    pub tips: Vec<(String, String)>,
    /// Tags that the remote lacks: name and object.
    pub tags: Vec<(String, String)>,
    /// Paths below the checkout that are artifacts.
    pub artifacts: Vec<String>,
    /// As in [`ProbeRequest::save`].
    pub named: Vec<String>,
    /// As in [`CloneRequest::known_hosts`].
    pub known_hosts: Vec<String>,
}

/// What to commit on the server, and where to push it.
#[derive(Clone, Debug, Serialize)]
pub struct CommitRequest {
    /// The remote; the checkout's must be the same.
    pub url: String,
    /// Below the home directory.
    pub path: String,
    /// The branch that the checkout must be on, and that is pushed to.
    pub branch: String,
    /// What the commit says.
    pub message: String,
    /// The files that the commit is of, as the probe named them; they must still be the ones that differ.
    pub files: Vec<String>,
    /// Paths below the checkout that are artifacts.
    pub artifacts: Vec<String>,
    /// As in [`ProbeRequest::save`].
    pub named: Vec<String>,
    /// As in [`CloneRequest::known_hosts`].
    pub known_hosts: Vec<String>,
}

/// What an artifact may have been made from and in.
#[derive(Clone, Debug, Serialize)]
pub struct SurroundingsRequest {
    /// The checkout, below the home directory.
    pub checkout: String,
    /// The artifacts' paths below the checkout: what was made there is no change to it.
    pub artifacts: Vec<String>,
}

/// What to clone, and where to.
#[derive(Clone, Debug, Serialize)]
pub struct CloneRequest {
    /// The remote.
    pub url: String,
    /// The branch to be on.
    pub branch: String,
    /// The commit of that branch to be on; its newest when none.
    pub commit: Option<String>,
    /// Below the home directory.
    pub path: String,
    /// The git host's lines for a known_hosts file; no other key is believed.
    pub known_hosts: Vec<String>,
    /// Repo-local `user.name`, so that committing on the server works.
    pub user_name: Option<String>,
    /// Repo-local `user.email`.
    pub user_email: Option<String>,
}

/// Which checkout to bring forward, and how far.
#[derive(Clone, Debug, Serialize)]
pub struct FastForwardRequest {
    /// Below the home directory.
    pub path: String,
    /// The branch that the checkout must be on.
    pub branch: String,
    /// The commit to bring it to; the remote's branch must hold it.
    pub to: String,
    /// As in [`CloneRequest::known_hosts`].
    pub known_hosts: Vec<String>,
}

/// Where a checkout stands.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Brought {
    /// The commit that HEAD names.
    pub commit: String,
    /// The branch that HEAD is on; none when detached.
    pub branch: Option<String>,
}

/// Which stored bytes to bring, and what they may replace.
#[derive(Clone, Debug, Serialize)]
pub struct PullRequest {
    /// Where to, below the home directory.
    pub path: String,
    /// The hash of the stored bytes.
    pub stored: ContentHash,
    /// How many stored bytes there are.
    pub stored_size: u64,
    /// Whether the stored bytes are packed.
    pub gzip: bool,
    /// The unpacked bytes' hash, where it is known.
    pub payload: Option<ContentHash>,
    /// What must lie there now; none = nothing, or an empty file.
    pub replaces: Option<ContentHash>,
}

/// What was brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Pulled {
    /// The hash of the bytes that lie there now.
    pub payload: ContentHash,
    /// How many there are.
    pub size: u64,
}

/// Which file to make ready for storing.
#[derive(Clone, Debug, Serialize)]
pub struct PackRequest {
    /// Below the home directory.
    pub path: String,
    /// Whether to pack it.
    pub gzip: bool,
    /// The most bytes that may be stored.
    pub limit: u64,
    /// Up to this size a file that isn't packed is copied; a larger one is sent as it lies there, each
    /// request with the hash of the bytes that were counted.
    pub copied: u64,
}

/// A file that is ready to be stored: its bytes can't change any more, or a change would be noticed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Packed {
    /// The copy's name in the helper's own folder; none for a file that is sent as it lies there.
    pub temp: Option<String>,
    /// The hash of the unpacked bytes.
    pub payload: ContentHash,
    /// How many there are.
    pub size: u64,
    /// The hash of the bytes to be stored.
    pub stored: ContentHash,
    /// How many there are.
    pub stored_size: u64,
    /// The upload session in which an earlier run began to send these bytes.
    #[serde(default, deserialize_with = "readable")]
    pub session: Option<UploadSession>,
}

/// An upload session of the store, as the server remembers it between runs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct UploadSession {
    /// The store's id of it.
    pub id: String,
    /// When it began, by the store's clock.
    pub started: Timestamp,
}

/// What a large upload ended with: every byte is in its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Sent {
    /// How many bytes an earlier run had sent.
    pub resumed: u64,
}

/// One operation of the helper, as it goes over the wire.
#[derive(Serialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub(super) enum Ask<'a> {
    Hello,
    Probe(&'a ProbeRequest),
    Surroundings(&'a SurroundingsRequest),
    Clone(&'a CloneRequest),
    FastForward(&'a FastForwardRequest),
    Save(&'a SaveRequest),
    Commit(&'a CommitRequest),
    Pull {
        #[serde(flatten)]
        ask: &'a PullRequest,
        #[serde(serialize_with = "exposed")]
        secret: &'a SecretString,
        speed: f64,
    },
    Pack(&'a PackRequest),
    Push {
        path: &'a str,
        temp: Option<&'a str>,
        stored: ContentHash,
        stored_size: u64,
        #[serde(serialize_with = "exposed")]
        secret: &'a SecretString,
        speed: f64,
    },
    PushSession {
        path: &'a str,
        temp: Option<&'a str>,
        stored: ContentHash,
        stored_size: u64,
        session: &'a str,
        started: Timestamp,
        content_url: &'a str,
        #[serde(serialize_with = "exposed")]
        secret: &'a SecretString,
        speed: f64,
    },
    DiscardPack {
        temp: Option<&'a str>,
        stored: ContentHash,
    },
    /// Says what lies at some paths below the home directory, as a probe does.
    Hash {
        paths: &'a BTreeMap<String, String>,
    },
    FinishSetUp,
    RunStep(&'a StepRequest),
    InstallPackages(&'a InstallRequest),
    StartNotebook(&'a NotebookRequest),
    StopNotebook,
    NotebookAddress {
        #[serde(flatten)]
        given: Option<&'a GivenNotebook>,
    },
    Outcome {
        run: &'a str,
    },
    Interrupt {
        run: &'a str,
    },
}

/// The same for a notebook server's token.
fn token<S: Serializer>(token: &Token, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(token.expose())
}

fn told_token<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Token, D::Error> {
    String::deserialize(deserializer).map(Token::new)
}

/// A secret leaves its wrapping only here, in [`token`] and in [`renewed`], on its way to the helper's standard input.
fn exposed<S: Serializer>(secret: &&SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose_secret())
}

/// Returns the line that brings a running helper another secret.
pub(super) fn renewed(secret: &SecretString) -> Vec<u8> {
    let mut line = serde_json::json!({"secret": secret.expose_secret()}).to_string().into_bytes();
    line.push(b'\n');
    line
}

/// Takes a note that can't be read for none: the session is then begun anew.
fn readable<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<UploadSession>, D::Error> {
    Ok(serde_json::from_value(serde_json::Value::deserialize(deserializer)?).ok())
}

/// One line of the helper's.
#[derive(Deserialize)]
pub(super) struct Line {
    pub nonce: String,
    #[serde(flatten)]
    pub word: Word,
}

/// What a line says.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Word {
    Alive(()),
    Progress {
        bytes: u64,
        total: Option<u64>,
    },
    /// How many bytes an earlier run had moved.
    Resumed(u64),
    Waiting {
        why: String,
        seconds: u64,
    },
    /// A line of a program that runs there.
    Said(String),
    /// The link or token is no good any more.
    Want(()),
    /// The next request may come.
    Ready(()),
    Result(serde_json::Value),
    Error {
        kind: super::trouble::Kind,
        why: Vec<String>,
    },
}
