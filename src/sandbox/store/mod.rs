//! A Dropbox: one account, one app-folder app, its files with their revisions, upload sessions, links.
//!
//! An independent reading of the API documents: it shares no type with the client.

mod account;
mod ahead;
mod argument;
mod bodies;
mod consent;
mod links;
mod moving;
mod objects;
mod problem;
mod reading;
mod routes;
mod saving;
mod session;
#[cfg(test)]
mod tests;
mod tokens;
mod tree;
mod uploading;
mod writing;

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::ahead::{Place, Places};
use self::bodies::Bodies;
use self::consent::Codes;
use self::links::Links;
use self::objects::Objects;
use self::problem::Problem;
use self::saving::Jobs;
use self::tokens::Tokens;
use self::tree::Tree;
use self::uploading::Sessions;
use super::random;
use super::state::cannot_use;
use crate::error::{Error, Result as OurResult};

/// What a route answers with.
type Outcome = Result<Value, Problem>;

/// What the account may hold, in bytes.
const ALLOCATED: u64 = 2_000_000_000_000;

/// Everything this Dropbox knows.
#[derive(Serialize, Deserialize)]
pub struct Store {
    /// The app and its tokens.
    pub tokens: Tokens,
    account: String,
    namespace: String,
    allocated: u64,
    /// For how many seconds a file that was just written can't be found by a move or a copy.
    #[serde(default)]
    move_lag: f64,
    tree: Tree,
    links: Links,
    #[serde(default)]
    sessions: Sessions,
    #[serde(default)]
    codes: Codes,
    #[serde(default)]
    jobs: Jobs,
    /// Sessions whose bytes nobody needs any more; removed once that is written down.
    #[serde(skip)]
    spent: Vec<String>,
    #[serde(skip)]
    bodies: Bodies,
    #[serde(skip)]
    objects: Objects,
    #[serde(skip)]
    content_base: String,
}

/// What the admin's `set` can change.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Changes {
    /// What the account may hold, in bytes.
    allocated: Option<u64>,
    /// For how many (sandbox) seconds a move or copy answers `from_lookup/not_found` for a file that was
    /// just written, as the real service does at times; 0 at first.
    move_lag: Option<f64>,
}

impl Store {
    /// Returns an empty Dropbox of its own.
    pub fn fresh() -> Self {
        Self {
            tokens: Tokens::new(),
            account: format!("dbid:{}", random::word(35)),
            namespace: (1_000_000_000 + u64::from_str_radix(&random::hex(8), 16).unwrap_or(0)).to_string(),
            allocated: ALLOCATED,
            move_lag: 0.0,
            tree: Tree::default(),
            links: Links::default(),
            sessions: Sessions::default(),
            codes: Codes::default(),
            jobs: Jobs::default(),
            spent: Vec::new(),
            bodies: Bodies::default(),
            objects: Objects::default(),
            content_base: String::new(),
        }
    }

    /// Says where the bytes are kept and under which base URL the content routes are reached.
    ///
    /// Removes what a process that died left behind: bytes that belong to no file and no session.
    pub fn connect(&mut self, dir: &Path, content_base: &str) -> OurResult<()> {
        let dir = dir.join("dropbox");
        self.objects = Objects::at(dir.join("objects"))?;
        self.bodies = Bodies::at(dir.join("sessions"))?;
        content_base.clone_into(&mut self.content_base);
        let files = self.tree.hashes().chain(self.links.hashes());
        let files: BTreeSet<String> = files.map(|hash| hash.to_string()).collect();
        let living = self.sessions.iter().filter(|(_, session)| session.has_body());
        let uploads: BTreeSet<String> = living.map(|(id, _)| bodies::name(id).to_owned()).collect();
        let swept = self.objects.keep_only(&files).and_then(|()| self.bodies.keep_only(&uploads));
        swept.map_err(|error| cannot_use(&dir, &error))
    }

    /// Forgets every file, upload and link; the account and its secrets stay and are good again.
    pub fn empty(&mut self) -> OurResult<()> {
        // Cursors of before must not be taken for new ones.
        self.tree = Tree { epoch: self.tree.epoch + 1, ..Tree::default() };
        self.links = Links::default();
        self.sessions = Sessions::default();
        self.jobs = Jobs::default();
        self.spent.clear();
        self.tokens.reinstate();
        let emptied = self.objects.keep_only(&BTreeSet::new());
        let emptied = emptied.and_then(|()| self.bodies.keep_only(&BTreeSet::new()));
        emptied.map_err(|error| Error::new("cannot empty the sandbox's Dropbox").because(&error))
    }

    /// Changes the world behind the API's back.
    pub fn set(&mut self, changes: &Changes) {
        self.allocated = changes.allocated.unwrap_or(self.allocated);
        self.move_lag = changes.move_lag.unwrap_or(self.move_lag);
    }

    /// Turns a path argument into a path from the root; `None` when it names nothing there could be.
    fn resolved(&self, path: &str) -> Option<String> {
        if path.starts_with("id:") {
            return self.tree.path_of_id(path);
        }
        match path.strip_prefix("ns:") {
            None => Some(path.to_owned()),
            Some(rest) => {
                let rest = rest.strip_prefix(&self.namespace)?;
                // Another namespace's number may begin with ours.
                (rest.is_empty() || rest.starts_with('/')).then(|| rest.to_owned())
            }
        }
    }
}
