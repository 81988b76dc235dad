//! The store's listing read as versions of artifacts; pure.
//!
//! A version is an object named `{date}_{file}` or `{date}_{file}.gz`, with `-2`, `-3`, … behind the date
//! when a day has more than one; whoever put it there. Beside it may lie a manifest whose *name* carries
//! the payload's hash, so that one listing tells every version's identity and nothing has to be read.

use serde::{Deserialize, Serialize};

use crate::digest::ContentHash;
use crate::facts::StoredFile;

/// One stored content of an artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The object's name, which is the version's.
    pub name: String,
    /// The object as the store lists it.
    pub file: StoredFile,
    /// The unpacked content; unknown for a packed object that has no manifest of ours.
    pub payload: Option<ContentHash>,
    /// Whether the object is a gzip of the payload.
    pub packed: bool,
    /// The name of the manifest that speaks of this very object; none, or more than one that disagree.
    pub manifest: Option<String>,
}

/// What the manifest beside a version says of how it came to be.
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
    /// `none` or `gzip`.
    pub compression: String,
    /// The commit that the checkout was at.
    pub commit: Option<String>,
    /// The type of the machine that made it.
    pub instance_type: Option<String>,
    /// The session that stored it.
    pub session: String,
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

    /// Returns whether the manifest speaks of this version: of the same object with the same content.
    pub fn speaks_of(&self, version: &Version) -> bool {
        self.stored == version.file.content && Some(self.payload) == version.payload
    }
}

/// Returns every version of the artifact whose file is `file_name`, oldest first.
pub fn versions(files: &[StoredFile], file_name: &str) -> Vec<Version> {
    let mut found: Vec<Version> = files
        .iter()
        .filter(|file| is_version_of(&file.path, file_name))
        .map(|file| version(files, file, file_name))
        .collect();
    found.sort_by(|a, b| (a.file.modified, &a.name).cmp(&(b.file.modified, &b.name)));
    found
}

/// Returns a name for a version stored on `date` (`YYYY-MM-DD`) that no listed object has.
pub fn free_name(files: &[StoredFile], date: &str, file_name: &str, gzip: bool) -> String {
    let suffix = if gzip { ".gz" } else { "" };
    let taken = |name: &str| files.iter().any(|file| file.path.eq_ignore_ascii_case(name));
    let first = format!("{date}_{file_name}{suffix}");
    if !taken(&first) {
        return first;
    }
    (2..)
        .map(|number: u32| format!("{date}-{number}_{file_name}{suffix}"))
        .find(|name| !taken(name))
        .expect("a store holds fewer objects than there are numbers")
}

/// Returns the name of the manifest beside a version: it tells the payload and the object it speaks of.
pub fn manifest_name(version: &str, payload: &ContentHash, stored: &ContentHash) -> String {
    format!("{version}.{payload}.{}.json", &stored.to_string()[..16])
}

/// The last component of an artifact's path, which names its versions.
pub fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn is_version_of(path: &str, file_name: &str) -> bool {
    let Some((date, rest)) = path.split_once('_') else { return false };
    let same = |a: &str| a.eq_ignore_ascii_case(file_name);
    is_date(date) && (same(rest) || rest.strip_suffix(".gz").is_some_and(same))
}

/// `2026-11-20` or `2026-11-20-2`.
fn is_date(text: &str) -> bool {
    let Some(day) = text.get(..10) else { return false };
    let number = &text[10..];
    day.parse::<jiff::civil::Date>().is_ok()
        && (number.is_empty()
            || number
                .strip_prefix('-')
                .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit())))
}

fn version(files: &[StoredFile], object: &StoredFile, file_name: &str) -> Version {
    let plain = object.path.split_once('_').is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(file_name));
    let (told, manifest) = told_by_manifest(files, object).unzip();
    let payload = if plain { Some(object.content) } else { told };
    Version { name: object.path.clone(), file: object.clone(), payload, packed: !plain, manifest }
}

/// Returns the payload that the object's manifest tells, and the manifest's name.
fn told_by_manifest(files: &[StoredFile], object: &StoredFile) -> Option<(ContentHash, String)> {
    let stored = &object.content.to_string()[..16];
    let mut told = files.iter().filter_map(|file| {
        let rest = file.path.strip_prefix(object.path.as_str())?.strip_prefix('.')?;
        let (payload, rest) = rest.split_once('.')?;
        // A manifest speaks only of the object it was written for, not of one put in its place later.
        let payload = (rest.strip_suffix(".json")? == stored).then(|| payload.parse().ok())??;
        Some((payload, file.path.clone()))
    });
    // Two that contradict each other prove nothing.
    let first = told.next()?;
    told.all(|other| other.0 == first.0).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(path: &str, content: &[u8], second: i64) -> StoredFile {
        StoredFile {
            path: path.to_owned(),
            rev: "0123456789".to_owned(),
            size: content.len() as u64,
            content: ContentHash::of(content),
            modified: jiff::Timestamp::from_second(second).unwrap(),
        }
    }

    #[test]
    fn a_hand_made_upload_is_a_version_and_the_newest_by_the_stores_time_is_last() {
        let files = [
            stored("2026-11-21_export.pkl", b"b", 10),
            stored("2026-11-20_export.pkl.gz", b"a", 20),
            stored("2026-11-20-2_EXPORT.pkl", b"c", 5),
            stored("2026-13-20_export.pkl", b"no such month", 30),
            stored("2026-11-20_export.pkl.bak", b"another file", 30),
            stored("export.pkl", b"no date", 30),
        ];
        let names: Vec<_> = versions(&files, "export.pkl").into_iter().map(|v| v.name).collect();
        assert_eq!(names, ["2026-11-20-2_EXPORT.pkl", "2026-11-21_export.pkl", "2026-11-20_export.pkl.gz"]);
    }

    #[test]
    fn a_packed_version_is_known_by_its_manifest_until_the_object_is_replaced() {
        let payload = ContentHash::of(b"payload");
        let object = stored("2026-11-20_export.pkl.gz", b"packed", 1);
        let manifest = stored(&manifest_name(&object.path, &payload, &object.content), b"{}", 2);
        let known = versions(&[object.clone(), manifest.clone()], "export.pkl");
        assert_eq!(known[0].payload, Some(payload));
        let replaced = StoredFile { content: ContentHash::of(b"by hand"), ..object };
        assert_eq!(versions(&[replaced, manifest], "export.pkl")[0].payload, None);
    }

    #[test]
    fn a_manifest_is_read_and_a_newer_or_broken_one_is_not_guessed_at() {
        let object = stored("2026-11-20_export.pkl.gz", b"packed", 1);
        let payload = ContentHash::of(b"payload");
        let manifest = Manifest {
            version: 1,
            payload,
            size: 7,
            stored: object.content,
            compression: "gzip".to_owned(),
            commit: None,
            instance_type: None,
            session: "lesson3".to_owned(),
        };
        let name = manifest_name(&object.path, &payload, &object.content);
        let listed = versions(&[object, stored(&name, b"{}", 2)], "export.pkl").remove(0);
        assert_eq!(listed.manifest, Some(name));

        let mut written = serde_json::to_value(&manifest).unwrap();
        written["gpu"] = "added later".into();
        let read = Manifest::parse(written.to_string().as_bytes()).unwrap();
        assert_eq!(read, manifest);
        assert!(read.speaks_of(&listed));
        assert!(!Manifest { payload: ContentHash::of(b"edited"), ..read.clone() }.speaks_of(&listed));
        assert!(!Manifest { stored: ContentHash::of(b"edited"), ..read }.speaks_of(&listed));

        written["version"] = 2.into();
        assert!(Manifest::parse(written.to_string().as_bytes()).unwrap_err().contains("newer dacapo"));
        assert!(Manifest::parse(b"[1]").unwrap_err().starts_with("it is not a manifest"));
    }

    #[test]
    fn manifests_that_contradict_each_other_prove_nothing() {
        let object = stored("2026-11-20_export.pkl.gz", b"packed", 1);
        let says = |payload: &[u8]| {
            stored(&manifest_name(&object.path, &ContentHash::of(payload), &object.content), b"{}", 2)
        };
        let told = |manifests: [StoredFile; 2]| {
            let [first, second] = manifests;
            versions(&[object.clone(), first, second], "export.pkl")[0].payload
        };
        assert_eq!(told([says(b"one"), says(b"other")]), None);
        assert_eq!(told([says(b"one"), says(b"one")]), Some(ContentHash::of(b"one")));
    }

    #[test]
    fn a_days_second_version_gets_a_number() {
        let files =
            [stored("2026-11-20_Export.pkl.gz", b"a", 1), stored("2026-11-20-2_export.pkl.gz", b"b", 2)];
        assert_eq!(free_name(&files, "2026-11-20", "export.pkl", true), "2026-11-20-3_export.pkl.gz");
        assert_eq!(free_name(&files, "2026-11-20", "export.pkl", false), "2026-11-20_export.pkl");
    }
}
