//! What bills without a spec, and what became of machines past their deadlines.

use std::io::{self, Write};

use jiff::Timestamp;
use serde::Serialize;

use super::printable;
use crate::plan::Orphan;

/// What `reap` made of one machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "fate", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields say what the variants are about")]
pub enum Fate {
    /// It isn't due.
    Waits { until: Timestamp },
    /// It is gone, with everything on it safe elsewhere.
    Ended,
    /// It is gone; its disk stays and bills.
    DiskKept { volume: String },
    /// It is due, and bills on.
    Left { why: String },
}

/// Writes one line for a machine that `reap` looked at.
pub fn reaped(out: &mut impl Write, session: &str, machine: &str, fate: &Fate) -> io::Result<()> {
    let session = printable(session);
    match fate {
        Fate::Waits { until } => writeln!(
            out,
            "`{session}`: machine {machine} may run until {}",
            until.strftime("%Y-%m-%dT%H:%M:%SZ")
        ),
        Fate::Ended => writeln!(out, "`{session}`: machine {machine} is ended, and nothing on it is lost"),
        Fate::DiskKept { volume } => writeln!(
            out,
            "`{session}`: machine {machine} is ended; what is on it couldn't be shown to be safe, so its disk \
             {volume} stays and bills: the next `up` boots it"
        ),
        Fate::Left { why } => {
            writeln!(out, "`{session}`: machine {machine} is due and still bills: {}", printable(why))
        }
    }
}

/// Writes what bills without a spec, what is ours first.
pub fn orphans(out: &mut impl Write, all: &[Orphan], now: Timestamp, unit: &str) -> io::Result<()> {
    if all.is_empty() {
        return writeln!(out, "everything that bills in this account belongs to a spec here");
    }
    let (ours, others): (Vec<&Orphan>, Vec<&Orphan>) = all.iter().partition(|one| one.session.is_some());
    group(out, "ours, without a spec here (`dacapo orphans --remove ID` removes them):", &ours, now, unit)?;
    group(out, "not ours:", &others, now, unit)
}

fn group(out: &mut impl Write, title: &str, items: &[&Orphan], now: Timestamp, unit: &str) -> io::Result<()> {
    if items.is_empty() {
        return Ok(());
    }
    writeln!(out, "{title}")?;
    items.iter().try_for_each(|item| {
        let Orphan { kind, id, name, status, session, price_per_hour, price_per_month, created_at } = item;
        let month = price_per_month.map_or(String::new(), |price| format!(" ({price} {unit} a month)"));
        let age = created_at.map_or(String::new(), |at| format!(", {} old", age(now, at)));
        let session =
            session.as_ref().map_or(String::new(), |name| format!(", session `{}`", printable(name)));
        let (name, status) = (printable(name), printable(status));
        writeln!(out, "  {kind:<9} {id} `{name}`{session}: {status}, {price_per_hour} {unit}/h{month}{age}")
    })
}

fn age(now: Timestamp, since: Timestamp) -> String {
    let minutes = now.duration_since(since).as_mins().max(0);
    match (minutes / 1440, minutes / 60 % 24, minutes % 60) {
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}
