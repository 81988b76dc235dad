//! A world for one test: in this process, in a folder of its own, with a clock that only jumps.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::HeaderMap;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::{Admin, Options, Ready, serve};

/// A running world and a client for it.
pub struct TestWorld {
    pub ready: Ready,
    pub admin: Admin,
    pub dir: tempfile::TempDir,
    http: Client,
    token: String,
    serving: JoinHandle<()>,
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Got {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Got {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {} {}", self.status, self.text))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl TestWorld {
    pub async fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap()).await
    }

    pub async fn start_in(dir: tempfile::TempDir) -> Self {
        let start: Timestamp = "2026-11-23T10:00:00Z".parse().unwrap();
        let idle = Duration::from_secs(600);
        let options = Options { clock_speed: 0.0, start: Some(start), idle, ..Options::default() };
        let (tell, told) = oneshot::channel();
        let path = dir.path().to_owned();
        let serving = tokio::spawn(async move {
            serve(&path, options, |ready| drop(tell.send(ready.clone()))).await.unwrap();
        });
        let ready = told.await.unwrap();
        let admin = Admin::of(&ready).unwrap();
        let http = Client::builder().no_proxy().build().unwrap();
        let mut world = Self { ready, admin, dir, http, token: String::new(), serving };
        world.log_in().await;
        world
    }

    /// Ends the process half and hands the folder back.
    pub async fn end(self) -> tempfile::TempDir {
        self.admin.stop().await.unwrap();
        self.serving.await.unwrap();
        self.dir
    }

    /// Gets a new token from the cloud.
    pub async fn log_in(&mut self) {
        let body = json!({"grant_type": "client_credentials", "client_id": self.ready.client_id,
                          "client_secret": self.ready.client_secret});
        let got = self.cloud("POST", "/oauth2/token", body).await;
        self.token = got.json()["access_token"].as_str().unwrap().to_owned();
    }

    /// Asks the cloud with the current token; a null body is no body.
    pub async fn cloud(&self, method: &str, path: &str, body: Value) -> Got {
        let method: Method = method.parse().unwrap();
        let mut request =
            self.http.request(method, format!("{}{path}", self.ready.cloud)).bearer_auth(&self.token);
        if !body.is_null() {
            request = request.json(&body);
        }
        read(request).await
    }

    /// Calls a Dropbox route of the rpc style.
    pub async fn dropbox(&self, route: &str, body: Value) -> Got {
        self.dropbox_as(&self.ready.dropbox_token, route, body).await
    }

    pub async fn dropbox_as(&self, token: &str, route: &str, body: Value) -> Got {
        let request = self.http.post(format!("{}/2/{route}", self.ready.dropbox_api));
        read(request.bearer_auth(token).json(&body)).await
    }

    /// Uploads bytes; the argument goes as it is into the header.
    pub async fn upload(&self, argument: Value, bytes: &[u8]) -> Got {
        self.content(
            "files/upload",
            &argument.to_string(),
            &[("content-type", "application/octet-stream")],
            bytes,
        )
        .await
    }

    pub async fn download(&self, argument: Value, headers: &[(&str, &str)]) -> Got {
        self.content("files/download", &argument.to_string(), headers, &[]).await
    }

    async fn content(&self, route: &str, argument: &str, headers: &[(&str, &str)], bytes: &[u8]) -> Got {
        let url = format!("{}/2/{route}", self.ready.dropbox_content);
        let request =
            self.http.post(url).bearer_auth(&self.ready.dropbox_token).header("dropbox-api-arg", argument);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        read(request.body(bytes.to_vec())).await
    }

    /// Refreshes the Dropbox token; returns the answer.
    pub async fn refresh(&self, scope: Option<&str>) -> Got {
        let mut fields = vec![
            ("grant_type", "refresh_token"),
            ("refresh_token", &self.ready.dropbox_refresh_token),
            ("client_id", &self.ready.dropbox_app_key),
        ];
        fields.extend(scope.map(|scope| ("scope", scope)));
        read(self.http.post(format!("{}/oauth2/token", self.ready.dropbox_api)).form(&fields)).await
    }

    /// Sends a request to any URL without a token.
    pub async fn plain(&self, method: &str, url: &str, headers: &[(&str, &str)], bytes: &[u8]) -> Got {
        let request = self.http.request(method.parse().unwrap(), url).body(bytes.to_vec());
        read(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await
    }
}

async fn read(request: reqwest::RequestBuilder) -> Got {
    let reply = request.send().await.unwrap();
    let (status, headers) = (reply.status().as_u16(), reply.headers().clone());
    Got { status, headers, text: reply.text().await.unwrap() }
}
