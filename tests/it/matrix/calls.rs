//! The calls that our client makes: the columns of the matrix.

use serde_json::{Value, json};

use super::worlds::Start;

/// One call at one place of one command.
pub struct Call {
    pub name: &'static str,
    pub service: &'static str,
    pub method: &'static str,
    /// As the fault plan writes paths.
    pub path: &'static str,
    /// Text that tells it from others to the same path.
    pub mentions: Option<&'static str>,
    /// How many of the same come before it.
    pub skip: u64,
    /// The world that the command runs in.
    pub start: Start,
    /// The cheapest command that makes it.
    pub command: &'static [&'static str],
    /// What the answer is like.
    pub answer: Answer,
    /// Whether it changes something.
    pub writes: bool,
    /// Whether the same read stands in another column; then only faults that might mislead are tried.
    pub again: bool,
    /// A fault without which the call isn't made.
    pub also: Option<fn() -> Value>,
}

/// What a good answer is like, so that faults can be fitted to it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// A JSON list.
    List,
    /// A JSON object.
    Object,
    /// JSON with a list in `entries`.
    Entries,
    /// A bare id.
    Id,
    /// A file's bytes.
    Bytes,
}

const PLAN: &[&str] = &["plan"];
const UP: &[&str] = &["up", "--yes"];
const DOWN: &[&str] = &["down", "--yes"];

const READ: Call = Call {
    name: "",
    service: "cloud",
    method: "GET",
    path: "",
    mentions: None,
    skip: 0,
    start: Start::Up,
    command: PLAN,
    answer: Answer::List,
    writes: false,
    again: false,
    also: None,
};
const STORE: Call = Call { service: "dropbox_api", method: "POST", answer: Answer::Object, ..READ };
const WRITE: Call =
    Call { method: "POST", start: Start::New, command: UP, answer: Answer::Object, writes: true, ..READ };
const RECORD: Call = Call { service: "dropbox_content", path: "/2/files/upload", ..WRITE };
const AT_THE_END: Call = Call { start: Start::Worked, command: DOWN, ..READ };

/// Every column.
pub const CALLS: &[Call] = &[
    Call { name: "token", method: "POST", path: "/v1/oauth2/token", answer: Answer::Object, ..READ },
    Call { name: "instances", path: "/v1/instances", ..READ },
    Call { name: "instance types", path: "/v1/instance-types", ..READ },
    Call { name: "availability", path: "/v1/instance-availability", ..READ },
    Call { name: "images", path: "/v1/images", ..READ },
    Call { name: "locations", path: "/v1/locations", ..READ },
    Call { name: "ssh keys", path: "/v1/ssh-keys", ..READ },
    Call { name: "volumes", path: "/v1/volumes", ..READ },
    Call { name: "balance", path: "/v1/balance", answer: Answer::Object, ..READ },
    Call {
        name: "unlisted instance",
        path: "/v1/instances/*",
        answer: Answer::Object,
        also: Some(unlisted),
        ..READ
    },
    Call { name: "account", path: "/2/users/get_current_account", ..STORE },
    Call { name: "store's listing", path: "/2/files/list_folder", answer: Answer::Entries, ..STORE },
    Call {
        name: "listing's next page",
        path: "/2/files/list_folder/continue",
        answer: Answer::Entries,
        also: Some(more),
        ..STORE
    },
    Call {
        name: "record",
        service: "dropbox_content",
        path: "/2/files/download",
        answer: Answer::Bytes,
        ..STORE
    },
    Call { name: "record's trace", path: "/2/files/get_metadata", ..STORE },
    // up
    Call { name: "lease", ..RECORD },
    Call {
        name: "keys before adding",
        again: true,
        path: "/v1/ssh-keys",
        skip: 2,
        start: Start::New,
        command: UP,
        ..READ
    },
    Call { name: "add key", path: "/v1/ssh-keys", answer: Answer::Id, ..WRITE },
    Call { name: "note intent", mentions: Some("\"noted_at\""), ..RECORD },
    Call { name: "add script", path: "/v1/scripts", answer: Answer::Id, ..WRITE },
    Call { name: "create", path: "/v1/instances", answer: Answer::Id, ..WRITE },
    Call { name: "note id", mentions: Some("\"login\": false"), ..RECORD },
    Call {
        name: "list after create",
        again: true,
        path: "/v1/instances",
        skip: 4,
        start: Start::New,
        command: UP,
        ..READ
    },
    Call {
        name: "instance while it boots",
        again: true,
        path: "/v1/instances/*",
        start: Start::New,
        command: UP,
        answer: Answer::Object,
        ..READ
    },
    Call { name: "scripts after the boot", path: "/v1/scripts", start: Start::New, command: UP, ..READ },
    Call { name: "remove script", method: "DELETE", path: "/v1/scripts/*", answer: Answer::Bytes, ..WRITE },
    Call {
        name: "download link",
        path: "/2/files/get_temporary_link",
        start: Start::New,
        command: UP,
        ..STORE
    },
    Call {
        name: "server's download",
        service: "dropbox_content",
        path: "/cd/0/get/*/file",
        start: Start::New,
        command: UP,
        answer: Answer::Bytes,
        ..READ
    },
    Call {
        name: "start",
        method: "PUT",
        path: "/v1/instances",
        start: Start::Offline,
        answer: Answer::List,
        ..WRITE
    },
    // down
    Call {
        name: "space left",
        path: "/2/users/get_space_usage",
        start: Start::Worked,
        command: DOWN,
        ..STORE
    },
    Call {
        name: "upload link",
        path: "/2/files/get_temporary_upload_link",
        start: Start::Worked,
        command: DOWN,
        ..STORE
    },
    Call {
        name: "server's upload",
        service: "dropbox_content",
        path: "/apitul/1/*",
        start: Start::Worked,
        command: DOWN,
        ..WRITE
    },
    Call {
        name: "read back upload",
        again: true,
        path: "/2/files/get_metadata",
        mentions: Some("export.pkl"),
        start: Start::Worked,
        command: DOWN,
        ..STORE
    },
    Call {
        name: "manifest",
        mentions: Some("\"strict_conflict\":false"),
        start: Start::Worked,
        command: DOWN,
        ..RECORD
    },
    Call {
        name: "note ending",
        mentions: Some("\"ending\": {"),
        start: Start::Worked,
        command: DOWN,
        ..RECORD
    },
    Call { name: "delete", method: "PUT", path: "/v1/instances", writes: true, ..AT_THE_END },
    Call {
        name: "instance while it goes",
        again: true,
        path: "/v1/instances/*",
        skip: 1,
        answer: Answer::Object,
        ..AT_THE_END
    },
    Call {
        name: "volumes while they go",
        again: true,
        path: "/v1/volumes/*",
        answer: Answer::Object,
        ..AT_THE_END
    },
    Call { name: "list after delete", again: true, path: "/v1/instances", skip: 7, ..AT_THE_END },
    Call { name: "note end", mentions: Some("\"ended\": {"), start: Start::Worked, command: DOWN, ..RECORD },
    Call { name: "receipt", mentions: Some("\"seal\": "), start: Start::Worked, command: DOWN, ..RECORD },
    Call {
        name: "delete volume",
        method: "PUT",
        path: "/v1/volumes",
        start: Start::Leftover,
        command: DOWN,
        answer: Answer::Bytes,
        ..WRITE
    },
];

impl Call {
    /// Returns the fault plan's rule for this call.
    pub fn rule(&self, times: Value, fault: Value) -> Value {
        let mut rule = json!({"service": self.service, "method": self.method, "path": self.path,
                              "skip": self.skip, "times": times, "fault": fault});
        if let Some(text) = self.mentions {
            rule["mentions"] = json!(text);
        }
        rule
    }

    /// Returns the service as people name it.
    pub fn is_cloud(&self) -> bool {
        self.service == "cloud"
    }

    /// Returns whether a link is all that it takes: no token, and the client is the helper on the server.
    pub fn is_by_link(&self) -> bool {
        self.path.starts_with("/cd/") || self.path.starts_with("/apitul/")
    }
}

/// A list that doesn't show the machine yet.
fn unlisted() -> Value {
    json!({"service": "cloud", "method": "GET", "path": "/v1/instances", "times": "always",
           "fault": {"change": {"empty": ""}}})
}

/// A listing of more than one page.
fn more() -> Value {
    json!({"path": "/2/files/list_folder", "times": "always", "fault": {"change": {"set": {"/has_more": true}}}})
}
