//! What is to go wrong between a laptop and the instances, on demand, whichever server answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// A plan of SSH faults; what is left out goes well.
///
/// Bytes and delays are the link's, the rest is the server's. Connections to the git host are spared.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SshFaults {
    /// Only so many connections are concerned, counted from the next one; every one when missing.
    pub connections: Option<u32>,
    /// Nobody listens: connections are refused.
    pub refuse: bool,
    /// When connections break.
    pub cut: Option<Moment>,
    /// When bytes stop both ways while connections stay; they never flow again.
    pub stall: Option<Moment>,
    /// How many bytes pass in a real second, each way.
    pub bytes_per_second: Option<u64>,
    /// How long each byte is under way, each way, in real milliseconds.
    pub delay_ms: Option<u64>,
    /// The server shows another host key, as an impostor does.
    pub other_host_key: bool,
    /// The startup script hasn't set the host key: the server shows the image's own.
    pub no_startup_script: bool,
    /// The server lets no key in.
    pub refuse_key: bool,
    /// The server forwards no agent, as with `AllowAgentForwarding no`.
    pub no_agent: bool,
    /// How many sessions a connection may have at once, as with `MaxSessions`; 10 when missing.
    pub max_sessions: Option<u16>,
    /// What is said before logging in, as with `Banner`.
    pub banner: Option<String>,
    /// Where conversations with commands stop; the connection stays.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hold: Vec<Hold>,
}

/// A place in what commands are asked and answer, behind which nothing passes any more.
///
/// For the sandbox's own server; a real sshd lets nobody look in.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hold {
    /// Text in what a command is sent, which doesn't reach it.
    pub asked: String,
    /// With this, what was asked passes, and the answer is held back from this text on: its work is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered: Option<String>,
    /// How many that ask the same pass unharmed first.
    #[serde(default)]
    pub skip: u64,
    #[serde(skip)]
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    met: AtomicU64,
    held: AtomicBool,
}

impl PartialEq for Hold {
    fn eq(&self, other: &Self) -> bool {
        (&self.asked, &self.answered, self.skip) == (&other.asked, &other.answered, other.skip)
    }
}

impl Hold {
    /// Counts a question; returns whether it is the one.
    pub(super) fn meet(&self) -> bool {
        self.counts.met.fetch_add(1, Ordering::SeqCst) == self.skip
    }

    /// Hears that bytes are held back.
    pub(super) fn hold(&self) {
        self.counts.held.store(true, Ordering::SeqCst);
    }

    /// Returns how many questions it met, and whether one of them is held.
    fn told(&self) -> serde_json::Value {
        let (met, held) = (self.counts.met.load(Ordering::SeqCst), self.counts.held.load(Ordering::SeqCst));
        serde_json::json!({"hold": self, "met": met, "held": held})
    }
}

/// A point in a connection's life; with neither number it has come already, with both the first counts.
///
/// A connection that is open when the plan is made counts from then on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Moment {
    /// How many bytes have passed, both ways together.
    pub after_bytes: Option<u64>,
    /// How many sandbox seconds have passed.
    pub after_seconds: Option<f64>,
}

/// The plan in force; clones share it.
#[derive(Clone)]
pub struct Plan {
    current: Arc<watch::Sender<Arc<SshFaults>>>,
}

impl Default for Plan {
    fn default() -> Self {
        Self { current: Arc::new(watch::Sender::new(Arc::default())) }
    }
}

impl Plan {
    /// Puts a plan in place of the one before; a plan without `connections` concerns open ones too.
    pub fn set(&self, faults: SshFaults) {
        self.current.send_replace(Arc::new(faults));
    }

    /// Returns what a new connection meets, and counts it.
    pub fn meet(&self) -> Arc<SshFaults> {
        let mut met = Arc::default();
        self.current.send_if_modified(|current| {
            met = match current.connections {
                Some(0) => Arc::default(),
                _ => Arc::clone(current),
            };
            if let Some(left @ 1..) = current.connections {
                *current = Arc::new(SshFaults { connections: Some(left - 1), ..SshFaults::clone(current) });
            }
            // Counting is no news for the connections that are open.
            false
        });
        met
    }

    /// Returns how it went with every hold.
    pub fn holds(&self) -> Vec<serde_json::Value> {
        self.current.borrow().hold.iter().map(Hold::told).collect()
    }

    /// Returns a receiver that hears of every plan to come.
    pub fn watch(&self) -> watch::Receiver<Arc<SshFaults>> {
        self.current.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counted_plan_concerns_so_many_connections_and_no_open_one() {
        let plan = Plan::default();
        let watching = plan.watch();
        plan.set(SshFaults { connections: Some(2), refuse: true, ..SshFaults::default() });
        assert!(watching.has_changed().unwrap());
        let mut watching = plan.watch();
        watching.mark_unchanged();
        assert_eq!([plan.meet(), plan.meet(), plan.meet()].map(|met| met.refuse), [true, true, false]);
        assert!(!watching.has_changed().unwrap(), "counting is no news");
    }

    #[test]
    fn a_plan_is_read_from_json_and_a_misspelt_fault_is_refused() {
        let plan: SshFaults = serde_json::from_str(r#"{"cut": {"after_bytes": 10}}"#).unwrap();
        let moment = Moment { after_bytes: Some(10), after_seconds: None };
        assert_eq!(plan, SshFaults { cut: Some(moment), ..SshFaults::default() });
        assert!(serde_json::from_str::<SshFaults>(r#"{"cuts": {}}"#).is_err());
    }
}
