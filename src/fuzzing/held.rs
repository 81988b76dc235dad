//! What lies in files and is typed: the spec, overrides, the lock, the record, versions, losses, profiles.

use jiff::Timestamp;

use super::{assert_printable, assert_shown};
use crate::credentials;
use crate::digest::ContentHash;
use crate::facts::{StoredFile, folded};
use crate::guard::{self, Discard, Finding};
use crate::lock::Lock;
use crate::provider::repo::{GitEnvironment, Remote};
use crate::record::Record;
use crate::spec::{self, Diagnostic, Origin, Override, Spec, Wanted};
use crate::version;

const FULL: &str = include_str!("../../session.toml");

/// `session.toml`: what is accepted is safe to hand on, and every mistake has its place.
pub(super) fn spec(data: &[u8]) {
    let text = match spec::text_of(data) {
        Ok(text) => text,
        Err(not) => return assert_explained(&not.shown, &[], &[not.mistake]),
    };
    match spec::parse(text, &[]) {
        Ok(spec) => assert_safe(&spec),
        Err(mistakes) => assert_explained(text, &[], &mistakes),
    }
}

/// `--set key=value`, over a session that is in order.
pub(super) fn set(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Override::parse(text) {
        Ok(one) => {
            assert_eq!(one.text(), text, "an override keeps its text");
            let overrides = [one];
            match spec::parse(FULL, &overrides) {
                Ok(spec) => assert_safe(&spec),
                Err(mistakes) => assert_explained(FULL, &overrides, &mistakes),
            }
        }
        Err(mistake) => {
            let span = mistake.span.clone().expect("a mistake in an override has a place");
            assert!(text.get(span).is_some(), "{mistake:?}");
            assert!(mistake.hint.is_some(), "{mistake:?}");
            assert_shown([mistake.into()]);
        }
    }
}

fn assert_explained(text: &str, overrides: &[Override], mistakes: &[Diagnostic]) {
    assert!(!mistakes.is_empty(), "a refusal has a reason");
    for mistake in mistakes {
        let Diagnostic { message, span, label, hint, origin } = mistake;
        let source = match origin {
            Origin::File => text,
            Origin::Override(index) => overrides[*index].text(),
        };
        let span = span.clone().expect("every mistake has a place");
        assert!(source.get(span).is_some(), "outside the text, or inside a character: {mistake:?}");
        let hint = hint.as_deref().expect("every mistake says what to write instead");
        for part in [message, label, hint] {
            assert!(!part.is_empty() && part.len() < 2_000, "{mistake:?}");
            assert!(!part.contains('\n'), "{mistake:?}");
            assert_printable(part);
        }
    }
    assert_printable(&spec::render("session.toml", text, overrides, mistakes, false));
}

/// What `Spec` promises of its texts, and that the git remote it names is one for git, too.
fn assert_safe(spec: &Spec) {
    let Spec { name, store, disposable, instance, repo, artifacts, limits: _, state: _, setup, notebook } =
        spec;
    let words = [name, &instance.image, &instance.ssh_key, &repo.url, &repo.branch, &repo.path];
    let words = words.into_iter().chain(&instance.types).chain(&instance.locations).chain(disposable);
    let words = words.chain(notebook.iter().flat_map(|notebook| &notebook.packages));
    let words = words.chain(setup.iter().flat_map(|setup| setup.run.iter().chain(&setup.inputs)));
    for word in words.chain(artifacts.keys()).chain(artifacts.values().map(|artifact| &artifact.path)) {
        assert!(!word.is_empty() && !word.starts_with('-'), "{word:?}");
        assert!(!word.contains('\n'), "{word:?}");
        assert_printable(word);
    }
    assert!(!instance.types.is_empty());
    assert!(spec::OS_VOLUME_LIMITS_GB.contains(&instance.os_volume_gb));
    let below = artifacts.values().map(|artifact| &artifact.path).chain([&repo.path]).chain(&repo.save);
    let below = below.chain(notebook.iter().map(|notebook| &notebook.directory).filter(|path| *path != "."));
    let below = below.chain(setup.iter().flat_map(|setup| &setup.inputs));
    for path in
        below.map(String::as_str).chain(store.iter().map(|store| store.as_str().trim_start_matches('/')))
    {
        assert!(!path.starts_with('/') && !path.ends_with('/'), "{path:?}");
        assert!(!path.split('/').any(|part| part == ".." || part == "." || part.len() > 255), "{path:?}");
    }
    for artifact in artifacts.values() {
        if let Wanted::Named(version) = &artifact.version {
            assert_file_name(version);
        }
    }
    assert_eq!(spec::parse(&spec.to_toml(), &[]).as_ref(), Ok(spec), "written down it is another");
    let remote = Remote::new(&repo.url, GitEnvironment::default());
    assert!(remote.is_ok(), "the spec takes `{}`, and git's side doesn't: {remote:?}", repo.url);
}

/// A name that stays where it is put and is no option.
fn assert_file_name(name: &str) {
    assert!(
        !name.is_empty() && !name.starts_with(['-', '.']) && !name.contains(['/', '\\', '\n']),
        "{name:?}"
    );
    assert_printable(name);
}

/// `session.lock`: what is read is written the same; what is refused has its place.
pub(super) fn lock(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Lock::parse(text) {
        Ok(lock) => {
            let written = lock.to_text();
            assert_eq!(Lock::parse(&written).as_ref().ok(), Some(&lock), "{written}");
            assert_printable(&written);
            lock.artifacts.values().for_each(|artifact| assert_file_name(&artifact.version));
        }
        Err(error) => {
            let (line, column) = place(&error.what).expect("an error of the lock says where it is");
            let lines: Vec<&str> = text.split('\n').collect();
            let there = lines.get(line - 1).unwrap_or_else(|| panic!("line {line} of {}", lines.len()));
            assert!((1..=there.chars().count() + 1).contains(&column), "column {column} of {there:?}");
            assert!(error.hint.is_some(), "{error:?}");
            assert_shown([error]);
        }
    }
}

/// The numbers of `… line 2, column 11`.
fn place(text: &str) -> Option<(usize, usize)> {
    let (_, place) = text.rsplit_once("line ")?;
    let (line, column) = place.split_once(", column ")?;
    Some((line.parse().ok()?, column.parse().ok()?))
}

/// The shared record: what is read is written the same, and no time in it overflows.
pub(super) fn record(data: &[u8]) {
    match Record::parse(data) {
        Ok(record) => {
            let written = record.to_json();
            assert_eq!(
                Record::parse(&written).as_ref(),
                Ok(&record),
                "{}",
                String::from_utf8_lossy(&written)
            );
            let now = "2026-11-24T00:00:00Z".parse().expect("a constant");
            for now in [now, Timestamp::MIN, Timestamp::MAX] {
                assert!(record.absence_from(now).is_none_or(|until| until > now), "{record:?}");
            }
            let ended = record.clone().without_machine();
            assert!(ended.machine.is_none());
            assert_eq!(Record::parse(&ended.to_json()), Ok(ended));
            assert_printable(&String::from_utf8_lossy(&written));
            // JSON hides control characters in escapes; what is printed of it doesn't.
            let lease = record.lease.iter().map(|lease| &lease.owner);
            let machine = record.machine.iter().map(|machine| &machine.id);
            lease.chain(machine).chain(&record.gone).for_each(|text| {
                assert!(!text.contains('\n'), "{text:?}");
                assert_printable(text);
            });
        }
        Err(why) => assert_shown([crate::error::Error::new("cannot read the record").why(why)]),
    }
}

/// A store's listing, one path a line, read as versions of the file that the first line names.
pub(super) fn versions(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.lines();
    let file_name = version::file_name(lines.next().unwrap_or_default());
    if file_name.is_empty() || file_name.starts_with(['-', '.']) || file_name.contains(char::is_control) {
        return;
    }
    let mut files: Vec<StoredFile> = lines.enumerate().map(|(at, path)| stored(path, at as i64)).collect();
    for version in version::versions(&files, file_name) {
        let (name, wanted) = (folded(&version.name), folded(file_name));
        assert!(name.ends_with(&wanted) || name.ends_with(&format!("{wanted}.gz")), "{version:?}");
        let date = &version.name[..10];
        assert!(date.bytes().all(|b| b.is_ascii_digit() || b == b'-'), "{version:?}");
        assert!(!version.name.contains('/'), "{version:?}");
        if version.payload.is_none() && !version.packed {
            panic!("an unpacked version's payload is known: {version:?}");
        }
    }
    for gzip in [false, true] {
        let name = version::free_name(&files, "2026-11-24", file_name, gzip);
        assert!(!files.iter().any(|file| folded(&file.path) == folded(&name)), "{name} is taken");
        // What is stored under that name is found again, payload and all.
        let (object, payload) = (stored(&name, 1), ContentHash::of(b"payload"));
        let manifest = version::manifest_name(&name, &payload, &object.content);
        let expected = if gzip { payload } else { object.content };
        files.extend([object, stored(&manifest, 2)]);
        let found = version::versions(&files, file_name).into_iter().find(|version| version.name == name);
        assert_eq!(found.and_then(|found| found.payload), Some(expected), "{name}");
    }
}

fn stored(path: &str, second: i64) -> StoredFile {
    StoredFile {
        path: path.to_owned(),
        rev: "0123456789abcdef".to_owned(),
        size: path.len() as u64,
        content: ContentHash::of(path.as_bytes()),
        modified: Timestamp::from_second(second).unwrap_or(Timestamp::UNIX_EPOCH),
    }
}

/// `--discard WORD`, and the word that is offered for a file: it settles that file and no neighbour.
pub(super) fn discard(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match text.parse::<Discard>() {
        Ok(word) => assert_eq!(word.to_string().parse().as_ref().ok(), Some(&word), "{text:?}"),
        Err(why) => assert_printable(&crate::report::printable(&why)),
    }
    if text.is_empty()
        || text.contains('\0')
        || text.split('/').any(|part| part.is_empty() || part == "." || part == "..")
    {
        return;
    }
    let finding = Finding::NewFile { path: text.to_owned(), size: 1 };
    let offered = finding.discard().to_string();
    let word: Discard = offered.parse().unwrap_or_else(|why| panic!("{offered:?} is offered: {why}"));
    let neighbour = Finding::NewFile { path: format!("{text}x"), size: 1 };
    let left = guard::uncovered(vec![finding.clone(), neighbour.clone()], &[word]);
    assert_eq!(left, [neighbour], "{offered:?}");
    let mut out = Vec::new();
    console::set_colors_enabled(false);
    crate::report::refusal(&mut out, &[finding], "dacapo").expect("memory takes what is written");
    assert_printable(&String::from_utf8_lossy(&out));
}

/// The vendor's credentials file and settings: no value ever shows in an error.
pub(super) fn profiles(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    assert_shown(credentials::fuzzing::profiles(text));
}
