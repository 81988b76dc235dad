//! Moves and copies of files and of whole folders.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::argument::{Fields, Pattern};
use super::problem::Problem;
use super::tree::{Entry, Node, Revision, WriteError, check_name, folded, new_id, new_rev};
use super::{Outcome, Store};

impl Store {
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
        let source = self.tree.get(&from).filter(|source| !self.settling(source, now));
        let source = source.ok_or_else(missing)?.clone();
        let to = self.resolved(&to).ok_or_else(|| Problem::route(&["to", "malformed_path"]))?;
        check_name(&to).map_err(|tags| Problem::route(&[&["to"], tags].concat()))?;
        let (lower_from, lower_to) = (folded(&from), folded(&to));
        if source.file().is_none() && lower_to.starts_with(&format!("{lower_from}/")) {
            return Err(Problem::route(&["cant_move_folder_into_itself"]));
        }
        if lower_to == lower_from {
            return Err(Problem::route(&["duplicated_or_nested_paths"]));
        }
        if keep && self.tree.used() + self.weight(&source, &from) > self.allocated {
            return Err(Problem::route(&["insufficient_quota"]));
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
            (Node::Folder(_), _) if copy => self.tree.make_folder(path, now).map(|_| ()),
            (Node::Folder(id), _) => self.tree.put_folder(path, id, now).map(|_| ()),
            (_, Some(file)) if copy => {
                let fresh = Revision { rev: new_rev(), id: new_id(), server_modified: now, ..file.clone() };
                self.tree.put(path, vec![fresh], now).map(|_| ())
            }
            // A move takes the id along, and a file's history.
            (_, Some(_)) => self.tree.put(path, entry.revisions.clone(), now).map(|_| ()),
            _ => Ok(()),
        }
    }

    /// Returns whether a file was written so recently that a move doesn't find it yet.
    fn settling(&self, entry: &Entry, now: Timestamp) -> bool {
        let Ok(lag) = SignedDuration::try_from_secs_f64(self.move_lag) else { return false };
        entry.file().is_some_and(|file| now.duration_since(file.server_modified) < lag)
    }

    /// Returns the bytes of a file, or of all files in a folder.
    fn weight(&self, source: &Entry, path: &str) -> u64 {
        let below = self.tree.below(path, true).filter_map(|(_, entry)| entry.file());
        source.file().into_iter().chain(below).map(|file| file.size).sum()
    }
}
