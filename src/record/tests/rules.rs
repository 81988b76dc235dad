//! Rules that are weaker than ours, to see that the explorations find them out.

use super::cloud::*;
use super::explore::explore_every;
use super::stories::STORIES;
use super::*;

/// The rule under test: ours, and weaker ones. Most are known from other tools' bug reports.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Rule {
    Ours,
    /// Absence is believed after so many ticks.
    Window(i64),
    /// An open create is waited out by `up`, and `down` believes the list.
    NoWindowOnDown,
    /// The list is looked at once, and then the POST is sent again.
    LooksOnce,
    /// The POST is sent without a note of it.
    NoIntent,
    /// The POST is sent however long ago its intent was noted.
    SendsLate,
    /// The window is counted from the note of the intent, although the POST may be sent later.
    CountsFromTheNote,
    /// The POST is sent again at once when its answer doesn't come.
    PostsTwice,
    /// Nothing on the machine says whose it is.
    NoMark,
    /// The id is noted only after the machine has come up.
    LateId,
    /// Both: the id is noted late, and nothing before.
    NoIntentAndLateId,
    /// A kill in the middle of writing the record leaves none.
    TornRecord,
    /// A lease that was left behind stays.
    LeaseForEver,
    /// A recorded machine that the list doesn't show is taken to be gone.
    ListedOrGone,
    /// A create whose outcome isn't known is for a person to sort out.
    AsksAPerson,
    /// A machine that vanished is for a person to sort out.
    VanishedIsForAPerson,
    /// A machine that is gone is forgotten at once.
    NoGone,
    /// A disk that was kept is forgotten.
    NoDisk,
    /// A machine that is to leave its disk is deleted with it.
    DeleteDisk,
    /// A machine is deleted before its work is saved.
    NotSaved,
    /// The record is written over whatever is there.
    NoCompare,
    /// The lease isn't renewed before an order or a deletion.
    NotRenewed,
    /// Somebody else's lease is taken over at once.
    LeaseIgnored,
}

impl Rule {
    /// The times that the rule rests on.
    pub(super) fn times(self, goal: &Goal) -> Times {
        let short = |ticks| Times { window: SignedDuration::from_secs(ticks * TICK), ..Times::OURS };
        let at_once = Times { send_within: SignedDuration::ZERO, ..short(0) };
        match (self, goal) {
            (Self::Window(ticks), _) => short(ticks),
            (Self::NoWindowOnDown, Goal::Absent | Goal::Kept) => at_once,
            (Self::LooksOnce, _) => Times { send_within: SignedDuration::from_secs(TICK), ..short(0) },
            (Self::CountsFromTheNote, _) => short(LAG + LATE - 1),
            (Self::SendsLate, _) => Times { send_within: SignedDuration::from_hours(24), ..Times::OURS },
            _ => Times::OURS,
        }
    }

    pub(super) fn order(self, intent: &Intent) -> Order {
        Order { unmarked: self == Self::NoMark, ..Order::of(intent) }
    }

    pub(super) fn notes_late(self) -> bool {
        matches!(self, Self::LateId | Self::NoIntentAndLateId)
    }

    pub(super) fn notes_no_intent(self) -> bool {
        matches!(self, Self::NoIntent | Self::NoIntentAndLateId)
    }
}

/// The story that finds a rule out: with one fault or, where that doesn't do, with two.
fn found_out(rule: Rule) -> Option<String> {
    let tries = [0, 1, 2].into_iter().flat_map(|depth| STORIES.iter().map(move |story| (depth, story)));
    tries.into_iter().find_map(|(depth, story)| {
        let found = explore_every(1, rule, story, depth);
        let told = || format!("`{}` with up to {depth} faults: {found:?}", story.name);
        (found.violations() > 0).then(told)
    })
}

/// A test that can't fail proves nothing: each broken rule is found out.
#[test]
fn every_broken_rule_is_found_out() {
    for rule in [
        Rule::Window(LAG + LATE - 3),
        Rule::NoWindowOnDown,
        Rule::LooksOnce,
        Rule::NoIntent,
        Rule::NoIntentAndLateId,
        Rule::PostsTwice,
        Rule::NoMark,
        Rule::TornRecord,
        Rule::LeaseForEver,
        Rule::ListedOrGone,
        Rule::AsksAPerson,
        Rule::VanishedIsForAPerson,
        Rule::NoGone,
        Rule::NoDisk,
        Rule::DeleteDisk,
        Rule::NotSaved,
    ] {
        let by = found_out(rule);
        println!("{rule:?} is found out by {}", by.as_deref().unwrap_or("nothing"));
        assert!(by.is_some(), "{rule:?} is not found out");
    }
}

/// The POST may be sent a minute after its intent was noted: one that was must be waited for so much longer.
#[test]
fn a_window_that_is_counted_from_the_note_of_the_intent_is_found_out() {
    let found = |rule| explore_every(1, rule, &STORIES[1], 2);
    assert!(found(Rule::CountsFromTheNote).billing > 0);
    assert_eq!(found(Rule::Window(LAG + LATE - 1)).violations(), 0, "the same window, counted as we do");
}

/// The window needs no more than this: the list's lag, the latest arrival of a POST, and one tick.
#[test]
fn a_window_of_lag_and_latest_arrival_and_one_tick_is_enough() {
    for story in &STORIES[..2] {
        let found = explore_every(1, Rule::Window(LAG + LATE + 1), story, 2);
        assert_eq!(found.violations(), 0, "{}: {found:?}", story.name);
    }
}

/// Noting the id at once shortens the wait; that nothing goes wrong without it is the intent's doing.
#[test]
fn an_id_that_is_noted_late_is_healed_by_the_intent() {
    for story in &STORIES[..2] {
        let found = explore_every(1, Rule::LateId, story, 2);
        assert_eq!(found.violations(), 0, "{}: {found:?}", story.name);
    }
}
