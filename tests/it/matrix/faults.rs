//! The faults: the lines of the matrix, and which call each fits.

use serde_json::{Value, json};

use super::calls::{Answer, Call};

/// One fault.
pub struct Fault {
    pub name: &'static str,
    /// What the plan says: a name from the catalogue or an object.
    what: fn() -> Value,
    /// How often it strikes.
    pub times: fn() -> Value,
    fits: fn(&Call) -> bool,
}

impl Fault {
    /// Returns whether the fault can happen to a call.
    pub fn fits(&self, call: &Call) -> bool {
        // What is wrong on the face of it is the same wherever it is read.
        const MISLEADING: [&str; 16] = [
            "unauthorized",
            "forbidden",
            "not_found",
            "not_found_page",
            "expired_token",
            "path_not_found",
            "restarting for ever",
            "unknown words",
            "entry twice",
            "entry missing",
            "empty list",
            "stale list",
            "half_body",
            "cut",
            "silence",
            "slow answer",
        ];
        (self.fits)(call) && (!call.again || MISLEADING.contains(&self.name))
    }

    /// Returns the rules that make it happen.
    pub fn rules(&self, call: &Call) -> Vec<Value> {
        let what = (self.what)();
        let closed = what.get("closed").is_some();
        // What is remembered must be from before the change.
        let call = &Call { skip: if self.name == "stale list" { 0 } else { call.skip }, ..*call };
        let rule = match closed {
            true => json!({"service": call.service, "fault": what}),
            false => call.rule((self.times)(), what),
        };
        std::iter::once(rule).chain(call.also.map(|also| also())).collect()
    }

    /// Returns whether the service can't be reached at all.
    pub fn is_closed(&self) -> bool {
        self.name == "closed"
    }
}

macro_rules! named {
    ($name:literal, $fits:expr) => {
        Fault { name: $name, what: || json!($name), times: || json!(1), fits: $fits }
    };
}

macro_rules! always {
    ($name:literal, $what:expr, $fits:expr) => {
        Fault { name: $name, what: || json!($what), times: || json!("always"), fits: $fits }
    };
}

macro_rules! made {
    ($name:literal, $times:expr, $what:expr, $fits:expr) => {
        Fault { name: $name, what: || $what, times: || json!($times), fits: $fits }
    };
}

/// Every line.
pub const FAULTS: &[Fault] = &[
    // Refusals of the cloud, without effect.
    named!("invalid_request", cloud),
    named!("unauthorized", cloud),
    always!("unauthorized for ever", "unauthorized", cloud),
    named!("insufficient_funds", cloud),
    named!("forbidden", cloud),
    named!("not_found", cloud),
    named!("conflict", cloud),
    named!("unprocessable", cloud),
    named!("capacity", |call| call.name == "create" || call.name == "start"),
    always!("capacity for ever", "capacity", |call| call.name == "create"),
    named!("restarting", cloud),
    always!("restarting for ever", "restarting", cloud),
    // Refusals of the Dropbox, without effect.
    named!("expired_token", store),
    named!("invalid_token", store),
    named!("missing_scope", store),
    named!("too_many_requests", store),
    named!("too_many_requests_text", store),
    named!("too_many_write_operations", stored),
    named!("write_contention", stored),
    always!("contention for ever", "write_contention", stored),
    named!("full", stored),
    named!("no_write_permission", stored),
    named!("path_not_found", |call| store(call) && call.path.contains("/files/") && !call.writes),
    named!("cursor_reset", |call| call.name == "listing's next page"),
    named!("unknown_tag", store),
    // Both.
    named!("rate_limited", any),
    named!("rate_limited_date", any),
    named!("rate_limited_bare", any),
    named!("rate_limited_absurd", any),
    named!("rate_limited_nonsense", cloud),
    named!("internal_error", any),
    named!("internal_error_after", written),
    named!("bad_gateway", any),
    named!("bad_gateway_after", written),
    named!("gateway_timeout_after", written),
    named!("not_found_page", any),
    named!("redirect", any),
    named!("unknown_refusal", any),
    named!("unknown_failure", any),
    named!("unknown_success_after", any),
    // The real answer, spoilt.
    named!("empty_body", has_body),
    named!("html_body", has_body),
    named!("garbage_body", has_body),
    named!("wrong_type", has_body),
    named!("half_body", has_body),
    named!("half_json", json_body),
    named!("extra_fields", json_body),
    named!("odd_date", any),
    named!("huge_body", |call| has_body(call) && !call.is_by_link()),
    named!("slow_body", has_body),
    made!("unknown words", 1, words(), |call| call.path.contains("instances")
        && json_body(call)
        && !call.is_emptied()),
    made!("entry twice", 1, json!({"change": {"duplicate": "/0"}}), |call| call.answer == Answer::List
        && !call.writes
        && !call.is_emptied()),
    made!("entry of store twice", 1, json!({"change": {"duplicate": "/entries/0"}}), |call| call.name
        == "store's listing"),
    made!("entry missing", 1, json!({"change": {"remove": "/0"}}), |call| call.answer == Answer::List
        && !call.writes
        && !call.is_emptied()),
    made!("empty list", 1, json!({"change": {"empty": ""}}), |call| call.answer == Answer::List
        && !call.writes
        && !call.is_emptied()),
    made!("empty page", 1, json!({"change": {"set": {"/entries": [], "/has_more": true}}}), |call| call.name
        == "store's listing"),
    made!("stale list", 3, json!("stale"), |call| call.is_changing()),
    // The connection.
    named!("cut", any),
    named!("cut_after", any),
    named!("silence", any),
    named!("silence_after", written),
    named!("late", written),
    made!("slow answer", 1, json!({"delay": {"seconds": 1200, "after": true}}), any),
    always!("closed", json!({"closed": {}}), |call| { ["token", "account", "record"].contains(&call.name) }),
];

impl Call {
    /// Returns whether the list is empty where this call is made.
    fn is_emptied(&self) -> bool {
        ["keys before adding", "list after delete", "volumes while they go"].contains(&self.name)
    }

    /// Returns whether the list is another one after this command's own doing.
    fn is_changing(&self) -> bool {
        ["list after create", "list after delete", "volumes while they go"].contains(&self.name)
    }
}

fn any(call: &Call) -> bool {
    !call.name.is_empty()
}

fn cloud(call: &Call) -> bool {
    call.is_cloud()
}

fn store(call: &Call) -> bool {
    !call.is_cloud() && !call.is_by_link()
}

/// What takes the lock of the Dropbox's namespace.
fn stored(call: &Call) -> bool {
    call.path == "/2/files/upload"
}

fn written(call: &Call) -> bool {
    call.writes
}

/// The answer to the deletion of a volume or a script has no body, and there is nothing to spoil in an empty list.
fn has_body(call: &Call) -> bool {
    !["delete volume", "remove script"].contains(&call.name)
        && !["list after delete", "volumes while they go"].contains(&call.name)
}

fn json_body(call: &Call) -> bool {
    !matches!(call.answer, Answer::Id | Answer::Bytes)
}

/// Statuses that nobody has heard of, in a list or in a single machine.
fn words() -> Value {
    json!({"change": {"set": {"/0/status": "pondering", "/status": "pondering", "/0/location": "MOON-01"}}})
}
