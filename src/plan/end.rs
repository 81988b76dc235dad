//! The end of a machine: what stands against it, and what it leaves behind.

use std::collections::BTreeMap;

use super::{Blocked, Draft, GuardState, Kind, Living, Note, Shown, stored_contents};
use crate::digest::ContentHash;
use crate::facts::{Instance, Repo, Server, Status, Volume};
use crate::guard::{self, Discard, Evidence, Finding, Guard};
use crate::observed::Observed;
use crate::spec::Spec;
use crate::world::World;

impl<'a> Draft<'a> {
    pub(super) fn end(&mut self) {
        self.forget_unknown();
        let Some(living) = self.machine else {
            if let Some(ours) = self.unrecorded() {
                self.add(Kind::Adopt { machine: ours.id.clone() });
                return;
            }
            self.let_go_of_named_disk();
            return self.settle();
        };
        self.plan.observed = self.observed_world(living);
        match &living.instance.status {
            Status::Discontinued => self.gone(living),
            Status::Deleting if living.rented.is_in_use() => self.unsettled(living),
            _ if self.is_protected(living) || self.make_way(living) || self.look_beside() => {}
            _ if self.request.keep_disk && living.rented.may_hold_work() => self.keep_disk(living),
            _ => self.delete(living),
        }
    }

    pub(super) fn forget_unknown(&mut self) {
        if let Some(unknown) = self.unknown {
            self.add(Kind::Forget { machine: unknown.id.clone() });
        }
    }

    /// An open create may still arrive, a machine may still be going: absence is waited for, not believed.
    pub(super) fn settle(&mut self) {
        let record = &self.observed.record;
        let going = self.observed.cloud.instances.iter().any(|instance| record.may_own(instance));
        if going || record.intent.is_some() || record.absence_from(self.observed.now()).is_some() {
            self.add(Kind::Settle);
        }
    }

    pub(super) fn unsettled(&mut self, living: Living<'_>) {
        let (machine, status) = (living.rented.id.clone(), living.instance.status.to_string());
        self.plan.blocked.push(Blocked::Unsettled { machine, status });
    }

    fn gone(&mut self, living: Living<'a>) {
        let named = self.request.discards.contains(&Discard::Gone);
        if living.rented.is_in_use() && !named {
            self.lost(living);
        } else {
            self.plan.observed = World::default();
            self.add(Kind::Forget { machine: living.rented.id.clone() });
            self.settle();
        }
    }

    /// Plans the end of a machine. One that is already going was judged when that was decided: nothing can
    /// be shown on it any more, and what is left to do is to wait until it is gone.
    pub(super) fn delete(&mut self, living: Living<'_>) {
        if living.instance.status != Status::Deleting {
            self.save_and_judge(living);
        }
        self.delete_judged(living);
    }

    /// Plans for work to be stored, and judges what is left.
    pub(super) fn save_and_judge(&mut self, living: Living<'_>) {
        self.note_unsaved();
        let used = living.rented.may_hold_work();
        let stored = if used { self.store_work() } else { Vec::new() };
        let repo = if used { self.save_branch() } else { self.observed.repo.clone() };
        self.judge(living, &stored, &repo);
    }

    pub(super) fn delete_judged(&mut self, living: Living<'_>) {
        let mut volumes = crate::record::volumes_of(living.instance);
        volumes.sort();
        self.note_kept_volumes(living, &volumes);
        self.add(Kind::Delete { machine: living.rented.id.clone(), volumes });
    }

    /// A volume that somebody attached goes on billing when the machine is gone, and isn't ours to delete.
    fn note_kept_volumes(&mut self, living: Living<'_>, going: &[String]) {
        let kept =
            |volume: &&Volume| living.instance.volumes.contains(&volume.id) && !going.contains(&volume.id);
        let mut kept: Vec<&Volume> = self.observed.cloud.volumes.iter().filter(kept).collect();
        kept.sort_by_key(|volume| &volume.id);
        kept.into_iter().for_each(|volume| self.note(left(volume)));
    }

    /// Judges the guards on the evidence as it will be once the planned versions are stored, and the remote
    /// has what is planned to be saved there.
    fn judge(&mut self, living: Living<'_>, will_be_stored: &[String], repo: &Repo) {
        if !living.rented.may_hold_work() {
            let evidence = vec![Shown::NeverUsed];
            self.plan.guards.push(GuardState {
                guard: Guard::Server,
                findings: Vec::new(),
                discarded: Vec::new(),
                evidence,
            });
            return;
        }
        let paths = artifact_paths(self.request.spec);
        let mut stored = stored_contents(self.request.spec, &self.observed.store.files);
        stored.extend(
            self.seen_artifacts()
                .into_iter()
                .filter_map(|(name, content)| will_be_stored.contains(&name).then_some(content)),
        );
        let evidence = Evidence { repo, ..evidence(self.request.spec, self.observed, &paths, &stored) };
        let all = guard::findings(&evidence);
        self.judge_findings(all, &Guard::ALL, will_be_stored);
    }

    /// Judges what would be lost although the disk stays, as far as the server could be looked at.
    pub(super) fn judge_kept(&mut self) {
        self.note_unsaved();
        let paths = BTreeMap::new();
        let all = guard::findings_kept(&evidence(self.request.spec, self.observed, &paths, &[]));
        self.judge_findings(all, &[Guard::Processes], &[]);
    }

    fn judge_findings(&mut self, mut all: Vec<Finding>, guards: &[Guard], will_be_stored: &[String]) {
        all.sort();
        let against = guard::uncovered(all.clone(), self.request.discards);
        for which in guards.iter().copied() {
            let findings: Vec<_> = against.iter().filter(|f| f.guard() == which).cloned().collect();
            let discarded: Vec<_> =
                all.iter().filter(|f| f.guard() == which && !against.contains(f)).cloned().collect();
            let shown = self.shown(which, will_be_stored, findings.is_empty() && discarded.is_empty());
            if !findings.is_empty() || !discarded.is_empty() || !shown.is_empty() {
                self.plan.guards.push(GuardState { guard: which, findings, discarded, evidence: shown });
            }
        }
    }

    fn shown(&self, guard: Guard, will_be_stored: &[String], clean: bool) -> Vec<Shown> {
        let Server::Seen(probe) = &self.observed.server else { return Vec::new() };
        match guard {
            Guard::Repo if self.saves().is_some() => self.saves().into_iter().collect(),
            Guard::Repo if clean => vec![probe.checkout.as_ref().map_or(Shown::NoCheckout, |checkout| {
                Shown::Pushed { tips: checkout.tips.len(), head: checkout.head.clone() }
            })],
            Guard::Artifacts => self.shown_artifacts(will_be_stored),
            Guard::Files if clean => vec![Shown::NoNewFiles],
            Guard::Processes if clean => vec![Shown::NoProcesses],
            _ => Vec::new(),
        }
    }

    fn saves(&self) -> Option<Shown> {
        self.plan.actions.iter().find_map(|action| match action.kind() {
            Kind::SaveBranch { files, tips, tags, .. } => {
                Some(Shown::WillBeSaved { files: files.len(), tips: tips.len().max(tags.len()) })
            }
            _ => None,
        })
    }

    /// Volumes of ours that no machine holds: deleted where our own receipt explains them, else shown.
    pub(super) fn leftover_volumes(&mut self) {
        let left_behind = |volume: &&Volume| {
            self.observed.owns_tags(&volume.tags)
                && !matches!(volume.status.as_str(), "deleted" | "deleting")
                && !self.is_held(volume)
        };
        let mut ours: Vec<&Volume> = self.observed.cloud.volumes.iter().filter(left_behind).collect();
        ours.sort_by_key(|volume| &volume.id);
        for volume in ours {
            if self.note_waiting(volume) {
                continue;
            }
            let named = self.request.discards.contains(&Discard::Volume(volume.id.clone()));
            let planned = self.plan.actions.iter().any(|action| {
                matches!(action.kind(), Kind::DeleteVolume { volume: other, .. } if *other == volume.id)
            });
            if planned {
                continue;
            }
            let deletable = volume.status == "detached" && volume.instance.is_none();
            if deletable && (named || self.is_explained(volume)) {
                self.add(Kind::DeleteVolume { volume: volume.id.clone(), name: volume.name.clone() });
            } else {
                self.note(left(volume));
            }
        }
    }

    /// Tells whether a machine that is there has the volume; the volume's own word may outlive its machine.
    fn is_held(&self, volume: &Volume) -> bool {
        let record = &self.observed.record;
        let there = |instance: &&Instance| {
            instance.status != Status::Discontinued && !record.gone.contains(&instance.id)
        };
        let recorded = self.machine.map(|living| living.instance);
        self.observed.cloud.instances.iter().chain(recorded).filter(there).any(|instance| {
            instance.volumes.contains(&volume.id) || volume.instance.as_ref() == Some(&instance.id)
        })
    }

    /// Tells whether a receipt of ours says that the volume was to go with a machine that did go.
    ///
    /// The recorded machine's own receipt counts once the machine is gone: before that it may have been
    /// written for a deletion that never happened, and the disk may have been worked on since. Where nobody was
    /// ever on a machine that is gone, it needs none.
    fn is_explained(&self, volume: &Volume) -> bool {
        let gone = self.machine.filter(|living| living.instance.status == Status::Discontinued);
        let unused = gone.and_then(|living| living.rented.unused_disk(living.instance));
        match gone {
            _ if unused.as_ref() == Some(&volume.id) => true,
            Some(living) if living.instance.volumes.contains(&volume.id) => {
                living.rented.ending.as_ref().is_some_and(|ending| ending.volumes.contains(&volume.id))
            }
            _ => self.observed.record.ended.as_ref().is_some_and(|ended| ended.volumes.contains(&volume.id)),
        }
    }
}

/// Gathers what the guards judge.
pub fn evidence<'a>(
    spec: &Spec,
    observed: &'a Observed,
    artifacts: &'a BTreeMap<String, String>,
    stored: &'a [ContentHash],
) -> Evidence<'a> {
    let remote = match &observed.server {
        Server::Seen(probe) => probe.checkout.as_ref().and_then(|checkout| checkout.remote.as_deref()),
        _ => None,
    };
    Evidence {
        machine: observed.record.machine.as_ref().map_or("", |machine| machine.id.as_str()),
        taken_at: observed.now(),
        server: &observed.server,
        repo: &observed.repo,
        url_matches: remote == Some(spec.repo.url.as_str()),
        artifacts,
        stored,
    }
}

/// Returns artifact name → path under the checkout.
pub fn artifact_paths(spec: &Spec) -> BTreeMap<String, String> {
    spec.artifacts.iter().map(|(name, artifact)| (name.clone(), artifact.path.clone())).collect()
}

fn left(volume: &Volume) -> Note {
    Note::LeftVolume {
        id: volume.id.clone(),
        name: volume.name.clone(),
        price_per_hour: volume.price_per_hour,
    }
}
