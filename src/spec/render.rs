//! Mistakes as text, the way rustc shows them, with nothing secret in the lines that are quoted.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet, normalize_untrusted_str};

use super::check::unprintable;
use super::read::secret;
use super::{Diagnostic, Origin, Override};

/// Returns every diagnostic as text, one after the other, with a blank line between.
///
/// `path` is what the user calls the file, `text` and `overrides` are what was given to `parse`. Logins
/// within URLs, values of keys that sound secret and pasted private keys are shown as `*`.
pub fn render(
    path: &str,
    text: &str,
    overrides: &[Override],
    diagnostics: &[Diagnostic],
    colour: bool,
) -> String {
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    let file = masked(text);
    let shown: Vec<String> = diagnostics
        .iter()
        .map(|diagnostic| match diagnostic.origin {
            Origin::File => one(&renderer, path, &file, diagnostic),
            Origin::Override(index) => {
                let text = overrides.get(index).map_or("", Override::text);
                one(&renderer, "--set", &masked(text), diagnostic)
            }
        })
        .collect();
    shown.join("\n\n")
}

fn one(renderer: &Renderer, path: &str, text: &str, diagnostic: &Diagnostic) -> String {
    let title = Level::ERROR.primary_title(normalize_untrusted_str(&diagnostic.message));
    let group = match &diagnostic.span {
        Some(span) if !text.is_empty() => {
            let annotation = AnnotationKind::Primary
                .span(within(text, span))
                .label(normalize_untrusted_str(&diagnostic.label));
            title.element(Snippet::source(text).path(path).annotation(annotation))
        }
        Some(_) => title.element(annotate_snippets::Origin::path(path).line(1).char_column(1)),
        None => Group::with_title(title),
    };
    let shown = renderer.render(&[group]);
    let Some(hint) = &diagnostic.hint else { return shown };
    // A group of its own, rendered apart: within one report it would come after an empty line.
    let hint = Level::HELP.with_name("hint").secondary_title(normalize_untrusted_str(hint));
    format!("{}\n{}", shown.trim_end(), renderer.render(&[Group::with_title(hint)]))
}

fn within(text: &str, span: &Range<usize>) -> Range<usize> {
    let end = text.floor_char_boundary(span.end.min(text.len()));
    text.floor_char_boundary(span.start.min(end))..end
}

/// Returns the text with its secrets starred out and nothing that hides or turns round what is beside it;
/// byte for byte, so that spans stay true.
pub(super) fn masked(text: &str) -> String {
    let mut hidden: Vec<Range<usize>> = Vec::new();
    hidden.extend(private_keys(text));
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        hidden.extend(value_of_secret(line).map(|range| moved(range, start)));
        let mut word_start = start;
        for word in line.split_inclusive(|c: char| c.is_whitespace() || c == '"' || c == '\'' || c == '=') {
            hidden.extend(login(word).map(|range| moved(range, word_start)));
            word_start += word.len();
        }
        start += line.len();
    }
    // A login may lie within what is hidden anyhow: what begins first and reaches furthest counts.
    hidden.sort_by_key(|range| (range.start, std::cmp::Reverse(range.end)));
    let mut reached = 0;
    hidden.retain(|range| {
        let further = range.end > reached;
        reached = reached.max(range.end);
        further
    });
    let mut hidden = hidden.into_iter().peekable();
    let mut shown = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        while hidden.peek().is_some_and(|range| range.end <= at) {
            hidden.next();
        }
        let keep = c.is_whitespace() || hidden.peek().is_none_or(|range| at < range.start);
        match (keep, c.len_utf8()) {
            (true, 3) if unprintable(c) => shown.push(char::REPLACEMENT_CHARACTER),
            (true, 2) if unprintable(c) => shown.push('¿'),
            (true, _) => shown.push(c),
            (false, length) => shown.extend(std::iter::repeat_n('*', length)),
        }
    }
    shown
}

fn moved(range: Range<usize>, start: usize) -> Range<usize> {
    range.start + start..range.end + start
}

/// The login in a URL: all of it, except ssh's user name.
fn login(word: &str) -> Option<Range<usize>> {
    let at = word.rfind('@')?;
    let (scheme, start) = match word.find("://") {
        Some(end) => (&word[..end], end + 3),
        None => ("", 0),
    };
    let login = word.get(start..at)?;
    match (scheme, login.find(':')) {
        // `git@host:path@v1` has its `@` before the `:`, and `dropbox:/me@work` is no URL.
        ("" | "ssh", None) => None,
        ("", Some(colon)) if login[..colon].contains('@') || login[colon + 1..].starts_with('/') => None,
        ("ssh", Some(colon)) if login[..colon].contains(['@', '/']) => None,
        ("" | "ssh", Some(colon)) => Some(start + colon + 1..at),
        _ => Some(start..at),
    }
}

/// The rest of a line behind a key that sounds secret.
fn value_of_secret(line: &str) -> Option<Range<usize>> {
    let equals = line.match_indices('=').map(|(at, _)| at).find(|at| {
        let before = line[..*at].trim_end().trim_end_matches(['"', '\'']);
        let key = before.rsplit(|c: char| c.is_whitespace() || "{,\"'".contains(c)).next().unwrap_or(before);
        secret(key)
    })?;
    Some(equals + 1..line.len())
}

/// Everything between the dashes of a pasted private key.
fn private_keys(text: &str) -> Option<Range<usize>> {
    let begin = text.find("PRIVATE KEY-----")? + "PRIVATE KEY-----".len();
    let end = text[begin..].rfind("-----END").map_or(text.len(), |length| begin + length);
    Some(begin..end)
}
