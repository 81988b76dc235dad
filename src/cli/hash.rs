//! `dacapo hash`: the content hash of files, as the store and every plan see them.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::cannot_print;
use crate::digest::{self, Digests};
use crate::error::{Error, ExitCode, Result};
use crate::report;

const EXAMPLES: &str = "Examples:
  dacapo hash export.pkl              by which artifacts are known
  dacapo hash --sha256 < export.pkl   of the standard input, with the plain one";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Hash {
    /// Add the plain SHA-256, as `sha256sum` prints it
    #[arg(long)]
    sha256: bool,
    /// The files; `-`, or none at all, is the standard input
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Prints each file's hash; one that can't be read doesn't keep the others from being printed.
pub(super) fn run(asked: &Hash, json: bool) -> Result<ExitCode> {
    let standard_input = [PathBuf::from("-")];
    let files = if asked.files.is_empty() { &standard_input[..] } else { &asked.files };
    let mut failed = Vec::new();
    let mut hashed = Vec::new();
    for path in files {
        match hash(path, asked.sha256) {
            Ok(digests) if json => hashed.push(described(path, &digests)),
            Ok(digests) => report::hash(&mut io::stdout().lock(), path, &digests).map_err(cannot_print)?,
            Err(error) => failed.push(format!("`{}`: {error}", path.display())),
        }
    }
    if json {
        writeln!(io::stdout().lock(), "{}", json!({"version": 1, "files": hashed})).map_err(cannot_print)?;
    }
    match failed.len() {
        0 => Ok(ExitCode::Ok),
        count => {
            let error = Error::new(format!("{count} of {} could not be hashed", files.len()));
            Err(failed.into_iter().fold(error, Error::why).hint("name files that you may read"))
        }
    }
}

fn hash(path: &Path, sha256: bool) -> io::Result<Digests> {
    if path.as_os_str() == "-" {
        return digest::of_stream(io::stdin().lock(), sha256);
    }
    digest::of_file(&File::open(path)?, sha256)
}

fn described(path: &Path, digests: &Digests) -> serde_json::Value {
    let Digests { content, sha256, length } = digests;
    let mut value = json!({"path": path.to_string_lossy(), "content": content, "length": length});
    if let Some(sha256) = sha256 {
        value["sha256"] = json!(sha256);
    }
    value
}
