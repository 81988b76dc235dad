//! Two versions beside each other.

use std::io::{self, Write};

use console::style;
use similar::{ChangeTag, TextDiff};

use super::artifacts::{day_and_minute, packing};
use super::{bytes, printable, short};
use crate::facts::{Commit, Environment, Side};
use crate::version::{Manifest, Version};

/// Two versions, and what lies between them.
#[derive(Clone, Copy, Debug)]
pub struct Compared<'a> {
    /// The one.
    pub first: Known<'a>,
    /// The other.
    pub second: Known<'a>,
    /// The commits that only one of them was made with; none where they can't be told.
    pub commits: Option<&'a [Commit]>,
}

/// A version and what is known of it.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// As the store lists it.
    pub version: &'a Version,
    /// As its manifest tells.
    pub manifest: Option<&'a Manifest>,
}

/// Shows what differs, and what doesn't.
pub fn diff(out: &mut impl Write, compared: &Compared<'_>) -> io::Result<()> {
    let Compared { first, second, commits } = *compared;
    writeln!(out, "{}", style(format!("--- {}", printable(&first.version.name))).red())?;
    writeln!(out, "{}", style(format!("+++ {}", printable(&second.version.name))).green())?;
    let mut row =
        |name: &str, of: &dyn Fn(Known<'_>) -> Option<String>| row(out, name, of(first), of(second));
    row("content", &|one| Some(one.version.payload?.short()))?;
    row("size", &|one| unpacked(one).map(bytes))?;
    row("stored", &|one| Some(format!("{}, {}", bytes(one.version.file.size), packing(one.version))))?;
    row("at", &|one| Some(day_and_minute(one.version.file.modified)))?;
    row("session", &|one| Some(one.manifest?.session.clone()))?;
    row("machine", &|one| one.manifest?.instance_type.clone())?;
    row("image", &|one| one.manifest?.image.clone())?;
    row("python", &|one| environment(one)?.python.clone())?;
    row("cuda", &|one| environment(one)?.cuda.clone())?;
    row("commit", &|one| commit(one.manifest?))?;
    commits.unwrap_or_default().iter().try_for_each(|one| between(out, one))?;
    packages(out, first, second)
}

fn row(out: &mut impl Write, name: &str, first: Option<String>, second: Option<String>) -> io::Result<()> {
    let shown = |side: &Option<String>| side.as_deref().map_or("not known".to_owned(), printable);
    let text = match first == second {
        true => shown(&first),
        false => format!("{} → {}", shown(&first), shown(&second)),
    };
    writeln!(out, "{name:<9} {text}")
}

/// The size of the payload: of an object that isn't packed it is the object's.
fn unpacked(one: Known<'_>) -> Option<u64> {
    let plain = (!one.version.packed).then_some(one.version.file.size);
    one.manifest.map(|made| made.size).or(plain)
}

fn environment<'a>(one: Known<'a>) -> Option<&'a Environment> {
    one.manifest?.environment.as_ref()
}

/// Names the commit, and whether that is all that the version was made from.
pub(super) fn commit(made: &Manifest) -> Option<String> {
    let commit = short(made.commit.as_deref()?);
    Some(if made.dirty == Some(true) { format!("{commit} with changes") } else { commit })
}

fn between(out: &mut impl Write, one: &Commit) -> io::Result<()> {
    let Commit { side, commit, subject } = one;
    let line = |mark| format!("{mark} {} {}", printable(commit), printable(subject));
    let line = match side {
        Side::First => style(line('-')).red(),
        Side::Second => style(line('+')).green(),
    };
    writeln!(out, "          {line}")
}

fn packages(out: &mut impl Write, first: Known<'_>, second: Known<'_>) -> io::Result<()> {
    let (Some(one), Some(other)) = (environment(first), environment(second)) else {
        return row(out, "packages", counted(first), counted(second));
    };
    if one.packages == other.packages {
        return writeln!(out, "packages  the same {}", one.packages.len());
    }
    row(out, "packages", counted(first), counted(second))?;
    let [one, other] = [one, other].map(listed);
    let diff = TextDiff::from_lines(&one, &other);
    for hunk in diff.unified_diff().context_radius(1).iter_hunks() {
        writeln!(out, "{}", style(hunk.header()).cyan())?;
        for change in hunk.iter_changes() {
            let line = change.value().trim_end();
            match change.tag() {
                ChangeTag::Delete => writeln!(out, "{}", style(format!("-{line}")).red())?,
                ChangeTag::Insert => writeln!(out, "{}", style(format!("+{line}")).green())?,
                ChangeTag::Equal => writeln!(out, " {line}")?,
            }
        }
    }
    Ok(())
}

fn counted(one: Known<'_>) -> Option<String> {
    Some(environment(one)?.packages.len().to_string())
}

/// One package a line, as requirements are written.
fn listed(environment: &Environment) -> String {
    let line = |(name, version): (&String, &String)| format!("{}=={}\n", printable(name), printable(version));
    environment.packages.iter().map(line).collect()
}
