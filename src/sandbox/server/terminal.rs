//! One command or shell on a terminal of its own: what is typed, what is shown, its size, and its end.

use std::time::Duration;

use bytes::BytesMut;
use pty_process::{OwnedReadPty, OwnedWritePty, Pty, Size};
use russh::server::{Handle, Msg};
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use super::process::{Journal, Noted, SshRequest, tell_end};

/// How long the last of the output may take to come once the command has ended: something that it left
/// behind may hold the terminal.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A terminal as a client asks for it.
pub struct Terminal {
    /// What kind of terminal the client has (`TERM`).
    pub kind: String,
    /// How large it is.
    pub size: Size,
}

impl Terminal {
    /// Starts a command as the leader of a session on a new terminal.
    pub fn spawn(self, command: Command) -> std::io::Result<(Child, Pty)> {
        let failed = |error: pty_process::Error| std::io::Error::other(error);
        let (pty, side) = pty_process::open().map_err(failed)?;
        pty.resize(self.size).map_err(failed)?;
        let child = pty_process::Command::from(command).spawn(side).map_err(failed)?;
        Ok((child, pty))
    }
}

/// Returns a size as clients tell it; larger ones than a terminal can have are cut off.
pub fn size(columns: u32, rows: u32) -> Size {
    let number = |cells: u32| u16::try_from(cells).unwrap_or(u16::MAX);
    Size::new(number(rows), number(columns))
}

/// A command on a terminal and the channel it answers on.
pub struct Dialogue {
    /// The process.
    pub child: Child,
    /// Our side of its terminal.
    pub pty: Pty,
    /// The channel that asked for it.
    pub channel: Channel<Msg>,
    /// The connection the channel belongs to.
    pub handle: Handle,
    /// What was asked; noted down with all that was typed.
    pub request: SshRequest,
    /// Where it is noted.
    pub journal: Journal,
}

impl Dialogue {
    /// Carries bytes both ways until the command has ended.
    ///
    /// A client that goes away takes the terminal along, which hangs up on everything that runs there.
    pub async fn run(self, before_close: impl FnOnce()) {
        let Self { mut child, pty, channel, handle, request, journal } = self;
        let noted = Noted::new(request, journal);
        let (incoming, outgoing) = channel.split();
        let (shown, typed) = pty.into_split();
        let (queue, queued) = mpsc::unbounded_channel();

        let process = async {
            let showing = show(shown, &outgoing);
            tokio::pin!(showing);
            let ended = tokio::select! {
                ended = child.wait() => {
                    // Linux hangs up with the session's leader, so there is an end to what is left to show.
                    tokio::time::timeout(LAST_WORDS, showing).await.ok();
                    ended
                }
                () = &mut showing => child.wait().await,
            };
            noted.close();
            if let Ok(status) = ended {
                tell_end(status, outgoing.id(), &handle, &outgoing).await;
            }
        };
        tokio::select! {
            () = process => {}
            () = listen(incoming, queue, &noted) => {}
            never = feed(typed, queued) => match never {},
        }
        noted.close();
        before_close();
        // Both fail only when the client has left, and then nobody waits for them.
        outgoing.eof().await.ok();
        outgoing.close().await.ok();
    }
}

/// What a client does at its terminal.
enum Done {
    Typed(bytes::Bytes),
    Resized(Size),
}

enum Never {}

/// Takes what the client sends for as long as it is there.
async fn listen(mut incoming: ChannelReadHalf, queue: mpsc::UnboundedSender<Done>, noted: &Noted) {
    while let Some(message) = incoming.wait().await {
        let done = match message {
            ChannelMsg::Data { data } => {
                noted.take(&data);
                Done::Typed(data)
            }
            ChannelMsg::WindowChange { col_width, row_height, .. } => {
                Done::Resized(size(col_width, row_height))
            }
            ChannelMsg::Close => return,
            _ => continue,
        };
        // A command that has stopped reading leaves the rest unread.
        queue.send(done).ok();
    }
}

/// Carries out what was done at the client's terminal, in its order; never returns, so that it can be raced.
async fn feed(mut typed: OwnedWritePty, mut queued: mpsc::UnboundedReceiver<Done>) -> Never {
    while let Some(done) = queued.recv().await {
        let fed = match done {
            Done::Typed(bytes) => typed.write_all(&bytes).await,
            Done::Resized(size) => typed.resize(size).map_err(std::io::Error::other),
        };
        if fed.is_err() {
            break;
        }
    }
    std::future::pending().await
}

/// Sends what the terminal shows until nobody writes there any more, or nobody is there to read it.
async fn show(mut shown: OwnedReadPty, outgoing: &ChannelWriteHalf<Msg>) {
    let mut buffer = BytesMut::with_capacity(64 * 1024);
    // An error is how a terminal ends that nobody holds any more.
    while shown.read_buf(&mut buffer).await.is_ok_and(|count| count > 0) {
        if outgoing.data_bytes(buffer.split().freeze()).await.is_err() {
            return;
        }
        buffer.reserve(64 * 1024);
    }
}
