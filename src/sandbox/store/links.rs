//! Temporary links: one file to read for four hours, or one upload for one use; neither needs a token.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::argument::{Fields, Pattern};
use super::tree::Revision;
use super::writing::{Commit, LARGEST, Stranded};
use super::{Outcome, Store};
use crate::digest::ContentHash;
use crate::sandbox::random;
use crate::sandbox::wire::{Call, Reply};

/// The longest life of a link, in seconds.
const LIFE: f64 = 14_400.0;

/// The links given out.
#[derive(Default, Serialize, Deserialize)]
pub struct Links {
    down: BTreeMap<String, Down>,
    up: BTreeMap<String, Up>,
}

#[derive(Serialize, Deserialize)]
struct Down {
    file: Revision,
    until: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct Up {
    commit: Commit,
    until: Timestamp,
    used: bool,
}

impl Links {
    /// Returns the contents that links lead to.
    pub fn hashes(&self) -> impl Iterator<Item = ContentHash> {
        self.down.values().map(|link| link.file.hash)
    }
}

impl Store {
    /// `files/get_temporary_link`.
    pub(super) fn link_down(&mut self, mut fields: Fields, now: Timestamp) -> Outcome {
        let path = fields.path("path", Pattern::Read)?;
        fields.finish()?;
        let (entry, file) = self.file_at(&path)?;
        let (metadata, file) = (entry.file_metadata(file), file.clone());
        let name = random::word(80);
        self.links.down.insert(name.clone(), Down { file, until: after(now, LIFE) });
        Ok(json!({"metadata": metadata, "link": format!("{}/cd/0/get/{name}/file", self.content_base)}))
    }

    /// `files/get_temporary_upload_link`: whatever is wrong with the commit shows only on use.
    pub(super) fn link_up(&mut self, mut fields: Fields, now: Timestamp) -> Outcome {
        let mut info = fields.object("commit_info")?;
        let commit = Commit::read(&mut info)?;
        info.finish()?;
        let duration = fields.number("duration", (60.0, LIFE))?.unwrap_or(LIFE);
        fields.finish()?;
        let name = random::word(60);
        self.links.up.insert(name.clone(), Up { commit, until: after(now, duration), used: false });
        Ok(json!({"link": format!("{}/apitul/1/{name}", self.content_base)}))
    }

    /// Answers `GET` on a temporary link.
    pub(super) fn follow_down(&self, call: &Call, name: &str, now: Timestamp) -> Reply {
        match self.links.down.get(name) {
            None => Reply::text(404, "Not found"),
            Some(link) if link.until <= now => Reply::text(410, "Gone"),
            Some(link) => {
                let range = call.header("range");
                self.bytes_of(&link.file, range).unwrap_or_else(|| {
                    Reply::text(416, "").with("content-range", format!("bytes */{}", link.file.size))
                })
            }
        }
    }

    /// Returns the file that a temporary link of this world leads to at this moment.
    pub(super) fn link_target(&self, url: &str, now: Timestamp) -> Option<&Revision> {
        let name = url.strip_prefix(&self.content_base)?.strip_prefix("/cd/0/get/")?.strip_suffix("/file")?;
        self.links.down.get(name).filter(|link| link.until > now).map(|link| &link.file)
    }

    /// Answers `POST` on a temporary upload link.
    pub(super) fn follow_up(&mut self, call: &Call, name: &str, now: Timestamp) -> Reply {
        let Some(link) = self.links.up.get(name) else { return Reply::text(409, "Link not found") };
        if link.used || link.until <= now {
            return Reply::text(410, "Link is expired or has been consumed");
        }
        if call.header("content-type") != Some("application/octet-stream") {
            return Reply::text(400, "Content-Type must be application/octet-stream");
        }
        if call.body.len() > LARGEST {
            return Reply::text(413, "Request entity too large");
        }
        let commit = link.commit.clone();
        match self.commit(&commit, &call.body, now) {
            Ok(Ok(_)) => {
                self.links.up.entry(name.to_owned()).and_modify(|link| link.used = true);
                Reply::json(200, &json!({"content-hash": call.body.hash()}))
            }
            // Why it failed is not told to whoever holds nothing but the link.
            Ok(Err(Stranded { session, .. })) => {
                self.spent.push(session);
                Reply::text(409, "Upload failed")
            }
            Err(_) => Reply::text(500, ""),
        }
    }
}

fn after(now: Timestamp, seconds: f64) -> Timestamp {
    now + SignedDuration::from_secs(seconds as i64)
}
