//! Upload sessions: how files become whole in the store that are too large for one call.
//!
//! The session is begun and finished here; its bytes come from wherever the file lies. Beginning writes
//! nothing that anybody sees, and a session that nobody finishes ends after seven days.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use reqwest::header::HeaderName;
use serde::Deserialize;
use serde_json::json;

use super::{StoreClient, facts, wire};
use crate::credentials::ShortLived;
use crate::digest::ContentHash;
use crate::error::{Error, ExitCode, Result};
use crate::plan::Action;
use crate::provider::http::{Call, Trouble};

/// How long finishing is tried: the service has been seen to answer 503 for a while after large uploads.
const PATIENCE: Duration = Duration::from_secs(30 * 60);

/// What finishing a session came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finished {
    /// The store has the file, with the content that was sent.
    Done(facts::StoredFile),
    /// Another file has the name; the session is as it was.
    Taken,
    /// The session can't become the file: it is gone, or bytes are missing.
    Gone,
}

#[derive(Deserialize)]
struct Started {
    session_id: String,
}

impl StoreClient {
    /// Returns the address that the server sends content to.
    pub fn content_url(&self) -> &str {
        self.content.as_str()
    }

    /// Makes a token that may write files and nothing else, for a server to hold while it sends.
    pub async fn write_token(&self) -> Result<ShortLived> {
        let what = "cannot make a token for the upload";
        let narrow = self.narrow.as_ref().map_err(|_| {
            Error::of(ExitCode::Usage, what)
                .why("large files are sent with a short-lived token, made from a refresh token of an app-folder app")
                .hint("the README's part on credentials says how to make one")
        })?;
        self.service.mint(narrow).await.map_err(|trouble| self.error(what, trouble))
    }

    /// Begins a session whose bytes may come in any order; returns its id and the store's time.
    pub async fn start_session(&self, _: &Action) -> Result<(String, Timestamp)> {
        let argument = json!({"session_type": {".tag": "concurrent"}, "content_hash": ContentHash::of(b"")});
        let call = self.content_call(&["upload_session", "start"], &argument);
        let read = async {
            let (started, answer): (Started, _) = self.service.json(&call).await?;
            Ok((started.session_id, answer.date()?))
        };
        read.await.map_err(|trouble| self.error("cannot begin an upload", trouble))
    }

    /// Makes a new file of a session that holds all of it, and reads it back.
    ///
    /// Patient: after an unclear answer it looks whether the file is there before it asks again, and waits
    /// where the store is busy; `waiting` hears why and for how long.
    pub async fn finish_session(
        &self,
        _: &Action,
        path: &str,
        session: &str,
        size: u64,
        content: ContentHash,
        waiting: &mut (dyn FnMut(String, Duration) + Send),
    ) -> Result<Finished> {
        let what = || format!("cannot finish the upload of `{path}`");
        let argument = json!({
            "cursor": {"session_id": session, "offset": size},
            "commit": {"path": self.full(path)?, "mode": {".tag": "add"}, "autorename": false, "mute": true},
            "content_hash": ContentHash::of(b""),
        });
        let call = self.content_call(&["upload_session", "finish"], &argument);
        let since = Instant::now();
        for tried in 1.. {
            let outcome = self.service.once(&call).await;
            let trouble = match outcome.and_then(|answer| answer.json::<wire::FileMetadata>(false)) {
                Ok(metadata) if metadata.content_hash == Some(content) => {
                    return Ok(Finished::Done(self.stored(metadata)?));
                }
                Ok(_) => {
                    return Err(Error::new(what()).why("the store made other bytes of it than were sent"));
                }
                Err(trouble) => trouble,
            };
            let unfit = matches!(&trouble, Trouble::Conflict(said) if says_unfit(said));
            let taken = matches!(&trouble, Trouble::Conflict(said) if wire::is(said, "path/conflict"));
            // An answer to an earlier try may have been lost: what is there decides.
            if unfit || taken || !trouble.is_without_effect() {
                match self.metadata(path).await? {
                    Some(file) if file.content == content => return Ok(Finished::Done(file)),
                    _ if taken => return Ok(Finished::Taken),
                    _ if unfit => return Ok(Finished::Gone),
                    _ => {}
                }
            }
            self.service
                .wait_out(tried, since, PATIENCE, trouble, waiting)
                .await
                .map_err(|trouble| self.error(what(), trouble))?;
        }
        unreachable!("there are more numbers than tries")
    }

    fn content_call(&self, route: &[&str], argument: &serde_json::Value) -> Call {
        let route: Vec<&str> = std::iter::once("files").chain(route.iter().copied()).collect();
        Call::with_bytes(self.content_route(&route), bytes::Bytes::new())
            .header(HeaderName::from_static(wire::ARGUMENT), wire::header_json(argument))
    }
}

/// Tells whether the session itself can't become the file, whatever the name.
fn says_unfit(said: &crate::provider::http::Said) -> bool {
    let codes = [
        "lookup_failed/not_found",
        "lookup_failed/closed",
        "lookup_failed/incorrect_offset",
        "concurrent_session_missing_data",
        "concurrent_session_not_closed",
    ];
    codes.iter().any(|code| wire::is(said, code))
}
