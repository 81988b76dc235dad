//! The account's money: prepaid steps of ten minutes, refunds for what was not used, and a ledger of it all.
//!
//! Amounts are millionths of a US dollar.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// How long one prepaid step lasts.
const STEP: SignedDuration = SignedDuration::from_mins(10);

/// The balance and everything that was ever charged to it.
#[derive(Clone, Serialize, Deserialize)]
pub struct Account {
    /// What is left.
    pub balance: i64,
    entries: Vec<Entry>,
}

/// What a ledger entry pays for.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A machine.
    Instance,
    /// Several machines under one price.
    Cluster,
    /// A disk.
    Volume,
}

/// One thing at one price, from its start to its end.
#[derive(Clone, Serialize, Deserialize)]
struct Entry {
    kind: Kind,
    id: String,
    name: String,
    price: i64,
    from: Timestamp,
    to: Option<Timestamp>,
    paid_until: Timestamp,
    paid: i64,
}

impl Account {
    /// Returns an account that was never charged.
    pub fn with(balance: i64) -> Self {
        Self { balance, entries: Vec::new() }
    }

    /// Starts charging `price` per hour; the first step is paid at once.
    pub fn open(&mut self, kind: Kind, id: &str, name: &str, price: i64, now: Timestamp) {
        let (id, name) = (id.to_owned(), name.to_owned());
        let mut entry = Entry { kind, id, name, price, from: now, to: None, paid_until: now, paid: 0 };
        self.balance -= entry.pay_step();
        self.entries.push(entry);
    }

    /// Stops charging for `id` and refunds the part of the last step that was not used.
    pub fn close(&mut self, id: &str, now: Timestamp) {
        for entry in self.entries.iter_mut().filter(|entry| entry.to.is_none() && entry.id == id) {
            let refund = charge(entry.price, entry.paid_until.duration_since(now)).clamp(0, entry.paid);
            entry.paid -= refund;
            entry.to = Some(now);
            self.balance += refund;
        }
    }

    /// Calls something that is open by another name from now on.
    pub fn rename(&mut self, id: &str, name: &str) {
        for entry in self.entries.iter_mut().filter(|entry| entry.to.is_none() && entry.id == id) {
            name.clone_into(&mut entry.name);
        }
    }

    /// Charges a single amount for something that is open, as for the time a volume spent in the trash.
    pub fn surcharge(&mut self, id: &str, price: i64, time: SignedDuration) {
        let amount = charge(price, time);
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.to.is_none() && entry.id == id) {
            entry.paid += amount;
            self.balance -= amount;
        }
    }

    /// Returns when the next step has to be paid.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.entries.iter().filter(|entry| entry.to.is_none()).map(|entry| entry.paid_until).min()
    }

    /// Pays the steps due at `now`; false when the balance does not cover them and nothing was paid.
    pub fn pay(&mut self, now: Timestamp) -> bool {
        let due = |entry: &&mut Entry| entry.to.is_none() && entry.paid_until <= now;
        let total: i64 = self.entries.iter_mut().filter(due).map(|entry| step_price(entry.price)).sum();
        if total > self.balance {
            return false;
        }
        self.balance -= total;
        self.entries.iter_mut().filter(due).for_each(|entry| {
            entry.pay_step();
        });
        true
    }

    /// Returns whether a step of `price` per hour could be paid now.
    pub fn covers(&self, price: i64) -> bool {
        self.balance >= step_price(price)
    }

    /// Returns what bills now, what billed before, and the sums, for the admin's `bill`.
    pub fn bill(&self, now: Timestamp) -> Value {
        let spent: i64 = self.entries.iter().map(|entry| entry.used(now)).sum();
        let (open, ended): (Vec<_>, Vec<_>) = self.entries.iter().partition(|entry| entry.to.is_none());
        json!({
            "billing": open.iter().map(|entry| entry.open_json(now)).collect::<Vec<_>>(),
            "spent": units(spent),
            "balance": units(self.balance),
            "currency": "usd",
            "now": now,
            "ended": ended.iter().map(|entry| entry.ended_json()).collect::<Vec<_>>(),
        })
    }
}

impl Entry {
    fn pay_step(&mut self) -> i64 {
        let amount = step_price(self.price);
        self.paid += amount;
        self.paid_until += STEP;
        amount
    }

    /// Returns what was paid, less the part of a running step that is still ahead.
    fn used(&self, now: Timestamp) -> i64 {
        let ahead =
            if self.to.is_none() { self.paid_until.duration_since(now) } else { SignedDuration::ZERO };
        self.paid - charge(self.price, ahead).clamp(0, self.paid)
    }

    fn open_json(&self, now: Timestamp) -> Value {
        json!({"kind": self.kind, "id": self.id, "name": self.name, "price_per_hour": units(self.price),
               "from": self.from, "cost": units(self.used(now))})
    }

    fn ended_json(&self) -> Value {
        json!({"kind": self.kind, "id": self.id, "name": self.name, "price_per_hour": units(self.price),
               "from": self.from, "to": self.to, "cost": units(self.paid)})
    }
}

/// Returns millionths as whole units of currency.
pub fn units(micros: i64) -> f64 {
    micros as f64 / 1e6
}

/// Returns whole units of currency as millionths.
pub fn micros(units: f64) -> i64 {
    (units * 1e6).round() as i64
}

fn step_price(price: i64) -> i64 {
    charge(price, STEP)
}

fn charge(price: i64, time: SignedDuration) -> i64 {
    (i128::from(price) * time.as_millis() / 3_600_000) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minute(minute: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + 60 * minute).unwrap()
    }

    #[test]
    fn unused_minutes_of_a_step_come_back() {
        let mut account = Account::with(micros(50.0));
        account.open(Kind::Instance, "a", "lesson3", micros(1.2), minute(0));
        assert_eq!(account.balance, micros(49.8));
        assert!(account.pay(minute(10)));
        account.close("a", minute(12));
        assert_eq!(account.balance, micros(50.0 - 0.24));
        assert_eq!(account.bill(minute(99))["spent"], 0.24);
    }

    #[test]
    fn a_step_that_cannot_be_paid_takes_nothing() {
        let mut account = Account::with(micros(0.3));
        account.open(Kind::Instance, "a", "lesson3", micros(1.2), minute(0));
        assert!(!account.pay(minute(10)));
        assert_eq!(account.balance, micros(0.1));
    }
}
