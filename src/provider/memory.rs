//! Where the record lives: a file in the store or, without a store, one on this laptop.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::store::{RecordRead, StoreClient, StoreLook, Written};
use crate::digest::ContentHash;
use crate::durable::{Draft, Kept};
use crate::error::{Error, Result};
use crate::facts::{LargeFiles, Store};
use crate::record::{RECEIPTS, Receipt, session_of};

/// The place that holds the record.
pub enum Memory {
    /// Below the store's folder, readable from any laptop.
    Store(Box<StoreClient>),
    /// A folder on this laptop: the one local file that is not a cache.
    Local(PathBuf),
}

impl Memory {
    /// Tells whether all laptops have this record, so that its lease holds them off.
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::Store(_))
    }

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

    /// Writes a receipt. One that is there already stays as it is: it is the same, or somebody's own.
    pub async fn write_receipt(&self, receipt: &Receipt) -> Result<()> {
        let (path, bytes) = (receipt.path(), receipt.to_json());
        match self {
            Self::Store(client) => client.write_record(&path, &bytes, None).await.map(drop),
            Self::Local(folder) => {
                let path = local_receipt(folder, &path);
                let failed = |error: std::io::Error| {
                    Error::new(format!("cannot write `{}`", path.display())).because(&error)
                };
                if path.exists() {
                    return Ok(());
                }
                super::private_folder(path.parent().unwrap_or(folder)).map_err(failed)?;
                Draft::write(Kept::Receipt, &path, &bytes).and_then(Draft::replace).map_err(failed)
            }
        }
    }

    /// Returns the paths of a store's receipts, oldest first within a session.
    pub fn receipts(&self, store: &Store) -> Vec<String> {
        let mut paths: Vec<String> = match self {
            Self::Store(_) => store.files.iter().map(|file| file.path.clone()).collect(),
            Self::Local(place) => local_receipts(place),
        };
        paths.retain(|path| session_of(path).is_some());
        paths.sort();
        paths
    }

    /// Reads a receipt, or says what is wrong with it.
    pub async fn read_receipt(&self, path: &str) -> Result<Result<Receipt, String>> {
        let gone = || "it was removed a moment ago".to_owned();
        let bytes = match self {
            Self::Store(client) => client.read(path).await?,
            Self::Local(folder) => std::fs::read(local_receipt(folder, path)).ok(),
        };
        Ok(bytes.ok_or_else(gone).and_then(|bytes| Receipt::parse(&bytes)))
    }
}

/// Where a receipt lies that is kept on this laptop: beside the folder of records.
fn local_receipt(records: &Path, path: &str) -> PathBuf {
    records.with_file_name("receipts").join(path.strip_prefix(RECEIPTS).unwrap_or(path))
}

fn local_receipts(records: &Path) -> Vec<String> {
    let names = |folder: PathBuf| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok())
    };
    let root = records.with_file_name("receipts");
    let sessions = names(root.clone());
    let of = |session: String| {
        let found = names(root.join(&session)).filter(|name| !name.starts_with('.'));
        found.map(|name| format!("{RECEIPTS}{session}/{name}")).collect::<Vec<_>>()
    };
    sessions.flat_map(of).collect()
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
