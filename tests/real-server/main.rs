//! What `tests/it` shows of sessions and of SSH that goes wrong, with OpenSSH's own server as the instance.
//!
//! `tests/real-server/run` runs it; without an sshd every test here fails, and none is skipped.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test that cannot go on fails, and says why")]

#[path = "../it/first_contact.rs"]
mod first_contact;
#[path = "../it/interrupt.rs"]
#[expect(dead_code, reason = "it is shared with `tests/it`, which needs more of it")]
mod interrupt;
#[path = "../it/notebook.rs"]
mod notebook;
mod server;
#[path = "../it/ssh.rs"]
mod ssh;
#[path = "../it/ssh_faults.rs"]
mod ssh_faults;
#[path = "../it/story.rs"]
mod story;
#[path = "../it/support.rs"]
#[expect(dead_code, reason = "it is shared with `tests/it`, which needs more of it")]
mod support;
#[path = "../it/terminal.rs"]
mod terminal;

/// The server that serves the instances: `DACAPO_SSHD`, or where Linux keeps it.
fn sshd() -> Option<String> {
    let program = std::env::var("DACAPO_SSHD").unwrap_or_else(|_| "/usr/sbin/sshd".to_owned());
    let there = std::path::Path::new(&program).is_file();
    assert!(
        there,
        "there is no `{program}`: install it (`apt install openssh-server`), or name it in DACAPO_SSHD"
    );
    Some(program)
}
