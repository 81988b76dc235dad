//! The laptop's own checkout: what of it the remote doesn't have, and who commits there.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use git2::{Config, ErrorCode, Oid, Repository, StatusOptions};

use super::address::same_remote;
use super::{GitEnvironment, is_hash};
use crate::credentials::SECRET_VARIABLES;
use crate::facts;

/// Reads the checkout around `spec_dir`, if one of its remotes is `url`.
///
/// `remote_tip` is the remote's present commit of `branch`; where it isn't here, what was last fetched
/// of that branch stands for it.
pub fn local_checkout(
    spec_dir: &Path,
    url: &str,
    branch: &str,
    remote_tip: Option<&str>,
) -> Option<facts::LocalCheckout> {
    match read_with_library(spec_dir, url, branch, remote_tip) {
        Ok(found) => found,
        Err(error) if error.code() == ErrorCode::NotFound => None,
        // The library knows fewer kinds of repositories than git itself.
        Err(_) => read_with_git(spec_dir, url, branch, remote_tip),
    }
}

/// Returns the root of the checkout of `url` that `spec_dir` lies in; `spec_dir` itself where it lies in none.
pub fn checkout_root(spec_dir: &Path, url: &str) -> PathBuf {
    let found = Repository::discover(spec_dir)
        .ok()
        .filter(|repository| remote_named(repository, url).is_ok_and(|remote| remote.is_some()));
    let root = found.and_then(|repository| repository.workdir().map(Path::to_path_buf));
    root.unwrap_or_else(|| spec_dir.to_path_buf())
}

/// Returns `user.name` and `user.email` as they hold for commits in `spec_dir`.
///
/// Isolated, only the `.gitconfig` in the environment's own `HOME` is read.
pub fn identity(spec_dir: &Path, environment: &GitEnvironment) -> (Option<String>, Option<String>) {
    let config = if environment.isolated {
        let home = environment.variables.iter().find(|(name, _)| name == "HOME");
        home.and_then(|(_, home)| Config::open(&Path::new(home).join(".gitconfig")).ok())
    } else {
        let repository = Repository::discover(spec_dir).and_then(|repository| repository.config());
        repository.or_else(|_| Config::open_default()).ok()
    };
    let text = |key| config.as_ref()?.get_string(key).ok().filter(|text| !text.trim().is_empty());
    (text("user.name"), text("user.email"))
}

fn read_with_library(
    directory: &Path,
    url: &str,
    branch: &str,
    remote_tip: Option<&str>,
) -> Result<Option<facts::LocalCheckout>, git2::Error> {
    let repository = Repository::discover(directory)?;
    let Some(remote) = remote_named(&repository, url)? else { return Ok(None) };
    let unpushed = match repository.refname_to_id(&format!("refs/heads/{branch}")) {
        Ok(tip) => unpushed(&repository, tip, &remote, branch, remote_tip)?,
        Err(error) if error.code() == ErrorCode::NotFound => 0,
        Err(error) => return Err(error),
    };
    let dirty = match repository.workdir() {
        // The library calls filtered files (LFS) changed; git itself decides.
        Some(workdir) => is_dirty(&repository)? && git_says_dirty(workdir).unwrap_or(true),
        None => false,
    };
    Ok(Some(facts::LocalCheckout { unpushed, dirty }))
}

fn remote_named(repository: &Repository, url: &str) -> Result<Option<String>, git2::Error> {
    for name in repository.remotes()?.iter().flatten().flatten() {
        if repository.find_remote(name)?.url().is_ok_and(|other| same_remote(other, url)) {
            return Ok(Some(name.to_owned()));
        }
    }
    Ok(None)
}

/// Counts the commits of the branch that the remote's branch lacks; all of them if it has none.
fn unpushed(
    repository: &Repository,
    tip: Oid,
    remote: &str,
    branch: &str,
    remote_tip: Option<&str>,
) -> Result<usize, git2::Error> {
    let here = remote_tip.and_then(|tip| Oid::from_str(tip).ok());
    let here = here.filter(|tip| repository.find_commit(*tip).is_ok());
    let base = here.or_else(|| repository.refname_to_id(&format!("refs/remotes/{remote}/{branch}")).ok());
    let mut walk = repository.revwalk()?;
    walk.push(tip)?;
    if let Some(base) = base {
        walk.hide(base)?;
    }
    walk.try_fold(0, |count, commit| commit.map(|_| count + 1))
}

fn is_dirty(repository: &Repository) -> Result<bool, git2::Error> {
    let mut options = StatusOptions::new();
    options.include_untracked(true).include_ignored(false).update_index(false);
    Ok(!repository.statuses(Some(&mut options))?.is_empty())
}

fn read_with_git(
    directory: &Path,
    url: &str,
    branch: &str,
    remote_tip: Option<&str>,
) -> Option<facts::LocalCheckout> {
    let urls = git(directory, &["config", "--get-regexp", r"^remote\..*\.url$"])?;
    let remote = urls.lines().find_map(|line| {
        let (key, other) = line.split_once(' ')?;
        same_remote(other, url).then(|| key.strip_prefix("remote.")?.strip_suffix(".url")).flatten()
    })?;
    let exists = |name: &str| {
        let commit = format!("{name}^{{commit}}");
        git(directory, &["rev-parse", "--verify", "--quiet", "--end-of-options", &commit]).is_some()
    };
    let tip = format!("refs/heads/{branch}");
    let tracked = format!("refs/remotes/{remote}/{branch}");
    let here = remote_tip.filter(|tip| is_hash(tip) && exists(tip));
    let base = here.or_else(|| exists(&tracked).then_some(tracked.as_str()));
    let mut arguments = vec!["rev-list", "--count", tip.as_str()];
    let hidden = base.map(|base| format!("^{base}"));
    arguments.extend(hidden.as_deref());
    let unpushed = git(directory, &arguments).and_then(|count| count.trim().parse().ok()).unwrap_or(0);
    Some(facts::LocalCheckout { unpushed, dirty: git_says_dirty(directory)? })
}

fn git_says_dirty(directory: &Path) -> Option<bool> {
    Some(!git(directory, &["status", "--porcelain=v2", "-z"])?.is_empty())
}

/// Asks git about the checkout, without running its hooks or writing its index.
fn git(directory: &Path, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new("git");
    for name in SECRET_VARIABLES.iter().chain(&["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"]) {
        command.env_remove(name);
    }
    let quiet = ["--no-optional-locks", "-c", "core.fsmonitor=false"];
    command.current_dir(directory).args(quiet).args(arguments).stdin(Stdio::null()).stderr(Stdio::null());
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}
