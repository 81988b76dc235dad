//! Carries a strike out on one call.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::{HeaderName, HeaderValue, Response};
use futures_util::stream;
use serde_json::Value;

use super::change::{Outgoing, bytes, change, whole};
use super::line::Scissors;
use super::rule::{Canned, Fault};
use super::{Strike, TICK, until};
use crate::sandbox::admin_routes::Changes;
use crate::sandbox::clock::{Clock, http_date, later};
use crate::sandbox::process::{Host, Service};
use crate::sandbox::wire::{Call, Payload, Reply};

/// The journal's status of a call that nothing was answered to.
const NO_ANSWER: u16 = 0;

/// What happens to a call once it has had its effect, or without it.
enum Fate {
    Send(Outgoing),
    Silence,
    Cut,
}

/// Answers one call as the fault plan wants it.
pub async fn answer(host: Arc<Host>, service: Service, call: Call, scissors: Scissors) -> Response<Body> {
    let call = Arc::new(call);
    let strike = if service == Service::Admin { None } else { host.faults.strike(service, &call) };
    let fate = match strike {
        Some(strike) => Hit { host: Arc::clone(&host), service, call, strike }.carry_out().await,
        None => {
            let host = Arc::clone(&host);
            blocking(move || {
                let reply = host.perform(service, &call);
                host.note(service, &call, reply.status, None);
                Fate::Send(reply.into())
            })
            .await
        }
    };
    match fate {
        Fate::Send(outgoing) => return send(&host.clock, outgoing),
        Fate::Silence => host.stopped().await,
        Fate::Cut => scissors.cut(),
    }
    send(&host.clock, Reply::empty(500).into())
}

/// A call that is struck.
#[derive(Clone)]
struct Hit {
    host: Arc<Host>,
    service: Service,
    call: Arc<Call>,
    strike: Strike,
}

impl Hit {
    async fn carry_out(self) -> Fate {
        match self.strike.fault() {
            Fault::Answer(canned) if !canned.after => {
                self.note(canned.status);
                Fate::Send(told(&self.host.clock, canned))
            }
            Fault::Silence { after: false } => {
                self.note(NO_ANSWER);
                Fate::Silence
            }
            Fault::Cut { after: false } => {
                self.note(NO_ANSWER);
                Fate::Cut
            }
            Fault::Late { seconds, silent } => {
                let fate = if *silent { Fate::Silence } else { Fate::Cut };
                self.note(NO_ANSWER);
                self.host.faults.departs();
                tokio::spawn(self.clone().land(*seconds));
                fate
            }
            Fault::World { set, after: false } => {
                if let Err(failed) = self.change_the_world(set).await {
                    return failed;
                }
                self.effect().await
            }
            Fault::World { set, after: true } => {
                let fate = self.clone().effect().await;
                self.change_the_world(set).await.err().unwrap_or(fate)
            }
            Fault::Delay { seconds, after: false } => {
                self.pass(*seconds).await;
                self.effect().await
            }
            Fault::Delay { seconds, after: true } => {
                let fate = self.clone().effect().await;
                self.pass(*seconds).await;
                fate
            }
            Fault::Answer(_)
            | Fault::Change(_)
            | Fault::Silence { .. }
            | Fault::Cut { .. }
            | Fault::Stale {}
            | Fault::Closed { .. } => self.effect().await,
        }
    }

    /// Lets the call have its effect, also when its client leaves meanwhile, and spoils the answer.
    async fn effect(self) -> Fate {
        blocking(move || {
            let reply = self.host.perform(self.service, &self.call);
            let honest = reply.status;
            let (fate, took) = self.spoil(reply);
            if !took {
                self.strike.missed();
                self.host.note(self.service, &self.call, honest, None);
            } else if let Fate::Send(outgoing) = &fate {
                self.note(outgoing.reply.status);
            } else {
                self.note(NO_ANSWER);
            }
            fate
        })
        .await
    }

    /// Returns what becomes of the answer, and whether the fault found anything to do.
    fn spoil(&self, reply: Reply) -> (Fate, bool) {
        match self.strike.fault() {
            Fault::Answer(canned) => (Fate::Send(told(&self.host.clock, canned)), true),
            Fault::Silence { .. } => (Fate::Silence, true),
            Fault::Cut { .. } => (Fate::Cut, true),
            Fault::Change(how) => {
                let (outgoing, changed) = change(how, reply);
                (Fate::Send(outgoing), changed)
            }
            Fault::Stale {} => match self.strike.stale(&self.call, &whole(&reply)) {
                Some(first) => (Fate::Send(Reply { body: Payload::Bytes(first), ..reply }.into()), true),
                None => (Fate::Send(reply.into()), false),
            },
            Fault::Delay { .. } | Fault::Late { .. } | Fault::World { .. } | Fault::Closed { .. } => {
                (Fate::Send(reply.into()), true)
            }
        }
    }

    /// Lets a call that its client has given up on have its effect.
    async fn land(self, seconds: f64) {
        self.pass(seconds).await;
        let host = Arc::clone(&self.host);
        blocking(move || drop(self.host.perform(self.service, &self.call))).await;
        host.faults.lands();
    }

    async fn change_the_world(&self, set: &Value) -> Result<(), Fate> {
        let failed = |why: String| Fate::Send(Reply::text(500, why).into());
        // It was checked when the rule was installed.
        let changes = Changes::read(set).map_err(failed)?;
        let host = Arc::clone(&self.host);
        blocking(move || host.change(changes)).await.map_err(|error| failed(error.to_string()))
    }

    async fn pass(&self, seconds: f64) {
        let clock = &self.host.clock;
        until(clock, later(clock.now(), seconds)).await;
    }

    fn note(&self, status: u16) {
        self.host.note(self.service, &self.call, status, Some(self.strike.title()));
    }
}

/// Answering hashes and waits for the disk; both would hold up every other connection here.
async fn blocking<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(act).await {
        Ok(done) => done,
        // Nobody cancels it: it has panicked, and the connection may end the same way.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Returns a canned answer; `date+N` in a header is a date N seconds from now.
fn told(clock: &Clock, canned: &Canned) -> Outgoing {
    let mut outgoing =
        Outgoing::from(Reply { body: Payload::Bytes(bytes(&canned.body)), ..Reply::empty(canned.status) });
    if !(canned.body.is_null() || canned.body.is_string()) {
        outgoing.headers.insert("content-type".to_owned(), Some("application/json".to_owned()));
    }
    for (name, value) in &canned.headers {
        let ahead = value.strip_prefix("date+").and_then(|seconds| seconds.parse().ok());
        let value = ahead.map_or(value.clone(), |seconds| http_date(later(clock.now(), seconds)));
        outgoing.headers.insert(name.to_lowercase(), Some(value));
    }
    outgoing
}

/// Turns an answer into what the HTTP server sends.
fn send(clock: &Clock, outgoing: Outgoing) -> Response<Body> {
    let Outgoing { reply, headers, truncate, rate } = outgoing;
    let held_back = truncate.is_some() || rate.is_some();
    let body = if held_back { whole(&reply) } else { Vec::new() };
    let mut response = reply.with("date", http_date(clock.now())).into_response();
    for (name, value) in headers {
        let Ok(name) = HeaderName::try_from(name) else { continue };
        match value.map(HeaderValue::try_from) {
            Some(Ok(value)) => drop(response.headers_mut().insert(name, value)),
            Some(Err(_)) => {}
            None => drop(response.headers_mut().remove(name)),
        }
    }
    if held_back {
        response.headers_mut().insert("content-length", HeaderValue::from(body.len()));
        *response.body_mut() = dripping(clock.clone(), body, truncate, rate);
    }
    response
}

/// Sends a body slowly, or not to its end.
fn dripping(clock: Clock, body: Vec<u8>, truncate: Option<usize>, rate: Option<f64>) -> Body {
    let (body, started) = (Bytes::from(body), clock.now());
    let end = truncate.unwrap_or(body.len()).min(body.len());
    Body::from_stream(stream::try_unfold(0, move |sent| {
        let (clock, body) = (clock.clone(), body.clone());
        async move {
            if sent >= end {
                let broken = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
                if end == body.len() {
                    return Ok(None);
                }
                // What was sent so far leaves the buffer only while there is something to wait for.
                tokio::time::sleep(TICK).await;
                return Err(broken);
            }
            let piece = match rate {
                None => end - sent,
                Some(rate) => {
                    let piece = (rate * clock.speed() * TICK.as_secs_f64()).ceil().max(1.0) as usize;
                    let piece = piece.min(end - sent);
                    until(&clock, later(started, (sent + piece) as f64 / rate)).await;
                    piece
                }
            };
            Ok(Some((body.slice(sent..sent + piece), sent + piece)))
        }
    }))
}
