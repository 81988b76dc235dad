//! Where a service's token comes from, and how long it is good for.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::{Method, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use super::{Answer, Call, Clock, Trouble};
use crate::error::{Error, Result};

/// How long before its end a token is renewed.
const EARLY: Duration = Duration::from_secs(300);

/// Where the token comes from.
#[derive(Clone, Debug)]
pub enum Login {
    /// It was given and can't be renewed.
    Fixed(SecretString),
    /// It is asked for.
    Asked {
        /// Whom to ask.
        url: Url,
        /// In which form.
        encoding: Encoding,
        /// What to say.
        fields: Vec<(&'static str, SecretString)>,
    },
}

/// How the fields of a token request are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// As a JSON object.
    Json,
    /// As a form.
    Form,
}

impl Login {
    /// Returns whether asking again can help.
    pub(super) fn renews(&self) -> bool {
        matches!(self, Self::Asked { .. })
    }

    /// Returns what must never show in a message.
    pub(super) fn secrets(&self) -> impl Iterator<Item = &SecretString> {
        let (one, many) = match self {
            Self::Fixed(token) => (Some(token), &[][..]),
            Self::Asked { fields, .. } => (None, &fields[..]),
        };
        // `grant_type` and ids are public; hiding them would make messages unreadable.
        let many = many.iter().filter(|(name, _)| {
            matches!(*name, "client_secret" | "refresh_token" | "code" | "code_verifier")
        });
        one.into_iter().chain(many.map(|(_, value)| value))
    }

    pub(super) fn call(&self) -> Result<Call> {
        let Self::Asked { url, encoding, fields } = self else {
            return Err(Error::new("the access token that was given cannot be renewed"));
        };
        let fields = fields.iter().map(|(name, value)| (*name, value.expose_secret()));
        let call = match encoding {
            Encoding::Json => Call::with_json(Method::POST, url.clone(), &fields.collect::<BTreeMap<_, _>>()),
            Encoding::Form => Call {
                content_type: Some("application/x-www-form-urlencoded"),
                body: form(fields),
                ..Call::bare_post(url.clone())
            },
        };
        Ok(call.with_secret_answer())
    }
}

/// A token and when it was given.
pub(super) struct Token {
    pub(super) secret: SecretString,
    given: Instant,
    /// By the service's own clock.
    life: Option<Duration>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
    #[serde(default)]
    expires_in: Option<f64>,
}

impl Token {
    pub(super) fn read(answer: &Answer) -> Result<Self, Trouble> {
        let TokenAnswer { access_token, expires_in } = answer.json(true)?;
        let life = expires_in.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        Ok(Self { secret: access_token.into(), given: Instant::now(), life })
    }

    /// Whether it is good for a while yet.
    pub(super) fn is_fresh(&self, clock: &Clock) -> bool {
        self.useful_life().is_none_or(|life| clock.since(self.given) < life)
    }

    /// How long it is used; a token with a very short life for half of it.
    pub(super) fn useful_life(&self) -> Option<Duration> {
        self.life.map(|life| life.saturating_sub(EARLY).max(life / 2))
    }
}

fn form<'a>(fields: impl Iterator<Item = (&'a str, &'a str)>) -> Bytes {
    let mut url = Url::parse("http://localhost").expect("a constant");
    url.query_pairs_mut().extend_pairs(fields);
    url.query().unwrap_or_default().to_owned().into()
}
