//! What the HTTP clients share: one connection pool, one token, bounded calls, patient reads.
//!
//! Nothing here follows a redirect, and nothing here repeats a call unless its caller said that
//! repeating it is harmless (`patiently`).

mod answer;
mod clock;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod login;

use std::fmt;
use std::sync::Once;
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;

pub use answer::{Answer, Said, Trouble, server_date};
pub(crate) use answer::{decode, is_unprintable, readable};
pub use clock::{Clock, Moment};
use login::Token;
pub use login::{Encoding, Login};

use crate::credentials::ShortLived;
use crate::error::{Error, ExitCode, Result};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a call may take on the clock, and the least that it may take in real time on a busy machine.
const CALL_LIMIT: Duration = Duration::from_secs(60);
const LEAST_CALL_LIMIT: Duration = Duration::from_secs(4);
/// The longest body that is read into memory.
const BODY_LIMIT: usize = 16 * 1024 * 1024;
/// How often a harmless call is tried.
const TRIES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(30);
/// The longest wait that a service may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// What tells one service from another.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// The service in messages: `the cloud`.
    pub name: &'static str,
    /// What to do when it refuses our credentials.
    pub credentials_hint: &'static str,
    /// What to do about a refusal, where its own words tell.
    pub advice: fn(&Said) -> Option<&'static str>,
    /// Sorts an answer that isn't a success.
    pub sort: fn(Said) -> Trouble,
}

/// One service behind one or more base URLs, and the token it gave us.
pub struct Service {
    manner: Manner,
    client: reqwest::Client,
    clock: Clock,
    login: Login,
    token: Mutex<Option<Token>>,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("name", &self.manner.name).finish_non_exhaustive()
    }
}

impl Service {
    /// Returns a service that nothing has been asked of yet.
    ///
    /// `bases` must all be https, or all on loopback (where http is allowed and no proxy is used).
    pub fn new(manner: Manner, bases: &[&Url], login: Login, clock: Clock) -> Result<Self> {
        let limit = clock.real_time(CALL_LIMIT).max(LEAST_CALL_LIMIT);
        let client = client(manner.name, bases, limit)?;
        Ok(Self { manner, client, clock, login, token: Mutex::new(None) })
    }

    /// Makes every call end after `limit`.
    #[cfg(test)]
    pub(crate) fn with_call_timeout(mut self, bases: &[&Url], limit: Duration) -> Self {
        self.client = client(self.manner.name, bases, limit).unwrap();
        self
    }

    /// Returns the clock that pauses are slept by.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Makes sure that a token is at hand, so that calls made at once don't each wait for one.
    pub async fn ready(&self) -> Result<(), Trouble> {
        self.token().await.map(drop)
    }

    /// Sends a call that must not be repeated.
    ///
    /// The one exception is an answer 401 to a token that can be renewed: it proves that the first
    /// sending was not taken, and the call is sent once more with a new token.
    pub async fn once(&self, call: &Call) -> Result<Answer, Trouble> {
        let token = self.token().await?;
        let outcome = match self.exchange(call, Some(&token)).await {
            Err(Trouble::Expired(_)) if self.login.renews() => {
                let token = self.renewed(&token).await?;
                self.exchange(call, Some(&token)).await
            }
            outcome => outcome,
        };
        outcome.map_err(|trouble| match trouble {
            Trouble::Expired(said) => Trouble::Credentials(said),
            trouble => trouble,
        })
    }

    /// Sends a call that may be repeated, until it is answered, refused, or tried often enough;
    /// an answer that `decode` finds cut is asked for again.
    pub async fn patiently<T>(
        &self,
        call: &Call,
        decode: impl Fn(Answer) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        let mut tried = 0;
        loop {
            let trouble = match self.once(call).await.and_then(&decode) {
                Ok(value) => return Ok(value),
                Err(trouble) => trouble,
            };
            tried += 1;
            self.pause(tried, trouble).await?;
        }
    }

    /// Reads JSON; returns it with the answer it came in.
    pub async fn json<T: DeserializeOwned>(&self, call: &Call) -> Result<(T, Answer), Trouble> {
        self.patiently(call, |answer| Ok((answer.json(call.secret)?, answer))).await
    }

    /// Waits before try number `tried` + 1, or returns the trouble when trying again is no use.
    pub async fn pause(&self, tried: u32, trouble: Trouble) -> Result<(), Trouble> {
        let Some(wait) = wait(tried, &trouble) else { return Err(trouble) };
        self.clock.sleep(wait).await;
        Ok(())
    }

    /// Waits before trying again what may take long to work, and says so; returns the trouble when it is
    /// no use, or when all of it has taken longer than `patience`.
    pub async fn wait_out(
        &self,
        tried: u32,
        since: Instant,
        patience: Duration,
        trouble: Trouble,
        waiting: &mut (dyn FnMut(String, Duration) + Send),
    ) -> Result<(), Trouble> {
        let Some(asked) = trouble.again().filter(|_| self.clock.since(since) < patience) else {
            return Err(trouble);
        };
        let wait = asked.map_or_else(|| back_off(tried), |wait| wait.min(LONGEST_WAIT));
        let said = self.error("", trouble).why.join("; ");
        waiting(said, wait);
        self.clock.sleep(wait).await;
        Ok(())
    }

    /// Asks for a token of its own, by another login than the service's; returns it with the real time
    /// after which another one should take its place.
    pub async fn mint(&self, login: &Login) -> Result<ShortLived, Trouble> {
        let token = self.ask_token(login).await?;
        let life = token.useful_life().map_or(Duration::MAX, |life| self.clock.real_time(life));
        Ok(ShortLived { value: token.secret, life })
    }

    /// Exchanges what `login` holds, once: a code that is sent a second time is spent.
    pub async fn redeem(&self, login: &Login) -> Result<Answer, Trouble> {
        let call = login.call().map_err(|error| Trouble::Login(Box::new(error)))?;
        self.exchange_for(login, &call, None).await
    }

    /// Words a trouble as an error: `what` failed, and the service's own words say why.
    pub fn error(&self, what: impl Into<String>, trouble: Trouble) -> Error {
        trouble.into_error(what.into(), &self.manner)
    }

    async fn token(&self) -> Result<SecretString, Trouble> {
        if let Login::Fixed(token) = &self.login {
            return Ok(token.clone());
        }
        let mut held = self.token.lock().await;
        match held.as_ref() {
            Some(token) if token.is_fresh(&self.clock) => Ok(token.secret.clone()),
            _ => self.log_in(&mut held).await,
        }
    }

    /// Returns a token other than `stale`; of several callers with the same stale one, one logs in.
    async fn renewed(&self, stale: &SecretString) -> Result<SecretString, Trouble> {
        let mut held = self.token.lock().await;
        match held.as_ref() {
            Some(token) if token.secret.expose_secret() != stale.expose_secret() => Ok(token.secret.clone()),
            _ => self.log_in(&mut held).await,
        }
    }

    async fn log_in(&self, held: &mut Option<Token>) -> Result<SecretString, Trouble> {
        *held = None;
        let token = self.ask_token(&self.login).await?;
        Ok(held.insert(token).secret.clone())
    }

    async fn ask_token(&self, login: &Login) -> Result<Token, Trouble> {
        let call = login.call().map_err(|error| Trouble::Login(Box::new(error)))?;
        let mut tried = 0;
        loop {
            let outcome = self.exchange_for(login, &call, None).await;
            let trouble = match outcome.and_then(|answer| Token::read(&answer)) {
                Ok(token) => return Ok(token),
                Err(trouble) => trouble.of_login(),
            };
            tried += 1;
            if let Err(trouble) = self.pause(tried, trouble).await {
                let error = self.error(format!("cannot log in to {}", self.manner.name), trouble);
                return Err(Trouble::Login(Box::new(error)));
            }
        }
    }

    async fn exchange(&self, call: &Call, token: Option<&SecretString>) -> Result<Answer, Trouble> {
        self.exchange_for(&self.login, call, token).await
    }

    /// One request and its answer, sorted; no secret of ours is left in the trouble's words.
    async fn exchange_for(
        &self,
        login: &Login,
        call: &Call,
        token: Option<&SecretString>,
    ) -> Result<Answer, Trouble> {
        let outcome = match self.send(call, token).await {
            Ok(answer) if answer.status.is_success() => Ok(answer),
            Ok(answer) => Err((self.manner.sort)(Said::from_answer(self.manner.name, answer))),
            Err(trouble) => Err(trouble),
        };
        outcome
            .map_err(|trouble| trouble.without(token.into_iter().chain(login.secrets()).chain(&call.hidden)))
    }

    async fn send(&self, call: &Call, token: Option<&SecretString>) -> Result<Answer, Trouble> {
        let name = self.manner.name;
        let request = call.request(&self.client, token);
        let began = Instant::now();
        let sent = request.send().await;
        // Neither query nor body: links and ids of uploads stand there.
        let told = |answer: String| {
            let seconds = began.elapsed().as_secs_f64();
            tracing::debug!("{name}: {} {}: {answer}, {seconds:.3} s", call.method, call.url.path());
        };
        told(sent.as_ref().map_or_else(|_| "no answer".to_owned(), |response| response.status().to_string()));
        let mut response = sent.map_err(|error| sending_failed(name, &error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let mut body = Vec::new();
        let cut = loop {
            match response.chunk().await {
                Ok(None) => break None,
                Ok(Some(chunk)) if body.len() + chunk.len() > BODY_LIMIT => {
                    break Some(format!("{name} sent more than {} MiB", BODY_LIMIT >> 20));
                }
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Err(error) => break Some(format!("the answer of {name} broke off: {}", innermost(&error))),
            }
        };
        match cut {
            // A refusal is a refusal, however little of its wording came through.
            Some(what) if !status.is_client_error() => Err(Trouble::Unknown { what, after: None }),
            _ => Ok(Answer { status, headers, body: body.into() }),
        }
    }
}

/// One request, as data: it can be sent again.
pub struct Call {
    method: Method,
    url: Url,
    header: Option<(HeaderName, HeaderValue)>,
    content_type: Option<&'static str>,
    body: Bytes,
    secret: bool,
    hidden: Vec<SecretString>,
}

impl Call {
    /// Returns a GET.
    pub fn get(url: Url) -> Self {
        Self {
            method: Method::GET,
            url,
            header: None,
            content_type: None,
            body: Bytes::new(),
            secret: false,
            hidden: Vec::new(),
        }
    }

    /// Returns a request with a JSON body.
    pub fn with_json(method: Method, url: Url, body: &impl Serialize) -> Self {
        let body = serde_json::to_vec(body).expect("our own request bodies are plain JSON");
        Self { method, content_type: Some("application/json"), body: body.into(), ..Self::get(url) }
    }

    /// Returns a POST of raw bytes.
    pub fn with_bytes(url: Url, body: Bytes) -> Self {
        Self { method: Method::POST, content_type: Some("application/octet-stream"), body, ..Self::get(url) }
    }

    /// Returns a POST without a body.
    pub fn bare_post(url: Url) -> Self {
        Self::bare(Method::POST, url)
    }

    /// Returns a request without a body.
    pub fn bare(method: Method, url: Url) -> Self {
        Self { method, ..Self::get(url) }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.header = Some((name, value));
        self
    }

    /// Says that the answer carries a secret and is never quoted.
    #[must_use]
    pub fn with_secret_answer(mut self) -> Self {
        self.secret = true;
        self
    }

    /// Says what in the request is secret: a service that repeats it is not quoted in that.
    #[must_use]
    pub fn hiding(mut self, secrets: Vec<SecretString>) -> Self {
        self.hidden = secrets;
        self
    }

    fn request(&self, client: &reqwest::Client, token: Option<&SecretString>) -> reqwest::RequestBuilder {
        let mut request = client.request(self.method.clone(), self.url.clone());
        if let Some(token) = token.and_then(bearer) {
            request = request.header(AUTHORIZATION, token);
        }
        if let Some((name, value)) = &self.header {
            request = request.header(name, value);
        }
        match self.content_type {
            Some(kind) => request.header(CONTENT_TYPE, kind).body(self.body.clone()),
            None if self.method == Method::GET => request,
            None => request.body(Bytes::new()),
        }
    }
}

/// Reads a base URL: https, or http on loopback; no credentials, query or fragment in it.
pub fn base_url(text: &str) -> Result<Url> {
    let wrong = |why: &str| {
        Error::of(ExitCode::Usage, "a service's address cannot be used")
            .why(why)
            .hint("give an https address, such as `https://api.verda.com/v1`")
    };
    let url = Url::parse(text.trim_end_matches('/')).map_err(|error| wrong(&error.to_string()))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("it contains a user name or password"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("it contains a `?` or `#`"));
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback(&url) => Ok(url),
        scheme => Err(wrong(&format!("`{scheme}` to `{}` isn't https", url.host_str().unwrap_or_default()))),
    }
}

/// Returns `base` with path segments added, each quoted on its own.
pub fn below(base: &Url, segments: &[&str]) -> Url {
    let mut url = base.clone();
    url.path_segments_mut().expect("http addresses have paths").pop_if_empty().extend(segments);
    url
}

fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

fn client(name: &str, bases: &[&Url], limit: Duration) -> Result<reqwest::Client> {
    // Tests and library users don't go through `main`; installing it twice is harmless.
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));

    let builder = reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(limit)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .user_agent(concat!("dacapo/", env!("CARGO_PKG_VERSION")));
    let builder = if bases.iter().all(|base| is_loopback(base)) {
        // No certificates are needed here, and a machine without any must still run the sandbox.
        builder.no_proxy().tls_certs_only([])
    } else if bases.iter().any(|base| is_loopback(base)) {
        return Err(Error::of(ExitCode::Usage, format!("the addresses of {name} do not fit together"))
            .why("one is on this machine and another isn't")
            .hint("set both or neither"));
    } else {
        builder.https_only(true)
    };
    builder.build().map_err(|error| {
        Error::new(format!("cannot prepare to talk to {name}"))
            .because(&error)
            .hint("install the system's certificates (package `ca-certificates`)")
    })
}

fn bearer(token: &SecretString) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret())).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn sending_failed(name: &str, error: &reqwest::Error) -> Trouble {
    if error.is_connect() {
        return Trouble::Unreachable(format!("{name} could not be reached: {}", innermost(error)));
    }
    let what = if error.is_timeout() {
        format!("{name} did not answer in time")
    } else {
        format!("the connection to {name} broke off: {}", innermost(error))
    };
    Trouble::Unknown { what, after: None }
}

/// The deepest cause, which is the one that says something and holds no address.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// How long to wait before trying again; none when it was tried often enough, or is no use.
fn wait(tried: u32, trouble: &Trouble) -> Option<Duration> {
    let asked = trouble.again().filter(|_| tried < TRIES)?;
    Some(asked.map_or_else(|| back_off(tried), |wait| wait.min(LONGEST_WAIT)))
}

/// One second doubling to thirty, each between half and one and a half times that.
fn back_off(tried: u32) -> Duration {
    let plain = FIRST_PAUSE.saturating_mul(1 << (tried - 1).min(16)).min(LONGEST_BACK_OFF);
    let random = f64::from(getrandom::u32().unwrap_or(u32::MAX / 2)) / f64::from(u32::MAX);
    plain.mul_f64(0.5 + random)
}

#[cfg(test)]
pub(crate) mod tests;
