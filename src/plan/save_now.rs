//! The plan of `save`: a commit of what differs, its branch pushed, and the artifacts stored, with the session going on.
//!
//! What git can't carry forward without a decision of the user's is refused: nothing is ever merged or rebased.

use super::transfers::{no_server, push_all};
use super::{Blocked, Draft, Kind, Plan, Request};
use crate::error::{Error, ExitCode, Result};
use crate::facts::{Checkout, Dirty, Server};
use crate::observed::Observed;

/// Plans what saves the session now.
///
/// Needs a look that tells of everything whether it may be pushed. Fails where there is no server, or where its
/// checkout is in a state that saving would have to decide about.
pub fn plan_save(request: Request<'_>, observed: &Observed, message: &str) -> Result<Plan> {
    let mut draft = Draft::new(request, observed)?;
    let Server::Seen(probe) = &observed.server else { return Err(no_server(observed)) };
    if let Some(checkout) = &probe.checkout {
        draft.save_code(checkout, message)?;
    }
    push_all(&mut draft, request);
    super::money::bill(&mut draft);
    // Nothing else is said to differ: this plan is about nothing else.
    draft.plan.observed = draft.plan.desired.clone();
    Ok(draft.finish())
}

impl Draft<'_> {
    fn save_code(&mut self, checkout: &Checkout, message: &str) -> Result<()> {
        let branch = self.savable_branch(checkout)?;
        let mut files = Vec::new();
        for Dirty { path, how, size, carried, refused } in &checkout.dirty {
            if *carried && how != "filtered" {
                files.push((path.clone(), how.clone(), *size));
            } else {
                let why = match refused {
                    Some(why) => format!("{why}; `repo.save` takes it along"),
                    None => format!("it is {how}, which a commit of this checkout can't hold"),
                };
                self.plan.blocked.push(Blocked::LeftOut { path: path.clone(), why });
            }
        }
        for nested in checkout.nested.iter().filter(|nested| nested.changed + nested.unpushed > 0) {
            let why = "it is a repository of its own: save it there".to_owned();
            self.plan.blocked.push(Blocked::LeftOut { path: nested.path.clone(), why });
        }
        let tip = self.observed.repo.refs.as_ref().and_then(|refs| refs.get(&format!("refs/heads/{branch}")));
        if !files.is_empty() || tip != checkout.head.as_ref() {
            if let Some(living) = self.machine {
                self.pin_host_key(living);
            }
            let (message, head) = (message.to_owned(), checkout.head.clone());
            self.add(Kind::Commit { branch, message, files, head });
        }
        Ok(())
    }

    /// Returns the branch that is to be saved, where nothing has to be decided first.
    fn savable_branch(&self, checkout: &Checkout) -> Result<String> {
        let repo = &self.request.spec.repo;
        let refused = |why: String, hint: &str| {
            Error::of(ExitCode::Refused, format!("cannot save `{}` on the server", repo.path))
                .why(why)
                .hint(hint)
        };
        if let Some(why) = &checkout.broken {
            return Err(refused(why.clone(), "look at it: `dacapo ssh`"));
        }
        if checkout.remote.as_deref() != Some(repo.url.as_str()) {
            let found = checkout.remote.as_deref().unwrap_or("none");
            return Err(refused(
                format!("its remote is `{found}`, not `{}`", repo.url),
                "push it there yourself: `dacapo run -A -- git push`",
            ));
        }
        if let Some(what) = checkout.unfinished.first() {
            return Err(refused(
                format!("a {what} is under way"),
                "finish or abort it on the server: `dacapo ssh -A`, then `git status`",
            ));
        }
        if let Some(file) = checkout.dirty.iter().find(|dirty| dirty.how == "unmerged") {
            return Err(refused(
                format!("`{}` has conflicts", file.path),
                "resolve them on the server: `dacapo ssh -A`, then `git status`",
            ));
        }
        if checkout.branch.as_deref() != Some(repo.branch.as_str()) {
            let found = checkout.branch.as_ref().map_or_else(
                || "no branch (a detached HEAD)".to_owned(),
                |branch| format!("the branch `{branch}`"),
            );
            return Err(refused(
                format!("the checkout is on {found}, not on `{}`", repo.branch),
                "check the branch out there, or name the other one as `repo.branch`",
            ));
        }
        if self.observed.repo.refs.is_none() {
            let why = self.observed.repo.unreachable.clone().unwrap_or_default();
            return Err(refused(
                why,
                "check `repo.url`, and that `ssh-add -l` shows a key which may read it",
            ));
        }
        if !checkout.contains_wanted {
            return Err(refused(
                format!("the remote's `{}` has commits that the checkout lacks", repo.branch),
                "bring them together on the server: `dacapo ssh -A`, then `git pull`; or leave it to \
                 `on_absent = \"save-branch\"`, which saves to a branch of its own",
            ));
        }
        Ok(repo.branch.clone())
    }
}
