//! What the lists show: the world as it is or, when they lag, as it was a while ago.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Cloud;

/// How far the lists are behind, and what they showed since then.
#[derive(Default, Serialize, Deserialize)]
pub struct Lag {
    seconds: f64,
    /// Oldest first; empty while the lists don't lag.
    past: Vec<Page>,
}

/// Everything that could be listed at one time, as the API words it.
#[derive(Clone, Serialize, Deserialize)]
pub struct Page {
    at: Timestamp,
    /// All instances, those that are gone too.
    pub instances: Vec<Value>,
    /// The volumes that are not deleted.
    pub volumes: Vec<Value>,
}

impl Lag {
    /// Returns the newest time the lists may show.
    fn horizon(&self, now: Timestamp) -> Timestamp {
        let behind = SignedDuration::try_from_secs_f64(self.seconds).unwrap_or_default();
        now.checked_sub(behind).unwrap_or(Timestamp::MIN)
    }

    /// Adds a page unless it shows what the last one does, and drops those that are too old to be shown.
    fn keep(&mut self, page: Page) {
        let horizon = self.horizon(page.at);
        let same = |last: &Page| last.instances == page.instances && last.volumes == page.volumes;
        if !self.past.last().is_some_and(same) {
            self.past.push(page);
        }
        let shown = self.past.iter().rposition(|page| page.at <= horizon).unwrap_or(0);
        self.past.drain(..shown);
    }
}

impl Cloud {
    /// Makes the lists lag from now on; 0 makes them exact again.
    ///
    /// What came before now is not known: until the lag has passed they show the world as it is now.
    pub(super) fn set_lag(&mut self, seconds: f64, now: Timestamp) {
        self.lag.seconds = seconds.max(0.0);
        self.remember(now);
    }

    /// Keeps what the world looks like, for lists that lag.
    pub(super) fn remember(&mut self, now: Timestamp) {
        if self.lag.seconds > 0.0 {
            let page = self.page(now);
            self.lag.keep(page);
        } else {
            self.lag.past.clear();
        }
    }

    /// Returns what lists show now.
    pub(super) fn listed(&self, now: Timestamp) -> Page {
        let horizon = self.lag.horizon(now);
        let past = self.lag.past.iter().rfind(|page| page.at <= horizon);
        past.or(self.lag.past.first()).cloned().unwrap_or_else(|| self.page(now))
    }

    fn page(&self, at: Timestamp) -> Page {
        let living = self.volumes.iter().filter(|volume| volume.deleted.is_none());
        Page {
            at,
            instances: self.instances.iter().map(|instance| instance.json(self)).collect(),
            volumes: living.map(|volume| volume.json(self)).collect(),
        }
    }
}
