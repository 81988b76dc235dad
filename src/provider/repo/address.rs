//! Git addresses: which are allowed, which name the same repo, which host they lead to.

use reqwest::Url;

use crate::error::{Error, ExitCode, Result};
use crate::provider::http::{is_unprintable, readable};

/// A git url taken apart.
#[derive(Debug, PartialEq, Eq)]
struct Address {
    scheme: String,
    user: Option<String>,
    /// Lower case; none for a path on this machine.
    host: Option<String>,
    /// Only where it isn't the scheme's own.
    port: Option<u16>,
    /// Without slashes at the ends and without `.git`.
    path: String,
}

/// Says whether two urls name the same repo, however they are written.
///
/// The scheme doesn't count (a checkout over https and a spec over ssh are the same repo), nor does a
/// trailing `.git`; ports and users are compared only where both sides speak ssh.
pub fn same_remote(a: &str, b: &str) -> bool {
    let (Some(a), Some(b)) = (address(a), address(b)) else { return false };
    let ssh = a.scheme == "ssh" && b.scheme == "ssh";
    let users = !matches!((&a.user, &b.user), (Some(one), Some(other)) if one != other);
    let ports = a.port == b.port || a.scheme != b.scheme;
    a.host == b.host && a.path == b.path && ports && (users || !ssh)
}

/// Returns the host and the port, if it isn't the usual one, that a git url leads to; none for a
/// path on this machine.
pub fn host_of(url: &str) -> Option<(String, Option<u16>)> {
    let address = address(url)?;
    Some((address.host?, address.port))
}

/// Says whether git reaches the url over ssh, so that it needs a key.
pub fn speaks_ssh(url: &str) -> bool {
    address(url).is_some_and(|address| address.scheme == "ssh")
}

/// Refuses what git would run, prompt for, or leak.
pub(super) fn check(url: &str) -> Result<()> {
    // The url itself isn't repeated: it may hold a password.
    let refused = |why: &str| {
        Err(Error::of(ExitCode::Usage, "the git remote's url cannot be used")
            .why(why)
            .hint("write it as `git@host:path`, `ssh://git@host/path` or `https://host/path`"))
    };
    if url.starts_with('-') || url.contains(|c: char| c.is_whitespace() || is_unprintable(c)) {
        return refused("it starts with `-` or contains blanks");
    }
    let Some(address) = address(url) else { return refused("it is not a url that git knows") };
    let name = address.host.as_deref().unwrap_or_default();
    let user = address.user.as_deref().unwrap_or_default();
    if !matches!(address.scheme.as_str(), "ssh" | "https") || name.is_empty() {
        return refused(&format!("`{}` is not one of ssh and https", readable(&address.scheme)));
    }
    let odd = |c: char| !(c.is_ascii_alphanumeric() || "._-:[]".contains(c));
    if name.starts_with('-') || name.contains(odd) || user.starts_with('-') || address.path.is_empty() {
        return refused("its host, user or path cannot be one");
    }
    if address.scheme == "https" && !user.is_empty() || user.contains(':') {
        return refused("it contains a user name or password, which would end up on the server");
    }
    Ok(())
}

/// Whether git's words say that the host knows none of our keys.
pub(super) fn is_permission(stderr: &str) -> bool {
    stderr.contains("Permission denied (publickey") || stderr.contains("Authentication failed")
}

fn address(url: &str) -> Option<Address> {
    if let Some((scheme, _)) = url.split_once("://") {
        return full(scheme, url);
    }
    if url.contains("::") {
        // `ext::sh -c …` runs a command: never an address.
        return None;
    }
    match url.split_once(':') {
        Some((host, path)) if !host.contains('/') && !host.is_empty() => Some(short(host, path)),
        _ => Some(Address {
            scheme: "file".into(),
            user: None,
            host: None,
            port: None,
            path: format!("/{}", trimmed(url)),
        }),
    }
}

/// `scheme://user@host:port/path`.
fn full(scheme: &str, url: &str) -> Option<Address> {
    let parsed = Url::parse(url).ok()?;
    let user = match parsed.password() {
        Some(_) => format!("{}:", parsed.username()),
        None => parsed.username().to_owned(),
    };
    let usual = match scheme {
        "ssh" => Some(22),
        "https" => Some(443),
        "http" => Some(80),
        _ => None,
    };
    Some(Address {
        scheme: scheme.to_ascii_lowercase(),
        user: Some(user).filter(|user| !user.is_empty()),
        host: parsed.host_str().map(str::to_ascii_lowercase).filter(|host| !host.is_empty()),
        port: parsed.port().filter(|port| Some(*port) != usual),
        path: trimmed(parsed.path()),
    })
}

/// `user@host:path`, which has no place for a port.
fn short(host: &str, path: &str) -> Address {
    let (user, host) = match host.rsplit_once('@') {
        Some((user, host)) => (Some(user.to_owned()), host),
        None => (None, host),
    };
    Address {
        scheme: "ssh".into(),
        user,
        host: Some(host.to_ascii_lowercase()),
        port: None,
        path: trimmed(path),
    }
}

fn trimmed(path: &str) -> String {
    let path = path.trim_matches('/');
    path.strip_suffix(".git").unwrap_or(path).trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_repo_are_the_same_remote() {
        let spellings = [
            "git@github.com:me/lesson3.git",
            "git@github.com:me/lesson3",
            "git@GitHub.com:/me/lesson3.git/",
            "ssh://git@github.com/me/lesson3",
            "ssh://git@github.com:22/me/lesson3.git",
            "https://github.com/me/lesson3.git",
            "https://github.com:443/me/lesson3/",
        ];
        for a in spellings {
            for b in spellings {
                assert!(same_remote(a, b), "{a} and {b}");
            }
        }
    }

    #[test]
    fn other_repos_are_other_remotes() {
        let one = "git@github.com:me/lesson3.git";
        for other in [
            "git@github.com:me/lesson4.git",
            "git@gitlab.com:me/lesson3.git",
            "you@github.com:me/lesson3.git",
            "ssh://git@github.com:2222/me/lesson3",
            "/me/lesson3",
            "ext::sh -c me/lesson3",
            "",
        ] {
            assert!(!same_remote(one, other), "{other}");
        }
        assert!(!same_remote("ext::sh", "ext::sh"));
    }

    #[test]
    fn hosts_are_found_with_unusual_ports_only() {
        assert_eq!(host_of("git@github.com:me/x.git"), Some(("github.com".into(), None)));
        assert_eq!(host_of("ssh://git@host:22/x"), Some(("host".into(), None)));
        assert_eq!(host_of("ssh://git@host:2222/x"), Some(("host".into(), Some(2222))));
        assert_eq!(host_of("/srv/x.git"), None);
    }

    #[test]
    fn dangerous_urls_are_refused_without_being_repeated() {
        for url in [
            "--upload-pack=touch /tmp/x",
            "ext::sh -c evil",
            "-oProxyCommand=evil:x",
            "ssh://-oProxyCommand=evil/x",
            "ssh://-evil@host/x",
            "-evil@host:x",
            "file:///srv/x",
            "/srv/x",
            "http://host/x",
            "git://host/x",
            "https://me:s3cr3t@host/x",
            "https://s3cr3t@host/x",
            "ssh://git:s3cr3t@host/x",
            "git@host:a b",
            "git@host:\nx",
            "git@host:",
            "",
        ] {
            let error = check(url).expect_err(url);
            assert_eq!(error.kind, ExitCode::Usage, "{url}");
            assert!(!format!("{error:?}").contains("s3cr3t"), "{error:?}");
        }
        for url in ["git@github.com:me/x.git", "ssh://git@host:2222/x", "https://host/x.git", "host:x"] {
            check(url).expect(url);
        }
    }
}
