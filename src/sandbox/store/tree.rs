//! The files and folders: case-insensitive, case-preserving, with every revision kept.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::digest::ContentHash;
use crate::sandbox::random;

/// Names that Dropbox doesn't take.
const DISALLOWED: [&str; 6] =
    ["desktop.ini", "thumbs.db", ".ds_store", "icon\r", ".dropbox", ".dropbox.attr"];

/// The most characters of one part of a path.
const LONGEST_NAME: usize = 255;

/// Every path that ever was something, by its folded form.
#[derive(Default, Serialize, Deserialize)]
pub struct Tree {
    pub(super) entries: BTreeMap<String, Entry>,
    /// Counts changes; a list's cursor remembers how far it has seen.
    pub(super) changes: u64,
    /// Grows when everything is forgotten; a cursor of an earlier one is dead.
    pub(super) epoch: u64,
}

/// What is at a path, and what was.
#[derive(Clone, Serialize, Deserialize)]
pub struct Entry {
    pub(super) display: String,
    pub(super) node: Node,
    pub(super) changed: u64,
    /// Revisions of files at this path, oldest first; they outlive the file.
    pub(super) revisions: Vec<Revision>,
}

/// What is at a path now.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Node {
    /// A file: the last of the revisions.
    File,
    /// A folder with its id.
    Folder(String),
    /// Nothing any more, since then.
    Deleted(Timestamp),
}

/// One content of one file.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    pub(super) rev: String,
    pub(super) id: String,
    pub(super) client_modified: Timestamp,
    pub(super) server_modified: Timestamp,
    pub(super) hash: ContentHash,
    pub(super) size: u64,
}

impl Entry {
    /// Returns the file's current revision; `None` for anything but a file.
    pub fn file(&self) -> Option<&Revision> {
        if self.node == Node::File { self.revisions.last() } else { None }
    }

    /// Returns whether something is there.
    pub fn exists(&self) -> bool {
        !matches!(self.node, Node::Deleted(_))
    }

    /// Returns the tagged metadata of whatever is there.
    pub fn metadata(&self) -> Value {
        match &self.node {
            Node::File => {
                self.revisions.last().map_or(Value::Null, |file| tagged("file", self.file_metadata(file)))
            }
            Node::Folder(id) => tagged("folder", self.named(json!({"id": id}))),
            Node::Deleted(_) => tagged("deleted", self.named(json!({}))),
        }
    }

    /// Returns a file's metadata without a tag, as upload and download give it.
    pub fn file_metadata(&self, file: &Revision) -> Value {
        self.named(json!({
            "id": file.id, "rev": file.rev, "size": file.size, "content_hash": file.hash,
            "client_modified": written(file.client_modified), "server_modified": written(file.server_modified),
            "is_downloadable": true,
        }))
    }

    /// Returns the folder's metadata without a tag.
    pub fn folder_metadata(&self) -> Value {
        let mut value = self.metadata();
        value.as_object_mut().map(|fields| fields.remove(".tag"));
        value
    }

    fn named(&self, mut value: Value) -> Value {
        value["name"] = json!(last(&self.display));
        value["path_lower"] = json!(folded(&self.display));
        value["path_display"] = json!(self.display);
        value
    }
}

impl Tree {
    /// Returns what is at a path; never something deleted.
    pub fn get(&self, path: &str) -> Option<&Entry> {
        self.entries.get(&folded(path)).filter(|entry| entry.exists())
    }

    /// Returns the path of the file or folder with this id, with what follows the id.
    pub fn path_of_id(&self, text: &str) -> Option<String> {
        let (id, rest) = text.split_once('/').map_or((text, ""), |(id, rest)| (id, rest));
        let has = |entry: &&Entry| match &entry.node {
            Node::File => entry.revisions.last().is_some_and(|file| file.id == id),
            Node::Folder(own) => own == id,
            Node::Deleted(_) => false,
        };
        let path = &self.entries.values().find(has)?.display;
        Some(if rest.is_empty() { path.clone() } else { format!("{path}/{rest}") })
    }

    /// Returns a revision, whether it is current or not, and the entry it belongs to.
    pub fn revision(&self, rev: &str) -> Option<(&Entry, &Revision)> {
        let of = |entry: &Entry| entry.revisions.iter().rposition(|revision| revision.rev == rev);
        // A moved file's history stands at both its paths: the living one is meant.
        let found = self.entries.values().filter_map(|entry| of(entry).map(|index| (entry, index)));
        let (entry, index) = found.max_by_key(|(entry, _)| entry.exists())?;
        Some((entry, &entry.revisions[index]))
    }

    /// Returns what is directly in a folder and, when asked, everything below it; by folded path.
    pub fn below<'a>(
        &'a self,
        folder: &str,
        recursive: bool,
    ) -> impl Iterator<Item = (&'a String, &'a Entry)> + use<'a> {
        let prefix = format!("{}/", folded(folder));
        let end = format!("{}0", folded(folder));
        let range = self.entries.range(prefix.clone()..end);
        range.filter(move |(key, _)| recursive || !key[prefix.len()..].contains('/'))
    }

    /// Puts a revision at a path, making the folders above it; tags of a WriteError otherwise.
    pub fn put(
        &mut self,
        path: &str,
        revisions: Vec<Revision>,
        now: Timestamp,
    ) -> Result<&Entry, WriteError> {
        let display = self.make_parents(path, now)?;
        self.set(&display, Node::File, revisions);
        Ok(&self.entries[&folded(&display)])
    }

    /// Makes a folder and those above it.
    pub fn make_folder(&mut self, path: &str, now: Timestamp) -> Result<&Entry, WriteError> {
        self.put_folder(path, &new_id(), now)
    }

    /// Puts a folder that has an id already, making those above it.
    pub fn put_folder(&mut self, path: &str, id: &str, now: Timestamp) -> Result<&Entry, WriteError> {
        let display = self.make_parents(path, now)?;
        self.set(&display, Node::Folder(id.to_owned()), Vec::new());
        Ok(&self.entries[&folded(&display)])
    }

    /// Deletes what is at a path with everything below it, keeping the revisions.
    pub fn delete(&mut self, path: &str, now: Timestamp) {
        let mut keys: Vec<String> = self.below(path, true).map(|(key, _)| key.clone()).collect();
        keys.push(folded(path));
        for key in keys {
            self.changes += 1;
            if let Some(entry) = self.entries.get_mut(&key).filter(|entry| entry.exists()) {
                (entry.node, entry.changed) = (Node::Deleted(now), self.changes);
            }
        }
    }

    /// Returns the contents of all revisions.
    pub fn hashes(&self) -> impl Iterator<Item = ContentHash> {
        self.entries.values().flat_map(|entry| &entry.revisions).map(|revision| revision.hash)
    }

    /// Returns the bytes that living files take up.
    pub fn used(&self) -> u64 {
        self.entries.values().filter_map(Entry::file).map(|file| file.size).sum()
    }

    fn set(&mut self, display: &str, node: Node, revisions: Vec<Revision>) {
        self.changes += 1;
        let fresh = Entry { display: String::new(), node: node.clone(), changed: 0, revisions: Vec::new() };
        let entry = self.entries.entry(folded(display)).or_insert(fresh);
        // A living file keeps the spelling it was made with.
        if !entry.exists() || entry.display.is_empty() {
            display.clone_into(&mut entry.display);
        }
        (entry.node, entry.changed) = (node, self.changes);
        entry.revisions.extend(revisions);
    }

    /// Makes the folders above `path` and returns the path in their spelling.
    fn make_parents(&mut self, path: &str, now: Timestamp) -> Result<String, WriteError> {
        let Some((above, name)) = path.rsplit_once('/').filter(|(above, _)| !above.is_empty()) else {
            return Ok(path.to_owned());
        };
        let above = match self.get(above) {
            Some(Entry { node: Node::Folder(_), display, .. }) => display.clone(),
            Some(_) => return Err(&["conflict", "file_ancestor"]),
            None => self.make_folder(above, now)?.display.clone(),
        };
        Ok(format!("{above}/{name}"))
    }
}

/// The tags of a WriteError, outermost first.
pub type WriteError = &'static [&'static str];

/// Refuses a path that can't be written.
pub fn check_name(path: &str) -> Result<(), WriteError> {
    let malformed = |part: &str| {
        part.is_empty()
            || matches!(part, "." | "..")
            || part.ends_with(char::is_whitespace)
            || part.chars().count() > LONGEST_NAME
    };
    let parts = path.strip_prefix('/').unwrap_or(path);
    if parts.split('/').any(malformed) || path.contains(['\\', '\u{7f}', '\0']) {
        return Err(&["malformed_path"]);
    }
    let disallowed = |part: &str| DISALLOWED.contains(&folded(part).as_str());
    if parts.split('/').any(disallowed) { Err(&["disallowed_name"]) } else { Ok(()) }
}

/// Returns the form in which names are compared: each letter lower-cased by itself.
pub fn folded(path: &str) -> String {
    let fold = |letter: char| {
        let mut lower = letter.to_lowercase();
        match (lower.next(), lower.next()) {
            (Some(single), None) => single,
            _ => letter,
        }
    };
    path.chars().map(fold).collect()
}

/// Writes a time as Dropbox does: UTC, whole seconds.
pub fn written(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Returns a new revision's name.
pub fn new_rev() -> String {
    format!("0{}", random::hex(30))
}

/// Returns a new file's or folder's id.
pub fn new_id() -> String {
    format!("id:{}", random::word(22))
}

/// Returns a path's last part.
pub fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn tagged(tag: &str, mut value: Value) -> Value {
    value[".tag"] = json!(tag);
    value
}
