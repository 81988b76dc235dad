//! Who may ask, and for what: grants with their refresh tokens, short-lived access tokens, scopes.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::problem::Problem;
use crate::sandbox::random;
use crate::sandbox::wire::{Call, Reply, form};

/// How long a short-lived token is good for, in seconds.
pub const LIFE: i64 = 14_400;

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
    /// What users let the app do beside the grant of `refresh_token`, by refresh token.
    #[serde(default)]
    grants: BTreeMap<String, Vec<String>>,
    /// The lasting token and the first grant, once they are revoked.
    #[serde(default)]
    revoked: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Token {
    until: Timestamp,
    scopes: Vec<String>,
    /// The refresh token it came from; whoever revokes it revokes them all.
    #[serde(default)]
    grant: Option<String>,
}

/// What a token call carries.
pub struct Form(Vec<(String, String)>);

impl Form {
    /// Reads a form-encoded body; `None` when it is anything else.
    pub fn read(call: &Call) -> Option<Self> {
        let kind = call.header("content-type")?;
        let fits = kind.starts_with("application/x-www-form-urlencoded");
        fits.then(|| Self(form(&String::from_utf8_lossy(&call.body))))
    }

    /// Returns a field's value.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

impl Tokens {
    /// Makes an app with random secrets.
    pub fn new() -> Self {
        Self {
            app_key: random::hex(15),
            refresh_token: random::word(64),
            lasting: format!("sl.{}", random::word(120)),
            short: BTreeMap::new(),
            grants: BTreeMap::new(),
            revoked: Vec::new(),
        }
    }

    /// Takes every revocation back, so that an emptied world can be used with the secrets it told.
    pub fn reinstate(&mut self) {
        self.revoked.clear();
    }

    /// Refuses a token call of another app; this one is public and has no secret.
    pub fn check_app(&self, form: &Form) -> Result<(), Reply> {
        let ours = form.field("client_id") == Some(&self.app_key) && form.field("client_secret").is_none();
        if ours { Ok(()) } else { Err(refusal("invalid_client", "Invalid client_id or client_secret")) }
    }

    /// Answers a refresh, perhaps for fewer scopes.
    pub fn refresh(&mut self, form: &Form, now: Timestamp) -> Result<Reply, Reply> {
        let token = form.field("refresh_token").unwrap_or_default().to_owned();
        let granted = self.granted(&token).ok_or_else(|| {
            let malformed = token.len() < 20;
            let what =
                if malformed { "refresh token is malformed" } else { "refresh token is invalid or revoked" };
            refusal("invalid_grant", what)
        })?;
        let scopes = narrowed(form.field("scope"), granted)?;
        let token = self.issue(scopes, Some(token), now);
        Ok(Reply::json(200, &json!({"access_token": token, "token_type": "bearer", "expires_in": LIFE})))
    }

    /// Makes a refresh token for what a user has just let the app do.
    pub fn grant(&mut self, scopes: Vec<String>) -> String {
        let token = random::word(64);
        self.grants.insert(token.clone(), scopes);
        token
    }

    /// Makes an access token.
    pub fn issue(&mut self, scopes: Vec<String>, grant: Option<String>, now: Timestamp) -> String {
        let token = format!("sl.{}", random::word(130));
        // Expired ones stay known for a while: the real service tells them from tokens that never were.
        self.short.retain(|_, token| token.until + SignedDuration::from_secs(LIFE) > now);
        let until = now + SignedDuration::from_secs(LIFE);
        self.short.insert(token.clone(), Token { until, scopes, grant });
        token
    }

    /// Refuses a call whose token is missing, unknown, expired or too narrow.
    pub fn check(&self, call: &Call, scope: &str, now: Timestamp) -> Result<(), Problem> {
        let token = bearer(call)?;
        if token == self.lasting && !self.revoked.contains(&self.lasting) {
            return Ok(());
        }
        if self.living(token, now)?.scopes.iter().any(|one| one == scope) {
            return Ok(());
        }
        Err(Problem::Token(json!({".tag": "missing_scope", "required_scope": scope})))
    }

    /// Ends the calling token, the refresh token it came from, and every other token of that one.
    pub fn revoke(&mut self, call: &Call, now: Timestamp) -> Result<(), Problem> {
        let token = bearer(call)?.to_owned();
        if token == self.lasting && !self.revoked.contains(&token) {
            self.revoked.push(token);
            return Ok(());
        }
        let grant = self.living(&token, now)?.grant.clone();
        self.short.remove(&token);
        if let Some(grant) = grant {
            self.short.retain(|_, token| token.grant.as_ref() != Some(&grant));
            self.grants.remove(&grant);
            self.revoked.push(grant);
        }
        Ok(())
    }

    fn living(&self, token: &str, now: Timestamp) -> Result<&Token, Problem> {
        let token = self.short.get(token).ok_or_else(|| Problem::token("invalid_access_token"))?;
        if token.until <= now { Err(Problem::token("expired_access_token")) } else { Ok(token) }
    }

    /// Returns what a refresh token stands for.
    fn granted(&self, refresh_token: &str) -> Option<Vec<String>> {
        if self.revoked.iter().any(|revoked| revoked == refresh_token) {
            return None;
        }
        if refresh_token == self.refresh_token {
            return Some(SCOPES.map(str::to_owned).to_vec());
        }
        self.grants.get(refresh_token).cloned()
    }
}

/// Returns the scopes asked for, or all of those granted; refuses any that wasn't granted.
pub fn narrowed(asked: Option<&str>, granted: Vec<String>) -> Result<Vec<String>, Reply> {
    let asked: Vec<String> = asked.unwrap_or_default().split_whitespace().map(str::to_owned).collect();
    if let Some(unknown) = asked.iter().find(|scope| !granted.contains(scope)) {
        let what = format!("scope {unknown} is not in the scopes of the refresh token");
        return Err(refusal("invalid_scope", &what));
    }
    Ok(if asked.is_empty() { granted } else { asked })
}

/// Returns an error in OAuth's own form.
pub fn refusal(error: &str, description: &str) -> Reply {
    Reply::json(400, &json!({"error": error, "error_description": description}))
}

fn bearer(call: &Call) -> Result<&str, Problem> {
    let Some(header) = call.header("authorization") else {
        let text = "Must provide HTTP header \"Authorization\" or URL parameter \"authorization\".";
        return Err(Problem::BadCall(text.to_owned()));
    };
    header.strip_prefix("Bearer ").filter(|token| well_formed(token)).ok_or_else(|| {
        let text = "The given OAuth 2 access token is malformed.";
        Problem::BadCall(format!("Invalid authorization value in HTTP header \"Authorization\": {text}"))
    })
}

fn well_formed(token: &str) -> bool {
    token.len() >= 16 && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte))
}
