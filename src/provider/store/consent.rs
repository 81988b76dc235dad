//! Asking the user for lasting access to their own Dropbox app: the code flow with PKCE, without a redirect.
//!
//! Source: Dropbox's OAuth guide. The app has no secret; a code is good for one exchange within ten minutes.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Url;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use super::MANNER;
use crate::credentials::Refresh;
use crate::digest::sha256;
use crate::error::{Error, ExitCode, Result};
use crate::provider::http::{self, Clock, Encoding, Login, Service};

/// The page where a person agrees; another API host has its own.
const PAGE: &str = "https://www.dropbox.com/oauth2/authorize";
const API: &str = "https://api.dropboxapi.com";

/// A request for access that a person is being asked for.
pub struct Consent {
    api: Url,
    app_key: String,
    verifier: SecretString,
}

#[derive(Deserialize)]
struct Given {
    #[serde(default)]
    refresh_token: Option<String>,
}

impl Consent {
    /// Begins to ask; `verifier` is a fresh random word of 43 to 128 letters and digits.
    pub fn ask(api: &str, app_key: &str, verifier: SecretString) -> Result<Self> {
        Ok(Self { api: http::base_url(api)?, app_key: app_key.to_owned(), verifier })
    }

    /// Returns the page on which to agree; it shows a code in the end.
    pub fn page(&self) -> Url {
        let standard = self.api.as_str().trim_end_matches('/') == API;
        let own = http::below(&self.api, &["oauth2", "authorize"]);
        let mut page = if standard { Url::parse(PAGE).expect("a constant") } else { own };
        let challenge = URL_SAFE_NO_PAD.encode(sha256(self.verifier.expose_secret().as_bytes()));
        page.query_pairs_mut()
            .append_pair("client_id", &self.app_key)
            .append_pair("response_type", "code")
            .append_pair("token_access_type", "offline")
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256");
        page
    }

    /// Exchanges the code. It is spent whatever the answer.
    ///
    /// Fails with [`ExitCode::Credentials`] where the code is wrong, old or spent.
    pub async fn redeem(self, code: SecretString, clock: Clock) -> Result<Refresh> {
        let Self { api, app_key, verifier } = self;
        let login = Login::Asked {
            url: http::below(&api, &["oauth2", "token"]),
            encoding: Encoding::Form,
            fields: vec![
                ("grant_type", "authorization_code".into()),
                ("code", code),
                ("code_verifier", verifier),
                ("client_id", app_key.clone().into()),
            ],
        };
        let service = Service::new(MANNER, &[&api], login.clone(), clock)?;
        let again = "run `dacapo login dropbox` again: each code is good for one exchange within ten minutes";
        let answer = service.redeem(&login).await.map_err(|trouble| {
            let error = service.error("Dropbox didn't take the code", trouble);
            Error { kind: ExitCode::Credentials, ..error }.hint(again)
        })?;
        let given: Given =
            answer.json(true).map_err(|trouble| service.error("cannot read what Dropbox gave", trouble))?;
        let token = given.refresh_token.ok_or_else(|| {
            Error::of(ExitCode::Credentials, "Dropbox gave no lasting access")
                .why("its answer has no refresh token")
                .hint(again)
        })?;
        Ok(Refresh { app_key, refresh_token: token.into() })
    }
}
