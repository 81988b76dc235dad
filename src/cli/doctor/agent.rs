//! The ssh agent as the environment names it, and where else one may listen: on Linux, in WSL, on macOS.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::super::worlds::{Surroundings, agent_socket};
use crate::provider::agent::agent_keys;
use crate::report::{self, Check};

const NAME: &str = "ssh agent";

/// What this laptop is, as far as agents go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Linux,
    Wsl,
    Mac,
}

/// Looks for the agent of a rehearsal, which has one of its own.
pub(super) async fn rehearsed(socket: Option<&Path>) -> (Check, Vec<String>) {
    match agent_keys(socket).await {
        Some(keys) => (holding(&keys), keys),
        None => (Check::bad(NAME, "none answers", "`dacapo sandbox stop`, then run it again"), Vec::new()),
    }
}

/// Looks for the user's agent, and where there is none to talk to, for one that could be talked to instead.
pub(super) async fn own(surroundings: &Surroundings) -> (Check, Vec<String>) {
    let Surroundings { environment, home } = surroundings;
    let socket = agent_socket(environment);
    if let Some(keys) = agent_keys(socket.as_deref()).await {
        return (holding(&keys), keys);
    }
    let said = match &socket {
        None => "SSH_AUTH_SOCK isn't set".to_owned(),
        Some(path) if !path.exists() => {
            format!("SSH_AUTH_SOCK names {}, which isn't there: that agent has ended", path.display())
        }
        Some(path) => format!("nobody answers at {}, which SSH_AUTH_SOCK names", path.display()),
    };
    for other in elsewhere(environment, home) {
        if agent_keys(Some(&other)).await.is_some() {
            let typed = report::typed(&other.to_string_lossy());
            let fix = format!("`export SSH_AUTH_SOCK={typed}`: an agent answers there");
            return (Check::bad(NAME, &said, &fix), Vec::new());
        }
    }
    (Check::bad(NAME, &said, fix(place(environment))), Vec::new())
}

fn holding(keys: &[String]) -> Check {
    match keys {
        [] => Check::bad(NAME, "it holds no key", "`ssh-add`"),
        keys => Check::good(NAME, &format!("{} key(s)", keys.len())),
    }
}

fn place(environment: &BTreeMap<String, String>) -> Place {
    if cfg!(target_os = "macos") {
        return Place::Mac;
    }
    let version = std::fs::read_to_string("/proc/version").unwrap_or_default();
    let named = environment.get("WSL_DISTRO_NAME").is_some_and(|name| !name.is_empty());
    if named || version.to_lowercase().contains("microsoft") { Place::Wsl } else { Place::Linux }
}

fn fix(place: Place) -> &'static str {
    match place {
        Place::Linux => "`eval \"$(ssh-agent)\"`, then `ssh-add`: git on the server asks it for your key",
        Place::Wsl => {
            "in WSL, `eval \"$(ssh-agent)\"`, then `ssh-add`; or have wsl2-ssh-agent or npiperelay lead to the agent of Windows, \
             whose pipe ssh here can't open by itself"
        }
        Place::Mac => {
            "macOS sets SSH_AUTH_SOCK in each terminal of its desktop: open one, then `ssh-add --apple-load-keychain`; over ssh and in an \
             old tmux, `eval \"$(ssh-agent)\"`, then `ssh-add`"
        }
    }
}

/// Where agents listen that nobody told this shell of: systemd's, the desktops', gpg's, 1Password's, WSL's relays'.
fn elsewhere(environment: &BTreeMap<String, String>, home: &Path) -> Vec<PathBuf> {
    let runtime = environment.get("XDG_RUNTIME_DIR").filter(|path| path.starts_with('/')).map(PathBuf::from);
    let running =
        ["ssh-agent.socket", "ssh-agent", "openssh_agent", "gcr/ssh", "keyring/ssh", "gnupg/S.gpg-agent.ssh"];
    let at_home = [
        ".ssh/wsl2-ssh-agent.sock",
        ".ssh/agent.sock",
        ".1password/agent.sock",
        "Library/Group Containers/2BUA8C4S2C.com.1password/t/agent.sock",
    ];
    let running = runtime.iter().flat_map(|folder| running.map(|name| folder.join(name)));
    running.chain(at_home.map(|name| home.join(name))).filter(|path| path.exists()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wsl_is_known_by_its_variable() {
        let environment = BTreeMap::from([("WSL_DISTRO_NAME".to_owned(), "Debian".to_owned())]);
        assert_eq!(place(&environment), if cfg!(target_os = "macos") { Place::Mac } else { Place::Wsl });
    }
}
