//! Upload sessions as the API has them: start, append and finish, one at a time and in batches.

use std::collections::BTreeMap;
use std::ops::Range;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::argument::Fields;
use super::problem::Problem;
use super::session::{Order, Refusal, Session, Unfinished};
use super::writing::{Commit, Content, LARGEST};
use super::{Outcome, Store};
use crate::sandbox::random;
use crate::sandbox::sent::Sent;

/// The most entries of a batch.
const LARGEST_BATCH: usize = 1000;

/// The sessions by their ids; the bytes are on disk.
pub type Sessions = BTreeMap<String, Session>;

/// Where in which session some bytes belong.
pub struct Cursor {
    /// The session's id.
    pub session: String,
    /// The first byte's place.
    pub offset: u64,
}

/// One append of a batch: its part of the body.
struct Part {
    cursor: Cursor,
    length: u64,
    close: bool,
}

/// One session that is to become a file.
struct Finish {
    cursor: Cursor,
    commit: Commit,
    hash: Option<String>,
}

impl Cursor {
    /// Reads a cursor.
    pub fn read(fields: &mut Fields) -> Result<Self, Problem> {
        let mut cursor = fields.object("cursor")?;
        let session = cursor.text("session_id")?;
        let offset = cursor.required_integer("offset", 0..=u64::MAX)?;
        cursor.finish()?;
        Ok(Self { session, offset })
    }
}

impl Store {
    /// `files/upload_session/start`.
    pub(super) fn start_session(&mut self, mut fields: Fields, body: &Sent, now: Timestamp) -> Outcome {
        let close = fields.flag("close")?;
        let order = session_type(&mut fields)?;
        let expected = fields.hash("content_hash")?;
        fields.finish()?;
        check_body(body, expected.as_deref())?;
        if order == Order::Concurrent && !body.is_empty() {
            return Err(Problem::route(&["concurrent_session_data_not_allowed"]));
        }
        if order == Order::Concurrent && close {
            return Err(Problem::route(&["concurrent_session_close_not_allowed"]));
        }
        let mut session = Session::starting(order, now);
        let id = new_session();
        self.bodies.write(&id, 0, body).map_err(|_| Problem::Broken)?;
        session.extend(0, body.len() as u64, close);
        self.sessions.insert(id.clone(), session);
        Ok(json!({"session_id": id}))
    }

    /// `files/upload_session/start_batch`.
    pub(super) fn start_sessions(&mut self, mut fields: Fields, now: Timestamp) -> Outcome {
        let order = session_type(&mut fields)?;
        let count = fields.required_integer("num_sessions", 1..=LARGEST_BATCH as u64)?;
        fields.finish()?;
        let ids: Vec<String> = (0..count).map(|_| new_session()).collect();
        for id in &ids {
            self.bodies.write(id, 0, &Sent::default()).map_err(|_| Problem::Broken)?;
            self.sessions.insert(id.clone(), Session::starting(order, now));
        }
        Ok(json!({"session_ids": ids}))
    }

    /// `files/upload_session/append_v2`.
    pub(super) fn append(&mut self, mut fields: Fields, body: &Sent, _: Timestamp) -> Outcome {
        let cursor = Cursor::read(&mut fields)?;
        let close = fields.flag("close")?;
        let expected = fields.hash("content_hash")?;
        fields.finish()?;
        check_body(body, expected.as_deref())?;
        self.take(&cursor, body, close)?
            .map_err(|refusal| Problem::Route(vec![refusal.tag()], refusal.value()))?;
        Ok(Value::Null)
    }

    /// `files/upload_session/append_batch`: one body for many sessions, cut by the lengths.
    pub(super) fn append_batch(&mut self, mut fields: Fields, body: &Sent, _: Timestamp) -> Outcome {
        let mut parts = Vec::new();
        for mut entry in fields.objects("entries", LARGEST_BATCH)? {
            let cursor = Cursor::read(&mut entry)?;
            let length = entry.required_integer("length", 0..=u64::MAX)?;
            let close = entry.flag("close")?;
            entry.finish()?;
            parts.push(Part { cursor, length, close });
        }
        let expected = fields.hash("content_hash")?;
        fields.finish()?;
        check_body(body, expected.as_deref())?;
        let ranges = cut(&parts, body.len()).ok_or_else(|| Problem::route(&["length_mismatch"]))?;
        let mut results = Vec::new();
        for (part, range) in parts.iter().zip(ranges) {
            let taken = self.take(&part.cursor, &body.part(range), part.close)?;
            results.push(match taken {
                Ok(()) => json!({".tag": "success"}),
                Err(refusal) => json!({".tag": "failure", "failure": refusal.value()}),
            });
        }
        Ok(json!({"entries": results}))
    }

    /// `files/upload_session/finish`; the last bytes may come with it.
    pub(super) fn finish(&mut self, mut fields: Fields, body: &Sent, now: Timestamp) -> Outcome {
        let Finish { cursor, commit, hash } = Finish::read(&mut fields)?;
        fields.finish()?;
        check_body(body, hash.as_deref())?;
        let length = body.len() as u64;
        let known = self.sessions.get(&cursor.session);
        let complete = known.map(|session| session.complete(cursor.offset, length));
        complete.unwrap_or(Err(Unfinished::Lookup(Refusal::NotFound))).map_err(Unfinished::problem)?;
        if !body.is_empty() {
            // They stay, whatever becomes of the commit: it is tried again without them.
            let taken = self.take(&cursor, body, false)?;
            taken.map_err(|refusal| Unfinished::Lookup(refusal).problem())?;
        }
        self.settle_session(&cursor.session, &commit, now)
    }

    /// `files/upload_session/finish_batch_v2`: each entry succeeds or fails for itself.
    pub(super) fn finish_batch(&mut self, mut fields: Fields, now: Timestamp) -> Outcome {
        let entries = fields.objects("entries", LARGEST_BATCH)?.into_iter();
        let read = |mut entry: Fields| {
            let finish = Finish::read(&mut entry)?;
            entry.finish().map(|()| finish)
        };
        let entries = entries.map(read).collect::<Result<Vec<Finish>, Problem>>()?;
        fields.finish()?;
        let mut results = Vec::new();
        for entry in entries {
            results.push(match self.finish_one(&entry, now) {
                Ok(mut metadata) => {
                    metadata[".tag"] = json!("success");
                    metadata
                }
                Err(Problem::Route(_, error)) => json!({".tag": "failure", "failure": error}),
                Err(other) => return Err(other),
            });
        }
        Ok(json!({"entries": results}))
    }

    /// `files/upload_session/finish_batch`, the earlier form: it may answer at once, and here it does.
    pub(super) fn finish_batch_at_once(&mut self, fields: Fields, now: Timestamp) -> Outcome {
        let mut value = self.finish_batch(fields, now)?;
        value[".tag"] = json!("complete");
        Ok(value)
    }

    fn finish_one(&mut self, entry: &Finish, now: Timestamp) -> Outcome {
        check_body(&Sent::default(), entry.hash.as_deref())?;
        let known = self.sessions.get(&entry.cursor.session);
        let complete = known.map(|session| session.complete_in_batch(entry.cursor.offset));
        complete.unwrap_or(Err(Unfinished::Lookup(Refusal::NotFound))).map_err(Unfinished::problem)?;
        self.settle_session(&entry.cursor.session, &entry.commit, now)
    }

    /// Makes a file of a session that is whole; a session whose commit fails stays as it is.
    fn settle_session(&mut self, id: &str, commit: &Commit, now: Timestamp) -> Outcome {
        let size = self.sessions.get(id).map_or(0, Session::end);
        let hash = self.bodies.seal(id, size).map_err(|_| Problem::Broken)?;
        let placed = self.settle(commit, Content { hash, size }, id, now)?;
        let metadata = placed.map_err(|tags| Problem::route(&[&["path"], tags].concat()))?;
        self.sessions.entry(id.to_owned()).and_modify(Session::commit);
        Ok(metadata)
    }

    /// Appends some bytes to a session; the inner error is the session's refusal.
    fn take(&mut self, cursor: &Cursor, bytes: &Sent, close: bool) -> Result<Result<(), Refusal>, Problem> {
        let Cursor { session: id, offset } = cursor;
        let Some(session) = self.sessions.get_mut(id) else { return Ok(Err(Refusal::NotFound)) };
        let length = bytes.len() as u64;
        if let Err(refusal) = session.admit(*offset, length, close) {
            return Ok(Err(refusal));
        }
        self.bodies.write(id, *offset, bytes).map_err(|_| Problem::Broken)?;
        session.extend(*offset, length, close);
        Ok(Ok(()))
    }

    /// Keeps the bytes of an upload whose commit failed: its session can be finished with another commit.
    pub(super) fn keep_upload(&mut self, id: String, size: u64, now: Timestamp) {
        let mut session = Session::starting(Order::Sequential, now);
        session.extend(0, size, true);
        self.sessions.insert(id, session);
    }

    /// Forgets the sessions whose time is over, and the bytes that have become files or nothing.
    pub(super) fn sweep(&mut self, now: Timestamp) {
        let Self { sessions, bodies, spent, .. } = self;
        spent.drain(..).for_each(|session| bodies.remove(&session));
        sessions.retain(|id, session| {
            let keep = !session.expired(now);
            if !keep {
                bodies.remove(id);
            }
            keep
        });
    }
}

impl Finish {
    fn read(fields: &mut Fields) -> Result<Self, Problem> {
        let cursor = Cursor::read(fields)?;
        let mut info = fields.object("commit")?;
        let commit = Commit::read(&mut info)?;
        info.finish()?;
        Ok(Self { cursor, commit, hash: fields.hash("content_hash")? })
    }
}

impl Unfinished {
    /// Returns the error of a finishing call.
    fn problem(self) -> Problem {
        match self {
            Self::Lookup(refusal) => Problem::Route(
                vec!["lookup_failed", refusal.tag()],
                json!({".tag": "lookup_failed", "lookup_failed": refusal.value()}),
            ),
            Self::DataNotAllowed => Problem::route(&["concurrent_session_data_not_allowed"]),
            Self::NotClosed => Problem::route(&["concurrent_session_not_closed"]),
            Self::MissingData => Problem::route(&["concurrent_session_missing_data"]),
        }
    }
}

/// Returns a new session's id.
pub fn new_session() -> String {
    format!("pid_upload_session:{}", random::word(40))
}

/// Refuses a body that is too large or not the one that was announced.
pub fn check_body(body: &Sent, expected: Option<&str>) -> Result<(), Problem> {
    if body.len() > LARGEST {
        return Err(Problem::route(&["payload_too_large"]));
    }
    match expected {
        Some(expected) if expected != body.hash().to_string() => {
            Err(Problem::route(&["content_hash_mismatch"]))
        }
        _ => Ok(()),
    }
}

fn session_type(fields: &mut Fields) -> Result<Order, Problem> {
    match fields.union("session_type")?.as_ref().map(|(tag, _)| tag.as_str()) {
        None | Some("sequential") => Ok(Order::Sequential),
        Some("concurrent") => Ok(Order::Concurrent),
        Some(tag) => Err(fields.bad_field("session_type", &format!("invalid tag '{tag}'"))),
    }
}

/// Returns which bytes of the body are whose; `None` if the lengths don't add up to it.
fn cut(parts: &[Part], total: usize) -> Option<Vec<Range<usize>>> {
    let mut start = 0;
    let mut ranges = Vec::new();
    for part in parts {
        let end = usize::try_from(part.length).ok().and_then(|length| length.checked_add(start))?;
        ranges.push(start..end);
        start = end;
    }
    (start == total).then_some(ranges)
}
