//! The checkout that a command runs in, as what a new session could bring to its server.

use std::path::Path;

use git2::Repository;

/// What the checkout says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Here {
    /// The remote that its branch follows, else `origin`, else the only one.
    pub url: Option<String>,
    /// The branch that it is on; none when detached.
    pub branch: Option<String>,
    /// The name of its top folder.
    pub folder: Option<String>,
}

/// Reads the checkout around `directory`; none where it lies in no repository.
pub fn here(directory: &Path) -> Option<Here> {
    let repository = Repository::discover(directory).ok()?;
    // An unborn branch has a name, and no commit yet.
    let head = repository.find_reference("HEAD").ok();
    let target = head.as_ref().and_then(|head| head.symbolic_target().ok().flatten());
    let branch = target.and_then(|target| target.strip_prefix("refs/heads/")).map(str::to_owned);
    let folder =
        repository.workdir().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    let remote = branch.as_deref().and_then(|branch| followed(&repository, branch));
    let remote = remote.or_else(|| sole_or_origin(&repository));
    let url = remote.and_then(|name| Some(repository.find_remote(&name).ok()?.url().ok()?.to_owned()));
    Some(Here { url, branch, folder })
}

fn followed(repository: &Repository, branch: &str) -> Option<String> {
    repository.config().ok()?.get_string(&format!("branch.{branch}.remote")).ok().filter(|name| name != ".")
}

fn sole_or_origin(repository: &Repository) -> Option<String> {
    let names = repository.remotes().ok()?;
    let names: Vec<&str> = names.iter().flatten().flatten().collect();
    match names.as_slice() {
        [one] => Some((*one).to_owned()),
        names => names.iter().find(|name| **name == "origin").map(|name| (*name).to_owned()),
    }
}
