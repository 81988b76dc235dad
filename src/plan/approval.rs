//! What approving a plan approves.

use serde::Serialize;

use super::{Action, Blocked, GuardState, Plan};
use crate::world::World;

/// The part of a plan that a person approves: what is made different, by which actions, and what stands against it.
///
/// Money, notes and the hour may be others by the time that it is carried out.
#[derive(Debug, PartialEq, Serialize)]
pub struct Approval<'a> {
    session: &'a str,
    desired: &'a World,
    actions: &'a [Action],
    blocked: Vec<Blocked>,
    guards: Vec<GuardState>,
}

impl Plan {
    /// Returns what approving this plan approves.
    ///
    /// In which words somebody didn't answer is no part of it: a bad connection has others each time. Nor is which
    /// programs run, for a job starts new ones all the time: where they are named as a loss, all of them are, and
    /// where they aren't, whichever of them stops the end.
    pub fn approval(&self) -> Approval<'_> {
        Approval {
            session: &self.session,
            desired: &self.desired,
            actions: &self.actions,
            blocked: self.blocked.iter().map(Blocked::wordless).collect(),
            guards: self.guards.iter().filter_map(GuardState::approved).collect(),
        }
    }

    /// Tells whether two plans ask for the same approval.
    pub fn agrees_with(&self, other: &Self) -> bool {
        self.approval() == other.approval()
    }
}
