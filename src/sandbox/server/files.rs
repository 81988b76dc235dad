//! Files and directories of the embedded world, private to the user who runs it.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

use tempfile::NamedTempFile;

use crate::error::{Error, Result};

/// Makes a directory (mode 0700) and those above it; one that exists is left as it is.
pub fn make_private(directory: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|error| Error::new(format!("cannot make `{}`", directory.display())).because(&error))
}

/// Writes a file (mode 0600) so that it is there whole or not at all, making its directory if need be.
pub fn write_private(file: &Path, bytes: &[u8]) -> Result<()> {
    write(file, bytes, 0o600, |part| replace(part, file))
}

/// Writes a file (mode 0600) unless it is already there: of several at once, the first one stays.
pub fn write_private_once(file: &Path, bytes: &[u8]) -> Result<()> {
    write(file, bytes, 0o600, |part| match part.persist_noclobber(file) {
        Err(error) if error.error.kind() != io::ErrorKind::AlreadyExists => Err(error.error),
        _ => Ok(()),
    })
}

/// Writes a program (mode 0700) so that it is there whole or not at all.
pub fn write_program(file: &Path, text: &str) -> Result<()> {
    write(file, text.as_bytes(), 0o700, |part| replace(part, file))
}

/// Removes a directory and all below it; one that is gone already counts as removed.
pub fn remove(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::new(format!("cannot remove `{}`", directory.display())).because(&error))
        }
        _ => Ok(()),
    }
}

/// Copies a directory and all below it, links as links.
pub fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    let failed = |error: io::Error| {
        Error::new(format!("cannot copy `{}` to `{}`", from.display(), to.display())).because(&error)
    };
    make_private(to)?;
    for entry in fs::read_dir(from).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().map_err(failed)?;
        if kind.is_dir() {
            copy_tree(&source, &target)?;
        } else if kind.is_symlink() {
            let link = fs::read_link(&source).map_err(failed)?;
            std::os::unix::fs::symlink(link, &target).map_err(failed)?;
        } else if kind.is_file() {
            fs::copy(&source, &target).map_err(failed)?;
        }
    }
    Ok(())
}

fn replace(part: NamedTempFile, file: &Path) -> io::Result<()> {
    part.persist(file).map(drop).map_err(|error| error.error)
}

fn write(
    file: &Path,
    bytes: &[u8],
    mode: u32,
    persist: impl FnOnce(NamedTempFile) -> io::Result<()>,
) -> Result<()> {
    let directory = file.parent().unwrap_or(Path::new("."));
    make_private(directory)?;
    let attempt = || {
        let mut part = NamedTempFile::new_in(directory)?;
        part.write_all(bytes)?;
        part.as_file().set_permissions(Permissions::from_mode(mode))?;
        persist(part)
    };
    attempt().map_err(|error| Error::new(format!("cannot write `{}`", file.display())).because(&error))
}
