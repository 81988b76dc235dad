//! Reads a call's argument as strictly as Dropbox does: patterns, types, no unknown field.

use std::ops::RangeInclusive;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::problem::Problem;

/// A JSON object whose fields are taken one by one; what is left at the end is unknown.
pub struct Fields {
    place: String,
    /// The names of the objects around these fields, outermost first, with dots between them.
    path: String,
    left: Map<String, Value>,
}

/// What a path argument may look like.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Pattern {
    /// `/…` or `ns:…`.
    Write,
    /// Also `id:…`.
    WriteOrId,
    /// Also `rev:…`.
    Read,
    /// `""`, `/…`, `id:…` or `ns:…`.
    Folder,
    /// `/…`, `id:…` or `ns:…`.
    PathOrId,
}

impl Pattern {
    fn text(self) -> &'static str {
        match self {
            Self::Write => r"(/(.|[\r\n])*)|(ns:[0-9]+(/.*)?)",
            Self::WriteOrId => r"(/(.|[\r\n])*)|(ns:[0-9]+(/.*)?)|(id:.*)",
            Self::Read => r"(/(.|[\r\n])*|id:.*)|(rev:[0-9a-f]{9,})|(ns:[0-9]+(/.*)?)",
            Self::Folder => r"(/(.|[\r\n])*)?|id:.*|(ns:[0-9]+(/.*)?)",
            Self::PathOrId => r"/(.|[\r\n])*|id:.*|(ns:[0-9]+(/.*)?)",
        }
    }

    fn fits(self, path: &str) -> bool {
        if path.starts_with('/') || is_namespace(path) {
            return true;
        }
        match self {
            Self::Write => false,
            Self::WriteOrId | Self::PathOrId => path.starts_with("id:"),
            Self::Read => path.starts_with("id:") || path.strip_prefix("rev:").is_some_and(is_rev),
            Self::Folder => path.is_empty() || path.starts_with("id:"),
        }
    }
}

impl Fields {
    /// Reads a call's argument; `place` is how errors name where it stood.
    pub fn parse(place: &str, text: &[u8]) -> Result<Self, Problem> {
        match serde_json::from_slice(text) {
            Ok(Value::Object(left)) => Ok(Self { place: place.to_owned(), path: String::new(), left }),
            Ok(_) => Err(Problem::BadCall(format!("{place}: expected object"))),
            Err(_) => Err(Problem::BadCall(format!("{place}: could not decode input as JSON"))),
        }
    }

    /// Refuses whatever has not been taken.
    pub fn finish(self) -> Result<(), Problem> {
        match self.left.keys().next() {
            Some(name) => Err(self.bad(format!("unknown field '{name}'"))),
            None => Ok(()),
        }
    }

    /// Takes a path that fits a pattern.
    pub fn path(&mut self, name: &str, pattern: Pattern) -> Result<String, Problem> {
        let path = self.text(name)?;
        if pattern == Pattern::Folder && path == "/" {
            return Err(
                self.bad_field(name, "Specify the root folder as an empty string rather than as \"/\".")
            );
        }
        if !pattern.fits(&path) {
            return Err(self.bad_field(name, &format!("'{path}' did not match pattern '{}'", pattern.text())));
        }
        Ok(path)
    }

    /// Takes a text that must be there.
    pub fn text(&mut self, name: &str) -> Result<String, Problem> {
        self.optional_text(name)?.ok_or_else(|| self.missing(name))
    }

    /// Takes a text that may be missing.
    pub fn optional_text(&mut self, name: &str) -> Result<Option<String>, Problem> {
        match self.left.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.bad_field(name, &format!("expected string, got {}", kind(&other)))),
        }
    }

    /// Takes a flag; missing is false.
    pub fn flag(&mut self, name: &str) -> Result<bool, Problem> {
        match self.left.remove(name) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(other) => Err(self.bad_field(name, &format!("expected boolean, got {}", kind(&other)))),
        }
    }

    /// Takes a number within a range.
    pub fn number(&mut self, name: &str, range: (f64, f64)) -> Result<Option<f64>, Problem> {
        let number = match self.left.remove(name) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Number(number)) => number.as_f64().unwrap_or(f64::NAN),
            Some(other) => {
                return Err(self.bad_field(name, &format!("expected number, got {}", kind(&other))));
            }
        };
        if (range.0..=range.1).contains(&number) {
            return Ok(Some(number));
        }
        Err(self.bad_field(name, &format!("{number} is not within {} and {}", range.0, range.1)))
    }

    /// Takes a whole number within a range.
    pub fn integer(&mut self, name: &str, range: RangeInclusive<u64>) -> Result<Option<u64>, Problem> {
        let number = match self.left.remove(name) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Number(number)) => number,
            Some(other) => {
                return Err(self.bad_field(name, &format!("expected integer, got {}", kind(&other))));
            }
        };
        match number.as_u64().filter(|whole| range.contains(whole)) {
            Some(whole) => Ok(Some(whole)),
            None if number.is_f64() => Err(self.bad_field(name, "expected integer, got float")),
            None => {
                let (least, most) = (range.start(), range.end());
                Err(self.bad_field(name, &format!("{number} is not within {least} and {most}")))
            }
        }
    }

    /// Takes a whole number that must be there.
    pub fn required_integer(&mut self, name: &str, range: RangeInclusive<u64>) -> Result<u64, Problem> {
        self.integer(name, range)?.ok_or_else(|| self.missing(name))
    }

    /// Takes a revision.
    pub fn rev(&mut self, name: &str) -> Result<Option<String>, Problem> {
        let rev = self.optional_text(name)?;
        match rev {
            Some(rev) if !is_rev(&rev) => {
                Err(self.bad_field(name, &format!("'{rev}' did not match pattern '[0-9a-f]{{9,}}'")))
            }
            rev => Ok(rev),
        }
    }

    /// Takes a content hash.
    pub fn hash(&mut self, name: &str) -> Result<Option<String>, Problem> {
        let hash = self.optional_text(name)?;
        match hash {
            Some(hash) if hash.len() != 64 => {
                Err(self.bad_field(name, &format!("'{hash}' must be exactly 64 characters")))
            }
            hash => Ok(hash),
        }
    }

    /// Takes a time: UTC, whole seconds, nothing else.
    pub fn time(&mut self, name: &str) -> Result<Option<Timestamp>, Problem> {
        let Some(text) = self.optional_text(name)? else { return Ok(None) };
        let time = text.parse::<Timestamp>().ok().filter(|time| super::tree::written(*time) == text);
        let wrong = || {
            self.bad_field(name, &format!("time data '{text}' does not match format '%Y-%m-%dT%H:%M:%SZ'"))
        };
        time.map(Some).ok_or_else(wrong)
    }

    /// Takes an object with fields of its own.
    pub fn object(&mut self, name: &str) -> Result<Self, Problem> {
        match self.left.remove(name) {
            Some(value) => self.inner(name, value),
            None => Err(self.missing(name)),
        }
    }

    /// Takes a list of objects, `most` of them at most.
    pub fn objects(&mut self, name: &str, most: usize) -> Result<Vec<Self>, Problem> {
        match self.left.remove(name) {
            Some(Value::Array(values)) if values.len() <= most => {
                values.into_iter().map(|value| self.inner(name, value)).collect()
            }
            Some(Value::Array(values)) => {
                let count = values.len();
                Err(self.bad_field(name, &format!("list must have at most {most} items, got {count}")))
            }
            Some(other) => Err(self.bad_field(name, &format!("expected list, got {}", kind(&other)))),
            None => Err(self.missing(name)),
        }
    }

    /// Takes a union: its tag and, for a tag with a value, the text under the tag's name.
    pub fn union(&mut self, name: &str) -> Result<Option<(String, Option<String>)>, Problem> {
        match self.left.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(tag)) => Ok(Some((tag, None))),
            Some(Value::Object(mut fields)) => {
                let Some(Value::String(tag)) = fields.remove(".tag") else {
                    return Err(self.bad_field(name, "missing required field '.tag'"));
                };
                let value = fields.remove(&tag).and_then(|value| value.as_str().map(str::to_owned));
                Ok(Some((tag, value)))
            }
            Some(other) => Err(self.bad_field(name, &format!("expected union, got {}", kind(&other)))),
        }
    }

    /// Takes a field whose behaviour does not matter here.
    pub fn ignore(&mut self, names: &[&str]) {
        names.iter().for_each(|name| {
            self.left.remove(*name);
        });
    }

    /// Returns a refusal of one field's value.
    pub fn bad_field(&self, name: &str, what: &str) -> Problem {
        Problem::BadCall(format!("{}: {}: {what}", self.place, self.path_to(name)))
    }

    fn inner(&self, name: &str, value: Value) -> Result<Self, Problem> {
        match value {
            Value::Object(left) => Ok(Self { place: self.place.clone(), path: self.path_to(name), left }),
            other => Err(self.bad_field(name, &format!("expected object, got {}", kind(&other)))),
        }
    }

    fn path_to(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    fn missing(&self, name: &str) -> Problem {
        self.bad(format!("missing required field '{name}'"))
    }

    fn bad(&self, what: String) -> Problem {
        let path = if self.path.is_empty() { String::new() } else { format!("{}: ", self.path) };
        Problem::BadCall(format!("{}: {path}{what}", self.place))
    }
}

/// Returns whether a text is a revision: `[0-9a-f]{9,}`.
pub fn is_rev(text: &str) -> bool {
    text.len() >= 9 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_namespace(path: &str) -> bool {
    let Some(rest) = path.strip_prefix("ns:") else { return false };
    let number = rest.split('/').next().unwrap_or_default();
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    }
}
