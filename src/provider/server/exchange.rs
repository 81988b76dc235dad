//! One conversation with the helper: its source and one request in, JSON lines out.
//!
//! The last line holds the nonce and a result or an error. Without it the outcome is unknown, whatever
//! the exit code says: a cut connection ends in an ordinary end of file.

use std::pin::Pin;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use openssh::{ChildStderr, ChildStdin, ChildStdout};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader, Take,
};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Sleep, timeout};

use super::transfer::{Secrets, Told};
use super::trouble::{Kind, Result, SshError, Trouble};
use super::wire::{Ask, Line, Word, renewed};
use crate::error::Error;

/// The helper: one script, its parts in the order that they build on each other. See its own words.
pub(super) const HELPER: &str = concat!(
    include_str!("helper/base.py"),
    include_str!("helper/talk.py"),
    include_str!("helper/programs.py"),
    include_str!("helper/home.py"),
    include_str!("helper/hashes.py"),
    include_str!("helper/git.py"),
    include_str!("helper/checkout.py"),
    include_str!("helper/contents.py"),
    include_str!("helper/look.py"),
    include_str!("helper/processes.py"),
    include_str!("helper/notebook.py"),
    include_str!("helper/jupyter.py"),
    include_str!("helper/environment.py"),
    include_str!("helper/setup.py"),
    include_str!("helper/step.py"),
    include_str!("helper/mark.py"),
    include_str!("helper/freeze.py"),
    include_str!("helper/repo.py"),
    include_str!("helper/save.py"),
    include_str!("helper/commit.py"),
    include_str!("helper/wire.py"),
    include_str!("helper/pace.py"),
    include_str!("helper/journal.py"),
    include_str!("helper/transfer.py"),
    include_str!("helper/download.py"),
    include_str!("helper/pull.py"),
    include_str!("helper/pack.py"),
    include_str!("helper/push.py"),
    include_str!("helper/upload.py"),
    include_str!("helper/main.py"),
);

/// How long a helper may say nothing; it speaks every few seconds while it works.
const SILENCE: Duration = Duration::from_secs(60);
/// How long a program may take to end once its output has.
const ENDING: Duration = Duration::from_secs(10);
/// The most that one conversation may bring, in bytes.
const REPLY: u64 = 64 * 1024 * 1024;
/// How much of the error output is kept, in bytes.
const TAIL: usize = 2000;

/// Returns the arguments of `python3` that make it read and run the helper from its input.
///
/// `-I`: no environment variable and no file in the current folder takes part (a `json.py` there would). `-S`: nor does
/// what was installed beside Python's own library, which takes a third of the start to set up.
pub(super) fn python_arguments() -> [String; 3] {
    let start = format!("import sys;exec(compile(sys.stdin.buffer.read({}),'dacapo','exec'))", HELPER.len());
    ["-IS".into(), "-c".into(), start]
}

/// A started `python3`, wherever it runs.
pub(super) struct Started {
    input: Box<dyn AsyncWrite + Send + Unpin>,
    output: Box<dyn AsyncRead + Send + Unpin>,
    errors: Box<dyn AsyncRead + Send + Unpin>,
    process: Process,
}

enum Process {
    Remote(openssh::Child<Arc<openssh::Session>>),
    Own(tokio::process::Child),
}

/// How a process ended.
enum End {
    Exited(ExitStatus),
    NotFound,
    Lost(String),
}

impl Started {
    /// Takes a child of the multiplexed connection; its three streams must be pipes.
    pub(super) fn remote(mut child: openssh::Child<Arc<openssh::Session>>) -> Self {
        let input: ChildStdin = child.stdin().take().expect("standard input was asked to be a pipe");
        let output: ChildStdout = child.stdout().take().expect("standard output was asked to be a pipe");
        let errors: ChildStderr = child.stderr().take().expect("error output was asked to be a pipe");
        Self {
            input: Box::new(input),
            output: Box::new(output),
            errors: Box::new(errors),
            process: Process::Remote(child),
        }
    }

    /// Takes a child process of ours; its three streams must be pipes.
    pub(super) fn own(mut child: tokio::process::Child) -> Self {
        Self {
            input: Box::new(child.stdin.take().expect("standard input was asked to be a pipe")),
            output: Box::new(child.stdout.take().expect("standard output was asked to be a pipe")),
            errors: Box::new(child.stderr.take().expect("error output was asked to be a pipe")),
            process: Process::Own(child),
        }
    }
}

/// A `python3` that runs the helper and can be asked.
pub(super) struct Helper {
    input: Box<dyn AsyncWrite + Send + Unpin>,
    lines: Lines,
    errors: JoinHandle<String>,
    process: Process,
    /// The nonce of its last answer; none while it hasn't even got its source.
    answered: Option<String>,
}

type Lines = BufReader<Take<Box<dyn AsyncRead + Send + Unpin>>>;

impl Helper {
    pub(super) fn new(started: Started) -> Self {
        let Started { input, output, errors, process } = started;
        let errors = tokio::spawn(tail(errors));
        Self { input, lines: BufReader::new(output.take(REPLY)), errors, process, answered: None }
    }

    /// Waits until it can be asked again; false when it has ended.
    pub(super) async fn is_ready(&mut self) -> bool {
        let Some(nonce) = &self.answered else { return true };
        let mut line = Vec::new();
        let ready = async {
            while matches!(self.lines.read_until(b'\n', &mut line).await, Ok(1..)) {
                match serde_json::from_slice(&line) {
                    Ok(Line { nonce: theirs, word: Word::Ready(()) }) if theirs == *nonce => return true,
                    _ => line.clear(),
                }
            }
            false
        };
        timeout(ENDING, ready).await.unwrap_or(false)
    }
}

impl Process {
    async fn end(self) -> End {
        match self {
            Self::Remote(child) => match child.wait().await {
                Ok(status) => End::Exited(status),
                // The crate's word for exit code 127.
                Err(openssh::Error::Remote(_)) => End::NotFound,
                Err(error) => End::Lost(error.to_string()),
            },
            Self::Own(mut child) => match child.wait().await {
                Ok(status) if status.code() == Some(127) => End::NotFound,
                Ok(status) if status.code() == Some(255) => End::Lost("ssh lost the connection".into()),
                Ok(status) => End::Exited(status),
                Err(error) => End::Lost(error.to_string()),
            },
        }
    }
}

/// What a conversation is about, and how long it may take.
pub(super) struct Exchange<'a> {
    /// What fails if it fails, for the reader: "cannot …".
    pub what: &'a str,
    /// The most it may take in all.
    pub limit: Duration,
}

impl Exchange<'_> {
    /// Asks for what needs nothing from this side, and returns the helper's result.
    pub(super) async fn carry_out<T: DeserializeOwned>(&self, started: Started, ask: &Ask<'_>) -> Result<T> {
        self.converse(started, ask, &mut |_| {}, None).await
    }

    /// Asks, passes on what is told meanwhile, hands over new secrets, and returns the helper's result.
    pub(super) async fn converse<T: DeserializeOwned>(
        &self,
        started: Started,
        ask: &Ask<'_>,
        told: &mut (dyn FnMut(Told) + Send),
        secrets: Option<&Secrets<'_>>,
    ) -> Result<T> {
        self.ask(&mut Some(Helper::new(started)), ask, told, secrets).await
    }

    /// The same with a helper that may have answered before; it is gone from its place afterwards unless it
    /// can be asked again.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        place: &mut Option<Helper>,
        ask: &Ask<'_>,
        told: &mut (dyn FnMut(Told) + Send),
        secrets: Option<&Secrets<'_>>,
    ) -> Result<T> {
        let mut helper = place.take().expect("whoever asks has started a helper");
        tracing::debug!("the server is asked to {}", self.what.trim_start_matches("cannot "));
        let nonce = nonce();
        let (say, mut to_say) = mpsc::unbounded_channel();
        // The listener holds `say`, so the channel outlives the question.
        let _ = say.send(request(&nonce, ask, helper.answered.is_none()));
        let Helper { input, lines, .. } = &mut helper;
        lines.get_mut().set_limit(REPLY);
        // The input stays open until the answer is read: its end tells the helper that we are gone.
        let speak = async {
            while let Some(words) = to_say.recv().await {
                let _ = input.write_all(&words).await;
                let _ = input.flush().await;
            }
            std::future::pending::<()>().await;
        };
        let listener = Listener { nonce: &nonce, told, secrets, say };
        let said = tokio::select! {
            said = timeout(self.limit, listener.listen(lines)) => said,
            () = speak => unreachable!("speaking ends with a wait for ever"),
        };
        helper.answered = Some(nonce);
        match said {
            Ok(Heard::Result(value)) => {
                *place = Some(helper);
                self.decode(value)
            }
            Ok(Heard::Error { kind, why }) => {
                *place = Some(helper);
                Err(SshError::said(self.what, kind, why))
            }
            Ok(Heard::NotRenewed(error)) => Err(SshError::local(error)),
            Ok(Heard::End) => Err(self.unfinished(helper).await),
            Ok(Heard::TooMuch) => Err(SshError::said(
                self.what,
                Kind::Bug,
                vec![format!("the server answered with more than {REPLY} bytes")],
            )),
            Ok(Heard::Silence) => {
                Err(self.lost(format!("the server said nothing for {} s", SILENCE.as_secs())))
            }
            Err(_) => Err(self.lost(format!("it took more than {} s", self.limit.as_secs()))),
        }
    }

    pub(super) fn decode<T: DeserializeOwned>(&self, value: serde_json::Value) -> Result<T> {
        serde_json::from_value(value).map_err(|error| {
            let wanted = format!("the answer is no {}: {error}", std::any::type_name::<T>());
            SshError::said(self.what, Kind::Bug, vec![wanted])
        })
    }

    /// Words an end without a last line, by how the program ended and what it left on its error output.
    async fn unfinished(&self, helper: Helper) -> SshError {
        let Helper { input, process, errors, .. } = helper;
        drop(input);
        let end = timeout(ENDING, process.end()).await.unwrap_or(End::Lost("it didn't end".into()));
        let words = match timeout(ENDING, errors).await {
            Ok(Ok(words)) if !words.is_empty() => Some(words),
            _ => None,
        };
        match end {
            End::NotFound => self.no_python(words),
            End::Lost(why) => self.lost(words.unwrap_or(why)),
            End::Exited(status) => {
                let why = format!("the helper ended early ({status})");
                let why = [why].into_iter().chain(words).collect();
                SshError::said(self.what, Kind::Bug, why)
            }
        }
    }

    fn no_python(&self, words: Option<String>) -> SshError {
        let mut error = Error::new(self.what).why("`python3` was not found on the server");
        error.why.extend(words);
        SshError::new(
            Trouble::NoPython,
            error.hint("choose an image with Python 3.8 or newer, or install it there"),
        )
    }

    fn lost(&self, why: String) -> SshError {
        let error = Error::new(self.what)
            .why("the connection to the server was lost, and what became of it is unknown")
            .why(why)
            .hint("run the command again: it looks at what is there first");
        SshError::new(Trouble::Lost, error)
    }
}

/// What reading the helper's lines came to.
enum Heard {
    Result(serde_json::Value),
    Error {
        kind: Kind,
        why: Vec<String>,
    },
    /// A new secret was wanted and couldn't be had.
    NotRenewed(Error),
    /// The output ended without a last line.
    End,
    Silence,
    TooMuch,
}

/// This side of a conversation.
struct Listener<'a, 's> {
    nonce: &'a str,
    told: &'a mut (dyn FnMut(Told) + Send),
    secrets: Option<&'a Secrets<'s>>,
    say: mpsc::UnboundedSender<Vec<u8>>,
}

impl Listener<'_, '_> {
    async fn listen(mut self, lines: &mut Lines) -> Heard {
        let mut line = Vec::new();
        let mut ending = self.secrets.map(|secrets| Box::pin(tokio::time::sleep(secrets.first_life)));
        loop {
            line.clear();
            let read = loop {
                // Reading a line can be given up half-way: what came of it stays in `line`.
                tokio::select! {
                    read = timeout(SILENCE, lines.read_until(b'\n', &mut line)) => break read,
                    () = elapsed(&mut ending) => match self.renew().await {
                        Ok(life) => ending = life.map(|life| Box::pin(tokio::time::sleep(life))),
                        Err(error) => return Heard::NotRenewed(error),
                    },
                }
            };
            match read {
                Err(_) => return Heard::Silence,
                Ok(Ok(0) | Err(_)) if lines.get_ref().limit() == 0 => return Heard::TooMuch,
                Ok(Ok(0) | Err(_)) => return Heard::End,
                Ok(Ok(_)) => {}
            }
            // A login shell's greeting may stand in front of the helper's lines.
            let Ok(Line { nonce, word }) = serde_json::from_slice::<Line>(&line) else { continue };
            if nonce != self.nonce {
                continue;
            }
            match word {
                Word::Alive(()) | Word::Ready(()) => {}
                Word::Progress { bytes, total } => (self.told)(Told::Moved { bytes, total }),
                Word::Resumed(bytes) => (self.told)(Told::Resumed { bytes }),
                Word::Waiting { why, seconds } => (self.told)(Told::Waiting { why, seconds }),
                Word::Said(line) => (self.told)(Told::Said { line }),
                Word::Want(()) => match self.renew().await {
                    Ok(life) => ending = life.map(|life| Box::pin(tokio::time::sleep(life))),
                    Err(error) => return Heard::NotRenewed(error),
                },
                Word::Result(value) => return Heard::Result(value),
                Word::Error { kind, why } => return Heard::Error { kind, why },
            }
        }
    }

    /// Gets another secret and hands it over; returns how long it is good for.
    async fn renew(&mut self) -> Result<Option<Duration>, Error> {
        let Some(secrets) = self.secrets else { return Ok(None) };
        let secret = (secrets.mint)().await?;
        // A helper that has ended meanwhile needs none; its last line says how it ended.
        let _ = self.say.send(renewed(&secret.value));
        Ok(Some(secret.life))
    }
}

/// Waits until a secret's time is over; for ever where there is none.
async fn elapsed(ending: &mut Option<Pin<Box<Sleep>>>) {
    match ending {
        Some(sleep) => sleep.await,
        None => std::future::pending().await,
    }
}

/// What a helper said that wrote exactly these bytes; none without a last line.
#[cfg(any(test, fuzzing))]
pub(super) fn heard(output: &[u8], nonce: &str) -> Option<Result<serde_json::Value, (Kind, Vec<String>)>> {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime without input and output can always be built");
    }
    let output: Box<dyn AsyncRead + Send + Unpin> = Box::new(std::io::Cursor::new(output.to_vec()));
    let mut lines = BufReader::new(output.take(REPLY));
    let (say, _to_say) = mpsc::unbounded_channel();
    let listener = Listener { nonce, told: &mut |_| {}, secrets: None, say };
    let heard = RUNTIME.with(|runtime| runtime.block_on(listener.listen(&mut lines)));
    match heard {
        Heard::Result(value) => Some(Ok(value)),
        Heard::Error { kind, why } => Some(Err((kind, why))),
        Heard::End => None,
        Heard::Silence | Heard::TooMuch | Heard::NotRenewed(_) => {
            panic!("a short text was neither read nor ended")
        }
    }
}

/// Returns a request, with the helper's source in front of the first one.
fn request(nonce: &str, ask: &Ask<'_>, first: bool) -> Vec<u8> {
    #[derive(Serialize)]
    struct Request<'a> {
        nonce: &'a str,
        #[serde(flatten)]
        ask: &'a Ask<'a>,
    }
    let mut bytes = if first { HELPER.as_bytes().to_vec() } else { Vec::new() };
    serde_json::to_writer(&mut bytes, &Request { nonce, ask })
        .expect("requests hold only strings and numbers");
    bytes.push(b'\n');
    bytes
}

/// Returns 32 random hex digits.
pub(super) fn nonce() -> String {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    hex::encode(bytes)
}

/// Reads to the end and returns the last of it, without blank lines.
async fn tail(mut stream: impl AsyncRead + Unpin) -> String {
    let mut kept = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        kept.extend_from_slice(&buffer[..count]);
        kept.drain(..kept.len().saturating_sub(TAIL));
    }
    let text = String::from_utf8_lossy(&kept);
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}
