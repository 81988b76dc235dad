//! Spoiling a real answer: other bytes, other JSON, other headers.

use std::collections::BTreeMap;

use serde_json::Value;

use super::rule::Change;
use crate::sandbox::wire::{Payload, Reply};

/// An answer and how it is to be sent.
pub(super) struct Outgoing {
    pub(super) reply: Reply,
    /// Headers to set or, with none, to leave out.
    pub(super) headers: BTreeMap<String, Option<String>>,
    /// How many of its bytes are sent.
    pub(super) truncate: Option<usize>,
    /// In bytes per sandbox second.
    pub(super) rate: Option<f64>,
}

impl From<Reply> for Outgoing {
    fn from(reply: Reply) -> Self {
        Self { reply, headers: BTreeMap::new(), truncate: None, rate: None }
    }
}

/// Changes an answer, and says whether there was anything in it to change.
pub(super) fn change(change: &Change, mut reply: Reply) -> (Outgoing, bool) {
    let Change { status, headers, replace, merge, set, duplicate, remove, empty, pad, truncate, rate } =
        change;
    let before = whole(&reply);
    let mut body = before.clone();
    if let Some(replacement) = replace {
        body = bytes(replacement);
    }
    let edits =
        merge.is_some() || !set.is_empty() || duplicate.is_some() || remove.is_some() || empty.is_some();
    if let Some(mut json) = serde_json::from_slice::<Value>(&body).ok().filter(|_| edits) {
        let original = json.clone();
        merge.iter().for_each(|fields| merge_into(&mut json, fields));
        for (pointer, value) in set {
            if let Some(there) = json.pointer_mut(pointer) {
                *there = value.clone();
            }
        }
        duplicate.iter().for_each(|pointer| duplicate_at(&mut json, pointer));
        remove.iter().for_each(|pointer| remove_at(&mut json, pointer));
        if let Some(Value::Array(list)) = empty.as_ref().and_then(|pointer| json.pointer_mut(pointer)) {
            list.clear();
        }
        if json != original {
            body = json.to_string().into_bytes();
        }
    }
    body.resize(body.len() + pad.unwrap_or(0), b' ');
    let cut = truncate.filter(|length| *length < body.len());
    let other_status = status.filter(|status| *status != reply.status);
    let changed = body != before
        || cut.is_some()
        || other_status.is_some()
        || !headers.is_empty()
        || rate.is_some_and(|_| !body.is_empty());
    reply.status = other_status.unwrap_or(reply.status);
    reply.body = Payload::Bytes(body);
    (Outgoing { reply, headers: headers.clone(), truncate: cut, rate: *rate }, changed)
}

/// Returns an answer's body, read whole if it lies in a file.
pub(super) fn whole(reply: &Reply) -> Vec<u8> {
    match &reply.body {
        Payload::Bytes(bytes) => bytes.clone(),
        Payload::File { path, from, length } => {
            let bytes = std::fs::read(path).unwrap_or_default();
            bytes.into_iter().skip(*from as usize).take(*length as usize).collect()
        }
    }
}

/// Returns text as it is, nothing for null, and anything else as JSON.
pub(super) fn bytes(body: &Value) -> Vec<u8> {
    match body {
        Value::Null => Vec::new(),
        Value::String(text) => text.clone().into_bytes(),
        json => json.to_string().into_bytes(),
    }
}

/// Adds fields to an object, or to each object of a list.
fn merge_into(json: &mut Value, fields: &Value) {
    match (json, fields) {
        (Value::Array(list), Value::Object(_)) => list.iter_mut().for_each(|one| merge_into(one, fields)),
        (Value::Object(object), Value::Object(fields)) => {
            for (name, value) in fields {
                match object.get_mut(name).filter(|there| there.is_object() && value.is_object()) {
                    Some(there) => merge_into(there, value),
                    None => drop(object.insert(name.clone(), value.clone())),
                }
            }
        }
        _ => {}
    }
}

fn duplicate_at(json: &mut Value, pointer: &str) {
    let Some((list, index)) = element(json, pointer) else { return };
    let copy = list[index].clone();
    list.insert(index, copy);
}

fn remove_at(json: &mut Value, pointer: &str) {
    if let Some((list, index)) = element(json, pointer) {
        list.remove(index);
        return;
    }
    let Some((parent, name)) = pointer.rsplit_once('/') else { return };
    if let Some(Value::Object(object)) = json.pointer_mut(parent) {
        object.remove(name);
    }
}

/// Finds an element of a list.
fn element<'a>(json: &'a mut Value, pointer: &str) -> Option<(&'a mut Vec<Value>, usize)> {
    let (parent, index) = pointer.rsplit_once('/')?;
    let list = json.pointer_mut(parent)?.as_array_mut()?;
    let index = index.parse().ok().filter(|index| *index < list.len())?;
    Some((list, index))
}
