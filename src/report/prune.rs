//! Which versions go, which stay and why.

use std::io::{self, Write};

use console::style;

use super::artifacts::day_and_minute;
use super::plan::action_text;
use super::{bytes, printable};
use crate::plan::{By, Judged, Prune, Reason};

/// Shows every version with its fate, then what will be done.
pub fn prune(out: &mut impl Write, plan: &Prune) -> io::Result<()> {
    for pruned in &plan.artifacts {
        writeln!(out, "{}", printable(&pruned.artifact))?;
        if pruned.versions.is_empty() {
            writeln!(out, "  no version is stored")?;
        }
        let width = pruned.versions.iter().map(|version| version.name.chars().count()).max().unwrap_or(0);
        pruned.versions.iter().try_for_each(|version| judged(out, version, width))?;
    }
    writeln!(out)?;
    if plan.actions.is_empty() {
        return writeln!(out, "nothing to prune: every version stays");
    }
    writeln!(out, "Actions, in this order:")?;
    for action in &plan.actions {
        writeln!(out, "  {}. {}", action.id() + 1, action_text(action, ""))?;
    }
    let freed: u64 = going(plan).map(|version| version.stored_size).sum();
    writeln!(
        out,
        "\nPlan: {} action(s); {} version(s) go and free {}. Dropbox can restore them for as long as it keeps \
         deleted files.",
        plan.actions.len(),
        going(plan).count(),
        bytes(freed)
    )
}

/// Says what was deleted.
pub fn pruned(out: &mut impl Write, plan: &Prune) -> io::Result<()> {
    let stay: usize = plan.artifacts.iter().map(|pruned| pruned.versions.len()).sum();
    let gone = going(plan).count();
    writeln!(out, "{gone} version(s) deleted, {} stay", stay - gone)
}

fn going(plan: &Prune) -> impl Iterator<Item = &Judged> {
    let all = plan.artifacts.iter().flat_map(|pruned| &pruned.versions);
    all.filter(|version| version.stays.is_empty())
}

fn judged(out: &mut impl Write, version: &Judged, width: usize) -> io::Result<()> {
    let Judged { name, stored_size, stored_at, content: _, stays } = version;
    let reasons: Vec<String> = stays.iter().map(reason).collect();
    let (mark, fate) = match reasons.as_slice() {
        [] => (style("-").red(), "goes".to_owned()),
        reasons => (style(" "), format!("stays: {}", reasons.join("; "))),
    };
    let (name, size, at) = (printable(name), bytes(*stored_size), day_and_minute(*stored_at));
    writeln!(out, "{mark} {name:<width$}  {size:>8}  {at}  {fate}")
}

fn reason(reason: &Reason) -> String {
    match reason {
        Reason::Newest => "the newest".to_owned(),
        Reason::Recent => "one of the newest".to_owned(),
        Reason::Pinned => "session.toml names it".to_owned(),
        Reason::Named(By::Lock { at }) => format!("{} names it", printable(at)),
        Reason::Named(By::Record { session }) => {
            format!("the record of session {} names it", printable(session))
        }
        Reason::ByHand => "uploaded by hand (`--uploads` lets it go)".to_owned(),
        Reason::UnusableManifest { why } => format!("its manifest can't be used: {}", printable(why)),
    }
}
