//! What happens while a plan is carried out: bars on a terminal, a line per event otherwise, or JSON.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use console::style;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::plan::action_text;
use super::{bytes, printable, short};
use crate::event::{Event, Stage};

/// How events are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A bar per running action.
    Terminal,
    /// A line per event.
    Lines,
    /// One JSON object per line.
    Json,
    /// Nothing.
    Silent,
}

/// Turns events into what the user sees.
pub struct Live<W: Write> {
    mode: Mode,
    out: W,
    currency: String,
    bars: MultiProgress,
    running: BTreeMap<usize, ProgressBar>,
}

impl<W: Write> Live<W> {
    /// Returns a display that writes to `out`; bars go to the terminal's stderr.
    pub fn new(mode: Mode, out: W, currency: &str) -> Self {
        Self {
            mode,
            out,
            currency: currency.to_owned(),
            bars: MultiProgress::new(),
            running: BTreeMap::new(),
        }
    }

    /// Shows one event.
    pub fn show(&mut self, event: &Event) {
        if self.mode == Mode::Silent {
            return;
        }
        if self.mode == Mode::Json {
            let mut line = serde_json::json!(event);
            line["version"] = 1.into();
            return self.line(&line.to_string());
        }
        match event {
            Event::Started { action } => {
                let text = action_text(action, &self.currency);
                self.line(&format!("{} {text}", style(format!("[{}]", action.id() + 1)).bold()));
                if self.mode == Mode::Terminal {
                    let bar = self.bars.add(ProgressBar::new_spinner());
                    bar.enable_steady_tick(Duration::from_millis(120));
                    self.running.insert(action.id(), bar);
                }
            }
            Event::Progress { id, stage: Stage::Bytes { done, total } } => self.bytes(*id, *done, *total),
            Event::Progress { id, stage } if self.is_about_a_bar(*id, stage) => {}
            Event::Progress { stage, .. } => self.line(&format!("    {}", stage_text(stage, &self.currency))),
            Event::Done { id, seconds } => {
                self.finish(*id);
                self.line(&format!("    {} {seconds:.1} s", style("done").green()));
            }
            Event::Failed { id, error } => {
                self.finish(*id);
                self.line(&format!("    {} {}", style("failed").red(), printable(&error.what)));
            }
            Event::NotStarted { id } => self.line(&format!("[{}] not started", id + 1)),
        }
    }

    fn line(&mut self, line: &str) {
        let out = &mut self.out;
        // Losing a line of progress (a closed pipe) must not stop the work.
        self.bars.suspend(|| drop(writeln!(out, "{line}")));
    }

    fn bytes(&mut self, id: usize, done: u64, total: Option<u64>) {
        let Some(bar) = self.running.get(&id) else { return };
        if let Some(total) = total.filter(|_| bar.length().is_none()) {
            let form = "    {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta} left {wide_msg}";
            if let Ok(form) = ProgressStyle::with_template(form) {
                bar.set_style(form);
            }
            bar.set_length(total);
        }
        bar.set_position(done);
    }

    /// Shows on its bar what happens to a transfer; false where there is no bar.
    fn is_about_a_bar(&self, id: usize, stage: &Stage) -> bool {
        let Some(bar) = self.running.get(&id) else { return false };
        match stage {
            Stage::Resumed { bytes } => {
                // What was there before counts neither for the rate nor for the time left.
                bar.set_position(*bytes);
                bar.reset_eta();
                bar.set_message(stage_text(stage, &self.currency));
            }
            Stage::Waiting { .. } | Stage::Said { .. } => bar.set_message(stage_text(stage, &self.currency)),
            _ => return false,
        }
        true
    }

    fn finish(&mut self, id: usize) {
        if let Some(bar) = self.running.remove(&id) {
            bar.finish_and_clear();
        }
    }
}

pub(super) fn stage_text(stage: &Stage, unit: &str) -> String {
    match stage {
        Stage::Watching { until } => format!("watching the cloud until {}", until.strftime("%H:%M:%S UTC")),
        Stage::Unclear { why } => format!("no clear answer: {}", printable(why)),
        Stage::NoCapacity { candidate, why } => {
            format!("no {} in {}: {}", candidate.r#type, candidate.location, printable(why))
        }
        Stage::Created { machine, candidate } => {
            format!(
                "machine {machine} ordered at {} {unit}/h; it bills from now on",
                candidate.price_per_hour
            )
        }
        Stage::Removing { machine, status } => {
            format!("machine {machine} ended as `{}` and is removed", printable(status))
        }
        Stage::Status { status } => printable(status),
        Stage::Address { ip } => format!("address {}", printable(ip)),
        Stage::Connecting { why } => format!("waiting for sshd: {}", printable(why)),
        Stage::HostKey { fingerprint, foreseen: true } => {
            format!("host key {fingerprint}, as made for it; pinned")
        }
        Stage::HostKey { fingerprint, foreseen: false } => {
            format!("host key {fingerprint}, taken as shown; pinned from now on")
        }
        Stage::LoggedIn { python, git, gpu } => format!(
            "logged in: Python {}, {}, {}",
            printable(python),
            git.as_ref().map_or("no git".to_owned(), |git| format!("git {}", printable(git))),
            gpu.as_ref().map_or("no GPU reported".to_owned(), |gpu| printable(gpu))
        ),
        Stage::AtCommit { branch, commit } => format!("{} at {}", printable(branch), short(commit)),
        Stage::Bytes { done, .. } => bytes(*done),
        Stage::Unexplained { why } => {
            format!("what it was made in isn't known and won't be noted: {}", printable(why))
        }
        Stage::Resumed { bytes: at } => format!("goes on at {}", bytes(*at)),
        Stage::Waiting { why, seconds } => format!("waits {seconds} s: {}", printable(why)),
        Stage::Said { line } | Stage::Output { line } => printable(line),
        Stage::RanBefore => "it had run, with these inputs".to_owned(),
        Stage::NotebookRuns { version, port, given } => format!(
            "{} answers on port {port} of the server's loopback{}",
            super::notebook::jupyter(version.as_deref()),
            if *given { ", as the image runs it" } else { "" }
        ),
        Stage::Packed { payload, size, stored_size } => {
            format!("content {}, {} packed to {}", payload.short(), bytes(*size), bytes(*stored_size))
        }
        Stage::Stored { version, payload, new: true } => {
            format!("stored as {version}, confirmed by the store (content {})", payload.short())
        }
        Stage::Stored { version, .. } => format!("already stored as {version}"),
        Stage::Pulled { version, payload, size } => {
            format!("{version}: {}, content {}, verified", bytes(*size), payload.short())
        }
        Stage::Saved { branch, commit } => match commit {
            Some(commit) => format!("the remote has `{branch}` at {}", short(commit)),
            None => format!("the remote has the tags below `{branch}`"),
        },
        Stage::Deleted { path } => format!("{} is deleted, confirmed by the store", printable(path)),
        Stage::Proven => "proven: nothing on it is lost".to_owned(),
        Stage::ShuttingDown { machine } => format!("machine {machine} is shutting down"),
        Stage::Kept { volume, price_per_hour, price_per_month } => format!(
            "the disk {volume} stays and bills {price_per_hour} {unit}/h ({price_per_month} {unit} a month)"
        ),
        Stage::Deleting { machine } => format!("machine {machine} is being deleted"),
        Stage::Gone { machine } => format!("machine {machine} is gone"),
        Stage::VolumeGone { volume } => format!("volume {volume} is gone; the trash keeps it for 96 h, free"),
    }
}
