//! The bytes of all files, kept once per content.

use std::io::Write as _;
use std::path::PathBuf;

use crate::digest::ContentHash;
use crate::error::Result;
use crate::sandbox::state::cannot_use;

/// A folder of files named by their content hash.
#[derive(Clone, Default)]
pub struct Objects {
    dir: PathBuf,
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

    /// Keeps some bytes; they are on disk when this returns.
    pub fn keep(&self, hash: ContentHash, bytes: &[u8]) -> std::io::Result<()> {
        let path = self.path(hash);
        if path.exists() {
            return Ok(());
        }
        let mut file = tempfile::NamedTempFile::new_in(&self.dir)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map(|_| ()).map_err(|error| error.error)
    }

    /// Removes everything.
    pub fn clear(&self) -> std::io::Result<()> {
        std::fs::remove_dir_all(&self.dir)?;
        std::fs::create_dir_all(&self.dir)
    }
}
