//! What came back, and what it means when it isn't a success.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use reqwest::StatusCode;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Manner;
use crate::error::{Error, ExitCode, Result};

/// How much of an answer is quoted in a message, in characters.
const QUOTED: usize = 200;
/// The first time that no service's clock shows: the year 9000.
const LATEST: Timestamp = Timestamp::constant(221_845_392_000, 0);
/// How much of a refusal's body is looked at, in bytes.
const REFUSAL_LIMIT: usize = 64 * 1024;

/// A whole answer.
#[derive(Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, at most 16 MiB.
    pub body: Bytes,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with {} bytes", self.status, self.body.len())
    }
}

impl Answer {
    /// Decodes the body; `secret` bodies are never quoted.
    pub fn json<T: DeserializeOwned>(&self, secret: bool) -> Result<T, Trouble> {
        decode(&self.body, secret)
    }

    /// Returns the service's time.
    pub fn date(&self) -> Result<Timestamp, Trouble> {
        server_date(&self.headers).map_err(|error| Trouble::Undecodable(error.to_string()))
    }
}

/// Decodes JSON: cut or garbled text may come whole next time, text of another shape won't.
pub(crate) fn decode<T: DeserializeOwned>(body: &[u8], secret: bool) -> Result<T, Trouble> {
    serde_json::from_slice(body).map_err(|error| {
        let mut what = format!("expected `{}`", short_name::<T>());
        if !secret && !tells_a_token(body) {
            // The error quotes the value at fault, however long it is.
            let (got, error) = (readable(&String::from_utf8_lossy(body)), readable(&error.to_string()));
            what += &format!(", got `{got}`: {error}");
        }
        match error.classify() {
            serde_json::error::Category::Data => Trouble::Undecodable(what),
            _ => Trouble::Unknown { what, after: None },
        }
    })
}

/// Tells whether a body holds what opens a machine's notebook server.
fn tells_a_token(body: &[u8]) -> bool {
    const KEY: &[u8] = b"\"jupyter_token\"";
    body.windows(KEY.len()).enumerate().filter(|(_, part)| *part == KEY).any(|(at, _)| {
        let value = body[at + KEY.len()..].trim_ascii_start();
        let value = value.strip_prefix(b":").unwrap_or(value).trim_ascii_start();
        !value.starts_with(b"null")
    })
}

/// Returns the time in the `Date` header, which every answer carries.
pub fn server_date(headers: &HeaderMap) -> Result<Timestamp> {
    headers
        .get(DATE)
        .and_then(|value| http_date(value.as_bytes()))
        .ok_or_else(|| Error::new("the answer has no readable `Date` header"))
}

pub(super) fn http_date(text: &[u8]) -> Option<Timestamp> {
    let date = DateTimeParser::new().relaxed_weekday(true).parse_timestamp(text).ok()?;
    // Spans are added to it: the very last times that can be told are no service's.
    (date < LATEST).then_some(date)
}

/// What a service said instead of doing what it was asked.
#[derive(Clone)]
pub struct Said {
    /// Who said it: `the cloud`.
    pub name: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// The service's word for it, for matching.
    pub code: Option<String>,
    /// Its words, for people; printable and short.
    pub message: String,
    /// How long it asks us to wait.
    pub after: Option<Duration>,
    /// The body where it was JSON.
    pub json: Option<Value>,
}

impl Said {
    pub(super) fn from_answer(name: &'static str, answer: Answer) -> Self {
        let body = &answer.body[..answer.body.len().min(REFUSAL_LIMIT)];
        let json = serde_json::from_slice::<Value>(body).ok();
        let text = |key| json.as_ref()?.get(key)?.as_str();
        let message = text("message").or_else(|| text("error_description")).map(str::to_owned);
        let message = message.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
        Self {
            name,
            status: answer.status.as_u16(),
            code: text("code").or_else(|| text("error")).map(readable),
            message: readable(&message),
            after: retry_after(&answer.headers),
            json,
        }
    }

    fn hide(&mut self, secret: &str) {
        self.message = self.message.replace(secret, "****");
        self.code = self.code.take().map(|code| code.replace(secret, "****"));
        self.json = self.json.take().filter(|json| !json.to_string().contains(secret));
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} answered {}", self.name, self.status)?;
        if let Some(code) = &self.code {
            write!(f, " `{code}`")?;
        }
        if self.message.is_empty() { Ok(()) } else { write!(f, ": {}", self.message) }
    }
}

impl fmt::Debug for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why there is no good answer.
#[derive(Clone, Debug)]
pub enum Trouble {
    /// No connection was made: nothing was sent.
    Unreachable(String),
    /// There was no token to send it with: nothing was sent.
    Login(Box<Error>),
    /// Refused for now; nothing was done.
    Busy(Said),
    /// The token is no longer good; nothing was done.
    Expired(Said),
    /// The credentials are refused.
    Credentials(Said),
    /// There is no such thing.
    Gone(Said),
    /// It contradicts what is there.
    Conflict(Said),
    /// There is no machine to be had.
    NoCapacity(Said),
    /// Refused for another reason; nothing was done.
    Refused(Said),
    /// Sent on elsewhere, which we don't follow; whether anything was done is unknown.
    Redirected(Said),
    /// Whether anything was done is unknown: time-out, reset, 408, 5xx, an answer that broke off.
    Unknown {
        /// What happened.
        what: String,
        /// How long the service asks us to wait.
        after: Option<Duration>,
    },
    /// Done, as far as the status says, but the answer isn't of the shape we know.
    Undecodable(String),
}

impl Trouble {
    /// Sorts by HTTP status alone; what a service's own words add is its client's business.
    pub fn by_status(said: Said) -> Self {
        match said.status {
            300..=399 => Self::Redirected(said),
            401 => Self::Expired(said),
            404 | 410 => Self::Gone(said),
            409 => Self::Conflict(said),
            429 => Self::Busy(said),
            400..=499 if said.status != 408 => Self::Refused(said),
            _ => Self::Unknown { after: said.after, what: said.to_string() },
        }
    }

    /// Returns whether nothing can have been done.
    pub fn is_without_effect(&self) -> bool {
        !matches!(self, Self::Redirected(_) | Self::Unknown { .. } | Self::Undecodable(_))
    }

    /// Returns whether trying again may help, and after how long if the service said so.
    pub(super) fn again(&self) -> Option<Option<Duration>> {
        match self {
            Self::Unreachable(_) => Some(None),
            Self::Busy(said) => Some(said.after),
            Self::Unknown { after, .. } => Some(*after),
            _ => None,
        }
    }

    /// The same trouble while logging in: every refusal there is one of our credentials.
    pub(super) fn of_login(self) -> Self {
        match self {
            Self::Expired(said) | Self::Refused(said) => Self::Credentials(said),
            other => other,
        }
    }

    /// Takes secrets out of the words, in case the service repeated them.
    pub(super) fn without<'a>(mut self, secrets: impl Iterator<Item = &'a SecretString>) -> Self {
        for secret in secrets.map(|secret| secret.expose_secret()).filter(|secret| !secret.is_empty()) {
            match &mut self {
                Self::Busy(said)
                | Self::Expired(said)
                | Self::Credentials(said)
                | Self::Gone(said)
                | Self::Conflict(said)
                | Self::NoCapacity(said)
                | Self::Refused(said)
                | Self::Redirected(said) => said.hide(secret),
                Self::Unreachable(what) | Self::Undecodable(what) | Self::Unknown { what, .. } => {
                    *what = what.replace(secret, "****");
                }
                Self::Login(_) => {}
            }
        }
        self
    }

    pub(super) fn into_error(self, what: String, manner: &Manner) -> Error {
        let kind = match &self {
            Self::Expired(_) | Self::Credentials(_) => ExitCode::Credentials,
            Self::NoCapacity(_) => ExitCode::NoCapacity,
            Self::Refused(said) if said.status == 402 => ExitCode::Budget,
            Self::Login(error) => error.kind,
            _ => ExitCode::Error,
        };
        let error = Error::of(kind, what);
        match self {
            Self::Login(inner) => inner.within(error.what),
            Self::Expired(said) | Self::Credentials(said) => {
                error.why(said.to_string()).hint(manner.credentials_hint)
            }
            Self::Redirected(said) => {
                error.why(said.to_string()).why("redirects are not followed").hint("check the address")
            }
            Self::Refused(said) if kind == ExitCode::Budget => {
                error.why(said.to_string()).hint("add credit to the account, then run the command again")
            }
            Self::Busy(said) => error.why(said.to_string()).hint("wait a little, then run the command again"),
            Self::NoCapacity(said) => error
                .why(said.to_string())
                .hint("try later, or add an `instance.type` or `instance.location` to session.toml"),
            Self::Gone(said) | Self::Conflict(said) | Self::Refused(said) => {
                let advice = (manner.advice)(&said).unwrap_or(
                    "run the command again; if the answer is the same, the account or the request needs a look",
                );
                error.why(said.to_string()).hint(advice)
            }
            Self::Unreachable(why) => {
                error.why(why).hint("check the network and the address, then run the command again")
            }
            Self::Unknown { what: why, .. } => {
                error.why(why).hint("run the command again: it looks at what is there and goes on from that")
            }
            Self::Undecodable(why) => error.why(why).hint(
                "run the command again; if the answer is the same, this version doesn't know the service's",
            ),
        }
    }
}

/// Seconds, or a date that is compared with the answer's own.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let wait = http_date(text.as_bytes())?.duration_since(server_date(headers).ok()?);
    Some(wait.try_into().unwrap_or(Duration::ZERO))
}

/// The start of a text from outside, on one line and without control characters.
pub(crate) fn readable(text: &str) -> String {
    let mut words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    words.retain(|c| !is_unprintable(c));
    match words.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{}…", &words[..end]),
        None => words,
    }
}

/// Characters that could move a terminal's cursor, or show a text in another order than it is in.
pub(crate) fn is_unprintable(c: char) -> bool {
    c.is_control() || is_direction_mark(c)
}

/// Marks that would make a terminal show a text in another order than it is in.
fn is_direction_mark(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A type's name without the paths of its modules.
fn short_name<T>() -> String {
    let mut short = String::new();
    for part in std::any::type_name::<T>().split_inclusive(['<', '>', ',', ' ', '(', ')']) {
        short += part.rsplit("::").next().unwrap_or(part);
    }
    short
}
