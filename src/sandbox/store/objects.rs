//! The bytes of all files, kept once per content.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::bodies::keep_only;
use crate::digest::ContentHash;
use crate::error::Result;
use crate::sandbox::state::cannot_use;

/// A folder of files named by their content hash.
#[derive(Clone, Default)]
pub struct Objects {
    dir: PathBuf,
}

/// Whether some content is here only since it was lent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Lent {
    /// It was here before.
    Known,
    /// It came just now.
    New,
}

impl Objects {
    /// Opens the folder, making it if need be.
    pub fn at(dir: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&dir).map_err(|error| cannot_use(&dir, &error))?;
        Ok(Self { dir })
    }

    /// Returns where some content is kept.
    pub fn path(&self, hash: ContentHash) -> PathBuf {
        self.dir.join(hash.to_string())
    }

    /// Keeps the content of a file that is on disk, without copying it; the file itself stays.
    pub fn lend(&self, hash: ContentHash, body: &Path) -> std::io::Result<Lent> {
        match std::fs::hard_link(body, self.path(hash)) {
            Ok(()) => std::fs::File::open(&self.dir)?.sync_all().map(|()| Lent::New),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(Lent::Known),
            Err(error) => Err(error),
        }
    }

    /// Gives back what was lent and became no file.
    pub fn give_back(&self, hash: ContentHash, lent: Lent) {
        if lent == Lent::New {
            // Left behind it would only take up room.
            let _ = std::fs::remove_file(self.path(hash));
        }
    }

    /// Removes every content that isn't named here.
    pub fn keep_only(&self, wanted: &BTreeSet<String>) -> std::io::Result<()> {
        keep_only(&self.dir, wanted)
    }
}
