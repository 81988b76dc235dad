//! The short private directory for sockets.

use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::digest::sha256_hex;
use crate::error::{Error, Result};
use crate::sandbox::server::files;

/// The longest directory in which a socket may still lie: its path may have 104 bytes on macOS, 108 on
/// Linux, and some 30 of them are the socket's own name.
const LONGEST: usize = 70;

/// Returns an empty directory (mode 0700) for the sockets of the sandbox kept in `directory`.
///
/// It is the same one each time, below `$XDG_RUNTIME_DIR` or the temporary directory; what an earlier
/// process left in it is removed, so there must be no other one (the sandbox's lock sees to that).
pub fn runtime_directory(directory: &Path) -> Result<PathBuf> {
    files::make_private(directory)?;
    let name = format!("dacapo-{}", &sha256_hex(directory.as_os_str().as_encoded_bytes())[..12]);
    let runtime = base().join(name);
    files::make_private(&runtime)?;
    check_owner(&runtime, directory)?;
    empty(&runtime).map_err(|error| wording(&runtime).because(&error))?;
    Ok(runtime)
}

fn base() -> PathBuf {
    let session = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let candidates = session.into_iter().chain([env::temp_dir()]);
    let fits = |base: &PathBuf| base.is_absolute() && base.is_dir() && base.as_os_str().len() <= LONGEST - 20;
    candidates.into_iter().find(fits).unwrap_or_else(|| PathBuf::from("/tmp"))
}

/// The name can be guessed, so somebody else may have made the directory first.
fn check_owner(runtime: &Path, directory: &Path) -> Result<()> {
    let look = || Ok((fs::symlink_metadata(runtime)?, fs::metadata(directory)?));
    let (there, ours) = look().map_err(|error: std::io::Error| wording(runtime).because(&error))?;
    if !there.is_dir() || there.uid() != ours.uid() || there.mode() & 0o077 != 0 {
        return Err(wording(runtime).why("it is not a private directory of yours").hint("remove it"));
    }
    Ok(())
}

fn empty(runtime: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(runtime)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn wording(runtime: &Path) -> Error {
    Error::new(format!("cannot use `{}` for sockets", runtime.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_earlier_process_left_is_gone_and_the_place_is_the_same() {
        let world = tempfile::tempdir().unwrap();
        let first = runtime_directory(world.path()).unwrap();
        fs::write(first.join("agent-old"), "").unwrap();
        let second = runtime_directory(world.path()).unwrap();
        assert_eq!(first, second);
        assert_eq!(fs::read_dir(&second).unwrap().count(), 0);
        fs::remove_dir(second).unwrap();
    }

    #[test]
    fn a_directory_open_to_others_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let world = tempfile::tempdir().unwrap();
        let runtime = runtime_directory(world.path()).unwrap();
        fs::set_permissions(&runtime, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(runtime_directory(world.path()).is_err());
        fs::remove_dir(runtime).unwrap();
    }
}
