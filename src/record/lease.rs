//! The lease: who may go on with a session, and who has to wait until when; pure.
//!
//! A lease holds until [`LEASE`] after the record was last written, by the store's clock. Taking it and every
//! renewal are compare-and-swaps of the record, so whoever lost it learns that at the next write.

use jiff::SignedDuration;

use super::{Lease, Record};

/// How long a lease holds after its record was last written, by the store's clock.
pub const LEASE: SignedDuration = SignedDuration::from_secs(120);

/// A session that somebody else holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elsewhere {
    /// Who holds it.
    pub owner: String,
    /// For how many more seconds, unless it is renewed.
    pub left: i64,
}

impl Record {
    /// Returns who holds the session `age` seconds after the record was last written.
    pub fn holder(&self, age: i64) -> Option<Elsewhere> {
        let left = LEASE.as_secs() - age;
        let lease = self.lease.as_ref().filter(|_| left > 0)?;
        Some(Elsewhere { owner: lease.owner.clone(), left })
    }

    /// Returns the record with its lease taken by `owner` on `laptop`, `age` seconds after it was last written.
    ///
    /// Fails with who holds it. The laptop's own lease is taken over at once: whoever asks has the laptop's
    /// lock for the session, so the process that took it is gone.
    pub fn leased_to(self, owner: &str, laptop: &str, age: i64) -> Result<Self, Elsewhere> {
        let own = self.lease.as_ref().is_some_and(|lease| lease.laptop == laptop);
        if let Some(elsewhere) = self.holder(age).filter(|_| !own) {
            return Err(elsewhere);
        }
        let writes = self.lease.as_ref().map_or(0, |lease| lease.writes).wrapping_add(1);
        let lease = Lease { owner: owner.to_owned(), laptop: laptop.to_owned(), writes };
        Ok(Self { lease: Some(lease), ..self })
    }
}
