//! Where the record lives: a file in the store or, without a store, one on this laptop.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::store::{RecordRead, StoreClient, StoreLook, Written};
use crate::digest::ContentHash;
use crate::durable::{Draft, Kept};
use crate::error::{Error, Result};
use crate::facts::{LargeFiles, Store};

/// The place that holds the record.
pub enum Memory {
    /// Below the store's folder, readable from any laptop.
    Store(Box<StoreClient>),
    /// A folder on this laptop: the one local file that is not a cache.
    Local(PathBuf),
}

impl Memory {
    /// Reads the listing and the record in one round.
    pub async fn look(&self, session: &str) -> Result<StoreLook> {
        match self {
            Self::Store(client) => client.look(&record_path(session)).await,
            Self::Local(folder) => {
                let record = read_local(folder, session)?;
                let store = Store {
                    id: "local".to_owned(),
                    now: Timestamp::now(),
                    files: Vec::new(),
                    large_files: LargeFiles::NoRefreshToken,
                };
                Ok(StoreLook { store, record })
            }
        }
    }

    /// Reads the record.
    pub async fn read(&self, session: &str) -> Result<RecordRead> {
        match self {
            Self::Store(client) => client.read_record(&record_path(session)).await,
            Self::Local(folder) => read_local(folder, session),
        }
    }

    /// Writes the record over revision `over`, or as a new one; anybody else's write in between is a
    /// [`Written::Conflict`].
    pub async fn write(&self, session: &str, bytes: &[u8], over: Option<&str>) -> Result<Written> {
        match self {
            Self::Store(client) => client.write_record(&record_path(session), bytes, over).await,
            Self::Local(folder) => write_local(folder, session, bytes, over),
        }
    }
}

/// Returns the record's path below the store's folder.
fn record_path(session: &str) -> String {
    format!(".dacapo/{session}.json")
}

fn read_local(folder: &Path, session: &str) -> Result<RecordRead> {
    let path = folder.join(format!("{session}.json"));
    match std::fs::read(&path) {
        Ok(bytes) => {
            let now = Timestamp::now();
            let modified = std::fs::metadata(&path)
                .and_then(|metadata| metadata.modified())
                .ok()
                .and_then(|time| Timestamp::try_from(time).ok())
                .unwrap_or(now);
            Ok(RecordRead::Found { rev: ContentHash::of(&bytes).to_string(), bytes, modified, now })
        }
        // Without a store nobody can tell a record that never was from one that was removed.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(RecordRead::Deleted),
        Err(error) => Err(Error::new(format!("cannot read `{}`", path.display())).because(&error)),
    }
}

fn write_local(folder: &Path, session: &str, bytes: &[u8], over: Option<&str>) -> Result<Written> {
    let present = match read_local(folder, session)? {
        RecordRead::Found { rev, .. } => Some(rev),
        RecordRead::Never | RecordRead::Deleted => None,
    };
    if present.as_deref() != over {
        return Ok(Written::Conflict);
    }
    let path = folder.join(format!("{session}.json"));
    let failed =
        |error: std::io::Error| Error::new(format!("cannot write `{}`", path.display())).because(&error);
    super::private_folder(folder).map_err(failed)?;
    Draft::write(Kept::Record, &path, bytes).and_then(Draft::replace).map_err(failed)?;
    let now = Timestamp::now();
    Ok(Written::Done { rev: ContentHash::of(bytes).to_string(), modified: now, now })
}
