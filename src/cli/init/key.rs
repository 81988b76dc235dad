//! An SSH key pair, made by OpenSSH's own `ssh-keygen`: never in the place of a file that is there.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::interrupted;
use crate::error::{Error, ExitCode, Result};
use crate::facts::PublicKey;

/// The public half of the pair that is made where no other is named.
pub(super) const DEFAULT: &str = "~/.ssh/id_ed25519.pub";

/// The signal that Ctrl-C sends.
const INTERRUPT: i32 = 2;

/// What is to be made before the session can be.
pub(super) enum NewKey {
    /// Nothing: the key is there.
    None,
    /// A pair, whose public half goes to this file.
    Pair(String),
    /// The public half of a key that only the agent has.
    Public(PathBuf, PublicKey),
}

/// Makes a pair and returns its private half's file. A person is asked for a passphrase; otherwise it has none.
pub(super) fn make(public: &str, home: &Path, asks: bool) -> Result<PathBuf> {
    let file = place(public, home)?;
    let what = || Error::new(format!("cannot make the key pair `{}`", file.display()));
    let folder = file.parent().unwrap_or(home);
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| what().because(&error))?;
    // Made aside, so that neither half is ever seen half-written or takes the place of another.
    let aside = tempfile::Builder::new()
        .prefix(".dacapo-key-")
        .permissions(fs::Permissions::from_mode(0o700))
        .tempdir_in(folder)
        .map_err(|error| what().because(&error))?;
    let made = aside.path().join("key");
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-q", "-t", "ed25519", "-C", "dacapo", "-f"]).arg(&made);
    if !asks {
        keygen.args(["-N", ""]).stdin(Stdio::null());
    }
    // Its words are for people, and the standard output is for data.
    let status = keygen.stdout(Stdio::null()).status().map_err(|error| {
        what().why("`ssh-keygen` can't be started").because(&error).hint("install the OpenSSH client")
    })?;
    // At the question for a passphrase Ctrl-C is ssh-keygen's first.
    if status.signal() == Some(INTERRUPT) {
        return Err(interrupted());
    }
    if !status.success() {
        return Err(what()
            .why(format!("`ssh-keygen` ended with {status}"))
            .hint("run the same command again"));
    }
    settle(&made, &file).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => there_already(&file),
        _ => what().because(&error),
    })?;
    Ok(file)
}

/// Writes a public key's file, where it isn't there with the same key already.
pub(super) fn write_public(file: &Path, key: &PublicKey) -> Result<()> {
    let what = || Error::new(format!("cannot write `{}`", file.display()));
    if let Ok(text) = fs::read_to_string(file) {
        let same = PublicKey::parse(&text).as_ref() == Some(key);
        return if same { Ok(()) } else { Err(there_already(file)) };
    }
    let placed =
        tempfile::NamedTempFile::new_in(file.parent().unwrap_or(Path::new("/"))).and_then(|mut draft| {
            writeln!(draft, "{}", key.as_str())?;
            draft.persist_noclobber(file).map(drop).map_err(io::Error::from)
        });
    placed.map_err(|error| what().because(&error))
}

/// Returns the private half's file; both halves must be free.
fn place(public: &str, home: &Path) -> Result<PathBuf> {
    let path = public.strip_prefix("~/").map_or_else(|| PathBuf::from(public), |below| home.join(below));
    if !path.is_absolute() || path.extension().is_none_or(|extension| extension != "pub") {
        return Err(Error::of(ExitCode::Usage, format!("`{public}` is no place for a new key"))
            .hint("name its public half, such as `--new-key --key ~/.ssh/dacapo.pub`"));
    }
    let private = path.with_extension("");
    for half in [&private, &path] {
        if fs::symlink_metadata(half).is_ok() {
            return Err(there_already(half));
        }
    }
    Ok(private)
}

fn there_already(file: &Path) -> Error {
    Error::of(ExitCode::Usage, format!("`{}` is there already", file.display()))
        .why("a key is never written over")
        .hint("use it by leaving out `--new-key`, or name another with `--key ~/.ssh/NAME.pub`")
}

/// Puts both halves where nothing is yet, the private one last: it is what makes the pair one.
fn settle(made: &Path, file: &Path) -> io::Result<()> {
    let public = |path: &Path| path.with_extension("pub");
    fs::set_permissions(made, fs::Permissions::from_mode(0o600))?;
    fs::hard_link(public(made), public(file))?;
    fs::hard_link(made, file).inspect_err(|_| drop(fs::remove_file(public(file))))
}
