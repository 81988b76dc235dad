//! Both digests of a whole file or stream, on all cores.
//!
//! The blocks of the content hash don't depend on each other, so the cores share them out. Each byte is
//! read once: where the plain SHA-256 (which is one long chain) is wanted too, the thread that reads
//! feeds it and hands the same block on.

use std::fs::File;
use std::io::{self, Read};
use std::num::NonZero;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use sha2::{Digest as _, Sha256};

use super::{BLOCK, Blocks, ContentHash};

/// What the bytes of a file or stream come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digests {
    /// The content hash.
    pub content: ContentHash,
    /// The plain SHA-256 in lower-case hex, where it was asked for.
    pub sha256: Option<String>,
    /// The number of bytes.
    pub length: u64,
}

/// The digest of one block.
type Block = [u8; 32];

/// Hashes a file from its first byte to its last; `plain` adds the plain SHA-256.
///
/// Memory is a few blocks per core, whatever the file's size. Fails when the file changes meanwhile: the
/// digests would be those of no file that ever was.
pub fn of_file(mut file: &File, plain: bool) -> io::Result<Digests> {
    let before = file.metadata()?;
    if !before.is_file() {
        // Pipes and devices can be read only in order, and have no length to check.
        return of_stream(file, plain);
    }
    let digests = if plain { of_stream(&mut file, true)? } else { blocks_at_once(file, before.len())? };
    let after = file.metadata()?;
    let state = |of: &std::fs::Metadata| (of.len(), of.mtime(), of.mtime_nsec());
    if state(&before) != state(&after) || digests.length != before.len() {
        return Err(io::Error::other("the file changed while it was read"));
    }
    Ok(digests)
}

/// Hashes what can be read only once and in order; `plain` adds the plain SHA-256.
pub fn of_stream(mut source: impl Read, plain: bool) -> io::Result<Digests> {
    let hashers = cores().saturating_sub(usize::from(plain)).max(1);
    let (give, take) = sync_channel::<(usize, Vec<u8>)>(hashers);
    let take = Mutex::new(take);
    thread::scope(|scope| {
        let hashing: Vec<_> = (0..hashers).map(|_| scope.spawn(|| hash_given(&take))).collect();
        let read = read_blocks(&mut source, plain, &give);
        // The hashers end when nothing more can come.
        drop(give);
        let parts = hashing.into_iter().map(|hasher| hasher.join().expect("hashing doesn't panic"));
        let blocks = parts.flatten().collect();
        let (length, sha256) = read?;
        Ok(Digests { content: joined(blocks), sha256, length })
    })
}

fn blocks_at_once(file: &File, length: u64) -> io::Result<Digests> {
    let count = length.div_ceil(BLOCK as u64);
    let (next, failed) = (AtomicU64::new(0), AtomicBool::new(false));
    let work = || -> io::Result<Vec<(usize, Block)>> {
        let mut buffer = vec![0; BLOCK];
        let mut done = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count || failed.load(Ordering::Relaxed) {
                return Ok(done);
            }
            let from = number * BLOCK as u64;
            let wanted = (length - from).min(BLOCK as u64) as usize;
            file.read_exact_at(&mut buffer[..wanted], from)
                .inspect_err(|_| failed.store(true, Ordering::Relaxed))?;
            done.push((number as usize, Sha256::digest(&buffer[..wanted]).into()));
        }
    };
    thread::scope(|scope| {
        let threads = cores().min(count.max(1) as usize);
        let hashing: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let parts = hashing.into_iter().map(|hasher| hasher.join().expect("hashing doesn't panic"));
        let blocks = parts.collect::<io::Result<Vec<_>>>()?.into_iter().flatten().collect();
        Ok(Digests { content: joined(blocks), sha256: None, length })
    })
    .map_err(|error: io::Error| match error.kind() {
        io::ErrorKind::UnexpectedEof => io::Error::other("the file became shorter while it was read"),
        _ => error,
    })
}

/// Reads to the end, block by block; returns the number of bytes and their plain digest.
fn read_blocks(
    source: &mut impl Read,
    plain: bool,
    give: &SyncSender<(usize, Vec<u8>)>,
) -> io::Result<(u64, Option<String>)> {
    let mut whole = plain.then(Sha256::new);
    let mut length = 0;
    for number in 0.. {
        let mut block = Vec::with_capacity(BLOCK);
        source.by_ref().take(BLOCK as u64).read_to_end(&mut block)?;
        if block.is_empty() {
            break;
        }
        length += block.len() as u64;
        if let Some(whole) = &mut whole {
            whole.update(&block);
        }
        give.send((number, block)).expect("the hashers take blocks until there are no more");
    }
    Ok((length, whole.map(|whole| hex::encode(whole.finalize()))))
}

fn hash_given(take: &Mutex<Receiver<(usize, Vec<u8>)>>) -> Vec<(usize, Block)> {
    let next = || take.lock().unwrap_or_else(PoisonError::into_inner).recv();
    let mut done = Vec::new();
    while let Ok((number, block)) = next() {
        done.push((number, Sha256::digest(&block).into()));
    }
    done
}

fn joined(mut blocks: Vec<(usize, Block)>) -> ContentHash {
    blocks.sort_unstable_by_key(|(number, _)| *number);
    Blocks(blocks.into_iter().map(|(_, digest)| digest).collect()).hash()
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::digest::sha256_hex;

    fn bytes(size: usize) -> Vec<u8> {
        (0..size).map(|i| (i * 7 % 253) as u8).collect()
    }

    #[test]
    fn files_and_streams_come_to_what_the_bytes_come_to() {
        for size in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK + 3] {
            let bytes = bytes(size);
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&bytes).unwrap();
            let content = ContentHash::of(&bytes);
            let length = size as u64;
            let alone = Digests { content, sha256: None, length };
            let both = Digests { content, sha256: Some(sha256_hex(&bytes)), length };
            assert_eq!(of_file(&file, false).unwrap(), alone, "{size}");
            assert_eq!(of_stream(&bytes[..], false).unwrap(), alone, "{size}");
            assert_eq!(of_stream(&bytes[..], true).unwrap(), both, "{size}");
            std::io::Seek::rewind(&mut file).unwrap();
            assert_eq!(of_file(&file, true).unwrap(), both, "{size}");
        }
    }

    /// Gives one byte less than asked for, then fails.
    struct Failing(usize);

    impl Read for Failing {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(io::Error::other("unplugged"));
            }
            let count = (buffer.len().saturating_sub(1)).clamp(1, self.0);
            self.0 -= count;
            Ok(count)
        }
    }

    #[test]
    fn a_source_that_breaks_off_is_an_error_and_not_a_shorter_stream() {
        for plain in [false, true] {
            let error = of_stream(Failing(3 * BLOCK + 5), plain).unwrap_err();
            assert_eq!(error.to_string(), "unplugged");
        }
    }

    #[test]
    fn a_file_shorter_than_it_said_is_an_error() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes(BLOCK)).unwrap();
        let error = blocks_at_once(&file, BLOCK as u64 + 1).unwrap_err();
        assert_eq!(error.to_string(), "the file became shorter while it was read");
    }
}
