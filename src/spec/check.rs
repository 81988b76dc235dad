//! What the texts of a spec may be: one pure check for each kind, which names the bytes at fault and
//! says what to write instead.

use std::ops::Range;

use globset::GlobBuilder;

use super::{StorePath, Wanted};
use crate::facts::Deadline;

/// Why a text can't be what it is meant to be.
#[derive(Debug)]
pub(super) struct Fault {
    /// What is wrong, to be read behind the key: ``"is not a host name"``.
    pub(super) says: String,
    /// The bytes of the text at fault; the whole text when empty.
    pub(super) at: Range<usize>,
    /// What stands beside the carets.
    pub(super) label: String,
    /// What to write instead.
    pub(super) hint: String,
}

/// What a check gives.
pub(super) type Checked<T = ()> = Result<T, Fault>;

fn fault<T>(
    says: impl Into<String>,
    at: Range<usize>,
    label: impl Into<String>,
    hint: impl Into<String>,
) -> Checked<T> {
    Err(Fault { says: says.into(), at, label: label.into(), hint: hint.into() })
}

/// The longest name: what the clients of the cloud's API keep to (verda-api.md).
const LONGEST_NAME: usize = 60;

/// A session's name: a host name in lower case, because the store folds case.
pub(super) fn name(text: &str) -> Checked {
    let hint = format!("write `name = \"{}\"`", slug(text));
    if text.is_empty() {
        return fault(
            "is empty",
            0..0,
            "expected a host name",
            "write letters, digits and hyphens, such as `lesson3`",
        );
    }
    if let Some((at, c)) = first(text, |c| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')) {
        let label = match c {
            'A'..='Z' => "lower case only: the store doesn't tell case apart".to_owned(),
            _ => format!("{} is not allowed; letters, digits and hyphens are", shown(c)),
        };
        return fault("is not a host name", at, label, hint);
    }
    if text.starts_with('-') || text.ends_with('-') {
        let at = if text.starts_with('-') { 0..1 } else { text.len() - 1..text.len() };
        return fault("is not a host name", at, "no hyphen at either end", hint);
    }
    if text.len() > LONGEST_NAME {
        let label = format!("{} characters; {LONGEST_NAME} are allowed", text.len());
        return fault("is too long", LONGEST_NAME..text.len(), label, hint);
    }
    if !text.bytes().any(|b| b.is_ascii_lowercase()) {
        return fault("is not a host name", 0..0, "expected at least one letter", hint);
    }
    Ok(())
}

/// Returns a good session name that is like a text.
pub fn slug(text: &str) -> String {
    let lower: String =
        text.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    let cut = lower.trim_matches('-');
    let cut = cut[..cut.len().min(LONGEST_NAME - 8)].trim_end_matches('-');
    match cut {
        "" => "session".to_owned(),
        _ if cut.bytes().any(|b| b.is_ascii_lowercase()) => cut.to_owned(),
        _ => format!("session-{cut}"),
    }
}

/// A place in Dropbox: `dropbox:/` and a path.
pub(super) fn store(text: &str) -> Checked<StorePath> {
    const EXAMPLE: &str = "write `store = \"dropbox:/fastai/lesson3\"`";
    let Some(path) = text.strip_prefix("dropbox:") else {
        let (label, hint) = match text {
            "" => ("expected `dropbox:/…`", EXAMPLE.to_owned()),
            _ if text.starts_with('/') => {
                ("expected `dropbox:` before it", format!("write `store = \"dropbox:{}\"`", escaped(text)))
            }
            _ => ("expected `dropbox:/…`", format!("Dropbox is the one store there is: {EXAMPLE}")),
        };
        return fault("is not a store", 0..0, label, hint);
    };
    if path.is_empty() || path == "/" {
        return Ok(StorePath(String::new()));
    }
    let start = "dropbox:".len();
    let Some(inner) = path.strip_prefix('/') else {
        let hint = format!("write `store = \"dropbox:/{}\"`", escaped(path));
        return fault("needs a `/` behind `dropbox:`", 0..start, "expected `dropbox:/`", hint);
    };
    parts(inner, EXAMPLE)
        .and_then(|()| no_system_file(inner, EXAMPLE))
        .map_err(|fault| fault.moved(start + 1))?;
    Ok(StorePath(path.to_owned()))
}

/// Names that Dropbox refuses, whatever their case. There is one more, but it ends in a control character.
///
/// Versions can't have one of them: a date stands before their file's name.
const SYSTEM_FILES: [&str; 5] = ["desktop.ini", "thumbs.db", ".ds_store", ".dropbox", ".dropbox.attr"];

fn no_system_file(text: &str, example: &str) -> Checked {
    let is_one = |part: &str| SYSTEM_FILES.iter().any(|name| part.eq_ignore_ascii_case(name));
    match split(text).find(|(_, part)| is_one(part)) {
        Some((at, _)) => fault("has a name that Dropbox refuses", at, "a system's own file", example),
        None => Ok(()),
    }
}

/// An instance type, a location or an image: one word.
pub(super) fn word(text: &str) -> Checked {
    const HINT: &str = "write it exactly as the cloud's catalogue does";
    if text.is_empty() {
        return fault("is empty", 0..0, "expected a name", HINT);
    }
    no_hyphen_first(text)?;
    if let Some((at, c)) = first(text, |c| c.is_whitespace() || unprintable(c)) {
        return fault("is not one word", at, format!("{} is not allowed", shown(c)), HINT);
    }
    Ok(())
}

/// The file of a public key.
pub(super) fn ssh_key(text: &str) -> Checked {
    const PUBLIC: &str =
        "name the public key, such as `~/.ssh/id_ed25519.pub`; the private one stays where it is";
    if text.is_empty() {
        return fault("is empty", 0..0, "expected a file", PUBLIC);
    }
    if text.starts_with("ssh-") || text.starts_with("ecdsa-") || text.contains("PRIVATE KEY") {
        return fault("holds a key", 0..0, "expected the name of a file", PUBLIC);
    }
    no_hyphen_first(text)?;
    printable(text)?;
    if text.starts_with('~') && !text.starts_with("~/") {
        let at = 0..text.find('/').unwrap_or(text.len());
        return fault("names another user's home", at, "expected `~/`", "write `~/…`, or the path in full");
    }
    if !text.ends_with(".pub") {
        let hint = if text.chars().all(|c| !c.is_whitespace()) {
            format!("name the public key, `{}.pub`; the private one stays where it is", escaped(text))
        } else {
            PUBLIC.to_owned()
        };
        return fault("is not a public key's file", 0..0, "expected a name that ends in `.pub`", hint);
    }
    Ok(())
}

const URL: &str = "write `git@host:path`, `ssh://user@host/path`, or `https://host/path` for a public repo";

/// A git remote: `user@host:path`, `ssh://…` or `https://…`, and nothing that git could take for an
/// option, a program to run or a file.
pub(super) fn url(text: &str) -> Checked {
    if text.is_empty() {
        return fault("is empty", 0..0, "expected a git URL", URL);
    }
    no_hyphen_first(text)?;
    if let Some((at, c)) =
        first(text, |c| c.is_whitespace() || unprintable(c) || "\\\"'`$;&|<>*?#".contains(c))
    {
        return fault("is not a git URL", at, format!("{} is not allowed", shown(c)), URL);
    }
    match text.split_once("://") {
        Some(("https", rest)) => https(rest).map_err(|fault| fault.moved("https://".len())),
        Some(("ssh", rest)) => ssh(rest).map_err(|fault| fault.moved("ssh://".len())),
        Some((scheme, _)) => other_scheme(scheme),
        None => scp(text),
    }
}

fn other_scheme(scheme: &str) -> Checked {
    let hint = match scheme {
        "http" | "HTTPS" => "write `https://…`",
        "file" => "push the repo to a git host: a server can't read this laptop's files",
        _ => URL,
    };
    fault("is not a URL that can be used", 0..scheme.len(), "expected `ssh` or `https`", hint)
}

fn https(rest: &str) -> Checked {
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if let Some(at) = authority.rfind('@') {
        // Neither message nor hint repeats what stands there.
        return fault(
            "carries a login",
            0..at + 1,
            "credentials don't belong in this file",
            "leave out all up to the `@`; for a private repo write `git@host:path`",
        );
    }
    host_and_port(authority)?;
    repo_path(path, authority.len())
}

fn ssh(rest: &str) -> Checked {
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = match authority.rsplit_once('@') {
        Some((login, _)) if login.contains(':') => {
            let at = login.find(':').unwrap_or(0)..login.len();
            return fault(
                "carries a password",
                at,
                "credentials don't belong in this file",
                "leave it out: ssh logs in with a key",
            );
        }
        Some((user, host)) => {
            login(user)?;
            host
        }
        None => authority,
    };
    host_and_port(host).map_err(|fault| fault.moved(authority.len() - host.len()))?;
    repo_path(path, authority.len())
}

fn scp(text: &str) -> Checked {
    let Some((before, path)) = text.split_once(':') else {
        let hint = match text {
            _ if text.starts_with(['/', '.', '~']) => {
                "push the repo to a git host: a server can't read this laptop's files"
            }
            _ => URL,
        };
        return fault("is not a git URL", 0..0, "expected `git@host:path`, `ssh://…` or `https://…`", hint);
    };
    let Some((user, host)) = before.split_once('@') else {
        if path.contains('@') {
            return fault("carries a password", 0..0, "credentials don't belong in this file", URL);
        }
        if path.starts_with(':') || login(before).is_err() || !before.contains('.') {
            return fault("is not a git URL", 0..before.len() + 1, "expected `git@host:`", URL);
        }
        let hint = format!("write `git@{}`", escaped(text));
        return fault("names no user", 0..before.len() + 1, "expected `git@` before the host", hint);
    };
    login(user)?;
    host_name(host).map_err(|fault| fault.moved(user.len() + 1))?;
    repo_path(path, before.len() + 1)
}

fn login(user: &str) -> Checked {
    let odd = |c: char| !(c.is_ascii_alphanumeric() || "._+-".contains(c));
    if user.is_empty() || user.starts_with(['-', '.']) || user.contains(odd) {
        return fault(
            "names no user that ssh could log in as",
            0..user.len(),
            "expected a user name",
            "write `git@` before the host",
        );
    }
    Ok(())
}

fn host_and_port(text: &str) -> Checked {
    let Some((host, port)) = text.split_once(':') else { return host_name(text) };
    host_name(host)?;
    if !port.bytes().all(|b| b.is_ascii_digit()) || !port.parse::<u16>().is_ok_and(|port| port > 0) {
        let at = host.len()..text.len();
        return fault(
            "has no port behind the host's `:`",
            at,
            "expected a number from 1 to 65535",
            "write `host:22/path`, or leave `:` and port out",
        );
    }
    Ok(())
}

fn host_name(host: &str) -> Checked {
    let odd = |c: char| !(c.is_ascii_alphanumeric() || "._-".contains(c));
    let label =
        |part: &str| part.is_empty() || part.starts_with('-') || part.ends_with('-') || part.contains(odd);
    if host.len() > 253 || host.split('.').any(label) {
        return fault(
            "names no host",
            0..host.len(),
            "expected a host name",
            "write it as `github.com`: letters, digits, hyphens and dots",
        );
    }
    Ok(())
}

fn repo_path(path: &str, start: usize) -> Checked {
    let inner = path.strip_prefix('/').unwrap_or(path);
    if inner.trim_matches('/').is_empty() {
        return fault("names no repo", start..start + path.len(), "expected the repo's path", URL);
    }
    no_hyphen_first(inner).map_err(|fault| fault.moved(start + path.len() - inner.len()))
}

/// Returns the folder name that git would choose for a clone of `url`.
pub(super) fn folder_of(url: &str) -> &str {
    let path = url.trim_end_matches('/');
    let last = path.rsplit(['/', ':']).next().unwrap_or(path);
    last.strip_suffix(".git").unwrap_or(last)
}

/// A branch name by the rules of `git check-ref-format --branch`.
pub(super) fn branch(text: &str) -> Checked {
    const HINT: &str = "write the branch's name as `git branch` shows it, such as `main`";
    let wrong = |at, label: &str| fault("is not a branch name that git accepts", at, label, HINT);
    if text.is_empty() {
        return fault("is empty", 0..0, "expected a branch name", HINT);
    }
    no_hyphen_first(text)?;
    if let Some((at, c)) = first(text, |c| c == ' ' || unprintable(c) || "~^:?*[\\".contains(c)) {
        return wrong(at, &format!("{} is not allowed", shown(c)));
    }
    for bad in ["..", "//", "@{"] {
        if let Some(start) = text.find(bad) {
            return wrong(start..start + bad.len(), &format!("`{bad}` is not allowed"));
        }
    }
    if text == "@" || text == "HEAD" {
        return wrong(0..0, "has a meaning of its own");
    }
    if text.starts_with('/') {
        return wrong(0..1, "no `/` at either end");
    }
    if text.ends_with(['/', '.']) {
        return wrong(text.len() - 1..text.len(), "no `/` or `.` at the end");
    }
    for (at, part) in split(text) {
        if part.starts_with('.') {
            return wrong(at.start..at.start + 1, "no part begins with `.`");
        }
        if part.ends_with(".lock") {
            return wrong(at.end - ".lock".len()..at.end, "no part ends in `.lock`");
        }
    }
    Ok(())
}

/// Where the checkout goes, under the login user's home.
pub(super) fn checkout(text: &str) -> Checked {
    relative(text, "the login user's home", "write it as `lesson3`")?;
    let top = text.split('/').next().unwrap_or(text);
    if [".dacapo", ".ssh"].iter().any(|taken| top.eq_ignore_ascii_case(taken)) {
        return fault(
            "lies where other things live",
            0..top.len(),
            "kept for logging in and for dacapo itself",
            "write another folder, such as `lesson3`",
        );
    }
    Ok(())
}

/// The longest file name of an artifact, in characters: what is stored under it has a date in front, packing,
/// two hashes and `.json` behind, and Dropbox takes 255 characters in all.
pub const LONGEST_FILE_NAME: usize = 150;

/// An artifact's file, under the checkout.
pub(super) fn artifact(text: &str) -> Checked {
    relative(text, "the checkout", "write it as `export.pkl` or `models/export.pkl`")?;
    let start = text.rfind('/').map_or(0, |slash| slash + 1);
    if let Some((over, _)) = text[start..].char_indices().nth(LONGEST_FILE_NAME) {
        let label = format!("{LONGEST_FILE_NAME} characters are allowed");
        let hint = "give the file a shorter name: versions and their manifests are stored under it, with more around";
        return fault("has a file name that is too long", start + over..text.len(), label, hint);
    }
    outside_git(text, "write the path of a file in the checkout")
}

fn outside_git(text: &str, hint: &str) -> Checked {
    match split(text).find(|(_, part)| part.eq_ignore_ascii_case(".git")) {
        Some((at, _)) => fault("lies in git's own folder", at, "git's own", hint),
        None => Ok(()),
    }
}

/// A path that saving takes along: below the checkout.
pub(super) fn saved(text: &str) -> Checked {
    relative(text, "the checkout", "write `save = [\"data/big.bin\"]`")
}

/// The folder that a notebook server shows: the checkout, or one below it.
pub(super) fn notebook_directory(text: &str) -> Checked {
    if text == "." {
        return Ok(());
    }
    relative(text, "the checkout", "write it as `notebooks`; `.` is the checkout itself")?;
    outside_git(text, "write the path of a folder in the checkout")
}

/// A step of set-up: one line for `sh`.
pub(super) fn step(text: &str) -> Checked {
    const HINT: &str = "put what is longer into a script of the repo, and run that: `sh setup.sh`";
    if text.trim().is_empty() {
        return fault(
            "is empty",
            0..0,
            "expected a command",
            "write it as `pip install -r requirements.txt`",
        );
    }
    no_hyphen_first(text)?;
    if let Some((at, c)) = first(text, unprintable) {
        return fault("is not one line", at, format!("{} is not allowed", shown(c)), HINT);
    }
    if text.len() > LONGEST_STEP {
        return fault("is too long", 0..0, format!("longer than {LONGEST_STEP} bytes"), HINT);
    }
    Ok(())
}

/// Longer than any line that one wants to read.
const LONGEST_STEP: usize = 2000;

/// A file of the checkout that set-up depends on.
pub(super) fn input(text: &str) -> Checked {
    relative(text, "the checkout", "write it as `requirements.txt`")?;
    outside_git(text, "write the path of a file in the checkout")
}

/// The most that a step of set-up may take.
pub(super) fn timeout(text: &str) -> Checked<Deadline> {
    text.parse().or_else(|()| {
        let hint = "write days, hours and minutes, such as `\"1h\"` or `\"90m\"`";
        fault("is not a length of time", 0..0, "expected 1 minute to 365 days", hint)
    })
}

/// A requirement as pip takes it: a name, extras in brackets, versions behind it.
///
/// Nothing that pip could take for an option, a file or an address.
pub(super) fn package(text: &str) -> Checked {
    const HINT: &str = "write it as `pandas`, `pandas>=2` or `jax[cuda12]==0.4.35`";
    if text.is_empty() {
        return fault("is empty", 0..0, "expected a package's name", HINT);
    }
    no_hyphen_first(text)?;
    let name = |c: char| c.is_ascii_alphanumeric();
    if !text.starts_with(name) {
        return fault("is not a requirement", 0..0, "expected a package's name first", HINT);
    }
    if let Some((at, c)) = first(text, |c| !(name(c) || " ._-[],<>=!~*+".contains(c))) {
        return fault("is not a requirement", at, format!("{} is not allowed", shown(c)), HINT);
    }
    if text.len() > LONGEST_REQUIREMENT || text.trim() != text {
        return fault("is not a requirement", 0..0, "expected a name and a version", HINT);
    }
    Ok(())
}

/// Longer than any requirement that means something.
const LONGEST_REQUIREMENT: usize = 200;

fn relative(text: &str, base: &str, example: &str) -> Checked {
    if text.is_empty() {
        return fault("is empty", 0..0, format!("expected a path below {base}"), example);
    }
    if text.starts_with('/') {
        let hint = format!("{example}: it counts from {base}");
        return fault("is an absolute path", 0..1, "expected a relative path", hint);
    }
    if text.starts_with('~') {
        let hint = format!("{example}: it counts from {base}");
        return fault("begins with `~`", 0..1, "expected a relative path", hint);
    }
    parts(text, example)
}

/// Checks each part of a path that is joined by `/`.
fn parts(text: &str, example: &str) -> Checked {
    for (at, part) in split(text) {
        let wrong = |at, label: &str| fault("is not a usable path", at, label, example);
        if part.is_empty() {
            let slash = if at.start == text.len() {
                at.start.saturating_sub(1)..at.start
            } else {
                at.start..at.start + 1
            };
            return wrong(slash, "a `/` with nothing between");
        }
        if part == ".." {
            return fault("leaves its folder", at, "`..` is not allowed", example);
        }
        if part == "." {
            return wrong(at, "`.` is not allowed");
        }
        if part.starts_with('-') {
            return wrong(at.start..at.start + 1, "no part begins with `-`: programs take it for an option");
        }
        if let Some((inner, c)) = first(part, |c| c == '\\' || unprintable(c)) {
            return wrong(
                at.start + inner.start..at.start + inner.end,
                &format!("{} is not allowed", shown(c)),
            );
        }
        if part.trim() != part {
            return wrong(at, "no part begins or ends with a blank");
        }
        if part.len() > 255 {
            return wrong(at, "longer than 255 bytes");
        }
    }
    Ok(())
}

/// An artifact's name.
pub(super) fn artifact_name(text: &str) -> Checked {
    let hint = "write lower-case letters, digits, `_` and `-`, as in `[artifacts.model]`";
    if text.is_empty() {
        return fault("is empty", 0..0, "expected a name", hint);
    }
    no_hyphen_first(text)?;
    if text.chars().any(|c| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-')) {
        return fault("is not an artifact's name", 0..0, "expected letters, digits, `_` and `-`", hint);
    }
    Ok(())
}

/// How long a machine may run.
pub(super) fn deadline(text: &str) -> Checked<Deadline> {
    text.parse().or_else(|()| {
        let hint = "write days, hours and minutes, such as `\"8h\"`, `\"90m\"` or `\"1d12h\"`";
        fault("is not a length of time", 0..0, "expected 1 minute to 365 days", hint)
    })
}

/// A version: `latest`, `none`, `content:…` or a stored name.
pub(super) fn version(text: &str) -> Checked<Wanted> {
    const HINT: &str = "write `latest`, `none`, a stored version's name, or `content:` and its hash";
    match text {
        "latest" => return Ok(Wanted::Latest),
        "none" => return Ok(Wanted::None),
        "" => return fault("is empty", 0..0, "expected a version", HINT),
        _ => {}
    }
    if let Some(hash) = text.strip_prefix("content:") {
        return match hash.parse() {
            Ok(hash) => Ok(Wanted::Content(hash)),
            Err(_) => {
                let at = text.len() - hash.len()..text.len();
                fault(
                    "is not a content hash",
                    at,
                    "expected 64 hexadecimal digits",
                    "write the hash in full behind `content:`",
                )
            }
        };
    }
    if let Some(meant) = ["latest", "none"].into_iter().find(|word| text.eq_ignore_ascii_case(word)) {
        return fault("is not a version", 0..0, "lower case is expected", format!("write `\"{meant}\"`"));
    }
    no_hyphen_first(text)?;
    if text.starts_with('.') {
        return fault("is not a version's name", 0..1, "no `.` in front", HINT);
    }
    if let Some((at, c)) = first(text, |c| c == '/' || c == '\\' || unprintable(c)) {
        return fault("is not a version's name", at, format!("{} is not allowed", shown(c)), HINT);
    }
    if text.trim() != text || text.len() > 255 {
        return fault("is not a version's name", 0..0, "expected a file name", HINT);
    }
    Ok(Wanted::Named(text.to_owned()))
}

/// A glob under the login user's home.
pub(super) fn glob(text: &str) -> Checked {
    const HINT: &str = "write it as `data/raw/**`: it counts from the login user's home";
    if text.is_empty() {
        return fault("is empty", 0..0, "expected a glob", HINT);
    }
    no_hyphen_first(text)?;
    printable(text)?;
    if text.starts_with(['/', '~']) {
        return fault("is not relative", 0..1, "expected a relative path", HINT);
    }
    if let Some((at, _)) = split(text).find(|(_, part)| *part == "..") {
        return fault("leaves the home folder", at, "`..` is not allowed", HINT);
    }
    match GlobBuilder::new(text).literal_separator(true).build() {
        Ok(_) => Ok(()),
        Err(error) => fault("is not a glob", 0..0, escaped(&error.kind().to_string()), HINT),
    }
}

fn no_hyphen_first(text: &str) -> Checked {
    if text.starts_with('-') {
        return fault(
            "begins with `-`",
            0..1,
            "programs take this for an option",
            "leave out the `-` in front",
        );
    }
    Ok(())
}

fn printable(text: &str) -> Checked {
    match first(text, unprintable) {
        Some((at, c)) => fault("cannot be used", at, format!("{} is not allowed", shown(c)), "leave it out"),
        None => Ok(()),
    }
}

impl Fault {
    /// Shifts the bytes at fault, for a check that saw only the text from `start` on.
    fn moved(mut self, start: usize) -> Self {
        // Nothing at fault at this place still has a place: the character before it.
        self.at = if self.at.is_empty() {
            start.saturating_sub(1)..start
        } else {
            self.at.start + start..self.at.end + start
        };
        self
    }
}

/// Returns `text` fit for a message: one line, nothing invisible, not endless.
pub(super) fn escaped(text: &str) -> String {
    const LONGEST: usize = 80;
    let mut shown = String::new();
    for c in text.chars().take(LONGEST) {
        if unprintable(c) { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

pub(super) fn shown(c: char) -> String {
    match c {
        ' ' => "a blank".to_owned(),
        '`' => "a backtick".to_owned(),
        _ if unprintable(c) || c.is_whitespace() => format!("the character U+{:04X}", u32::from(c)),
        _ => format!("`{c}`"),
    }
}

/// Control characters, and those that hide or turn round what is beside them.
pub(super) fn unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

fn first(text: &str, bad: impl Fn(char) -> bool) -> Option<(Range<usize>, char)> {
    text.char_indices().find(|(_, c)| bad(*c)).map(|(at, c)| (at..at + c.len_utf8(), c))
}

/// The parts between slashes, each with its place.
fn split(text: &str) -> impl Iterator<Item = (Range<usize>, &str)> {
    let mut start = 0;
    text.split('/').map(move |part| {
        let at = start..start + part.len();
        start = at.end + 1;
        (at, part)
    })
}
