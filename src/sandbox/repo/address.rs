//! How repositories are named: in a spec, and on the command line git sends.

use crate::error::{Error, Result};

/// Where a repository is, as its URL says.
#[derive(Debug, PartialEq, Eq)]
pub struct Address {
    /// The host name in lower case.
    pub host: String,
    /// The port, where the URL names one.
    pub port: Option<u16>,
    /// The path without a leading slash and without `.git`.
    pub path: String,
}

impl Address {
    /// Reads `git@host:path` or `ssh://[user@]host[:port]/path`.
    pub fn parse(url: &str) -> Result<Self> {
        let (place, port, path) = match (url.strip_prefix("ssh://"), url.split_once("://")) {
            (Some(rest), _) => split_url(rest),
            (None, Some(_)) => return Err(unsupported(url).why("the sandbox's git host speaks ssh only")),
            (None, None) => url.split_once(':').map(|(place, path)| (place, None, path)),
        }
        .ok_or_else(|| unsupported(url).why("it names no host and path"))?;
        let name = place.rsplit_once('@').map_or(place, |(_, name)| name);
        let host = host(name).ok_or_else(|| unsupported(url).why(format!("`{name}` is no host name")))?;
        let path = normal_path(path).ok_or_else(|| unsupported(url).why(format!("`{path}` is no path")))?;
        Ok(Self { host, port, path })
    }

    /// Returns the name under which OpenSSH looks the host up in `known_hosts`.
    pub fn known_as(&self) -> String {
        match self.port {
            None | Some(22) => self.host.clone(),
            Some(port) => format!("[{}]:{port}", self.host),
        }
    }
}

/// Returns a host name in lower case, if it is one that can also name a directory.
pub fn host(name: &str) -> Option<String> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    // The host key of the git host lies beside the directories named for hosts.
    let fits = name.starts_with(|letter: char| letter.is_ascii_alphanumeric())
        && name.chars().all(plain)
        && name.len() < 256
        && name != "host_key"
        && !name.starts_with("127.77.");
    fits.then(|| name.to_ascii_lowercase())
}

/// Returns service and path of `git-upload-pack 'path'` or `git-receive-pack 'path'`, as git writes
/// them and in no other form.
pub fn command(line: &str) -> Option<(&'static str, String)> {
    let (program, argument) = line.split_once(' ')?;
    let service = match program {
        "git-upload-pack" => "upload-pack",
        "git-receive-pack" => "receive-pack",
        _ => return None,
    };
    Some((service, normal_path(&unquoted(argument)?)?))
}

fn split_url(rest: &str) -> Option<(&str, Option<u16>, &str)> {
    let (authority, path) = rest.split_once('/')?;
    let (user, name) = authority.rsplit_once('@').map_or(("", authority), |(user, name)| (user, name));
    match name.split_once(':') {
        Some((name, port)) => Some((name, Some(port.parse().ok()?), path)),
        None => Some((if user.is_empty() { name } else { authority }, None, path)),
    }
}

/// Returns a path without leading and trailing slashes and without `.git`; nothing for one that leaves
/// its place or could be taken for something else.
fn normal_path(path: &str) -> Option<String> {
    let path = path.trim_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path);
    let fits = |part: &str| !part.is_empty() && !part.starts_with(['-', '~']) && part != "." && part != "..";
    let whole = path.split('/').all(fits) && !path.chars().any(char::is_control);
    // A part that ends so would lie inside another repository.
    let outside = !path.split('/').any(|part| part.ends_with(".git"));
    (whole && outside).then(|| path.to_owned())
}

/// Undoes git's quoting: single quotes, and a quote or an exclamation mark written as `'\''`, `'\!'`.
fn unquoted(argument: &str) -> Option<String> {
    let mut text = String::new();
    let mut rest = argument;
    loop {
        let (inside, after) = rest.strip_prefix('\'')?.split_once('\'')?;
        text.push_str(inside);
        if after.is_empty() {
            return Some(text);
        }
        rest = after.strip_prefix('\\')?;
        let escaped = rest.chars().next().filter(|letter| "'!".contains(*letter))?;
        text.push(escaped);
        rest = &rest[1..];
    }
}

fn unsupported(url: &str) -> Error {
    Error::new(format!("the sandbox can't answer for the repository `{url}`"))
        .hint("use an ssh address, such as `git@github.com:me/lesson3.git`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(host: &str, port: Option<u16>, path: &str) -> Address {
        Address { host: host.to_owned(), port, path: path.to_owned() }
    }

    #[test]
    fn the_ways_of_writing_one_repository_are_one_address() {
        let expected = address("github.com", None, "me/lesson3");
        for url in [
            "git@github.com:me/lesson3.git",
            "git@GitHub.com:/me/lesson3",
            "github.com:me/lesson3.git/",
            "ssh://git@github.com/me/lesson3.git",
            "ssh://github.com/me/lesson3",
        ] {
            assert_eq!(Address::parse(url).unwrap(), expected, "{url}");
        }
    }

    #[test]
    fn a_port_is_part_of_the_known_name_only() {
        let with_port = Address::parse("ssh://git@git.example.org:2222/me/lesson3.git").unwrap();
        assert_eq!(with_port, address("git.example.org", Some(2222), "me/lesson3"));
        assert_eq!(with_port.known_as(), "[git.example.org]:2222");
        assert_eq!(Address::parse("ssh://git@a.org:22/x").unwrap().known_as(), "a.org");
    }

    #[test]
    fn addresses_that_need_no_key_or_leave_their_place_are_refused() {
        for url in [
            "https://github.com/me/lesson3.git",
            "file:///tmp/x",
            "/tmp/x",
            "git@github.com:../../etc",
            "git@github.com:a//b",
            "git@github.com:-x/y",
            "git@github.com:a.git/b",
            "git@github.com:~/x",
            "git@github.com:",
            "git@-oProxyCommand=x:y",
            "git@..:x",
            "git@127.77.0.1:x",
            "git@host_key:x",
            "ssh://git@github.com:0x16/me/x",
            "ssh://git@[::1]/me/x",
        ] {
            assert!(Address::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn only_what_git_itself_sends_is_a_command() {
        assert_eq!(command("git-upload-pack 'me/x.git'"), Some(("upload-pack", "me/x".to_owned())));
        assert_eq!(command("git-receive-pack '/me/x'"), Some(("receive-pack", "me/x".to_owned())));
        assert_eq!(
            command(r"git-upload-pack 'it'\''s/so'\!''"),
            Some(("upload-pack", "it's/so!".to_owned()))
        );
        for line in [
            "git-upload-pack me/x",
            "git-upload-pack 'me/x' --help",
            "git-upload-pack 'me/x'; id",
            "git-upload-pack 'me/x",
            "git-upload-pack '../x'",
            "git-upload-archive 'me/x'",
            "git upload-pack 'me/x'",
            "git-upload-pack 'a'\\b'c'",
            "git-upload-pack ''",
            "git-upload-pack '--strict'",
            "sh",
        ] {
            assert_eq!(command(line), None, "{line}");
        }
    }
}
