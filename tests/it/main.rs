//! One test binary: the real `dacapo` against the embedded world, and the shape of the code.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test that cannot go on fails, and says why")]

mod airtight;
mod architecture;
mod artifacts;
mod bad_input;
mod broken_specs;
mod copy;
mod crashes;
mod examples;
mod faults;
mod first_contact;
mod habits;
mod hash;
mod hostile;
mod init;
mod interrupt;
mod killed;
mod log;
mod login;
mod matrix;
mod notebook;
mod nothing_bills;
mod nothing_lost;
mod plans;
mod prune;
mod readme;
mod recovery;
mod report;
mod save;
mod schemas;
mod seeded_bugs;
mod setup;
mod ssh;
mod ssh_config;
mod ssh_faults;
mod stale_views;
mod story;
mod support;
mod terminal;
mod transfers;
mod two_at_once;
mod watch;

/// Here the sandbox's own SSH server serves the instances; `tests/real-server` has the system's.
fn sshd() -> Option<String> {
    None
}
