//! One test binary: the real `dacapo` against the embedded world, and the shape of the code.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test that cannot go on fails, and says why")]

mod airtight;
mod architecture;
mod bad_input;
mod faults;
mod interrupt;
mod killed;
mod matrix;
mod readme;
mod recovery;
mod story;
mod support;
