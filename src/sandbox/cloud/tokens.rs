//! Who may ask: client credentials and the tokens given out for them.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::reply::{Answer, Refusal, body};
use crate::sandbox::random;
use crate::sandbox::wire::{Call, Reply};

/// How long a token is good for, in seconds.
const LIFE: i64 = 3600;

/// The one client of this cloud and its living tokens.
#[derive(Serialize, Deserialize)]
pub struct Tokens {
    /// The client's public name.
    pub client_id: String,
    /// The client's secret.
    pub client_secret: String,
    access: BTreeMap<String, Timestamp>,
    refresh: BTreeMap<String, Timestamp>,
}

/// The body of a token call.
#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    grant_type: String,
    #[serde(default)]
    client_id: String,
    #[serde(default)]
    client_secret: String,
    #[serde(default)]
    refresh_token: String,
}

impl Tokens {
    /// Makes a client with a random id and secret.
    pub fn new() -> Self {
        let (client_id, client_secret) = (random::word(22), random::word(43));
        Self { client_id, client_secret, access: BTreeMap::new(), refresh: BTreeMap::new() }
    }

    /// `POST /oauth2/token`.
    pub fn mint(&mut self, call: &Call, now: Timestamp) -> Answer {
        let asked: Asked = body(call)?;
        match asked.grant_type.as_str() {
            "client_credentials"
                if asked.client_id == self.client_id && asked.client_secret == self.client_secret => {}
            "client_credentials" => return Err(Refusal::unauthorized("Invalid client id or client secret")),
            "refresh_token" if self.refresh.get(&asked.refresh_token).is_some_and(|until| *until > now) => {}
            "refresh_token" => return Err(Refusal::unauthorized("Invalid refresh token")),
            _ => return Err(Refusal::invalid("grant_type is missing or not supported")),
        }
        self.access.retain(|_, until| *until > now);
        self.refresh.retain(|_, until| *until > now);
        let access = jwt(&self.client_id, now, LIFE);
        let refresh = jwt(&self.client_id, now, 24 * LIFE);
        self.access.insert(access.clone(), now + SignedDuration::from_secs(LIFE));
        self.refresh.insert(refresh.clone(), now + SignedDuration::from_secs(24 * LIFE));
        let reply = json!({"access_token": access, "refresh_token": refresh, "token_type": "Bearer",
                           "expires_in": LIFE, "scope": "fullAccess"});
        Ok(Reply::json(200, &reply))
    }

    /// Refuses a call without a living token.
    pub fn check(&self, call: &Call, now: Timestamp) -> Result<(), Refusal> {
        let known = call.bearer().and_then(|token| self.access.get(token));
        if known.is_some_and(|until| *until > now) {
            return Ok(());
        }
        Err(Refusal::unauthorized("Access token is missing, invalid or expired"))
    }

    /// Forgets every token, those for refreshing too, as if all had expired.
    pub fn revoke(&mut self) {
        self.access.clear();
        self.refresh.clear();
    }
}

/// Returns what looks like a JSON web token; its signature is random, the list of tokens is what counts.
fn jwt(subject: &str, now: Timestamp, life: i64) -> String {
    let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let head = part(json!({"alg": "HS256", "typ": "JWT"}));
    let claims = part(json!({"sub": subject, "iat": now.as_second(), "exp": now.as_second() + life}));
    format!("{head}.{claims}.{}", random::word(43))
}
