//! When each step of an `apply` began and ended, kept on this laptop for `dacapo report`.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::live::stage_text;
use super::plan::action_text;
use super::printable;
use crate::event::{Event, Stage};

/// The format.
const VERSION: u32 = 1;
/// How much of what happens within a step is kept.
const STAGES: usize = 40;

/// One run's steps, in the order in which they began. Holds what was shown, and no more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Timeline {
    version: u32,
    /// The session's name.
    pub session: String,
    /// When the run began.
    pub began: Timestamp,
    /// The steps.
    pub steps: Vec<Timed>,
    /// Where the steps are that the present plan calls by these numbers.
    #[serde(skip)]
    places: BTreeMap<usize, usize>,
}

/// One step of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Timed {
    /// What it does.
    pub what: String,
    /// When it began, in seconds from the beginning of the run.
    pub from: f64,
    /// How many seconds it took; none where the run ended before it did.
    pub seconds: Option<f64>,
    /// Why it failed, if it did.
    pub failed: Option<String>,
    /// What happened within it, each with its second.
    pub stages: Vec<(f64, String)>,
}

impl Timeline {
    /// Returns the timeline of a run that begins now.
    pub fn begin(session: &str, began: Timestamp) -> Self {
        let session = session.to_owned();
        Self { version: VERSION, session, began, steps: Vec::new(), places: BTreeMap::new() }
    }

    /// Takes down what happened so long after the beginning.
    pub fn take(&mut self, event: &Event, at: Duration, currency: &str) {
        let at = at.as_secs_f64();
        match event {
            Event::Started { action } => {
                self.places.insert(action.id(), self.steps.len());
                let (what, stages) = (action_text(action, currency), Vec::new());
                self.steps.push(Timed { what, from: at, seconds: None, failed: None, stages });
            }
            // Neither belongs on one page: there may be thousands.
            Event::Progress {
                stage: Stage::Bytes { .. } | Stage::Said { .. } | Stage::Output { .. },
                ..
            } => {}
            Event::Progress { id, stage } => {
                if let Some(step) = self.step(*id).filter(|step| step.stages.len() < STAGES) {
                    step.stages.push((at, stage_text(stage, currency)));
                }
            }
            Event::Done { id, .. } => {
                if let Some(step) = self.step(*id) {
                    step.seconds = Some(at - step.from);
                }
            }
            Event::Failed { id, error } => {
                if let Some(step) = self.step(*id) {
                    step.seconds = Some(at - step.from);
                    step.failed = Some(printable(&error.what));
                }
            }
            Event::NotStarted { .. } => {}
        }
    }

    /// Returns how many seconds of the run its steps took.
    pub fn seconds(&self) -> f64 {
        self.steps.iter().map(Timed::to).fold(0.0, f64::max)
    }

    /// Returns the run as the JSON that is kept.
    pub fn to_json(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec_pretty(self).expect("a timeline has string keys only");
        text.push(b'\n');
        text
    }

    /// Reads a run that was kept; none where the text is no timeline of this format.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let timeline: Self = serde_json::from_slice(bytes).ok()?;
        let sound = |step: &Timed| step.from >= 0.0 && step.seconds.is_none_or(|seconds| seconds >= 0.0);
        (timeline.version == VERSION && timeline.steps.iter().all(sound)).then_some(timeline)
    }

    fn step(&mut self, id: usize) -> Option<&mut Timed> {
        self.steps.get_mut(*self.places.get(&id)?)
    }
}

impl Timed {
    /// Returns when it ended or was last heard of, in seconds from the beginning of the run.
    pub fn to(&self) -> f64 {
        let heard = self.stages.last().map_or(self.from, |(at, _)| *at);
        self.seconds.map_or(heard, |seconds| self.from + seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::plan::{Action, Kind};

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn steps_have_their_times_whatever_their_numbers_are_in_later_rounds() {
        let mut timeline = Timeline::begin("lesson3", Timestamp::UNIX_EPOCH);
        let action = || Action::unplanned(Kind::Ready);
        let done = || Event::Done { id: 0, seconds: 1.0 };
        let said = |text: &str| Event::Progress { id: 0, stage: Stage::Status { status: text.to_owned() } };
        for (event, second) in [
            (Event::Started { action: action() }, 1),
            (said("running"), 2),
            (Event::Progress { id: 0, stage: Stage::Bytes { done: 1, total: None } }, 3),
            (done(), 4),
            (Event::Started { action: action() }, 10),
            (said("gone"), 12),
            (Event::Failed { id: 0, error: Error::new("no\u{1b}[2J") }, 15),
            (Event::Started { action: action() }, 16),
            (said("interrupted"), 17),
        ] {
            timeline.take(&event, at(second), "usd");
        }
        let steps: Vec<_> = timeline.steps.iter().map(|step| (step.from, step.seconds, step.to())).collect();
        assert_eq!(steps, [(1.0, Some(3.0), 4.0), (10.0, Some(5.0), 15.0), (16.0, None, 17.0)]);
        assert_eq!(timeline.steps[0].stages, [(2.0, "running".to_owned())]);
        assert_eq!(timeline.steps[1].failed.as_deref(), Some("no\u{fffd}[2J"));
        assert_eq!(timeline.seconds(), 17.0);
        let read = Timeline::parse(&timeline.to_json()).unwrap();
        assert_eq!(read.steps, timeline.steps);
    }

    #[test]
    fn what_is_no_timeline_of_this_format_is_none() {
        let timeline = Timeline::begin("lesson3", Timestamp::UNIX_EPOCH);
        let text = String::from_utf8(timeline.to_json()).unwrap();
        assert!(Timeline::parse(text.replace("\"version\": 1", "\"version\": 2").as_bytes()).is_none());
        assert!(Timeline::parse(b"{").is_none());
    }
}
