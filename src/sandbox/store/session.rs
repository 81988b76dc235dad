//! One upload session as a state machine: what may be appended where, and when it is whole. No disk here.
//!
//! The rules stand in the API's specification of `upload_session/append` and `finish`. What it leaves open
//! is marked as ours: a block that is sent again replaces the one before, and a closing block must reach
//! at least as far as every other.

use std::collections::BTreeMap;
use std::ops::Range;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The offsets and lengths of a concurrent session are multiples of this many bytes.
pub const ALIGNMENT: u64 = 4 * 1024 * 1024;

/// The most bytes of one file: 2^41 - 2^22.
pub const LARGEST_FILE: u64 = (1 << 41) - (1 << 22);

/// How long a session lives from its start.
const LIFE: SignedDuration = SignedDuration::from_hours(7 * 24);

/// An upload that is under way, or was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Session {
    started: Timestamp,
    kind: Kind,
    stage: Stage,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Kind {
    /// One after the other: this many bytes so far.
    Sequential(u64),
    /// In any order: the stretches that are there, start and end, never touching each other; and where
    /// the file ends, once the closing block has said so.
    Concurrent { stretches: BTreeMap<u64, u64>, end: Option<u64> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Stage {
    Open,
    Closed,
    /// The file is made; the session is remembered so that it can't be used again.
    Committed,
}

/// How the bytes of a new session may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// One after the other.
    Sequential,
    /// In any order, in aligned blocks.
    Concurrent,
}

/// Why a session doesn't take some bytes: the tags of UploadSessionLookupError.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such session, or it is too old.
    NotFound,
    /// The bytes belong somewhere else: here.
    IncorrectOffset(u64),
    /// Nothing can be appended any more.
    Closed,
    /// It has to be closed first.
    NotClosed,
    /// The file would become too large.
    TooLarge,
    /// The offset of a concurrent session's block is not aligned, or lies behind the end.
    InvalidOffset,
    /// The length of a concurrent session's block is not aligned.
    InvalidSize,
}

/// Why a session can't become a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfinished {
    /// The session itself says no.
    Lookup(Refusal),
    /// A concurrent session gets no bytes with the finishing call.
    DataNotAllowed,
    /// A concurrent session has to be closed first.
    NotClosed,
    /// Some stretch never came.
    MissingData,
}

impl Session {
    /// Returns a session that has nothing yet.
    pub fn starting(order: Order, now: Timestamp) -> Self {
        let kind = match order {
            Order::Sequential => Kind::Sequential(0),
            Order::Concurrent => Kind::Concurrent { stretches: BTreeMap::new(), end: None },
        };
        Self { started: now, kind, stage: Stage::Open }
    }

    /// Returns whether the session's time is over.
    pub fn expired(&self, now: Timestamp) -> bool {
        now.duration_since(self.started) >= LIFE
    }

    /// Returns whether the session's bytes are still its own.
    pub fn has_body(&self) -> bool {
        self.stage != Stage::Committed
    }

    /// Returns whether `length` bytes may be put at `offset`; changes nothing.
    pub fn admit(&self, offset: u64, length: u64, close: bool) -> Result<(), Refusal> {
        if self.stage != Stage::Open {
            return Err(Refusal::Closed);
        }
        match &self.kind {
            Kind::Sequential(so_far) if *so_far != offset => return Err(Refusal::IncorrectOffset(*so_far)),
            Kind::Sequential(_) => {}
            Kind::Concurrent { .. } if !offset.is_multiple_of(ALIGNMENT) => {
                return Err(Refusal::InvalidOffset);
            }
            Kind::Concurrent { .. } if !close && !length.is_multiple_of(ALIGNMENT) => {
                return Err(Refusal::InvalidSize);
            }
            Kind::Concurrent { .. } => {}
        }
        if offset.checked_add(length).is_none_or(|end| end > LARGEST_FILE) {
            return Err(Refusal::TooLarge);
        }
        if close && offset + length < self.end() {
            return Err(Refusal::InvalidOffset);
        }
        Ok(())
    }

    /// Returns whether bytes in any order are welcome here, where nothing is yet.
    pub fn is_free(&self, bytes: Range<u64>) -> bool {
        let Kind::Concurrent { stretches, .. } = &self.kind else { return false };
        let taken = stretches.range(..bytes.end).any(|(_, end)| *end > bytes.start);
        self.stage == Stage::Open && !taken && bytes.end <= LARGEST_FILE
    }

    /// Notes bytes that were admitted and are kept.
    pub fn extend(&mut self, offset: u64, length: u64, close: bool) {
        match &mut self.kind {
            Kind::Sequential(so_far) => *so_far = offset + length,
            Kind::Concurrent { stretches, end } => {
                cover(stretches, offset, offset + length);
                *end = close.then_some(offset + length);
            }
        }
        if close {
            self.stage = Stage::Closed;
        }
    }

    /// Returns whether a finishing call with `length` more bytes at `offset` makes the file whole.
    pub fn complete(&self, offset: u64, length: u64) -> Result<(), Unfinished> {
        if self.stage == Stage::Committed {
            return Err(Unfinished::Lookup(Refusal::Closed));
        }
        let Kind::Concurrent { stretches, .. } = &self.kind else {
            return self.complete_in_order(offset, length).map_err(Unfinished::Lookup);
        };
        if length > 0 {
            return Err(Unfinished::DataNotAllowed);
        }
        if self.stage == Stage::Open {
            return Err(Unfinished::NotClosed);
        }
        let end = self.end();
        if end > 0 && stretches.get(&0) != Some(&end) {
            return Err(Unfinished::MissingData);
        }
        if offset != end {
            return Err(Unfinished::Lookup(Refusal::IncorrectOffset(end)));
        }
        Ok(())
    }

    /// Returns whether a batch may finish the session: it has to be closed.
    pub fn complete_in_batch(&self, offset: u64) -> Result<(), Unfinished> {
        if self.stage == Stage::Open && matches!(self.kind, Kind::Sequential(_)) {
            return Err(Unfinished::Lookup(Refusal::NotClosed));
        }
        self.complete(offset, 0)
    }

    /// Notes that the session has become a file.
    pub fn commit(&mut self) {
        self.stage = Stage::Committed;
    }

    /// Returns where the file ends, as far as is known.
    pub fn end(&self) -> u64 {
        match &self.kind {
            Kind::Sequential(so_far) => *so_far,
            Kind::Concurrent { end: Some(end), .. } => *end,
            Kind::Concurrent { stretches, .. } => stretches.last_key_value().map_or(0, |(_, end)| *end),
        }
    }

    fn complete_in_order(&self, offset: u64, length: u64) -> Result<(), Refusal> {
        if self.end() != offset {
            return Err(Refusal::IncorrectOffset(self.end()));
        }
        // A closed session is finished with nothing but the commit.
        if length == 0 { Ok(()) } else { self.admit(offset, length, false) }
    }
}

impl Refusal {
    /// Returns the refusal's tag.
    pub fn tag(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::IncorrectOffset(_) => "incorrect_offset",
            Self::Closed => "closed",
            Self::NotClosed => "not_closed",
            Self::TooLarge => "too_large",
            Self::InvalidOffset => "concurrent_session_invalid_offset",
            Self::InvalidSize => "concurrent_session_invalid_data_size",
        }
    }

    /// Returns the refusal as a union: the offset stands beside the tag.
    pub fn value(self) -> Value {
        match self {
            Self::IncorrectOffset(offset) => json!({".tag": self.tag(), "correct_offset": offset}),
            _ => json!({".tag": self.tag()}),
        }
    }
}

/// Adds a stretch, joining it with those it overlaps or touches.
fn cover(stretches: &mut BTreeMap<u64, u64>, mut start: u64, mut end: u64) {
    if start == end {
        return;
    }
    let near: Vec<u64> =
        stretches.range(..=end).filter(|(_, other)| **other >= start).map(|(from, _)| *from).collect();
    for from in near {
        let until = stretches.remove(&from).unwrap_or(from);
        (start, end) = (start.min(from), end.max(until));
    }
    stretches.insert(start, end);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn session(order: Order) -> Session {
        Session::starting(order, Timestamp::UNIX_EPOCH)
    }

    /// Appends if the session lets one.
    fn put(session: &mut Session, offset: u64, length: u64, close: bool) -> Result<(), Refusal> {
        session.admit(offset, length, close)?;
        session.extend(offset, length, close);
        Ok(())
    }

    #[test]
    fn a_sequential_session_takes_bytes_at_its_end_only() {
        let mut session = session(Order::Sequential);
        assert_eq!(put(&mut session, 0, 5, false), Ok(()));
        assert_eq!(put(&mut session, 0, 5, false), Err(Refusal::IncorrectOffset(5)));
        assert_eq!(put(&mut session, 6, 0, false), Err(Refusal::IncorrectOffset(5)));
        assert_eq!(put(&mut session, 5, LARGEST_FILE - 4, false), Err(Refusal::TooLarge));
        assert_eq!(put(&mut session, 5, u64::MAX, false), Err(Refusal::TooLarge));
        assert_eq!(session.complete_in_batch(5), Err(Unfinished::Lookup(Refusal::NotClosed)));
        assert_eq!(put(&mut session, 5, LARGEST_FILE - 5, true), Ok(()));
        assert_eq!(put(&mut session, LARGEST_FILE, 0, false), Err(Refusal::Closed));
        assert_eq!(session.complete(LARGEST_FILE, 1), Err(Unfinished::Lookup(Refusal::Closed)));
        assert_eq!(session.complete_in_batch(LARGEST_FILE), Ok(()));
    }

    #[test]
    fn the_closing_block_fixes_the_end() {
        let mut session = session(Order::Concurrent);
        assert_eq!(put(&mut session, ALIGNMENT, ALIGNMENT, false), Ok(()));
        assert_eq!(put(&mut session, ALIGNMENT, 1, true), Err(Refusal::InvalidOffset));
        assert_eq!(put(&mut session, 3 * ALIGNMENT, 0, true), Ok(()));
        assert_eq!(put(&mut session, 0, ALIGNMENT, false), Err(Refusal::Closed));
        assert_eq!(session.end(), 3 * ALIGNMENT);
        assert_eq!(session.complete(3 * ALIGNMENT, 0), Err(Unfinished::MissingData));
    }

    #[test]
    fn only_what_holds_nothing_yet_is_free() {
        let mut session = session(Order::Concurrent);
        assert_eq!(put(&mut session, ALIGNMENT, 2 * ALIGNMENT, false), Ok(()));
        for (from, to, free) in [(0, 1, true), (1, 2, false), (0, 2, false), (2, 4, false), (3, 9, true)] {
            assert_eq!(session.is_free(from * ALIGNMENT..to * ALIGNMENT), free, "{from} to {to}");
        }
        assert_eq!(put(&mut session, 3 * ALIGNMENT, 0, true), Ok(()));
        assert!(!session.is_free(0..1), "a closed session takes nothing");
        assert!(!super::tests::session(Order::Sequential).is_free(0..1));
    }

    #[test]
    fn a_session_is_seven_days_old_at_most() {
        let session = session(Order::Sequential);
        let born = Timestamp::UNIX_EPOCH;
        assert!(!session.expired(born + LIFE - SignedDuration::from_secs(1)));
        assert!(session.expired(born + LIFE));
    }

    #[test]
    fn a_committed_session_has_nothing_left_to_give() {
        let mut session = session(Order::Sequential);
        session.commit();
        assert!(!session.has_body());
        assert_eq!(session.complete(0, 0), Err(Unfinished::Lookup(Refusal::Closed)));
        assert_eq!(put(&mut session, 0, 1, false), Err(Refusal::Closed));
    }

    proptest! {
        /// Whatever comes in whatever order: the session is whole exactly when every block is there.
        #[test]
        fn no_block_is_forgotten_and_none_invented(
            blocks in proptest::collection::vec((0..6_u64, 0..4_u64), 0..8),
            tail in 0..3_u64,
        ) {
            let mut session = session(Order::Concurrent);
            let mut there = [false; 10];
            for (block, count) in &blocks {
                put(&mut session, block * ALIGNMENT, count * ALIGNMENT, false).unwrap();
                (*block..block + count).for_each(|block| there[block as usize] = true);
            }
            let blocks = there.iter().rposition(|there| *there).map_or(0, |last| last as u64 + 1);
            put(&mut session, blocks * ALIGNMENT, tail, true).unwrap();
            let end = blocks * ALIGNMENT + tail;
            let whole = there[..blocks as usize].iter().all(|there| *there);
            let expected = if whole { Ok(()) } else { Err(Unfinished::MissingData) };
            prop_assert_eq!(session.complete(end, 0), expected);
            if whole {
                let wrong = Err(Unfinished::Lookup(Refusal::IncorrectOffset(end)));
                prop_assert_eq!(session.complete(end + 1, 0), wrong);
            }
        }
    }
}
