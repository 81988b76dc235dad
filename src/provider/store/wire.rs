//! Dropbox's shapes: tagged unions that may gain tags, arguments in headers, refusals by tag.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use reqwest::header::HeaderValue;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::RecordRead;
use crate::digest::ContentHash;
use crate::facts::{self, folded};
use crate::provider::http::{self, Answer, Said, Trouble};

/// The header that carries a content call's argument.
pub(super) const ARGUMENT: &str = "dropbox-api-arg";
/// The header that carries a download's result.
const RESULT: &str = "dropbox-api-result";

/// What the store says of one file.
#[derive(Debug, Deserialize)]
pub(super) struct FileMetadata {
    #[serde(default)]
    path_display: Option<String>,
    #[serde(default)]
    path_lower: Option<String>,
    pub(super) rev: String,
    size: u64,
    /// Missing for what has no bytes of its own (documents that live in the web only).
    #[serde(default)]
    pub(super) content_hash: Option<ContentHash>,
    pub(super) server_modified: Timestamp,
}

impl FileMetadata {
    /// Returns it with its path below `root`; none without a hash or with a path that leads nowhere.
    ///
    /// The spelling of folders in `path_display` isn't reliable, so `root` is taken off by counting.
    pub(super) fn into_stored(self, root: &str) -> Option<facts::StoredFile> {
        let path = self.path_display.or(self.path_lower)?;
        let depth = root.split('/').count();
        let path = path.split('/').skip(depth).collect::<Vec<_>>().join("/");
        let odd = |part: &str| part.is_empty() || part == "." || part == "..";
        if path.split('/').any(odd) {
            return None;
        }
        Some(facts::StoredFile {
            path,
            rev: self.rev,
            size: self.size,
            content: self.content_hash?,
            modified: self.server_modified,
        })
    }
}

/// One page of a listing.
#[derive(Deserialize)]
pub(super) struct Page {
    pub(super) entries: Vec<Entry>,
    pub(super) cursor: String,
    pub(super) has_more: bool,
}

/// A file, a folder, a deletion, or something newer.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Entry(Value);

impl Entry {
    fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.as_str()
    }

    /// Adds it to, or takes it out of, what earlier entries gave.
    pub(super) fn take_part_in(self, files: &mut BTreeMap<String, FileMetadata>) -> Result<(), Trouble> {
        let path = self.text("path_lower").map(str::to_owned);
        let key = path.or_else(|| self.text("path_display").map(folded)).unwrap_or_default();
        match self.text(".tag") {
            Some("file") => {
                let metadata: FileMetadata = self.decoded()?;
                if metadata.content_hash.is_some() {
                    files.insert(key, metadata);
                }
            }
            // Deleting a folder deletes what is below it; a file replaced by a folder is gone, too.
            Some("deleted") => {
                let below = format!("{key}/");
                files.retain(|path, _| *path != key && !path.starts_with(&below));
            }
            _ => drop(files.remove(&key)),
        }
        Ok(())
    }

    fn decoded(self) -> Result<FileMetadata, Trouble> {
        FileMetadata::deserialize(&self.0)
            .map_err(|error| Trouble::Undecodable(format!("expected `FileMetadata`: {error}")))
    }
}

/// What there is, or was, at a path.
#[derive(Debug)]
pub(super) enum Trace {
    /// Nothing, ever.
    Never,
    /// Something once.
    Deleted,
    /// A file.
    There(Box<FileMetadata>),
}

/// Reads the answer to `get_metadata`.
pub(super) fn trace(answer: &Answer) -> Result<Trace, Trouble> {
    let entry: Entry = answer.json(false)?;
    match entry.text(".tag") {
        Some("file") => Ok(Trace::There(Box::new(entry.decoded()?))),
        Some("deleted") => Ok(Trace::Deleted),
        Some("folder") => Err(Trouble::Undecodable("there is a folder of this name".into())),
        tag => Err(Trouble::Undecodable(format!("it is neither file nor folder but {tag:?}"))),
    }
}

/// A small file that came whole.
pub(super) struct Download {
    pub(super) bytes: Bytes,
    metadata: FileMetadata,
    now: Timestamp,
}

impl Download {
    /// Reads bytes and metadata; bytes that aren't what the metadata says are asked for again.
    pub(super) fn read(answer: Answer) -> Result<Self, Trouble> {
        let missing = || Trouble::Undecodable("the answer has no `Dropbox-API-Result` header".into());
        let header = answer.headers.get(RESULT).ok_or_else(missing)?;
        let metadata: FileMetadata = http::decode(header.as_bytes(), false)?;
        if metadata.content_hash != Some(ContentHash::of(&answer.body)) {
            let what = "the bytes that came are not those that the store holds".into();
            return Err(Trouble::Unknown { what, after: None });
        }
        Ok(Self { now: answer.date()?, bytes: answer.body, metadata })
    }

    pub(super) fn into_record(self) -> RecordRead {
        RecordRead::Found {
            bytes: self.bytes.into(),
            rev: self.metadata.rev,
            modified: self.metadata.server_modified,
            now: self.now,
        }
    }
}

/// `get_temporary_link`.
#[derive(Deserialize)]
pub(super) struct DownloadLink {
    pub(super) metadata: FileMetadata,
    pub(super) link: String,
}

/// `get_temporary_upload_link`.
#[derive(Deserialize)]
pub(super) struct UploadLink {
    pub(super) link: String,
}

/// `get_current_account`.
#[derive(Deserialize)]
pub(super) struct Account {
    pub(super) account_id: String,
    #[serde(default)]
    pub(super) name: Option<Name>,
}

/// What a person is called.
#[derive(Deserialize)]
pub(super) struct Name {
    pub(super) display_name: String,
}

/// `get_space_usage`.
#[derive(Deserialize)]
pub(super) struct SpaceUsage {
    used: u64,
    allocation: Allocation,
}

#[derive(Deserialize)]
#[serde(tag = ".tag", rename_all = "snake_case")]
enum Allocation {
    Individual {
        allocated: u64,
    },
    Team {
        used: u64,
        allocated: u64,
        /// The user's own share; 0 is no limit.
        #[serde(default)]
        user_within_team_space_allocated: u64,
    },
    #[serde(other)]
    Other,
}

impl SpaceUsage {
    /// Returns the bytes left; none for a kind of account that we don't know.
    pub(super) fn free(&self) -> Option<u64> {
        match self.allocation {
            Allocation::Individual { allocated } => Some(allocated.saturating_sub(self.used)),
            Allocation::Team { used, allocated, user_within_team_space_allocated: share } => {
                let team = allocated.saturating_sub(used);
                Some(if share == 0 { team } else { team.min(share.saturating_sub(self.used)) })
            }
            Allocation::Other => None,
        }
    }
}

/// Sorts a refusal by its tags; `error_summary` is for people and changes at random.
pub(super) fn sort(mut said: Said) -> Trouble {
    let error = said.json.as_ref().and_then(|json| json.get("error"));
    if let Some(error) = error.filter(|error| error.is_object()) {
        let tags = tags(error);
        let scope = error.get("required_scope").and_then(Value::as_str).map(http::readable);
        let seconds = error.get("retry_after").and_then(Value::as_f64);
        said.after = seconds.and_then(|wait| Duration::try_from_secs_f64(wait).ok()).or(said.after);
        said.message = scope.map(|scope| format!("the scope `{scope}` is missing")).unwrap_or_else(|| {
            let message = said.json.as_ref().and_then(|json| json.pointer("/user_message/text")?.as_str());
            message.map(http::readable).unwrap_or_default()
        });
        said.code = (!tags.is_empty()).then(|| tags.join("/"));
    }
    match said.status {
        400 if said.message.contains("required scope")
            || said.message.contains("access token is malformed") =>
        {
            Trouble::Credentials(said)
        }
        401 if is(&said, "expired_access_token") => Trouble::Expired(said),
        401 => Trouble::Credentials(said),
        404 => Trouble::Refused(said),
        409 if has(&said, "too_many_write_operations") || has(&said, "content_hash_mismatch") => {
            Trouble::Busy(said)
        }
        _ => Trouble::by_status(said),
    }
}

/// What to do about a refusal.
pub(super) fn advice(said: &Said) -> Option<&'static str> {
    if has(said, "insufficient_space") || has(said, "insufficient_quota") {
        return Some(
            "the Dropbox is full: make room in it, then run the command again; nothing was overwritten",
        );
    }
    if has(said, "no_write_permission") || has(said, "access_restricted") {
        return Some(
            "the Dropbox lets nobody write there: name another folder as `store`, or have it changed",
        );
    }
    None
}

/// Returns whether the refusal's tags begin with `code` (`path/conflict`).
pub(super) fn is(said: &Said, code: &str) -> bool {
    let rest = said.code.as_deref().and_then(|tags| tags.strip_prefix(code));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn has(said: &Said, tag: &str) -> bool {
    said.code.as_deref().is_some_and(|tags| tags.split('/').any(|other| other == tag))
}

/// The tags of nested unions from the outside in: a member hangs under its tag's name or `reason`.
fn tags(error: &Value) -> Vec<String> {
    let mut tags = Vec::new();
    let mut next = Some(error);
    // A hostile body may nest for ever; no real one is deeper than four.
    while let Some(union) = next.take_if(|_| tags.len() < 8) {
        let tag = match union {
            Value::String(tag) => Some(tag.as_str()),
            union => union.get(".tag").and_then(Value::as_str),
        };
        tags.extend(tag.map(http::readable));
        next = tag.and_then(|tag| union.get(tag)).or_else(|| union.get("reason"));
        next = next.filter(|member| member.is_object() || member.is_string());
    }
    tags
}

/// JSON that fits into a header: everything beyond printable ASCII as UTF-16 escapes.
pub(super) fn header_json(argument: &impl Serialize) -> HeaderValue {
    let json = serde_json::to_string(argument).expect("our own arguments are plain JSON");
    let mut safe = String::with_capacity(json.len());
    for c in json.chars() {
        if matches!(c, ' '..='~') {
            safe.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                safe += &format!("\\u{unit:04x}");
            }
        }
    }
    HeaderValue::try_from(safe).expect("only printable ASCII is left")
}
