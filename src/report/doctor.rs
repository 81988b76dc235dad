//! What `doctor` found, line by line.

use std::io::{self, Write};

use console::style;
use serde::Serialize;

use super::printable;
use crate::error::Error;

/// One thing that was tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    name: &'static str,
    state: State,
    said: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Good,
    Bad,
    /// Not as it should be, and in the way of little.
    WorthKnowing,
    Unknown,
}

impl Check {
    /// It is as it should be.
    pub fn good(name: &'static str, said: &str) -> Self {
        Self { name, state: State::Good, said: said.to_owned(), fix: None }
    }

    /// It stands in the way.
    pub fn bad(name: &'static str, said: &str, fix: &str) -> Self {
        Self { name, state: State::Bad, said: said.to_owned(), fix: Some(fix.to_owned()) }
    }

    /// It isn't as it should be, and stands in the way of little.
    pub fn worth_knowing(name: &'static str, said: &str, fix: &str) -> Self {
        Self { name, state: State::WorthKnowing, said: said.to_owned(), fix: Some(fix.to_owned()) }
    }

    /// Nobody looked.
    pub fn unknown(name: &'static str, said: &str) -> Self {
        Self { name, state: State::Unknown, said: said.to_owned(), fix: None }
    }

    /// It stands in the way, as the error says.
    pub fn from_error(name: &'static str, error: &Error) -> Self {
        let said = std::iter::once(&error.what).chain(&error.why).cloned().collect::<Vec<_>>().join(": ");
        Self { name, state: State::Bad, said, fix: error.hint.clone() }
    }

    /// Tells whether it stands in the way.
    pub fn is_bad(&self) -> bool {
        self.state == State::Bad
    }
}

/// Writes what was found, a line each, and the fix below what needs one.
pub fn checks(out: &mut impl Write, checks: &[Check]) -> io::Result<()> {
    for Check { name, state, said, fix } in checks {
        let sign = match state {
            State::Good => style("✓").green(),
            State::Bad => style("✗").red(),
            State::WorthKnowing => style("!").yellow(),
            State::Unknown => style("?").dim(),
        };
        let said: Vec<String> = said.lines().map(printable).collect();
        writeln!(out, "{sign} {name:<20} {}", said.join(&format!("\n  {:<20} ", "")))?;
        if let Some(fix) = fix {
            writeln!(out, "  {:<20} {} {}", "", style("fix:").cyan(), printable(fix))?;
        }
    }
    Ok(())
}
