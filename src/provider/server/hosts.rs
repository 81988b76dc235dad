//! What the user's own ssh, editors and rsync read: one file with an entry for each living session.
//!
//! The file is a cache. It is there because somebody asked for it; from then on it is kept up with what is seen.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::login::Login;
use crate::durable::{Draft, Kept};
use crate::error::{Error, Result};
use crate::provider::private_folder;

/// The file's first line, for whoever opens it.
const HEAD: &str = "# Written by dacapo: one entry for each session whose server lives. `dacapo ssh-config` looks after it.\n";

/// The file.
pub struct Hosts {
    path: PathBuf,
}

/// One session's part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    session: String,
    store: String,
    /// Its lines.
    pub text: String,
}

impl Hosts {
    /// Returns the one below the state directory.
    pub fn below(state: &Path) -> Self {
        Self { path: state.join("ssh_config") }
    }

    /// Returns where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Tells whether somebody asked for it.
    pub fn is_kept(&self) -> bool {
        self.path.is_file()
    }

    /// Makes it where it isn't there yet.
    pub fn make(&self) -> io::Result<()> {
        self.change(|_| {}).map(drop)
    }

    /// Has it hold the entry in place of any other under the same name; tells whether that was news.
    pub fn put(&self, entry: &Entry) -> io::Result<bool> {
        self.change(|entries| {
            entries.retain(|other| other.session != entry.session);
            entries.push(entry.clone());
            entries.sort_by(|one, other| one.session.cmp(&other.session));
        })
    }

    /// Has it hold nothing of a session; tells whether that was news. One of the same name in another store stays.
    pub fn forget(&self, session: &str, store: &str) -> io::Result<bool> {
        self.change(|entries| entries.retain(|entry| entry.session != session || entry.store != store))
    }

    /// Removes it.
    pub fn remove(&self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Rewrites the file whole; one process at a time.
    fn change(&self, change: impl FnOnce(&mut Vec<Entry>)) -> io::Result<bool> {
        private_folder(self.path.parent().unwrap_or(Path::new("/")))?;
        let lock = fs::File::create(self.path.with_extension("lock"))?;
        lock.lock()?;
        let before = match fs::read_to_string(&self.path) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let mut entries = entries(before.as_deref().unwrap_or_default());
        change(&mut entries);
        let after: String =
            std::iter::once(HEAD.to_owned()).chain(entries.iter().map(Entry::written)).collect();
        if before.as_ref() == Some(&after) {
            return Ok(false);
        }
        Draft::write(Kept::SshConfig, &self.path, after.as_bytes())?.replace()?;
        Ok(true)
    }
}

impl Entry {
    /// Words it for a server that was logged in to.
    ///
    /// Writes the file with the pinned host key that it names.
    pub fn new(session: &str, store: &str, login: &Login, keys: &Keys) -> Result<Self> {
        for word in [session, store] {
            if !is_word(word) {
                return Err(Error::new(format!("`{word}` can't stand in an ssh configuration")));
            }
        }
        let known_hosts = login.keep_host_key()?;
        let mut lines = vec![
            format!("Host {session}"),
            format!("  HostName {}", login.ip),
            format!("  Port {}", login.port),
            format!("  User {}", login.user),
            format!("  HostKeyAlias {}", login.instance),
            format!("  UserKnownHostsFile {}", quoted(&known_hosts)?),
            "  GlobalKnownHostsFile none".to_owned(),
            "  StrictHostKeyChecking yes".to_owned(),
            "  UpdateHostKeys no".to_owned(),
            "  CheckHostIP no".to_owned(),
            "  ForwardAgent no".to_owned(),
            "  ServerAliveInterval 30".to_owned(),
        ];
        if let Some(identity) = &keys.identity {
            lines.push(format!("  IdentityFile {}", quoted(identity)?));
            lines.push("  IdentitiesOnly yes".to_owned());
        }
        if let Some(agent) = &keys.agent {
            lines.push(format!("  IdentityAgent {}", quoted(agent)?));
        }
        if let Some(proxy) = &login.proxy {
            lines.push(format!("  ProxyCommand {proxy}"));
        }
        let text = lines.join("\n") + "\n";
        Ok(Self { session: session.to_owned(), store: store.to_owned(), text })
    }

    fn written(&self) -> String {
        format!("\n# session {} store {}\n{}# end\n", self.session, self.store, self.text)
    }
}

/// Which key opens the door.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    /// The private half's file, or the public half's, where an agent holds the private one.
    pub identity: Option<PathBuf>,
    /// The agent to ask; the user's own where none is named.
    pub agent: Option<PathBuf>,
}

/// Reads the entries; whatever else stands in the file isn't ours, and goes with the next change.
fn entries(text: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut open: Option<Entry> = None;
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match (words.as_slice(), &mut open) {
            (["#", "session", session, "store", store], _) => {
                let [session, store] = [*session, *store].map(str::to_owned);
                open = Some(Entry { session, store, text: String::new() });
            }
            (["#", "end"], _) => entries.extend(open.take()),
            (_, Some(entry)) => entry.text += &format!("{line}\n"),
            _ => {}
        }
    }
    entries
}

fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte))
}

/// Writes a path into a configuration; some can't be.
fn quoted(path: &Path) -> Result<String> {
    let unfit =
        |why: &str| Error::new(format!("`{}` can't stand in an ssh configuration", path.display())).why(why);
    let text = path.to_str().ok_or_else(|| unfit("it is not UTF-8"))?;
    if text.chars().any(char::is_control) || text.contains("${") {
        return Err(unfit("ssh would take a part of it for something else"));
    }
    Ok(format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::server::Limits;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ2Xn0xq0t3p3Y7y2f8m8H0y5o1l4k6j9h8g7f6d5s4a";

    fn entry(folder: &Path, session: &str, store: &str, ip: &str) -> Result<Entry> {
        let login = Login {
            instance: "1f0c-22".into(),
            ip: ip.into(),
            port: 22,
            user: "root".into(),
            host_key: Some(KEY.into()),
            identity: None,
            agent: None,
            proxy: None,
            directory: folder.join("ssh"),
            limits: Limits::rehearsed(),
        };
        Entry::new(session, store, &login, &Keys { identity: Some("/a b/\"key\" 5%".into()), agent: None })
    }

    #[test]
    fn entries_live_side_by_side_and_go_one_by_one() {
        let folder = tempfile::tempdir().unwrap();
        let hosts = Hosts::below(folder.path());
        assert!(!hosts.is_kept());
        let (first, second) = ("10.0.0.1", "10.0.0.2");
        assert!(hosts.put(&entry(folder.path(), "lesson3", "aa", first).unwrap()).unwrap());
        assert!(!hosts.put(&entry(folder.path(), "lesson3", "aa", first).unwrap()).unwrap());
        assert!(hosts.put(&entry(folder.path(), "a", "aa", second).unwrap()).unwrap());
        let text = fs::read_to_string(hosts.path()).unwrap();
        assert!(
            text.contains("Host lesson3\n  HostName 10.0.0.1\n")
                && text.contains("Host a\n  HostName 10.0.0.2\n")
        );
        assert!(text.contains("IdentityFile \"/a b/\\\"key\\\" 5%%\"\n"), "{text}");
        assert!(!hosts.forget("lesson3", "another").unwrap());
        assert!(hosts.forget("lesson3", "aa").unwrap());
        let text = fs::read_to_string(hosts.path()).unwrap();
        assert!(!text.contains("lesson3") && text.contains("Host a\n"), "{text}");
        hosts.forget("a", "aa").unwrap();
        assert_eq!(fs::read_to_string(hosts.path()).unwrap(), HEAD);
    }

    #[test]
    fn no_name_no_address_and_no_path_can_add_a_line() {
        let folder = tempfile::tempdir().unwrap();
        for bad in ["a\nProxyCommand touch x", "*", "a b", "-oProxyCommand=x", "", "a\"b", "# end"] {
            assert!(entry(folder.path(), bad, "aa", "10.0.0.1").is_err(), "{bad}");
            assert!(entry(folder.path(), "a", bad, "10.0.0.1").is_err(), "{bad}");
            assert!(entry(folder.path(), "a", "aa", bad).is_err(), "{bad}");
        }
        assert!(quoted(Path::new("/a\nb")).is_err() && quoted(Path::new("/a/${HOME}")).is_err());
    }
}
