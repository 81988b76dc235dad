//! Writes the version of an artifact into the text of a spec, and touches nothing else in it.

use toml_edit::{DocumentMut, Item, TableLike};

use super::{Wanted, parse};
use crate::error::{Error, ExitCode, Result};

/// Returns the text of a spec with another version of the artifact wanted; comments and layout stay.
///
/// The result is a spec, and the same one but for that version. To want the latest one where the text names
/// none changes nothing.
pub fn pinned(text: &str, artifact: &str, wanted: &Wanted) -> Result<String> {
    let cannot = || Error::of(ExitCode::Usage, format!("cannot pin `{artifact}` to `{wanted}`"));
    let mut spec = parse(text, &[]).map_err(|mistakes| {
        let first = mistakes.first().map_or(String::new(), |mistake| mistake.message.clone());
        cannot().why(first).hint("`dacapo validate` shows every mistake in session.toml")
    })?;
    let entry = spec.artifacts.get_mut(artifact).ok_or_else(|| {
        cannot().why("session.toml itself has no such artifact").hint("`--set` can't be pinned")
    })?;
    if entry.version == *wanted {
        return Ok(text.to_owned());
    }
    entry.version = wanted.clone();
    let mut document: DocumentMut = text.parse().map_err(|error| cannot().because(&error))?;
    let table = document.get_mut("artifacts").and_then(Item::as_table_like_mut);
    let table = table.and_then(|table| table.get_mut(artifact)?.as_table_like_mut()).ok_or_else(cannot)?;
    set_version(table, &wanted.to_string());
    let written = with_line_breaks_of(text, document.to_string());
    match parse(&written, &[]) {
        Ok(read) if read == spec => Ok(written),
        _ => Err(cannot()
            .why("the file as it would be written doesn't say that and nothing else")
            .hint(format!("write `version = \"{wanted}\"` into `[artifacts.{artifact}]` yourself"))),
    }
}

/// Puts the new value into the old one's place, the comment behind it included.
fn set_version(table: &mut dyn TableLike, version: &str) {
    match table.get_mut("version").and_then(Item::as_value_mut) {
        Some(value) => {
            let decor = value.decor().clone();
            *value = version.into();
            *value.decor_mut() = decor;
        }
        None => drop(table.insert("version", toml_edit::value(version))),
    }
}

/// The editing library writes line feeds alone.
fn with_line_breaks_of(text: &str, written: String) -> String {
    let (all, returns) = (text.matches('\n').count(), text.matches("\r\n").count());
    if all == returns { written.replace('\n', "\r\n") } else { written }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "2026-11-20_export.pkl.gz";
    const START: &str = include_str!("../../session.toml");

    fn pin(text: &str, version: &str) -> String {
        let wanted = if version == "latest" { Wanted::Latest } else { Wanted::Named(version.to_owned()) };
        pinned(text, "model", &wanted).unwrap()
    }

    /// The lines of one text that the other doesn't have.
    fn changed<'a>(before: &'a str, after: &'a str) -> (Vec<&'a str>, Vec<&'a str>) {
        let only = |one: &'a str, other: &'a str| {
            one.split('\n').filter(|line| !other.split('\n').any(|known| known == *line)).collect()
        };
        (only(before, after), only(after, before))
    }

    #[test]
    fn pinning_changes_one_line_and_unpinning_gives_back_every_byte() {
        let pinned = pin(START, V1);
        let (gone, come) = changed(START, &pinned);
        assert_eq!((gone.len(), come.len()), (1, 1), "{gone:?} {come:?}");
        assert_eq!(come[0], gone[0].replace("\"latest\"", &format!("\"{V1}\"")));
        assert_eq!(pin(&pinned, "latest"), START);
        assert_eq!(pin(START, "latest"), START, "nothing to do");
    }

    #[test]
    fn comments_and_layout_stay_however_the_artifact_is_written() {
        let base = START.split("[artifacts").next().unwrap();
        let table =
            format!("{base}[artifacts.model] # the model\n  path='export.pkl'   # here\n\n# the end\n");
        let cases = [
            (table.clone(), "version = ", 1),
            (table.replace("\n\n# the", "\nversion   =  'latest' # new\n\n# the"), "version   =  \"", 1),
            (format!("{base}[artifacts]\nmodel = {{ path = \"export.pkl\" }} # short\n"), "# short", 1),
            (format!("{base}[artifacts]\nmodel.path = \"export.pkl\"\n"), "model.version = ", 1),
        ];
        for (text, expected, lines) in cases {
            let pinned = pin(&text, V1);
            let (_, come) = changed(&text, &pinned);
            assert_eq!(come.len(), lines, "{come:?}");
            assert!(come[0].contains(expected) && come[0].contains(V1), "{come:?}");
        }
    }

    #[test]
    fn line_breaks_of_another_system_stay_as_they_are() {
        let text = START.replace('\n', "\r\n");
        assert_eq!(pin(&text, V1), pin(START, V1).replace('\n', "\r\n"));
    }

    #[test]
    fn what_is_no_spec_or_has_no_such_artifact_is_refused() {
        let error = pinned("name = ", "model", &Wanted::Latest).unwrap_err();
        assert_eq!(error.kind, ExitCode::Usage);
        let error = pinned(START, "vocab", &Wanted::Latest).unwrap_err();
        assert!(error.to_string().contains("no such artifact"), "{error}");
    }
}
