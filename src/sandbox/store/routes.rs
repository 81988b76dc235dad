//! Which function answers which path, and who may call it how.

use jiff::Timestamp;
use serde_json::Value;

use super::account::check_user;
use super::argument::Fields;
use super::problem::Problem;
use super::saving::no_such_job;
use super::{Outcome, Store};
use crate::sandbox::random;
use crate::sandbox::sent::Sent;
use crate::sandbox::wire::{Call, Reply};

const REQUEST_ID: &str = "x-dropbox-request-id";

const ACCOUNT: &str = "account_info.read";
const LOOK: &str = "files.metadata.read";
const READ: &str = "files.content.read";
const WRITE: &str = "files.content.write";

/// How a route takes its argument.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    Rpc,
    Upload,
    Download,
}

impl Store {
    /// Answers one request to the API host, which stands for the web host and the notify host too.
    pub fn answer_api(&mut self, call: &Call, now: Timestamp) -> Reply {
        self.sweep(now);
        let reply = match (call.method.as_str(), call.path.as_str()) {
            ("POST", "/oauth2/token") => self.token(call, now),
            ("GET", "/oauth2/authorize") => self.authorize(call, now),
            _ => {
                let name = function(call);
                self.api(&name, call, now).unwrap_or_else(|problem| problem.reply(&name))
            }
        };
        reply.with(REQUEST_ID, random::hex(32))
    }

    /// Answers one request to the content host, which is also where temporary links lead.
    pub fn answer_content(&mut self, call: &Call, now: Timestamp) -> Reply {
        self.sweep(now);
        let segments = call.segments();
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let reply = match (call.method.as_str(), segments.as_slice()) {
            ("GET" | "HEAD", ["cd", "0", "get", link, "file"]) => self.follow_down(call, link, now),
            ("POST", ["apitul", "1", link]) => self.follow_up(call, link, now),
            _ => {
                let name = function(call);
                self.content(&name, call, now).unwrap_or_else(|problem| problem.reply(&name))
            }
        };
        reply.with(REQUEST_ID, random::hex(32))
    }

    fn api(&mut self, name: &str, call: &Call, now: Timestamp) -> Result<Reply, Problem> {
        let scope = match name {
            "auth/token/revoke" => return self.revoke(call, now),
            // The one route that takes no token: its cursor says enough.
            "files/list_folder/longpoll" => {
                return self.news(argument(call, Style::Rpc)?).map(|value| Reply::json(200, &value));
            }
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
            | "files/restore"
            | "files/save_url"
            | "files/save_url/check_job_status"
            | "files/upload_session/start_batch"
            | "files/upload_session/finish_batch"
            | "files/upload_session/finish_batch/check"
            | "files/upload_session/finish_batch_v2" => WRITE,
            _ => return Err(unknown_function(name)),
        };
        self.admit(call, scope, now)?;
        let value = match name {
            "users/get_current_account" => no_argument(call).map(|()| self.current_account())?,
            "users/get_space_usage" => no_argument(call).map(|()| self.space_usage())?,
            _ => self.with_argument(name, argument(call, Style::Rpc)?, now)?,
        };
        Ok(Reply::json(200, &value))
    }

    fn with_argument(&mut self, name: &str, fields: Fields, now: Timestamp) -> Outcome {
        match name {
            "check/user" => check_user(fields),
            "files/get_metadata" => self.get_metadata(fields),
            "files/list_folder" => self.list_folder(fields),
            "files/list_folder/continue" => self.list_more(fields),
            "files/list_revisions" => self.list_revisions(fields),
            "files/get_temporary_link" => self.link_down(fields, now),
            "files/get_temporary_upload_link" => self.link_up(fields, now),
            "files/create_folder_v2" => self.create_folder(fields, now),
            "files/delete_v2" => self.delete(fields, now),
            "files/move_v2" => self.relocate(fields, false, now),
            "files/copy_v2" => self.relocate(fields, true, now),
            "files/restore" => self.restore(fields, now),
            "files/save_url" => self.save_url(fields, now),
            "files/save_url/check_job_status" => self.saved(fields),
            "files/upload_session/start_batch" => self.start_sessions(fields, now),
            "files/upload_session/finish_batch" => self.finish_batch_at_once(fields, now),
            "files/upload_session/finish_batch/check" => no_such_job(fields),
            "files/upload_session/finish_batch_v2" => self.finish_batch(fields, now),
            _ => Err(unknown_function(name)),
        }
    }

    fn content(&mut self, name: &str, call: &Call, now: Timestamp) -> Result<Reply, Problem> {
        let upload: fn(&mut Self, Fields, &Sent, Timestamp) -> Outcome = match name {
            "files/download" => {
                self.admit(call, READ, now)?;
                return self.download(call, argument(call, Style::Download)?);
            }
            "files/upload" => Self::upload,
            "files/upload_session/start" => Self::start_session,
            "files/upload_session/append_v2" => Self::append,
            "files/upload_session/append_batch" => Self::append_batch,
            "files/upload_session/finish" => Self::finish,
            _ => return Err(unknown_function(name)),
        };
        self.admit(call, WRITE, now)?;
        let fields = argument(call, Style::Upload)?;
        upload(self, fields, &call.body, now).map(|value| Reply::json(200, &value))
    }

    fn revoke(&mut self, call: &Call, now: Timestamp) -> Result<Reply, Problem> {
        self.tokens.revoke(call, now)?;
        no_argument(call).map(|()| Reply::json(200, &Value::Null))
    }

    fn admit(&self, call: &Call, scope: &str, now: Timestamp) -> Result<(), Problem> {
        if call.method != "POST" && call.query("arg").is_none() {
            return Err(Problem::BadCall(format!("Bad HTTP method {}", call.method)));
        }
        self.tokens.check(call, scope, now)?;
        self.check_root(call)
    }
}

/// Returns the name of the function that a path calls.
fn function(call: &Call) -> String {
    call.path.strip_prefix("/2/").unwrap_or(&call.path).to_owned()
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
