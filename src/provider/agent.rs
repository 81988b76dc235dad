//! The laptop's ssh agent: which keys it holds.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::facts::PublicKey;

/// How long the agent may take to answer.
const LIMIT: Duration = Duration::from_secs(10);

/// Returns the fingerprints (`SHA256:…`) of the keys that the agent at `socket` holds; none when no agent
/// answers there.
pub async fn agent_keys(socket: Option<&Path>) -> Option<Vec<String>> {
    let mut command = Command::new("ssh-add");
    command.args(["-l", "-E", "sha256"]).env("SSH_AUTH_SOCK", socket?);
    command.stdin(Stdio::null()).stderr(Stdio::null()).process_group(0).kill_on_drop(true);
    let listed = tokio::time::timeout(LIMIT, command.output()).await.ok()?.ok()?;
    match listed.status.code() {
        Some(0) => Some(fingerprints(&String::from_utf8_lossy(&listed.stdout))),
        // An agent without keys.
        Some(1) => Some(Vec::new()),
        _ => None,
    }
}

/// Returns the public keys that the agent at `socket` holds, each with its comment; none when no agent answers there.
pub async fn agent_public_keys(socket: Option<&Path>) -> Option<Vec<(PublicKey, String)>> {
    let mut command = Command::new("ssh-add");
    command.arg("-L").env("SSH_AUTH_SOCK", socket?);
    command.stdin(Stdio::null()).stderr(Stdio::null()).process_group(0).kill_on_drop(true);
    let listed = tokio::time::timeout(LIMIT, command.output()).await.ok()?.ok()?;
    match listed.status.code() {
        Some(0) => Some(String::from_utf8_lossy(&listed.stdout).lines().filter_map(with_comment).collect()),
        Some(1) => Some(Vec::new()),
        _ => None,
    }
}

fn with_comment(line: &str) -> Option<(PublicKey, String)> {
    let comment = line.split_ascii_whitespace().skip(2).collect::<Vec<_>>().join(" ");
    PublicKey::parse(line).map(|key| (key, comment))
}

fn fingerprints(listing: &str) -> Vec<String> {
    let words = listing.lines().filter_map(|line| line.split_ascii_whitespace().nth(1));
    words.filter(|word| word.starts_with("SHA256:")).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_listing_of_an_agent_is_read_by_its_second_column() {
        let listing = "256 SHA256:abc me@laptop (ED25519)\n3072 SHA256:def no comment (RSA)\n";
        assert_eq!(fingerprints(listing), ["SHA256:abc", "SHA256:def"]);
    }
}
