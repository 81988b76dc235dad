//! Instances served by the system's own OpenSSH server: a process per connection, in its inetd mode.
//!
//! Its configuration is generated, and every path in it absolute: nothing of `/etc/ssh` takes part. As an
//! ordinary user sshd lets in that user alone, so that one's name is the instances' login name.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};

use super::connection::Host as _;
use super::instance::Instance;
use super::{Journal, files, key};
use crate::error::{Error, Result};
use crate::sandbox::laptop::quoted_for_shell;

/// Where sshd, as root, locks up the part of it that talks to strangers.
const SEPARATED: &str = "/run/sshd";

/// What runs in front of every command.
const SESSION: &str = include_str!("session.sh");

/// The system's OpenSSH server.
#[derive(Clone, Debug)]
pub struct Sshd {
    program: PathBuf,
    user: String,
    runtime: PathBuf,
    log: PathBuf,
}

impl Sshd {
    /// Makes sure that the sshd at `program` can serve, and for whom.
    ///
    /// Sockets and configurations go below `runtime`, its log to `sshd.log` in `directory`. As root this
    /// makes `/run/sshd` where it is missing, which sshd insists on.
    pub async fn find(program: &Path, directory: &Path, runtime: &Path) -> Result<Self> {
        if !program.is_absolute() || !program.is_file() {
            return Err(unusable(program)
                .why("there is no such program, or its path doesn't start with `/`")
                .hint("install the OpenSSH server, for instance with `apt install openssh-server`"));
        }
        let sshd = Self {
            program: program.to_owned(),
            user: printed("id", &["-un"]).await?,
            runtime: runtime.to_owned(),
            log: directory.join("sshd.log"),
        };
        if printed("id", &["-u"]).await? == "0" {
            prepare_separation()?;
        }
        sshd.check(&directory.join("impostor_host_key")).await?;
        Ok(sshd)
    }

    /// Returns the one login name that it serves: that of the user who runs it.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Serves one connection until it ends.
    pub(super) async fn serve(
        &self,
        stream: UnixStream,
        host_key: &Path,
        instance: &Instance,
        journal: &Journal,
    ) -> Result<()> {
        let files = ConnectionFiles::write(self, host_key, instance)?;
        let mut notes = Notes::open(&files.notes()).await?;
        let mut child = self.start(stream, &files.configuration())?;
        loop {
            let noted = tokio::select! {
                noted = notes.read() => noted,
                _ = child.wait() => break,
            };
            noted.into_iter().for_each(|what| journal(instance.request(&self.user, what)));
        }
        notes.rest().into_iter().for_each(|what| journal(instance.request(&self.user, what)));
        Ok(())
    }

    fn start(&self, stream: UnixStream, configuration: &Path) -> Result<Child> {
        let sockets = || -> io::Result<(OwnedFd, OwnedFd)> {
            let stream = stream.into_std()?;
            stream.set_nonblocking(false)?;
            Ok((stream.try_clone()?.into(), stream.into()))
        };
        let (input, output) = sockets().map_err(|error| unusable(&self.program).because(&error))?;
        Command::new(&self.program)
            .args(["-i", "-f"])
            .arg(configuration)
            .arg("-E")
            .arg(&self.log)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::from(input))
            .stdout(Stdio::from(output))
            .stderr(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| unusable(&self.program).because(&error))
    }

    /// Has sshd read a configuration like those it will get.
    async fn check(&self, host_key: &Path) -> Result<()> {
        key::load_or_make(host_key, "sandbox")?;
        let folder = private_folder(&self.runtime)?;
        let configuration = folder.path().join("config");
        files::write_private(&configuration, format!("HostKey {}\n{COMMON}", quoted(host_key)?).as_bytes())?;
        let output = Command::new(&self.program)
            .args(["-t", "-f"])
            .arg(&configuration)
            .env_clear()
            .stdin(Stdio::null())
            .output()
            .await
            .map_err(|error| unusable(&self.program).because(&error))?;
        if output.status.success() {
            return Ok(());
        }
        Err(unusable(&self.program).why(String::from_utf8_lossy(&output.stderr).trim()))
    }
}

/// What every configuration says.
const COMMON: &str = "PidFile none
StrictModes no
UsePAM no
LogLevel VERBOSE
UseDNS no
PrintMotd no
LoginGraceTime 60
AuthenticationMethods publickey
PermitRootLogin prohibit-password
PermitUserRC no
PermitUserEnvironment no
AllowStreamLocalForwarding no
X11Forwarding no
";

/// Returns what a connection may be led to: the loopback ports on which the instance listens as it begins.
fn open_to(instance: &Instance) -> String {
    let ports: Vec<String> = instance.ports().iter().map(|port| format!("127.0.0.1:{port}")).collect();
    if ports.is_empty() { "none".to_owned() } else { ports.join(" ") }
}

/// The files of one connection; they go when this does.
struct ConnectionFiles {
    folder: TempDir,
}

impl ConnectionFiles {
    fn write(sshd: &Sshd, host_key: &Path, instance: &Instance) -> Result<Self> {
        let written = Self { folder: private_folder(&sshd.runtime)? };
        key::load_or_make(host_key, "sandbox")?;
        files::write_private(&written.keys(), (instance.authorized_keys() + "\n").as_bytes())?;
        files::write_program(&written.session(), &written.session_text(instance)?)?;
        if let Some(banner) = instance.banner() {
            files::write_private(&written.banner(), banner.as_bytes())?;
        }
        files::write_private(
            &written.configuration(),
            written.text(&sshd.user, host_key, instance)?.as_bytes(),
        )?;
        Ok(written)
    }

    fn text(&self, user: &str, host_key: &Path, instance: &Instance) -> Result<String> {
        // A shell that the session is started by reads the files of the server's home, not the tester's.
        let home = instance.environment().into_iter().filter(|(name, _)| *name == "HOME");
        let environment: Vec<String> = home
            .chain(instance.marks())
            .map(|(name, value)| quoted(Path::new(&assignment(name, &value))))
            .collect::<Result<_>>()?;
        let yes_or_no = |yes| if yes { "yes" } else { "no" };
        let mut lines = vec![
            format!("HostKey {}", quoted(host_key)?),
            format!("AuthorizedKeysFile {}", quoted(&self.keys())?.replace('%', "%%")),
            format!("AllowUsers {user}"),
            format!("AllowAgentForwarding {}", yes_or_no(instance.forwards_below().is_some())),
            format!("MaxSessions {}", instance.max_sessions()),
            format!("SetEnv {}", environment.join(" ")),
            "AllowTcpForwarding local".to_owned(),
            format!("PermitOpen {}", open_to(instance)),
            format!("ForceCommand /bin/sh {}", shell_word(&self.session())?),
        ];
        if instance.banner().is_some() {
            lines.push(format!("Banner {}", quoted(&self.banner())?));
        }
        Ok(lines.join("\n") + "\n" + COMMON)
    }

    fn session_text(&self, instance: &Instance) -> Result<String> {
        let variables = instance.environment().into_iter().chain(instance.marks());
        let words: Vec<String> = variables
            .map(|(name, value)| shell_word(Path::new(&assignment(name, &value))))
            .collect::<Result<_>>()?;
        Ok(SESSION
            .replace("@notes@", &shell_word(&self.notes())?)
            .replace("@home@", &shell_word(instance.home())?)
            .replace("@shell@", &shell_word(&instance.shell())?)
            .replace("@environment@", &words.join(" ")))
    }

    fn configuration(&self) -> PathBuf {
        self.folder.path().join("config")
    }

    fn keys(&self) -> PathBuf {
        self.folder.path().join("authorized_keys")
    }

    fn session(&self) -> PathBuf {
        self.folder.path().join("session")
    }

    fn notes(&self) -> PathBuf {
        self.folder.path().join("notes")
    }

    fn banner(&self) -> PathBuf {
        self.folder.path().join("banner")
    }
}

/// What the sessions of one connection note, in a pipe: each request ended by a zero byte.
struct Notes {
    pipe: pipe::Receiver,
    read: Vec<u8>,
}

impl Notes {
    /// Makes the pipe and listens on it.
    async fn open(path: &Path) -> Result<Self> {
        let failed = || Error::new("cannot make a pipe for sshd's sessions");
        let status = Command::new("mkfifo").args(["-m", "600"]).arg(path).status().await;
        if !status.map_err(|error| failed().because(&error))?.success() {
            return Err(failed().why("`mkfifo` failed"));
        }
        // Held open for writing as well, it doesn't end between two sessions.
        let pipe = pipe::OpenOptions::new().read_write(true).open_receiver(path);
        Ok(Self { pipe: pipe.map_err(|error| failed().because(&error))?, read: Vec::new() })
    }

    /// Waits for something to be noted; may be given up and asked again.
    async fn read(&mut self) -> Vec<String> {
        let mut piece = [0; 4096];
        match self.pipe.read(&mut piece).await {
            Ok(count) => self.read.extend_from_slice(&piece[..count]),
            // Without its notes the connection goes on.
            Err(_) => std::future::pending().await,
        }
        self.complete()
    }

    /// Returns what was noted and not read yet.
    fn rest(mut self) -> Vec<String> {
        let mut piece = [0; 4096];
        while let Ok(count @ 1..) = self.pipe.try_read(&mut piece) {
            self.read.extend_from_slice(&piece[..count]);
        }
        self.complete()
    }

    fn complete(&mut self) -> Vec<String> {
        let Some(end) = self.read.iter().rposition(|byte| *byte == 0) else { return Vec::new() };
        let noted: Vec<u8> = self.read.drain(..=end).collect();
        let texts = noted[..end].split(|byte| *byte == 0);
        texts.map(|what| String::from_utf8_lossy(what).into_owned()).collect()
    }
}

/// Makes what sshd calls its privilege separation directory: root's alone to write to, and empty.
fn prepare_separation() -> Result<()> {
    let directory = Path::new(SEPARATED);
    if directory.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new().recursive(true).mode(0o755).create(directory).map_err(|error| {
        Error::new(format!("cannot make `{SEPARATED}`, which sshd needs when root runs it"))
            .because(&error)
            .hint(format!("make it yourself: `mkdir -p {SEPARATED}`"))
    })
}

fn private_folder(runtime: &Path) -> Result<TempDir> {
    tempfile::Builder::new()
        .prefix("sshd-")
        .tempdir_in(runtime)
        .map_err(|error| Error::new(format!("cannot write below `{}`", runtime.display())).because(&error))
}

/// Runs a program that prints one line, and returns it.
async fn printed(program: &str, arguments: &[&str]) -> Result<String> {
    let failed = || Error::new(format!("cannot tell who runs the sandbox: `{program}` failed"));
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().await;
    let output = output.map_err(|error| failed().because(&error))?;
    if !output.status.success() {
        return Err(failed().why(String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn assignment(name: &str, value: &OsString) -> OsString {
    let mut assignment = OsString::from(name);
    assignment.push("=");
    assignment.push(value);
    assignment
}

/// Returns a path as one argument of sshd's configuration.
fn quoted(path: &Path) -> Result<String> {
    Ok(format!("\"{}\"", plain(path)?.replace('\\', r"\\").replace('"', "\\\"")))
}

fn shell_word(path: &Path) -> Result<String> {
    Ok(quoted_for_shell(plain(path)?))
}

fn plain(path: &Path) -> Result<&str> {
    path.to_str().filter(|text| !text.contains(char::is_control)).ok_or_else(|| {
        Error::new(format!(
            "sshd's configuration cannot hold `{}`",
            path.display().to_string().escape_debug()
        ))
        .hint("choose another directory with `--sandbox=DIR`")
    })
}

fn unusable(program: &Path) -> Error {
    Error::new(format!("cannot serve instances with `{}`", program.display()))
}
