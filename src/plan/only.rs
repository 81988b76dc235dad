//! Plans that are cut down to a part of themselves.

use std::fmt;
use std::str::FromStr;

use super::{Action, Kind, Plan};

/// A part of a session, as `--only` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The machine, its disk, its volumes, and what the record says of them.
    Machine,
    /// The checkout.
    Code,
    /// The artifacts.
    Artifacts,
    /// The steps of set-up, and the packages that a lock names.
    SetUp,
    /// The notebook server.
    Notebook,
}

impl Part {
    /// Every part.
    pub const ALL: [Self; 5] = [Self::Machine, Self::Code, Self::Artifacts, Self::SetUp, Self::Notebook];

    /// Returns the word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Machine => "machine",
            Self::Code => "code",
            Self::Artifacts => "artifacts",
            Self::SetUp => "setup",
            Self::Notebook => "notebook",
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|part| part.name() == text).ok_or_else(|| {
            let all = Self::ALL.map(Self::name).join(", ");
            format!("no part of a session is called that; there are {all}")
        })
    }
}

impl Kind {
    /// Returns the part of the session that it is about.
    pub fn part(&self) -> Part {
        match self {
            Self::Settle
            | Self::Adopt { .. }
            | Self::EndTwin { .. }
            | Self::MakeWay { .. }
            | Self::Forget { .. }
            | Self::RegisterKey { .. }
            | Self::Create { .. }
            | Self::CheckStock { .. }
            | Self::Recover { .. }
            | Self::RestoreVolume { .. }
            | Self::Start { .. }
            | Self::Ready
            | Self::SetUp
            | Self::Delete { .. }
            | Self::NoteLimits { .. }
            | Self::Purge { .. }
            | Self::KeepDisk { .. }
            | Self::DeleteVolume { .. } => Part::Machine,
            Self::Clone { .. } | Self::FastForward { .. } | Self::SaveBranch { .. } | Self::Commit { .. } => {
                Part::Code
            }
            Self::Store { .. } | Self::Pull { .. } | Self::DeleteVersion { .. } => Part::Artifacts,
            Self::RunStep { .. } | Self::InstallPackages { .. } => Part::SetUp,
            Self::StartNotebook { .. } | Self::StopNotebook => Part::Notebook,
        }
    }
}

impl Kind {
    /// Tells whether what comes after it may need it: code and artifacts are brought to a machine that is there.
    fn makes_ready(&self) -> bool {
        let aside = matches!(
            self,
            Self::SetUp | Self::NoteLimits { .. } | Self::Purge { .. } | Self::DeleteVolume { .. }
        );
        self.part() == Part::Machine && !aside
    }
}

impl Plan {
    /// Leaves out the actions of the other parts, but not what has to come before; returns how many they are.
    ///
    /// The guards stay as they are, and are asked again before anything goes: what was left out protects nothing.
    pub(super) fn keep_only(&mut self, parts: &[Part]) -> usize {
        let all = std::mem::take(&mut self.actions);
        let count = all.len();
        let wanted = |action: &Action| parts.contains(&action.kind().part());
        let last = all.iter().rposition(wanted).unwrap_or(0);
        for (place, action) in all.iter().enumerate() {
            if wanted(action) || (place < last && action.kind().makes_ready()) {
                let again = Action::new(action.kind().clone(), &self.actions);
                self.actions.push(again);
            }
        }
        count - self.actions.len()
    }
}
