//! The vendor's files, whatever is in them.

use super::profiles::{auth_setting, sections};
use crate::error::Error;

/// The credentials file and the settings: read, or refused by a line that is there.
pub(crate) fn profiles(text: &str) -> Vec<Error> {
    for key in ["profile", "credentials-file"] {
        if let Some(value) = auth_setting(text, key) {
            assert!(!value.is_empty() && !value.contains('\n') && text.contains(&value), "{value:?}");
        }
    }
    match sections(text) {
        Ok(sections) => {
            for (key, value) in sections.values().flatten() {
                assert!(text.contains(key) && text.contains(value), "{key:?} = {value:?}");
            }
            Vec::new()
        }
        Err(line) => {
            let written = text.lines().nth(line - 1).expect("the line at fault is there");
            assert!(
                !written.contains('=') || written.trim_start_matches('\u{feff}').trim().starts_with('['),
                "{written:?}"
            );
            Vec::new()
        }
    }
}
