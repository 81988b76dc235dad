//! `session.toml` as a tree in which every key and value knows its place, in the file or in an override.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Diagnostic, Origin};

/// Where something was written.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) origin: Origin,
    pub(super) span: Range<usize>,
}

impl Place {
    pub(super) fn diagnostic(
        &self,
        message: impl Into<String>,
        label: impl Into<String>,
        hint: impl Into<String>,
    ) -> Diagnostic {
        Diagnostic {
            message: message.into(),
            span: Some(self.span.clone()),
            label: label.into(),
            hint: Some(hint.into()),
            origin: self.origin,
        }
    }
}

/// A value and its place.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

/// A value, as far as a spec cares.
#[derive(Clone, Debug)]
pub(super) enum Value {
    String(String),
    /// None when it doesn't fit 64 bits.
    Integer(Option<i64>),
    Decimal(f64),
    Boolean(bool),
    List(Vec<Node>),
    Table(Table),
    /// A kind that no key of a spec takes, in words.
    Other(&'static str),
}

/// A table's entries by key.
pub(super) type Table = BTreeMap<String, Entry>;

/// A key's place and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: Place,
    pub(super) node: Node,
}

/// A TOML text, and where it stands.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) origin: Origin,
    /// The TOML alone.
    pub(super) text: &'a str,
    /// Where it starts in what the user wrote.
    pub(super) start: usize,
}

impl Source<'_> {
    pub(super) fn table(self, table: &DeTable<'_>) -> Table {
        table
            .iter()
            .map(|(key, value)| {
                let key_place = self.place(key.span());
                let mut node = self.node(value);
                // A section's place is its name: the span of its header goes astray after errors.
                let inline = self.text.get(value.span()).is_some_and(|written| written.starts_with('{'));
                if matches!(node.value, Value::Table(_)) && !inline {
                    node.place = key_place.clone();
                }
                (key.get_ref().to_string(), Entry { key: key_place, node })
            })
            .collect()
    }

    pub(super) fn node(self, value: &Spanned<DeValue<'_>>) -> Node {
        Node { place: self.place(value.span()), value: self.value(value.get_ref()) }
    }

    // Recursion ends: TOML's parser refuses to go deeper than 80 levels.
    fn value(self, value: &DeValue<'_>) -> Value {
        match value {
            DeValue::String(text) => Value::String(text.to_string()),
            DeValue::Integer(number) => {
                Value::Integer(i64::from_str_radix(number.as_str(), number.radix()).ok())
            }
            DeValue::Float(number) => Value::Decimal(number.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::Boolean(is) => Value::Boolean(*is),
            DeValue::Datetime(_) => Value::Other("a date or time"),
            DeValue::Array(list) => Value::List(list.iter().map(|item| self.node(item)).collect()),
            DeValue::Table(table) => Value::Table(self.table(table)),
        }
    }

    fn place(self, span: Range<usize>) -> Place {
        Place { origin: self.origin, span: span.start + self.start..span.end + self.start }
    }
}

impl Value {
    /// Returns what kind of value it is, in words.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::String(_) => "a string",
            Self::Integer(_) => "a whole number",
            Self::Decimal(_) => "a decimal number",
            Self::Boolean(_) => "a boolean",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Other(kind) => kind,
        }
    }
}
