//! What the store keeps of an artifact.

use std::io::{self, Write};

use jiff::Timestamp;

use super::diff::commit;
use super::{bytes, printable};
use crate::facts::Environment;
use crate::version::{Manifest, Version};

/// Lists an artifact's versions, one line each, as they are given.
pub fn versions(out: &mut impl Write, name: &str, path: &str, versions: &[Version]) -> io::Result<()> {
    writeln!(out, "{} ({})", printable(name), printable(path))?;
    if versions.is_empty() {
        return writeln!(out, "  no version is stored");
    }
    let width = versions.iter().map(|version| version.name.chars().count()).max().unwrap_or(0);
    for (number, version) in versions.iter().enumerate() {
        let latest = if number + 1 == versions.len() { "  latest" } else { "" };
        writeln!(
            out,
            "  {:<width$}  {:>8}  {}  {}{latest}",
            printable(&version.name),
            bytes(version.file.size),
            day_and_minute(version.file.modified),
            content(version),
        )?;
    }
    Ok(())
}

/// Shows one version: what it is, and where it came from as far as its manifest tells.
pub fn version(
    out: &mut impl Write,
    artifact: &str,
    version: &Version,
    manifest: Option<&Manifest>,
) -> io::Result<()> {
    writeln!(out, "version    {}", printable(&version.name))?;
    writeln!(out, "artifact   {}", printable(artifact))?;
    writeln!(out, "content    {}", version.payload.map_or("not known".to_owned(), |hash| hash.to_string()))?;
    let (size, hash) = (bytes(version.file.size), version.file.content);
    let packing = packing(version);
    writeln!(out, "stored     {size}, {packing}, content {hash}, revision {}", printable(&version.file.rev))?;
    writeln!(out, "           at {}", day_and_minute(version.file.modified))?;
    match manifest {
        Some(manifest) => made(out, manifest),
        None => writeln!(out, "made by    not known: no manifest lies beside it"),
    }
}

fn made(out: &mut impl Write, manifest: &Manifest) -> io::Result<()> {
    let session = printable(&manifest.session);
    writeln!(out, "size       {} unpacked", bytes(manifest.size))?;
    if manifest.by_hand {
        return writeln!(out, "made by    not known: uploaded by hand; session {session} unpacked it first");
    }
    let made_on = manifest.instance_type.as_deref().unwrap_or("a machine of unknown type");
    let commit = commit(manifest).unwrap_or_else(|| "an unknown commit".to_owned());
    writeln!(out, "made by    session {session}, at {commit}, on {}", printable(made_on))?;
    if let Some(image) = &manifest.image {
        writeln!(out, "image      {}", printable(image))?;
    }
    let Some(Environment { python, cuda, packages }) = &manifest.environment else { return Ok(()) };
    let version = |name: &str, version: &Option<String>| {
        version
            .as_deref()
            .map_or(format!("no {name} reported"), |version| format!("{name} {}", printable(version)))
    };
    let (python, cuda) = (version("Python", python), version("CUDA", cuda));
    writeln!(out, "run with   {python}, {cuda}, {} package(s)", packages.len())
}

/// What was written into session.toml.
#[derive(Clone, Copy, Debug)]
pub struct Pin<'a> {
    /// The file.
    pub path: &'a str,
    /// The artifact.
    pub artifact: &'a str,
    /// Its version, as it is written there.
    pub wanted: &'a str,
    /// Whether the file says something else than before.
    pub changed: bool,
    /// What is typed before a command's name.
    pub prefix: &'a str,
}

/// Says what session.toml wants now.
pub fn pinned(out: &mut impl Write, pin: Pin<'_>) -> io::Result<()> {
    let Pin { path, artifact, wanted, changed, prefix } = pin;
    let (path, wanted) = (printable(path), printable(wanted));
    if changed {
        writeln!(out, "{path}: {artifact} is `{wanted}` from now on; `{prefix} plan` shows what that changes")
    } else {
        writeln!(out, "{path}: {artifact} was `{wanted}` already; nothing was written")
    }
}

/// How the object holds the payload.
pub(super) fn packing(version: &Version) -> &'static str {
    if version.packed { "gzip" } else { "as it is" }
}

fn content(version: &Version) -> String {
    let unknown = || "content not known until it is unpacked".to_owned();
    version.payload.map_or_else(unknown, |payload| format!("content {}", payload.short()))
}

pub(super) fn day_and_minute(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}
