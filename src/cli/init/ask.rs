//! How a question is put to a person: with the keys of a real terminal, line by line on a dumb one.

use std::io::{self, BufRead as _, Write as _};

use console::Term;
use dialoguer::{Confirm, Input, Select};

use super::interrupted;
use crate::error::{Error, ExitCode, Result};
use crate::report;

/// What speaks against an answer.
pub(super) type Check<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Asks for a text; Enter takes the default, which may be empty.
pub(super) fn text(what: &str, default: Option<&str>, check: Check<'_>) -> Result<String> {
    if is_dumb() {
        return plain(what, default, check);
    }
    let mut input: Input<'_, String> = Input::new().with_prompt(what);
    if let Some(default) = default {
        input = input
            .default(default.to_owned())
            .show_default(!default.is_empty())
            .allow_empty(default.is_empty());
    }
    let objection = |text: &String| check(text.trim()).map_or(Ok(()), Err);
    let answer = input.validate_with(objection).interact_text().map_err(failed)?;
    Ok(answer.trim().to_owned())
}

/// Asks for one of several; returns its place.
pub(super) fn choice(what: &str, items: &[String], default: usize) -> Result<usize> {
    if is_dumb() {
        return numbered(what, items, default);
    }
    // A line that the terminal folds would be counted as one.
    let width = usize::from(Term::stderr().size().1).saturating_sub(4).max(8);
    let items = items.iter().map(|item| console::truncate_str(item, width, "...").into_owned());
    Select::new().with_prompt(what).items(items).default(default).interact().map_err(failed)
}

/// Asks for a yes or a no.
pub(super) fn yes(what: &str, default: bool) -> Result<bool> {
    if !is_dumb() {
        return Confirm::new().with_prompt(what).default(default).interact().map_err(failed);
    }
    let check = |text: &str| (!matches!(text, "y" | "n" | "yes" | "no")).then(|| "answer y or n".to_owned());
    let answer = plain(what, Some(if default { "y" } else { "n" }), &check)?;
    Ok(answer.starts_with('y'))
}

/// Shows the cursor again, which a list hides while one chooses.
pub(super) fn give_back() {
    if !is_dumb() {
        // A terminal that is gone shows nothing anyway.
        let _ = Term::stderr().show_cursor();
    }
}

/// A terminal that can't move its cursor.
fn is_dumb() -> bool {
    std::env::var("TERM").map_or(true, |kind| kind.is_empty() || kind == "dumb")
}

fn numbered(what: &str, items: &[String], default: usize) -> Result<usize> {
    let mut out = io::stderr().lock();
    report::numbered(&mut out, items).map_err(|error| cannot_ask(&error))?;
    drop(out);
    let number = |text: &str| text.parse::<usize>().ok().filter(|number| (1..=items.len()).contains(number));
    let check = |text: &str| number(text).is_none().then(|| format!("a number from 1 to {}", items.len()));
    let answer = plain(what, Some(&(default + 1).to_string()), &check)?;
    Ok(number(&answer).map_or(default, |number| number - 1))
}

fn plain(what: &str, default: Option<&str>, check: Check<'_>) -> Result<String> {
    loop {
        report::question(&mut io::stderr().lock(), what, default).map_err(|error| cannot_ask(&error))?;
        io::stderr().flush().map_err(|error| cannot_ask(&error))?;
        let mut line = String::new();
        if io::stdin().lock().read_line(&mut line).map_err(|error| cannot_ask(&error))? == 0 {
            return Err(interrupted());
        }
        let answer = match (line.trim(), default) {
            ("", Some(default)) => default.to_owned(),
            (answer, _) => answer.to_owned(),
        };
        match check(&answer) {
            None => return Ok(answer),
            Some(why) => {
                report::not_an_answer(&mut io::stderr().lock(), &why).map_err(|error| cannot_ask(&error))?;
            }
        }
    }
}

fn failed(error: dialoguer::Error) -> Error {
    let dialoguer::Error::IO(error) = error;
    cannot_ask(&error)
}

fn cannot_ask(error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::Interrupted => interrupted(),
        _ => Error::of(ExitCode::Usage, "cannot read the answer").because(error),
    }
}
