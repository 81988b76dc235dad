//! Public keys and startup scripts: named texts that a machine copies when it is made.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::catalogue::written;
use super::reply::{Answer, Refusal, bare_id, body};
use crate::sandbox::random;
use crate::sandbox::wire::{Call, Reply};

/// A named text of the project.
#[derive(Serialize, Deserialize)]
pub struct Text {
    /// Its id.
    pub id: String,
    name: String,
    /// The public key line, or the script.
    pub text: String,
    created: Timestamp,
}

/// Which of the two collections a call is about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Collection {
    /// `/ssh-keys` and its old name `/sshkeys`.
    Keys,
    /// `/scripts`.
    Scripts,
}

impl Collection {
    /// Answers `GET`, `POST` and `DELETE` on the collection or on one of its members.
    pub fn answer(self, texts: &mut Vec<Text>, call: &Call, id: Option<&str>, now: Timestamp) -> Answer {
        match (call.method.as_str(), id) {
            ("GET", None) => self.list(texts, call),
            // One element in a list: this is what the real service sends and its clients unwrap.
            ("GET", Some(id)) => {
                let text = texts.iter().find(|text| text.id == id).ok_or_else(|| self.unknown())?;
                Ok(Reply::json(200, &json!([self.json(text)])))
            }
            ("POST", None) => self.add(texts, call, now),
            ("DELETE", Some(id)) => self.remove(texts, &[id.to_owned()]),
            ("DELETE", None) => {
                let value: Value = body(call)?;
                let ids = serde_json::from_value::<Vec<String>>(value[self.plural()].clone());
                self.remove(
                    texts,
                    &ids.map_err(|_| Refusal::invalid(format!("{} must be a list of ids", self.plural())))?,
                )
            }
            _ => Err(Refusal::not_found("Not found")),
        }
    }

    fn list(self, texts: &[Text], call: &Call) -> Answer {
        let (page, size) = match self {
            Self::Keys => (1, usize::MAX),
            Self::Scripts => (number(call, "page", 1)?, number(call, "pageSize", 10)?.min(100)),
        };
        let part = call.query("name").unwrap_or_default();
        let mut matching: Vec<&Text> = texts.iter().filter(|text| text.name.contains(part)).collect();
        if is_newest_first(call)? {
            matching.reverse();
        }
        let listed = matching.into_iter().skip((page.max(1) - 1).saturating_mul(size)).take(size);
        Ok(Reply::json(200, &listed.map(|text| self.json(text)).collect()))
    }

    fn add(self, texts: &mut Vec<Text>, call: &Call, now: Timestamp) -> Answer {
        let value: Value = body(call)?;
        let field = |name: &str| {
            let text = value[name].as_str().filter(|text| !text.trim().is_empty()).map(str::to_owned);
            text.ok_or_else(|| Refusal::invalid(format!("{name} should not be empty")))
        };
        let (name, text) = (field("name")?, field(self.singular())?);
        if self == Self::Keys && !is_public_key(&text) {
            return Err(Refusal::invalid("Invalid SSH key"));
        }
        let id = random::uuid();
        texts.push(Text { id: id.clone(), name, text, created: now });
        Ok(bare_id(201, &id))
    }

    fn remove(self, texts: &mut Vec<Text>, ids: &[String]) -> Answer {
        if !ids.iter().all(|id| texts.iter().any(|text| text.id == *id)) {
            return Err(self.unknown());
        }
        texts.retain(|text| !ids.contains(&text.id));
        Ok(Reply::empty(200))
    }

    fn json(self, text: &Text) -> Value {
        match self {
            Self::Keys => {
                json!({"id": text.id, "name": text.name, "key": text.text, "fingerprint": fingerprint(&text.text),
                                 "created_at": written(text.created)})
            }
            Self::Scripts => json!({"id": text.id, "name": text.name, "script": text.text,
                                    "created_at": written(text.created)}),
        }
    }

    fn singular(self) -> &'static str {
        match self {
            Self::Keys => "key",
            Self::Scripts => "script",
        }
    }

    fn plural(self) -> &'static str {
        match self {
            Self::Keys => "keys",
            Self::Scripts => "scripts",
        }
    }

    fn unknown(self) -> Refusal {
        match self {
            Self::Keys => Refusal::not_found("SSH key not found"),
            Self::Scripts => Refusal::not_found("Script not found"),
        }
    }
}

/// Reads `orderBy` and `orderDirection`; the texts are kept in the order they were made in.
fn is_newest_first(call: &Call) -> Result<bool, Refusal> {
    if call.query("orderBy").is_some_and(|field| field != "created_at") {
        return Err(Refusal::invalid("orderBy must be one of: created_at"));
    }
    match call.query("orderDirection").unwrap_or("ASC").to_ascii_uppercase().as_str() {
        "ASC" => Ok(false),
        "DESC" => Ok(true),
        _ => Err(Refusal::invalid("orderDirection must be one of: ASC, DESC")),
    }
}

fn number(call: &Call, name: &str, otherwise: usize) -> Result<usize, Refusal> {
    let text = call.query(name).map(str::parse);
    text.transpose()
        .map(|number| number.unwrap_or(otherwise))
        .map_err(|_| Refusal::invalid(format!("{name} must be a number")))
}

/// Returns whether a line is `type base64 [comment]` with a blob that names the same type.
fn is_public_key(line: &str) -> bool {
    let kind = line.split_whitespace().next().unwrap_or_default();
    key_blob(line).is_some_and(|blob| blob.get(4..4 + kind.len()) == Some(kind.as_bytes()))
}

fn key_blob(line: &str) -> Option<Vec<u8>> {
    STANDARD.decode(line.split_whitespace().nth(1)?).ok()
}

/// Returns a public key line's MD5 fingerprint: pairs of digits with colons between.
fn fingerprint(line: &str) -> Option<String> {
    let pairs: Vec<String> = md5::compute(key_blob(line)?).iter().map(|byte| format!("{byte:02x}")).collect();
    Some(pairs.join(":"))
}
