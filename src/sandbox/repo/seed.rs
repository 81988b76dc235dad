//! Making a repository of the git host.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::{fs, io};

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::lesson3::FILES;
use crate::error::{Error, Result};
use crate::sandbox::server::files;

/// The one author, and the one moment (20 November 2026, 09:00 UTC): the same commit in every sandbox.
const SIGNATURE: &str = "sandbox <sandbox@example.invalid> 1795165200 +0000";

/// What a new repository starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source<'a> {
    /// The example project in the binary, as one commit.
    Lesson3,
    /// The branches and tags of a local checkout, which is only read.
    Checkout(&'a Path),
}

/// A git that obeys no configuration but a repository's own and never leaves this machine.
pub struct Git {
    /// Where git is searched.
    pub search_path: OsString,
    /// The home it is given.
    pub home: PathBuf,
}

impl Git {
    /// Returns a git command to be completed.
    pub fn command(&self) -> Command {
        let mut command = Command::new("git");
        command
            .env_clear()
            .env("PATH", &self.search_path)
            .env("HOME", &self.home)
            .env("LANG", "C.UTF-8")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_ALLOW_PROTOCOL", "file")
            .env("GIT_NO_LAZY_FETCH", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .current_dir(&self.home);
        command
    }

    /// Runs git to its end with `input` on its standard input; its own words are the reason of a failure.
    async fn run(&self, arguments: &[&OsStr], input: &[u8]) -> Result<()> {
        let failed =
            || Error::new(format!("`git {}` failed", arguments.join(OsStr::new(" ")).to_string_lossy()));
        let mut child = self
            .command()
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failed().because(&error))?;
        let mut stdin = child.stdin.take().expect("standard input is a pipe");
        // A git that ended before reading everything says why on its standard error.
        stdin.write_all(input).await.ok();
        drop(stdin);
        let output = child.wait_with_output().await.map_err(|error| failed().because(&error))?;
        if output.status.success() {
            return Ok(());
        }
        Err(failed().why(String::from_utf8_lossy(&output.stderr).trim()))
    }
}

/// Makes a bare repository, whole or not at all; `branch` is what a clone of it checks out.
pub async fn make(git: &Git, repository: &Path, branch: &str, source: Source<'_>) -> Result<()> {
    let place = repository.parent().unwrap_or(Path::new("/"));
    files::make_private(place)?;
    let failed =
        |error| Error::new(format!("cannot make `{}`", repository.display())).because(&error as &io::Error);
    let part = tempfile::Builder::new().prefix(".part-").tempdir_in(place).map_err(failed)?;
    let bare = part.path().join("repository");
    let head = format!("refs/heads/{branch}");
    match source {
        Source::Lesson3 => import(git, &bare, &head).await?,
        Source::Checkout(checkout) => copy(git, checkout, &bare).await?,
    }
    git.run(&["-C".as_ref(), bare.as_ref(), "symbolic-ref".as_ref(), "HEAD".as_ref(), head.as_ref()], b"")
        .await?;
    fs::rename(&bare, repository).map_err(failed)
}

async fn import(git: &Git, bare: &Path, head: &str) -> Result<()> {
    git.run(&["check-ref-format".as_ref(), head.as_ref()], b"")
        .await
        .map_err(|error| error.within(format!("`{head}` is no name for a branch")))?;
    git.run(&["init".as_ref(), "-q".as_ref(), "--bare".as_ref(), "--template=".as_ref(), bare.as_ref()], b"")
        .await?;
    git.run(&["-C".as_ref(), bare.as_ref(), "fast-import".as_ref(), "--quiet".as_ref()], &lesson3(head)).await
}

async fn copy(git: &Git, checkout: &Path, bare: &Path) -> Result<()> {
    // Not by hard links: the copy must not share files with the original.
    let clone = ["clone", "-q", "--bare", "--no-local", "--template=", "--"].map(OsStr::new);
    git.run(&[&clone[..], &[checkout.as_ref(), bare.as_ref()]].concat(), b"").await?;
    git.run(&["-C".as_ref(), bare.as_ref(), "remote".as_ref(), "remove".as_ref(), "origin".as_ref()], b"")
        .await
}

/// Returns the example project as one commit on `head`, in the language of `git fast-import`.
fn lesson3(head: &str) -> Vec<u8> {
    let message = "lesson3: tell three kinds of iris apart\n";
    let mut stream = format!(
        "commit {head}\nauthor {SIGNATURE}\ncommitter {SIGNATURE}\ndata {}\n{message}",
        message.len()
    )
    .into_bytes();
    for (path, bytes) in FILES {
        stream.extend_from_slice(format!("M 100644 inline {path}\ndata {}\n", bytes.len()).as_bytes());
        stream.extend_from_slice(bytes);
        stream.push(b'\n');
    }
    stream.extend_from_slice(b"done\n");
    stream
}
