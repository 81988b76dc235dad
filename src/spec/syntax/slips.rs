//! Slips that people make, and that TOML's own words for them don't explain.

use std::ops::Range;

use super::line_start;
use crate::spec::check::{escaped, shown, unprintable};
use crate::spec::tree::Place;
use crate::spec::{Diagnostic, Origin};

/// Returns better words than the parser's for what is written at `span`, if there are any.
pub(super) fn known(text: &str, span: &Range<usize>, what: &str) -> Option<Diagnostic> {
    let start = line_start(text, span.start);
    let line = text[start..].lines().next().unwrap_or_default();
    let written = &text[span.clone()];
    let place = Place { origin: Origin::File, span: span.clone() };
    if ["<<<<<<<", "=======", ">>>>>>>"].iter().any(|mark| line.starts_with(mark)) {
        let whole = Place { origin: Origin::File, span: start..start + 7 };
        return Some(whole.diagnostic(
            "this is the mark of a merge conflict",
            "written by git",
            "keep one of the two sides, and delete the marks",
        ));
    }
    match what {
        "invalid unquoted key" => key(place, line, written),
        "unquoted keys cannot be empty" => Some(place.diagnostic(
            "a name is missing",
            "expected letters, numbers, `-`, `_`",
            "write it here: a section as `[repo]` or `[artifacts.model]`, a value as `key = value`",
        )),
        "key with no value" => two_words(text, span, line),
        "extra `=`" => Some(place.diagnostic("there is one `=` too many", "the second one", "write `key = value`")),
        "extra comma in array" => {
            Some(place.diagnostic("there is a comma too many", "expected a value", "leave it out"))
        }
        "invalid key-value pair" if line.trim_start().starts_with('{') => Some(place.diagnostic(
            "this is not TOML",
            "expected a key",
            "write TOML instead of JSON: `key = \"text\"`, lists as `[\"a\", \"b\"]`, sections as `[section]`",
        )),
        "unexpected key or value" if line.trim_start().starts_with('[') => Some(place.diagnostic(
            "there is more on this line than a section's header",
            "expected the end of the line",
            "write the header alone, as in `[repo]`, and its keys on the lines below",
        )),
        "carriage return must be followed by newline" => Some(place.diagnostic(
            "a carriage return alone ends no line",
            "expected a line break",
            "write line breaks as LF or CRLF; `tr '\\r' '\\n'` converts them",
        )),
        "string values must be quoted" if written.starts_with('>') => {
            Some(place.diagnostic("`=>` is not TOML between key and value", "expected a value", "write `key = value`"))
        }
        "invalid boolean" => Some(place.diagnostic(
            "a string needs quotes",
            "expected `\"`",
            format!("write `\"{}\"`; no key of a spec is a boolean", escaped(written)),
        )),
        _ if what.contains("unicode") => Some(place.diagnostic(
            "this string holds an escape that is none",
            "expected `\\u` and four digits, or another escape",
            "write `\\uXXXX` with four hexadecimal digits, `\\\\` for a backslash, or use single quotes",
        )),
        _ => hidden(place, &text[span.start..]),
    }
}

/// A key that isn't written in the letters that keys are written in.
fn key(place: Place, line: &str, written: &str) -> Option<Diagnostic> {
    const HINT: &str = "write keys in letters from `a` to `z`, digits, `_` and `-`";
    if line.trim_start().starts_with("//") {
        return Some(place.diagnostic(
            "`//` begins no comment",
            "not valid here",
            "write `#` before a comment",
        ));
    }
    let c = written.chars().next().filter(|c| *c != ':')?;
    let hint = if unprintable(c) || c.is_whitespace() { "leave it out" } else { HINT };
    Some(place.diagnostic("a key holds what no key can", format!("{} is not allowed", shown(c)), hint))
}

/// `ssh key = …`.
fn two_words(text: &str, span: &Range<usize>, line: &str) -> Option<Diagnostic> {
    let (before, _) = line.split_once('=')?;
    let words: Vec<&str> = before.split_whitespace().collect();
    let bare = |word: &&str| word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
    if words.len() < 2 || !words.iter().all(bare) {
        return None;
    }
    let start = line_start(text, span.start) + before.len() - before.trim_start().len();
    let end = start + before.trim().len();
    Some(Place { origin: Origin::File, span: start..end }.diagnostic(
        "a key is one word",
        format!("{} words", words.len()),
        format!("write `{}`, or leave all but the key out", escaped(&words.join("_"))),
    ))
}

/// A character that can't be seen, in a string or in a comment.
fn hidden(place: Place, rest: &str) -> Option<Diagnostic> {
    let c = rest.chars().next().filter(|c| unprintable(*c) && !matches!(c, '\n' | '\r'))?;
    Some(place.diagnostic(
        "a character that cannot be seen",
        format!("{} is not allowed", shown(c)),
        "leave it out",
    ))
}
