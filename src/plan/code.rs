//! The code's part of the plan: brought once, then the user's; only ever fast-forwarded.

use super::machine::quoted;
use super::{Blocked, Draft, Fresh, Kind, Work};
use crate::error::{Error, ExitCode, Result};
use crate::facts::{Checkout, Server};
use crate::spec::nearest;
use crate::world::Code;

impl Draft<'_> {
    pub(super) fn bring_code(&mut self, fresh: Fresh) -> Result<()> {
        if fresh == Fresh::Unknown {
            self.plan.desired.code = self.plan.observed.code.clone();
            return Ok(());
        }
        let commit = self.wanted_commit()?;
        let repo = &self.request.spec.repo;
        self.plan.desired.code =
            Some(Code { url: repo.url.clone(), branch: repo.branch.clone(), commit: commit.clone() });
        let observed = self.observed;
        match (&observed.server, fresh) {
            (Server::Seen(probe), Fresh::No) => match &probe.checkout {
                Some(checkout) => self.compare_checkout(checkout, &commit),
                None => drop(self.add(Kind::Clone { commit })),
            },
            _ => drop(self.add(Kind::Clone { commit })),
        }
        Ok(())
    }

    fn wanted_commit(&self) -> Result<String> {
        let repo = &self.request.spec.repo;
        let Some(refs) = &self.observed.repo.refs else {
            let why = self.observed.repo.unreachable.clone().unwrap_or_default();
            let kind = if self.observed.repo.denied { ExitCode::Credentials } else { ExitCode::Error };
            return Err(Error::of(kind, format!("cannot ask `{}` for its branches", repo.url))
                .why(why)
                .hint("check `repo.url`, and that `ssh-add -l` shows a key which may read it"));
        };
        let branch = format!("refs/heads/{}", repo.branch);
        let Some(tip) = refs.get(&branch) else {
            let names: Vec<&str> = refs.keys().filter_map(|name| name.strip_prefix("refs/heads/")).collect();
            let what = format!("`{}` has no branch `{}`", repo.url, repo.branch);
            let near = nearest(&repo.branch, names.iter().copied());
            let hint = near.map_or_else(
                || "push the branch, or correct `repo.branch`".to_owned(),
                |near| format!("did you mean `{near}`?"),
            );
            return Err(Error::of(ExitCode::Usage, what)
                .why(format!("its branches: {}", quoted(&names)))
                .hint(hint));
        };
        if !self.request.locked {
            return Ok(tip.clone());
        }
        let locked = self.request.lock.and_then(|lock| lock.commit.clone());
        match locked {
            Some(commit) => Ok(commit),
            // The lock leaves the commit out where the spec lies in the repo: the checkout's own is meant.
            None if self.observed.laptop.spec_in_repo => Ok(tip.clone()),
            None => Err(Error::of(ExitCode::Usage, "`--locked`: session.lock names no commit")
                .why("`--locked` brings what the lock says and resolves nothing anew")
                .hint("run `dacapo up` without `--locked` once, and commit session.lock")),
        }
    }

    fn compare_checkout(&mut self, checkout: &Checkout, wanted: &str) {
        let repo = &self.request.spec.repo;
        if let Some(why) = &checkout.broken {
            self.keep_code();
            return self.plan.blocked.push(Blocked::Checkout { why: why.clone() });
        }
        if checkout.remote.as_deref() != Some(repo.url.as_str()) {
            let found = checkout.remote.as_deref().unwrap_or("none");
            let why = format!("its remote is `{found}`, not `{}`", repo.url);
            self.keep_code();
            return self.plan.blocked.push(Blocked::Checkout { why });
        }
        let unpushed = self.unpushed(checkout);
        let dirty = checkout.dirty.len() + checkout.nested.len();
        let has_work = !unpushed.is_empty() || dirty > 0 || !checkout.unfinished.is_empty();
        if has_work {
            self.plan.work.push(Work::Code { unpushed: unpushed.clone(), dirty });
        }
        if checkout.branch.as_deref() != Some(repo.branch.as_str()) {
            return self.on_another_branch(checkout);
        }
        let head = checkout.head.clone().unwrap_or_default();
        if head == wanted {
            return;
        }
        let behind = self.observed.repo.head_behind == Some(true);
        let clean = checkout.dirty.is_empty() && checkout.unfinished.is_empty();
        if checkout.contains_wanted {
            self.keep_code();
        } else if behind && clean {
            self.add(Kind::FastForward { from: head, to: wanted.to_owned() });
        } else {
            self.plan.blocked.push(Blocked::BehindWithWork { to: wanted.to_owned() });
        }
    }

    /// A branch that the user checked out is work; one that the spec left behind is a change.
    fn on_another_branch(&mut self, checkout: &Checkout) {
        let wanted = &self.request.spec.repo.branch;
        let spec_moved = self.base().and_then(|base| base.branch.as_ref()).is_none_or(|base| base != wanted);
        if spec_moved {
            self.plan.blocked.push(Blocked::OtherBranch { found: checkout.branch.clone() });
        } else {
            self.keep_code();
            if !self.plan.work.iter().any(|work| matches!(work, Work::Code { .. })) {
                let name = checkout.branch.clone().unwrap_or_else(|| "a detached HEAD".to_owned());
                self.plan.work.push(Work::Code { unpushed: vec![name], dirty: 0 });
            }
        }
    }

    fn unpushed(&self, checkout: &Checkout) -> Vec<String> {
        let contained = |commit: &String| self.observed.repo.contained.get(commit) == Some(&true);
        let mut names: Vec<String> =
            checkout.tips.iter().filter(|tip| !contained(&tip.commit)).map(|tip| tip.name.clone()).collect();
        names.sort();
        names
    }

    /// Work is never a change to undo: what is there counts as what is wanted.
    fn keep_code(&mut self) {
        self.plan.desired.code = self.plan.observed.code.clone();
    }
}
