//! The files of the vendor's CLI: `credentials` (INI, one section per profile) and `config.yaml`.
//!
//! Read, never written; values are never quoted in messages.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::error::{Error, ExitCode, Result};

use super::set;

/// Which file, and which profile in it.
pub(super) struct Choice {
    file: PathBuf,
    /// The name asked for; none leaves it to the file.
    name: Option<String>,
}

/// One section of the file.
pub(super) struct Profile {
    name: String,
    values: BTreeMap<String, String>,
}

impl Choice {
    /// Finds the file and the profile's name; `name` is the user's explicit choice.
    pub(super) fn new(
        environment: &BTreeMap<String, String>,
        home: &Path,
        name: Option<&str>,
    ) -> Result<Self> {
        let expanded = |text: &str| match text.strip_prefix("~/") {
            Some(rest) => home.join(rest),
            None => PathBuf::from(text),
        };
        let directory = set(environment, "VERDA_HOME").map_or_else(|| home.join(".verda"), expanded);
        let config = read(&directory.join("config.yaml"))?.unwrap_or_default();
        let moved = set(environment, "VERDA_SHARED_CREDENTIALS_FILE");
        let file = auth_setting(&config, "credentials-file").or(moved.map(str::to_owned));
        Ok(Self {
            file: file.map_or_else(|| directory.join("credentials"), |file| expanded(&file)),
            name: name.map(str::to_owned).or_else(|| auth_setting(&config, "profile")),
        })
    }

    /// Returns the file's name, for messages.
    pub(super) fn shown(&self) -> String {
        self.file.display().to_string()
    }

    /// Reads the profile; none when there is no file and none was asked for.
    pub(super) fn read(&self) -> Result<Option<Profile>> {
        let Some(text) = read(&self.file)? else {
            return match &self.name {
                None => Ok(None),
                Some(name) => Err(refused(format!("there is no profile `{name}`"))
                    .why(format!("`{}` does not exist", self.shown()))
                    .hint("write it with the vendor's `verda auth login`, or unset `VERDA_PROFILE`")),
            };
        };
        let mut profiles = sections(&text).map_err(|line| {
            refused(format!("cannot read `{}`", self.shown()))
                .why(format!("line {line} is neither `[profile]` nor `key = value`"))
        })?;
        let name = match &self.name {
            Some(name) => name.clone(),
            None if profiles.len() == 1 => profiles.keys().next().cloned().unwrap_or_default(),
            None => "default".to_owned(),
        };
        match profiles.remove(&name) {
            Some(values) => Ok(Some(Profile { name, values })),
            None => Err(self.unknown(&name, profiles.keys())),
        }
    }

    fn unknown<'a>(&self, name: &str, known: impl Iterator<Item = &'a String>) -> Error {
        let known: Vec<String> = known.map(|name| format!("`{name}`")).collect();
        let error = refused(format!("there is no profile `{name}` in `{}`", self.shown()));
        if known.is_empty() {
            return error.why("it has no profile at all").hint("write one with `verda auth login`");
        }
        error.why(format!("it has {}", known.join(", "))).hint("name one of them in `VERDA_PROFILE`")
    }
}

impl Profile {
    /// Returns id and secret.
    pub(super) fn pair(&self) -> Result<(&str, &str)> {
        match (self.value("verda_client_id"), self.value("verda_client_secret")) {
            (Some(id), Some(secret)) => Ok((id, secret)),
            (Some(_), None) => Err(self.lacks("`verda_client_secret`")),
            (None, Some(_)) => Err(self.lacks("`verda_client_id`")),
            (None, None) => Err(self.lacks("`verda_client_id` and `verda_client_secret`")),
        }
    }

    /// Returns the address it names.
    pub(super) fn base_url(&self) -> Option<&str> {
        self.value("verda_base_url")
    }

    fn value(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn lacks(&self, keys: &str) -> Error {
        refused(format!("the profile `{}` lacks {keys}", self.name))
            .hint("write it again with the vendor's `verda auth login`")
    }
}

fn refused(what: String) -> Error {
    Error::of(ExitCode::Credentials, what)
}

fn read(file: &Path) -> Result<Option<String>> {
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(refused(format!("cannot read `{}`", file.display())).because(&error)),
    }
}

/// Splits INI text into sections, or returns the number of the first line that is none of it.
pub(super) fn sections(text: &str) -> Result<BTreeMap<String, BTreeMap<String, String>>, usize> {
    let mut sections: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let mut current = None;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim().trim_start_matches('\u{feff}');
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[') {
            let (name, _) = name.split_once(']').ok_or(number + 1)?;
            current = Some(name.trim().to_owned());
            sections.entry(name.trim().to_owned()).or_default();
            continue;
        }
        let (key, value) = line.split_once('=').ok_or(number + 1)?;
        if let Some(name) = &current {
            let values = sections.entry(name.clone()).or_default();
            values.insert(key.trim().to_owned(), scalar(value, &['#', ';']).to_owned());
        }
    }
    Ok(sections)
}

/// Reads `auth: <key>:` from the CLI's settings, which are YAML of the plainest kind.
pub(super) fn auth_setting(text: &str, key: &str) -> Option<String> {
    let mut inside = false;
    for line in text.lines().filter(|line| !line.trim().is_empty() && !line.trim().starts_with('#')) {
        let Some((name, value)) = line.split_once(':') else { continue };
        if !line.starts_with([' ', '\t']) {
            inside = name.trim() == "auth";
        } else if inside && name.trim() == key {
            return Some(scalar(value, &['#']).to_owned()).filter(|value| !value.is_empty());
        }
    }
    None
}

/// A value without quotes, or up to a comment: a mark behind a blank.
fn scalar<'a>(value: &'a str, marks: &[char]) -> &'a str {
    let value = value.trim();
    for quote in ['"', '\''] {
        if let Some((inner, _)) = value.strip_prefix(quote).and_then(|rest| rest.split_once(quote)) {
            return inner;
        }
    }
    let comment = value
        .char_indices()
        .find(|&(at, mark)| marks.contains(&mark) && (at == 0 || value[..at].ends_with([' ', '\t'])));
    comment.map_or(value, |(at, _)| value[..at].trim_end())
}
