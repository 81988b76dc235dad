//! The corpus, replayed: every input that once failed, and the seeds of the search.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::TARGETS;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus")
}

#[test]
fn every_input_of_the_corpus_keeps_every_promise() {
    for (name, target) in TARGETS {
        let inputs: Vec<PathBuf> =
            std::fs::read_dir(corpus().join(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(!inputs.is_empty(), "`{name}` has seeds");
        for input in inputs {
            let data = std::fs::read(&input).unwrap();
            let kept = std::panic::catch_unwind(|| target(&data));
            assert!(kept.is_ok(), "`{name}` breaks on {}", input.display());
        }
    }
}

#[test]
fn every_folder_of_the_corpus_has_a_target() {
    let folders: BTreeSet<String> = std::fs::read_dir(corpus())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(folders, TARGETS.map(|(name, _)| name.to_owned()).into());
}

#[test]
fn a_broken_promise_is_noticed() {
    let clear_screen = "a\u{1b}[2J";
    assert!(std::panic::catch_unwind(|| super::assert_printable(clear_screen)).is_err());
    let endless = crate::error::Error::new("x").why("y".repeat(30_000));
    assert!(std::panic::catch_unwind(|| super::assert_shown([endless])).is_err());
}
