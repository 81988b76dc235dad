//! A host key made on the laptop, and the startup script that gives it to a new server.
//!
//! So the first contact is as strict as every later one. The private half is only ever in this process's memory
//! and in the script, which is removed from the account once the server has booted.

use russh::keys::PrivateKey;
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
use secrecy::{ExposeSecret as _, SecretString};

use crate::error::{Error, Result};
use crate::facts::PublicKey;

/// What runs on the server as root at its first boot, in the background. It is plain `sh`, since the image
/// decides what that is.
const SCRIPT: &str = include_str!("host_key.sh");

/// A new server's host key.
pub struct HostKey {
    public: PublicKey,
    private: SecretString,
}

impl HostKey {
    /// Makes a key from fresh randomness.
    pub fn make() -> Result<Self> {
        let failed = || Error::new("cannot make a host key for the new server");
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| failed().because(&error))?;
        let pair = KeypairData::Ed25519(Ed25519Keypair::from_seed(&seed));
        let key = PrivateKey::new(pair, "").map_err(|error| failed().because(&error))?;
        let public = key.public_key().to_openssh().map_err(|error| failed().because(&error))?;
        let public = PublicKey::parse(&public).ok_or_else(failed)?;
        let private = key.to_openssh(LineEnding::LF).map_err(|error| failed().because(&error))?;
        Ok(Self { public, private: private.as_str().into() })
    }

    /// Returns the public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Returns the startup script that sets it.
    pub fn script(&self) -> SecretString {
        let private = self.private.expose_secret().trim_end();
        SCRIPT.replace("@private@", private).replace("@public@", self.public.as_str()).into()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::Command;

    use super::*;

    #[test]
    fn the_script_sets_a_key_that_ssh_reads_and_no_two_are_alike() {
        let root = tempfile::tempdir().unwrap();
        let keys = root.path().join("etc/ssh");
        fs::create_dir_all(&keys).unwrap();
        fs::write(keys.join("ssh_host_ed25519_key"), "the image's own").unwrap();
        let (one, other) = (HostKey::make().unwrap(), HostKey::make().unwrap());
        assert_ne!(one.public(), other.public());
        // Twice: a boot that was cut short goes through it again.
        for _ in 0..2 {
            let mut shell = Command::new("sh");
            shell.arg("-c").arg(one.script().expose_secret()).env("DESTDIR", root.path());
            let output = shell.output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        let private = keys.join("ssh_host_ed25519_key");
        assert_eq!(fs::metadata(&private).unwrap().permissions().mode() & 0o777, 0o600);
        let read = Command::new("ssh-keygen").arg("-y").arg("-f").arg(&private).output().unwrap();
        let read = PublicKey::parse(&String::from_utf8_lossy(&read.stdout));
        assert_eq!(read.as_ref(), Some(one.public()));
        let public = fs::read_to_string(keys.join("ssh_host_ed25519_key.pub")).unwrap();
        assert_eq!(PublicKey::parse(&public).as_ref(), Some(one.public()));
        let kept = fs::read_to_string(root.path().join("etc/cloud/cloud.cfg.d/99-dacapo.cfg")).unwrap();
        assert_eq!(kept, "ssh_deletekeys: false\n");
        let names = fs::read_dir(&keys).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(names.count(), 2, "nothing else is left beside them");
    }
}
