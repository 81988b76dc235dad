//! Everything that is decoded, one function per target: given any bytes, each asserts what its decoder
//! promises. `tests/fuzz/run` searches for inputs that break a promise; `cargo test` replays the corpus.
//!
//! Built for tests and for fuzzing alone.

mod held;
mod worlds;

#[cfg(test)]
mod tests;

/// A target: returns, or panics because a promise is broken.
pub type Target = fn(&[u8]);

/// Every target by its name, which is also its corpus's folder.
pub const TARGETS: [(&str, Target); 23] = [
    ("spec", held::spec),
    ("override", held::set),
    ("lock", held::lock),
    ("record", held::record),
    ("versions", held::versions),
    ("discard", held::discard),
    ("profiles", held::profiles),
    ("cloud_instances", worlds::cloud_instances),
    ("cloud_created", worlds::cloud_created),
    ("cloud_fate", worlds::cloud_fate),
    ("cloud_refusal", worlds::cloud_refusal),
    ("cloud_catalogue", worlds::cloud_catalogue),
    ("cloud_volumes", worlds::cloud_volumes),
    ("store_listing", worlds::store_listing),
    ("store_metadata", worlds::store_metadata),
    ("store_refusal", worlds::store_refusal),
    ("store_download", worlds::store_download),
    ("store_argument", worlds::store_argument),
    ("http_answer", worlds::http_answer),
    ("server_reply", worlds::server_reply),
    ("server_ssh", worlds::server_ssh),
    ("git_refs", worlds::git_refs),
    ("git_address", worlds::git_address),
];

/// Returns the target of this name.
pub fn target(name: &str) -> Option<Target> {
    TARGETS.iter().find(|(known, _)| *known == name).map(|(_, target)| *target)
}

/// Asserts that a text can neither move a terminal's cursor, nor hide, nor turn round what is beside it.
#[track_caller]
fn assert_printable(text: &str) {
    let hidden = |c: char| {
        c.is_control() && c != '\n'
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    assert!(!text.contains(hidden), "{text:?}");
}

/// Asserts that every error has its three parts within bounds, and that what a user sees of it is printable.
#[track_caller]
fn assert_shown(errors: impl IntoIterator<Item = crate::error::Error>) {
    // Colour is ours; what stands between is not.
    console::set_colors_enabled(false);
    for error in errors {
        assert!(!error.what.is_empty(), "{error:?}");
        let mut out = Vec::new();
        crate::report::error(&mut out, &error).expect("memory takes what is written");
        let text = String::from_utf8(out).expect("what is printed is UTF-8");
        assert!(text.len() < 20_000, "{} bytes of error: {:.200}", text.len(), text);
        assert_printable(&text);
    }
}
