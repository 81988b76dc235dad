//! Broken session.toml files, and what the real program says of each.
//!
//! The corpus is `tests/it/broken/*.txt`. A case is a title, the file, a line of hyphens and the message. The
//! file is given as a change to `base.toml`, `-` and `+` as in a diff, or whole where nothing is taken away; a
//! line with `*` stands for the bytes that its escapes name, with no line break but what it writes itself.
//! `INSTA_UPDATE=always` writes the messages anew.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::support::{Project, Ran};

const BASE: &str = include_str!("broken/base.toml");

struct Case {
    title: String,
    /// The file as the corpus writes it.
    written: String,
}

#[test]
fn every_broken_file_is_refused_with_place_and_advice() {
    let groups = groups();
    let (even, odd): (Vec<_>, Vec<_>) = groups.into_iter().enumerate().partition(|(at, _)| at % 2 == 0);
    let halves: Vec<Vec<PathBuf>> =
        [even, odd].into_iter().map(|half| half.into_iter().map(|(_, group)| group).collect()).collect();
    let checked: usize = std::thread::scope(|scope| {
        let workers: Vec<_> = halves.iter().map(|half| scope.spawn(|| check_all(half))).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    assert!(checked >= 150, "{checked} broken files");
}

fn groups() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/broken");
    let mut groups: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    groups.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    groups.sort();
    groups
}

fn check_all(groups: &[PathBuf]) -> usize {
    let project = Project::without_world(BASE);
    project.run(&["validate"]).exits(0);
    let mut checked = 0;
    for group in groups {
        let text = std::fs::read_to_string(group).unwrap();
        let mut renewed = String::new();
        for case in cases(&text) {
            let message = said(&project, &case);
            let Case { title, written, .. } = &case;
            writeln!(renewed, "===== {title}\n{written}\n-----\n{message}\n").unwrap();
            checked += 1;
        }
        if std::env::var("INSTA_UPDATE").is_ok_and(|update| update == "always") {
            std::fs::write(group, renewed.trim_end().to_owned() + "\n").unwrap();
        } else {
            let differs = text.lines().zip(renewed.lines()).find(|(expected, found)| expected != found);
            assert_eq!(differs, None, "{} (expected, found)", group.display());
            assert_eq!(text.trim_end().len(), renewed.trim_end().len(), "{}", group.display());
        }
    }
    assert!(!project.path().join(".dacapo").exists(), "no world was started for a broken file");
    checked
}

fn cases(text: &str) -> Vec<Case> {
    let parts = text.split("===== ").filter(|part| !part.is_empty());
    let cases = parts.map(|part| {
        let (title, rest) = part.split_once('\n').unwrap();
        let (written, _) = rest.split_once("\n-----\n").unwrap_or_else(|| panic!("{title}: no `-----`"));
        Case { title: title.into(), written: written.into() }
    });
    cases.collect()
}

/// Validates the case's file and returns the message, which has all that a message must have.
fn said(project: &Project, case: &Case) -> String {
    let title = &case.title;
    let bytes = file(&case.written);
    std::fs::write(project.path().join("session.toml"), &bytes).unwrap();
    let Ran { code, stdout, stderr } = project.run(&["validate"]);
    assert_eq!((code, stdout.as_str()), (3, ""), "{title}: {stderr}");
    let (first, shown) = stderr.split_once("\n  why: ").unwrap_or_else(|| panic!("{title}: {stderr}"));
    let message = shown.trim_end().replace("\n       ", "\n");
    let mistakes = format!("\n{message}").matches("\nerror: ").count();
    assert_eq!(first, format!("error: `session.toml` has {mistakes} mistake(s)"), "{title}");
    for mistake in message.split("\n\nerror: ") {
        assert!(mistake.lines().any(|line| line.starts_with("hint: ")), "{title}: no advice in\n{mistake}");
        assert_placed(title, mistake, &bytes);
    }
    let hidden = |c: char| {
        c.is_control() && c != '\n'
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    assert!(!message.contains(hidden), "{title}: {message:?}");
    assert!(!message.contains("hunter2"), "{title}: a secret is repeated in\n{message}");
    message
}

/// Asserts that a message names a line and a column of the file.
fn assert_placed(title: &str, message: &str, bytes: &[u8]) {
    let place = message.split_once("--> session.toml:").and_then(|(_, place)| place.lines().next());
    let place = place.unwrap_or_else(|| panic!("{title}: no place in\n{message}"));
    let (line, column) = place.split_once(':').unwrap();
    let (line, column): (usize, usize) = (line.parse().unwrap(), column.parse().unwrap());
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.split('\n').collect();
    assert!((1..=lines.len()).contains(&line), "{title}: line {line} of {}", lines.len());
    let length = lines[line - 1].chars().count();
    assert!((1..=length + 1).contains(&column), "{title}: column {column} of {length} in line {line}");
}

/// Returns the file that a case writes down.
fn file(written: &str) -> Vec<u8> {
    let is_change = written.lines().any(|line| line.starts_with('-'));
    let mut file = if is_change { BASE.as_bytes().to_vec() } else { Vec::new() };
    let mut lines = written.lines().peekable();
    while lines.peek().is_some() {
        let (mut taken, mut given) = (String::new(), Vec::new());
        while let Some(line) = lines.next_if(|line| line.starts_with('-')) {
            writeln!(taken, "{}", &line[1..]).unwrap();
        }
        while let Some(line) = lines.next_if(|line| !line.starts_with('-')) {
            match line.split_at(1) {
                ("+", text) => given.extend([text.as_bytes(), b"\n"].concat()),
                ("*", text) => given.extend(unescaped(text)),
                _ => panic!("`{line}` begins with none of `-`, `+` and `*`"),
            }
        }
        let at = if is_change { position(&file, taken.as_bytes()) } else { 0 };
        file.splice(at..at + taken.len(), given);
    }
    file
}

fn position(file: &[u8], taken: &[u8]) -> usize {
    assert!(!taken.is_empty(), "a change takes something away");
    let mut found = (0..file.len()).filter(|at| file[*at..].starts_with(taken));
    let at = found.next().unwrap_or_else(|| panic!("`{}` is in the base", String::from_utf8_lossy(taken)));
    assert_eq!(found.next(), None, "`{}` is there once", String::from_utf8_lossy(taken));
    at
}

/// Reads `\n`, `\r`, `\t`, `\\`, `\xe9` (a byte) and `\u{e9}` (a character).
fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut parts = text.split('\\');
    bytes.extend(parts.next().unwrap().bytes());
    while let Some(part) = parts.next() {
        let (kind, rest) = part.split_at(part.len().min(1));
        let rest = match kind {
            "" => {
                bytes.push(b'\\');
                parts.next().unwrap()
            }
            "n" => pushed(&mut bytes, b'\n', rest),
            "r" => pushed(&mut bytes, b'\r', rest),
            "t" => pushed(&mut bytes, b'\t', rest),
            "x" => pushed(&mut bytes, u8::from_str_radix(&rest[..2], 16).unwrap(), &rest[2..]),
            "u" => {
                let (digits, rest) = rest.strip_prefix('{').unwrap().split_once('}').unwrap();
                let c = char::from_u32(u32::from_str_radix(digits, 16).unwrap()).unwrap();
                bytes.extend(c.to_string().bytes());
                rest
            }
            _ => panic!("`\\{kind}` is no escape here"),
        };
        bytes.extend(rest.bytes());
    }
    bytes
}

fn pushed<'a>(bytes: &mut Vec<u8>, byte: u8, rest: &'a str) -> &'a str {
    bytes.push(byte);
    rest
}

#[test]
fn colour_takes_nothing_from_a_message() {
    let project = Project::without_world("name = lesson3\n");
    let plain = project.run(&["validate"]).exits(3);
    let forced = project.command(&["validate"]).env("CLICOLOR_FORCE", "1").output().unwrap();
    let coloured = String::from_utf8(forced.stderr).unwrap();
    assert!(coloured.contains("\u{1b}["), "{coloured}");
    assert_eq!(console::strip_ansi_codes(&coloured), plain.stderr);
}

#[test]
fn files_that_are_too_large_or_too_deep_are_refused_at_once() {
    let project = Project::without_world("");
    let deep = |open: &str, close: &str| format!("a = {}1{}\n", open.repeat(500), close.repeat(500));
    let cases = [
        ("too large", format!("{BASE}# {}\n", "x".repeat(200_000)), "the file is larger than 128 KiB"),
        ("lists in lists", deep("[", "]"), "session.toml:1:"),
        ("tables in tables", deep("{a=", "}"), "session.toml:1:"),
        ("a deep header", format!("[{}a]\n", "a.".repeat(500)), "session.toml:1:"),
        (
            "a thousand unknown keys",
            (0..1000).map(|i| format!("k{i} = {i}\n")).collect(),
            "unknown key `k999`",
        ),
        ("a thousand words", "word\n".repeat(1000), "session.toml:1000:"),
        ("a long line", format!("name = \"{}\"\n{BASE}", "x".repeat(100_000)), "session.toml:1:"),
        ("one line of brackets", "[".repeat(100_000), "session.toml:1:"),
        ("nothing but quotes", "\"".repeat(100_001), "session.toml:1:"),
        ("a thousand secrets", "token = hunter2\n".repeat(1000), "session.toml:1000:"),
    ];
    for (title, text, expected) in cases {
        std::fs::write(project.path().join("session.toml"), text).unwrap();
        let started = std::time::Instant::now();
        let ran = project.run(&["validate"]).exits(3).says(expected).says("hint: ");
        assert!(!ran.stderr.contains("hunter2"), "{title}");
        assert!(started.elapsed().as_secs() < 10, "{title} took {:?}", started.elapsed());
    }
}
