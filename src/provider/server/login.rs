//! How a connection is made: the generated ssh files, the pinned host key, and the words for a refusal.
//!
//! The user's own ssh configuration, known hosts and keys take no part: every file is named here.

#[cfg(any(test, fuzzing))]
pub(super) mod fuzzing;

use std::fmt;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use openssh::Session;
use tempfile::{NamedTempFile, TempDir};
use tokio::process::Command;
use tokio::time::timeout;

use super::master::{self, Failed};
use super::trouble::{Result, SshError, Trouble};
use crate::durable::{Draft, Kept};
use crate::error::{Error, ExitCode};
use crate::facts::PublicKey;

/// The longest control directory, in bytes: socket paths end at 108, and ssh adds to them.
const CONTROL: usize = 61;

/// How long a server may be silent.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long it may take from the first word to the agreed keys; whole seconds.
    pub connect: Duration,
    /// How long all of logging in may take.
    pub login: Duration,
    /// How often a silent server is asked whether it is there, in whole seconds; lost connections are
    /// noticed after three to four of these.
    pub alive: Duration,
}

impl Limits {
    /// Returns what suits servers across the internet.
    pub fn real() -> Self {
        let [connect, login, alive] = [15, 40, 10].map(Duration::from_secs);
        Self { connect, login, alive }
    }

    /// Returns what suits servers on this machine, where waiting is for rehearsals only.
    pub fn rehearsed() -> Self {
        let [connect, login, alive] = [8, 12, 2].map(Duration::from_secs);
        Self { connect, login, alive }
    }
}

/// Where and as whom to log in, and the files that keep ssh away from the user's own configuration.
#[derive(Clone)]
pub struct Login {
    /// The cloud's id: the name that the host key is kept under, since addresses are used again.
    pub instance: String,
    /// The address.
    pub ip: String,
    /// The port.
    pub port: u16,
    /// The login user.
    pub user: String,
    /// The pinned host key, `ssh-ed25519 AAAA…`; none on the first contact.
    pub host_key: Option<String>,
    /// The private key's file, if it exists; no other key is offered then. A public key's file works
    /// too, where the agent holds the private one.
    pub identity: Option<PathBuf>,
    /// The agent's socket (`SSH_AUTH_SOCK`).
    pub agent: Option<PathBuf>,
    /// A `ProxyCommand` line: how to reach the address, if not directly.
    pub proxy: Option<String>,
    /// The folder for known_hosts files and configurations; made with mode 0700 if missing.
    pub directory: PathBuf,
    /// How long the server may be silent.
    pub limits: Limits,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login({} as {}@{}:{})", self.instance, self.user, self.ip, self.port)
    }
}

/// A live session, and the key it was made with.
pub(super) struct Entered {
    pub session: Session,
    pub host_key: String,
}

impl Login {
    /// Logs in: strictly where a key is pinned, else taking the key that is shown, once.
    pub(super) async fn enter(&self, forward_agent: bool) -> Result<Entered> {
        self.check(forward_agent).map_err(SshError::local)?;
        let files = self.write_files(forward_agent).map_err(|error| self.cannot_write(&error))?;
        let control = control_directory().map_err(|error| self.cannot_write(&error))?;
        let session = match master::launch(self, &files.config, control).await {
            Ok(session) => session,
            Err(failed) => return Err(self.refusal(failed).await),
        };
        let host_key = match &self.host_key {
            Some(key) => key.clone(),
            None => files.taken_key().ok_or_else(|| self.no_key_kept())?,
        };
        Ok(Entered { session, host_key })
    }

    /// Refuses what ssh would read as something else than it is.
    fn check(&self, forward_agent: bool) -> std::result::Result<(), Error> {
        let plain = |text: &str| {
            text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        };
        let refuse =
            |name: &str, value: &str| Err(Error::new(format!("`{value}` is no {name} to log in with")));
        if !plain(&self.instance) {
            return refuse("instance id", &self.instance);
        }
        if !plain(&self.user) {
            return refuse("user name", &self.user);
        }
        if !plain(&self.ip) && self.ip.parse::<IpAddr>().is_err() {
            return refuse("address", &self.ip);
        }
        if self.host_key.as_deref().is_some_and(|key| key.contains('\n') || PublicKey::parse(key).is_none()) {
            return refuse("host key", self.host_key.as_deref().unwrap_or_default());
        }
        if self.proxy.as_deref().is_some_and(|line| line.contains(['\n', '\r', '\0'])) {
            return refuse("proxy command", "…");
        }
        if forward_agent && self.host_key.is_none() {
            return Err(Error::new("the agent is forwarded only to a server whose host key is pinned"));
        }
        Ok(())
    }

    /// Writes the file that says which host key is the server's, and returns its path.
    pub(super) fn keep_host_key(&self) -> std::result::Result<PathBuf, Error> {
        self.check(false)?;
        let Some(key) = &self.host_key else {
            return Err(Error::new(self.what())
                .why("its host key isn't pinned yet")
                .hint("`dacapo up` pins it"));
        };
        self.make_directory()
            .and_then(|()| self.write_known_hosts(key))
            .map_err(|error| self.cannot_write(&error).error)
    }

    fn make_directory(&self) -> std::io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        fs::set_permissions(&self.directory, fs::Permissions::from_mode(0o700))
    }

    fn write_known_hosts(&self, key: &str) -> std::io::Result<PathBuf> {
        let path = self.directory.join(format!("{}.known_hosts", self.instance));
        let line = format!("{} {key}\n", self.instance);
        Draft::write(Kept::KnownHosts, &path, line.as_bytes())?.replace()?;
        Ok(path)
    }

    fn write_files(&self, forward_agent: bool) -> std::io::Result<Files> {
        self.make_directory()?;
        let known_hosts = match &self.host_key {
            Some(key) => KnownHostsFile::Pinned(self.write_known_hosts(key)?),
            None => KnownHostsFile::Fresh(NamedTempFile::with_prefix_in("first-", &self.directory)?),
        };
        let kind = if forward_agent { "agent.config" } else { "config" };
        let config = match &known_hosts {
            KnownHostsFile::Pinned(_) => self.directory.join(format!("{}.{kind}", self.instance)),
            // Names a file that is ours alone, so it must not be shared either.
            KnownHostsFile::Fresh(_) => self.directory.join(format!("{}.first.config", self.instance)),
        };
        let text = self.config(known_hosts.path(), forward_agent);
        Draft::write(Kept::SshConfig, &config, text.as_bytes())?.replace()?;
        Ok(Files { known_hosts, config })
    }

    /// Returns the whole of ssh's configuration.
    fn config(&self, known_hosts: &Path, forward_agent: bool) -> String {
        let mut lines = vec![
            "Host *".to_owned(),
            format!("  HostKeyAlias {}", self.instance),
            format!("  UserKnownHostsFile {}", quoted(known_hosts)),
            "  GlobalKnownHostsFile none".into(),
            "  HashKnownHosts no".into(),
            "  UpdateHostKeys no".into(),
            "  CheckHostIP no".into(),
            "  PreferredAuthentications publickey".into(),
            "  AddKeysToAgent no".into(),
            "  Ciphers aes128-gcm@openssh.com,aes256-gcm@openssh.com,chacha20-poly1305@openssh.com".into(),
            format!("  ForwardAgent {}", if forward_agent { "yes" } else { "no" }),
            format!("  IdentityAgent {}", if self.agent.is_some() { "SSH_AUTH_SOCK" } else { "none" }),
        ];
        if self.identity.is_none() {
            // Otherwise ssh would try the keys in the user's own `~/.ssh`.
            lines.push("  IdentityFile none".into());
        }
        if let Some(proxy) = &self.proxy {
            lines.push(format!("  ProxyCommand {proxy}"));
        }
        lines.join("\n") + "\n"
    }

    // Words.

    fn what(&self) -> String {
        format!("cannot log in to the server at `{}`", self.ip)
    }

    fn cannot_write(&self, error: &std::io::Error) -> SshError {
        let what = format!("cannot write the ssh files for the server at `{}`", self.ip);
        SshError::local(Error::new(what).because(error))
    }

    fn no_key_kept(&self) -> SshError {
        SshError::new(Trouble::HostKey, Error::new(self.what()).why("ssh didn't keep the server's host key"))
    }

    fn unreachable(&self, why: String) -> SshError {
        let error = Error::new(format!("the server at `{}` doesn't answer", self.ip)).why(why).hint(
            "a new server needs some minutes; if it is up, look whether port 22 is open to this network",
        );
        SshError::new(Trouble::Unreachable, error)
    }

    /// Words why ssh didn't connect.
    async fn refusal(&self, failed: Failed) -> SshError {
        let text = match failed {
            Failed::Said(text) => text,
            Failed::TooLong => {
                let limit = self.limits.login.as_secs();
                return self.unreachable(format!("logging in took more than {limit} s"));
            }
            Failed::NoProgram => {
                let error = Error::new(self.what()).why("there is no `ssh` program here");
                return SshError::local(error.hint("install the OpenSSH client"));
            }
            Failed::NotStarted(error) => return SshError::local(Error::new(self.what()).because(&error)),
        };
        match classify(&text) {
            Trouble::HostKey => self.other_host_key(&text),
            Trouble::LoginRefused => self.login_refused(&text).await,
            Trouble::Local => SshError::local(Error::new(self.what()).why(one_line(&text))),
            _ => self.unreachable(one_line(&text)),
        }
    }

    fn other_host_key(&self, text: &str) -> SshError {
        let fingerprint = |key: &str| PublicKey::parse(key).map(|key| key.fingerprint());
        let pinned = self.host_key.as_deref().and_then(fingerprint).unwrap_or_else(|| "no key".into());
        let shown = text
            .split_whitespace()
            .find(|word| word.starts_with("SHA256:"))
            .map_or_else(|| one_line(text), |word| format!("it shows {}", word.trim_end_matches('.')));
        let error =
            Error::new(format!("THE SERVER AT `{}` IS NOT THE ONE IT WAS: its host key changed", self.ip))
                .why(format!("pinned for instance `{}` is {pinned}", self.instance))
                .why(shown)
                .hint(
                    "nothing was sent to it; somebody may be listening in between. If you know why the key \
                 changed, save what you need over the cloud's console and delete the server there",
                );
        SshError::new(Trouble::HostKey, error)
    }

    async fn login_refused(&self, text: &str) -> SshError {
        let mut error = Error::of(ExitCode::Credentials, self.what()).why(one_line(text));
        error = error.why(match self.fingerprint() {
            Some(fingerprint) => format!("the key for it is {fingerprint}"),
            None => "no key file was found, so the agent's keys were offered".into(),
        });
        let (why, hint) = match agent_keys(self.agent.as_deref()).await {
            AgentKeys::Absent => {
                ("no ssh agent answers", "start one and load the key: `eval $(ssh-agent)`, `ssh-add`")
            }
            AgentKeys::Empty => {
                ("the ssh agent holds no key", "load the key: `ssh-add`, then `ssh-add -l` to see it")
            }
            AgentKeys::Listed(list) if self.fingerprint().is_some_and(|wanted| list.contains(&wanted)) => (
                "the ssh agent holds this key",
                "the server doesn't know it: was it made with another `ssh_key`?",
            ),
            AgentKeys::Listed(_) => {
                ("the ssh agent holds other keys", "load the key that `ssh_key` names: `ssh-add FILE`")
            }
        };
        SshError::new(Trouble::LoginRefused, error.why(why).hint(hint))
    }

    /// Returns the fingerprint of the key that should open the door, where its public half lies.
    fn fingerprint(&self) -> Option<String> {
        let identity = self.identity.as_ref()?;
        let mut public = identity.clone().into_os_string();
        public.push(".pub");
        [Path::new(&public), identity.as_path()]
            .into_iter()
            .filter_map(|path| fs::read_to_string(path).ok())
            .find_map(|text| PublicKey::parse(&text))
            .map(|key| key.fingerprint())
    }
}

/// The files of one connection; a fresh known_hosts file goes when this does.
struct Files {
    known_hosts: KnownHostsFile,
    config: PathBuf,
}

enum KnownHostsFile {
    Pinned(PathBuf),
    Fresh(NamedTempFile),
}

impl KnownHostsFile {
    fn path(&self) -> &Path {
        match self {
            Self::Pinned(path) => path,
            Self::Fresh(file) => file.path(),
        }
    }
}

impl Files {
    /// Reads the key that ssh took on the first contact.
    fn taken_key(&self) -> Option<String> {
        key_in(&fs::read_to_string(self.known_hosts.path()).ok()?)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        if let KnownHostsFile::Fresh(_) = self.known_hosts {
            let _ = fs::remove_file(&self.config);
        }
    }
}

/// Reads the key of a known_hosts file's first line.
fn key_in(known_hosts: &str) -> Option<String> {
    let (_, key) = known_hosts.lines().next()?.split_once(' ')?;
    PublicKey::parse(key).map(|key| key.as_str().to_owned())
}

/// What `ssh-add -l` says of an agent.
pub(super) enum AgentKeys {
    Absent,
    Empty,
    Listed(String),
}

pub(super) async fn agent_keys(agent: Option<&Path>) -> AgentKeys {
    let Some(agent) = agent else { return AgentKeys::Absent };
    let mut command = Command::new("ssh-add");
    command.arg("-l").env("SSH_AUTH_SOCK", agent).stdin(Stdio::null()).kill_on_drop(true);
    match timeout(Duration::from_secs(5), command.output()).await {
        Ok(Ok(output)) if output.status.code() == Some(0) => {
            AgentKeys::Listed(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Ok(Ok(output)) if output.status.code() == Some(1) => AgentKeys::Empty,
        _ => AgentKeys::Absent,
    }
}

/// Sorts ssh's words on a connection that didn't come about.
fn classify(text: &str) -> Trouble {
    let says = |part: &str| text.contains(part);
    if says("REMOTE HOST IDENTIFICATION HAS CHANGED")
        || says("host key is known")
        || says("Host key verification")
    {
        Trouble::HostKey
    } else if says("Permission denied (") || says("Too many authentication failures") {
        Trouble::LoginRefused
    } else if says("Bad configuration option")
        || says("bad configuration option")
        || says("Bad owner or permissions")
    {
        Trouble::Local
    } else {
        Trouble::Unreachable
    }
}

/// Returns the last lines that say something, as one.
fn one_line(text: &str) -> String {
    let news = |line: &&str| !line.is_empty() && !line.starts_with("Warning: Permanently added ");
    let lines: Vec<&str> = text.lines().map(str::trim).filter(news).collect();
    match &lines[lines.len().saturating_sub(3)..] {
        [] => "ssh said nothing".into(),
        lines => lines.join("; "),
    }
}

/// Writes a path into ssh's configuration, where blanks separate and `%` begins a token.
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy().replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%");
    format!("\"{text}\"")
}

/// Makes a folder whose path is short enough for ssh's sockets.
pub(super) fn control_directory() -> std::io::Result<TempDir> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    let places = runtime.into_iter().chain([std::env::temp_dir(), PathBuf::from("/tmp")]);
    let mut private = tempfile::Builder::new();
    private.prefix("dacapo-").permissions(fs::Permissions::from_mode(0o700));
    let mut last = std::io::Error::other("no folder for the ssh socket is short enough");
    for place in places {
        match private.tempdir_in(place) {
            Ok(folder) if folder.path().as_os_str().len() <= CONTROL => return Ok(folder),
            Ok(_) => {}
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ2Xn0xq0t3p3Y7y2f8m8H0y5o1l4k6j9h8g7f6d5s4a";

    fn login(directory: &Path) -> Login {
        Login {
            instance: "1f0c-22".into(),
            ip: "127.0.0.1".into(),
            port: 9,
            user: "root".into(),
            host_key: Some(KEY.into()),
            identity: None,
            agent: None,
            proxy: None,
            directory: directory.join("with blank % \"quote"),
            limits: Limits::rehearsed(),
        }
    }

    /// Asks the real ssh how it understands the generated configuration.
    fn understood(config: &Path) -> String {
        let output =
            std::process::Command::new("ssh").arg("-F").arg(config).args(["-G", "x"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn ssh_reads_the_generated_configuration_as_it_is_meant() {
        let folder = tempfile::tempdir().unwrap();
        let login = Login { proxy: Some("gate --to %h:%p".into()), ..login(folder.path()) };
        let files = login.write_files(true).unwrap();
        let options = understood(&files.config);
        let wanted = [
            "hostkeyalias 1f0c-22",
            "forwardagent yes",
            "identityagent none",
            "identityfile none",
            "updatehostkeys false",
            "checkhostip no",
            "globalknownhostsfile none",
            "proxycommand gate --to %h:%p",
        ];
        for line in wanted {
            assert!(options.lines().any(|given| given == line), "{line} is missing in\n{options}");
        }
        let hosts = options.lines().find(|line| line.starts_with("userknownhostsfile")).unwrap();
        assert!(hosts.ends_with("with blank % \"quote/1f0c-22.known_hosts"), "{hosts}");
    }

    #[test]
    fn the_files_are_nobody_elses_business() {
        let folder = tempfile::tempdir().unwrap();
        let login = login(folder.path());
        let files = login.write_files(false).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&login.directory), 0o700);
        assert_eq!((mode(&files.config), mode(files.known_hosts.path())), (0o600, 0o600));
        assert_eq!(fs::read_to_string(files.known_hosts.path()).unwrap(), format!("1f0c-22 {KEY}\n"));
    }

    #[test]
    fn a_first_contact_leaves_no_file_behind() {
        let folder = tempfile::tempdir().unwrap();
        let login = Login { host_key: None, ..login(folder.path()) };
        drop(login.write_files(false).unwrap());
        assert_eq!(fs::read_dir(&login.directory).unwrap().count(), 0);
    }

    #[test]
    fn what_ssh_would_misread_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let good = login(folder.path());
        assert!(good.check(false).is_ok());
        let v6 = Login { ip: "fd00::1".into(), ..good.clone() };
        assert!(v6.check(false).is_ok());
        let bad = [
            Login { ip: "-oProxyCommand=x".into(), ..good.clone() },
            Login { ip: "a b".into(), ..good.clone() },
            Login { user: "-l".into(), ..good.clone() },
            Login { instance: "x\ny".into(), ..good.clone() },
            Login { host_key: Some("ssh-ed25519 AAAA\n* ssh-rsa AAAA\"".into()), ..good.clone() },
            Login { proxy: Some("x\nPermitLocalCommand yes".into()), ..good.clone() },
        ];
        for login in bad {
            assert!(login.check(false).is_err(), "{login:?}");
        }
        assert!(Login { host_key: None, ..good }.check(true).is_err(), "agent to an unknown server");
    }

    #[test]
    fn ssh_words_are_told_apart() {
        let cases = [
            ("@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @", Trouble::HostKey),
            ("No ED25519 host key is known for x and you have requested strict checking.", Trouble::HostKey),
            ("root@1.2.3.4: Permission denied (publickey).", Trouble::LoginRefused),
            ("Received disconnect from 1.2.3.4: Too many authentication failures", Trouble::LoginRefused),
            ("connect to host 1.2.3.4 port 22: Connection refused", Trouble::Unreachable),
            ("kex_exchange_identification: Connection closed by remote host", Trouble::Unreachable),
            ("Connection timed out during banner exchange", Trouble::Unreachable),
            ("/x/config: line 3: Bad configuration option: nonsense", Trouble::Local),
        ];
        for (text, trouble) in cases {
            assert_eq!(classify(text), trouble, "{text}");
        }
    }

    #[tokio::test]
    async fn a_closed_port_is_unreachable_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let login = Login { port, ..login(folder.path()) };
        let error = login.enter(false).await.err().unwrap();
        assert_eq!(error.trouble, Trouble::Unreachable, "{error}");
        assert!(error.error.why[0].contains("Connection refused"), "{error}");
    }

    #[tokio::test]
    async fn a_server_that_talks_without_end_is_left() {
        let folder = tempfile::tempdir().unwrap();
        // One line that never ends, and lines without end.
        for words in [&b"aaaaaaaa"[..], b"\x1b[31mhello\r\n"] {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            let talking = std::thread::spawn(move || {
                let mut stream = listener.accept().unwrap().0;
                let piece = words.repeat(1024);
                let mut sent = 0;
                while stream.write_all(&piece).is_ok() {
                    sent += piece.len();
                }
                sent
            });
            let login = Login { port, ..login(folder.path()) };
            let error = login.enter(false).await.err().unwrap();
            assert_eq!(error.trouble, Trouble::Unreachable, "{error}");
            assert!(error.to_string().len() < 1000, "{error}");
            let sent = talking.join().unwrap();
            assert!(sent < 64 << 20, "{sent} bytes were taken");
        }
    }

    #[tokio::test]
    async fn an_absent_agent_is_told_from_an_empty_one() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(agent_keys(None).await, AgentKeys::Absent));
        assert!(matches!(agent_keys(Some(&folder.path().join("none"))).await, AgentKeys::Absent));
    }

    #[test]
    fn the_control_directory_is_short_and_private() {
        let folder = control_directory().unwrap();
        assert!(folder.path().as_os_str().len() <= CONTROL);
        assert_eq!(fs::metadata(folder.path()).unwrap().permissions().mode() & 0o777, 0o700);
    }
}
