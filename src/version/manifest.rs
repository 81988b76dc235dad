//! Manifests: what stands beside a version and says how it came to be.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Version;
use crate::digest::ContentHash;
use crate::facts::Environment;

/// What the manifest beside a version says of how it came to be.
///
/// What is optional may be unknown, or the manifest may be older than the field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The format: 1.
    pub version: u32,
    /// The unpacked content.
    pub payload: ContentHash,
    /// Its size in bytes.
    pub size: u64,
    /// The object as stored.
    pub stored: ContentHash,
    /// When the store took it, by the store's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored_at: Option<Timestamp>,
    /// `none` or `gzip`.
    pub compression: String,
    /// The commit that the checkout was at.
    pub commit: Option<String>,
    /// Whether the checkout differed from that commit, the artifacts themselves aside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dirty: Option<bool>,
    /// The type of the machine that made it.
    pub instance_type: Option<String>,
    /// The image that the machine was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// What programs ran with there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<Environment>,
    /// The session that stored it; for an upload by hand, the one that found out what it holds.
    pub session: String,
    /// Whether it was uploaded by hand: then nobody knows what made it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_hand: bool,
}

/// What is known of how a version came to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// No manifest lies beside it.
    Nothing,
    /// What its manifest says.
    By(Box<Manifest>),
    /// Its manifest can't be used; the text says why.
    Unusable(String),
}

impl Manifest {
    /// The format that this program writes.
    pub const FORMAT: u32 = 1;

    /// Reads a manifest; says why it can't be used.
    ///
    /// Unknown fields are left alone, a higher format isn't guessed at.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Format {
            version: u32,
        }
        let Format { version } =
            serde_json::from_slice(bytes).map_err(|error| format!("it is not a manifest: {error}"))?;
        if version > Self::FORMAT {
            return Err(format!(
                "its format is {version}, written by a newer dacapo; this one reads up to {}",
                Self::FORMAT
            ));
        }
        serde_json::from_slice(bytes).map_err(|error| format!("it is not a manifest: {error}"))
    }

    /// Reads the manifest beside a version, which must speak of that very version.
    pub fn told(bytes: &[u8], version: &Version) -> Told {
        match Self::parse(bytes) {
            Ok(manifest) if manifest.speaks_of(version) => Told::By(Box::new(manifest)),
            Ok(_) => Told::Unusable("it doesn't say what its own name says: it was edited".to_owned()),
            Err(why) => Told::Unusable(why),
        }
    }

    /// Returns whether the manifest speaks of this version: of the same object with the same content.
    pub fn speaks_of(&self, version: &Version) -> bool {
        self.stored == version.file.content && Some(self.payload) == version.payload
    }
}

#[cfg(test)]
mod tests {
    use super::super::{manifest_name, versions};
    use super::*;
    use crate::facts::StoredFile;

    fn stored(path: &str, content: &[u8]) -> StoredFile {
        StoredFile {
            path: path.to_owned(),
            rev: "0123456789".to_owned(),
            size: content.len() as u64,
            content: ContentHash::of(content),
            modified: Timestamp::UNIX_EPOCH,
        }
    }

    /// A version, and the manifest as this program's first release wrote it.
    fn first() -> (Version, serde_json::Value) {
        let object = stored("2026-11-20_export.pkl.gz", b"packed");
        let payload = ContentHash::of(b"payload");
        let written = serde_json::json!({
            "version": 1, "payload": payload, "size": 7, "stored": object.content, "compression": "gzip",
            "commit": null, "instance_type": "1L40S.20V", "session": "lesson3",
        });
        let beside = stored(&manifest_name(&object.path, &payload, &object.content), b"{}");
        let name = beside.path.clone();
        let listed = versions(&[object, beside], "export.pkl").remove(0);
        assert_eq!(listed.manifest, Some(name));
        (listed, written)
    }

    fn read(written: &serde_json::Value) -> Manifest {
        Manifest::parse(written.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn an_older_manifest_is_read_and_unknown_fields_are_left_alone() {
        let (listed, mut written) = first();
        let older = read(&written);
        assert!(older.speaks_of(&listed));
        assert_eq!((older.dirty, &older.environment, older.by_hand), (None, &None, false));
        assert_eq!(serde_json::to_value(&older).unwrap(), written, "what isn't known isn't written");
        written["gpu"] = "added later".into();
        written["environment"] = serde_json::json!({"python": "3.12.3", "channel": "added later"});
        let python = Some("3.12.3".to_owned());
        assert_eq!(read(&written).environment, Some(Environment { python, ..Environment::default() }));
    }

    #[test]
    fn a_newer_edited_or_broken_manifest_is_not_guessed_at() {
        let (listed, written) = first();
        let unusable = |bytes: &[u8]| match Manifest::told(bytes, &listed) {
            Told::Unusable(why) => why,
            told => panic!("{told:?}"),
        };
        let with = |key: &str, value: serde_json::Value| {
            let mut changed = written.clone();
            changed[key] = value;
            changed.to_string().into_bytes()
        };
        assert!(matches!(Manifest::told(written.to_string().as_bytes(), &listed), Told::By(_)));
        assert!(unusable(&with("payload", ContentHash::of(b"edited").to_string().into())).contains("edited"));
        assert!(unusable(&with("stored", ContentHash::of(b"edited").to_string().into())).contains("edited"));
        assert!(unusable(&with("version", 2.into())).contains("newer dacapo"));
        assert!(unusable(&with("size", "large".into())).starts_with("it is not a manifest"));
        assert!(unusable(b"[1]").starts_with("it is not a manifest"));
    }
}
