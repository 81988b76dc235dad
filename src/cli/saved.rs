//! Plans that are kept in a file: approved now, carried out later, and only if the world is still the same.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::load::{Loaded, start};
use super::{Asked, Global};
use crate::durable::{Draft, Kept};
use crate::error::{Error, ExitCode, Result};
use crate::plan::Plan;

/// The format.
const VERSION: u32 = 1;
/// The largest file that is read; a plan of a thousand artifacts takes a few hundred kilobytes.
const LARGEST: u64 = 16 * 1024 * 1024;

/// A plan in a file. Nothing of it is carried out: `apply` plans afresh, and compares.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Saved {
    version: u32,
    /// What was asked for besides session.toml.
    set: Vec<String>,
    asked: Wishes,
    /// What session.toml said, overrides included.
    spec: Vec<String>,
    /// What was approved.
    approval: Value,
    /// The whole plan with the facts that it rests on, for whoever reads the file.
    plan: Value,
}

/// [`Asked`], in words.
#[derive(Debug, Serialize, Deserialize)]
struct Wishes {
    locked: bool,
    discard: Vec<String>,
    keep_disk: bool,
    purge: bool,
    replace: bool,
    only: Vec<String>,
}

/// Writes a plan to a file, mode 0600.
pub(super) fn write(
    global: &Global,
    loaded: &Loaded,
    asked: &Asked,
    plan: &Plan,
    path: &Path,
) -> Result<PathBuf> {
    let path = start(global)?.join(path);
    let failed = |error: std::io::Error| {
        Error::new(format!("cannot write the plan to `{}`", path.display())).because(&error)
    };
    let saved = Saved {
        version: VERSION,
        set: global.set.clone(),
        asked: Wishes {
            locked: asked.locked,
            discard: asked.discard.iter().map(ToString::to_string).collect(),
            keep_disk: asked.keep_disk,
            purge: asked.purge,
            replace: asked.replace,
            only: asked.only.iter().map(ToString::to_string).collect(),
        },
        spec: loaded.spec.to_lines(),
        approval: serde_json::json!(plan.approval()),
        plan: serde_json::json!(plan),
    };
    let mut text = serde_json::to_vec_pretty(&saved).expect("a plan has string keys only");
    text.push(b'\n');
    Draft::write(Kept::Plan, &path, &text).and_then(Draft::replace).map_err(failed)?;
    Ok(path)
}

impl Saved {
    /// Reads a plan from a file.
    pub(super) fn read(global: &Global, path: &Path) -> Result<Self> {
        use std::io::Read as _;
        let path = start(global)?.join(path);
        let what = || Error::of(ExitCode::Usage, format!("cannot read the plan `{}`", path.display()));
        let mut bytes = Vec::new();
        let read = std::fs::File::open(&path).and_then(|file| file.take(LARGEST).read_to_end(&mut bytes));
        read.map_err(|error| what().because(&error))?;
        let hint = "`dacapo plan -o FILE` writes a plan";
        let value: Value =
            serde_json::from_slice(&bytes).map_err(|error| what().because(&error).hint(hint))?;
        if value["version"] != VERSION {
            return Err(what()
                .why(format!("its format is {}, and this dacapo knows {VERSION}", value["version"]))
                .hint("plan again with this dacapo"));
        }
        serde_json::from_value(value).map_err(|error| what().because(&error).hint(hint))
    }

    /// Returns the command line that the plan was made with.
    pub(super) fn request(&self, global: &Global) -> Result<(Global, Asked)> {
        let Wishes { locked, discard, keep_disk, purge, replace, only } = &self.asked;
        let odd = |why: String| Error::of(ExitCode::Usage, "the plan asks for what isn't known").why(why);
        let discard = discard.iter().map(|word| word.parse().map_err(odd)).collect::<Result<_>>()?;
        let only = only.iter().map(|word| word.parse().map_err(odd)).collect::<Result<_>>()?;
        let (locked, keep_disk, purge, replace) = (*locked, *keep_disk, *purge, *replace);
        let asked = Asked { locked, discard, keep_disk, purge, replace, only };
        Ok((Global { set: self.set.clone(), ..global.clone() }, asked))
    }

    /// Fails unless the plan that is made now is the one that was approved.
    pub(super) fn compare(&self, loaded: &Loaded, plan: &Plan) -> Result<()> {
        let stale = |why: &str| {
            Error::of(
                ExitCode::Stale,
                "the plan in the file is not the one that is made now; nothing was done",
            )
            .why(why.to_owned())
            .hint("the new plan stands above: `dacapo plan -o FILE` writes it, for you to approve")
        };
        if self.spec != loaded.spec.to_lines() {
            return Err(stale("session.toml has changed since"));
        }
        if serde_json::json!(plan.approval()) == self.approval {
            return Ok(());
        }
        Err(stale(if plan.is_empty() {
            "nothing is left to do: it was carried out already, or the world came to be so by itself"
        } else {
            "the world has changed since"
        }))
    }
}
