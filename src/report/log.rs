//! The sessions that ended.

use std::io::{self, Write};

use super::{printable, short};
use crate::record::Receipt;

/// Writes one session after the other, oldest first.
pub fn log(out: &mut impl Write, receipts: &[Receipt], several: bool) -> io::Result<()> {
    if receipts.is_empty() {
        return writeln!(out, "no session has ended yet");
    }
    receipts.iter().try_for_each(|receipt| one(out, receipt, several))
}

fn one(out: &mut impl Write, receipt: &Receipt, several: bool) -> io::Result<()> {
    let hours = receipt.seconds() as f64 / 3600.0;
    let session = if several { format!("{}  ", printable(&receipt.session)) } else { String::new() };
    writeln!(
        out,
        "{session}{} to {}  {hours:.1} h  {} in {}  {} {}",
        receipt.from.strftime("%Y-%m-%d %H:%M"),
        receipt.to.strftime("%Y-%m-%d %H:%M UTC"),
        printable(&receipt.machine_type),
        printable(&receipt.location),
        receipt.cost(),
        printable(&receipt.currency),
    )?;
    let [began, ended] = &receipt.code;
    if let Some(commit) = &ended.commit {
        let branch =
            ended.branch.as_deref().map_or(String::new(), |branch| format!("{} ", printable(branch)));
        writeln!(out, "  code       {branch}{}", from_to(began.commit.as_deref().map(short), short(commit)))?;
    }
    let [began, ended] = &receipt.artifacts;
    for (name, kept) in ended {
        let before = began.get(name).map(|kept| printable(&kept.version));
        writeln!(out, "  {:<10} {}", printable(name), from_to(before, printable(&kept.version)))?;
    }
    for what in &receipt.discarded {
        writeln!(out, "  discarded  {}", printable(what))?;
    }
    if let Some(volume) = &receipt.kept_disk {
        writeln!(out, "  kept disk  {}", printable(volume))?;
    }
    Ok(())
}

fn from_to(before: Option<String>, after: String) -> String {
    match before {
        Some(before) if before == after => format!("{after}, as it came"),
        Some(before) => format!("{before} -> {after}"),
        None => format!("-> {after}"),
    }
}
