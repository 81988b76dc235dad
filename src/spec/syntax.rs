//! TOML's own errors: reworded, one for each mistake, and how far the damage of each goes.

mod slips;

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::check::escaped;
use super::render::masked;
use super::tree::{Place, Source, Table, Value};
use super::{Diagnostic, Origin};

/// Returns what could be read without doubt, and the syntax errors.
pub(super) fn read(text: &str) -> (Table, Vec<Diagnostic>) {
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut complaints: Vec<Complaint<'_>> = errors
        .iter()
        .map(|error| Complaint { span: within(text, error.span().unwrap_or(0..0)), message: error.message() })
        .collect();
    complaints.sort_by_key(|complaint| complaint.span.start);

    let mut found = Vec::new();
    let mut doubtful: Vec<Range<usize>> = Vec::new();
    let open = opening(text, document.get_ref(), &complaints);
    for complaint in &complaints {
        // A second complaint about one line, or about what an unclosed bracket swallowed, is no second
        // mistake.
        if touches(&doubtful, &complaint.span) {
            continue;
        }
        if let Some(open) = open.as_ref().filter(|open| open.start <= complaint.span.start) {
            found.push(unclosed(text, open));
            doubtful.push(line_start(text, open.start)..text.len());
        } else {
            found.push(complaint.reworded(text));
            doubtful.push(reach(text, &complaint.span));
        }
    }
    let mut table = Source { origin: Origin::File, text, start: 0 }.table(document.get_ref());
    prune(&mut table, &doubtful);
    (table, found)
}

/// Leaves out what the parser may have made up on its way back from an error.
fn prune(table: &mut Table, doubtful: &[Range<usize>]) {
    table.retain(|_, entry| {
        if let Value::Table(inner) = &mut entry.node.value {
            prune(inner, doubtful);
        }
        !touches(doubtful, &entry.key.span) && !touches(doubtful, &entry.node.place.span)
    });
}

fn touches(ranges: &[Range<usize>], span: &Range<usize>) -> bool {
    ranges.iter().any(|range| range.start <= span.end && span.start <= range.end)
}

/// How far the damage of a syntax error goes: its lines, and for a section's header the section.
fn reach(text: &str, span: &Range<usize>) -> Range<usize> {
    let start = line_start(text, span.start);
    let end = text[span.end..].find('\n').map_or(text.len(), |length| span.end + length);
    if !text[start..].trim_start().starts_with('[') {
        return start..end;
    }
    let next = text[end..].match_indices('\n').map(|(at, _)| end + at);
    let next =
        next.into_iter().find(|newline| text[newline + 1..].trim_start_matches([' ', '\t']).starts_with('['));
    start..next.unwrap_or(text.len())
}

/// What the parser says, and where.
struct Complaint<'a> {
    span: Range<usize>,
    message: &'a str,
}

impl Complaint<'_> {
    fn reworded(&self, text: &str) -> Diagnostic {
        let (what, expected) = match self.message.split_once(", expected ") {
            Some((what, expected)) => (what, format!("expected {expected}")),
            None => (self.message, "not valid here".to_owned()),
        };
        let written = &text[self.span.clone()];
        let place = Place { origin: Origin::File, span: self.span.clone() };
        if let Some(diagnostic) = slips::known(text, &self.span, what) {
            return diagnostic;
        }
        match what {
            "string values must be quoted" if written.is_empty() => place.diagnostic(
                "a value is missing",
                "expected a value",
                "write it behind the `=`, a string in quotes: `\"…\"`",
            ),
            "string values must be quoted" => unquoted(text, self.span.clone()),
            _ if number(what) => number_or_text(text, &self.span, what),
            "invalid unquoted key" if written == ":" => place.diagnostic(
                "`:` is not TOML between key and value",
                "expected `=`",
                "write `key = value`",
            ),
            "key with no value" => place.diagnostic(
                "a key without a value",
                expected,
                "write `key = value`, or `[section]` for a section",
            ),
            "duplicate key" => place.diagnostic(
                format!("`{}` is given twice", escaped(written)),
                "the second one",
                "keep one of them; all keys of a section stand under its one header",
            ),
            "missing comma between array elements" | "missing comma between key-value pairs" => place
                .diagnostic(
                    "a comma is missing",
                    expected,
                    "put `,` between what belongs together, and close lists with `]`, tables with `}`",
                ),
            "unexpected key or value" => place.diagnostic(
                "there is more on this line than one value",
                "expected the end of the line",
                "start a new line here, or put `#` before a comment",
            ),
            "invalid basic string" | "invalid literal string" if written.is_empty() => place.diagnostic(
                "this string is never closed",
                expected,
                "close it on this line with the quote that opened it",
            ),
            "unclosed table" | "unclosed array table" => {
                place.diagnostic("this section's header is never closed", expected, "write it as `[section]`")
            }
            "missing escaped value" => place.diagnostic(
                "`\\` in double quotes begins an escape, and this is none",
                "not an escape",
                "write `\\\\` for a backslash, or use single quotes",
            ),
            _ => place.diagnostic(
                format!("not TOML: {}", escaped(what)),
                expected,
                "write `key = \"text\"`, lists as `[\"a\", \"b\"]`, sections as `[section]`",
            ),
        }
    }
}

/// Whether the parser took a text without quotes for a number or a date.
fn number(what: &str) -> bool {
    ["float", "integer", "leading zero", "radix", "sign", "digits", "date", "time"]
        .iter()
        .any(|word| what.contains(word))
}

fn number_or_text(text: &str, span: &Range<usize>, what: &str) -> Diagnostic {
    let word = word_around(text, span.start);
    if text[word.clone()].chars().any(char::is_alphabetic) {
        return unquoted(text, word);
    }
    let hint = "write a number in plain digits, such as `100`, and a string in quotes";
    Place { origin: Origin::File, span: word }.diagnostic("this is no number", escaped(what), hint)
}

fn unquoted(text: &str, span: Range<usize>) -> Diagnostic {
    let digits = text[span.clone()].trim_end_matches(|c: char| c.is_ascii_alphabetic());
    if !digits.is_empty() && digits.len() < span.len() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        let unit = span.start + digits.len()..span.end;
        let hint = format!("write the number alone, `{}`, or a string in quotes", escaped(digits));
        return Place { origin: Origin::File, span: unit }.diagnostic("this is no number", "letters", hint);
    }
    let bare = text[span.clone()].trim_matches(|c: char| "“”„‘’«»\"'".contains(c));
    // A login or another secret is not repeated.
    let hint = match masked(text)[span.clone()] == text[span.clone()] {
        true => format!("write `\"{}\"`", escaped(bare)),
        false => "put it in quotes".to_owned(),
    };
    Place { origin: Origin::File, span }.diagnostic("a string needs quotes", "expected `\"`", hint)
}

fn unclosed(text: &str, open: &Range<usize>) -> Diagnostic {
    let (what, close) = match text[open.start..].chars().next() {
        Some('[') => ("list", "]"),
        Some('{') => ("table", "}"),
        Some('\'') => ("string", "'''"),
        _ => ("string", "\"\"\""),
    };
    Place { origin: Origin::File, span: open.start..open.start + close.len() }.diagnostic(
        format!("this {what} is never closed"),
        format!("expected `{close}` further on"),
        format!("write `{close}` where it ends; what follows it could not be looked at"),
    )
}

/// Finds the first bracket or triple quote that is never closed.
fn opening(text: &str, table: &DeTable<'_>, complaints: &[Complaint<'_>]) -> Option<Range<usize>> {
    if !complaints.iter().any(|complaint| UNCLOSED.iter().any(|says| complaint.message.starts_with(says))) {
        return None;
    }
    let openings = table.iter().filter_map(|(_, value)| {
        let span = within(text, value.span());
        if never_closed(text, &span, value, complaints) {
            return Some(span);
        }
        match value.get_ref() {
            DeValue::Table(inner) => opening(text, inner, complaints),
            _ => None,
        }
    });
    openings.min_by_key(|span| span.start)
}

const UNCLOSED: [&str; 3] = ["unclosed array,", "unclosed inline table", "invalid multi-line"];

fn never_closed(
    text: &str,
    span: &Range<usize>,
    value: &Spanned<DeValue<'_>>,
    complaints: &[Complaint<'_>],
) -> bool {
    let pairs: &[(&str, &str)] = match value.get_ref() {
        DeValue::Array(_) => &[("[", "]")],
        DeValue::Table(_) => &[("{", "}")],
        DeValue::String(_) => &[("\"\"\"", "\"\"\""), ("'''", "'''")],
        _ => return false,
    };
    let written = &text[span.clone()];
    let given_up = complaints.iter().any(|complaint| {
        complaint.span.start == span.end && UNCLOSED.iter().any(|says| complaint.message.starts_with(says))
    });
    pairs.iter().any(|(open, close)| {
        written.starts_with(open) && (given_up || !written[open.len()..].ends_with(close))
    })
}

/// The word that the byte at `at` is in, as far as blanks, commas and brackets let it reach.
fn word_around(text: &str, at: usize) -> Range<usize> {
    let ends = |c: char| c.is_whitespace() || ",[]{}=#".contains(c);
    let start = text[..at].rfind(ends).map_or(0, |before| before + 1);
    let end = text[at..].find(ends).map_or(text.len(), |length| at + length);
    // A blank of several bytes before the word would leave `start` inside it.
    text.ceil_char_boundary(start)..end
}

fn within(text: &str, span: Range<usize>) -> Range<usize> {
    let end = text.floor_char_boundary(span.end.min(text.len()));
    text.floor_char_boundary(span.start.min(end))..end
}

fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |newline| newline + 1)
}
