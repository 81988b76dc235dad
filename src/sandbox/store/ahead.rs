//! Appends to concurrent sessions whose bytes are put down before their turn with the world comes.
//!
//! Writing takes far longer than all the rest of such a call, and parts of one file come several at once.
//! Nobody has been told of what is written here, so a call that is refused after all leaves nothing behind
//! that counts: only places that hold nothing yet are written ahead, and each by one call at a time.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use axum::http::HeaderMap;

use super::Store;
use super::argument::Fields;
use super::uploading::Cursor;
use crate::sandbox::sent::Landing;
use crate::sandbox::wire::Call;

const APPEND: &str = "/2/files/upload_session/append_v2";

/// The places that calls have for themselves.
#[derive(Clone, Default)]
pub struct Places(Arc<Shared>);

#[derive(Default)]
struct Shared {
    taken: Mutex<Vec<Place>>,
    given_back: Condvar,
}

/// A stretch of one session's bytes.
#[derive(Clone, PartialEq)]
pub struct Place {
    session: String,
    bytes: Range<u64>,
}

/// A place that one call has for itself until this is dropped.
pub struct Own {
    places: Places,
    place: Place,
}

impl Place {
    /// Returns where a call's bytes belong; none for calls that append nothing.
    pub fn of(call: &Call) -> Option<Self> {
        Self::announced(&call.path, &call.headers, call.body.len())
    }

    /// Returns where the bytes will belong that a call announces.
    pub fn announced(path: &str, headers: &HeaderMap, length: usize) -> Option<Self> {
        if path != APPEND || length == 0 {
            return None;
        }
        let mut fields = Fields::parse("", headers.get("dropbox-api-arg")?.as_bytes()).ok()?;
        let Cursor { session, offset } = Cursor::read(&mut fields).ok()?;
        Some(Self { session, bytes: offset..offset.checked_add(length as u64)? })
    }

    fn overlaps(&self, other: &Self) -> bool {
        let (mine, theirs) = (&self.bytes, &other.bytes);
        self.session == other.session && mine.start < theirs.end && theirs.start < mine.end
    }
}

impl Places {
    /// Waits until no other call has any part of a place.
    pub fn take(&self, place: Place) -> Own {
        let mut taken = self.locked();
        while taken.iter().any(|other| other.overlaps(&place)) {
            taken = self.0.given_back.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
        taken.push(place.clone());
        Own { places: self.clone(), place }
    }

    /// Takes a place that no other call has any part of now.
    pub fn take_free(&self, place: Place) -> Option<Own> {
        let mut taken = self.locked();
        if taken.iter().any(|other| other.overlaps(&place)) {
            return None;
        }
        taken.push(place.clone());
        Some(Own { places: self.clone(), place })
    }

    fn locked(&self) -> MutexGuard<'_, Vec<Place>> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Own {
    /// Opens the place in a file, for bytes that go there while they come.
    pub fn land(self, path: PathBuf) -> Option<Landing> {
        let file = File::options().write(true).open(path).ok()?;
        Some(Landing::new(file, self.place.bytes.start, self))
    }

    /// Puts a call's bytes down at their place in a file; they are on disk when this returns true.
    pub fn put_down(&self, call: &Call, path: PathBuf) -> bool {
        let put = || -> std::io::Result<()> {
            let file = File::options().write(true).open(path)?;
            file.write_all_at(&call.body, self.place.bytes.start)?;
            file.sync_data()
        };
        put().is_ok()
    }

    /// Returns the place.
    pub fn place(&self) -> &Place {
        &self.place
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.places.locked().retain(|place| *place != self.place);
        self.places.0.given_back.notify_all();
    }
}

impl Store {
    /// Returns the file in which a place that holds nothing yet may be written ahead.
    ///
    /// The file of a session that ends meanwhile grows beyond its end at most, where nobody reads.
    pub fn ahead(&self, place: &Place) -> Option<PathBuf> {
        let free = self.sessions.get(&place.session)?.is_free(place.bytes.clone());
        free.then(|| self.bodies.path(&place.session))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    fn place(session: &str, bytes: Range<u64>) -> Place {
        Place { session: session.to_owned(), bytes }
    }

    #[test]
    fn a_place_is_one_calls_own_until_it_is_given_back() {
        let places = Places::default();
        let first = places.take(place("a", 0..8));
        // What doesn't touch it waits for nothing.
        drop((places.take(place("a", 8..16)), places.take(place("b", 0..8))));
        std::thread::scope(|scope| {
            let (tell, told) = channel();
            let places = &places;
            scope.spawn(move || {
                drop(places.take(place("a", 4..12)));
                tell.send(()).unwrap();
            });
            assert!(told.recv_timeout(Duration::from_millis(50)).is_err());
            assert!(places.take_free(place("a", 7..9)).is_none());
            drop(places.take_free(place("a", 16..17)).unwrap());
            drop(first);
            told.recv_timeout(Duration::from_secs(60)).unwrap();
        });
    }
}
