//! The store's listing read as versions of artifacts; pure.
//!
//! A version is an object named `{date}_{file}` or `{date}_{file}.gz`, with `-2`, `-3`, … behind the date
//! when a day has more than one; whoever put it there. Beside it may lie a manifest whose *name* carries
//! the payload's hash, so that one listing tells every version's identity and nothing has to be read.

mod manifest;

use crate::digest::ContentHash;
use crate::facts::{StoredFile, folded};

pub use manifest::{Manifest, Told};

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

/// Returns every manifest that lies beside the version of this name, whatever object it speaks of.
pub fn manifests_of<'a>(files: &'a [StoredFile], version: &str) -> Vec<&'a StoredFile> {
    let speaks = |file: &&StoredFile| beside(&file.path).is_some_and(|beside| beside.version == version);
    files.iter().filter(speaks).collect()
}

/// Returns the manifests of this artifact's versions whose version isn't there any more, with its name.
pub fn left_manifests<'a>(files: &'a [StoredFile], file_name: &str) -> Vec<(&'a str, &'a StoredFile)> {
    let left = |file: &'a StoredFile| {
        let Beside { version, .. } = beside(&file.path)?;
        let there = files.iter().any(|other| folded(&other.path) == folded(version));
        (is_version_of(version, file_name) && !there).then_some((version, file))
    };
    files.iter().filter_map(left).collect()
}

/// Returns a name for a version stored on `date` (`YYYY-MM-DD`) that no listed object has.
pub fn free_name(files: &[StoredFile], date: &str, file_name: &str, gzip: bool) -> String {
    let suffix = if gzip { ".gz" } else { "" };
    // What is left of a version that is gone still speaks of it, and of no other that took its name.
    let named = |path: &str, name: &str| {
        folded(path) == *name || beside(path).is_some_and(|beside| folded(beside.version) == *name)
    };
    let taken = |name: &str| {
        let name = folded(name);
        files.iter().any(|file| named(&file.path, &name))
    };
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
    let same = |name: &str| folded(name) == folded(file_name);
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
    let plain = object.path.split_once('_').is_some_and(|(_, rest)| folded(rest) == folded(file_name));
    let (told, manifest) = told_by_manifest(files, object).unzip();
    let payload = if plain { Some(object.content) } else { told };
    Version { name: object.path.clone(), file: object.clone(), payload, packed: !plain, manifest }
}

/// Returns the payload that the object's manifest tells, and the manifest's name.
fn told_by_manifest(files: &[StoredFile], object: &StoredFile) -> Option<(ContentHash, String)> {
    let stored = &object.content.to_string()[..16];
    let mut told = files.iter().filter_map(|file| {
        let Beside { version, payload, stored: told } = beside(&file.path)?;
        // A manifest speaks only of the object it was written for, not of one put in its place later.
        (version == object.path && told == stored).then(|| (payload, file.path.clone()))
    });
    // Two that contradict each other prove nothing.
    let first = told.next()?;
    told.all(|other| other.0 == first.0).then_some(first)
}

/// What a manifest's name tells.
struct Beside<'a> {
    version: &'a str,
    payload: ContentHash,
    stored: &'a str,
}

/// Reads a manifest's name; none for any other file's.
fn beside(path: &str) -> Option<Beside<'_>> {
    let (rest, stored) = path.strip_suffix(".json")?.rsplit_once('.')?;
    let (version, payload) = rest.rsplit_once('.')?;
    let hex = stored.len() == 16 && stored.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    Some(Beside { version, payload: payload.parse().ok().filter(|_| hex)?, stored })
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
    fn a_version_that_is_gone_leaves_its_name_to_its_manifest() {
        let (payload, content) = (ContentHash::of(b"payload"), ContentHash::of(b"stored"));
        let manifest = stored(&manifest_name("2026-11-20_export.pkl.gz", &payload, &content), b"{}", 1);
        let free = |gzip| free_name(std::slice::from_ref(&manifest), "2026-11-20", "export.pkl", gzip);
        assert_eq!(free(true), "2026-11-20-2_export.pkl.gz");
        assert_eq!(free(false), "2026-11-20_export.pkl");
    }

    #[test]
    fn a_days_second_version_gets_a_number() {
        let files =
            [stored("2026-11-20_Export.pkl.gz", b"a", 1), stored("2026-11-20-2_export.pkl.gz", b"b", 2)];
        assert_eq!(free_name(&files, "2026-11-20", "export.pkl", true), "2026-11-20-3_export.pkl.gz");
        assert_eq!(free_name(&files, "2026-11-20", "export.pkl", false), "2026-11-20_export.pkl");
    }
    #[test]
    fn names_differ_as_the_store_tells_them_apart() {
        let files = [stored("2026-11-20_ÄPFEL.pkl", b"a", 1)];
        assert_eq!(versions(&files, "äpfel.pkl").len(), 1);
        assert_eq!(free_name(&files, "2026-11-20", "äpfel.pkl", false), "2026-11-20-2_äpfel.pkl");
    }

    #[test]
    fn a_manifest_is_left_when_its_version_is_gone_not_when_another_object_took_its_place() {
        let object = stored("2026-11-20_export.pkl", b"a", 1);
        let of = |version: &str| stored(&manifest_name(version, &object.content, &object.content), b"{}", 2);
        let (beside, gone) = (of(&object.path), of("2026-11-19_export.pkl"));
        let files = [object.clone(), beside.clone(), gone.clone(), of("2026-11-19_other.pkl")];
        assert_eq!(manifests_of(&files, &object.path), [&beside]);
        assert_eq!(left_manifests(&files, "export.pkl"), [("2026-11-19_export.pkl", &gone)]);
        let replaced =
            [StoredFile { content: ContentHash::of(b"by hand"), ..object.clone() }, beside.clone()];
        assert_eq!(manifests_of(&replaced, &object.path), [&beside]);
        assert_eq!(left_manifests(&replaced, "export.pkl"), []);
    }
    #[test]
    fn whatever_is_stored_under_the_longest_file_name_has_a_name_that_dropbox_takes() {
        let file_name = "ü".repeat(crate::spec::LONGEST_FILE_NAME);
        let files: Vec<StoredFile> = (1..=999)
            .map(|number| if number == 1 { String::new() } else { format!("-{number}") })
            .map(|number| stored(&format!("2026-11-20{number}_{file_name}.gz"), b"a", 1))
            .collect();
        let name = free_name(&files[..998], "2026-11-20", &file_name, true);
        let (payload, stored) = (ContentHash::of(b"payload"), files[0].content);
        assert_eq!(manifest_name(&name, &payload, &stored).chars().count(), 255);
    }
}
