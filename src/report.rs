//! Every word the user reads: plans, guards, money, events, errors.
//!
//! Writes to what it is given; data goes to stdout, everything else to stderr, and the caller says which
//! is which. Colour never carries meaning alone.

mod artifacts;
mod begin;
mod copy;
mod diff;
mod doctor;
mod explain;
mod live;
mod log;
mod markdown;
mod notebook;
mod orphans;
mod page;
mod plan;
mod prune;
mod set_up;
mod ssh_config;
mod status;
mod timeline;

use std::io::{self, Write};
use std::path::Path;

use console::{Style, style};

use crate::digest::Digests;
use crate::error::{Error, ExitCode};
use crate::facts::Money;

pub use artifacts::{Pin, pinned, version, versions};
pub use begin::{Begun, begun, not_an_answer, numbered, question};
pub use copy::{Copying, copied};
pub use diff::{Compared, Known, diff};
pub use doctor::{Check, checks};
pub use explain::explain;
pub use live::{Live, Mode};
pub use log::log;
pub use markdown::markdown;
pub use notebook::{Way, notebook, way};
pub use orphans::{Fate, orphans, reaped};
pub use page::{Made, Page, drawing, page};
pub use plan::{refusal, render as plan, saved_now, saving, transfers};
pub use prune::{prune, pruned};
pub use ssh_config::{SshConfig, ssh_config, ssh_config_installs, ssh_config_removed};
pub use status::{sandbox_bill, status, summary};
pub use timeline::{Timed, Timeline};

/// Writes an error in its three parts.
pub fn error(out: &mut impl Write, error: &Error) -> io::Result<()> {
    writeln!(out, "{} {}", red("error:"), printable(&error.what))?;
    for why in &error.why {
        writeln!(out, "  {} {}", style("why:").dim(), indented(why))?;
    }
    if let Some(hint) = &error.hint {
        writeln!(out, " {} {}", style("hint:").cyan(), indented(hint))?;
    }
    Ok(())
}

/// Writes what is wrong with a command line, in the parser's words: it quotes what was typed.
pub fn misuse(out: &mut impl Write, words: &str) -> io::Result<()> {
    words.lines().try_for_each(|line| writeln!(out, "{}", printable(line)))
}

/// Writes an error as one JSON line.
pub fn error_json(out: &mut impl Write, error: &Error) -> io::Result<()> {
    let value = serde_json::json!({"version": 1, "error": error, "exit_code": error.kind.code()});
    writeln!(out, "{value}")
}

/// Says that `session.toml` is in order.
pub fn valid(out: &mut impl Write, path: &str, name: &str) -> io::Result<()> {
    writeln!(out, "{path}: valid; session `{name}`")
}

/// Writes the digests of one file, the name last, as `sha256sum` does.
pub fn hash(out: &mut impl Write, path: &Path, digests: &Digests) -> io::Result<()> {
    let plain = digests.sha256.iter().map(|plain| format!("  {plain}")).collect::<String>();
    writeln!(out, "{}{plain}  {}", digests.content, printable(&path.to_string_lossy()))
}

/// Says that nothing is to be done.
pub fn nothing_to_do(out: &mut impl Write, session: &str) -> io::Result<()> {
    writeln!(out, "nothing to do: `{session}` is as session.toml says")
}

/// Empties a terminal's screen, for what is shown again and again.
pub fn clear_screen(out: &mut impl Write) -> io::Result<()> {
    write!(out, "\x1b[H\x1b[2J\x1b[3J")?;
    out.flush()
}

/// Says where the commands of a rehearsal really run.
pub fn sandbox_banner(out: &mut impl Write, directory: &str) -> io::Result<()> {
    let text = format!("sandbox in {directory}: no account, no bill; commands run on this machine, as you");
    writeln!(out, "{}", style(text).dim())
}

/// Asks the user to agree on a page.
pub fn consent(out: &mut impl Write, page: &str) -> io::Result<()> {
    writeln!(out, "Open this page, agree, and copy the code that it shows:\n\n  {page}\n")
}

/// Says that a login works, and where it is kept.
pub fn logged_in(out: &mut impl Write, service: &str, account: &str, path: &Path) -> io::Result<()> {
    let path = path.to_string_lossy();
    writeln!(out, "signed in to {service}: {}; kept in {}", printable(account), printable(&path))
}

/// Says where something was written.
pub fn written(out: &mut impl Write, path: &Path) -> io::Result<()> {
    writeln!(out, "{}", printable(&path.display().to_string()))
}

/// Says what `logout` leaves valid.
pub fn logged_out(out: &mut impl Write, path: &Path) -> io::Result<()> {
    let path = path.to_string_lossy();
    writeln!(
        out,
        "signed out: {} holds nothing of it any more. What was kept is valid until you disconnect the app in Dropbox, or \
         delete the pair in the cloud's console",
        printable(&path)
    )
}

/// Says where a plan was written to.
pub fn saved_plan(out: &mut impl Write, path: &Path, prefix: &str) -> io::Result<()> {
    let path = path.to_string_lossy();
    writeln!(out, "written to {}: `{prefix} apply {}` carries it out", printable(&path), typed(&path))
}

/// Asks whether the plan may be carried out.
pub fn ask(out: &mut impl Write) -> io::Result<()> {
    write!(out, "Carry this out? Only `yes` does: ")?;
    out.flush()
}

/// Says what was left undone and how the process ends.
pub fn interrupted(
    out: &mut impl Write,
    session: &str,
    billing: Option<Money>,
    currency: &str,
    prefix: &str,
) -> io::Result<()> {
    match billing {
        Some(price) if price > Money::default() => writeln!(
            out,
            "interrupted: `{session}` bills {price} {currency}/h; `{prefix} down` ends it, `{prefix} up` goes on"
        ),
        Some(_) => writeln!(out, "interrupted: nothing of `{session}` bills"),
        None => writeln!(
            out,
            "interrupted: what bills isn't known; `{prefix} status` asks, `{prefix} down` ends it"
        ),
    }
}

/// Returns bytes for people, in powers of ten.
pub fn bytes(count: u64) -> String {
    match count {
        0..1_000 => format!("{count} B"),
        1_000..1_000_000 => format!("{:.1} kB", count as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", count as f64 / 1e6),
        _ => format!("{:.2} GB", count as f64 / 1e9),
    }
}

/// Returns what a path or a word needs to be typed in a shell.
pub fn typed(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./:@%+=,".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        word.to_owned()
    } else if printable(word) != word {
        // What can't be shown as it is: bash, zsh and ksh read it so.
        let escape = |byte: u8| match byte {
            b' '..=b'~' if byte != b'\'' && byte != b'\\' => char::from(byte).to_string(),
            _ => format!("\\x{byte:02x}"),
        };
        format!("$'{}'", word.bytes().map(escape).collect::<String>())
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Returns text from elsewhere without what could move a terminal's cursor or hide text.
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|c| {
            let direction =
                matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
            if c.is_control() || direction { '\u{fffd}' } else { c }
        })
        .collect()
}

fn indented(text: &str) -> String {
    let lines: Vec<String> = text.trim_end().lines().map(printable).collect();
    lines.join("\n       ")
}

fn red(text: &str) -> console::StyledObject<&str> {
    Style::new().red().bold().apply_to(text)
}

fn short(commit: &str) -> String {
    printable(commit.get(..10).unwrap_or(commit))
}

/// Returns the words for how the process ends, for `--json`.
pub fn ending(code: ExitCode) -> &'static str {
    match code {
        ExitCode::Ok => "done",
        ExitCode::Error => "failed",
        ExitCode::Pending => "changes pending",
        ExitCode::Usage => "bad usage",
        ExitCode::Credentials => "credentials",
        ExitCode::Refused => "refused",
        ExitCode::NoCapacity => "no capacity",
        ExitCode::Stale => "stale plan",
        ExitCode::Budget => "over budget",
        ExitCode::Lease => "held",
        ExitCode::Interrupted => "interrupted",
        ExitCode::Remote(_) => "remote",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_cannot_move_the_cursor_or_turn_the_text_round() {
        assert_eq!(printable("a\x1b[2Jb\u{202e}c\n"), "a\u{fffd}[2Jb\u{fffd}c\u{fffd}");
    }

    #[test]
    fn no_part_of_an_error_moves_the_cursor() {
        let [what, why, hint] = ["a", "b", "c"].map(|part| format!("{part}\x1b[2J\u{202e}"));
        let mut out = Vec::new();
        error(&mut out, &Error::new(what).why(why).hint(hint)).unwrap();
        let shown = console::strip_ansi_codes(std::str::from_utf8(&out).unwrap()).into_owned();
        assert_eq!(shown.matches("\u{fffd}[2J\u{fffd}").count(), 3, "{shown:?}");
    }

    #[test]
    fn what_is_shown_to_type_survives_a_shell() {
        assert_eq!(typed("files:a/b.bin"), "files:a/b.bin");
        assert_eq!(typed("files:it's here"), r"'files:it'\''s here'");
        assert_eq!(typed("files:$(x)"), "'files:$(x)'");
        assert_eq!(typed("a\x1b[2J'\\\u{202e}"), r"$'a\x1b[2J\x27\x5c\xe2\x80\xae'");
    }
}
