//! Faults on demand: what the HTTP services do wrong when they are told to, and how often they did.
//!
//! The plan is a list of rules, empty by default, given by a file (`dacapo sandbox serve --faults FILE`) or
//! over the admin routes. Both read the same JSON:
//!
//! ```json
//! {"rules": [
//!   {"service": "cloud", "method": "POST", "path": "/v1/instances", "fault": "capacity"},
//!   {"path": "/2/files/**", "skip": 2, "times": "always", "fault": {"delay": {"seconds": 90}}}
//! ], "ssh": {"cut": {"after_bytes": 4000}}}
//! ```
//!
//! `rule` says which calls a rule is about and when it strikes, [`Fault`] what it can do, and `catalogue`
//! what can be asked for by name. Rules are tried in order; each counts every call that it is about, and the
//! first whose turn it is strikes. The plan lives in memory only, like calls that are to land late: both are
//! gone when the process ends. Admin calls are never struck. `ssh` is for the way to the instances: see
//! `SshFaults`.

mod catalogue;
mod change;
mod line;
mod rule;
mod serve;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::watch;

pub(super) use self::line::{Lines, Scissors};
use self::rule::Times;
pub use self::rule::{Canned, Change, Fault, Plan, Rule};
pub(super) use self::serve::answer;
use super::clock::{Clock, later};
use super::process::Service;
use super::wire::Call;
use crate::error::{Error, ExitCode, Result};

/// How often somebody who waits for the sandbox's clock looks at it: it may jump.
const TICK: Duration = Duration::from_millis(10);

/// The rules in force and what became of them.
#[derive(Default)]
pub struct Faults {
    entries: Mutex<Vec<Arc<Entry>>>,
    /// How many calls are still to land.
    under_way: AtomicU64,
    changed: watch::Sender<()>,
}

/// A rule in force.
struct Entry {
    rule: Rule,
    since: Timestamp,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    matched: u64,
    struck: u64,
    /// For a stale rule: the first answer to each call, by the call.
    remembered: BTreeMap<String, Vec<u8>>,
}

/// A rule that is about to do its work on one call.
#[derive(Clone)]
pub(super) struct Strike {
    entry: Arc<Entry>,
}

/// One rule and how it went, as `GET /faults` shows it.
#[derive(Serialize)]
pub struct Told<'a> {
    /// What the journal calls its strikes.
    name: String,
    /// How many calls it was about.
    matched: u64,
    /// How often it struck.
    struck: u64,
    /// The rule itself.
    rule: &'a Rule,
}

impl Faults {
    /// Reads a plan from a file, for `sandbox serve --faults`.
    pub fn read(path: &Path) -> Result<Plan> {
        let wrong = || Error::of(ExitCode::Usage, format!("cannot use the fault plan `{}`", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| wrong().because(&error))?;
        Plan::parse(&text).map_err(|why| wrong().why(why).hint(catalogue::hint()))
    }

    /// Adds rules behind those in force; with `replace`, instead of them.
    pub(super) fn install(&self, rules: Vec<Rule>, replace: bool, now: Timestamp) {
        let entry = |rule| Arc::new(Entry { rule, since: now, counts: Mutex::default() });
        let mut entries = self.lock();
        if replace {
            entries.clear();
        }
        entries.extend(rules.into_iter().map(entry));
        self.changed.send_replace(());
    }

    /// Returns the rules in force, how often each has struck, and how many calls are still to land.
    pub fn told(&self) -> serde_json::Value {
        let entries = self.lock().clone();
        let told: Vec<Told<'_>> = entries.iter().map(|entry| entry.told()).collect();
        serde_json::json!({"rules": told, "under_way": self.under_way.load(Ordering::SeqCst)})
    }

    /// Returns whether no rule is in force.
    pub(super) fn are_none(&self) -> bool {
        self.lock().is_empty()
    }

    /// Counts a call with every rule that it matches, and returns the first whose turn it is.
    pub(super) fn strike(&self, service: Service, call: &Call) -> Option<Strike> {
        let entries = self.lock().clone();
        let mut struck = None;
        for entry in entries.iter().filter(|entry| entry.rule.is_about(service, call)) {
            let mut counts = entry.counts();
            counts.matched += 1;
            let its_turn = counts.matched > entry.rule.skip && entry.rule.times.allow(counts.struck);
            if struck.is_none() && its_turn {
                counts.struck += 1;
                struck = Some(Strike { entry: Arc::clone(entry) });
            }
        }
        struck
    }

    /// Returns whether a service takes no connections at present.
    fn is_closed(&self, service: Service, now: Timestamp) -> bool {
        let closes = |entry: &Arc<Entry>| match entry.rule.fault {
            Fault::Closed { seconds } if entry.rule.names(service) => {
                seconds.is_none_or(|seconds| now < later(entry.since, seconds))
            }
            _ => false,
        };
        self.lock().iter().any(closes)
    }

    fn departs(&self) {
        self.under_way.fetch_add(1, Ordering::SeqCst);
    }

    fn lands(&self) {
        self.under_way.fetch_sub(1, Ordering::SeqCst);
    }

    /// Returns what tells when rules were added or taken away.
    fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Entry>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn told(&self) -> Told<'_> {
        let counts = self.counts();
        Told { name: self.rule.title(), matched: counts.matched, struck: counts.struck, rule: &self.rule }
    }
}

impl Strike {
    fn title(&self) -> String {
        self.entry.rule.title()
    }

    fn fault(&self) -> &Fault {
        &self.entry.rule.fault
    }

    /// Takes the strike back: there was nothing in the answer to do it to.
    fn missed(&self) {
        self.entry.counts().struck -= 1;
    }

    /// Returns the first answer that was ever given to this call, if the present one is another.
    fn stale(&self, call: &Call, body: &[u8]) -> Option<Vec<u8>> {
        let key = format!("{} {:?} {:?}", call.path, call.query, call.body);
        let mut counts = self.entry.counts();
        let first = counts.remembered.entry(key).or_insert_with(|| body.to_vec());
        (first != body).then(|| first.clone())
    }
}

impl Times {
    fn allow(&self, struck: u64) -> bool {
        match self {
            Self::Always => true,
            Self::Exactly(most) => struck < *most,
        }
    }
}

/// Waits until the sandbox's clock shows `due`; it may jump there.
async fn until(clock: &Clock, due: Timestamp) {
    while clock.now() < due {
        tokio::time::sleep(TICK).await;
    }
}
