//! What the sandbox remembers, and the file it keeps it in: durable before anybody hears of a change.

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::clock::later;
use super::cloud::Cloud;
use super::random;
use super::store::Store;
use crate::error::{Error, Result};

/// How far ahead of its state file the clock may run, in real seconds.
const AHEAD: f64 = 10.0;

/// The HTTP worlds and what belongs to both.
#[derive(Serialize, Deserialize)]
pub struct World {
    /// Where the clock starts the next time. Never before a time that was shown: while the world runs
    /// it lies a little ahead, so that a killed process needs no last word.
    pub clock: Timestamp,
    /// Lets one in to the admin routes.
    pub admin_key: String,
    /// The cloud.
    pub cloud: Cloud,
    /// The Dropbox.
    pub store: Store,
}

/// The state file.
pub struct Vault {
    path: PathBuf,
    written: Vec<u8>,
}

impl World {
    fn new(start: Timestamp) -> Self {
        Self { clock: start, admin_key: random::word(43), cloud: Cloud::fresh(), store: Store::fresh() }
    }

    /// Moves the reserve of time ahead when the clock comes near its end.
    pub fn reserve(&mut self, now: Timestamp, speed: f64) {
        if now >= self.clock {
            self.clock = later(now, AHEAD * speed);
        }
    }
}

impl Vault {
    /// Reads the world kept in `dir`, or makes one that starts at `start`.
    pub fn open(dir: &Path, start: Timestamp) -> Result<(Self, World)> {
        let state = dir.join("state");
        make_private(&state)?;
        let path = state.join("world.json");
        let world = match std::fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map_err(|error| {
                let error = Error::new(format!("cannot read the sandbox's state in `{}`", path.display()))
                    .because(&error);
                error.hint("remove the sandbox's folder to start a new one")
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => World::new(start),
            Err(error) => return Err(cannot_use(&path, &error)),
        };
        let mut vault = Self { path, written: Vec::new() };
        vault.save(&world)?;
        Ok((vault, world))
    }

    /// Makes the state durable; does nothing when nothing has changed.
    pub fn save(&mut self, world: &World) -> Result<()> {
        let text = serde_json::to_vec(world)
            .map_err(|error| Error::new("cannot write down the sandbox's state").because(&error))?;
        if text != self.written {
            write_whole(&self.path, &text)?;
            self.written = text;
        }
        Ok(())
    }
}

/// Replaces a file at once or not at all; private, and on disk when this returns.
pub fn write_whole(path: &Path, text: &[u8]) -> Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let write = || -> std::io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        file.write_all(text)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        std::fs::File::open(dir)?.sync_all()
    };
    write().map_err(|error| cannot_use(path, &error))
}

/// Makes a sandbox's folder, private and ignored by git, its parent `.dacapo` too.
pub fn prepare(dir: &Path) -> Result<()> {
    make_private(dir)?;
    let parent = dir.parent().filter(|parent| parent.file_name().is_some_and(|name| name == ".dacapo"));
    for dir in parent.into_iter().chain([dir]) {
        let path = dir.join(".gitignore");
        if !path.exists() {
            std::fs::write(&path, "*\n").map_err(|error| cannot_use(&path, &error))?;
        }
    }
    Ok(())
}

fn make_private(dir: &Path) -> Result<()> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|error| cannot_use(dir, &error))?;
    let mode = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(dir, mode).map_err(|error| cannot_use(dir, &error))
}

/// Words a failure of the disk.
pub fn cannot_use(path: &Path, error: &std::io::Error) -> Error {
    Error::new(format!("cannot use the sandbox's `{}`", path.display())).because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_killed_world_never_shows_an_earlier_time_again() {
        let dir = tempfile::tempdir().unwrap();
        let start: Timestamp = "2026-11-23T10:00:00Z".parse().unwrap();
        let (mut vault, mut world) = Vault::open(dir.path(), start).unwrap();
        let shown: Timestamp = "2026-11-23T10:05:00Z".parse().unwrap();
        world.reserve(shown, 60.0);
        vault.save(&world).unwrap();
        let (_, again) = Vault::open(dir.path(), start).unwrap();
        assert!(again.clock >= shown);
        assert_eq!(again.admin_key, world.admin_key);
    }

    #[test]
    fn the_folder_is_kept_out_of_git_and_from_others() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join(".dacapo/sandbox");
        prepare(&dir).unwrap();
        for ignored in [".dacapo/.gitignore", ".dacapo/sandbox/.gitignore"] {
            assert_eq!(std::fs::read_to_string(root.path().join(ignored)).unwrap(), "*\n");
        }
        assert_eq!(std::fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
    }
}
