//! The schemas beside the code: a variant or a member that one has and the other hasn't fails here, seen or not.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use regex::Regex;
use serde_json::Value;

use super::schema;
use crate::support::Project;

/// Enums that are told by a tag: where they are, their name, their definition, the tag.
const ENUMS: [(&str, &str, &str, &str); 9] = [
    ("plan/action.rs", "Kind", "kind", "action"),
    ("plan/set_up.rs", "StepReason", "step_reason", "why"),
    ("plan/told.rs", "Work", "work", "work"),
    ("plan/told.rs", "Blocked", "blocked", "blocked"),
    ("plan/told.rs", "Note", "note", "note"),
    ("plan/told.rs", "Shown", "shown", "shown"),
    ("guard.rs", "Finding", "finding", "finding"),
    ("event.rs", "Event", "event", "event"),
    ("event.rs", "Stage", "stage", "stage"),
];

/// Structs: where they are, their name, their definition.
const STRUCTS: [(&str, &str, &str); 19] = [
    ("error.rs", "Error", "failure"),
    ("plan.rs", "Plan", "plan"),
    ("plan/action.rs", "Action", "action"),
    ("plan/told.rs", "GuardState", "guard_state"),
    ("plan/disk.rs", "LostDisk", "lost_disk"),
    ("plan/environment.rs", "Difference", "difference"),
    ("plan/machine.rs", "Candidate", "candidate"),
    ("plan/money.rs", "Bill", "bill"),
    ("plan/money.rs", "Until", "bill/properties/until"),
    ("plan/money.rs", "Billing", "bill/properties/now/items"),
    ("facts.rs", "StoredFile", "stored_file"),
    ("facts.rs", "Limits", "limits"),
    ("facts.rs", "Nested", "finding/oneOf/7/properties/repository"),
    ("world.rs", "World", "world"),
    ("world.rs", "Machine", "machine"),
    ("world.rs", "Code", "world/properties/code"),
    ("world.rs", "SetUp", "world/properties/setup"),
    ("world.rs", "Notebook", "world/properties/notebook"),
    ("world.rs", "Artifact", "world/properties/artifacts/additionalProperties"),
];

/// Those that `up` doesn't print, with the command that does.
const OTHERS: [(&str, &str, &str, &str); 5] = [
    ("status", "facts.rs", "Notebook", "notebook_server"),
    ("status", "facts.rs", "Kernel", "notebook_server/properties/kernels/items"),
    ("artifacts show", "version/manifest.rs", "Manifest", "manifest"),
    ("artifacts show", "facts.rs", "Environment", "environment"),
    ("log", "record/receipt.rs", "Code", "stood"),
];

/// Enums of words alone: where they are, their name, their definition.
const WORDS: [(&str, &str, &str); 5] = [
    ("guard.rs", "Guard", "guard/enum"),
    ("plan/action.rs", "Place", "place/enum"),
    ("spec.rs", "Compress", "compress/enum"),
    ("world.rs", "Market", "market/enum"),
    ("error.rs", "ExitCode", "failure/properties/kind/oneOf/0/enum"),
];

#[test]
fn every_variant_and_every_member_of_the_code_is_in_the_schemas() {
    let project = Project::without_world("");
    let up = schema(&project, "up");
    for (file, name, definition, tag) in ENUMS {
        let described: BTreeMap<String, BTreeSet<String>> = at(&up, definition)["oneOf"]
            .as_array()
            .unwrap()
            .iter()
            .map(|variant| {
                let mut members = members(variant);
                members.remove(tag);
                if definition == "event" {
                    // Each line has it; the event itself hasn't.
                    members.remove("version");
                }
                (variant["properties"][tag]["const"].as_str().unwrap().to_owned(), members)
            })
            .collect();
        assert_eq!(described, variants(file, name), "{name} in {file}");
    }
    for (file, name, definition) in STRUCTS {
        assert_eq!(members(at(&up, definition)), fields(file, name), "{name} in {file}");
    }
    for (command, file, name, definition) in OTHERS {
        let schema = schema(&project, command);
        assert_eq!(members(at(&schema, definition)), fields(file, name), "{name} in {file}");
    }
    for (file, name, definition) in WORDS {
        let words: BTreeSet<String> = variants(file, name).into_keys().collect();
        let described = at(&up, definition).as_array().unwrap().iter();
        // The code of a command on the server is a number, which the schema has beside the words.
        let described = described.map(|word| word.as_str().unwrap().replace('-', "_"));
        let described: BTreeSet<String> =
            described.chain((name == "ExitCode").then(|| "remote".to_owned())).collect();
        assert_eq!(described, words, "{name} in {file}");
    }
}

fn at<'a>(schema: &'a Value, definition: &str) -> &'a Value {
    let part = schema.pointer(&format!("/$defs/{definition}"));
    part.unwrap_or_else(|| panic!("there is no {definition}"))
}

fn members(part: &Value) -> BTreeSet<String> {
    part["properties"].as_object().unwrap_or_else(|| panic!("{part:#}")).keys().cloned().collect()
}

/// The text between the braces of an item, without comments and attributes.
fn body(file: &str, item: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(file);
    let text = std::fs::read_to_string(path).unwrap();
    let (_, rest) =
        text.split_once(&format!("\npub {item} {{\n")).unwrap_or_else(|| panic!("{item} in {file}"));
    let body = rest.split("\n}").next().unwrap();
    let plain = |line: &&str| !line.trim_start().starts_with("//") && !line.trim_start().starts_with("#[");
    body.lines().filter(plain).collect::<Vec<_>>().join("\n")
}

/// Names before types: a path has no space behind its colons.
fn names(text: &str) -> BTreeSet<String> {
    Regex::new(r"(\w+): ").unwrap().captures_iter(text).map(|found| found[1].to_owned()).collect()
}

fn fields(file: &str, name: &str) -> BTreeSet<String> {
    names(&body(file, &format!("struct {name}")))
}

/// The variants in the words of the output, each with its members.
fn variants(file: &str, name: &str) -> BTreeMap<String, BTreeSet<String>> {
    let body = body(file, &format!("enum {name}"));
    let variant = Regex::new(r"(?m)^    (\w+)(?:\(\w+\)| \{([^}]*)\})?,").unwrap();
    let each = variant.captures_iter(&body);
    each.map(|found| {
        (snake_case(&found[1]), found.get(2).map_or_else(BTreeSet::new, |part| names(part.as_str())))
    })
    .collect()
}

fn snake_case(name: &str) -> String {
    let word = |(at, c): (usize, char)| {
        let between = if at > 0 && c.is_ascii_uppercase() { "_" } else { "" };
        format!("{between}{}", c.to_ascii_lowercase())
    };
    name.chars().enumerate().map(word).collect()
}
