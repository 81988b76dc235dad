//! The code flow with PKCE: a page that agrees at once and shows a code, and the code's exchange.
//!
//! The real page asks the user. This one stands for a user who has said yes: `GET /oauth2/authorize` on the
//! API host answers with the code as the only text of its body. The app has no redirect registered.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Store;
use super::tokens::{Form, LIFE, SCOPES, narrowed, refusal};
use crate::digest::sha256_hex;
use crate::sandbox::random;
use crate::sandbox::wire::{Call, Reply};

/// How long a code can be exchanged.
const CODE_LIFE: SignedDuration = SignedDuration::from_mins(10);

/// The codes that were shown and not exchanged.
#[derive(Default, Serialize, Deserialize)]
pub struct Codes(BTreeMap<String, Code>);

#[derive(Serialize, Deserialize)]
struct Code {
    challenge: String,
    scopes: Vec<String>,
    offline: bool,
    until: Timestamp,
}

impl Store {
    /// Answers `GET /oauth2/authorize`.
    pub(super) fn authorize(&mut self, call: &Call, now: Timestamp) -> Reply {
        match self.agreed(call, now) {
            Ok(code) => {
                let name = random::word(43);
                self.codes.0.insert(name.clone(), code);
                Reply::text(200, name).with("cache-control", "no-store")
            }
            Err(what) => Reply::text(400, what),
        }
    }

    /// Answers `POST /oauth2/token`.
    pub(super) fn token(&mut self, call: &Call, now: Timestamp) -> Reply {
        let Some(form) = Form::read(call) else {
            return refusal("invalid_request", "The request content type must be form-encoded");
        };
        let answer = match form.field("grant_type") {
            Some("refresh_token") => {
                self.tokens.check_app(&form).and_then(|()| self.tokens.refresh(&form, now))
            }
            Some("authorization_code") => {
                self.tokens.check_app(&form).and_then(|()| self.exchange(&form, now))
            }
            Some(_) => Err(refusal("unsupported_grant_type", "grant type not supported")),
            None => Err(refusal("invalid_request", "missing required parameter: grant_type")),
        };
        answer.unwrap_or_else(|refused| refused)
    }

    fn agreed(&self, call: &Call, now: Timestamp) -> Result<Code, String> {
        let asked = |name: &str| call.query(name);
        if asked("client_id") != Some(&self.tokens.app_key) {
            return Err("Invalid client_id: no app has this key.".to_owned());
        }
        if asked("response_type") != Some("code") {
            return Err("Invalid response_type: must be \"code\".".to_owned());
        }
        if asked("redirect_uri").is_some() {
            return Err("Invalid redirect_uri: it is not registered for the app.".to_owned());
        }
        if asked("code_challenge_method") != Some("S256") {
            return Err("Invalid code_challenge_method: must be \"S256\".".to_owned());
        }
        let challenge = asked("code_challenge").unwrap_or_default();
        if URL_SAFE_NO_PAD.decode(challenge).is_ok_and(|digest| digest.len() == 32) {
            let scopes = narrowed(asked("scope"), SCOPES.map(str::to_owned).to_vec());
            let scopes = scopes.map_err(|_| "Invalid scope: the app doesn't have it.".to_owned())?;
            let offline = asked("token_access_type") == Some("offline");
            return Ok(Code { challenge: challenge.to_owned(), scopes, offline, until: now + CODE_LIFE });
        }
        Err("Invalid code_challenge: must be the unpadded base64url of a SHA-256.".to_owned())
    }

    fn exchange(&mut self, form: &Form, now: Timestamp) -> Result<Reply, Reply> {
        let verifier = form.field("code_verifier");
        let verifier = verifier
            .ok_or_else(|| refusal("invalid_request", "missing required parameter: code_verifier"))?;
        // Whoever tries a code uses it up, with the right verifier or without.
        let code = self.codes.0.remove(form.field("code").unwrap_or_default());
        let code = code
            .filter(|code| code.until > now)
            .ok_or_else(|| refusal("invalid_grant", "code doesn't exist or has expired"))?;
        if challenge_of(verifier).is_none_or(|challenge| challenge != code.challenge) {
            return Err(refusal("invalid_grant", "invalid code verifier"));
        }
        let grant = code.offline.then(|| self.tokens.grant(code.scopes.clone()));
        let token = self.tokens.issue(code.scopes.clone(), grant.clone(), now);
        let mut reply = json!({
            "access_token": token, "token_type": "bearer", "expires_in": LIFE, "scope": code.scopes.join(" "),
            "uid": self.namespace, "account_id": self.account,
        });
        if let Some(grant) = grant {
            reply["refresh_token"] = json!(grant);
        }
        Ok(Reply::json(200, &reply))
    }
}

/// Returns the S256 challenge of a verifier; `None` if it can't be one.
fn challenge_of(verifier: &str) -> Option<String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    if !(43..=128).contains(&verifier.len()) || !verifier.bytes().all(fits) {
        return None;
    }
    let digest = hex::decode(sha256_hex(verifier.as_bytes())).ok()?;
    Some(URL_SAFE_NO_PAD.encode(digest))
}
