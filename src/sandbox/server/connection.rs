//! One SSH connection: who may log in, ten sessions, one command or shell each, and no request left unanswered.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::net::Ipv4Addr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use russh::keys::PrivateKey;
use russh::keys::ssh_key::public::KeyData;
use russh::server::{
    Auth, ChannelOpenHandle, Config, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey,
};
use russh::{Channel, ChannelId, ChannelOpenFailure, MethodKind, MethodSet, Pty, SshId};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::faults::Hold;
use super::forward::Forwarded;
use super::held::Held;
use super::process::{self, Conversation, Journal, SshRequest};
use super::terminal::{Dialogue, Terminal, size};

/// How many sessions a connection may have at once where nobody says otherwise, as with OpenSSH's
/// `MaxSessions`.
pub const MAX_SESSIONS: u16 = 10;

/// How long a client may take to say hello.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a server behind a connection decides: an instance or the git host.
pub trait Host: Send + Sync + 'static {
    /// Returns whether the holder of `key` may log in as `user`.
    fn admits(&self, user: &str, key: &KeyData) -> bool;

    /// Returns the process that answers a command line, or the words the client gets instead.
    fn command(&self, asked: &Asked<'_>) -> Result<Command, String>;

    /// Returns a note of a request, its input still empty.
    fn request(&self, user: &str, what: String) -> SshRequest;

    /// Returns the directory for the sockets of forwarded agents, or nothing where none is accepted.
    fn forwards_below(&self) -> Option<&Path>;

    /// Returns whether a session may have a terminal.
    fn has_terminals(&self) -> bool {
        false
    }

    /// Returns how many sessions a connection may have at once.
    fn max_sessions(&self) -> u16 {
        MAX_SESSIONS
    }

    /// Tells whether the client may be led to this port of the server's own loopback.
    fn leads_to(&self, _port: u16) -> bool {
        false
    }

    /// Returns what is said before logging in.
    fn banner(&self) -> Option<String> {
        None
    }

    /// Returns where conversations with commands stop.
    fn holds(&self) -> &[Hold] {
        &[]
    }

    /// Hears of a process; returns `false` to have it killed because the connection was just cut.
    fn started(&self, _process: u32) -> bool {
        true
    }

    /// Hears of a process's end.
    fn ended(&self, _process: u32) {}
}

/// A command line with what came with it.
pub struct Asked<'a> {
    /// The command line, not necessarily UTF-8; none where a shell is asked for.
    pub line: Option<&'a OsStr>,
    /// What the client set `GIT_PROTOCOL` to; every other variable is ignored.
    pub git_protocol: Option<&'a str>,
    /// The socket of the forwarded agent.
    pub agent: Option<PathBuf>,
    /// What kind of terminal the client has (`TERM`), where one was asked for.
    pub terminal: Option<&'a str>,
}

/// What a client may call the server's own loopback.
const LOOPBACK: [&str; 2] = ["127.0.0.1", "localhost"];

/// Carries bytes between a channel and a port of the server until either side closes.
async fn lead(channel: Channel<Msg>, mut far: TcpStream) {
    far.set_nodelay(true).ok();
    // There is nobody to tell how it ended.
    tokio::io::copy_bidirectional(&mut channel.into_stream(), &mut far).await.ok();
}

/// Serves one connection until it ends.
pub async fn serve<H: Host>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    host_key: PrivateKey,
    host: Arc<H>,
    journal: Journal,
) {
    let connection = Connection::new(host, journal);
    let starting = russh::server::run_stream(Arc::new(config(host_key)), stream, connection);
    // A connection that fails has already closed; the client words what it saw.
    if let Ok(Ok(session)) = tokio::time::timeout(PATIENCE, starting).await {
        session.await.ok();
    }
}

fn config(host_key: PrivateKey) -> Config {
    Config {
        server_id: SshId::Standard("SSH-2.0-dacapo_sandbox".into()),
        methods: MethodSet::from([MethodKind::PublicKey].as_slice()),
        // OpenSSH always tries without a key first; punishing that would cost every connect a second.
        auth_rejection_time: Duration::ZERO,
        auth_rejection_time_initial: Some(Duration::ZERO),
        keys: vec![host_key],
        inactivity_timeout: None,
        nodelay: true,
        ..Config::default()
    }
}

struct Connection<H> {
    host: Arc<H>,
    journal: Journal,
    user: String,
    sessions: Arc<Semaphore>,
    waiting: HashMap<ChannelId, Waiting>,
    agent: Option<Forwarded>,
}

/// A session that has not been asked to run anything yet.
struct Waiting {
    channel: Channel<Msg>,
    slot: OwnedSemaphorePermit,
    git_protocol: Option<String>,
    terminal: Option<Terminal>,
}

impl<H: Host> Connection<H> {
    fn new(host: Arc<H>, journal: Journal) -> Self {
        let sessions = Arc::new(Semaphore::new(host.max_sessions().into()));
        Self { host, journal, user: String::new(), sessions, waiting: HashMap::new(), agent: None }
    }

    fn judge(&self, user: &str, key: &KeyData) -> Auth {
        if self.host.admits(user, key) { Auth::Accept } else { Auth::reject() }
    }

    /// Starts what was asked; the answer to the request itself is sent by the caller.
    fn start(&self, line: Option<&OsStr>, waiting: Waiting, session: &Session) -> bool {
        let Waiting { channel, slot, git_protocol, terminal } = waiting;
        let agent = self.agent.as_ref().map(Forwarded::socket);
        let what = line.map_or("shell".into(), OsStr::to_string_lossy).into_owned();
        let request = self.host.request(&self.user, what);
        let kind = terminal.as_ref().map(|terminal| terminal.kind.as_str());
        let asked = Asked { line, git_protocol: git_protocol.as_deref(), agent, terminal: kind };
        let mut command = match self.host.command(&asked) {
            Ok(command) => command,
            Err(words) => {
                (self.journal)(request);
                tokio::spawn(process::refuse(channel, words, 1));
                return true;
            }
        };
        let spawned = match terminal {
            None => process::spawn(&mut command).map(|child| (child, None)),
            Some(terminal) => terminal.spawn(command).map(|(child, pty)| (child, Some(pty))),
        };
        let Ok((mut child, pty)) = spawned else { return false };
        // A process just started has an id until it is waited for.
        let process = child.id().unwrap_or_default();
        if !self.host.started(process) {
            child.start_kill().ok();
            return false;
        }
        let (host, journal, handle) = (self.host.clone(), self.journal.clone(), session.handle());
        let before_close = move || {
            host.ended(process);
            drop(slot);
        };
        if let Some(pty) = pty {
            let dialogue = Dialogue { child, pty, channel, handle, request, journal };
            tokio::spawn(dialogue.run(before_close));
        } else {
            let held = Held::new(self.host.holds());
            let conversation = Conversation { child, channel, handle, request, journal, held };
            tokio::spawn(conversation.run(before_close));
        }
        true
    }
}

impl<H: Host> Handler for Connection<H> {
    type Error = russh::Error;

    async fn authentication_banner(&mut self) -> Result<Option<String>, russh::Error> {
        Ok(self.host.banner())
    }

    async fn auth_publickey_offered(
        &mut self,
        user: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, russh::Error> {
        Ok(self.judge(user, offer.public_key.key_data()))
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, russh::Error> {
        user.clone_into(&mut self.user);
        Ok(self.judge(user, key.public_key.key_data()))
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        let Ok(slot) = self.sessions.clone().try_acquire_owned() else {
            reply.reject(ChannelOpenFailure::ConnectFailed).await;
            return Ok(());
        };
        self.waiting.insert(channel.id(), Waiting { channel, slot, git_protocol: None, terminal: None });
        reply.accept().await;
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        (self.journal)(self.host.request(&self.user, format!("ssh forward {host}:{port}")));
        let port = u16::try_from(port).ok().filter(|_| LOOPBACK.contains(&host));
        let Some(port) = port.filter(|port| self.host.leads_to(*port)) else {
            reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
            return Ok(());
        };
        match TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
            Ok(far) => {
                tokio::spawn(lead(channel, far));
                reply.accept().await;
            }
            Err(_) => reply.reject(ChannelOpenFailure::ConnectFailed).await,
        }
        Ok(())
    }

    async fn channel_close(&mut self, id: ChannelId, _: &mut Session) -> Result<(), russh::Error> {
        self.waiting.remove(&id);
        Ok(())
    }

    async fn exec_request(
        &mut self,
        id: ChannelId,
        line: &[u8],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        let Some(waiting) = self.waiting.remove(&id) else { return session.channel_failure(id) };
        if self.start(Some(OsStr::from_bytes(line)), waiting, session) {
            session.channel_success(id)
        } else {
            session.channel_failure(id)
        }
    }

    async fn shell_request(&mut self, id: ChannelId, session: &mut Session) -> Result<(), russh::Error> {
        let Some(waiting) = self.waiting.remove(&id) else { return session.channel_failure(id) };
        if self.start(None, waiting, session) {
            session.channel_success(id)
        } else {
            session.channel_failure(id)
        }
    }

    // Modes are left at what a new terminal has: a client's own are as good as always the same.
    async fn pty_request(
        &mut self,
        id: ChannelId,
        kind: &str,
        columns: u32,
        rows: u32,
        _: u32,
        _: u32,
        _: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        match self.waiting.get_mut(&id) {
            Some(waiting) if self.host.has_terminals() => {
                waiting.terminal = Some(Terminal { kind: kind.to_owned(), size: size(columns, rows) });
                session.channel_success(id)
            }
            _ => session.channel_failure(id),
        }
    }

    async fn agent_request(&mut self, _: ChannelId, session: &mut Session) -> Result<bool, russh::Error> {
        (self.journal)(self.host.request(&self.user, "ssh agent".to_owned()));
        if self.agent.is_none() {
            let below = self.host.forwards_below();
            self.agent = below.and_then(|below| Forwarded::open(below, session.handle()).ok());
        }
        Ok(self.agent.is_some())
    }

    async fn env_request(
        &mut self,
        id: ChannelId,
        name: &str,
        value: &str,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        match self.waiting.get_mut(&id) {
            Some(waiting) if name == "GIT_PROTOCOL" => {
                waiting.git_protocol = Some(value.to_owned());
                session.channel_success(id)
            }
            _ => session.channel_failure(id),
        }
    }

    // What follows says no. Left to their defaults these would say nothing, and the client would wait.

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        _: &str,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        session.channel_failure(id)
    }

    async fn x11_request(
        &mut self,
        id: ChannelId,
        _: bool,
        _: &str,
        _: &str,
        _: u32,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        session.channel_failure(id)
    }
}
