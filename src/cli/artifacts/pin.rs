//! `dacapo artifacts pin`: which version is to be brought, written into session.toml.

use std::io::{self, Write as _};
use std::path::Path;

use serde_json::json;

use super::super::worlds::Worlds;
use super::super::{Global, cannot_print};
use super::{Shelf, Stored, chosen};
use crate::durable::{Draft, Kept};
use crate::error::{Error, ExitCode, Result};
use crate::plan::unknown_artifact;
use crate::report;
use crate::spec::{Spec, Wanted, pinned};

#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) version: &'a str,
    pub(super) artifact: Option<&'a str>,
}

pub(super) fn run(global: &Global, asked: Asked<'_>, shelf: &Shelf) -> Result<ExitCode> {
    let Shelf { loaded, worlds: Worlds { prefix, .. }, stored } = shelf;
    let (artifact, wanted) = meant(asked, &loaded.spec, stored)?;
    let changed = rewrite(&loaded.file(), |text| pinned(text, artifact, &wanted))?;
    let (path, wanted) = (loaded.path.display().to_string(), wanted.to_string());
    let mut out = io::stdout().lock();
    let told = if global.json {
        let value = json!({"artifact": artifact, "wanted": wanted, "path": path, "changed": changed});
        writeln!(out, "{}", json!({"version": 1, "pinned": value}))
    } else {
        report::pinned(&mut out, report::Pin { path: &path, artifact, wanted: &wanted, changed, prefix })
    };
    told.map(|()| ExitCode::Ok).map_err(cannot_print)
}

/// Returns the artifact and what is wanted of it; a version must be there.
fn meant<'a>(asked: Asked<'a>, spec: &'a Spec, stored: &'a Stored) -> Result<(&'a str, Wanted)> {
    let Asked { version, artifact } = asked;
    let named = |name: &'a str| {
        let found = stored.iter().position(|(known, _)| known == name);
        found.map(|at| &stored[at..=at]).ok_or_else(|| unknown_artifact(spec, name))
    };
    let stored = artifact.map_or(Ok(stored), named)?;
    let word = match version {
        "latest" => Some(Wanted::Latest),
        "none" => Some(Wanted::None),
        _ => None,
    };
    match (word, stored) {
        (Some(wanted), [(name, _)]) => Ok((name, wanted)),
        (Some(_), _) => Err(Error::of(ExitCode::Usage, format!("`{version}` of which artifact?"))
            .why(format!("session.toml has {}", stored.len()))
            .hint(format!("name one: `dacapo artifacts pin {version} ARTIFACT`"))),
        (None, _) => {
            let (name, found) = chosen(stored, version)?;
            let by_content = found.payload.filter(|_| version.starts_with("content:"));
            Ok((name, by_content.map_or_else(|| Wanted::Named(found.name.clone()), Wanted::Content)))
        }
    }
}

/// Rewrites a file whole, or not at all; tells whether there was anything to change.
fn rewrite(path: &Path, change: impl Fn(&str) -> Result<String>) -> Result<bool> {
    let failed = |error: io::Error| {
        Error::new(format!("cannot write `{}`", path.display())).because(&error).hint("the file is as it was")
    };
    // A link stays one: what it leads to is written.
    let path = std::fs::canonicalize(path).map_err(failed)?;
    let before = std::fs::read_to_string(&path).map_err(failed)?;
    let after = change(&before)?;
    if after == before {
        return Ok(false);
    }
    let draft = Draft::write(Kept::Spec, &path, after.as_bytes()).map_err(failed)?;
    draft.allow(std::fs::metadata(&path).map_err(failed)?.permissions()).map_err(failed)?;
    if std::fs::read_to_string(&path).map_err(failed)? != before {
        return Err(Error::of(ExitCode::Stale, format!("`{}` was changed meanwhile", path.display()))
            .why("somebody else has written it; it is as they left it")
            .hint("run the same command again"));
    }
    draft.replace().map_err(failed)?;
    Ok(true)
}
