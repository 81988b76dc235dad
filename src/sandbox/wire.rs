//! One HTTP exchange as data: what came in and what goes back; the services are functions between the two.

use std::path::PathBuf;

use axum::body::{Body, Bytes};
use axum::extract::Query;
use axum::http::{HeaderMap, Method, Response, StatusCode, Uri};
use futures_util::stream;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use super::sent::Sent;

/// The largest request body that is read at all: Dropbox's cap per request, and one byte to notice more.
pub const LARGEST_BODY: usize = 150 * 1024 * 1024 + 1;

/// A request that has been received whole.
pub struct Call {
    /// The HTTP method.
    pub method: Method,
    /// The path as it came, still percent-encoded.
    pub path: String,
    /// The query's names and values, decoded, in order.
    pub query: Vec<(String, String)>,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Sent,
}

impl Call {
    /// Returns the path's parts, decoded.
    pub fn segments(&self) -> Vec<String> {
        self.path.split('/').filter(|part| !part.is_empty()).map(percent_decoded).collect()
    }

    /// Returns a header's value if it is there and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Returns the first value of a query parameter.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Returns the token of an `Authorization: Bearer` header.
    pub fn bearer(&self) -> Option<&str> {
        self.header("authorization")?.strip_prefix("Bearer ")
    }
}

/// What a service answers.
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// Headers beside `Date`.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Payload,
}

/// A body: bytes at hand, or a stretch of a file.
pub enum Payload {
    /// The bytes themselves.
    Bytes(Vec<u8>),
    /// `length` bytes of the file at `path`, starting at `from`.
    File {
        /// The file.
        path: PathBuf,
        /// The first byte.
        from: u64,
        /// The number of bytes.
        length: u64,
    },
}

impl Reply {
    /// Returns an answer without a body.
    pub fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Payload::Bytes(Vec::new()) }
    }

    /// Returns a JSON answer with exactly `application/json` as its type.
    pub fn json(status: u16, value: &Value) -> Self {
        Self::bytes(status, "application/json", value.to_string().into_bytes())
    }

    /// Returns a plain-text answer.
    pub fn text(status: u16, text: impl Into<String>) -> Self {
        Self::bytes(status, "text/plain; charset=utf-8", text.into().into_bytes())
    }

    /// Adds a header.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn bytes(status: u16, kind: &str, body: Vec<u8>) -> Self {
        Self { status, headers: vec![("content-type", kind.to_owned())], body: Payload::Bytes(body) }
    }

    /// Turns the answer into what the HTTP server sends.
    pub fn into_response(self) -> Response<Body> {
        let (body, length) = match self.body {
            Payload::Bytes(bytes) => (Body::from(bytes), None),
            Payload::File { path, from, length } => (file_body(path, from, length), Some(length)),
        };
        let mut builder = Response::builder().status(self.status);
        for (name, value) in self.headers {
            builder = builder.header(name, value);
        }
        if let Some(length) = length {
            builder = builder.header("content-length", length);
        }
        builder.body(body).unwrap_or_else(|_| {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            response
        })
    }
}

/// Reads the file in pieces, so that a large object needs no memory of its size.
fn file_body(path: PathBuf, from: u64, length: u64) -> Body {
    const PIECE: u64 = 256 * 1024;
    Body::from_stream(stream::try_unfold((None, length), move |(file, left)| {
        let path = path.clone();
        async move {
            if left == 0 {
                return Ok::<_, std::io::Error>(None);
            }
            let mut file = match file {
                Some(file) => file,
                None => {
                    let mut file = tokio::fs::File::open(path).await?;
                    file.seek(std::io::SeekFrom::Start(from)).await?;
                    file
                }
            };
            let mut piece = vec![0; left.min(PIECE) as usize];
            file.read_exact(&mut piece).await?;
            let left = left - piece.len() as u64;
            Ok(Some((Bytes::from(piece), (Some(file), left))))
        }
    }))
}

/// Returns the names and values of a query or of a form body.
pub fn form(text: &str) -> Vec<(String, String)> {
    let uri = Uri::builder().path_and_query(format!("/?{text}")).build();
    uri.ok().and_then(|uri| Query::try_from_uri(&uri).ok()).map(|Query(pairs)| pairs).unwrap_or_default()
}

fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digits = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_names_come_out_whole() {
        assert_eq!(percent_decoded("a%2Fb%zz%"), "a/b%zz%");
        assert_eq!(form("tag=a%3Db&tag=c+d"), [("tag".into(), "a=b".into()), ("tag".into(), "c d".into())]);
    }
}
