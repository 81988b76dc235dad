//! The store's answers, whatever they are.

use super::*;
use crate::provider::http::fuzzing::{Outcome, answer, said, worded};

const ROOT: &str = "/fastai/lesson3";

/// One page of `list_folder`: what is read of it stays below the folder.
pub(crate) fn listing(data: &[u8]) -> Outcome {
    let page: wire::Page = match http::decode(data, false) {
        Ok(page) => page,
        Err(trouble) => return (vec![worded(trouble, &MANNER)], Vec::new()),
    };
    let (entries, mut files) = (page.entries.len(), BTreeMap::new());
    for entry in page.entries {
        if let Err(trouble) = entry.take_part_in(&mut files) {
            return (vec![worded(trouble, &MANNER)], Vec::new());
        }
    }
    assert!(files.len() <= entries);
    let files = files.into_values().filter_map(|file| file.into_stored(ROOT));
    let words = files.map(|file| {
        let odd = |part: &str| part.is_empty() || part == "." || part == "..";
        assert!(!file.path.split('/').any(odd), "{:?}", file.path);
        file.path
    });
    (Vec::new(), words.collect())
}

/// `get_metadata`, and the small answers.
pub(crate) fn metadata(data: &[u8]) -> Outcome {
    let mut errors = Vec::new();
    let body = Answer {
        status: reqwest::StatusCode::OK,
        headers: reqwest::header::HeaderMap::new(),
        body: Bytes::copy_from_slice(data),
    };
    match wire::trace(&body) {
        Ok(Trace::There(file)) => drop(file.into_stored(ROOT)),
        Ok(Trace::Never) => panic!("an answer with metadata isn't the absence of any"),
        Ok(Trace::Deleted) => {}
        Err(trouble) => errors.push(worded(trouble, &MANNER)),
    }
    if let Ok(usage) = http::decode::<wire::SpaceUsage>(data, false) {
        let _ = usage.free();
    }
    // Links are secrets: an answer that can't be read is not quoted.
    for trouble in [
        http::decode::<wire::DownloadLink>(data, true).err(),
        http::decode::<wire::UploadLink>(data, true).err(),
        http::decode::<wire::Account>(data, false).err(),
    ] {
        errors.extend(trouble.map(|trouble| worded(trouble, &MANNER)));
    }
    (errors, Vec::new())
}

/// Any answer that isn't a success.
pub(crate) fn refusal(data: &[u8]) -> Outcome {
    let Some(said) = answer(data).and_then(said) else { return Outcome::default() };
    let status = said.status;
    let trouble = wire::sort(said);
    if status >= 500 || status == 408 || (300..400).contains(&status) {
        assert!(!trouble.is_without_effect(), "{trouble:?}");
    }
    let code = match &trouble {
        Trouble::Conflict(said) => {
            assert_eq!(status, 409);
            if let Some(code) = &said.code {
                assert!(wire::is(said, code), "{code}");
            }
            said.code.clone()
        }
        _ => None,
    };
    (vec![worded(trouble, &MANNER)], code.into_iter().collect())
}

/// A file and the header that describes it: what is returned is what the store holds.
pub(crate) fn download(data: &[u8]) -> Outcome {
    let Some(answer) = answer(data) else { return Outcome::default() };
    let body = answer.body.clone();
    match wire::Download::read(answer) {
        Ok(download) => match download.into_record() {
            RecordRead::Found { bytes, .. } => {
                assert_eq!(bytes, body);
                Outcome::default()
            }
            other => panic!("a file that came isn't {other:?}"),
        },
        Err(trouble) => (vec![worded(trouble, &MANNER)], Vec::new()),
    }
}

/// An argument in a header: printable ASCII that means the same.
pub(crate) fn argument(data: &[u8]) -> Outcome {
    let Ok(path) = std::str::from_utf8(data) else { return Outcome::default() };
    let header = wire::header_json(&json!({"path": path}));
    assert!(header.as_bytes().iter().all(|byte| matches!(byte, b' '..=b'~')), "{header:?}");
    let read: Value = serde_json::from_slice(header.as_bytes()).expect("the header is JSON");
    assert_eq!(read["path"], path);
    let twice = facts::folded(&facts::folded(path));
    assert_eq!(twice, facts::folded(path), "folding twice folds no further");
    assert_eq!(twice.chars().count(), path.chars().count());
    Outcome::default()
}
