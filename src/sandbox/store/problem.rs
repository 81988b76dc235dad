//! How Dropbox says no: plain text for a bad call, JSON with tags for everything else.

use serde_json::{Value, json};

use crate::sandbox::random;
use crate::sandbox::wire::Reply;

/// Why a call failed.
#[derive(Debug, PartialEq)]
pub enum Problem {
    /// The call itself is wrong (400, plain text): what follows the function's name.
    BadCall(String),
    /// The token does not do (401): the error's value.
    Token(Value),
    /// The header `Dropbox-API-Path-Root` does not do (422): its tag and the error's value.
    PathRoot(&'static str, Value),
    /// The route's own error (409): its tags and its value.
    Route(Vec<&'static str>, Value),
    /// Something of ours failed (500).
    Broken,
}

impl Problem {
    /// Returns a route's error whose unions are nested in the usual way.
    pub fn route(tags: &[&'static str]) -> Self {
        Self::Route(tags.to_vec(), nested(tags))
    }

    /// Returns an error about the token.
    pub fn token(tag: &str) -> Self {
        Self::Token(json!({".tag": tag}))
    }

    /// Returns the HTTP answer of the function `name`.
    pub fn reply(self, name: &str) -> Reply {
        match self {
            Self::BadCall(text) => {
                Reply::text(400, format!("Error in call to API function \"{}\": {text}", versioned(name)))
            }
            Self::Token(error) => {
                let tag = error[".tag"].as_str().unwrap_or("other").to_owned();
                let realm = "Bearer realm=\"Dropbox-API\"";
                Reply::json(401, &summarised(&[&tag], error)).with("www-authenticate", realm)
            }
            Self::PathRoot(tag, error) => Reply::json(422, &summarised(&[tag], error)),
            Self::Route(tags, error) => Reply::json(409, &summarised(&tags, error)),
            Self::Broken => Reply::text(500, ""),
        }
    }
}

/// Returns a function's name as error texts have it: `append_v2` is called `append:2` there.
fn versioned(name: &str) -> String {
    match name.rsplit_once("_v") {
        Some((plain, version)) if version.parse::<u8>().is_ok() => format!("{plain}:{version}"),
        _ => name.to_owned(),
    }
}

/// Puts each union under the name of the one around it: `{".tag":"path","path":{".tag":"not_found"}}`.
pub fn nested(tags: &[&str]) -> Value {
    let Some((last, outer)) = tags.split_last() else { return Value::Null };
    outer.iter().rev().fold(json!({".tag": last}), |inner, tag| json!({".tag": tag, *tag: inner}))
}

fn summarised(tags: &[&str], error: Value) -> Value {
    // The real service ends the summary with a random number of dots, so that nobody compares it.
    let dots = ".".repeat(random::up_to(3));
    json!({"error_summary": format!("{}/{dots}", tags.join("/")), "error": error})
}
