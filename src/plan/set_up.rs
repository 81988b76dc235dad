//! Set-up's part of the plan: the first step that hasn't run as it stands now, and all that come after it.
//!
//! What a step was given is its text, the steps before it, and the content of the inputs; what it did to the
//! server is nobody's to know, so a step is never taken for done by what is there.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{Blocked, Difference, Draft, Fresh, Kind, Note};
use crate::digest::ContentHash;
use crate::error::{Error, ExitCode, Result};
use crate::facts::{self, ArtifactFile, Server};
use crate::observed::Observed;
use crate::spec::{self, Spec};
use crate::world::SetUp;

/// Why a step of set-up is to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum StepReason {
    /// It hasn't run on this server.
    New,
    /// It began and didn't end well.
    Broke {
        /// Its exit code; none where it was cut short.
        code: Option<i32>,
    },
    /// Another command ran in its place.
    Text {
        /// That one.
        ran: String,
    },
    /// Inputs are others than when it ran.
    Inputs {
        /// Their paths.
        paths: Vec<String>,
    },
    /// A step before it runs.
    Earlier,
}

impl<'a> Draft<'a> {
    pub(super) fn bring_set_up(&mut self, fresh: Fresh) -> Result<()> {
        let Some(wanted) = &self.request.spec.setup else { return Ok(()) };
        let locked = self.locked_packages()?;
        let there = self.set_up().filter(|_| fresh == Fresh::No);
        match (fresh, there) {
            (Fresh::Unknown, _) => self.plan.desired.setup = self.plan.observed.setup.clone(),
            (Fresh::No, Some(there)) => self.compare_set_up(wanted, there, locked),
            (Fresh::Yes | Fresh::No, _) => self.plan_steps(wanted, &facts::SetUp::default(), 0, locked),
        }
        Ok(())
    }

    fn compare_set_up(&mut self, wanted: &spec::SetUp, there: &facts::SetUp, locked: Option<&[String]>) {
        let (inputs, unusable) = given(wanted, there);
        let ran = there
            .steps
            .iter()
            .zip(&wanted.run)
            .take_while(|(ran, wanted)| ran.run == **wanted && ran.inputs == inputs);
        let ran = ran.count();
        let moves = self
            .plan
            .actions
            .iter()
            .any(|action| matches!(action.kind(), Kind::FastForward { .. } | Kind::Clone { .. }));
        let is_complete = ran == wanted.run.len();
        if moves && (is_complete || !unusable.is_empty()) {
            // What the code brings shows at the next look.
            self.plan.desired.setup = self.plan.observed.setup.clone();
            if !wanted.inputs.is_empty() {
                self.note(Note::SetUpMayRun { inputs: wanted.inputs.clone() });
            }
            return;
        }
        if !is_complete && !unusable.is_empty() {
            self.plan.desired.setup = self.plan.observed.setup.clone();
            return self.plan.blocked.extend(unusable);
        }
        self.plan_steps(wanted, there, ran, locked);
        if is_complete && locked.is_none() {
            self.note_drift(there);
        }
    }

    /// Plans for the steps from `ran` on, and for the lock's packages behind them.
    fn plan_steps(
        &mut self,
        wanted: &spec::SetUp,
        there: &facts::SetUp,
        ran: usize,
        locked: Option<&[String]>,
    ) {
        let (inputs, _) = given(wanted, there);
        for (position, run) in wanted.run.iter().enumerate().skip(ran) {
            let why = reason(there, position, run, &inputs, position > ran);
            self.add(Kind::RunStep { position, run: run.clone(), why });
        }
        self.plan.desired.setup = Some(SetUp { run: wanted.run.clone(), inputs });
        if let Some(packages) = locked
            && (ran < wanted.run.len() || frozen_list(&there.packages) != packages)
        {
            self.add(Kind::InstallPackages { packages: packages.to_vec() });
        }
    }

    fn note_drift(&mut self, there: &facts::SetUp) {
        let Some(locked) = self.request.lock.and_then(|lock| lock.packages.as_ref()) else { return };
        let locked: BTreeMap<String, String> = locked
            .iter()
            .filter_map(|package| package.split_once("=="))
            .map(|(name, version)| (name.to_owned(), version.to_owned()))
            .collect();
        let names: BTreeSet<&String> = locked.keys().chain(there.packages.keys()).collect();
        let differences: Vec<Difference> = names
            .into_iter()
            .filter_map(|name| Difference::of(name, locked.get(name), there.packages.get(name)))
            .collect();
        if !differences.is_empty() {
            self.note(Note::PackagesDrifted { differences });
        }
    }

    fn locked_packages(&self) -> Result<Option<&'a [String]>> {
        if !self.request.locked {
            return Ok(None);
        }
        let locked = self.request.lock.and_then(|lock| lock.packages.as_deref());
        locked.map(Some).ok_or_else(|| {
            Error::of(ExitCode::Usage, "`--locked`: session.lock names no packages")
                .why("`--locked` brings what the lock says and resolves nothing anew")
                .hint("run `dacapo up` without `--locked` once, and commit session.lock")
        })
    }

    fn set_up(&self) -> Option<&'a facts::SetUp> {
        seen(self.observed)
    }

    /// What ran, as part of the world; a spec without set-up doesn't speak of it.
    pub(super) fn observed_set_up(&self) -> Option<SetUp> {
        let wanted = self.request.spec.setup.as_ref()?;
        let there = self.set_up()?;
        let first = there.steps.first()?;
        // Steps that the spec has no more have run all the same, and are nothing to undo.
        let alike = there.steps.iter().take_while(|step| step.inputs == first.inputs);
        let run = alike.map(|step| step.run.clone()).take(wanted.run.len()).collect();
        Some(SetUp { run, inputs: first.inputs.clone() })
    }
}

/// Returns the packages that set-up ended with, as a lock holds them; none where it hasn't ended.
pub(super) fn frozen(spec: &Spec, observed: &Observed) -> Option<Vec<String>> {
    let wanted = spec.setup.as_ref()?;
    let there = seen(observed)?;
    let ran = there.steps.iter().map(|step| &step.run).take(wanted.run.len());
    let freeze = there.freeze.as_ref().filter(|_| ran.eq(&wanted.run))?;
    Some(frozen_list(freeze))
}

fn frozen_list(packages: &BTreeMap<String, String>) -> Vec<String> {
    let mut all: Vec<String> = packages.iter().map(|(name, version)| format!("{name}=={version}")).collect();
    all.sort();
    all
}

fn seen(observed: &Observed) -> Option<&facts::SetUp> {
    match &observed.server {
        Server::Seen(probe) => probe.setup.as_ref(),
        Server::None | Server::Unreachable(_) => None,
    }
}

/// Returns what the inputs hold now, and those that can't be used.
fn given(wanted: &spec::SetUp, there: &facts::SetUp) -> (BTreeMap<String, ContentHash>, Vec<Blocked>) {
    let (mut inputs, mut unusable) = (BTreeMap::new(), Vec::new());
    for path in &wanted.inputs {
        let why = match there.inputs.get(path) {
            Some(ArtifactFile::File { content, .. }) => {
                inputs.insert(path.clone(), *content);
                continue;
            }
            Some(ArtifactFile::Unreadable { why }) => Some(why.clone()),
            Some(ArtifactFile::Missing) | None => None,
        };
        unusable.push(Blocked::SetUpInput { path: path.clone(), why });
    }
    (inputs, unusable)
}

fn reason(
    there: &facts::SetUp,
    position: usize,
    run: &str,
    inputs: &BTreeMap<String, ContentHash>,
    later: bool,
) -> StepReason {
    let broke = there.broke.as_ref().filter(|broke| position == there.steps.len() && broke.run == run);
    match (broke, there.steps.get(position)) {
        (Some(broke), _) => StepReason::Broke { code: broke.code },
        (None, None) => StepReason::New,
        (None, Some(ran)) if ran.run != run => StepReason::Text { ran: ran.run.clone() },
        (None, Some(_)) if later => StepReason::Earlier,
        (None, Some(ran)) => {
            let paths: BTreeSet<&String> = ran.inputs.keys().chain(inputs.keys()).collect();
            let differs = |path: &&String| ran.inputs.get(*path) != inputs.get(*path);
            StepReason::Inputs { paths: paths.into_iter().filter(differs).cloned().collect() }
        }
    }
}
