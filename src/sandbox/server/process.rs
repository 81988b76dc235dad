//! One command on one channel: the process's three streams, its end, and what it was sent.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use russh::server::{Handle, Msg};
use russh::{Channel, ChannelId, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{mpsc, watch};

use super::held::Held;

/// How much of what a command reads from its standard input is noted down, in bytes.
pub const NOTED_INPUT: usize = 256 * 1024;

/// A request of a client, as the sandbox received it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshRequest {
    /// The instance's id, or the name of the git host.
    pub instance: String,
    /// The login name the client used.
    pub user: String,
    /// The command line as it came, or `ssh connect`, or `git connect`.
    pub what: String,
    /// What the command was sent on its standard input, up to [`NOTED_INPUT`] bytes.
    pub stdin: Vec<u8>,
}

/// Where received requests go.
pub type Journal = Arc<dyn Fn(SshRequest) + Send + Sync>;

/// Starts a command with its three streams connected to us, in a process group of its own.
pub fn spawn(command: &mut Command) -> std::io::Result<Child> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).spawn()
}

/// A command that runs and the channel it answers on.
pub struct Conversation {
    /// The process; its streams are still to be taken.
    pub child: Child,
    /// The channel that asked for it.
    pub channel: Channel<Msg>,
    /// The connection the channel belongs to.
    pub handle: Handle,
    /// What was asked; noted down once the input is complete, and before the client hears of the end.
    pub request: SshRequest,
    /// Where it is noted.
    pub journal: Journal,
    /// Where it is to stop.
    pub held: Held,
}

impl Conversation {
    /// Carries bytes both ways until the command has ended and its output is closed.
    ///
    /// As with sshd without a terminal, a client that goes away does not end the command: it reads the
    /// end of its input, and writing fails.
    pub async fn run(self, before_close: impl FnOnce()) {
        let Self { mut child, channel, handle, request, journal, held } = self;
        let noted = Noted::new(request, journal);
        let (incoming, outgoing) = channel.split();
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        // Input that the command hasn't read yet waits here, without a limit: if the connection's own loop
        // waited for the command instead, it would miss the client's word that there is room for more
        // output, and a command like `cat` would wait for that loop in turn, for ever. russh tells the
        // client to go on sending whatever we do.
        let (queue, queued) = mpsc::unbounded_channel();
        let (leave, gone) = watch::channel(false);

        let process = async {
            let ended = tokio::select! {
                ended = child.wait() => ended,
                never = feed(stdin, queued) => match never {},
            };
            noted.close();
            if let Ok(status) = ended {
                tell_end(status, outgoing.id(), &handle, &outgoing).await;
            }
        };
        let free = Held::new(&[]);
        let talk = async {
            tokio::join!(
                process,
                pump(stdout, &outgoing, None, &gone, &held),
                pump(stderr, &outgoing, Some(1), &gone, &free)
            );
        };
        tokio::select! {
            () = talk => {}
            never = receive(incoming, queue, &noted, leave, &held) => match never {},
        }
        before_close();
        // Both fail only when the client has left, and then nobody waits for them.
        outgoing.eof().await.ok();
        outgoing.close().await.ok();
    }
}

/// Answers a command that is not run: a line on standard error and an exit status.
pub async fn refuse(channel: Channel<Msg>, line: String, status: u32) {
    // All four fail only when the client has left.
    channel.extended_data_bytes(1, Bytes::from(line)).await.ok();
    channel.exit_status(status).await.ok();
    channel.eof().await.ok();
    channel.close().await.ok();
}

enum Never {}

/// Takes what the client sends for as long as it is there; never returns, so that it can be raced.
async fn receive(
    mut incoming: ChannelReadHalf,
    queue: mpsc::UnboundedSender<Bytes>,
    noted: &Noted,
    leave: watch::Sender<bool>,
    held: &Held,
) -> Never {
    let mut queue = Some(queue);
    while let Some(message) = incoming.wait().await {
        match message {
            ChannelMsg::Data { data } => {
                noted.take(&data);
                if let Some(queue) = queue.as_ref().filter(|_| held.lets_in(&data)) {
                    // A command that has stopped reading leaves the rest of its input unread.
                    queue.send(data).ok();
                }
            }
            ChannelMsg::Eof => {
                noted.close();
                queue = None;
            }
            ChannelMsg::Close => break,
            _ => {}
        }
    }
    noted.close();
    drop(queue);
    leave.send_replace(true);
    std::future::pending().await
}

/// Writes what came to the command's input and closes it after the last; never returns.
async fn feed(stdin: Option<ChildStdin>, mut queued: mpsc::UnboundedReceiver<Bytes>) -> Never {
    if let Some(mut stdin) = stdin {
        while let Some(bytes) = queued.recv().await {
            if stdin.write_all(&bytes).await.is_err() {
                break;
            }
        }
    }
    drop(queued);
    std::future::pending().await
}

/// Sends an output of the command until it is closed, or nobody is there to read it.
async fn pump(
    pipe: Option<impl AsyncRead + Unpin>,
    outgoing: &ChannelWriteHalf<Msg>,
    extension: Option<u32>,
    gone: &watch::Receiver<bool>,
    held: &Held,
) {
    let Some(mut pipe) = pipe else { return };
    let mut gone = gone.clone();
    let carry = async {
        let mut buffer = BytesMut::with_capacity(64 * 1024);
        while pipe.read_buf(&mut buffer).await.is_ok_and(|count| count > 0) {
            let bytes = buffer.split().freeze();
            if !held.lets_out(&bytes) {
                std::future::pending::<()>().await;
            }
            let sent = match extension {
                None => outgoing.data_bytes(bytes).await,
                Some(extension) => outgoing.extended_data_bytes(extension, bytes).await,
            };
            if sent.is_err() {
                return;
            }
            buffer.reserve(64 * 1024);
        }
    };
    tokio::select! {
        () = carry => {}
        _ = gone.wait_for(|gone| *gone) => {}
    }
}

/// Tells the client how a process ended.
pub(super) async fn tell_end(
    status: ExitStatus,
    id: ChannelId,
    handle: &Handle,
    outgoing: &ChannelWriteHalf<Msg>,
) {
    // Fails only when the client has left.
    match (status.code(), status.signal()) {
        (Some(code), _) => outgoing.exit_status(u32::from(code.to_le_bytes()[0])).await.ok(),
        (None, signal) => {
            let signal = signal_name(signal.unwrap_or_default());
            handle
                .exit_signal_request(id, signal, status.core_dumped(), String::new(), String::new())
                .await
                .ok()
        }
    };
}

/// Returns the name RFC 4254 §6.10 gives a signal of Linux or macOS.
fn signal_name(number: i32) -> Sig {
    match number {
        1 => Sig::HUP,
        2 => Sig::INT,
        3 => Sig::QUIT,
        4 => Sig::ILL,
        6 => Sig::ABRT,
        8 => Sig::FPE,
        9 => Sig::KILL,
        11 => Sig::SEGV,
        13 => Sig::PIPE,
        14 => Sig::ALRM,
        15 => Sig::TERM,
        other => Sig::Custom(format!("{other}@sandbox.invalid")),
    }
}

/// A request while its input comes in.
pub(super) struct Noted {
    open: Mutex<Option<SshRequest>>,
    journal: Journal,
}

impl Noted {
    pub(super) fn new(request: SshRequest, journal: Journal) -> Self {
        Self { open: Mutex::new(Some(request)), journal }
    }

    /// Notes more of the input.
    pub(super) fn take(&self, bytes: &[u8]) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(request) = open.as_mut() else { return };
        let room = NOTED_INPUT - request.stdin.len();
        request.stdin.extend_from_slice(&bytes[..bytes.len().min(room)]);
        let full = request.stdin.len() == NOTED_INPUT;
        drop(open);
        if full {
            self.close();
        }
    }

    /// Passes the request on; the second time does nothing.
    pub(super) fn close(&self) {
        let request = self.open.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(request) = request {
            (self.journal)(request);
        }
    }
}
