//! The git remote as the laptop sees it, and the laptop's own checkout with its history.
//!
//! The remote is asked with the system's git, which knows the user's ssh and url settings; nothing is
//! ever written to it or to the user's checkout.

mod address;
mod child;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod here;
mod history;
mod local;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use address::{host_of, same_remote, speaks_ssh};
pub use here::{Here, here};
pub use history::{Past, commits_between, past_locks};
pub use local::{checkout_root, identity, local_checkout};

use crate::digest::sha256_hex;
use crate::durable::{self, Kept, Moment};
use crate::error::{Error, ExitCode, Result};
use crate::provider::http::is_unprintable;
use child::Finished;

/// How long the remote may take to list its refs.
const LIST_LIMIT: Duration = Duration::from_secs(60);
/// How long the history may take to come; without filters it is the whole repo.
const FETCH_LIMIT: Duration = Duration::from_secs(600);
/// How long a question about what is already here may take.
const LOCAL_LIMIT: Duration = Duration::from_secs(60);

/// What git and ssh are run with.
#[derive(Clone, Debug, Default)]
pub struct GitEnvironment {
    /// Variables to set.
    pub variables: Vec<(String, String)>,
    /// `GIT_SSH_COMMAND`; without one, git's own setting, else plain `ssh`. Batch mode is added.
    pub ssh_command: Option<String>,
    /// The ssh agent's socket; none leaves the inherited one (or none at all, when isolated).
    pub agent: Option<PathBuf>,
    /// The directory for bare caches of remotes' histories. git runs in there, so every path in
    /// `ssh_command` and `variables` is absolute.
    pub cache: PathBuf,
    /// The sandbox: nothing is inherited but `PATH`, no system or user settings are read.
    pub isolated: bool,
}

/// One git remote.
#[derive(Clone, Debug)]
pub struct Remote {
    url: String,
    protocols: &'static str,
    environment: GitEnvironment,
    cache: PathBuf,
}

impl Remote {
    /// Returns the remote at an ssh or https url; nothing is asked yet.
    pub fn new(url: &str, environment: GitEnvironment) -> Result<Self> {
        address::check(url)?;
        Ok(Self::with_protocols(url, "ssh:https", environment))
    }

    /// Returns the remote in a directory.
    #[cfg(test)]
    fn in_directory(path: &Path, environment: GitEnvironment) -> Self {
        Self::with_protocols(path.to_str().unwrap(), "file", environment)
    }

    fn with_protocols(url: &str, protocols: &'static str, environment: GitEnvironment) -> Self {
        let cache = environment.cache.join(format!("{}.git", &sha256_hex(url.as_bytes())[..16]));
        Self { url: url.to_owned(), protocols, environment, cache }
    }

    /// Lists every ref with its commit, tags peeled, in one `git ls-remote`.
    pub async fn refs(&self) -> Result<BTreeMap<String, String>> {
        Ok(self.listing().await?.0)
    }

    /// Lists every ref as [`Remote::refs`] does, and the tags as they are, in one `git ls-remote`.
    pub async fn listing(&self) -> Result<(BTreeMap<String, String>, BTreeMap<String, String>)> {
        self.prepare_cache().await?;
        let listed = self.git(&["ls-remote", "--", &self.url], "", LIST_LIMIT).await?;
        if !listed.success() {
            return Err(self.unreachable(&listed));
        }
        Ok((refs_in(&listed.stdout), tags_in(&listed.stdout)))
    }

    /// Says of each commit whether it is reachable from the branches and tags in `refs`, the
    /// remote's present ones.
    ///
    /// Their history is fetched only when it isn't here yet. Commits of branches that were forced
    /// elsewhere may still be here; they don't count.
    pub async fn contained(
        &self,
        refs: &BTreeMap<String, String>,
        commits: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, bool>> {
        let tips: BTreeSet<&str> = refs.values().map(String::as_str).collect();
        let (equal, others): (Vec<_>, Vec<_>) =
            commits.iter().partition(|commit| tips.contains(commit.as_str()));
        let mut contained: BTreeMap<String, bool> =
            equal.into_iter().map(|commit| (commit.clone(), true)).collect();
        if others.is_empty() {
            return Ok(contained);
        }
        let tips = self.history_of(refs).await?;
        let known = self.known(others.iter().map(|commit| commit.as_str())).await?;
        for commit in others {
            let is_contained = known.contains(commit.as_str()) && self.reaches(&tips, commit).await?;
            contained.insert(commit.clone(), is_contained);
        }
        Ok(contained)
    }

    /// Says whether `ancestor` is `descendant` or one of its ancestors; `descendant` is reachable
    /// from `refs`.
    pub async fn is_ancestor(
        &self,
        refs: &BTreeMap<String, String>,
        ancestor: &str,
        descendant: &str,
    ) -> Result<bool> {
        if ancestor == descendant {
            return Ok(true);
        }
        self.history_of(refs).await?;
        let known = self.known([ancestor, descendant].into_iter()).await?;
        if !known.contains(descendant) {
            return Err(Error::new(format!("cannot find the commit `{descendant}` on `{}`", self.url))
                .why("none of the remote's branches and tags contains it"));
        }
        Ok(known.contains(ancestor)
            && self.reaches(&BTreeSet::from([descendant.to_owned()]), ancestor).await?)
    }

    /// Makes sure that the history of the refs' tips is here; returns the tips that are.
    async fn history_of(&self, refs: &BTreeMap<String, String>) -> Result<BTreeSet<String>> {
        self.prepare_cache().await?;
        let counts = |name: &str| name.starts_with("refs/heads/") || name.starts_with("refs/tags/");
        let tips: BTreeSet<&str> =
            refs.iter().filter(|(name, _)| counts(name)).map(|(_, tip)| tip.as_str()).collect();
        let known = self.known(tips.iter().copied()).await?;
        if known.len() == tips.len() {
            return Ok(known);
        }
        self.fetch().await?;
        // A tip that is missing even now was moved since it was listed: it proves nothing.
        self.known(tips.into_iter()).await
    }

    /// Fetches branches and tags without files, or with them where the remote can't leave them out.
    async fn fetch(&self) -> Result<()> {
        let filtered = self.fetch_with(&["--filter=tree:0"]).await?;
        if filtered.success() || address::is_permission(&filtered.stderr) {
            return if filtered.success() { Ok(()) } else { Err(self.unreachable(&filtered)) };
        }
        // The filter that was refused has been noted in the cache.
        let whole = self.fetch_with(&["--no-filter"]).await?;
        if whole.success() { Ok(()) } else { Err(self.unreachable(&whole)) }
    }

    async fn fetch_with(&self, options: &[&str]) -> Result<Finished> {
        let url = format!("remote.origin.url={}", self.url);
        let mut arguments = vec!["-c", &url, "-c", "gc.auto=0", "-c", "maintenance.auto=false", "fetch"];
        arguments.extend(["--quiet", "--no-tags", "--prune", "--force", "--no-write-fetch-head"]);
        arguments.extend(options);
        arguments.extend(["--", "origin", "+refs/heads/*:refs/remote/heads/*"]);
        arguments.push("+refs/tags/*:refs/remote/tags/*");
        self.git(&arguments, "", FETCH_LIMIT).await
    }

    /// Which of these are commits that are here.
    async fn known(&self, commits: impl Iterator<Item = &str>) -> Result<BTreeSet<String>> {
        // Anything else would be a question to git, not a name.
        let commits: Vec<&str> = commits.filter(|commit| is_hash(commit)).collect();
        let input: String = commits.iter().map(|commit| format!("{commit}\n")).collect();
        let listed = self.git(&["cat-file", "--batch-check"], &input, LOCAL_LIMIT).await?;
        if !listed.success() {
            return Err(self.broken_cache(&listed));
        }
        let is_commit = |line: &str| line.split(' ').nth(1) == Some("commit");
        Ok(listed
            .stdout
            .lines()
            .filter(|line| is_commit(line))
            .map(|line| first_word(line).to_owned())
            .collect())
    }

    /// Whether `commit` is one of the tips or an ancestor of one: nothing is left of it without them.
    async fn reaches(&self, tips: &BTreeSet<String>, commit: &str) -> Result<bool> {
        let mut input = format!("{commit}\n");
        tips.iter().for_each(|tip| input += &format!("^{tip}\n"));
        let left = self.git(&["rev-list", "--max-count=1", "--stdin"], &input, LOCAL_LIMIT).await?;
        if left.success() { Ok(left.stdout.trim().is_empty()) } else { Err(self.broken_cache(&left)) }
    }

    async fn prepare_cache(&self) -> Result<()> {
        if self.cache.join("HEAD").exists() {
            return Ok(());
        }
        let cache = self.cache.display();
        durable::point(Kept::GitCache, Moment::Before);
        // git obeys what it finds in there.
        super::private_folder(&self.cache)
            .map_err(|error| Error::new(format!("cannot create `{cache}`")).because(&error))?;
        let made = self.git(&["init", "--quiet", "--bare", "--template="], "", LOCAL_LIMIT).await?;
        durable::point(Kept::GitCache, Moment::Replaced);
        if made.success() { Ok(()) } else { Err(self.broken_cache(&made)) }
    }

    /// Runs git in the cache, so that no repo around the current directory has a say.
    async fn git(&self, arguments: &[&str], input: &str, limit: Duration) -> Result<Finished> {
        let mut command = child::git(&self.environment);
        command
            .current_dir(&self.cache)
            .env("GIT_DIR", ".")
            .env("GIT_ALLOW_PROTOCOL", self.protocols)
            .args(arguments);
        child::finish(command, input, limit).await
    }

    fn unreachable(&self, finished: &Finished) -> Error {
        let host = host_of(&self.url).map_or_else(|| "the host".to_owned(), |(host, _)| host);
        let denied = address::is_permission(&finished.stderr);
        let kind = if denied { ExitCode::Credentials } else { ExitCode::Error };
        let error =
            Error::of(kind, format!("cannot read the git remote `{}`", self.url)).why(finished.words());
        if denied {
            error.hint(format!("check that `ssh-add -l` lists a key that `{host}` knows"))
        } else if finished.stderr.contains("Host key verification failed") {
            error.hint(format!("run `ssh -T git@{host}` once and compare the fingerprint it shows"))
        } else {
            error.hint("check `repo.url` and the network")
        }
    }

    fn broken_cache(&self, finished: &Finished) -> Error {
        Error::new(format!("cannot read the history of `{}`", self.url))
            .why(finished.words())
            .hint(format!("delete `{}`: it is only a cache", self.cache.display()))
    }
}

/// Returns the lines of known_hosts that vouch for a git host, as the laptop knows it.
///
/// Under isolation the file must be given: the user's own is never read.
pub async fn known_hosts(
    host: &str,
    port: Option<u16>,
    environment: &GitEnvironment,
    file: Option<&Path>,
) -> Result<Vec<String>> {
    let name = match port {
        None | Some(22) => host.to_owned(),
        Some(port) => format!("[{host}]:{port}"),
    };
    let unknown = || {
        Error::new(format!("the key of the git host `{name}` is not known here")).hint(format!(
            "run `ssh -T {}git@{host}` once and compare the fingerprint it shows",
            port.filter(|port| *port != 22).map(|port| format!("-p {port} ")).unwrap_or_default()
        ))
    };
    if host.starts_with('-') || (file.is_none() && environment.isolated) {
        return Err(unknown());
    }
    let mut command = child::command("ssh-keygen", environment);
    command.args(["-F", &name]);
    if let Some(file) = file {
        command.arg("-f").arg(file);
    }
    let found = child::finish(command, "", LOCAL_LIMIT).await?;
    let lines: Vec<String> = found
        .stdout
        .lines()
        .filter(|line| !line.starts_with('#') && !line.trim().is_empty())
        .map(str::to_owned)
        .collect();
    if lines.is_empty() { Err(unknown()) } else { Ok(lines) }
}

/// Reads the tags among `ls-remote`'s lines, as they are.
fn tags_in(listing: &str) -> BTreeMap<String, String> {
    let lines = listing.lines().filter_map(|line| line.split_once('\t'));
    lines
        .filter(|(hash, name)| is_hash(hash) && name.starts_with("refs/tags/") && !name.ends_with("^{}"))
        .map(|(hash, name)| (name.to_owned(), hash.to_owned()))
        .collect()
}

/// Reads `ls-remote`'s lines; what a tag peels to stands behind `^{}` and replaces the tag object.
fn refs_in(listing: &str) -> BTreeMap<String, String> {
    // git refuses names with such characters itself; a listing that holds one is a hostile host's.
    let odd = |c: char| c.is_whitespace() || is_unprintable(c);
    let lines = || {
        let pairs = listing.lines().filter_map(|line| line.split_once('\t'));
        // A tag peels in one step.
        let known = |name: &str| !name.contains(odd) && !name.ends_with("^{}^{}");
        pairs.filter(move |(hash, name)| is_hash(hash) && known(name))
    };
    let plain = lines().filter(|(_, name)| !name.ends_with("^{}"));
    let peeled = lines().filter_map(|(hash, name)| Some((hash, name.strip_suffix("^{}")?)));
    plain.chain(peeled).map(|(hash, name)| (name.to_owned(), hash.to_owned())).collect()
}

fn is_hash(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn first_word(line: &str) -> &str {
    line.split(' ').next().unwrap_or_default()
}

#[cfg(test)]
mod tests;
