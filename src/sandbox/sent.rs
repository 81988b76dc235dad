//! What a client sent along: the bytes, and the digests of their blocks, made while they came.

use std::any::Any;
use std::fmt;
use std::fs::File;
use std::io;
use std::ops::{Deref, Range};
use std::os::unix::fs::FileExt as _;
use std::sync::OnceLock;

use axum::body::{Body, Bytes};
use futures_util::StreamExt as _;

use crate::digest::{Blocks, ContentHash, ContentHasher};

/// A body that has been received whole.
#[derive(Default)]
pub struct Sent {
    /// Nothing, where they went to their place while they came.
    bytes: Bytes,
    length: usize,
    blocks: OnceLock<Blocks>,
    put_down: OnceLock<()>,
    landing: Option<Landing>,
}

/// Where on disk the bytes of a body belong, for itself as long as the body lives.
pub struct Landing {
    file: File,
    offset: u64,
    _own: Box<dyn Any + Send + Sync>,
}

impl Landing {
    /// Opens a place in a file that is the caller's own until `own` is dropped.
    pub fn new(file: File, offset: u64, own: impl Any + Send + Sync) -> Self {
        Self { file, offset, _own: Box::new(own) }
    }
}

impl Sent {
    /// Receives a body; none when it is longer than `most` or breaks off.
    ///
    /// The memory is taken once and for all bytes that are announced: joining pieces in the end would take
    /// twice as much. `hashed` spares the hashing later, when everybody waits for the one who has the world.
    pub async fn receive(body: Body, announced: usize, most: usize, hashed: bool) -> Option<Self> {
        let mut bytes = Vec::with_capacity(announced.min(most));
        let mut hasher = ContentHasher::default();
        let mut pieces = body.into_data_stream();
        while let Some(piece) = pieces.next().await {
            let piece = piece.ok()?;
            if bytes.len() + piece.len() > most {
                return None;
            }
            bytes.extend_from_slice(&piece);
            if hashed {
                hasher.update(&piece);
            }
        }
        let blocks = if hashed { OnceLock::from(hasher.blocks()) } else { OnceLock::new() };
        Some(Self { blocks, ..Self::from(Bytes::from(bytes)) })
    }

    /// Receives a body straight to its place, with no memory of its size; none when it breaks off.
    pub async fn land(body: Body, landing: Landing) -> Option<Self> {
        let mut hasher = ContentHasher::default();
        let mut length = 0;
        let mut pieces = body.into_data_stream();
        while let Some(piece) = pieces.next().await {
            let piece = piece.ok()?;
            landing.file.write_all_at(&piece, landing.offset + length as u64).ok()?;
            hasher.update(&piece);
            length += piece.len();
        }
        let blocks = OnceLock::from(hasher.blocks());
        Some(Self { length, blocks, landing: Some(landing), ..Self::default() })
    }

    /// Returns the number of bytes.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Returns whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Waits until bytes that went to their place are there for good; says whether they are some that did.
    pub fn settle(&self) -> io::Result<bool> {
        let Some(landing) = &self.landing else { return Ok(false) };
        landing.file.sync_data()?;
        self.note_put_down();
        Ok(true)
    }

    /// Returns a part of it.
    pub fn part(&self, range: Range<usize>) -> Self {
        Self::from(self.bytes.slice(range))
    }

    /// Notes that the bytes are on disk where they belong.
    pub fn note_put_down(&self) {
        let _ = self.put_down.set(());
    }

    /// Returns whether the bytes are on disk where they belong.
    pub fn are_put_down(&self) -> bool {
        self.put_down.get().is_some()
    }

    /// Returns the digests of its blocks.
    pub fn blocks(&self) -> &Blocks {
        self.blocks.get_or_init(|| {
            let mut hasher = ContentHasher::default();
            hasher.update(&self.bytes);
            hasher.blocks()
        })
    }

    /// Returns its content hash.
    pub fn hash(&self) -> ContentHash {
        self.blocks().hash()
    }
}

impl From<Bytes> for Sent {
    fn from(bytes: Bytes) -> Self {
        Self { length: bytes.len(), bytes, ..Self::default() }
    }
}

impl Deref for Sent {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bytes.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn receive(bytes: Vec<u8>, announced: usize, hashed: bool) -> Option<Sent> {
        Sent::receive(Body::from(bytes), announced, 1000, hashed).await
    }

    #[tokio::test]
    async fn what_is_hashed_while_it_comes_is_what_came() {
        for announced in [0, 7, 1000] {
            let sent = receive(b"seven b".to_vec(), announced, true).await.unwrap();
            assert_eq!(&sent[..], b"seven b");
            assert_eq!(sent.hash(), ContentHash::of(b"seven b"));
            assert_eq!(sent.part(0..5).hash(), ContentHash::of(b"seven"));
        }
    }

    #[tokio::test]
    async fn what_lands_is_at_its_place_and_known_by_its_hash() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let landing = Landing::new(file.reopen().unwrap(), 3, ());
        let sent = Sent::land(Body::from("seven b"), landing).await.unwrap();
        assert!(!sent.are_put_down());
        assert!(sent.settle().unwrap() && sent.are_put_down());
        assert_eq!((sent.len(), sent.is_empty(), sent.hash()), (7, false, ContentHash::of(b"seven b")));
        assert_eq!(std::fs::read(file.path()).unwrap(), b"\0\0\0seven b");
    }

    #[tokio::test]
    async fn a_body_longer_than_allowed_is_none_whatever_was_announced() {
        assert!(receive(vec![7; 1000], 10, false).await.is_some());
        assert!(receive(vec![7; 1001], 10, false).await.is_none());
    }
}
