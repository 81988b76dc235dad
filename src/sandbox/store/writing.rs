//! Changing: uploads in every write mode, folders, deletions, moves, copies, restores.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::argument::{Fields, Pattern, is_rev};
use super::problem::{Problem, nested};
use super::reading::not_found;
use super::tree::{Entry, Node, Revision, WriteError, check_name, folded, last, new_id, new_rev};
use super::{Outcome, Store};
use crate::digest::ContentHash;
use crate::sandbox::random;

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

/// Some bytes that are already kept.
#[derive(Clone, Copy)]
struct Content {
    hash: ContentHash,
    size: u64,
}

impl Commit {
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
    pub(super) fn upload(&mut self, mut fields: Fields, body: &[u8], now: Timestamp) -> Outcome {
        let commit = Commit::read(&mut fields)?;
        let expected = fields.hash("content_hash")?;
        fields.finish()?;
        if body.len() > LARGEST {
            return Err(Problem::route(&["payload_too_large"]));
        }
        let hash = ContentHash::of(body);
        if expected.is_some_and(|expected| expected != hash.to_string()) {
            return Err(Problem::route(&["content_hash_mismatch"]));
        }
        self.commit(&commit, hash, body, now)?.map_err(|tags| {
            let session = format!("pid_upload_session:{}", random::word(40));
            let error = json!({".tag": "path", "reason": nested(tags), "upload_session_id": session});
            Problem::Route([&["path"], tags].concat(), error)
        })
    }

    /// Keeps the bytes and puts them where the commit says; the inner error is a WriteError's tags.
    pub(super) fn commit(
        &mut self,
        commit: &Commit,
        hash: ContentHash,
        body: &[u8],
        now: Timestamp,
    ) -> Result<Result<Value, WriteError>, Problem> {
        self.objects.keep(hash, body).map_err(|_| Problem::Broken)?;
        Ok(self.place(commit, Content { hash, size: body.len() as u64 }, now))
    }

    /// Decides by the write mode what a commit does; the rules stand in the facts' section 4.
    fn place(&mut self, commit: &Commit, content: Content, now: Timestamp) -> Result<Value, WriteError> {
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

    fn free_name(&self, path: &str, label: impl Fn(u32) -> String) -> String {
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

    /// `files/move_v2` and `files/copy_v2`.
    pub(super) fn relocate(&mut self, mut fields: Fields, keep: bool, now: Timestamp) -> Outcome {
        let from = fields.path("from_path", Pattern::WriteOrId)?;
        let to = fields.path("to_path", Pattern::WriteOrId)?;
        let autorename = fields.flag("autorename")?;
        fields.ignore(&["allow_ownership_transfer", "allow_shared_folder"]);
        if from == "/" || to == "/" {
            return Err(fields.bad_field("from_path", "The root folder is unsupported."));
        }
        fields.finish()?;
        let missing = || Problem::route(&["from_lookup", "not_found"]);
        let from = self.resolved(&from).ok_or_else(missing)?;
        let source = self.tree.get(&from).ok_or_else(missing)?.clone();
        let to = self.resolved(&to).ok_or_else(|| Problem::route(&["to", "malformed_path"]))?;
        check_name(&to).map_err(|tags| Problem::route(&[&["to"], tags].concat()))?;
        let (lower_from, lower_to) = (folded(&from), folded(&to));
        if lower_to.starts_with(&format!("{lower_from}/")) {
            return Err(Problem::route(&["cant_move_folder_into_itself"]));
        }
        if lower_to == lower_from {
            return Err(Problem::route(&["duplicated_or_nested_paths"]));
        }
        let to = match self.tree.get(&to).map(|entry| entry.file().is_some()) {
            None => to,
            Some(_) if autorename => self.free_name(&to, |number| number.to_string()),
            Some(true) => return Err(Problem::route(&["to", "conflict", "file"])),
            Some(false) => return Err(Problem::route(&["to", "conflict", "folder"])),
        };
        let placed = self.transplant(&source, &from, &to, keep, now);
        placed.map_err(|tags| Problem::route(&[&["to"], tags].concat()))?;
        if !keep {
            self.tree.delete(&from, now);
        }
        let metadata = self.tree.get(&to).ok_or(Problem::Broken)?.metadata();
        Ok(json!({"metadata": metadata}))
    }

    /// Puts a file, or a folder with all below it, at another path.
    fn transplant(
        &mut self,
        source: &Entry,
        from: &str,
        to: &str,
        copy: bool,
        now: Timestamp,
    ) -> Result<(), WriteError> {
        let below: Vec<Entry> = self.tree.below(from, true).map(|(_, entry)| entry.clone()).collect();
        self.graft(source, to, copy, now)?;
        for entry in below.iter().filter(|entry| entry.exists()) {
            let path = format!("{to}{}", &entry.display[source.display.len()..]);
            self.graft(entry, &path, copy, now)?;
        }
        Ok(())
    }

    fn graft(&mut self, entry: &Entry, path: &str, copy: bool, now: Timestamp) -> Result<(), WriteError> {
        match (&entry.node, entry.file()) {
            (Node::Folder(_), _) => self.tree.make_folder(path, now).map(|_| ()),
            (_, Some(file)) if copy => {
                let fresh = Revision { rev: new_rev(), id: new_id(), server_modified: now, ..file.clone() };
                self.tree.put(path, vec![fresh], now).map(|_| ())
            }
            // A move takes the file's id and its history along.
            (_, Some(_)) => self.tree.put(path, entry.revisions.clone(), now).map(|_| ()),
            _ => Ok(()),
        }
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
        let placed = self.tree.put(&path, vec![fresh.clone()], now);
        let entry = placed.map_err(|tags| Problem::route(&[&["path_write"], tags].concat()))?;
        Ok(entry.file_metadata(&fresh))
    }

    /// Puts a file there as if it had been uploaded at `modified`; for setting up a world.
    pub fn seed(&mut self, path: &str, bytes: &[u8], modified: Timestamp) -> Result<Value, String> {
        let mode = Mode::Overwrite;
        let commit =
            Commit { path: path.to_owned(), mode, autorename: false, client_modified: None, strict: false };
        let placed = self.commit(&commit, ContentHash::of(bytes), bytes, modified);
        placed.map_err(|_| "the bytes could not be kept".to_owned())?.map_err(|tags| tags.join("/"))
    }
}
