//! The sandbox's own routes: look inside, change things behind the services' backs, end it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::faults::Plan;
use super::process::Host;
use super::wire::{Call, Reply};
use super::{cloud, store};
use crate::error::{Error, Result};

/// The body of `set`; what is left out stays as it is.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Changes {
    pub(super) cloud: cloud::Changes,
    pub(super) dropbox: store::Changes,
}

impl Changes {
    /// Reads what `set` takes; says in words where it is wrong.
    pub(super) fn read(body: &Value) -> Result<Self, String> {
        Self::deserialize(body).map_err(|error| error.to_string())
    }
}

#[derive(Deserialize)]
struct Jump {
    seconds: f64,
}

#[derive(Deserialize)]
struct Seed {
    url: String,
    source: Value,
}

#[derive(Deserialize)]
struct SeedStore {
    path: String,
    bytes: String,
    modified: Timestamp,
    /// Not where there ever was something.
    #[serde(default)]
    once: bool,
}

/// Answers one admin request; all of them need the world's key.
pub fn answer(host: &Host, call: &Call) -> Reply {
    let key = host.with_world(|world, _| world.admin_key.clone());
    if !key.is_ok_and(|key| call.bearer() == Some(&key)) {
        return Reply::text(401, "wrong admin key");
    }
    match route(host, call) {
        Ok(Some(value)) => Reply::json(200, &value),
        Ok(None) => Reply::text(404, "no such admin route"),
        Err(error) => Reply::json(400, &json!(error)),
    }
}

fn route(host: &Host, call: &Call) -> Result<Option<Value>> {
    Ok(Some(match (call.method.as_str(), call.path.as_str()) {
        // A world that is about to end is not one to attach to.
        ("GET", "/ping") if host.is_stopping() => return Ok(None),
        ("GET", "/ping") => json!({"pid": std::process::id()}),
        ("GET", "/bill") => host.with_world(|world, now| world.cloud.bill(now))?,
        ("GET", "/requests") => json!(host.journal.requests()),
        ("POST", "/stop") => {
            host.stop();
            Value::Null
        }
        ("POST", "/jump") => {
            host.clock.jump(read::<Jump>(call)?.seconds);
            host.with_world(|_, now| json!({"now": now}))?
        }
        ("POST", "/set") => {
            host.change(read(call)?)?;
            Value::Null
        }
        ("GET", "/faults") => host.told(),
        (method @ ("POST" | "PUT"), "/faults") => {
            host.fail(plan(call)?, method == "PUT");
            host.told()
        }
        ("DELETE", "/faults") => {
            host.fail(Plan::default(), true);
            host.told()
        }
        ("POST", "/seed") => {
            let seed: Seed = read(call)?;
            (host.ssh.seed)(&seed.url, &seed.source)?;
            Value::Null
        }
        ("POST", "/seed_store") => seed_store(host, &read(call)?)?,
        ("POST", "/reset") => reset(host)?,
        _ => return Ok(None),
    }))
}

fn plan(call: &Call) -> Result<Plan> {
    let plan = Plan::parse(&String::from_utf8_lossy(&call.body));
    plan.map_err(|why| Error::new("the fault plan is wrong").why(why))
}

fn seed_store(host: &Host, seed: &SeedStore) -> Result<Value> {
    let bytes = STANDARD.decode(&seed.bytes);
    let bytes = bytes.map_err(|error| Error::new("`bytes` is not base64").because(&error))?;
    let placed = host.with_world(|world, _| match seed.once && world.store.ever_had(&seed.path) {
        true => Ok(Value::Null),
        false => world.store.seed(&seed.path, &bytes, seed.modified),
    })?;
    placed.map_err(|why| Error::new(format!("cannot put `{}` into the Dropbox", seed.path)).why(why))
}

/// Empties the world: no machine, no disk, no file, no repository, no request, no fault. Secrets and time stay.
fn reset(host: &Host) -> Result<Value> {
    host.with_world(|world, _| {
        world.cloud = world.cloud.emptied();
        world.store.empty()
    })??;
    (host.ssh.reset)()?;
    host.fail(Plan::default(), true);
    host.journal.clear()?;
    Ok(Value::Null)
}

fn read<T: for<'a> Deserialize<'a>>(call: &Call) -> Result<T> {
    serde_json::from_slice(&call.body)
        .map_err(|error| Error::new("the admin call's body is wrong").because(&error))
}
