//! What went wrong, why, and what to do about it; and the process's exit codes.
//!
//! An error is worded once, where it is understood, and printed once, by `report`.

use std::fmt;

use serde::Serialize;

/// The result of anything of ours that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// How the process ends; the numbers are documented in the README and never change meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitCode {
    /// Done, or nothing to do (0).
    Ok,
    /// Something failed that no other code names (1).
    Error,
    /// `plan --detailed-exitcode` found changes (2).
    Pending,
    /// A bad `session.toml` or bad usage (3).
    Usage,
    /// Credentials are missing or refused (4).
    Credentials,
    /// A guard refused: something would be lost (5).
    Refused,
    /// No candidate machine is in stock (6).
    NoCapacity,
    /// The world is no longer the one that was approved (7).
    Stale,
    /// Over budget, or the balance doesn't cover it (8).
    Budget,
    /// Somebody else holds the session's lease (9).
    Lease,
    /// Interrupted by Ctrl-C or a signal (130).
    Interrupted,
    /// The exit code of a command run on the server, passed on by `run`.
    Remote(u8),
}

impl ExitCode {
    /// Returns the number the process exits with.
    pub fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Error => 1,
            Self::Pending => 2,
            Self::Usage => 3,
            Self::Credentials => 4,
            Self::Refused => 5,
            Self::NoCapacity => 6,
            Self::Stale => 7,
            Self::Budget => 8,
            Self::Lease => 9,
            Self::Interrupted => 130,
            Self::Remote(code) => code,
        }
    }
}

/// A failure in three parts: what happened, why, what to do.
///
/// Texts are lower case, without a full stop, with backticks round names and values.
#[derive(Debug, Clone, Serialize)]
pub struct Error {
    /// The exit code this failure ends the process with.
    pub kind: ExitCode,
    /// What happened, in one line.
    pub what: String,
    /// The causes, nearest first, in the other side's words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub why: Vec<String>,
    /// What to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Error {
    /// Returns an error of the general kind (exit code 1).
    pub fn new(what: impl Into<String>) -> Self {
        Self::of(ExitCode::Error, what)
    }

    /// Returns an error that ends the process with `kind`.
    pub fn of(kind: ExitCode, what: impl Into<String>) -> Self {
        Self { kind, what: what.into(), why: Vec::new(), hint: None }
    }

    /// Adds a cause given in words.
    #[must_use]
    pub fn why(mut self, why: impl Into<String>) -> Self {
        self.why.push(why.into());
        self
    }

    /// Adds a cause and everything behind it.
    #[must_use]
    pub fn because(mut self, cause: &(dyn std::error::Error + 'static)) -> Self {
        let mut next = Some(cause);
        while let Some(error) = next {
            let text = error.to_string();
            // Many crates repeat their source's words in their own; saying them twice helps nobody.
            if !self.why.last().is_some_and(|last| last.ends_with(&text)) {
                self.why.push(text);
            }
            next = error.source();
        }
        self
    }

    /// Says what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Puts a wider `what` in front: the old one becomes the first cause.
    #[must_use]
    pub fn within(mut self, what: impl Into<String>) -> Self {
        let inner = std::mem::replace(&mut self.what, what.into());
        self.why.insert(0, inner);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.what)?;
        for why in &self.why {
            write!(f, ": {why}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wider_what_keeps_the_narrow_one_as_its_first_cause() {
        let error = Error::new("no route").why("icmp").within("cannot reach the cloud");
        assert_eq!(error.to_string(), "cannot reach the cloud: no route: icmp");
    }
}
