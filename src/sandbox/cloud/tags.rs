//! Tags on instances and volumes: at most ten, lower-case keys, never updated.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::reply::{Answer, Refusal, body};
use crate::sandbox::random;
use crate::sandbox::wire::{Call, Reply};

/// The most tags one thing can have.
const MOST: usize = 10;

/// One tag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tag {
    id: String,
    key: String,
    value: String,
}

/// A tag as a request gives it.
#[derive(Deserialize)]
pub struct NewTag {
    key: String,
    value: Option<String>,
}

/// Checks the tags of a create call.
pub fn checked(asked: Option<Vec<NewTag>>) -> Result<Vec<Tag>, Refusal> {
    let mut tags = Vec::new();
    for tag in asked.unwrap_or_default() {
        add(&mut tags, tag)?;
    }
    Ok(tags)
}

/// Returns whether `wanted`, a `key` or a `key=value`, is among tags as the API shows them.
pub fn matches(tags: &Value, wanted: &str) -> bool {
    let (key, value) = wanted.split_once('=').map_or((wanted, None), |(key, value)| (key, Some(value)));
    let is_wanted =
        |tag: &Value| tag["key"] == key.to_lowercase() && value.is_none_or(|value| tag["value"] == value);
    tags.as_array().is_some_and(|tags| tags.iter().any(is_wanted))
}

/// Answers `POST …/tags` and `DELETE …/tags/{key}`.
pub fn answer(tags: &mut Vec<Tag>, call: &Call, key: Option<&str>) -> Answer {
    match (call.method.as_str(), key) {
        ("POST", None) => {
            let tag = add(tags, body(call)?)?;
            Ok(Reply::json(201, &tag))
        }
        ("DELETE", Some(key)) => {
            // Sources disagree whether the path names the tag by its key or by its id.
            let at = tags.iter().position(|tag| tag.key == key.to_lowercase() || tag.id == key);
            tags.remove(at.ok_or_else(|| Refusal::not_found("Tag not found"))?);
            Ok(Reply::empty(204))
        }
        _ => Err(Refusal::not_found("Not found")),
    }
}

fn add(tags: &mut Vec<Tag>, tag: NewTag) -> Result<Value, Refusal> {
    let (key, value) = (tag.key.to_lowercase(), tag.value.unwrap_or_default());
    if key.is_empty() || key.chars().count() > 63 {
        return Err(Refusal::invalid("tag key must have 1 to 63 characters"));
    }
    if value.chars().count() > 127 {
        return Err(Refusal::invalid("tag value must have at most 127 characters"));
    }
    if tags.iter().any(|tag| tag.key == key) {
        return Err(Refusal::conflict(format!("Tag with key {key} already exists")));
    }
    if tags.len() == MOST {
        return Err(Refusal::invalid("At most 10 tags are allowed per resource"));
    }
    let tag = Tag { id: random::uuid(), key, value };
    let value = json!(tag);
    tags.push(tag);
    Ok(value)
}
