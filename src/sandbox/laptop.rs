//! The rehearsed laptop: a home with a key, a private agent that holds it, and the only ssh
//! configurations of the sandbox.
//!
//! OpenSSH asks the password file for the home directory, not `$HOME`, so a home alone isolates
//! nothing: every ssh of the sandbox is given its configuration by name.

mod agent;
mod config;
mod runtime;

use std::env;
use std::path::{Path, PathBuf};

use super::server::{files, key};
use crate::error::{Error, Result};
use agent::Agent;
use config::Side;
pub use config::quoted_for_shell;
pub use runtime::runtime_directory;

/// The laptop; its agent ends when this is dropped, or when the process is killed.
pub struct Laptop {
    /// What `~` stands for under the sandbox.
    pub home: PathBuf,
    /// The configuration for every ssh on the laptop's side.
    pub ssh_config: PathBuf,
    /// The laptop's known hosts: the git host's names, once seeded.
    pub known_hosts: PathBuf,
    /// The private key, without a passphrase; `.pub` beside it is the public one.
    pub key_file: PathBuf,
    /// The public key as one line of an `authorized_keys` file.
    pub public_key: String,
    /// The ProxyCommand that leads through the gateway.
    pub proxy_command: String,
    agent: Agent,
}

impl Laptop {
    /// Makes what is missing of the laptop in `directory`, writes its configurations, starts its agent.
    ///
    /// `directory` must be absolute; `executable` is the program whose `sandbox gateway` subcommand
    /// carries every connection; `runtime` is [`runtime_directory`]'s. A key made before is kept.
    pub async fn prepare(directory: &Path, executable: &Path, runtime: &Path) -> Result<Self> {
        let home = directory.join("laptop/home");
        let key_file = home.join(".ssh/id_ed25519");
        let key = key::load_or_make(&key_file, "sandbox@example.invalid")?;
        let public_key = key::public_line(key.public_key())?;
        files::write_private(&home.join(".ssh/id_ed25519.pub"), format!("{public_key}\n").as_bytes())?;
        let known_hosts = home.join(".ssh/known_hosts");
        files::write_private_once(&known_hosts, b"")?;
        files::write_private_once(&home.join(".gitconfig"), GIT_CONFIG.as_bytes())?;

        let agent = Agent::start(runtime, &key_file).await?;
        let gateway = config::proxy_command(executable, directory)?;
        let ssh_config = directory.join("laptop/ssh_config");
        let laptop = Side::Laptop { home: &home, agent: agent.socket() };
        files::write_private(&ssh_config, config::text(&laptop, &gateway)?.as_bytes())?;
        prepare_instances(directory, &gateway)?;
        Ok(Self { home, ssh_config, known_hosts, key_file, public_key, proxy_command: gateway, agent })
    }

    /// Returns the socket of the laptop's agent: its `SSH_AUTH_SOCK`.
    pub fn agent_socket(&self) -> &Path {
        self.agent.socket()
    }
}

/// What git on the laptop signs commits with.
const GIT_CONFIG: &str = "[user]\n\tname = sandbox\n\temail = sandbox@example.invalid\n";

/// The words of the ssh that instances find first.
const WRAPPER: &str = include_str!("laptop/ssh.sh");

/// The words of the instances' login shell.
const SHELL: &str = include_str!("laptop/shell.sh");

/// Writes the configuration used inside instances, and the programs that insist on it.
fn prepare_instances(directory: &Path, gateway: &str) -> Result<()> {
    let configuration = directory.join("bin/ssh_config");
    files::write_private(&configuration, config::text(&Side::Instance, gateway)?.as_bytes())?;
    let programs = directory.join("bin");
    let ssh = programs.join("ssh");
    let wrapper = WRAPPER
        .replace("@ssh@", &config::shell_word(&find("ssh", &programs)?)?)
        .replace("@config@", &config::shell_word(&configuration)?)
        .replace("@proxy@", &config::quoted_for_shell(&format!("ProxyCommand={gateway}")));
    files::write_program(&ssh, &wrapper)?;
    let shell = find("bash", &programs).or_else(|_| find("sh", &programs))?;
    let shell = SHELL.replace("@shell@", &config::shell_word(&shell)?);
    files::write_program(&programs.join("shell"), &shell)?;
    // These two would run ssh by its absolute path, past the wrapper.
    for name in ["scp", "sftp"] {
        let Ok(program) = find(name, &programs) else { continue };
        let (program, ssh) = (config::shell_word(&program)?, config::shell_word(&ssh)?);
        files::write_program(&programs.join(name), &format!("#!/bin/sh\nexec {program} -S {ssh} \"$@\"\n"))?;
    }
    Ok(())
}

/// Returns where a program of OpenSSH lies, passing over the sandbox's own directory of them.
fn find(name: &str, except: &Path) -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .filter(|directory| directory.is_absolute() && directory != except)
        .map(|directory| directory.join(name))
        .find(|program| program.is_file())
        .ok_or_else(|| {
            Error::new(format!("cannot find `{name}`"))
                .why("it is on no directory of `PATH`")
                .hint("install the OpenSSH client, for instance with `apt install openssh-client`")
        })
}
