//! What `--json` prints, held to the schemas that `dacapo schema COMMAND` prints, by a validator that we didn't write.

mod code;
mod day;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::support::{Project, Ran, helps};

/// What prints no data of ours, and why.
const WITHOUT: [(&str, &str); 8] = [
    ("run", "prints what the command on the server prints"),
    ("ssh", "is a shell"),
    ("completions", "prints a shell's script"),
    ("man", "prints a page for man"),
    ("schema", "prints JSON schemas"),
    ("sandbox jump", "prints nothing"),
    ("sandbox reset", "prints nothing"),
    ("sandbox stop", "prints nothing"),
];

/// The schemas of commands, and what was printed by them.
struct Seen<'a> {
    project: &'a Project,
    schemas: BTreeMap<String, Schema>,
    lines: Vec<(String, Value)>,
}

impl<'a> Seen<'a> {
    fn of(project: &'a Project) -> Self {
        Self { project, schemas: BTreeMap::new(), lines: Vec::new() }
    }

    /// Rehearses a command with `--json` and more words.
    #[track_caller]
    fn json(&mut self, command: &str, more: &[&str], code: i32) -> Ran {
        let words: Vec<&str> = command.split(' ').chain(more.iter().copied()).chain(["--json"]).collect();
        let ran = self.project.dacapo(&words).exits(code);
        self.takes(command, &ran.stdout);
        assert!(code == 0 || !ran.stdout.is_empty(), "{words:?} fails and says nothing: {ran:?}");
        ran
    }

    /// Holds what a command printed to its schema, line by line.
    #[track_caller]
    fn takes(&mut self, command: &str, printed: &str) {
        let project = self.project;
        let of = || Schema::of(schema(project, command));
        let schema = self.schemas.entry(command.to_owned()).or_insert_with(of);
        for line in printed.lines() {
            let value: Value =
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{command}: {error} in {line}"));
            if let Err(why) = schema.check(&value) {
                panic!("`{command} --json` prints what its schema doesn't take: {value:#}\n{why}");
            }
            self.lines.push((command.to_owned(), value));
        }
    }
}

fn schema(project: &Project, command: &str) -> Value {
    let words: Vec<&str> = ["schema"].into_iter().chain(command.split(' ')).collect();
    project.run(&words).exits(0).json()
}

/// A schema as it is printed, and ready to be used.
struct Schema {
    text: Value,
    schemas: boon::Schemas,
    root: boon::SchemaIndex,
}

impl Schema {
    fn of(text: Value) -> Self {
        let mut schemas = boon::Schemas::new();
        let mut compiler = boon::Compiler::new();
        compiler.add_resource("output.json", text.clone()).unwrap();
        let root = compiler.compile("output.json", &mut schemas).unwrap();
        Self { text, schemas, root }
    }

    fn check(&self, value: &Value) -> Result<(), String> {
        self.schemas.validate(value, self.root).map_err(|error| error.to_string())
    }
}

/// The commands that there are, those that only hold others aside.
fn commands(project: &Project) -> BTreeSet<String> {
    let all = helps(project).into_iter();
    let leaves = all.filter(|(words, help)| !words.is_empty() && !help.contains("\nCommands:\n"));
    leaves.map(|(words, _)| words.join(" ")).collect()
}

/// The commands that have a schema, as the refusal of any other names them.
fn described(project: &Project) -> BTreeSet<String> {
    let refused = project.run(&["schema", "no", "such"]).exits(3).says("there is no schema for `no such`");
    let named = refused.stderr.split("there is one for each of").nth(1).unwrap();
    named.lines().next().unwrap().split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn every_command_has_a_schema_of_what_it_prints_or_a_reason_to_have_none() {
    let project = Project::without_world("");
    let (there, described) = (commands(&project), described(&project));
    let without: BTreeSet<String> = WITHOUT.iter().map(|(command, _)| (*command).to_owned()).collect();
    assert_eq!(described.intersection(&without).collect::<Vec<_>>(), Vec::<&String>::new());
    assert_eq!(described.union(&without).cloned().collect::<BTreeSet<_>>(), there);
}

#[test]
fn a_command_without_a_schema_is_refused_and_the_nearest_one_is_named() {
    let project = Project::without_world("");
    project
        .run(&["schema", "artifacts", "lst"])
        .exits(3)
        .says("did you mean `dacapo schema artifacts list`?");
    project.run(&["schema", "nothing-like-it"]).exits(3).says("`status`");
    assert_eq!(project.run(&["schema"]).exits(0).json()["title"], "session.toml of dacapo");
}

/// Every object of ours is closed, whatever it is in; what may have members of any name says what they are.
#[test]
fn no_object_is_open_by_oversight() {
    let project = Project::without_world("");
    for command in described(&project) {
        let schema = schema(&project, &command);
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        each(&schema, &mut |part| {
            let objects = part.get("properties").is_some();
            let closed = part.get("additionalProperties") == Some(&json!(false));
            assert!(!objects || closed, "{command}: {part:#?}");
        });
    }
}

/// Calls with every object in a value.
fn each(value: &Value, call: &mut impl FnMut(&serde_json::Map<String, Value>)) {
    match value {
        Value::Object(members) => {
            call(members);
            members.values().for_each(|value| each(value, call));
        }
        Value::Array(values) => values.iter().for_each(|value| each(value, call)),
        _ => {}
    }
}
