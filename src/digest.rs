//! The content hash: how dacapo knows that two files hold the same bytes.
//!
//! It is Dropbox's algorithm (blocks of 4 MiB, SHA-256 of each, SHA-256 of the joined digests), so for
//! an object stored unpacked it is the very hash that the store itself confirms.
//! Source: dropbox/dropbox-api-content-hasher.

mod parallel;

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub use parallel::{Digests, of_file, of_stream};

/// The length of one hashed block in bytes.
pub const BLOCK: usize = 4 * 1024 * 1024;

/// The content hash of some bytes; 64 lower-case hex digits when written.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContentHash([u8; 32]);

impl ContentHash {
    /// Returns the hash of bytes held in memory.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = ContentHasher::default();
        hasher.update(bytes);
        hasher.finish()
    }

    /// Reads to the end and returns the hash and the number of bytes read.
    pub fn of_reader(mut reader: impl Read) -> io::Result<(Self, u64)> {
        let mut hasher = ContentHasher::default();
        let mut buffer = vec![0; 256 * 1024];
        let mut length = 0;
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok((hasher.finish(), length)),
                Ok(count) => {
                    hasher.update(&buffer[..count]);
                    length += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Returns the first twelve digits, for people.
    pub fn short(&self) -> String {
        hex::encode(&self.0[..6])
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "content:{}", self.short())
    }
}

/// A text that is not 64 hex digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotAHash;

impl fmt::Display for NotAHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a content hash is 64 hexadecimal digits")
    }
}

impl std::error::Error for NotAHash {}

impl FromStr for ContentHash {
    type Err = NotAHash;

    fn from_str(text: &str) -> Result<Self, NotAHash> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| NotAHash)?;
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for ContentHash {
    type Error = NotAHash;

    fn try_from(text: String) -> Result<Self, NotAHash> {
        text.parse()
    }
}

impl From<ContentHash> for String {
    fn from(hash: ContentHash) -> Self {
        hash.to_string()
    }
}

/// The digests of a content's blocks, in order: what its content hash is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blocks(pub Vec<[u8; 32]>);

impl Blocks {
    /// Returns the content hash.
    pub fn hash(&self) -> ContentHash {
        let mut joined = Sha256::new();
        self.0.iter().for_each(|digest| joined.update(digest));
        ContentHash(joined.finalize().into())
    }
}

/// Takes bytes as they come and gives their content hash.
#[derive(Default)]
pub struct ContentHasher {
    blocks: Blocks,
    block: Sha256,
    filled: usize,
}

impl ContentHasher {
    /// Takes the next bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let take = bytes.len().min(BLOCK - self.filled);
            let (now, later) = bytes.split_at(take);
            self.block.update(now);
            self.filled += take;
            if self.filled == BLOCK {
                self.close_block();
            }
            bytes = later;
        }
    }

    /// Returns the hash of everything taken.
    pub fn finish(self) -> ContentHash {
        self.blocks().hash()
    }

    /// Returns the digests of everything taken, block by block.
    pub fn blocks(mut self) -> Blocks {
        if self.filled > 0 {
            self.close_block();
        }
        self.blocks
    }

    fn close_block(&mut self) {
        self.blocks.0.push(self.block.finalize_reset().into());
        self.filled = 0;
    }
}

/// Returns the plain SHA-256 of `bytes` in hex: for names derived from other names, never for identity.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(sha256(bytes))
}

/// Returns the plain SHA-256 of bytes.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors that five independent implementations agree on: `byte[i] = i mod 251`.
    #[test]
    fn the_published_vectors_hold() {
        let vectors = [
            (0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            (1, "1406e05881e299367766d313e26c05564ec91bf721d31726bd6e46e60689539a"),
            (4_194_303, "e1d05b9adf4293b7fec11b099ce74116fc06dfa733a9833be9166ab4c769da43"),
            (4_194_304, "b9654428408015906b44a00935b70af33830aa344b780b0eabd535a133150d04"),
            (4_194_305, "4a6cc0a344febaa07772e7c974834b2fb1d24594d4ba15f27c97a54699709f44"),
            (8_388_608, "b76a633d9733b991a976dba723df6940bfaf789390a929fe8f68fd1b4705c8c1"),
            (8_388_609, "c84ee1d6377d71687c1cfe37be0897c4e351df175ea677ca2c918736a9cfb476"),
            (10_485_760, "9b168152f37a1b2c33d9b26ca4a679d5f99f84f8c070fd3a4491d52cbfe96af4"),
        ];
        for (size, expected) in vectors {
            let bytes: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
            assert_eq!(ContentHash::of(&bytes).to_string(), expected, "{size} bytes");
            let (read, length) = ContentHash::of_reader(&bytes[..]).unwrap();
            assert_eq!((read.to_string().as_str(), length), (expected, size as u64));
        }
    }

    #[test]
    fn the_hash_does_not_depend_on_how_the_bytes_arrive() {
        let bytes: Vec<u8> = (0..BLOCK + 77).map(|i| (i * 31 % 256) as u8).collect();
        for step in [1_000, 65_537, BLOCK - 1, BLOCK + 1] {
            let mut hasher = ContentHasher::default();
            bytes.chunks(step).for_each(|chunk| hasher.update(chunk));
            assert_eq!(hasher.finish(), ContentHash::of(&bytes), "in steps of {step}");
        }
    }
}
