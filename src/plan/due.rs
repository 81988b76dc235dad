//! When a machine is to be ended by whoever comes by: its deadline, its cost, and what protects it.

use jiff::Timestamp;

use super::{Draft, Kind, Living, Note};
use crate::facts::{Instance, Limits};
use crate::record::{Record, tagged_limits};
use crate::spec::{self, Spec};

/// Whether a machine is to be ended now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Not before then.
    At(Timestamp),
    /// It is past its deadline, or has cost more than it may.
    Now,
    /// It would be, but its session protects it.
    Protected,
}

/// Judges whether a machine is due: by what its session's record says, else by the machine's own tags.
pub fn due(instance: &Instance, record: Option<&Record>, now: Timestamp) -> Due {
    let limits = limits_of(instance, record);
    let until = limits.deadline.after(instance.created_at);
    let seconds = now.duration_since(instance.created_at).as_secs().max(0);
    let spent = instance.price_per_hour.for_seconds(seconds);
    if now < until && limits.max_cost.is_none_or(|most| spent < most) {
        return Due::At(until);
    }
    if limits.protect { Due::Protected } else { Due::Now }
}

/// The limits that hold for a machine.
pub(super) fn limits_of(instance: &Instance, record: Option<&Record>) -> Limits {
    let noted = record.and_then(noted_spec).map(|spec| spec.limits);
    noted.unwrap_or_else(|| tagged_limits(&instance.tags))
}

/// The spec that the record holds, where it holds one.
fn noted_spec(record: &Record) -> Option<Spec> {
    spec::parse(&record.spec.join("\n"), &[]).ok()
}

impl<'a> Draft<'a> {
    /// Whoever reaps goes by the record, so limits that were changed are noted there.
    pub(super) fn note_limits(&mut self) {
        let Some(living) = self.machine else { return };
        let wanted = self.request.spec.limits;
        let noted = noted_spec(&self.observed.record).map(|spec| spec.limits);
        if noted.is_some_and(|noted| noted != wanted) {
            self.add(Kind::NoteLimits { limits: wanted });
        }
        let spent = self.plan.money.spent;
        if let Some(most) = wanted.max_cost.filter(|most| spent >= *most && living.rented.login) {
            self.note(Note::OverCost { spent, most });
        }
        let price = living.instance.price_per_hour;
        if let Some(most) = wanted.max_price_per_hour.filter(|most| price > *most) {
            self.note(Note::OverPrice { price, most });
        }
    }

    /// Tells whether the spec keeps the machine from being ended, and says so.
    pub(super) fn is_protected(&mut self, living: Living<'a>) -> bool {
        let protects = self.request.spec.limits.protect && living.rented.may_hold_work();
        if protects {
            let machine = living.rented.id.clone();
            self.plan.blocked.push(super::Blocked::Protected { machine });
        }
        protects
    }
}
