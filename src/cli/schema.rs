//! `dacapo schema`: what editors check session.toml with, and what programs check the output of `--json` with.

use std::collections::BTreeSet;
use std::io::{self, Write as _};

use clap::Args;
use serde_json::{Map, Value};

use super::cannot_print;
use crate::error::{Error, ExitCode, Result};
use crate::spec::{SCHEMA, nearest};

/// One schema per command, of each line that its `--json` prints, and what they share.
const OUTPUT: &str = include_str!("output.schema.json");

const EXAMPLES: &str = "Examples:
  dacapo schema > session.schema.json  what `#:schema ./session.schema.json` in session.toml names
  dacapo schema plan                   of what `dacapo plan --json` prints
  dacapo schema artifacts list         of what `dacapo artifacts list --json` prints";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Schema {
    /// The command; without one, session.toml is meant
    command: Vec<String>,
}

pub(super) fn run(asked: &Schema) -> Result<ExitCode> {
    let text = match &asked.command[..] {
        [] => SCHEMA.to_owned(),
        words => format!("{:#}\n", of_output(&words.join(" "))?),
    };
    io::stdout().lock().write_all(text.as_bytes()).map(|()| ExitCode::Ok).map_err(cannot_print)
}

/// Returns the schema of each line that a command prints with `--json`.
fn of_output(command: &str) -> Result<Value> {
    let all: Value = serde_json::from_str(OUTPUT).expect("it is JSON");
    let commands = all["commands"].as_object().expect("it has commands");
    let schema = commands.get(command).ok_or_else(|| unknown(command, commands))?;
    let mut schema = schema.clone();
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    schema["$defs"] = Value::Object(needed(&schema, &all["$defs"]));
    Ok(schema)
}

/// Returns the definitions that a schema refers to, and those that they refer to.
fn needed(schema: &Value, definitions: &Value) -> Map<String, Value> {
    let (mut found, mut open) = (Map::new(), references(schema));
    while let Some(name) = open.pop_first() {
        let definition = &definitions[&name];
        open.extend(
            references(definition).into_iter().filter(|other| *other != name && !found.contains_key(other)),
        );
        found.insert(name, definition.clone());
    }
    found
}

fn references(schema: &Value) -> BTreeSet<String> {
    match schema {
        Value::Object(members) => members
            .iter()
            .flat_map(|(key, value)| match (key.as_str(), value.as_str()) {
                ("$ref", Some(reference)) => BTreeSet::from([reference.replace("#/$defs/", "")]),
                _ => references(value),
            })
            .collect(),
        Value::Array(values) => values.iter().flat_map(references).collect(),
        _ => BTreeSet::new(),
    }
}

fn unknown(command: &str, commands: &Map<String, Value>) -> Error {
    let names: Vec<String> = commands.keys().map(|name| format!("`{name}`")).collect();
    let error = Error::of(ExitCode::Usage, format!("there is no schema for `{command}`"))
        .why(format!("there is one for each of {}", names.join(", ")));
    match nearest(command, commands.keys().map(String::as_str)) {
        Some(near) => error.hint(format!("did you mean `dacapo schema {near}`?")),
        None => error.hint("without a command it is the one of session.toml"),
    }
}
