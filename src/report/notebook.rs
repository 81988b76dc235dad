//! The notebook server in words.

use std::io::{self, Write};

use super::printable;
use crate::facts::{Kernel, Notebook};

/// Writes the address that opens the notebook: the one place where its token is shown.
pub fn notebook(out: &mut impl Write, address: &str) -> io::Result<()> {
    writeln!(out, "{address}")?;
    out.flush()
}

/// What happens to the way to a notebook while it is kept open.
#[derive(Clone, Debug)]
pub enum Way<'a> {
    /// It is open, from this port of the laptop.
    Open(u16),
    /// It is open again.
    Again,
    /// It is gone, and is being opened again.
    Gone,
    /// It can't be had yet, and is tried again after so many seconds.
    StillGone {
        /// Why.
        why: &'a str,
        /// Until the next attempt.
        seconds: u64,
    },
    /// The notebook server doesn't run any more.
    Stopped,
    /// The browser couldn't be started.
    NoBrowser(&'a str),
}

/// Says what became of the way to the notebook.
pub fn way(out: &mut impl Write, way: &Way<'_>, prefix: &str) -> io::Result<()> {
    match way {
        Way::Open(port) => {
            writeln!(out, "open on port {port} of this laptop until Ctrl-C; the address opens the notebook")
        }
        Way::Again => writeln!(out, "the connection is back"),
        Way::Gone => writeln!(out, "the connection is gone; opening another"),
        Way::StillGone { why, seconds } => {
            writeln!(out, "no connection yet: {}; trying again in {seconds} s", printable(why))
        }
        Way::Stopped => {
            writeln!(out, "the notebook server doesn't run any more; `{prefix} up` starts it again")
        }
        Way::NoBrowser(why) => {
            writeln!(out, "no browser was started: {}; open the address yourself", printable(why))
        }
    }
}

pub(super) fn jupyter(version: Option<&str>) -> String {
    version.map_or("Jupyter".to_owned(), |version| format!("Jupyter Server {}", printable(version)))
}

pub(super) fn start(port: u16, directory: &str, packages: &[String], restarts: bool) -> String {
    let verb = if restarts { "restart" } else { "start" };
    let of = match directory {
        "." => String::new(),
        below => format!(" in {}", printable(below)),
    };
    let with = match packages {
        [] => String::new(),
        packages => format!(", with {}", packages.join(", ")),
    };
    format!("{verb} JupyterLab{of} on port {port} of the server's loopback{with}")
}

pub(super) fn in_use(kernels: &[String], restarts: bool) -> String {
    let what = if restarts { "be restarted" } else { "end" };
    format!(
        "the notebook server would have to {what}, and kernels run in it ({}): shut them down there first",
        names(kernels)
    )
}

/// Returns one line on a notebook server.
pub(super) fn state(notebook: &Notebook) -> String {
    if !notebook.running {
        let why = notebook.why.as_deref().unwrap_or("nobody knows why");
        return format!("doesn't run: {}", printable(why));
    }
    let busy: Vec<String> = notebook.kernels.iter().filter(|kernel| !kernel.idle).map(named).collect();
    let Notebook { version, port, given, kernels, terminals, .. } = notebook;
    runs(version.as_deref(), *port, *given, kernels.len(), &busy, *terminals)
}

/// Returns one line on a kernel.
pub(super) fn kernel(kernel: &Kernel) -> String {
    format!("{}: {}", printable(&named(kernel)), if kernel.idle { "idle" } else { "busy" })
}

fn named(kernel: &Kernel) -> String {
    kernel.document.clone().unwrap_or_else(|| "a kernel without a notebook".to_owned())
}

pub(super) fn runs(
    version: Option<&str>,
    port: u16,
    given: bool,
    kernels: usize,
    busy: &[String],
    terminals: u32,
) -> String {
    let server = jupyter(version);
    let image = if given { ", which the image runs" } else { "" };
    let kernels = match (kernels, busy) {
        (0, _) => "no kernel runs".to_owned(),
        (count, []) => format!("{count} kernel(s), none busy"),
        (count, busy) => format!("{count} kernel(s), busy: {}", names(busy)),
    };
    let terminals = if terminals > 0 { format!(", {terminals} terminal(s)") } else { String::new() };
    format!("{server}{image} on port {port}, {kernels}{terminals}")
}

pub(super) fn unsaved(documents: &[String]) -> String {
    let open = match documents {
        [] => String::new(),
        documents => format!(" (open: {})", names(documents)),
    };
    format!("a browser may hold unsaved changes{open}, which can't be seen from here: save them there first")
}

fn names(names: &[String]) -> String {
    names.iter().map(|name| printable(name)).collect::<Vec<_>>().join(", ")
}
