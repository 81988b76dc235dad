//! A command line that isn't understood, told in the parser's words: to people, or to a program that asked for JSON.

use std::ffi::OsStr;
use std::io;

use crate::error::{Error, ExitCode};
use crate::report;

/// Tells what is wrong with the process's own command line.
pub(super) fn told(error: &clap::Error) {
    // What stands behind `--` is another program's.
    let mut ours = std::env::args_os().skip(1).take_while(|word| word != OsStr::new("--"));
    let words = error.render().to_string();
    let told = if ours.any(|word| word == OsStr::new("--json")) {
        report::error_json(&mut io::stdout().lock(), &as_error(&words))
    } else {
        report::misuse(&mut io::stderr().lock(), &words)
    };
    // A closed pipe leaves nobody to tell; the exit code still says it.
    drop(told);
}

fn as_error(words: &str) -> Error {
    let mut lines = words.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default();
    let error = Error::of(ExitCode::Usage, first.strip_prefix("error: ").unwrap_or(first));
    lines.fold(error, |error, line| match line.strip_prefix("For more information, ") {
        Some(hint) => error.hint(hint.trim_end_matches('.')),
        None => error.why(line),
    })
}
