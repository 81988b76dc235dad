//! `--set key=value`: one value put over the file's for one run.

use std::ops::Range;

use toml::de::DeValue;

use super::tree::{Entry, Node, Place, Source, Table, Value};
use super::{Diagnostic, Origin, State};

/// A key and the value that holds instead of the file's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    text: String,
    keys: Vec<Range<usize>>,
    value: Range<usize>,
}

impl Override {
    /// Reads `key=value`, as in `instance.type=1V100.6V` or `repo.branch="main"`.
    ///
    /// The value is TOML, or a bare word that stands for a string. The error's origin is
    /// `Origin::Override(0)`, as if it were the only one.
    pub fn parse(text: &str) -> Result<Self, Diagnostic> {
        let place = |span| Place { origin: Origin::Override(0), span };
        let Some(equals) = text.find('=') else {
            return Err(place(text.len()..text.len()).diagnostic(
                "an override needs a `=`",
                "expected `=` and a value",
                "write `key=value`, such as `state=absent` or `instance.type=1V100.6V`",
            ));
        };
        let keys = keys(text, trimmed(text, 0..equals))?;
        let value = trimmed(text, equals + 1..text.len());
        if value.is_empty() {
            return Err(place(value).diagnostic(
                "an override needs a value",
                "expected a value",
                "write it behind the `=`; an empty string is `\"\"`",
            ));
        }
        let this = Self { text: text.to_owned(), keys, value };
        this.node(Origin::Override(0))?;
        Ok(this)
    }

    /// Returns the override that `up` and `down` stand for.
    pub fn state(state: State) -> Self {
        let text = format!("state={state}");
        let value = "state=".len()..text.len();
        Self { text, keys: std::iter::once(0.."state".len()).collect(), value }
    }

    /// Returns the text as given.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Puts the value into the tree; refuses to go through something that isn't a table.
    pub(super) fn put_over(&self, root: &mut Table, origin: Origin) -> Result<(), Diagnostic> {
        let node = self.node(origin)?;
        let (last, sections) = self.keys.split_last().expect("an override has a key");
        let mut table = root;
        for (index, span) in sections.iter().enumerate() {
            let key = Place { origin, span: span.clone() };
            let entry = table.entry(self.text[span.clone()].to_owned()).or_insert_with(|| Entry {
                node: Node { place: key.clone(), value: Value::Table(Table::new()) },
                key: key.clone(),
            });
            let kind = entry.node.value.kind();
            let Value::Table(inner) = &mut entry.node.value else {
                let outer = &self.text[self.keys[0].start..span.end];
                let whole = &self.text[self.keys[0].start..last.end];
                let asked = &self.text[self.keys[index + 1].clone()];
                return Err(key.diagnostic(
                    format!("`{whole}` cannot be set: `{outer}` is not a table"),
                    format!("this is {kind}"),
                    format!("leave out `.{asked}` to set `{outer}` itself"),
                ));
            };
            table = inner;
        }
        let key = Place { origin, span: last.clone() };
        table.insert(self.text[last.clone()].to_owned(), Entry { key, node });
        Ok(())
    }

    fn node(&self, origin: Origin) -> Result<Node, Diagnostic> {
        let raw = &self.text[self.value.clone()];
        let place = Place { origin, span: self.value.clone() };
        match DeValue::parse(raw) {
            Ok(value) => Ok(Source { origin, text: raw, start: self.value.start }.node(&value)),
            Err(_) if !raw.starts_with(['"', '\'', '[', '{']) => {
                Ok(Node { place, value: Value::String(raw.to_owned()) })
            }
            Err(error) => Err(place.diagnostic(
                "the override's value is not TOML",
                super::check::escaped(error.message().split(", expected").next().unwrap_or_default()),
                "write one value, every string in quotes, as in `disposable=[\"data/**\"]`",
            )),
        }
    }
}

fn trimmed(text: &str, range: Range<usize>) -> Range<usize> {
    let part = &text[range.clone()];
    let start = range.start + (part.len() - part.trim_start().len());
    start..start + part.trim().len()
}

fn keys(text: &str, range: Range<usize>) -> Result<Vec<Range<usize>>, Diagnostic> {
    let mut start = range.start;
    let mut keys = Vec::new();
    for key in text[range].split('.') {
        let span = start..start + key.len();
        if key.is_empty() || !key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') {
            return Err(Place { origin: Origin::Override(0), span }.diagnostic(
                "an override's key is words joined by `.`",
                "expected letters, digits, `_` or `-`",
                "write `key=value`, such as `instance.type=1V100.6V`",
            ));
        }
        start = span.end + 1;
        keys.push(span);
    }
    Ok(keys)
}
