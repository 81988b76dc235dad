//! What `cp` says: a bar while it goes on, and what was copied.

use std::io::{self, Write};

use indicatif::{ProgressBar, ProgressStyle};

use super::{bytes, printable};

/// A bar on the terminal; nothing where there is none.
pub struct Copying(ProgressBar);

impl Copying {
    /// Returns a bar that doesn't show yet.
    #[must_use]
    pub fn new() -> Self {
        Self(ProgressBar::hidden())
    }

    /// Begins to show how much of `total` bytes was copied.
    pub fn begin(&mut self, total: u64) {
        let style = ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
        self.0 = ProgressBar::new(total).with_style(style.expect("the template is well-formed"));
    }

    /// Takes up more bytes.
    pub fn add(&self, bytes: u64) {
        self.0.inc(bytes);
    }

    /// Takes the bar away.
    pub fn end(&self) {
        self.0.finish_and_clear();
    }
}

impl Default for Copying {
    fn default() -> Self {
        Self::new()
    }
}

/// Says what was copied and what was there already.
pub fn copied(out: &mut impl Write, new: &[(&str, u64)], same: usize, left_out: &[String]) -> io::Result<()> {
    for (place, size) in new {
        writeln!(out, "{} {}", printable(place), bytes(*size))?;
    }
    let already = if same == 0 { String::new() } else { format!("; {same} already there, the same") };
    writeln!(out, "{} file(s) copied{already}", new.len())?;
    let mut left_out = left_out.iter();
    left_out.try_for_each(|place| {
        writeln!(out, "left out: `{}` is neither a file nor a folder nor a link", printable(place))
    })
}
