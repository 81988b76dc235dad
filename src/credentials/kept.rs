//! The credentials that `dacapo login` keeps: one file below the config directory, for its owner alone.

use std::collections::BTreeMap;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize, Serializer};

use super::set;
use crate::durable::{self, Draft};
use crate::error::{Error, ExitCode, Result};

/// The format.
const VERSION: u32 = 1;

/// What is kept.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    version: u32,
    /// The cloud's pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud: Option<CloudPair>,
    /// Access to the user's own Dropbox app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropbox: Option<DropboxGrant>,
}

impl Default for Kept {
    fn default() -> Self {
        Self { version: VERSION, cloud: None, dropbox: None }
    }
}

/// The cloud's pair.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloudPair {
    /// The public half.
    pub client_id: String,
    /// The secret half.
    #[serde(serialize_with = "exposed")]
    pub client_secret: SecretString,
}

/// Access to a Dropbox app.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DropboxGrant {
    /// The app's public key.
    pub app_key: String,
    /// Permanent access to the app's part of the account.
    #[serde(serialize_with = "exposed")]
    pub refresh_token: SecretString,
    /// Whether the app sees nothing but a folder of its own.
    #[serde(default)]
    pub app_folder: bool,
}

fn exposed<S: Serializer>(secret: &SecretString, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose_secret())
}

/// Returns where they are kept: `$XDG_CONFIG_HOME/dacapo/credentials.toml`, else below `~/.config`.
pub fn kept_path(environment: &BTreeMap<String, String>, home: &Path) -> PathBuf {
    let config = set(environment, "XDG_CONFIG_HOME").filter(|path| path.starts_with('/'));
    config.map_or_else(|| home.join(".config"), PathBuf::from).join("dacapo/credentials.toml")
}

impl Kept {
    /// Reads what is kept; nothing where there is no file.
    ///
    /// Fails where others may read the file, where it can't be read, and where a newer dacapo wrote it. No message quotes
    /// any of it.
    pub fn read(path: &Path) -> Result<Self> {
        let what = || Error::of(ExitCode::Credentials, format!("cannot read `{}`", path.display()));
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(what().because(&error)),
        };
        let mode = std::fs::metadata(path).map_err(|error| what().because(&error))?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(what()
                .why(format!("others may read it (mode {:03o}), and secrets are in it", mode & 0o777))
                .hint(format!("chmod 600 '{}'", path.display())));
        }
        let hint =
            "use the newer dacapo, if one wrote it; else remove the file, and `dacapo login` writes it anew";
        let table: toml::Table =
            toml::from_str(&text).map_err(|error| what().why(placed(&error, &text)).hint(hint))?;
        match table.get("version").and_then(toml::Value::as_integer) {
            Some(version) if version == i64::from(VERSION) => {}
            Some(version) if version > i64::from(VERSION) => {
                return Err(what()
                    .why(format!("its format is {version}, and this dacapo knows {VERSION}"))
                    .hint("use the newer dacapo that wrote it"));
            }
            _ => return Err(what().why("it doesn't say its version").hint(hint)),
        }
        toml::from_str(&text).map_err(|error| what().why(placed(&error, &text)).hint(hint))
    }

    /// Writes it, mode 0600, or removes the file where nothing is left to keep.
    pub fn write(&self, path: &Path) -> Result<()> {
        let failed =
            |error: std::io::Error| Error::new(format!("cannot write `{}`", path.display())).because(&error);
        if self.cloud.is_none() && self.dropbox.is_none() {
            return match std::fs::remove_file(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed(error)),
                _ => Ok(()),
            };
        }
        let text = toml::to_string(self).expect("tables of strings can be written");
        let folder = path.parent().unwrap_or(Path::new("/"));
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        Draft::write(durable::Kept::Credentials, path, text.as_bytes())
            .and_then(Draft::replace)
            .map_err(failed)
    }
}

/// Where it is wrong, without a word of what stands there.
fn placed(error: &toml::de::Error, text: &str) -> String {
    let line =
        error.span().and_then(|span| text.get(..span.start)).map(|before| before.matches('\n').count() + 1);
    line.map_or_else(
        || "it is no credentials file".to_owned(),
        |line| format!("line {line} is not as dacapo writes it"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Kept {
        let dropbox = DropboxGrant {
            app_key: "key".into(),
            refresh_token: "r-secret".to_owned().into(),
            app_folder: true,
        };
        Kept { dropbox: Some(dropbox), ..Kept::default() }
    }

    #[test]
    fn what_is_written_is_read_again_by_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dacapo/credentials.toml");
        some().write(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let grant = Kept::read(&path).unwrap().dropbox.unwrap();
        assert_eq!((grant.app_key.as_str(), grant.refresh_token.expose_secret()), ("key", "r-secret"));
        assert!(!format!("{grant:?}").contains("r-secret"));
        Kept::default().write(&path).unwrap();
        assert!(!path.exists() && Kept::read(&path).unwrap().dropbox.is_none());
    }

    #[test]
    fn a_file_that_others_may_read_that_is_newer_or_broken_is_refused_and_never_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials.toml");
        let refused = |text: &str, mode: u32| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let error = Kept::read(&path).unwrap_err();
            assert_eq!(error.kind, ExitCode::Credentials);
            assert!(error.hint.is_some() && !error.to_string().contains("s3cr3t"), "{error}");
            error.to_string()
        };
        assert!(refused("version = 1\n", 0o640).contains("others may read it"));
        assert!(refused("version = 2\n", 0o600).contains("its format is 2"));
        assert!(refused("[cloud]\nclient_id = \"s3cr3t\"\n", 0o600).contains("version"));
        assert!(refused("version = 1\n[cloud]\nclient_secret = s3cr3t\n", 0o600).contains("line 3"));
        assert!(refused("version = 1\n[dropbox]\nrefresh_token = \"s3cr3t\"\n", 0o600).contains("line 2"));
    }
}
