//! Saving to a branch: what of the work on the server git can carry to the remote before the end.

use super::{Draft, Kind};
use crate::facts::{Checkout, Dirty, Repo, Server, Tip};
use crate::spec::OnAbsent;

impl Draft<'_> {
    /// Plans to save what can be saved; returns what the remote will have then.
    ///
    /// What can't be carried stays what it is: a finding of its guard.
    pub(super) fn save_branch(&mut self) -> Repo {
        let mut repo = self.observed.repo.clone();
        let Some(checkout) = self.savable() else { return repo };
        let Checkout { snapshot, dirty, tips, .. } = checkout;
        let snapshot = snapshot.clone().filter(|commit| !repo.contains(commit));
        let lacking: Vec<&Tip> =
            tips.iter().filter(|tip| !repo.holds(tip) && tip.refused.is_none()).collect();
        if snapshot.is_none() && lacking.is_empty() {
            return repo;
        }
        let carried = dirty.iter().filter(|dirty| snapshot.is_some() && dirty.carried);
        let files: Vec<_> =
            carried.map(|Dirty { path, how, size, .. }| (path.clone(), how.clone(), *size)).collect();
        let tips = lacking.iter().filter(|tip| !repo.contains(&tip.commit));
        let tips: Vec<_> = tips.map(|tip| (tip.name.clone(), tip.commit.clone())).collect();
        let tags: Vec<_> =
            lacking.iter().filter_map(|tip| Some((tag_name(tip)?, tip.tag.clone()?))).collect();
        let commits = tips.iter().map(|(_, commit)| commit).chain(&snapshot);
        repo.contained.extend(commits.map(|commit| (commit.clone(), true)));
        repo.tags.extend(tags.iter().map(|(name, tag)| (format!("refs/tags/dacapo/{name}"), tag.clone())));
        if let Some(living) = self.machine {
            self.pin_host_key(living);
        }
        self.add(Kind::SaveBranch { snapshot, files, tips, tags });
        repo
    }

    /// The checkout, where the spec wants it saved and it is the spec's.
    fn savable(&self) -> Option<&Checkout> {
        let spec = &self.request.spec.repo;
        let Server::Seen(probe) = &self.observed.server else { return None };
        let checkout = probe.checkout.as_ref().filter(|_| self.observed.repo.refs.is_some())?;
        let ours = checkout.broken.is_none() && checkout.remote.as_ref() == Some(&spec.url);
        (spec.on_absent == OnAbsent::SaveBranch && ours).then_some(checkout)
    }
}

fn tag_name(tip: &Tip) -> Option<String> {
    tip.name.strip_prefix("tag ").map(str::to_owned)
}
