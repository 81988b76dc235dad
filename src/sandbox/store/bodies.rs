//! The bytes of uploads that are not files yet, one file each; they never stand in memory or in the state.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::digest::ContentHash;
use crate::error::Result;
use crate::sandbox::state::cannot_use;

/// A folder with one file per upload session, named by the session.
#[derive(Clone, Default)]
pub struct Bodies {
    dir: PathBuf,
}

impl Bodies {
    /// Opens the folder, making it if need be.
    pub fn at(dir: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&dir).map_err(|error| cannot_use(&dir, &error))?;
        Ok(Self { dir })
    }

    /// Returns where a session's bytes are.
    pub fn path(&self, session: &str) -> PathBuf {
        self.dir.join(name(session))
    }

    /// Puts bytes at an offset; they are on disk when this returns.
    ///
    /// What a process that died had written without telling anybody is simply written over.
    pub fn write(&self, session: &str, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
        let file = self.open(session)?;
        if bytes.is_empty() {
            return Ok(());
        }
        file.write_all_at(bytes, offset)?;
        file.sync_data()
    }

    /// Cuts off whatever lies beyond the session's end and returns the hash of the rest.
    pub fn seal(&self, session: &str, length: u64) -> std::io::Result<ContentHash> {
        let file = self.open(session)?;
        file.set_len(length)?;
        file.sync_all()?;
        ContentHash::of_reader(file.take(length)).map(|(hash, _)| hash)
    }

    /// Removes one session's bytes; that there are none is fine.
    pub fn remove(&self, session: &str) {
        // A file that can't be removed now is removed when the world is next opened.
        let _ = std::fs::remove_file(self.path(session));
    }

    /// Removes every file that isn't named here.
    pub fn keep_only(&self, wanted: &BTreeSet<String>) -> std::io::Result<()> {
        keep_only(&self.dir, wanted)
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
        let bodies = Bodies::at(dir.path().join("sessions")).unwrap();
        bodies.write("pid:one", 0, b"known").unwrap();
        bodies.write("pid:one", 5, b" lost reply").unwrap();
        bodies.write("pid:one", 5, b" again").unwrap();
        assert_eq!(bodies.seal("pid:one", 11).unwrap(), ContentHash::of(b"known again"));
        assert_eq!(std::fs::read(bodies.path("pid:one")).unwrap(), b"known again");
    }
}
