//! Looking: metadata, lists with cursors, revisions, downloads.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::argument::{Fields, Pattern};
use super::problem::Problem;
use super::tree::{Entry, Node, Revision, Tree, folded, written};
use super::{Outcome, Store};
use crate::sandbox::wire::{Call, Payload, Reply};

/// The most entries of one answer when nobody says less.
const PAGE: usize = 2000;

/// Where a list stands; the cursor is its encoding.
#[derive(Serialize, Deserialize)]
struct Cursor {
    path: String,
    recursive: bool,
    deleted: bool,
    limit: usize,
    epoch: u64,
    /// Changes up to this one have been seen, once the first listing is through.
    seen: u64,
    /// The last path given out by the first listing; `None` once it is through.
    after: Option<String>,
}

impl Cursor {
    fn read(fields: &mut Fields) -> Result<Self, Problem> {
        let text = fields.text("cursor")?;
        let decoded = URL_SAFE_NO_PAD.decode(&text).ok();
        let cursor = decoded.and_then(|text| serde_json::from_slice(&text).ok());
        cursor.ok_or_else(|| fields.bad_field("cursor", "Invalid \"cursor\" parameter"))
    }
}

impl Store {
    /// `files/get_metadata`.
    pub(super) fn get_metadata(&self, mut fields: Fields) -> Outcome {
        let path = fields.path("path", Pattern::Read)?;
        let deleted = fields.flag("include_deleted")?;
        fields.ignore(&[
            "include_media_info",
            "include_has_explicit_shared_members",
            "include_property_groups",
        ]);
        if path == "/" {
            return Err(fields.bad_field("path", "The root folder is unsupported."));
        }
        fields.finish()?;
        if let Some(rev) = path.strip_prefix("rev:") {
            let (entry, revision) = self.tree.revision(rev).ok_or_else(not_found)?;
            let mut value = entry.file_metadata(revision);
            value[".tag"] = json!("file");
            return Ok(value);
        }
        let path = self.resolved(&path).ok_or_else(not_found)?;
        let entry = self.tree.entries.get(&folded(&path)).filter(|entry| deleted || entry.exists());
        Ok(entry.ok_or_else(not_found)?.metadata())
    }

    /// `files/list_folder`.
    pub(super) fn list_folder(&self, mut fields: Fields) -> Outcome {
        let path = fields.path("path", Pattern::Folder)?;
        let recursive = fields.flag("recursive")?;
        let deleted = fields.flag("include_deleted")?;
        let limit = fields.integer("limit", 1..=2000)?.map_or(PAGE, |limit| limit as usize);
        fields.ignore(&[
            "include_media_info",
            "include_has_explicit_shared_members",
            "include_mounted_folders",
            "include_property_groups",
            "include_non_downloadable_files",
            "include_restorable_info",
            "shared_link",
        ]);
        fields.finish()?;
        let path = self.resolved(&path).ok_or_else(not_found)?;
        if !path.is_empty() {
            match &self.tree.get(&path).ok_or_else(not_found)?.node {
                Node::Folder(_) => {}
                _ => return Err(Problem::route(&["path", "not_folder"])),
            }
        }
        let after = Some(String::new());
        let Tree { epoch, changes: seen, .. } = self.tree;
        self.page(Cursor { path, recursive, deleted, limit, epoch, seen, after })
    }

    /// `files/list_folder/continue`.
    pub(super) fn list_more(&self, mut fields: Fields) -> Outcome {
        let cursor = Cursor::read(&mut fields)?;
        fields.finish()?;
        if cursor.epoch != self.tree.epoch {
            return Err(Problem::route(&["reset"]));
        }
        if !cursor.path.is_empty() && self.tree.get(&cursor.path).is_none() {
            return Err(not_found());
        }
        self.page(cursor)
    }

    /// `files/list_folder/longpoll`, without the wait: nobody may hold up the world's clock.
    ///
    /// The contract allows it ("at most" the timeout); `backoff` keeps a caller from asking at once again.
    pub(super) fn news(&self, mut fields: Fields) -> Outcome {
        let cursor = Cursor::read(&mut fields)?;
        let timeout = fields.integer("timeout", 30..=480)?.unwrap_or(30);
        fields.finish()?;
        if cursor.epoch != self.tree.epoch {
            return Err(Problem::route(&["reset"]));
        }
        let unseen =
            cursor.after.is_some() || self.below_or_at(&cursor).any(|(_, entry)| entry.changed > cursor.seen);
        Ok(if unseen { json!({"changes": true}) } else { json!({"changes": false, "backoff": timeout}) })
    }

    fn page(&self, mut cursor: Cursor) -> Outcome {
        let mut found: Vec<(&String, &Entry)> = self.below_or_at(&cursor).collect();
        match &cursor.after {
            Some(after) => {
                found.retain(|(key, entry)| *key > after && (cursor.deleted || entry.exists()));
                found.sort_by_key(|(key, _)| *key);
            }
            None => {
                found.retain(|(_, entry)| entry.changed > cursor.seen);
                found.sort_by_key(|(_, entry)| entry.changed);
            }
        }
        let more = found.len() > cursor.limit;
        found.truncate(cursor.limit);
        match (&cursor.after, found.last()) {
            (Some(_), Some((key, _))) if more => cursor.after = Some((*key).clone()),
            (Some(_), _) => cursor.after = None,
            (None, Some((_, entry))) => cursor.seen = entry.changed,
            (None, None) => {}
        }
        let text = serde_json::to_vec(&cursor).map_err(|_| Problem::Broken)?;
        let entries: Vec<Value> = found.iter().map(|(_, entry)| entry.metadata()).collect();
        Ok(json!({"entries": entries, "cursor": URL_SAFE_NO_PAD.encode(text), "has_more": more}))
    }

    /// Returns everything a list may tell of, deleted or not.
    fn below_or_at(&self, cursor: &Cursor) -> impl Iterator<Item = (&String, &Entry)> {
        // The folder itself is part of its recursive list, but not the root.
        let own = self.tree.entries.get_key_value(&folded(&cursor.path));
        let own = own.filter(|_| cursor.recursive && !cursor.path.is_empty());
        self.tree.below(&cursor.path, cursor.recursive).chain(own)
    }

    /// `files/list_revisions`.
    pub(super) fn list_revisions(&self, mut fields: Fields) -> Outcome {
        let path = fields.path("path", Pattern::PathOrId)?;
        let by_id = fields.union("mode")?.is_some_and(|(tag, _)| tag == "id");
        let limit = fields.integer("limit", 1..=100)?.map_or(10, |limit| limit as usize);
        let before = fields.rev("before_rev")?;
        fields.ignore(&["include_restorable_info"]);
        fields.finish()?;
        if by_id && before.is_some() {
            return Err(Problem::route(&["before_rev_not_supported"]));
        }
        let path = self.resolved(&path).ok_or_else(not_found)?;
        let entry = self.tree.entries.get(&folded(&path)).ok_or_else(not_found)?;
        if matches!(entry.node, Node::Folder(_)) || entry.revisions.is_empty() {
            return Err(Problem::route(&["path", "not_file"]));
        }
        let own = entry.revisions.last().map(|file| file.id.as_str());
        let mut revisions: Vec<&Revision> = entry.revisions.iter().rev().collect();
        revisions.retain(|revision| !by_id || Some(revision.id.as_str()) == own);
        if let Some(before) = before {
            let at = revisions.iter().position(|revision| revision.rev == before);
            revisions.drain(..=at.ok_or_else(|| Problem::route(&["invalid_before_rev"]))?);
        }
        let more = revisions.len() > limit;
        revisions.truncate(limit);
        let entries: Vec<Value> = revisions.iter().map(|revision| entry.file_metadata(revision)).collect();
        let mut value = json!({"is_deleted": !entry.exists(), "entries": entries, "has_more": more});
        if let Node::Deleted(at) = entry.node {
            value["server_deleted"] = json!(written(at));
        }
        Ok(value)
    }

    /// `files/download`: the bytes, with the metadata in a header.
    pub(super) fn download(&self, call: &Call, mut fields: Fields) -> Result<Reply, Problem> {
        let path = fields.path("path", Pattern::Read)?;
        let rev = fields.rev("rev")?;
        fields.finish()?;
        let path = rev.map_or(path, |rev| format!("rev:{rev}"));
        let (entry, file) = self.file_at(&path)?;
        let etag = format!("W/\"{}\"", file.rev);
        if call.header("if-none-match").is_some_and(|known| names(known, &etag)) {
            return Ok(Reply::empty(304).with("etag", etag));
        }
        let result = header_safe(&entry.file_metadata(file));
        let reply = self.bytes_of(file, call.header("range"));
        let reply = reply.ok_or_else(|| Problem::route(&["range", "not_satisfiable"]))?;
        let reply = reply.with("dropbox-api-result", result).with("etag", etag);
        Ok(reply.with("original-content-length", file.size.to_string()))
    }

    /// Returns the file that a read path names, with its revision.
    pub(super) fn file_at(&self, path: &str) -> Result<(&Entry, &Revision), Problem> {
        if let Some(rev) = path.strip_prefix("rev:") {
            return self.tree.revision(rev).ok_or_else(not_found);
        }
        let path = self.resolved(path).ok_or_else(not_found)?;
        let entry = self.tree.get(&path).ok_or_else(not_found)?;
        Ok((entry, entry.file().ok_or_else(|| Problem::route(&["path", "not_file"]))?))
    }

    /// Returns a file's bytes or the part a `Range` header asks for; `None` if there is no such part.
    pub(super) fn bytes_of(&self, file: &Revision, range: Option<&str>) -> Option<Reply> {
        let part = match range.and_then(|range| part(range, file.size)) {
            None => None,
            Some(None) => return None,
            Some(there) => there,
        };
        let (from, length) = part.unwrap_or((0, file.size));
        let body = Payload::File { path: self.objects.path(file.hash), from, length };
        let status = if part.is_some() { 206 } else { 200 };
        let reply = Reply { status, headers: Vec::new(), body };
        let reply = reply.with("content-type", "application/octet-stream").with("accept-ranges", "bytes");
        if part.is_none() {
            return Some(reply);
        }
        Some(reply.with("content-range", format!("bytes {from}-{}/{}", from + length - 1, file.size)))
    }
}

/// Reads `bytes=a-b`, `bytes=a-` or `bytes=-n`; returns the first byte and the length.
///
/// `None` is a header that says something else and is ignored, `Some(None)` a part that isn't there.
fn part(range: &str, size: u64) -> Option<Option<(u64, u64)>> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let (from, to) = match (first, last) {
        ("", count) => (size.saturating_sub(count.parse().ok()?), size),
        (first, "") => (first.parse().ok()?, size),
        (first, last) => {
            let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
            if last < first {
                return None;
            }
            (first, last.saturating_add(1).min(size))
        }
    };
    Some((from < to).then(|| (from, to - from)))
}

/// Returns whether an `If-None-Match` header names this tag; weak tags are compared as if they were strong.
fn names(known: &str, etag: &str) -> bool {
    let plain = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    known.split(',').any(|one| one.trim() == "*" || plain(one) == plain(etag))
}

/// Writes JSON so that a header can carry it: DEL and everything beyond ASCII as `\uXXXX`.
pub fn header_safe(value: &Value) -> String {
    let mut safe = String::new();
    for letter in value.to_string().chars() {
        if (' '..='~').contains(&letter) {
            safe.push(letter);
        } else {
            for unit in letter.encode_utf16(&mut [0; 2]) {
                safe.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    safe
}

/// The usual error: nothing there.
pub fn not_found() -> Problem {
    Problem::route(&["path", "not_found"])
}
