//! What the user's own ssh was told, in words.

use std::io::{self, Write};
use std::path::Path;

use super::{printable, typed};

/// How things stand for the user's own ssh.
#[derive(Clone, Copy, Debug)]
pub struct SshConfig<'a> {
    /// The name to type; none where no server lives.
    pub host: Option<&'a str>,
    /// The session.
    pub session: &'a str,
    /// A configuration that leads to it.
    pub file: &'a Path,
    /// Whether the user's own configuration does.
    pub included: bool,
    /// The line that makes it so.
    pub line: &'a str,
    /// Whether it is a rehearsal: ssh looks for no configuration in a rehearsed home.
    pub rehearsed: bool,
    /// Whether the user's own configuration has a host of that name too.
    pub taken: bool,
}

/// Says how to reach the server.
pub fn ssh_config(out: &mut impl Write, kept: SshConfig<'_>) -> io::Result<()> {
    let SshConfig { host, session, file, included, line, rehearsed, taken } = kept;
    let file = file.to_string_lossy();
    match host {
        Some(host) if included && !rehearsed => writeln!(out, "ssh {host}")?,
        Some(host) => writeln!(out, "ssh -F {} {host}", typed(&file))?,
        None => writeln!(out, "`ssh {session}` will work as soon as its server lives")?,
    }
    if !included {
        writeln!(
            out,
            "for `ssh {session}` alone, `dacapo ssh-config --install` adds this at the top of ~/.ssh/config:\n{}",
            printable(line)
        )?;
    }
    if taken {
        writeln!(
            out,
            "your own configuration has a host `{session}` too: while this server lives, the name means the server, and \
             your settings only fill in what dacapo leaves open"
        )?;
    }
    Ok(())
}

/// Says what is about to be added to the user's own configuration.
pub fn ssh_config_installs(out: &mut impl Write, path: &Path, line: &str) -> io::Result<()> {
    writeln!(out, "adding at the top of {}: {}", printable(&path.to_string_lossy()), printable(line))
}

/// Says that the user's own ssh knows no session any more.
pub fn ssh_config_removed(out: &mut impl Write, from: Option<&Path>) -> io::Result<()> {
    match from {
        Some(path) => writeln!(out, "removed, and the line in {} too", printable(&path.to_string_lossy())),
        None => writeln!(out, "removed"),
    }
}
