//! Key files of the embedded world: made when first asked for, then kept.

use std::path::Path;

use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
use russh::keys::{PrivateKey, PublicKey};

use super::files;
use crate::error::{Error, Result};

/// Returns the ed25519 key kept in `file`, making it (mode 0600, no passphrase) if there is none yet.
///
/// `comment` goes into a new key only.
pub fn load_or_make(file: &Path, comment: &str) -> Result<PrivateKey> {
    if !file.exists() {
        let text = make(comment)?.to_openssh(LineEnding::LF).map_err(|error| wording(file, &error))?;
        files::write_private_once(file, text.as_bytes())?;
    }
    PrivateKey::read_openssh_file(file).map_err(|error| wording(file, &error))
}

/// Returns the public half as one line of an `authorized_keys` file, with its comment.
pub fn public_line(key: &PublicKey) -> Result<String> {
    key.to_openssh().map_err(|error| Error::new("cannot write down a public key").because(&error))
}

fn make(comment: &str) -> Result<PrivateKey> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| Error::new("cannot make a key").because(&error))?;
    PrivateKey::new(KeypairData::Ed25519(Ed25519Keypair::from_seed(&seed)), comment)
        .map_err(|error| Error::new("cannot make a key").because(&error))
}

fn wording(file: &Path, error: &russh::keys::ssh_key::Error) -> Error {
    Error::new(format!("cannot use the key file `{}`", file.display())).because(error)
}
