//! The read-and-hash limit of this machine: every core reads blocks of a file and hashes them, and nothing else.
//!
//! `limit FILE` prints the content hash, so that whoever measures it knows that the work was done. It shares
//! no line with the program that it is the measure of.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use sha2::{Digest as _, Sha256};

const BLOCK: u64 = 4 * 1024 * 1024;

#[expect(clippy::print_stdout, reason = "the hash is what it is run for")]
fn main() {
    // Cargo adds arguments of its own.
    let path = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let file = File::open(path.expect("which file?")).expect("the file can be read");
    let size = file.metadata().expect("the file can be read").len();
    let next = AtomicU64::new(0);
    let digests = Mutex::new(vec![[0_u8; 32]; size.div_ceil(BLOCK) as usize]);
    let work = || {
        let mut buffer = vec![0; BLOCK as usize];
        loop {
            let at = next.fetch_add(BLOCK, Ordering::Relaxed);
            if at >= size {
                return;
            }
            let block = &mut buffer[..BLOCK.min(size - at) as usize];
            file.read_exact_at(block, at).expect("the file stays as it is");
            let digest = Sha256::digest(block).into();
            digests.lock().expect("nobody panics")[(at / BLOCK) as usize] = digest;
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let digests = digests.into_inner().expect("nobody panics").concat();
    println!("{}", hex::encode(Sha256::digest(digests)));
}
