//! What the laptop's own checkout remembers: every lock it ever held, and the commits between two.

use std::collections::BTreeMap;
use std::path::Path;

use super::child::{self, Finished};
use super::{GitEnvironment, LOCAL_LIMIT, is_hash};
use crate::error::{Error, ExitCode, Result};
use crate::facts::{Commit, Side};

/// The largest lock that is read, in bytes; other programs' locks are larger, and no business of ours.
const LARGEST: u64 = 64 * 1024;
/// How many commits between two are told.
const COMMITS: usize = 50;

/// A lock file as some commit held it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Past {
    /// Where it stands, for people: `session.lock in 47a9150041`.
    pub at: String,
    /// Its text; what isn't UTF-8 is replaced.
    pub text: String,
}

/// Returns every lock file that any commit of the checkout around `directory` holds, on whatever ref: every
/// small file whose name ends in `.lock`.
///
/// None where there is no repository. Fails where part of the history isn't here: what it named can't be told.
pub async fn past_locks(directory: &Path, environment: &GitEnvironment) -> Result<Vec<Past>> {
    let checkout = Checkout { directory, environment };
    let Some(is_shallow) = checkout.is_shallow().await? else { return Ok(Vec::new()) };
    if is_shallow {
        return Err(Error::of(ExitCode::Refused, "cannot read every lock that the repo ever held")
            .why("the checkout is shallow: its older commits are not here")
            .hint("`git fetch --unshallow` brings them; then run the command again"));
    }
    checkout.texts(checkout.changes().await?).await
}

/// Returns the commits that only one of the two has, newest first; none where the checkout around `directory`
/// doesn't hold both.
pub async fn commits_between(
    directory: &Path,
    first: &str,
    second: &str,
    environment: &GitEnvironment,
) -> Option<Vec<Commit>> {
    if !is_hash(first) || !is_hash(second) {
        return None;
    }
    let checkout = Checkout { directory, environment };
    let (both, most) = (format!("{first}...{second}"), format!("--max-count={COMMITS}"));
    let form = "--format=%m%h %s";
    let log =
        ["-c", "log.showSignature=false", "log", "--no-color", "--left-right", &most, form, &both, "--"];
    let listed = checkout.git(&log, "").await.ok().filter(Finished::success)?;
    let commit = |line: &str| {
        let side = if line.starts_with('<') { Side::First } else { Side::Second };
        let (commit, subject) = line.get(1..)?.split_once(' ')?;
        Some(Commit { side, commit: commit.to_owned(), subject: subject.to_owned() })
    };
    Some(listed.stdout.lines().filter_map(commit).collect())
}

struct Checkout<'a> {
    directory: &'a Path,
    environment: &'a GitEnvironment,
}

impl Checkout<'_> {
    /// Tells whether history was left out; none where there is no repository.
    async fn is_shallow(&self) -> Result<Option<bool>> {
        let told = self.git(&["rev-parse", "--is-shallow-repository"], "").await?;
        if told.success() {
            return Ok(Some(told.stdout.trim() != "false"));
        }
        if told.stderr.contains("not a git repository") { Ok(None) } else { Err(self.unreadable(&told)) }
    }

    /// Returns blob → commit and path, for everything that was ever written to a lock.
    ///
    /// Both sides of a merge count, and what a merge itself wrote: git's usual ways of leaving out what
    /// didn't last are off.
    async fn changes(&self) -> Result<BTreeMap<String, (String, String)>> {
        let listed = self
            .git(
                &[
                    "-c",
                    "core.quotePath=false",
                    "-c",
                    "log.showSignature=false",
                    "log",
                    "--all",
                    "--full-history",
                    "-m",
                    "--root",
                    "--raw",
                    "--no-renames",
                    "--no-abbrev",
                    "--no-color",
                    "--format=commit %H",
                    "--",
                    ":(top,glob)**/*.lock",
                ],
                "",
            )
            .await?;
        if !listed.success() {
            return Err(self.unreadable(&listed));
        }
        let (mut found, mut commit) = (BTreeMap::new(), "");
        for line in listed.stdout.lines() {
            commit = line.strip_prefix("commit ").unwrap_or(commit);
            let Some((fields, path)) = line.strip_prefix(':').and_then(|line| line.split_once('\t')) else {
                continue;
            };
            let blob = fields.split(' ').nth(3).filter(|blob| blob.bytes().any(|digit| digit != b'0'));
            if let Some(blob) = blob {
                found.entry(blob.to_owned()).or_insert((commit.to_owned(), path.to_owned()));
            }
        }
        Ok(found)
    }

    async fn texts(&self, blobs: BTreeMap<String, (String, String)>) -> Result<Vec<Past>> {
        let names = |blobs: &mut dyn Iterator<Item = &str>| blobs.map(|blob| format!("{blob}\n")).collect();
        let all: String = names(&mut blobs.keys().map(String::as_str));
        let sizes = self.git(&["cat-file", "--batch-check"], &all).await?;
        let small = |line: &str| -> Option<String> {
            let mut words = line.split(' ');
            let (blob, _, size) = (words.next()?, words.next()?, words.next());
            // One that is missing is asked for all the same, and then found to be.
            size.is_none_or(|size| size.parse::<u64>().is_ok_and(|size| size <= LARGEST)).then(|| blob.into())
        };
        let wanted: Vec<String> = sizes.stdout.lines().filter_map(small).collect();
        let mut command = child::git(self.environment);
        command.current_dir(self.directory).args(["cat-file", "--batch"]);
        let asked: String = names(&mut wanted.iter().map(String::as_str));
        let output = child::output(command, &asked, LOCAL_LIMIT).await?;
        let texts = batch(&output.stdout).filter(|texts| texts.len() == wanted.len()).ok_or_else(|| {
            Error::of(ExitCode::Refused, "cannot read every lock that the repo ever held")
                .why("git lists versions of locks that are not in the checkout's object store")
                .hint("`git fetch --refetch` brings them; then run the command again")
        })?;
        let past = texts.into_iter().map(|(blob, text)| {
            let (commit, path) = &blobs[&blob];
            Past { at: format!("{path} in {}", &commit[..commit.len().min(10)]), text }
        });
        Ok(past.collect())
    }

    async fn git(&self, arguments: &[&str], input: &str) -> Result<Finished> {
        let mut command = child::git(self.environment);
        command.current_dir(self.directory).args(arguments);
        child::finish(command, input, LOCAL_LIMIT).await
    }

    fn unreadable(&self, finished: &Finished) -> Error {
        Error::new(format!("cannot read the history of the repo at `{}`", self.directory.display()))
            .why(finished.words())
    }
}

/// Reads what `git cat-file --batch` prints: blob and text; none when one is missing.
fn batch(mut printed: &[u8]) -> Option<Vec<(String, String)>> {
    let mut texts = Vec::new();
    while !printed.is_empty() {
        let end = printed.iter().position(|byte| *byte == b'\n')?;
        let header = std::str::from_utf8(&printed[..end]).ok()?;
        let (blob, size) = (header.split(' ').next()?, header.split(' ').nth(2)?.parse::<usize>().ok()?);
        let rest = &printed[end + 1..];
        let text = String::from_utf8_lossy(rest.get(..size)?).into_owned();
        texts.push((blob.to_owned(), text));
        printed = rest.get(size + 1..)?;
    }
    Some(texts)
}
