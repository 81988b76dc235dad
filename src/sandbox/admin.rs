//! The client of the sandbox's own routes.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Ready;
use super::journal::Request;
use super::server::SshFaults;
use crate::error::{Error, Result};

/// Looks inside a running sandbox and changes it behind the services' backs.
pub struct Admin {
    http: reqwest::Client,
    base: String,
    key: String,
}

impl Admin {
    /// Returns the client of a running world.
    pub fn of(ready: &Ready) -> Result<Self> {
        // A process picks one provider; that another part of it has picked already is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(60));
        // Reading the system's certificates would cost more than all that is asked here without TLS.
        let builder = builder.redirect(reqwest::redirect::Policy::none()).tls_certs_only([]);
        let http =
            builder.build().map_err(|error| Error::new("cannot make an HTTP client").because(&error))?;
        Ok(Self { http, base: ready.admin.clone(), key: ready.admin_key.clone() })
    }

    /// Returns whether the world answers; only the world whose key we hold does.
    pub async fn ping(&self) -> bool {
        self.get::<Value>("ping").await.is_ok()
    }

    /// Returns what bills (`billing`), what ended (`ended`), `spent`, `balance`, `currency` and `now`.
    pub async fn bill(&self) -> Result<Value> {
        self.get("bill").await
    }

    /// Returns every request that was received, oldest first.
    pub async fn requests(&self) -> Result<Vec<Request>> {
        self.get("requests").await
    }

    /// Ends the world's process; what it keeps stays.
    pub async fn stop(&self) -> Result<()> {
        self.post("stop", &Value::Null).await.map(drop)
    }

    /// Empties the world; its secrets and its clock stay.
    pub async fn reset(&self) -> Result<()> {
        self.post("reset", &Value::Null).await.map(drop)
    }

    /// Moves the world's clock forward and returns the new time.
    pub async fn jump(&self, seconds: f64) -> Result<Timestamp> {
        let reply = self.post("jump", &json!({"seconds": seconds})).await?;
        serde_json::from_value(reply["now"].clone())
            .map_err(|error| Error::new("the sandbox's time cannot be read").because(&error))
    }

    /// Puts a git repository where `url` says; the source is whatever the git host takes.
    pub async fn seed(&self, url: &str, source: &Value) -> Result<()> {
        self.post("seed", &json!({"url": url, "source": source})).await.map(drop)
    }

    /// Puts a file into the Dropbox as if it had been uploaded at `modified`, over what is there.
    pub async fn seed_store(&self, path: &str, bytes: &[u8], modified: Timestamp) -> Result<()> {
        self.put_into_store(path, bytes, modified, false).await
    }

    /// The same, unless there ever was something: what was deleted or replaced stays so.
    pub async fn seed_store_once(&self, path: &str, bytes: &[u8], modified: Timestamp) -> Result<()> {
        self.put_into_store(path, bytes, modified, true).await
    }

    async fn put_into_store(&self, path: &str, bytes: &[u8], modified: Timestamp, once: bool) -> Result<()> {
        let bytes = STANDARD.encode(bytes);
        let body = json!({"path": path, "bytes": bytes, "modified": modified, "once": once});
        self.post("seed_store", &body).await.map(drop)
    }

    /// Changes the world: `{"cloud": {"balance", "stock", "claims", "list_lag", "endings", "timing", "status",
    /// "revoke_tokens"}, "dropbox": {"allocated", "move_lag"}}`, each part optional.
    pub async fn set(&self, changes: &Value) -> Result<()> {
        self.post("set", changes).await.map(drop)
    }

    /// Makes connections to instances go wrong as `faults` says, or go well again with the default.
    pub async fn ssh_faults(&self, faults: &SshFaults) -> Result<()> {
        self.post("faults", &json!({"ssh": faults})).await.map(drop)
    }

    /// Adds to the fault plan: `{"rules": [...], "ssh": {...}}`, as the module `faults` says. Returns what is in force.
    pub async fn faults(&self, plan: &Value) -> Result<Value> {
        self.post("faults", plan).await
    }

    /// Returns the rules in force and how often each has struck:
    /// `{"rules": [{"name", "matched", "struck", "rule"}], "under_way"}`, the last being how many calls are
    /// still to land.
    pub async fn strikes(&self) -> Result<Value> {
        self.get("faults").await
    }

    /// Takes every rule out of force; calls that are to land late still do.
    pub async fn clear_faults(&self) -> Result<()> {
        let request = self.http.delete(format!("{}/faults", self.base));
        self.send::<Value>("faults", request).await.map(drop)
    }

    async fn get<T: DeserializeOwned>(&self, route: &str) -> Result<T> {
        self.send(route, self.http.get(format!("{}/{route}", self.base))).await
    }

    async fn post(&self, route: &str, body: &Value) -> Result<Value> {
        self.send(route, self.http.post(format!("{}/{route}", self.base)).json(body)).await
    }

    async fn send<T: DeserializeOwned>(&self, route: &str, request: reqwest::RequestBuilder) -> Result<T> {
        let failed = |error: &reqwest::Error| {
            Error::new(format!("the sandbox doesn't answer `{route}`")).because(error)
        };
        let reply = request.bearer_auth(&self.key).send().await.map_err(|error| failed(&error))?;
        let status = reply.status();
        if status.is_success() {
            return reply.json().await.map_err(|error| failed(&error));
        }
        let text = reply.text().await.map_err(|error| failed(&error))?;
        Err(Error::new(format!("the sandbox refused `{route}`")).why(format!("{status}: {text}")))
    }
}
