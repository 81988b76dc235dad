//! Who may ask, and for what: refresh tokens, short-lived access tokens, scopes.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::problem::Problem;
use crate::sandbox::random;
use crate::sandbox::wire::{Call, Reply, form};

/// How long a short-lived token is good for, in seconds.
const LIFE: i64 = 14_400;

/// The scopes the app was given.
pub const SCOPES: [&str; 4] =
    ["account_info.read", "files.content.read", "files.content.write", "files.metadata.read"];

/// The one app of this Dropbox and its tokens.
#[derive(Serialize, Deserialize)]
pub struct Tokens {
    /// The app's key.
    pub app_key: String,
    /// A refresh token; it doesn't expire.
    pub refresh_token: String,
    /// An access token with all scopes that doesn't expire.
    pub lasting: String,
    short: BTreeMap<String, Token>,
}

#[derive(Serialize, Deserialize)]
struct Token {
    until: Timestamp,
    scopes: Vec<String>,
}

impl Tokens {
    /// Makes an app with random secrets.
    pub fn new() -> Self {
        Self {
            app_key: random::hex(15),
            refresh_token: random::word(64),
            lasting: format!("sl.{}", random::word(120)),
            short: BTreeMap::new(),
        }
    }

    /// `POST /oauth2/token`: a refresh, perhaps for fewer scopes.
    pub fn refresh(&mut self, call: &Call, now: Timestamp) -> Reply {
        let fields = form(&String::from_utf8_lossy(&call.body));
        let field = |name: &str| fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        if !call
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"))
        {
            return refusal("invalid_request", "The request content type must be form-encoded");
        }
        match field("grant_type") {
            Some("refresh_token") => {}
            Some(_) => return refusal("unsupported_grant_type", "grant type not supported"),
            None => return refusal("invalid_request", "missing required parameter: grant_type"),
        }
        if field("client_id") != Some(&self.app_key) {
            return refusal("invalid_client", "Invalid client_id or client_secret");
        }
        match field("refresh_token") {
            Some(token) if token == self.refresh_token => {}
            Some(token) if token.len() < 20 => return refusal("invalid_grant", "refresh token is malformed"),
            _ => return refusal("invalid_grant", "refresh token is invalid or revoked"),
        }
        let asked: Vec<String> =
            field("scope").unwrap_or_default().split_whitespace().map(str::to_owned).collect();
        if let Some(unknown) = asked.iter().find(|scope| !SCOPES.contains(&scope.as_str())) {
            return refusal(
                "invalid_scope",
                &format!("scope {unknown} is not in the scopes of the refresh token"),
            );
        }
        let scopes = if asked.is_empty() { SCOPES.map(str::to_owned).to_vec() } else { asked };
        let token = format!("sl.{}", random::word(130));
        // Expired ones stay known for a while: the real service tells them from tokens that never were.
        self.short.retain(|_, token| token.until + SignedDuration::from_secs(LIFE) > now);
        self.short.insert(token.clone(), Token { until: now + SignedDuration::from_secs(LIFE), scopes });
        Reply::json(200, &json!({"access_token": token, "token_type": "bearer", "expires_in": LIFE}))
    }

    /// Refuses a call whose token is missing, unknown, expired or too narrow.
    pub fn check(&self, call: &Call, scope: &str, now: Timestamp) -> Result<(), Problem> {
        let Some(header) = call.header("authorization") else {
            let text = "Must provide HTTP header \"Authorization\" or URL parameter \"authorization\".";
            return Err(Problem::BadCall(text.to_owned()));
        };
        let token = header.strip_prefix("Bearer ").filter(|token| well_formed(token)).ok_or_else(|| {
            let text = "The given OAuth 2 access token is malformed.";
            Problem::BadCall(format!("Invalid authorization value in HTTP header \"Authorization\": {text}"))
        })?;
        if token == self.lasting {
            return Ok(());
        }
        let token = self.short.get(token).ok_or_else(|| Problem::token("invalid_access_token"))?;
        if token.until <= now {
            return Err(Problem::token("expired_access_token"));
        }
        if token.scopes.iter().any(|one| one == scope) {
            return Ok(());
        }
        Err(Problem::Token(json!({".tag": "missing_scope", "required_scope": scope})))
    }
}

fn well_formed(token: &str) -> bool {
    token.len() >= 16 && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte))
}

fn refusal(error: &str, description: &str) -> Reply {
    Reply::json(400, &json!({"error": error, "error_description": description}))
}
