//! Copies files between the laptop and the server: the same script on both sides, and what goes between them.
//!
//! What the server says is believed for the content of what was asked for, and for nothing else: the names that
//! files get here are those that were typed, and what is inside of a folder stays inside of it.

use std::path::Path;
use std::process::Stdio;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;

use super::trouble::{Result, SshError, Trouble};
use super::{Connection, Kind};
use crate::digest::ContentHash;
use crate::error::{Error, ExitCode};

/// What runs on either side: see its own words.
const SCRIPT: &str = include_str!("copy.py");
/// The longest line that either side may say, in bytes.
const LINE: u64 = 256 * 1024 * 1024;
/// How much is moved at once, in bytes.
const PIECE: usize = 256 * 1024;
/// How much of the error output is kept, in bytes.
const TAIL: u64 = 2000;
/// How many places a refusal names.
const NAMED: usize = 10;

/// Where files lie.
#[derive(Clone, Copy, Debug)]
pub enum Side<'a> {
    /// On the server; paths count from a folder below the home directory.
    Server(&'a Connection, &'a str),
    /// Here; paths count from this folder.
    Laptop(&'a Path),
}

/// What to copy. Paths are bytes, as the systems have them.
#[derive(Clone, Copy, Debug)]
pub struct Copy<'a> {
    /// What to copy.
    pub paths: &'a [Vec<u8>],
    /// A folder to copy into or, for a single one, the new name.
    pub target: &'a [u8],
    /// Whether folders are meant, with all that is in them.
    pub recursive: bool,
    /// Whether what differs may be replaced.
    pub overwrite: bool,
}

/// Something that is to be copied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Which of the named paths it belongs to.
    source: usize,
    /// Its path below that one, as hexadecimal digits; none for that one itself.
    path: String,
    mode: u32,
    /// What it is.
    #[serde(flatten)]
    pub found: Found,
}

/// What something is, and what is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Found {
    /// A file.
    File {
        /// Its size in bytes.
        size: u64,
        /// Its content.
        content: ContentHash,
    },
    /// A folder.
    Folder,
    /// A link, and what it says, as hexadecimal digits.
    Link {
        /// Where it leads to.
        to: String,
    },
}

/// What lies at the place that something is to be copied to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Nothing.
    New,
    /// The same already.
    Same,
    /// Something else, which may be replaced when that was asked for.
    Different,
    /// Something that isn't replaced whatever was asked for.
    Blocked,
}

/// What was copied.
#[derive(Clone, Debug, Default)]
pub struct Copied {
    /// Everything that was meant, with its place and what was there before.
    pub entries: Vec<(Entry, String, State)>,
    /// What was left out, since it is neither a file nor a folder nor a link.
    pub skipped: Vec<String>,
}

#[derive(Deserialize)]
struct Listed {
    entries: Vec<Entry>,
    skipped: Vec<String>,
}

#[derive(Deserialize)]
struct Judged {
    states: Vec<State>,
    places: Vec<String>,
}

#[derive(Deserialize)]
struct Done {
    #[serde(rename = "done")]
    _done: bool,
}

/// Copies from one side to the other; `moved` hears how many bytes there are, then of each piece.
///
/// A file is at its place whole and verified or not at all. What differs there is an error before anything is
/// copied, unless it may be replaced; what is the same already is left alone. After an error some files may be
/// copied, and the same call copies the rest.
pub async fn copy(
    from: Side<'_>,
    to: Side<'_>,
    ask: Copy<'_>,
    moved: &mut (dyn FnMut(Moved) + Send),
) -> Result<Copied> {
    let mut giver = Script::start(from, "give")?;
    let paths: Vec<String> = ask.paths.iter().map(hex::encode).collect();
    giver.say(&serde_json::json!({"paths": paths, "recursive": ask.recursive})).await?;
    let Listed { entries, skipped } = giver.hear().await?;
    check(&entries, ask).map_err(|why| giver.nonsense(why))?;

    let mut taker = Script::start(to, "take")?;
    let names: Vec<String> = ask.paths.iter().map(|path| hex::encode(name(path))).collect();
    let request = serde_json::json!({
        "target": hex::encode(ask.target), "names": names, "overwrite": ask.overwrite, "entries": entries,
    });
    taker.say(&request).await?;
    let Judged { states, places } = taker.hear().await?;
    if states.len() != entries.len() || places.len() != entries.len() {
        return Err(taker.nonsense("it judged other files than it was asked about"));
    }
    refused(&states, &places, ask.overwrite, taker.name)?;

    let is_sent = |state: &State| matches!(state, State::New | State::Different);
    let sent = || entries.iter().zip(&states).enumerate().filter(move |(_, (_, state))| is_sent(state));
    let sizes = sent().filter_map(|(at, (entry, _))| match entry.found {
        Found::File { size, .. } => Some((at, size)),
        Found::Folder | Found::Link { .. } => None,
    });
    let (send, sizes): (Vec<usize>, Vec<u64>) = sizes.unzip();
    let total = sizes.iter().fold(0_u64, |sum, size| sum.saturating_add(*size));
    moved(Moved::Of(total));
    taker.say(&serde_json::json!({"go": true})).await?;
    giver.say(&serde_json::json!({"send": send})).await?;
    let carried = carry(&mut giver, &mut taker, total, moved).await;
    // Whoever takes says what became of it, whatever else went wrong.
    taker.input.take();
    let told = taker.hear::<Done>().await;
    match (carried, told) {
        (_, Ok(_)) => {}
        (Err(Ended::Giver), Err(_)) => return Err(giver.ended().await),
        (_, Err(error)) => return Err(error),
    }
    let entries = entries.into_iter().zip(places).zip(states);
    Ok(Copied { entries: entries.map(|((entry, place), state)| (entry, place, state)).collect(), skipped })
}

/// How far a copy is.
#[derive(Clone, Copy, Debug)]
pub enum Moved {
    /// There are so many bytes to move.
    Of(u64),
    /// So many more were moved.
    More(u64),
}

/// The side that ended before everything was carried.
enum Ended {
    Giver,
    Taker,
}

async fn carry(
    giver: &mut Script,
    taker: &mut Script,
    total: u64,
    moved: &mut (dyn FnMut(Moved) + Send),
) -> Result<(), Ended> {
    let mut left = total;
    let mut piece = vec![0; PIECE];
    let input = taker.input.as_mut().ok_or(Ended::Taker)?;
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        let count = giver.output.read(&mut piece[..most]).await.map_err(|_| Ended::Giver)?;
        if count == 0 {
            return Err(Ended::Giver);
        }
        input.write_all(&piece[..count]).await.map_err(|_| Ended::Taker)?;
        left -= count as u64;
        moved(Moved::More(count as u64));
    }
    input.flush().await.map_err(|_| Ended::Taker)
}

/// Returns the name that something gets in a folder: none for `.` and the like, whose content goes there.
fn name(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
    let name = path[..end].rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    if matches!(name, b"." | b".." | b"~") { b"" } else { name }
}

/// Refuses answers that don't belong to what was asked.
fn check(entries: &[Entry], ask: Copy<'_>) -> std::result::Result<(), &'static str> {
    let tops = entries.iter().filter(|entry| entry.path.is_empty()).map(|entry| entry.source);
    if !tops.eq(0..ask.paths.len()) || entries.iter().any(|entry| entry.source >= ask.paths.len()) {
        return Err("it names other files than it was asked for");
    }
    let only_files = entries.iter().all(|entry| matches!(entry.found, Found::File { .. }));
    if !ask.recursive && (!only_files || entries.len() != ask.paths.len()) {
        return Err("it names more than the files that it was asked for");
    }
    Ok(())
}

fn refused(states: &[State], places: &[String], overwrite: bool, on: &str) -> Result<()> {
    let of = |wanted: State| {
        states.iter().zip(places).filter(move |(state, _)| **state == wanted).map(|(_, place)| place)
    };
    let refusal = |wanted: State, why: &str| {
        let mut error = Error::of(ExitCode::Refused, format!("nothing was copied to {on}"));
        error = of(wanted).take(NAMED).fold(error, |error, place| error.why(format!("`{place}` {why}")));
        let more = of(wanted).count().saturating_sub(NAMED);
        if more > 0 { error.why(format!("and {more} more")) } else { error }
    };
    if of(State::Blocked).next().is_some() {
        let error = refusal(State::Blocked, "is there, and is of another kind");
        return Err(SshError::new(
            Trouble::Said(Kind::Occupied),
            error.hint("move it away, or choose another place"),
        ));
    }
    if !overwrite && of(State::Different).next().is_some() {
        let error = refusal(State::Different, "is there with another content");
        let error =
            error.hint("choose another place, or replace it with `--overwrite`: its content is gone then");
        return Err(SshError::new(Trouble::Said(Kind::Occupied), error));
    }
    Ok(())
}

/// The script on one side.
struct Script {
    name: &'static str,
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    errors: Option<JoinHandle<String>>,
}

impl Script {
    fn start(side: Side<'_>, part: &str) -> Result<Self> {
        let (name, mut command) = match side {
            Side::Server(connection, folder) => {
                let words = ["-IS", "-c", SCRIPT, part, folder].map(str::to_owned);
                ("the server", connection.own_ssh("python3", &words, false))
            }
            Side::Laptop(folder) => {
                let mut command = Command::new("python3");
                command.args(["-IS", "-c", SCRIPT, part]).arg(folder).process_group(0);
                command.env_clear();
                command.envs(
                    ["PATH", "HOME"].into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))),
                );
                ("this laptop", command)
            }
        };
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| {
            let error = Error::new(format!("cannot copy from or to {name}")).because(&error);
            SshError::local(error.hint("ssh and python3 are needed on this laptop"))
        })?;
        let input = child.stdin.take();
        let output = child.stdout.take().expect("standard output was asked to be a pipe");
        let errors = child.stderr.take().expect("error output was asked to be a pipe");
        let errors = Some(tokio::spawn(last_words(errors)));
        Ok(Self { name, child, input, output: BufReader::new(output), errors })
    }

    async fn say(&mut self, words: &serde_json::Value) -> Result<()> {
        let Some(input) = &mut self.input else { return Ok(()) };
        let line = format!("{words}\n");
        // One that has ended has said why.
        let said = async {
            input.write_all(line.as_bytes()).await?;
            input.flush().await
        };
        drop(said.await);
        Ok(())
    }

    /// Reads one answer, or the words of a failure.
    async fn hear<T: serde::de::DeserializeOwned>(&mut self) -> Result<T> {
        let mut line = Vec::new();
        let read = (&mut self.output).take(LINE).read_until(b'\n', &mut line).await;
        if read.is_err() || line.last() != Some(&b'\n') {
            return Err(self.ended().await);
        }
        #[derive(Deserialize)]
        struct Refusal {
            error: String,
        }
        if let Ok(Refusal { error }) = serde_json::from_slice(&line) {
            let error = Error::new(format!("cannot copy: {} refuses", self.name)).why(error);
            return Err(SshError::new(Trouble::Said(Kind::Os), error));
        }
        serde_json::from_slice(&line).map_err(|error| self.nonsense(&error.to_string()))
    }

    fn nonsense(&self, why: &str) -> SshError {
        let error = Error::new(format!("cannot copy: {} says what makes no sense", self.name)).why(why);
        SshError::new(Trouble::Said(Kind::Bug), error)
    }

    /// Words an end that came too early.
    async fn ended(&mut self) -> SshError {
        self.input.take();
        let said = match self.errors.take() {
            Some(errors) => errors.await.unwrap_or_default(),
            None => String::new(),
        };
        let status = self.child.wait().await;
        let mut error = Error::new(format!("the copy broke off: {} said nothing more", self.name));
        if status.is_ok_and(|status| status.code() == Some(127)) {
            error = Error::new(format!("cannot copy: there is no python3 on {}", self.name));
        }
        for line in said.lines().filter(|line| !line.trim().is_empty()) {
            error = error.why(line);
        }
        SshError::new(Trouble::Lost, error.hint("run the same command again: it copies what isn't there yet"))
    }
}

/// Reads to the end and keeps the beginning of what was said.
async fn last_words(mut errors: impl AsyncRead + Unpin) -> String {
    let mut words = Vec::new();
    let _ = (&mut errors).take(TAIL).read_to_end(&mut words).await;
    let _ = tokio::io::copy(&mut errors, &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&words).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_last_word_of_what_was_typed() {
        let cases: [(&[u8], &[u8]); 8] = [
            (b"a", b"a"),
            (b"x/a/", b"a"),
            (b"/", b""),
            (b".", b""),
            (b"x/..", b""),
            (b"~", b""),
            (b"x/-\n\xff", b"-\n\xff"),
            (b"", b""),
        ];
        for (path, wanted) in cases {
            assert_eq!(name(path), wanted);
        }
    }

    #[test]
    fn more_than_was_asked_for_is_refused() {
        let file = Found::File { size: 1, content: ContentHash::of(b"x") };
        let entry = |source, path: &str, found: &Found| Entry {
            source,
            path: path.into(),
            mode: 0o600,
            found: found.clone(),
        };
        let paths = [b"a".to_vec()];
        let ask = Copy { paths: &paths, target: b".", recursive: false, overwrite: false };
        assert_eq!(check(&[entry(0, "", &file)], ask), Ok(()));
        let bad = [
            vec![],
            vec![entry(1, "", &file)],
            vec![entry(0, "", &file), entry(0, "", &file)],
            vec![entry(0, "", &file), entry(0, "2e2e", &file)],
            vec![entry(0, "", &Found::Folder)],
            vec![entry(0, "", &Found::Link { to: "2f".into() })],
        ];
        for entries in bad {
            assert!(check(&entries, ask).is_err(), "{entries:?}");
        }
        let ask = Copy { recursive: true, ..ask };
        assert_eq!(check(&[entry(0, "", &Found::Folder), entry(0, "61", &file)], ask), Ok(()));
    }
}
