//! What the session costs: now, afterwards, so far.

use jiff::Timestamp;
use serde::Serialize;

use super::Draft;
use super::due::limits_of;
use crate::facts::{Deadline, Money, Status};
use crate::spec::State;

/// The money part of a plan. Every amount is in the account's currency.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Bill {
    /// What of this session bills now.
    pub now: Vec<Billing>,
    /// What the present machine has cost since it was created.
    pub spent: Money,
    /// Until when the present machine may run, if somebody reaps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Until>,
    /// What is left on the account.
    pub balance: Money,
    /// The currency.
    pub currency: String,
}

/// A machine's deadline, and what it will have cost by then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Until {
    /// How long it may run.
    pub deadline: Deadline,
    /// When that is over.
    pub at: Timestamp,
    /// What the machine will have cost.
    pub cost: Money,
    /// Whether the session is protected from being ended.
    pub protect: bool,
    /// When `reap` was last seen to look after the session.
    pub reaped: Option<Timestamp>,
}

/// One thing that bills.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Billing {
    /// `instance` or `volume`.
    pub kind: String,
    /// The cloud's id.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// What it costs per hour.
    pub price_per_hour: Money,
}

impl Bill {
    /// What the session costs per hour now.
    pub fn per_hour(&self) -> Money {
        self.now.iter().map(|billing| billing.price_per_hour).sum()
    }
}

pub(super) fn bill(draft: &mut Draft<'_>) {
    let observed = draft.observed;
    let mut bill = Bill {
        balance: observed.cloud.balance,
        currency: observed.cloud.currency.clone(),
        ..Bill::default()
    };
    let recorded = draft.machine.map(|living| living.instance);
    let others = observed.cloud.instances.iter().filter(|instance| {
        observed.record.may_own(instance) && recorded.is_none_or(|recorded| recorded.id != instance.id)
    });
    // The list may not show the recorded machine any more, or not yet; it bills all the same.
    let mut machines: Vec<_> = recorded.into_iter().chain(others).collect();
    machines.retain(|instance| !matches!(instance.status, Status::Discontinued | Status::Failed(_)));
    machines.sort_by_key(|instance| &instance.id);
    for instance in machines {
        let seconds = observed.now().duration_since(instance.created_at).as_secs().max(0);
        bill.spent = bill.spent + instance.price_per_hour.for_seconds(seconds);
        bill.now.push(Billing {
            kind: "instance".to_owned(),
            id: instance.id.clone(),
            name: instance.hostname.clone(),
            price_per_hour: instance.price_per_hour,
        });
    }
    bill.until = recorded.filter(|instance| instance.status != Status::Discontinued).map(|instance| {
        let limits = match draft.request.spec.state {
            State::Running => draft.request.spec.limits,
            State::Absent => limits_of(instance, Some(&observed.record)),
        };
        Until {
            deadline: limits.deadline,
            at: limits.deadline.after(instance.created_at),
            cost: instance.price_per_hour.for_seconds(limits.deadline.seconds()),
            protect: limits.protect,
            reaped: observed.record.reaped,
        }
    });
    let held: Vec<&String> = draft.machine.iter().flat_map(|living| &living.instance.volumes).collect();
    let mut volumes: Vec<_> = observed
        .cloud
        .volumes
        .iter()
        .filter(|volume| observed.owns_tags(&volume.tags) || held.contains(&&volume.id))
        .filter(|volume| !matches!(volume.status.as_str(), "deleted" | "deleting"))
        .collect();
    volumes.sort_by_key(|volume| &volume.id);
    bill.now.extend(volumes.into_iter().map(|volume| Billing {
        kind: "volume".to_owned(),
        id: volume.id.clone(),
        name: volume.name.clone(),
        price_per_hour: volume.price_per_hour,
    }));
    draft.plan.money = bill;
}
