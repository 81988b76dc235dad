//! `files/save_url`: Dropbox fetches a file by itself, as a job.
//!
//! The sandbox asks nobody: it knows the contents behind its own temporary links, and every other address
//! is one that can't be reached.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::argument::{Fields, Pattern};
use super::problem::Problem;
use super::writing::{Commit, Content};
use super::{Outcome, Store};
use crate::sandbox::random;

/// How the jobs ended, by their ids.
#[derive(Default, Serialize, Deserialize)]
pub struct Jobs(BTreeMap<String, Value>);

impl Store {
    /// `files/save_url`.
    pub(super) fn save_url(&mut self, mut fields: Fields, now: Timestamp) -> Outcome {
        let path = fields.path("path", Pattern::Write)?;
        let url = fields.text("url")?;
        if path == "/" {
            return Err(fields.bad_field("path", "The root folder is unsupported."));
        }
        fields.finish()?;
        if !["http://", "https://"].iter().any(|scheme| url.starts_with(scheme)) {
            return Err(Problem::route(&["invalid_url"]));
        }
        let found = self.link_target(&url, now).map(|file| Content { hash: file.hash, size: file.size });
        let end = match found {
            Some(content) => {
                let placed = self.place(&Commit::beside(path), content, now);
                let mut end = placed.map_err(|tags| Problem::route(&[&["path"], tags].concat()))?;
                end[".tag"] = json!("complete");
                end
            }
            None => json!({".tag": "failed", "failed": {".tag": "download_failed"}}),
        };
        let job = random::word(40);
        self.jobs.0.insert(job.clone(), end);
        Ok(json!({".tag": "async_job_id", "async_job_id": job}))
    }

    /// `files/save_url/check_job_status`.
    pub(super) fn saved(&self, mut fields: Fields) -> Outcome {
        let job = fields.text("async_job_id")?;
        fields.finish()?;
        self.jobs.0.get(&job).cloned().ok_or_else(|| Problem::route(&["invalid_async_job_id"]))
    }
}

/// `files/upload_session/finish_batch/check`: batches are finished at once, so there is never a job.
pub fn no_such_job(mut fields: Fields) -> Outcome {
    fields.text("async_job_id")?;
    fields.finish()?;
    Err(Problem::route(&["invalid_async_job_id"]))
}
