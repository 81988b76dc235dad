//! A terminal of a test's own, with the program on it: what is typed, what is shown, how large it is.

use std::io::{Read as _, Write as _};
use std::process::{Child, Command};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use pty_process::Size;
use pty_process::blocking::Pty;

/// How long anything may take to be shown before the test says that it never will.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program on a terminal.
pub struct Terminal {
    pty: Arc<Pty>,
    child: Child,
    shown: Arc<(Mutex<Shown>, Condvar)>,
}

#[derive(Default)]
struct Shown {
    bytes: Vec<u8>,
    /// How much of it was waited for already.
    seen: usize,
    closed: bool,
}

impl Terminal {
    /// Starts a command on a new terminal of 80 columns and 24 rows.
    pub fn start(command: Command) -> Self {
        Self::start_as(command, "xterm-256color")
    }

    /// Starts a command on a new terminal of this kind.
    pub fn start_as(mut command: Command, kind: &str) -> Self {
        command.env("TERM", kind);
        let (pty, side) = pty_process::blocking::open().unwrap();
        pty.resize(Size::new(24, 80)).unwrap();
        let child = pty_process::blocking::Command::from(command).spawn(side).unwrap();
        let (pty, shown) = (Arc::new(pty), Arc::new((Mutex::new(Shown::default()), Condvar::new())));
        let (reader, noted) = (pty.clone(), shown.clone());
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            // A terminal that nobody holds any more ends with an error.
            while let Ok(count @ 1..) = (&*reader).read(&mut piece) {
                noted.0.lock().unwrap().bytes.extend_from_slice(&piece[..count]);
                noted.1.notify_all();
            }
            noted.0.lock().unwrap().closed = true;
            noted.1.notify_all();
        });
        Self { pty, child, shown }
    }

    /// Types a text as it stands, without the Enter key.
    pub fn types(&self, text: &str) {
        (&*self.pty).write_all(text.as_bytes()).unwrap();
    }

    /// Changes the terminal's size.
    pub fn resize(&self, rows: u16, columns: u16) {
        self.pty.resize(Size::new(rows, columns)).unwrap();
    }

    /// Waits until `text` is shown behind what was waited for before; returns what is shown up to there.
    #[track_caller]
    pub fn shows(&self, text: &str) -> String {
        let (mut shown, waited) = self
            .shown
            .1
            .wait_timeout_while(self.shown.0.lock().unwrap(), PATIENCE, |shown| {
                !shown.closed && position(&shown.bytes[shown.seen..], text).is_none()
            })
            .unwrap();
        let news = shown.bytes[shown.seen..].to_vec();
        let all = String::from_utf8_lossy(&news).into_owned();
        let Some(at) = position(&news, text) else {
            panic!("`{text}` isn't shown (timed out: {}) in\n{all}", waited.timed_out());
        };
        shown.seen += at + text.len();
        String::from_utf8_lossy(&news[..at]).into_owned()
    }

    /// The process's number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Types Ctrl-C until the program ends, having shown `last`; returns its exit code.
    #[track_caller]
    pub fn ends_by_ctrl_c(self, last: &str) -> i32 {
        // What is typed while a prompt switches the terminal over is thrown away by it.
        for _ in 0..20 {
            // A terminal that nobody holds any more takes nothing.
            let _ = (&*self.pty).write_all(b"\x03");
            let shown = self.shown.0.lock().unwrap();
            let second = std::time::Duration::from_secs(1);
            if self.shown.1.wait_timeout_while(shown, second, |shown| !shown.closed).unwrap().0.closed {
                break;
            }
        }
        self.shows(last);
        self.ends()
    }

    /// Waits for the end, and returns the exit code.
    #[track_caller]
    pub fn ends(mut self) -> i32 {
        let (shown, waited) = self
            .shown
            .1
            .wait_timeout_while(self.shown.0.lock().unwrap(), PATIENCE, |shown| !shown.closed)
            .unwrap();
        let text = String::from_utf8_lossy(&shown.bytes).into_owned();
        assert!(!waited.timed_out(), "it never ends; shown is\n{text}");
        drop(shown);
        self.child.wait().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = self.child.kill();
        }
    }
}

fn position(bytes: &[u8], text: &str) -> Option<usize> {
    // A window needs a width.
    if text.is_empty() {
        return Some(0);
    }
    bytes.windows(text.len()).position(|window| window == text.as_bytes())
}
