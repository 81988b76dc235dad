//! Every request that reached the sandbox, kept for whoever wants to look.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The most of a request's body that is kept, in bytes.
const KEPT_BODY: usize = 64 * 1024;

/// One received request of any service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// `cloud`, `dropbox_api`, `dropbox_content`, `ssh` or `git`.
    pub service: String,
    /// The HTTP method, or what an SSH client asked for.
    pub method: String,
    /// The path, or the command line.
    pub path: String,
    /// The raw query.
    #[serde(default)]
    pub query: String,
    /// The answer's status; 0 when nothing was answered.
    pub status: u16,
    /// The sandbox's time when the answer was ready.
    pub at: Timestamp,
    /// Header names and values; of `Authorization` only the scheme.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The body as text, up to 64 KiB.
    #[serde(default)]
    pub body: String,
    /// The fault that struck it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub struck: Option<String>,
}

impl Request {
    /// Returns as much of a body as is kept.
    pub fn kept(body: &[u8]) -> String {
        String::from_utf8_lossy(&body[..body.len().min(KEPT_BODY)]).into_owned()
    }
}

/// The list of requests, in memory and in a file; clones share it.
#[derive(Clone)]
pub struct Journal {
    path: PathBuf,
    pages: Arc<Mutex<Pages>>,
}

struct Pages {
    requests: Vec<Request>,
    file: File,
}

impl Journal {
    /// Opens the journal at `path` with what earlier processes wrote into it.
    pub fn open(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let requests = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let pages = Pages { requests, file: appending(path)? };
        Ok(Self { path: path.to_owned(), pages: Arc::new(Mutex::new(pages)) })
    }

    /// Adds a request.
    pub fn note(&self, request: Request) {
        let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(mut line) = serde_json::to_vec(&request) {
            line.push(b'\n');
            // The list in memory is what is asked for; a full disk must not fail the request itself.
            let _ = pages.file.write_all(&line);
        }
        pages.requests.push(request);
    }

    /// Returns everything received, oldest first.
    pub fn requests(&self) -> Vec<Request> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner).requests.clone()
    }

    /// Forgets everything.
    pub fn clear(&self) -> Result<()> {
        let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        pages.requests.clear();
        pages.file.set_len(0).map_err(|error| cannot_keep(&self.path).because(&error))
    }
}

fn appending(path: &Path) -> Result<File> {
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
    file.map_err(|error| cannot_keep(path).because(&error))
}

fn cannot_keep(path: &Path) -> Error {
    Error::new(format!("cannot keep the sandbox's journal in `{}`", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reopened_journal_still_knows_what_came_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("requests.jsonl");
        let request = Request {
            service: "ssh".into(),
            method: "exec".into(),
            path: "true".into(),
            query: String::new(),
            status: 0,
            at: Timestamp::UNIX_EPOCH,
            headers: BTreeMap::new(),
            body: Request::kept(&vec![b'x'; KEPT_BODY + 1]),
            struck: None,
        };
        Journal::open(&path).unwrap().note(request.clone());
        let again = Journal::open(&path).unwrap();
        assert_eq!(again.requests(), [request]);
        assert_eq!(again.requests()[0].body.len(), KEPT_BODY);
        again.clear().unwrap();
        assert_eq!(Journal::open(&path).unwrap().requests(), []);
    }
}
