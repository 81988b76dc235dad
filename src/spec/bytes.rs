//! The file's bytes as text: what isn't UTF-8 has its place and its advice like any other mistake.

use super::tree::Place;
use super::{Diagnostic, Origin};

/// The largest file that is read, in bytes: a spec has a few hundred.
pub const LARGEST: usize = 128 * 1024;

/// A file that holds no text.
#[derive(Clone, Debug)]
pub struct NotText {
    /// The one mistake.
    pub mistake: Diagnostic,
    /// The text that its span counts in: what could be read.
    pub shown: String,
}

/// Returns the text of a spec's file.
pub fn text_of(bytes: &[u8]) -> Result<&str, Box<NotText>> {
    if bytes.len() > LARGEST {
        return Err(unshown(
            &format!("the file is larger than {} KiB", LARGEST / 1024),
            "keep only the session's own keys in it, or name another file with `--file`",
        ));
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(unshown("the file is UTF-16, and TOML is UTF-8", SAVE));
    }
    std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        let place = Place { origin: Origin::File, span: at..at + char::REPLACEMENT_CHARACTER.len_utf8() };
        let label = format!("the byte 0x{:02X} is not UTF-8", bytes[at]);
        let shown = String::from_utf8_lossy(bytes).into_owned();
        Box::new(NotText { mistake: place.diagnostic("the file is not UTF-8", label, SAVE), shown })
    })
}

const SAVE: &str = "save it as UTF-8 (`iconv -t UTF-8` converts it; `-f` names what it is in)";

/// A mistake of the whole file, whose text is of no use.
fn unshown(message: &str, hint: &str) -> Box<NotText> {
    let place = Place { origin: Origin::File, span: 0..0 };
    Box::new(NotText { mistake: place.diagnostic(message, "the whole file", hint), shown: String::new() })
}
