//! Faults by name: what the two services, and what stands between them and us, are known to do.
//!
//! The words of the cloud's refusals are those of its error list and of reports about it; where the real
//! body is not known (429) it is a guess. Those of the Dropbox are from its Stone specification and the SDKs.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::rule::{Canned, Change, Fault};

/// How long a late call is on its way: longer than any client waits, shorter than the quiet window.
const LATE: f64 = 100.0;

/// A page as a proxy makes it.
const PAGE: &str = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1>\
                    </center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n";

/// A name and what it stands for.
type Named = (&'static str, fn() -> Fault);

/// Every name.
const NAMES: &[Named] = &[
    // The cloud's refusals.
    ("invalid_request", || cloud(400, "invalid_request", "Invalid request")),
    ("unauthorized", || cloud(401, "unauthorized_request", "Access token is missing, invalid or expired")),
    ("insufficient_funds", || {
        cloud(402, "insufficient_funds", "Insufficient funds, please top up your balance")
    }),
    ("forbidden", || cloud(403, "forbidden_action", "You are not allowed to perform this action")),
    ("not_found", || cloud(404, "not_found", "Not found")),
    ("conflict", || cloud(409, "conflict", "Conflict")),
    ("unprocessable", || cloud(422, "unprocessable_entity", "Unprocessable entity")),
    ("capacity", || {
        let message = "Not enough resources to deploy a 1 GPU instance type 1RTX6000ADA.10V in FIN-03";
        cloud(503, "service_unavailable", message)
    }),
    ("restarting", || cloud(503, "service_unavailable", "Service is restarting, please try again later")),
    ("internal_error", || cloud(500, "server_error", "Internal server error")),
    ("internal_error_after", || after(cloud(500, "server_error", "Internal server error"))),
    // Too many requests; the wait as seconds, as a date, not at all, and as nonsense.
    ("rate_limited", || limited(Some("7"))),
    ("rate_limited_date", || limited(Some("date+7"))),
    ("rate_limited_bare", || limited(None)),
    ("rate_limited_absurd", || limited(Some("31536000"))),
    ("rate_limited_past", || limited(Some("Thu, 01 Jan 1970 00:00:00 GMT"))),
    ("rate_limited_nonsense", || limited(Some("soon"))),
    // The Dropbox's refusals.
    ("expired_token", || dropbox(401, &["expired_access_token"])),
    ("invalid_token", || dropbox(401, &["invalid_access_token"])),
    ("missing_scope", || {
        let error = json!({".tag": "missing_scope", "required_scope": "files.content.write"});
        json_answer(401, json!({"error_summary": "missing_scope/..", "error": error}))
    }),
    ("too_many_requests", || {
        let error = json!({"reason": {".tag": "too_many_requests"}, "retry_after": 15});
        let body = json!({"error_summary": "too_many_requests/...", "error": error});
        answer(429, &[("retry-after", "15"), JSON], body)
    }),
    ("too_many_requests_text", || answer(429, &[("retry-after", "15"), TEXT], json!("too many requests"))),
    // The lock of the namespace, in both of its forms; neither says how long.
    ("too_many_write_operations", || {
        let error = json!({"reason": {".tag": "too_many_write_operations"}});
        json_answer(429, json!({"error_summary": "too_many_write_operations/.", "error": error}))
    }),
    ("write_contention", || dropbox_path("too_many_write_operations")),
    ("full", || dropbox_path("insufficient_space")),
    ("no_write_permission", || dropbox_path("no_write_permission")),
    ("path_not_found", || {
        let error = json!({".tag": "path", "path": {".tag": "not_found"}});
        json_answer(409, json!({"error_summary": "path/not_found/", "error": error}))
    }),
    ("cursor_reset", || dropbox(409, &["reset"])),
    ("unknown_tag", || dropbox(409, &["something_new"])),
    ("dropbox_down", || answer(503, &[TEXT], Value::Null)),
    ("dropbox_down_after", || after(answer(503, &[TEXT], Value::Null))),
    // What stands in between.
    ("bad_gateway", || answer(502, &[HTML], json!(PAGE))),
    ("bad_gateway_after", || after(answer(502, &[HTML], json!(PAGE)))),
    ("gateway_timeout_after", || {
        after(answer(504, &[HTML], json!(PAGE.replace("502 Bad Gateway", "504 Gateway Time-out"))))
    }),
    ("not_found_page", || answer(404, &[HTML], json!(PAGE.replace("502 Bad Gateway", "404 Not Found")))),
    ("redirect", || answer(307, &[("location", "http://127.0.0.1:9/elsewhere")], Value::Null)),
    ("unknown_refusal", || answer(418, &[TEXT], json!("short and stout"))),
    ("unknown_failure", || answer(799, &[TEXT], json!("out of luck"))),
    ("unknown_success_after", || after(answer(299, &[TEXT], json!("so to speak")))),
    // The real answer, spoilt.
    ("empty_body", || change(Change { replace: Some(json!("")), ..Change::default() })),
    ("html_body", || {
        let headers = [("content-type".to_owned(), Some("text/html".to_owned()))].into();
        change(Change { replace: Some(json!(PAGE)), headers, ..Change::default() })
    }),
    ("garbage_body", || {
        change(Change { replace: Some(json!("\u{0}\u{1}\u{fffd}{]\u{1b}[2J")), ..Change::default() })
    }),
    ("wrong_type", || change(Change { replace: Some(json!(17)), ..Change::default() })),
    ("half_body", || change(Change { truncate: Some(20), ..Change::default() })),
    ("half_json", || change(Change { replace: Some(json!("[{\"id\": \"0")), ..Change::default() })),
    ("extra_fields", || {
        let more = json!({"new_field": {"nested": [1, null, "x"]}, "another_one": null});
        change(Change { merge: Some(more), ..Change::default() })
    }),
    ("odd_date", || {
        let headers = [("date".to_owned(), Some("yesterday".to_owned()))].into();
        change(Change { headers, ..Change::default() })
    }),
    ("huge_body", || change(Change { pad: Some(50_000_000), ..Change::default() })),
    ("slow_body", || change(Change { rate: Some(0.02), ..Change::default() })),
    ("stale", || Fault::Stale {}),
    // The connection.
    ("cut", || Fault::Cut { after: false }),
    ("cut_after", || Fault::Cut { after: true }),
    ("silence", || Fault::Silence { after: false }),
    ("silence_after", || Fault::Silence { after: true }),
    ("late", || Fault::Late { seconds: LATE, silent: false }),
];

const HTML: (&str, &str) = ("content-type", "text/html");
const JSON: (&str, &str) = ("content-type", "application/json");
const TEXT: (&str, &str) = ("content-type", "text/plain");

/// Returns the fault that has this name.
pub(super) fn named(name: &str) -> Option<Fault> {
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, make)| make())
}

/// Returns the name of a fault, if it has one.
pub(super) fn name_of(fault: &Fault) -> Option<&'static str> {
    NAMES.iter().find(|(_, make)| make() == *fault).map(|(name, _)| *name)
}

/// Returns every name.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    NAMES.iter().map(|(name, _)| *name)
}

/// Lists the names, for somebody who asked for another.
pub(super) fn hint() -> String {
    format!("the names are {}", names().collect::<Vec<_>>().join(", "))
}

fn cloud(status: u16, code: &str, message: &str) -> Fault {
    json_answer(status, json!({"code": code, "message": message}))
}

fn limited(wait: Option<&str>) -> Fault {
    let body = json!({"code": "too_many_requests", "message": "Too many requests"});
    let wait = wait.map(|wait| ("retry-after", wait));
    answer(429, &wait.into_iter().chain([JSON]).collect::<Vec<_>>(), body)
}

fn dropbox(status: u16, tags: &[&str]) -> Fault {
    let error = json!({".tag": tags.first()});
    json_answer(status, json!({"error_summary": format!("{}/..", tags.join("/")), "error": error}))
}

/// A refused write: the reason hangs under `reason` for uploads.
fn dropbox_path(reason: &str) -> Fault {
    let error = json!({".tag": "path", "reason": {".tag": reason}, "upload_session_id": "none"});
    json_answer(409, json!({"error_summary": format!("path/{reason}/."), "error": error}))
}

fn json_answer(status: u16, body: Value) -> Fault {
    answer(status, &[JSON], body)
}

fn answer(status: u16, headers: &[(&str, &str)], body: Value) -> Fault {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Fault::Answer(Canned { status, headers: headers.collect::<BTreeMap<_, _>>(), body, after: false })
}

fn after(fault: Fault) -> Fault {
    match fault {
        Fault::Answer(canned) => Fault::Answer(Canned { after: true, ..canned }),
        other => other,
    }
}

fn change(change: Change) -> Fault {
    Fault::Change(Box::new(change))
}
