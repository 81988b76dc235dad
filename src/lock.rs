//! `session.lock`: what the spec resolved to last time.
//!
//! Written by dacapo alone and committed beside the spec, so that a colleague, or the same person next
//! month, gets the same. Pure: text in, text out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use crate::digest::ContentHash;
use crate::error::{Error, ExitCode, Result};

const COMMENT: &str = "# written by dacapo; commit it beside session.toml\n";

/// The version of the format that is written, and the newest that is read.
const VERSION: i64 = 1;

const HINT: &str = "restore the lock from git, or delete it: the next `apply` writes a new one";

/// What was chosen where the spec left a choice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lock {
    /// The machine; none before the first one.
    pub machine: Option<LockedMachine>,
    /// The commit brought, 40 or 64 hex digits; none where the spec lies in the repo that it names.
    pub commit: Option<String>,
    /// The stored versions brought, by artifact.
    pub artifacts: BTreeMap<String, LockedArtifact>,
    /// The packages that there were when set-up ended, as `NAME==VERSION`, sorted; none where there is no set-up.
    pub packages: Option<Vec<String>>,
}

/// The machine chosen from the spec's candidates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedMachine {
    /// Instance type.
    #[serde(deserialize_with = "word")]
    pub r#type: String,
    /// Location code.
    #[serde(deserialize_with = "word")]
    pub location: String,
    /// Image slug.
    #[serde(deserialize_with = "word")]
    pub image: String,
}

/// The stored version of one artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedArtifact {
    /// The version's name in the store: a file name.
    #[serde(deserialize_with = "file_name")]
    pub version: String,
    /// The payload's hash, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<ContentHash>,
}

impl Lock {
    /// Reads a lock; everything in it is fit to be handed on, as in a spec.
    ///
    /// A broken lock is an error (exit code 3), never a lock that is silently empty.
    pub fn parse(text: &str) -> Result<Self> {
        let Versioned { version } = toml::from_str(text).map_err(|error| broken(text, &error))?;
        match version.map(|version| (*version.get_ref(), version.span().start)) {
            Some((VERSION, _)) => {}
            Some((newer, at)) if newer > VERSION => {
                return Err(refused(
                    text,
                    at,
                    &format!("its version is {newer}, and this dacapo reads up to {VERSION}"),
                )
                .hint("update dacapo, or delete the lock: the next `apply` writes a new one"));
            }
            Some((other, at)) => {
                return Err(refused(text, at, &format!("there is no version {other}")).hint(HINT));
            }
            None => return Err(refused(text, 0, "it has no `version`").hint(HINT)),
        }
        let written: Written = toml::from_str(text).map_err(|error| broken(text, &error))?;
        let Written { version: _, commit, packages, machine, artifacts } = written;
        Ok(Self { machine, commit, artifacts, packages })
    }

    /// Returns the lock as TOML: the same lock is the same text.
    pub fn to_text(&self) -> String {
        let Self { machine, commit, artifacts, packages } = self.clone();
        let written = Written { version: VERSION, commit, packages, machine, artifacts };
        let body = toml::to_string_pretty(&written).expect("a lock holds only strings, numbers and tables");
        format!("{COMMENT}{body}")
    }
}

/// Returns where the lock of the spec at `spec_path` lies: beside it, never the spec itself.
pub fn lock_path(spec_path: &Path) -> PathBuf {
    match spec_path.extension() {
        Some(extension) if extension == "lock" => spec_path.with_extension("lock.lock"),
        _ => spec_path.with_extension("lock"),
    }
}

/// What any version of the format has.
#[derive(Deserialize)]
struct Versioned {
    version: Option<toml::Spanned<i64>>,
}

/// The file, in the order in which it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: i64,
    #[serde(default, deserialize_with = "commit", skip_serializing_if = "Option::is_none")]
    commit: Option<String>,
    #[serde(default, deserialize_with = "packages", skip_serializing_if = "Option::is_none")]
    packages: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    machine: Option<LockedMachine>,
    #[serde(default, deserialize_with = "artifacts", skip_serializing_if = "BTreeMap::is_empty")]
    artifacts: BTreeMap<String, LockedArtifact>,
}

fn broken(text: &str, error: &toml::de::Error) -> Error {
    let at = error.span().map_or(0, |span| span.start);
    refused(text, at, error.message()).hint(HINT)
}

fn refused(text: &str, at: usize, why: &str) -> Error {
    let before = &text[..text.floor_char_boundary(at)];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Error::of(ExitCode::Usage, format!("the lock cannot be read: line {line}, column {column}"))
        .why(why.trim_end().replace('\n', "; "))
}

fn word<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    let odd = |c: char| c.is_control() || c.is_whitespace();
    if text.is_empty() || text.starts_with('-') || text.contains(odd) {
        return Err(D::Error::custom("expected one word that doesn't begin with `-`"));
    }
    Ok(text)
}

fn file_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    let odd = |c: char| c.is_control() || c == '/' || c == '\\';
    if text.is_empty() || text.starts_with(['-', '.']) || text.contains(odd) {
        return Err(D::Error::custom("expected the file name of a stored version"));
    }
    Ok(text)
}

fn commit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let hex = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if !hex || ![40, 64].contains(&text.len()) {
        return Err(D::Error::custom("expected a commit: 40 or 64 lower-case hexadecimal digits"));
    }
    Ok(Some(text))
}

/// They end in a file for pip, so nothing may be one of its options, or an address.
fn packages<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    let packages = Vec::<String>::deserialize(deserializer)?;
    let fits = |text: &str, also: &str| {
        text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || also.contains(c))
    };
    let pinned = |package: &String| {
        package.split_once("==").is_some_and(|(name, version)| fits(name, "._-") && fits(version, "._-+!"))
    };
    match packages.iter().all(pinned) && packages.is_sorted() {
        true => Ok(Some(packages)),
        false => Err(D::Error::custom("expected packages as `NAME==VERSION`, sorted")),
    }
}

fn artifacts<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, LockedArtifact>, D::Error> {
    let artifacts = BTreeMap::<String, LockedArtifact>::deserialize(deserializer)?;
    let odd = |c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-');
    match artifacts.keys().find(|name| name.is_empty() || name.starts_with('-') || name.contains(odd)) {
        Some(_) => Err(D::Error::custom("expected an artifact's name: lower-case letters, digits, `_`, `-`")),
        None => Ok(artifacts),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn full() -> Lock {
        Lock {
            machine: Some(LockedMachine {
                r#type: "1L40S.20V".to_owned(),
                location: "FIN-03".to_owned(),
                image: "ubuntu-24.04-cuda-13.0-open-docker".to_owned(),
            }),
            commit: Some("4b825dc642cb6eb9a060e54bf8d69288fbee4904".to_owned()),
            packages: Some(vec!["fastai==2.7.18".to_owned(), "torch==2.5.1+cu124".to_owned()]),
            artifacts: BTreeMap::from([
                (
                    "model".to_owned(),
                    LockedArtifact {
                        version: "2026-01-02_export.pkl.gz".to_owned(),
                        content: Some(ContentHash::of(b"")),
                    },
                ),
                (
                    "log".to_owned(),
                    LockedArtifact { version: "2026-01-02_log.txt".to_owned(), content: None },
                ),
            ]),
        }
    }

    #[test]
    fn a_lock_reads_well_in_a_diff() {
        insta::assert_snapshot!(full().to_text(), @r#"
        # written by dacapo; commit it beside session.toml
        version = 1
        commit = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
        packages = [
            "fastai==2.7.18",
            "torch==2.5.1+cu124",
        ]

        [machine]
        type = "1L40S.20V"
        location = "FIN-03"
        image = "ubuntu-24.04-cuda-13.0-open-docker"

        [artifacts.log]
        version = "2026-01-02_log.txt"

        [artifacts.model]
        version = "2026-01-02_export.pkl.gz"
        content = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        "#);
    }

    #[test]
    fn an_empty_lock_is_a_lock() {
        assert_eq!(Lock::parse(&Lock::default().to_text()).unwrap(), Lock::default());
    }

    #[test]
    fn a_broken_lock_says_where_and_why() {
        let text = full().to_text();
        let mut shown = String::new();
        for (from, to) in [
            ("version = 1", "version = 2\nnew = true"),
            ("version = 1\n", ""),
            ("version = 1", "version = 0"),
            ("version = 1", "version = \"1\""),
            ("version = 1", "version = 1\nbranch = \"main\""),
            ("version = 1", "<<<<<<< HEAD\nversion = 1"),
            ("FIN-03", "--location"),
            ("location", "place"),
            ("4b825dc6", "refs/heads/"),
            ("2026-01-02_export.pkl.gz", "../export.pkl"),
            ("e3b0c442", "xyz"),
            ("fastai==", "-r "),
            ("fastai==2.7.18", "zlib==1"),
            ("[artifacts.log]", "[artifacts.Log]"),
            ("[machine]\ntype", "[machine]\n\"type"),
        ] {
            assert!(text.contains(from), "{from}");
            let error = Lock::parse(&text.replacen(from, to, 1)).expect_err(to);
            assert_eq!(error.kind, ExitCode::Usage);
            shown += &format!("{to:?}: {error}\n  hint: {}\n", error.hint.as_deref().unwrap());
        }
        insta::assert_snapshot!(shown, @r#"
        "version = 2\nnew = true": the lock cannot be read: line 2, column 11: its version is 2, and this dacapo reads up to 1
          hint: update dacapo, or delete the lock: the next `apply` writes a new one
        "": the lock cannot be read: line 1, column 1: it has no `version`
          hint: restore the lock from git, or delete it: the next `apply` writes a new one
        "version = 0": the lock cannot be read: line 2, column 11: there is no version 0
          hint: restore the lock from git, or delete it: the next `apply` writes a new one
        "version = \"1\"": the lock cannot be read: line 2, column 11: invalid type: string "1", expected i64
          hint: restore the lock from git, or delete it: the next `apply` writes a new one
        "version = 1\nbranch = \"main\"": the lock cannot be read: line 3, column 1: unknown field `branch`, expected one of `version`, `commit`, `packages`, `machine`, `artifacts`
          hint: restore the lock from git, or delete it: the next `apply` writes a new one
        "<<<<<<< HEAD\nversion = 1": the lock cannot be read: line 2, column 9: key with no value, expected `=`
          hint: restore the lock from git, or delete it: the next `apply` writes a new one
        "--location": the lock cannot be read: line 11, column 12: expected one word that doesn't begin with `-`
          hint: restore the lock from git, or delete it: the next `apply` writes a new one
        "place": the lock cannot be read: line 11, column 1: unknown field `place`, expected one of `type`, `location`, `image`
          hint: restore the lock from git, or delete it: the next `apply` writes a new one
        "refs/heads/": the lock cannot be read: line 3, column 10: expected a commit: 40 or 64 lower-case hexadecimal digits
          hint: restore the lock from git, or delete it: the next `apply` writes a new one
        "../export.pkl": the lock cannot be read: line 18, column 11: expected the file name of a stored version
          hint: restore the lock from git, or delete it: the next `apply` writes a new one
        "xyz": the lock cannot be read: line 19, column 11: a content hash is 64 hexadecimal digits
          hint: restore the lock from git, or delete it: the next `apply` writes a new one
        "-r ": the lock cannot be read: line 4, column 12: expected packages as `NAME==VERSION`, sorted
          hint: restore the lock from git, or delete it: the next `apply` writes a new one
        "zlib==1": the lock cannot be read: line 4, column 12: expected packages as `NAME==VERSION`, sorted
          hint: restore the lock from git, or delete it: the next `apply` writes a new one
        "[artifacts.Log]": the lock cannot be read: line 14, column 2: expected an artifact's name: lower-case letters, digits, `_`, `-`
          hint: restore the lock from git, or delete it: the next `apply` writes a new one
        "[machine]\n\"type": the lock cannot be read: line 10, column 10: key with no value, expected `=`
          hint: restore the lock from git, or delete it: the next `apply` writes a new one
        "#);
    }

    #[test]
    fn the_lock_lies_beside_its_spec_and_never_over_it() {
        for (spec, lock) in [
            ("session.toml", "session.lock"),
            ("a/b.c/night.toml", "a/b.c/night.lock"),
            ("two.gpus.toml", "two.gpus.lock"),
            ("session", "session.lock"),
            ("session.lock", "session.lock.lock"),
        ] {
            assert_eq!(lock_path(Path::new(spec)), Path::new(lock));
        }
    }

    fn machine() -> impl Strategy<Value = LockedMachine> {
        let word = "[\\PC&&[^\\s-]][\\PC&&[^\\s]]{0,20}";
        (word, word, word).prop_map(|(r#type, location, image)| LockedMachine { r#type, location, image })
    }

    fn artifact() -> impl Strategy<Value = LockedArtifact> {
        ("[\\PC&&[^-./\\\\]][\\PC&&[^/\\\\]]{0,20}", proptest::option::of(any::<u64>())).prop_map(
            |(version, seed)| LockedArtifact {
                version,
                content: seed.map(|seed| ContentHash::of(&seed.to_le_bytes())),
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            machine in proptest::option::of(machine()),
            commit in proptest::option::of("[0-9a-f]{40}|[0-9a-f]{64}"),
            packages in proptest::option::of(
                proptest::collection::btree_set("[a-z0-9][a-z0-9-]{0,9}==[0-9][0-9a-z.+!]{0,9}", 0..4)
                    .prop_map(|all| all.into_iter().collect::<Vec<_>>()),
            ),
            artifacts in proptest::collection::btree_map("[a-z0-9_][a-z0-9_-]{0,9}", artifact(), 0..4),
        ) {
            let lock = Lock { machine, commit, artifacts, packages };
            prop_assert_eq!(Lock::parse(&lock.to_text()).unwrap(), lock);
        }

        #[test]
        fn any_text_is_read_or_refused_without_panic(text in "(?s)(version = 1\n)?[\\PC\n\"'\\[\\]{}=.#]{0,100}") {
            let _ = Lock::parse(&text);
        }
    }
}
