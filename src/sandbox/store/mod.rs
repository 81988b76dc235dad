//! A Dropbox: one account, one app-folder app, its files with their revisions, temporary links.
//!
//! An independent reading of the API documents: it shares no type with the client. Upload sessions are
//! not here yet; they belong beside `writing`, whose `place` is what a finished session calls.

mod argument;
mod links;
mod objects;
mod problem;
mod reading;
#[cfg(test)]
mod tests;
mod tokens;
mod tree;
mod writing;

use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::argument::Fields;
use self::links::Links;
use self::objects::Objects;
use self::problem::Problem;
use self::tokens::Tokens;
use self::tree::Tree;
use super::random;
use super::wire::{Call, Reply};
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
    tree: Tree,
    links: Links,
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
}

/// How a route takes its argument.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    Rpc,
    Upload,
    Download,
}

impl Store {
    /// Returns an empty Dropbox of its own.
    pub fn fresh() -> Self {
        Self {
            tokens: Tokens::new(),
            account: format!("dbid:{}", random::word(35)),
            namespace: (1_000_000_000 + u64::from_str_radix(&random::hex(8), 16).unwrap_or(0)).to_string(),
            allocated: ALLOCATED,
            tree: Tree::default(),
            links: Links::default(),
            objects: Objects::default(),
            content_base: String::new(),
        }
    }

    /// Says where the objects are kept and under which base URL the content routes are reached.
    pub fn connect(&mut self, dir: &Path, content_base: &str) -> OurResult<()> {
        self.objects = Objects::at(dir.join("dropbox").join("objects"))?;
        content_base.clone_into(&mut self.content_base);
        Ok(())
    }

    /// Forgets every file and link; the account and its tokens stay.
    pub fn empty(&mut self) -> OurResult<()> {
        // Cursors of before must not be taken for new ones.
        self.tree = Tree { epoch: self.tree.epoch + 1, ..Tree::default() };
        self.links = Links::default();
        self.objects.clear().map_err(|error| Error::new("cannot empty the sandbox's Dropbox").because(&error))
    }

    /// Changes the world behind the API's back.
    pub fn set(&mut self, changes: &Changes) {
        self.allocated = changes.allocated.unwrap_or(self.allocated);
    }

    /// Answers one request to the API host.
    pub fn answer_api(&mut self, call: &Call, now: Timestamp) -> Reply {
        if call.path == "/oauth2/token" && call.method == "POST" {
            return self.tokens.refresh(call, now).with(REQUEST_ID, random::hex(32));
        }
        let name = call.path.strip_prefix("/2/").unwrap_or(&call.path).to_owned();
        self.api(&name, call, now)
            .unwrap_or_else(|problem| problem.reply(&name))
            .with(REQUEST_ID, random::hex(32))
    }

    /// Answers one request to the content host, which is also where temporary links lead.
    pub fn answer_content(&mut self, call: &Call, now: Timestamp) -> Reply {
        let segments = call.segments();
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let reply = match (call.method.as_str(), segments.as_slice()) {
            ("GET" | "HEAD", ["cd", "0", "get", link, "file"]) => self.follow_down(call, link, now),
            ("POST", ["apitul", "1", link]) => self.follow_up(call, link, now),
            _ => {
                let name = call.path.strip_prefix("/2/").unwrap_or(&call.path).to_owned();
                self.content(&name, call, now).unwrap_or_else(|problem| problem.reply(&name))
            }
        };
        reply.with(REQUEST_ID, random::hex(32))
    }

    fn api(&mut self, name: &str, call: &Call, now: Timestamp) -> Result<Reply, Problem> {
        const ACCOUNT: &str = "account_info.read";
        const LOOK: &str = "files.metadata.read";
        const READ: &str = "files.content.read";
        const WRITE: &str = "files.content.write";
        let scope = match name {
            "check/user" | "users/get_current_account" | "users/get_space_usage" => ACCOUNT,
            "files/get_metadata"
            | "files/list_folder"
            | "files/list_folder/continue"
            | "files/list_revisions" => LOOK,
            "files/get_temporary_link" => READ,
            "files/get_temporary_upload_link"
            | "files/create_folder_v2"
            | "files/delete_v2"
            | "files/move_v2"
            | "files/copy_v2"
            | "files/restore" => WRITE,
            _ => return Err(unknown_function(name)),
        };
        self.admit(call, scope, now)?;
        let value = match name {
            "users/get_current_account" => no_argument(call).map(|()| self.current_account())?,
            "users/get_space_usage" => no_argument(call).map(|()| self.space_usage())?,
            _ => {
                let fields = argument(call, Style::Rpc)?;
                match name {
                    "check/user" => check_user(fields)?,
                    "files/get_metadata" => self.get_metadata(fields)?,
                    "files/list_folder" => self.list_folder(fields)?,
                    "files/list_folder/continue" => self.list_more(fields)?,
                    "files/list_revisions" => self.list_revisions(fields)?,
                    "files/get_temporary_link" => self.link_down(fields, now)?,
                    "files/get_temporary_upload_link" => self.link_up(fields, now)?,
                    "files/create_folder_v2" => self.create_folder(fields, now)?,
                    "files/delete_v2" => self.delete(fields, now)?,
                    "files/move_v2" => self.relocate(fields, false, now)?,
                    "files/copy_v2" => self.relocate(fields, true, now)?,
                    "files/restore" => self.restore(fields, now)?,
                    _ => return Err(unknown_function(name)),
                }
            }
        };
        Ok(Reply::json(200, &value))
    }

    fn content(&mut self, name: &str, call: &Call, now: Timestamp) -> Result<Reply, Problem> {
        match name {
            "files/upload" => {
                self.admit(call, "files.content.write", now)?;
                let fields = argument(call, Style::Upload)?;
                self.upload(fields, &call.body, now).map(|metadata| Reply::json(200, &metadata))
            }
            "files/download" => {
                self.admit(call, "files.content.read", now)?;
                let fields = argument(call, Style::Download)?;
                self.download(call, fields)
            }
            _ => Err(unknown_function(name)),
        }
    }

    fn admit(&self, call: &Call, scope: &str, now: Timestamp) -> Result<(), Problem> {
        if call.method != "POST" && call.query("arg").is_none() {
            return Err(Problem::BadCall(format!("Bad HTTP method {}", call.method)));
        }
        self.tokens.check(call, scope, now)
    }

    /// Turns a path argument into a path from the root; `None` when it names nothing there could be.
    fn resolved(&self, path: &str) -> Option<String> {
        if path.starts_with("id:") {
            return self.tree.path_of_id(path);
        }
        match path.strip_prefix("ns:") {
            None => Some(path.to_owned()),
            Some(rest) => rest.strip_prefix(&self.namespace).map(str::to_owned),
        }
    }

    fn current_account(&self) -> Value {
        json!({
            "account_id": self.account,
            "name": {"given_name": "Sand", "surname": "Box", "familiar_name": "Sand",
                     "display_name": "Sand Box", "abbreviated_name": "SB"},
            "email": "sandbox@example.invalid", "email_verified": true, "disabled": false, "country": "FI",
            "locale": "en", "referral_link": "https://www.dropbox.com/referrals/sandbox", "is_paired": false,
            "account_type": {".tag": "pro"},
            "root_info": {".tag": "user", "root_namespace_id": self.namespace, "home_namespace_id": self.namespace},
        })
    }

    fn space_usage(&self) -> Value {
        json!({"used": self.tree.used(), "allocation": {".tag": "individual", "allocated": self.allocated}})
    }
}

const REQUEST_ID: &str = "x-dropbox-request-id";

fn check_user(mut fields: Fields) -> Outcome {
    let query = fields.optional_text("query")?.unwrap_or_default();
    if query.chars().count() > 500 {
        return Err(fields.bad_field("query", "must have at most 500 characters"));
    }
    fields.finish()?;
    Ok(json!({"result": query}))
}

/// Reads the argument from where the route's style has it, and checks the content type on the way.
fn argument(call: &Call, style: Style) -> Result<Fields, Problem> {
    check_type(call, style)?;
    if style == Style::Rpc {
        return Fields::parse("request body", &call.body);
    }
    if let Some(argument) = call.query("arg") {
        return Fields::parse("URL parameter \"arg\"", argument.as_bytes());
    }
    let Some(header) = call.headers.get("dropbox-api-arg") else {
        let text = "Must provide HTTP header \"Dropbox-API-Arg\" or URL parameter \"arg\".";
        return Err(Problem::BadCall(text.to_owned()));
    };
    let place = "HTTP header \"Dropbox-API-Arg\"";
    if !header.as_bytes().iter().all(|byte| (b' '..=b'~').contains(byte)) {
        return Err(Problem::BadCall(format!("{place}: could not decode input as JSON")));
    }
    Fields::parse(place, header.as_bytes())
}

fn check_type(call: &Call, style: Style) -> Result<(), Problem> {
    let sent = call.header("content-type").unwrap_or_default();
    let expected: &[&str] = match style {
        Style::Rpc => &["application/json", "application/json; charset=utf-8", CORS_HACK],
        Style::Upload => &["application/octet-stream", CORS_HACK],
        Style::Download => &[
            "",
            "text/plain",
            "text/plain; charset=utf-8",
            "application/octet-stream",
            "application/octet-stream; charset=utf-8",
            CORS_HACK,
        ],
    };
    if expected.contains(&sent) {
        return Ok(());
    }
    let expected: Vec<String> = expected.iter().map(|kind| format!("\"{kind}\"")).collect();
    let expected = expected.join(", ");
    Err(Problem::BadCall(format!(
        "Bad HTTP \"Content-Type\" header: \"{sent}\".  Expecting one of {expected}."
    )))
}

const CORS_HACK: &str = "text/plain; charset=dropbox-cors-hack";

/// A route without an argument takes the body `null`, or nothing at all and no content type.
fn no_argument(call: &Call) -> Result<(), Problem> {
    if call.body.is_empty() && call.header("content-type").is_none() {
        return Ok(());
    }
    check_type(call, Style::Rpc)?;
    match serde_json::from_slice(&call.body) {
        Ok(Value::Null) => Ok(()),
        Ok(_) => Err(Problem::BadCall("request body: expected null".to_owned())),
        Err(_) => Err(Problem::BadCall("request body: could not decode input as JSON".to_owned())),
    }
}

fn unknown_function(name: &str) -> Problem {
    Problem::BadCall(format!("Unknown API function: \"{name}\""))
}
