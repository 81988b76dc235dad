//! The bytes of uploads that are not files yet, one file each; they never stand in memory or in the state.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::ops::Deref as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::digest::{self, Blocks, ContentHash};
use crate::error::Result;
use crate::sandbox::sent::Sent;
use crate::sandbox::state::cannot_use;

const BLOCK: u64 = digest::BLOCK as u64;

/// A folder with one file per upload session, named by the session.
#[derive(Default)]
pub struct Bodies {
    dir: PathBuf,
    /// What was hashed when it came, so that a large file needn't be read again when it is whole.
    known: BTreeMap<PathBuf, BTreeMap<u64, Known>>,
}

/// A block that begins where it should: its digest and its length.
struct Known {
    digest: [u8; 32],
    length: u64,
}

impl Bodies {
    /// Opens the folder, making it if need be.
    pub fn at(dir: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&dir).map_err(|error| cannot_use(&dir, &error))?;
        Ok(Self { dir, known: BTreeMap::new() })
    }

    /// Returns where a session's bytes are.
    pub fn path(&self, session: &str) -> PathBuf {
        self.dir.join(name(session))
    }

    /// Puts bytes at an offset, unless they are there already; they are on disk when this returns.
    ///
    /// What a process that died had written without telling anybody is simply written over.
    pub fn write(&mut self, session: &str, offset: u64, bytes: &Sent) -> std::io::Result<()> {
        let file = self.open(session)?;
        if bytes.is_empty() {
            return Ok(());
        }
        let known = self.known.entry(self.path(session)).or_default();
        let end = offset + bytes.len() as u64;
        known.retain(|number, _| (number + 1) * BLOCK <= offset || number * BLOCK >= end);
        if !bytes.are_put_down() {
            if bytes.len() != bytes.deref().len() {
                return Err(std::io::Error::other("the bytes went elsewhere"));
            }
            file.write_all_at(bytes, offset)?;
            file.sync_data()?;
        }
        self.learn(session, offset, bytes);
        Ok(())
    }

    /// Cuts off whatever lies beyond the session's end and returns the hash of the rest.
    pub fn seal(&self, session: &str, length: u64) -> std::io::Result<ContentHash> {
        let file = self.open(session)?;
        file.set_len(length)?;
        file.sync_all()?;
        match self.known_hash(session, length) {
            Some(hash) => Ok(hash),
            None => digest::of_file(&file, false).map(|digests| digests.content),
        }
    }

    /// Removes one session's bytes; that there are none is fine.
    pub fn remove(&mut self, session: &str) {
        let path = self.path(session);
        self.known.remove(&path);
        // A file that can't be removed now is removed when the world is next opened.
        let _ = std::fs::remove_file(path);
    }

    /// Removes every file that isn't named here.
    pub fn keep_only(&mut self, wanted: &BTreeSet<String>) -> std::io::Result<()> {
        self.known.clear();
        keep_only(&self.dir, wanted)
    }

    /// Notes the digests of blocks that are on disk.
    fn learn(&mut self, session: &str, offset: u64, bytes: &Sent) {
        let known = self.known.entry(self.path(session)).or_default();
        let end = offset + bytes.len() as u64;
        if !offset.is_multiple_of(BLOCK) {
            return;
        }
        for (number, digest) in (offset / BLOCK..).zip(&bytes.blocks().0) {
            let length = BLOCK.min(end - number * BLOCK);
            known.insert(number, Known { digest: *digest, length });
        }
    }

    /// Returns the hash of a session's bytes if all of them were hashed when they came.
    fn known_hash(&self, session: &str, length: u64) -> Option<ContentHash> {
        let known = self.known.get(&self.path(session))?;
        let block = |number| {
            let block = known.get(&number)?;
            (block.length == BLOCK.min(length - number * BLOCK)).then_some(block.digest)
        };
        let digests: Option<Vec<_>> = (0..length.div_ceil(BLOCK)).map(block).collect();
        digests.map(|digests| Blocks(digests).hash())
    }

    fn open(&self, session: &str) -> std::io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600).open(self.path(session))
    }
}

/// Returns the name of the file with a session's bytes: what is before the colon is the same for all.
pub fn name(session: &str) -> &str {
    session.rsplit(':').next().unwrap_or(session)
}

/// Removes every file of a folder that isn't named in a list.
pub fn keep_only(dir: &Path, wanted: &BTreeSet<String>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if !entry.file_name().to_str().is_some_and(|name| wanted.contains(name)) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_was_told_of_is_written_over_or_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let mut bodies = Bodies::at(dir.path().join("sessions")).unwrap();
        bodies.write("pid:one", 0, &sent(b"known")).unwrap();
        bodies.write("pid:one", 5, &sent(b" lost reply")).unwrap();
        bodies.write("pid:one", 5, &sent(b" again")).unwrap();
        assert_eq!(bodies.seal("pid:one", 11).unwrap(), ContentHash::of(b"known again"));
        assert_eq!(std::fs::read(bodies.path("pid:one")).unwrap(), b"known again");
    }

    fn sent(bytes: &[u8]) -> Sent {
        Sent::from(axum::body::Bytes::copy_from_slice(bytes))
    }

    #[test]
    fn however_the_bytes_came_the_hash_is_that_of_the_file() {
        let block = digest::BLOCK;
        let bytes: Vec<u8> = (0..3 * block + 9).map(|i| (i * 31 % 251) as u8).collect();
        let ways: [&[(usize, usize)]; 6] = [
            &[(0, 3 * block + 9)],
            &[(2 * block, 3 * block + 9), (0, 2 * block)],
            &[(0, 3 * block), (3 * block, 3 * block + 9)],
            // A block that only a part was sent of again, one that begins elsewhere, one sent longer at first.
            &[(0, 3 * block + 9), (block, block + 5)],
            &[(0, block + 5), (block + 5, 3 * block + 9)],
            &[(0, 3 * block), (2 * block, 2 * block + 1), (2 * block + 1, 3 * block + 9)],
        ];
        for way in ways {
            let dir = tempfile::tempdir().unwrap();
            let mut bodies = Bodies::at(dir.path().join("sessions")).unwrap();
            for (from, to) in way {
                bodies.write("pid:one", *from as u64, &sent(&bytes[*from..*to])).unwrap();
            }
            let hash = bodies.seal("pid:one", bytes.len() as u64).unwrap();
            assert_eq!(hash, ContentHash::of(&bytes), "{way:?}");
        }
    }

    #[test]
    fn a_file_whose_bytes_were_hashed_as_they_came_is_not_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut bodies = Bodies::at(dir.path().join("sessions")).unwrap();
        bodies.write("pid:one", 0, &sent(b"sent")).unwrap();
        std::fs::write(bodies.path("pid:one"), b"else").unwrap();
        assert_eq!(bodies.seal("pid:one", 4).unwrap(), ContentHash::of(b"sent"));
        assert_eq!(bodies.seal("pid:one", 3).unwrap(), ContentHash::of(b"els"));
    }
}
