//! The user's own `~/.ssh/config`: one line of ours at its top, and nothing else is touched.

use std::io;
use std::path::{Path, PathBuf};

use crate::durable::{Draft, Kept};
use crate::error::{Error, ExitCode, Result};
use crate::provider::private_folder;

/// The file.
pub(super) struct OwnConfig {
    path: PathBuf,
}

impl OwnConfig {
    pub(super) fn of(home: &Path) -> Self {
        Self { path: home.join(".ssh/config") }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Tells whether our line stands where it holds for every host: before the first `Host` or `Match`.
    pub(super) fn includes(&self, hosts: &Path) -> bool {
        let (Ok(line), Ok(text)) = (line(hosts), std::fs::read_to_string(&self.path)) else { return false };
        text.lines().take_while(|other| !opens_a_section(other)).any(|other| other.trim() == line)
    }

    /// Tells whether the file has a section of its own for a host of this name.
    pub(super) fn names(&self, host: &str) -> bool {
        let text = std::fs::read_to_string(&self.path).unwrap_or_default();
        let mut sections = text.lines().filter_map(|line| {
            let (word, rest) = keyword(line)?;
            word.eq_ignore_ascii_case("host").then_some(rest)
        });
        sections.any(|patterns| patterns.split_whitespace().any(|pattern| pattern.trim_matches('"') == host))
    }

    /// Puts our line at the top, once; `tells` says so before it is done.
    pub(super) fn include(&self, hosts: &Path, tells: impl FnOnce(&Path, &str) -> Result<()>) -> Result<()> {
        let line = line(hosts)?;
        if self.includes(hosts) {
            return Ok(());
        }
        self.rewrite(|text| {
            tells(&self.path, &line)?;
            // One that stands further down holds for a single host; it is moved.
            let rest: String = text.split_inclusive('\n').filter(|other| other.trim() != line).collect();
            Ok(format!("{line}\n{rest}"))
        })
    }

    /// Takes our line out; tells whether it was there.
    pub(super) fn leave_out(&self, hosts: &Path) -> Result<bool> {
        let line = line(hosts)?;
        let text = std::fs::read_to_string(&self.path).unwrap_or_default();
        if !text.lines().any(|other| other.trim() == line) {
            return Ok(false);
        }
        self.rewrite(|text| Ok(text.split_inclusive('\n').filter(|other| other.trim() != line).collect()))?;
        Ok(true)
    }

    /// Rewrites it whole, with its mode; a link stays one, and what it leads to is written.
    fn rewrite(&self, change: impl FnOnce(&str) -> Result<String>) -> Result<()> {
        let failed = |error: &io::Error| {
            Error::new(format!("cannot write `{}`", self.path.display()))
                .because(error)
                .hint("the file is as it was; `dacapo ssh-config` prints the line to add by hand")
        };
        private_folder(self.path.parent().unwrap_or(Path::new("/"))).map_err(|error| failed(&error))?;
        if self.path.symlink_metadata().is_err() {
            let text = change("")?;
            let draft = Draft::write(Kept::SshConfig, &self.path, text.as_bytes());
            return draft.and_then(Draft::place).map_err(|error| failed(&error));
        }
        let path = std::fs::canonicalize(&self.path)
            .map_err(|error| failed(&error).why("it is a link that leads nowhere"))?;
        let mode = std::fs::metadata(&path).map_err(|error| failed(&error))?.permissions();
        let before = std::fs::read_to_string(&path).map_err(|error| failed(&error))?;
        let after = change(&before)?;
        let draft = Draft::write(Kept::SshConfig, &path, after.as_bytes()).map_err(|error| failed(&error))?;
        draft.allow(mode).map_err(|error| failed(&error))?;
        if std::fs::read_to_string(&path).map_err(|error| failed(&error))? != before {
            return Err(Error::of(ExitCode::Stale, format!("`{}` was changed meanwhile", path.display()))
                .hint("run the same command again"));
        }
        draft.replace().map_err(|error| failed(&error))
    }
}

/// Returns our line; ssh reads the path as a pattern, so some can't be in it.
pub(super) fn line(hosts: &Path) -> Result<String> {
    let odd = |c: char| c.is_control() || "*?[]{}\"\\%$".contains(c);
    match hosts.to_str().filter(|text| !text.contains(odd)) {
        Some(text) => Ok(format!("Include \"{text}\"")),
        None => Err(Error::of(ExitCode::Usage, format!("ssh can't include `{}`", hosts.display()))
            .why("it would take a part of the path for a pattern")
            .hint("set XDG_STATE_HOME to a folder with a plainer name")),
    }
}

fn opens_a_section(line: &str) -> bool {
    keyword(line).is_some_and(|(word, _)| ["host", "match"].iter().any(|one| word.eq_ignore_ascii_case(one)))
}

/// The first word of a line, and the rest: they are parted by blanks, or by one `=`.
fn keyword(line: &str) -> Option<(&str, &str)> {
    let line = line.trim();
    let end = line.find(|c: char| c.is_whitespace() || c == '=')?;
    let (word, rest) = line.split_at(end);
    let rest = rest.trim_start();
    Some((word, rest.strip_prefix('=').unwrap_or(rest).trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_found_however_its_line_is_written_and_patterns_are_none() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".ssh")).unwrap();
        let own = OwnConfig::of(home.path());
        assert!(!own.names("lesson3"));
        std::fs::write(own.path(), "Host *\n  User me\nhost=a \"lesson3\"\n# Host lesson4\nHost less*\n")
            .unwrap();
        assert!(own.names("lesson3") && own.names("a") && !own.names("lesson4") && !own.names("less"));
    }

    #[test]
    fn a_line_that_stands_in_a_section_of_its_own_is_moved_to_the_top() {
        let home = tempfile::tempdir().unwrap();
        let (own, hosts) = (OwnConfig::of(home.path()), Path::new("/state/ssh_config"));
        private_folder(&home.path().join(".ssh")).unwrap();
        std::fs::write(own.path(), "Host a\n  Include \"/state/ssh_config\"\n  User b\n").unwrap();
        assert!(!own.includes(hosts));
        own.include(hosts, |_, _| Ok(())).unwrap();
        assert_eq!(
            std::fs::read_to_string(own.path()).unwrap(),
            "Include \"/state/ssh_config\"\nHost a\n  User b\n"
        );
        assert!(own.includes(hosts));
        assert!(line(Path::new("/a*/b")).is_err());
    }
}
