//! The words of a session's beginning: questions line by line, and what was written.

use std::io::{self, Write};
use std::path::Path;

use super::{printable, typed};

/// A session file that was written.
#[derive(Clone, Copy, Debug)]
pub struct Begun<'a> {
    /// Where.
    pub path: &'a Path,
    /// The session's name.
    pub session: &'a str,
    /// The private half of the key pair that was made for it.
    pub key: Option<&'a Path>,
    /// What to type before a command's name.
    pub prefix: &'a str,
}

/// Says what was written, and what to do next.
pub fn begun(out: &mut impl Write, begun: Begun<'_>) -> io::Result<()> {
    let Begun { path, session, key, prefix } = begun;
    writeln!(out, "wrote {}: session `{session}`", printable(&path.to_string_lossy()))?;
    if let Some(key) = key {
        let key = key.to_string_lossy();
        writeln!(out, "made the key {}; `ssh-add {}` puts it into the agent", printable(&key), typed(&key))?;
    }
    writeln!(out, "`{prefix} plan` shows what it takes, `{prefix} up` does it")
}

/// Writes what can be chosen, with numbers.
pub fn numbered(out: &mut impl Write, items: &[String]) -> io::Result<()> {
    for (at, item) in items.iter().enumerate() {
        writeln!(out, "{:>3} {}", at + 1, printable(item))?;
    }
    Ok(())
}

/// Writes a question that is answered in the same line.
pub fn question(out: &mut impl Write, what: &str, default: Option<&str>) -> io::Result<()> {
    match default {
        None | Some("") => write!(out, "{what}: "),
        Some(default) => write!(out, "{what} [{}]: ", printable(default)),
    }
}

/// Says why an answer is none.
pub fn not_an_answer(out: &mut impl Write, why: &str) -> io::Result<()> {
    writeln!(out, "{}", printable(why))
}
