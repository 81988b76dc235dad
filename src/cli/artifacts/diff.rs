//! `dacapo artifacts diff`: two versions beside each other.

use std::io::{self, Write as _};

use serde_json::{Value, json};

use super::super::{Global, cannot_print};
use super::{Shelf, Stored, chosen, described, manifest_of};
use crate::error::{ExitCode, Result};
use crate::facts::Environment;
use crate::provider::repo::commits_between;
use crate::report::{self, Compared, Known};

#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) first: &'a str,
    pub(super) second: Option<&'a str>,
}

pub(super) async fn run(global: &Global, asked: Asked<'_>, shelf: &Shelf) -> Result<ExitCode> {
    let Shelf { loaded, worlds, stored } = shelf;
    let (artifact, first) = chosen(stored, asked.first)?;
    let (_, second) = match asked.second {
        Some(second) => chosen(stored, second)?,
        None => chosen(of(stored, artifact), "latest")?,
    };
    let store = shelf.store()?;
    let (one, other) = (manifest_of(store, first).await?, manifest_of(store, second).await?);
    let commits = [&one, &other].map(|made| made.as_ref().and_then(|made| made.commit.as_deref()));
    let commits = match commits {
        [Some(one), Some(other)] => {
            commits_between(&loaded.directory, one, other, &worlds.providers.settings.git).await
        }
        _ => None,
    };
    let compared = Compared {
        first: Known { version: first, manifest: one.as_ref() },
        second: Known { version: second, manifest: other.as_ref() },
        commits: commits.as_deref(),
    };
    let mut out = io::stdout().lock();
    let told = if global.json {
        writeln!(out, "{}", json!({"version": 1, "diff": as_json(&compared)}))
    } else {
        report::diff(&mut out, &compared)
    };
    told.map(|()| ExitCode::Ok).map_err(cannot_print)
}

/// Returns the one artifact's versions.
fn of<'a>(stored: &'a Stored, artifact: &str) -> &'a Stored {
    let at = stored.iter().position(|(name, _)| name == artifact).expect("a version of it was found");
    &stored[at..=at]
}

fn as_json(compared: &Compared<'_>) -> Value {
    let Compared { first, second, commits } = compared;
    let contents = first.version.payload.zip(second.version.payload);
    let [one, other] = [first, second].map(|known| known.manifest.and_then(|made| made.environment.as_ref()));
    json!({
        "first": described(first.version, first.manifest),
        "second": described(second.version, second.manifest),
        "same_content": contents.map(|(one, other)| one == other),
        "commits": commits,
        "packages": one.zip(other).map(|(one, other)| packages(one, other)),
    })
}

/// The packages that differ: name → what each side has.
fn packages(one: &Environment, other: &Environment) -> Value {
    let names = one.packages.keys().chain(other.packages.keys());
    let differs = |name: &&String| one.packages.get(*name) != other.packages.get(*name);
    let entry = |name: &String| {
        (name.clone(), json!({"first": one.packages.get(name), "second": other.packages.get(name)}))
    };
    Value::Object(names.filter(differs).map(entry).collect())
}
