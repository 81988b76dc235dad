//! What git prints, and addresses for it.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use super::*;
use crate::provider::http::fuzzing::Outcome;

/// `git ls-remote`, and the same text as a complaint.
pub(crate) fn refs(data: &[u8]) -> Outcome {
    let text = String::from_utf8_lossy(data).into_owned();
    let refs = refs_in(&text);
    assert!(refs.values().all(|hash| is_hash(hash)), "{refs:?}");
    assert!(!refs.keys().any(|name| name.ends_with("^{}")), "{refs:?}");
    // Listing what was read gives the same again.
    let listed: String = refs.iter().map(|(name, hash)| format!("{hash}\t{name}\n")).collect();
    assert_eq!(refs_in(&listed), refs);
    let finished = Finished { status: ExitStatus::from_raw(128 << 8), stdout: String::new(), stderr: text };
    let remote = Remote::with_protocols("git@github.com:me/lesson3.git", "ssh", GitEnvironment::default());
    let words = finished.words();
    assert!(!words.is_empty() && words.chars().count() <= 201, "{words}");
    let errors = vec![remote.unreachable(&finished), remote.broken_cache(&finished)];
    (errors, refs.into_keys().chain([words]).collect())
}

/// An address: what is accepted leads to a host, and what is refused isn't repeated.
pub(crate) fn address(data: &[u8]) -> Outcome {
    let Ok(url) = std::str::from_utf8(data) else { return Outcome::default() };
    match Remote::new(url, GitEnvironment::default()) {
        Ok(remote) => {
            let (host, _) = host_of(&remote.url).expect("an accepted address leads to a host");
            assert!(!host.is_empty() && !host.starts_with('-'), "{host:?} of {url:?}");
            assert!(!host.contains(char::is_whitespace), "{host:?} of {url:?}");
            assert!(same_remote(url, url), "{url:?} is itself");
            let bare = url.trim_end_matches('/');
            // A last part of dots means the folder above, and one with `.git` behind it doesn't.
            let last = bare.rsplit('/').next().unwrap_or_default().to_lowercase().replace("%2e", ".");
            if !last.chars().all(|c| c == '.') && !bare.ends_with(".git") && !bare.contains(['?', '#', '\\'])
            {
                assert!(
                    same_remote(url, &format!("{bare}.git")),
                    "{url:?} is the same with `.git` behind it"
                );
            }
            (Vec::new(), vec![host])
        }
        Err(error) => {
            assert!(url.len() < 24 || !error.to_string().contains(url), "{error}");
            (vec![error], Vec::new())
        }
    }
}
