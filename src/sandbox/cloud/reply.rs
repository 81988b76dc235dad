//! How the cloud says no, and how it reads what it was sent.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::sandbox::wire::{Call, Reply};

/// What a route answers.
pub type Answer = Result<Reply, Refusal>;

/// An error body of the cloud: `{"code", "message"}` with its HTTP status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// One of the API's error codes.
    pub code: &'static str,
    /// The text, which clients match literally.
    pub message: String,
}

impl Refusal {
    fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    /// A bad field, a bad id, a wrong image (400).
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, "invalid_request", message)
    }

    /// Wrong credentials or a bad token (401).
    pub fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(401, "unauthorized_request", message)
    }

    /// The balance is too low (402).
    pub fn funds() -> Self {
        Self::new(402, "insufficient_funds", "Insufficient funds, please top up your balance")
    }

    /// The wrong state for the action (403).
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(403, "forbidden_action", message)
    }

    /// No such thing (404).
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(404, "not_found", message)
    }

    /// It is there already (409).
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(409, "conflict", message)
    }

    /// More than 120 lists a minute (429); the real body is not known.
    pub fn too_many() -> Self {
        Self::new(429, "too_many_requests", "Too many requests")
    }

    /// Nothing in stock (503).
    pub fn capacity(message: impl Into<String>) -> Self {
        Self::new(503, "service_unavailable", message)
    }

    /// Returns it as an HTTP answer.
    pub fn reply(&self) -> Reply {
        Reply::json(self.status, &json!({"code": self.code, "message": self.message}))
    }
}

/// Reads a JSON body; unknown fields are ignored, as nothing says that the cloud minds them.
pub fn body<T: DeserializeOwned>(call: &Call) -> Result<T, Refusal> {
    serde_json::from_slice(&call.body)
        .map_err(|error| Refusal::invalid(format!("Invalid request body: {error}")))
}

/// Answers a create call: the bare id as text, without quotes.
pub fn bare_id(status: u16, id: &str) -> Reply {
    Reply::text(status, id)
}

/// One text or a list of them.
#[derive(Deserialize)]
#[serde(untagged)]
pub enum OneOrMany {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl From<OneOrMany> for Vec<String> {
    fn from(value: OneOrMany) -> Self {
        match value {
            OneOrMany::One(text) => vec![text],
            OneOrMany::Many(texts) => texts,
        }
    }
}
