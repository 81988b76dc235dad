//! What the store keeps of an artifact.

use std::io::{self, Write};

use jiff::Timestamp;

use super::{bytes, printable, short};
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
    let packing = if version.packed { "gzip" } else { "as it is" };
    let (size, hash) = (bytes(version.file.size), version.file.content);
    writeln!(out, "stored     {size}, {packing}, content {hash}, revision {}", printable(&version.file.rev))?;
    writeln!(out, "           at {}", day_and_minute(version.file.modified))?;
    let Some(manifest) = manifest else {
        return writeln!(out, "made by    not known: no manifest lies beside it");
    };
    let made_on = manifest.instance_type.as_deref().unwrap_or("a machine of unknown type");
    let commit = manifest.commit.as_deref().map_or("an unknown commit".to_owned(), |it| short(it).to_owned());
    writeln!(out, "size       {} unpacked", bytes(manifest.size))?;
    writeln!(
        out,
        "made by    session {}, at {}, on {}",
        printable(&manifest.session),
        printable(&commit),
        printable(made_on)
    )
}

fn content(version: &Version) -> String {
    let unknown = || "content not known until it is unpacked".to_owned();
    version.payload.map_or_else(unknown, |payload| format!("content {}", payload.short()))
}

fn day_and_minute(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}
