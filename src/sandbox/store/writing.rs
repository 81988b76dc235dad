//! Changing: uploads in every write mode, folders, deletions, moves, copies, restores.

use axum::body::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::argument::{Fields, Pattern, is_rev};
use super::problem::{Problem, nested};
use super::reading::not_found;
use super::tree::{Entry, Node, Revision, WriteError, check_name, folded, last, new_id, new_rev};
use super::uploading::{check_body, new_session};
use super::{Outcome, Store};
use crate::digest::ContentHash;
use crate::sandbox::random;
use crate::sandbox::sent::Sent;

/// The most bytes of one request.
pub const LARGEST: usize = 150 * 1024 * 1024;

/// Where and how some bytes are to be put.
#[derive(Clone, Serialize, Deserialize)]
pub struct Commit {
    path: String,
    mode: Mode,
    autorename: bool,
    client_modified: Option<Timestamp>,
    strict: bool,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Mode {
    Add,
    Overwrite,
    Update(String),
}

/// Some bytes that are on disk.
#[derive(Clone, Copy)]
pub struct Content {
    /// Their content hash.
    pub hash: ContentHash,
    /// How many they are.
    pub size: u64,
}

/// A commit that failed: the tags of its WriteError, and the session that has the bytes.
pub struct Stranded {
    /// The tags, outermost first.
    pub tags: WriteError,
    /// Where the bytes are; nobody has been told of it yet.
    pub session: String,
}

impl Commit {
    /// Returns a commit that puts its bytes beside whatever is there.
    pub fn beside(path: String) -> Self {
        Self { path, mode: Mode::Add, autorename: true, client_modified: None, strict: false }
    }

    /// Reads the fields of a CommitInfo.
    pub fn read(fields: &mut Fields) -> Result<Self, Problem> {
        let path = fields.path("path", Pattern::WriteOrId)?;
        if path == "/" {
            return Err(fields.bad_field("path", "The root folder is unsupported."));
        }
        let mode = match fields.union("mode")? {
            None => Mode::Add,
            Some((tag, value)) => match (tag.as_str(), value) {
                ("add", _) => Mode::Add,
                ("overwrite", _) => Mode::Overwrite,
                ("update", Some(rev)) if is_rev(&rev) => Mode::Update(rev),
                ("update", Some(rev)) => {
                    return Err(fields.bad_field(
                        "mode",
                        &format!("update: '{rev}' did not match pattern '[0-9a-f]{{9,}}'"),
                    ));
                }
                ("update", None) => return Err(fields.bad_field("mode", "missing required field 'update'")),
                (tag, _) => return Err(fields.bad_field("mode", &format!("invalid tag '{tag}'"))),
            },
        };
        let autorename = fields.flag("autorename")?;
        let client_modified = fields.time("client_modified")?;
        let strict = fields.flag("strict_conflict")?;
        fields.flag("mute")?;
        fields.ignore(&["property_groups"]);
        Ok(Self { path, mode, autorename, client_modified, strict })
    }
}

impl Store {
    /// `files/upload`.
    pub(super) fn upload(&mut self, mut fields: Fields, body: &Sent, now: Timestamp) -> Outcome {
        let commit = Commit::read(&mut fields)?;
        let expected = fields.hash("content_hash")?;
        fields.finish()?;
        check_body(body, expected.as_deref())?;
        self.commit(&commit, body, now)?.map_err(|Stranded { tags, session }| {
            self.keep_upload(session.clone(), body.len() as u64, now);
            let error = json!({".tag": "path", "reason": nested(tags), "upload_session_id": session});
            Problem::Route([&["path"], tags].concat(), error)
        })
    }

    /// Keeps the bytes and puts them where the commit says.
    pub(super) fn commit(
        &mut self,
        commit: &Commit,
        body: &Sent,
        now: Timestamp,
    ) -> Result<Result<Value, Stranded>, Problem> {
        let session = new_session();
        self.bodies.write(&session, 0, body).map_err(|_| Problem::Broken)?;
        let content = Content { hash: body.hash(), size: body.len() as u64 };
        let placed = self.settle(commit, content, &session, now)?;
        Ok(placed.map_err(|tags| Stranded { tags, session }))
    }

    /// Puts the bytes of a session where the commit says; the inner error is a WriteError's tags.
    ///
    /// The session's own file stays until the new state is on disk: a process that dies before that must
    /// find the session as it was.
    pub(super) fn settle(
        &mut self,
        commit: &Commit,
        content: Content,
        session: &str,
        now: Timestamp,
    ) -> Result<Result<Value, WriteError>, Problem> {
        let lent =
            self.objects.lend(content.hash, &self.bodies.path(session)).map_err(|_| Problem::Broken)?;
        let placed = self.place(commit, content, now);
        match placed {
            Ok(_) => self.spent.push(session.to_owned()),
            Err(_) => self.objects.give_back(content.hash, lent),
        }
        Ok(placed)
    }

    /// Decides by the write mode what a commit does; the rules stand in the facts' section 4.
    pub(super) fn place(
        &mut self,
        commit: &Commit,
        content: Content,
        now: Timestamp,
    ) -> Result<Value, WriteError> {
        let path = self.resolved(&commit.path).ok_or(&["malformed_path"] as WriteError)?;
        check_name(&path)?;
        let Some(current) = self.tree.get(&path) else {
            let gone = matches!(commit.mode, Mode::Update(_)) && commit.strict;
            return if gone { Err(&["conflict", "file"]) } else { self.write(&path, commit, content, now) };
        };
        let Some(file) = current.file() else {
            return self.aside(&path, commit, content, now, &["conflict", "folder"]);
        };
        let fits = match &commit.mode {
            Mode::Add => false,
            Mode::Overwrite => true,
            Mode::Update(rev) => *rev == file.rev,
        };
        let same = file.hash == content.hash;
        match (fits, same) {
            // Strictly, the same content again is a conflict even for the right revision.
            (true, true) if commit.strict && commit.mode != Mode::Overwrite => {
                self.aside(&path, commit, content, now, &["conflict", "file"])
            }
            (true, true) => Ok(current.file_metadata(file)),
            (false, true) if !commit.strict => Ok(current.file_metadata(file)),
            (true, false) => self.write(&path, commit, content, now),
            (false, _) => self.aside(&path, commit, content, now, &["conflict", "file"]),
        }
    }

    /// Answers a conflict: with another name if the caller lets us, else with the error.
    fn aside(
        &mut self,
        path: &str,
        commit: &Commit,
        content: Content,
        now: Timestamp,
        error: WriteError,
    ) -> Result<Value, WriteError> {
        if !commit.autorename {
            return Err(error);
        }
        let path = match commit.mode {
            Mode::Update(_) => self.free_name(path, |_| "conflicted copy".to_owned()),
            _ => self.free_name(path, |number| number.to_string()),
        };
        self.write(&path, commit, content, now)
    }

    fn write(
        &mut self,
        path: &str,
        commit: &Commit,
        content: Content,
        now: Timestamp,
    ) -> Result<Value, WriteError> {
        let old = self.tree.get(path).and_then(Entry::file);
        let freed = old.map_or(0, |file| file.size);
        if self.tree.used() - freed + content.size > self.allocated {
            return Err(&["insufficient_space"]);
        }
        let revision = Revision {
            rev: new_rev(),
            id: old.map_or_else(new_id, |file| file.id.clone()),
            client_modified: commit.client_modified.unwrap_or(now),
            server_modified: now,
            hash: content.hash,
            size: content.size,
        };
        let entry = self.tree.put(path, vec![revision.clone()], now)?;
        Ok(entry.file_metadata(&revision))
    }

    pub(super) fn free_name(&self, path: &str, label: impl Fn(u32) -> String) -> String {
        let name = last(path);
        let (stem, dot, kind) = match name.rfind('.').filter(|at| *at > 0) {
            Some(at) => (&name[..at], ".", &name[at + 1..]),
            None => (name, "", ""),
        };
        let above = &path[..path.len() - name.len()];
        let labels = (2..=1000).map(label);
        let names = labels.enumerate().map(|(round, label)| {
            // A second "conflicted copy" needs a number of its own.
            let again =
                if round > 0 && label.starts_with('c') { format!(" {}", round + 1) } else { String::new() };
            format!("{above}{stem} ({label}{again}){dot}{kind}")
        });
        names
            .into_iter()
            .find(|name| self.tree.get(name).is_none())
            .unwrap_or_else(|| format!("{path} ({})", random::hex(8)))
    }

    /// `files/create_folder_v2`.
    pub(super) fn create_folder(&mut self, mut fields: Fields, now: Timestamp) -> Outcome {
        let path = fields.path("path", Pattern::Write)?;
        let autorename = fields.flag("autorename")?;
        if path == "/" {
            return Err(fields.bad_field("path", "The root folder is unsupported."));
        }
        fields.finish()?;
        let path = self.resolved(&path).ok_or_else(not_found)?;
        let made = check_name(&path).and_then(|()| {
            let path = match self.tree.get(&path).map(|entry| entry.file().is_some()) {
                None => path,
                Some(_) if autorename => self.free_name(&path, |number| number.to_string()),
                Some(true) => return Err(&["conflict", "file"] as WriteError),
                Some(false) => return Err(&["conflict", "folder"]),
            };
            self.tree.make_folder(&path, now).map(Entry::folder_metadata)
        });
        made.map(|metadata| json!({"metadata": metadata}))
            .map_err(|tags| Problem::route(&[&["path"], tags].concat()))
    }

    /// `files/delete_v2`: soft, the revisions stay.
    pub(super) fn delete(&mut self, mut fields: Fields, now: Timestamp) -> Outcome {
        let path = fields.path("path", Pattern::WriteOrId)?;
        let parent = fields.rev("parent_rev")?;
        if path == "/" {
            return Err(fields.bad_field("path", "The root folder is unsupported."));
        }
        fields.finish()?;
        let missing = || Problem::route(&["path_lookup", "not_found"]);
        let path = self.resolved(&path).ok_or_else(missing)?;
        let entry = self.tree.get(&path).ok_or_else(missing)?;
        if let Some(parent) = parent {
            match entry.file() {
                None => return Err(Problem::route(&["path_lookup", "not_file"])),
                Some(file) if file.rev != parent => {
                    return Err(Problem::route(&["path_write", "conflict", "file"]));
                }
                Some(_) => {}
            }
        }
        let metadata = entry.metadata();
        self.tree.delete(&path, now);
        Ok(json!({"metadata": metadata}))
    }

    /// `files/restore`: an earlier revision becomes the current content, under a new revision.
    pub(super) fn restore(&mut self, mut fields: Fields, now: Timestamp) -> Outcome {
        let path = fields.path("path", Pattern::Write)?;
        let rev = fields.rev("rev")?;
        let rev = rev.ok_or_else(|| fields.bad_field("rev", "missing required field 'rev'"))?;
        fields.finish()?;
        let missing = || Problem::route(&["path_lookup", "not_found"]);
        let path = self.resolved(&path).ok_or_else(missing)?;
        let entry = self.tree.entries.get(&folded(&path)).ok_or_else(missing)?;
        if matches!(entry.node, Node::Folder(_)) {
            return Err(Problem::route(&["path_write", "conflict", "folder"]));
        }
        let old = entry.revisions.iter().find(|revision| revision.rev == rev);
        let old = old.ok_or_else(|| Problem::route(&["invalid_revision"]))?;
        let fresh = Revision { rev: new_rev(), server_modified: now, ..old.clone() };
        let freed = entry.file().map_or(0, |file| file.size);
        if self.tree.used() - freed + fresh.size > self.allocated {
            return Err(Problem::route(&["path_write", "insufficient_space"]));
        }
        let placed = self.tree.put(&path, vec![fresh.clone()], now);
        let entry = placed.map_err(|tags| Problem::route(&[&["path_write"], tags].concat()))?;
        Ok(entry.file_metadata(&fresh))
    }

    /// Tells whether there is, or ever was, something at a path.
    pub fn ever_had(&self, path: &str) -> bool {
        self.tree.entries.contains_key(&folded(path))
    }

    /// Puts a file there as if it had been uploaded at `modified`; for setting up a world.
    pub fn seed(&mut self, path: &str, bytes: &[u8], modified: Timestamp) -> Result<Value, String> {
        let mode = Mode::Overwrite;
        let commit =
            Commit { path: path.to_owned(), mode, autorename: false, client_modified: None, strict: false };
        let placed = self.commit(&commit, &Sent::from(Bytes::copy_from_slice(bytes)), modified);
        placed.map_err(|_| "the bytes could not be kept".to_owned())?.map_err(|Stranded { tags, session }| {
            self.spent.push(session);
            tags.join("/")
        })
    }
}
