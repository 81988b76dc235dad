//! The client against answers as the fact sheet records them.

use std::sync::Mutex;

use secrecy::ExposeSecret as _;

use super::super::http::tests::{Fake, Reply, Seen, say, say_text, with_header};
use super::*;
use crate::plan::Kind;

const RECORD: &str = ".dacapo/lesson3.json";
const REV: &str = "015a1afc851d642000000013f0b5550";

fn client(fake: &Fake, grant: Grant) -> StoreClient {
    let credentials = StoreCredentials {
        refresh: None,
        app_folder: false,
        grant,
        api_url: String::new(),
        content_url: String::new(),
    };
    StoreClient::new(&fake.url, &fake.url, credentials, "/FastAI/lesson3", Clock::scaled(1e6)).unwrap()
}

fn action() -> Action {
    Action::unplanned(Kind::Ready)
}

fn with_token(fake: &Fake) -> StoreClient {
    client(fake, Grant::AccessToken("sl.t0ken".into()))
}

fn with_refresh(fake: &Fake) -> StoreClient {
    client(fake, Grant::Refresh(Refresh { app_key: "key".into(), refresh_token: "r3fresh".into() }))
}

fn metadata(path: &str, bytes: &[u8], rev: &str) -> Value {
    json!({
        ".tag": "file", "name": path.rsplit('/').next(), "id": "id:aaaaaaaaaaaaaaaaaaaaaa",
        "client_modified": "2026-10-01T09:15:00Z", "server_modified": "2026-10-02T09:15:00Z", "rev": rev,
        "size": bytes.len(), "path_lower": path.to_lowercase(), "path_display": path,
        "is_downloadable": true, "content_hash": ContentHash::of(bytes), "a_new_field": {},
    })
}

fn refused(status: u16, error: Value) -> Reply {
    // The summary changes at random and must not matter.
    say(status, &json!({"error_summary": "path/conflict/lies/...", "error": error}))
}

fn not_found() -> Reply {
    refused(409, json!({".tag": "path", "path": {".tag": "not_found"}}))
}

fn conflict() -> Reply {
    let reason = json!({".tag": "conflict", "conflict": {".tag": "file"}});
    refused(409, json!({".tag": "path", "reason": reason, "upload_session_id": "AAAA"}))
}

fn download(path: &str, bytes: &[u8], rev: &str) -> Reply {
    let mut header = metadata(path, bytes, rev);
    header.as_object_mut().unwrap().remove(".tag");
    let reply = Reply::Answer(axum::response::Response::new(bytes.to_vec().into()));
    with_header(reply, "dropbox-api-result", wire::header_json(&header).to_str().unwrap())
}

fn argument(seen: &Seen) -> Value {
    serde_json::from_str(seen.header("dropbox-api-arg")).unwrap()
}

/// An account whose folder holds two files on two pages and the record.
fn account(seen: &Seen) -> Reply {
    match seen.line.as_str() {
        "POST /2/users/get_current_account" => say(200, &json!({"account_id": "dbid:AAAA", "email": "me@x"})),
        "POST /2/files/list_folder" => say(
            200,
            &json!({"cursor": "c1", "has_more": true, "entries": [
                {".tag": "folder", "name": "lesson3", "path_lower": "/fastai/lesson3", "id": "id:x"},
                metadata("/fastai/Lesson3/2026-10-01_export.pkl", b"one", REV),
                metadata("/fastai/lesson3/Ghost.pkl", b"two", REV),
                metadata("/fastai/lesson3/old/below.pkl", b"three", REV),
                {".tag": "file", "name": "x.gdoc", "path_lower": "/fastai/lesson3/x.gdoc",
                 "path_display": "/fastai/lesson3/x.gdoc", "rev": REV, "size": 0,
                 "server_modified": "2026-10-02T09:15:00Z", "is_downloadable": false},
            ]}),
        ),
        "POST /2/files/list_folder/continue" => {
            assert_eq!(seen.json(), json!({"cursor": "c1"}));
            say(
                200,
                &json!({"cursor": "c2", "has_more": false, "entries": [
                    {".tag": "deleted", "name": "Ghost.pkl", "path_lower": "/fastai/lesson3/ghost.pkl"},
                    {".tag": "deleted", "name": "old", "path_lower": "/fastai/lesson3/old"},
                    {".tag": "something_of_2027", "path_lower": "/fastai/lesson3/new"},
                    metadata("/fastai/lesson3/.dacapo/lesson3.json", b"{}", REV),
                ]}),
            )
        }
        "POST /2/files/download" => download("/fastai/lesson3/.dacapo/lesson3.json", b"{}", REV),
        "POST /2/files/get_metadata" => say(200, &metadata("/x", b"{}", REV)),
        other => panic!("unexpected {other}"),
    }
}

#[tokio::test]
async fn one_look_reads_all_pages_and_the_record_without_asking_for_a_token() {
    let fake = Fake::start(|seen, _| account(seen)).await;
    let seen = with_token(&fake).look(RECORD).await.unwrap();
    assert_eq!(fake.seen().len(), 5);
    let files: Vec<&str> = seen.store.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(files, [".dacapo/lesson3.json", "2026-10-01_export.pkl"]);
    assert_eq!(seen.store.files[1].content, ContentHash::of(b"one"));
    assert_eq!(seen.store.id, sha256_hex(b"dbid:AAAA\n/fastai/lesson3")[..16]);
    let RecordRead::Found { bytes, rev, .. } = seen.record else { panic!("{:?}", seen.record) };
    assert_eq!((bytes.as_slice(), rev.as_str()), (&b"{}"[..], REV));
    let list = fake.seen().into_iter().find(|seen| seen.line.ends_with("list_folder")).unwrap();
    assert_eq!(list.json(), json!({"path": "/FastAI/lesson3", "recursive": true, "limit": 2000}));
    let void = fake.seen().into_iter().find(|seen| seen.line.ends_with("account")).unwrap();
    assert_eq!((&void.body[..], void.header("content-type")), (&b"null"[..], "application/json"));
    let get = fake.seen().into_iter().find(|seen| seen.line.ends_with("download")).unwrap();
    assert_eq!((get.body.len(), get.header("content-type")), (0, ""));
}

#[tokio::test]
async fn a_refresh_token_is_exchanged_once_and_again_when_its_token_expires() {
    let fake = Fake::start(|seen, before| match seen.line.as_str() {
        "POST /oauth2/token" => say(
            200,
            &json!({"access_token": format!("sl.{before}"), "token_type": "bearer", "expires_in": 14_400_000_000_000_u64}),
        ),
        _ if seen.header("authorization") == "Bearer sl.0" && seen.line.ends_with("usage") => {
            refused(401, json!({".tag": "expired_access_token"}))
        }
        _ if seen.line.ends_with("usage") => {
            say(200, &json!({"used": 30, "allocation": {".tag": "individual", "allocated": 100}}))
        }
        _ => account(seen),
    })
    .await;
    let client = with_refresh(&fake);
    client.look(RECORD).await.unwrap();
    let login = fake.seen().into_iter().next().unwrap();
    assert_eq!(login.header("content-type"), "application/x-www-form-urlencoded");
    assert_eq!(&login.body[..], b"grant_type=refresh_token&refresh_token=r3fresh&client_id=key");
    assert_eq!(fake.count("POST /oauth2/token"), 1);
    assert_eq!(client.free_space().await.unwrap(), 70);
    assert_eq!(fake.count("POST /oauth2/token"), 2);
}

#[tokio::test]
async fn a_folder_that_does_not_exist_is_empty_and_its_record_never_was() {
    let fake = Fake::start(|seen, _| match seen.line.as_str() {
        "POST /2/users/get_current_account" => account(seen),
        _ => not_found(),
    })
    .await;
    let seen = with_token(&fake).look(RECORD).await.unwrap();
    assert_eq!((seen.store.files.len(), seen.record), (0, RecordRead::Never));
    assert_eq!(fake.seen().len(), 4);
}

#[tokio::test]
async fn a_deleted_record_is_not_one_that_never_was() {
    let fake = Fake::start(|seen, _| match seen.line.as_str() {
        "POST /2/files/get_metadata" => {
            assert_eq!(seen.json()["include_deleted"], true);
            say(200, &json!({".tag": "deleted", "name": "lesson3.json", "path_lower": "/x"}))
        }
        _ => not_found(),
    })
    .await;
    assert_eq!(with_token(&fake).read_record(RECORD).await.unwrap(), RecordRead::Deleted);
}

#[tokio::test]
async fn only_not_found_is_absence() {
    for tag in ["restricted_content", "locked", "something_of_2027"] {
        let fake =
            Fake::start(move |_, _| refused(409, json!({".tag": "path", "path": {".tag": tag}}))).await;
        let client = with_token(&fake);
        let error = client.read_record(RECORD).await.unwrap_err();
        assert!(error.to_string().contains(&format!("`path/{tag}`")), "{error}");
        client.metadata("x").await.unwrap_err();
        client.read("x").await.unwrap_err();
        client.look(RECORD).await.unwrap_err();
    }
    let fake = Fake::start(|_, _| say_text(404, "<html>not found</html>")).await;
    with_token(&fake).read("x").await.unwrap_err();
}

#[tokio::test]
async fn bytes_that_are_not_the_stored_ones_are_read_again() {
    let fake = Fake::start(|_, before| match before {
        0 => with_header(
            download("/x", b"other", REV),
            "dropbox-api-result",
            wire::header_json(&metadata("/x", b"{}", REV)).to_str().unwrap(),
        ),
        _ => download("/x", b"{}", REV),
    })
    .await;
    assert_eq!(with_token(&fake).read("x").await.unwrap().unwrap(), b"{}");
    assert_eq!(fake.seen().len(), 2);
}

#[tokio::test]
async fn a_listing_that_lost_its_place_is_begun_again() {
    let fake = Fake::start(|seen, before| match (seen.line.as_str(), before) {
        ("POST /2/files/list_folder/continue", 0) => refused(409, json!({".tag": "reset"})),
        _ => account(seen),
    })
    .await;
    assert_eq!(with_token(&fake).look(RECORD).await.unwrap().store.files.len(), 2);
    assert_eq!(fake.count("POST /2/files/list_folder/continue"), 2);
}

#[test]
fn arguments_fit_into_headers() {
    let safe = wire::header_json(&json!({"field": "some_üñîcødé_and_\u{7f}"}));
    assert_eq!(safe, r#"{"field":"some_\u00fc\u00f1\u00eec\u00f8d\u00e9_and_\u007f"}"#);
    let safe = wire::header_json(&json!({"path": "/Art/exp ü😀\u{7f}\n.pkl"}));
    assert_eq!(safe, r#"{"path":"/Art/exp \u00fc\ud83d\ude00\u007f\n.pkl"}"#);
}

/// A store with one file, which takes writes as Dropbox does; `answer` may turn an answer into another.
async fn one_file(
    content: Option<(&'static [u8], &'static str)>,
    answer: impl Fn(Reply, usize, &Mutex<Option<(Vec<u8>, String)>>) -> Reply + Send + Sync + 'static,
) -> Fake {
    let file = Mutex::new(content.map(|(bytes, rev)| (bytes.to_vec(), rev.to_owned())));
    Fake::start(move |seen, before| {
        let held = file.lock().unwrap().clone();
        match (seen.line.as_str(), held) {
            ("POST /2/files/upload", held) => {
                let mode = &argument(seen)["mode"];
                let fits = match mode[".tag"].as_str().unwrap() {
                    "update" => held.is_some_and(|(_, rev)| mode["update"] == rev.as_str()),
                    _ => held.is_none(),
                };
                let reply = if fits {
                    let rev = format!("0000000{before:02}");
                    *file.lock().unwrap() = Some((seen.body.to_vec(), rev.clone()));
                    say(200, &metadata("/x", &seen.body, &rev))
                } else {
                    conflict()
                };
                answer(reply, before, &file)
            }
            ("POST /2/files/download", Some((bytes, rev))) => download("/x", &bytes, &rev),
            ("POST /2/files/get_metadata", Some((bytes, rev))) => say(200, &metadata("/x", &bytes, &rev)),
            _ => not_found(),
        }
    })
    .await
}

#[tokio::test]
async fn a_record_is_written_over_nothing_or_over_the_revision_it_was_read_at() {
    let fake = one_file(None, |reply, _, _| reply).await;
    let client = with_token(&fake);
    let Written::Done { rev, .. } = client.write_record(RECORD, b"one", None).await.unwrap() else {
        panic!()
    };
    assert_eq!(
        argument(&fake.seen()[0]),
        json!({
            "path": "/FastAI/lesson3/.dacapo/lesson3.json", "mode": {".tag": "add"}, "autorename": false,
            "mute": true, "strict_conflict": true, "content_hash": ContentHash::of(b"one"),
        })
    );
    assert_eq!(fake.seen()[0].header("content-type"), "application/octet-stream");
    assert_eq!(client.write_record(RECORD, b"two", None).await.unwrap(), Written::Conflict);
    assert!(matches!(client.write_record(RECORD, b"two", Some(&rev)).await.unwrap(), Written::Done { .. }));
    assert_eq!(client.write_record(RECORD, b"three", Some(&rev)).await.unwrap(), Written::Conflict);
    assert_eq!(fake.count("POST /2/files/upload"), 4, "a clear answer needs no second try");
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_recognised_by_its_bytes() {
    let fake = one_file(None, |_, _, _| say_text(503, "")).await;
    let written = with_token(&fake).write_record(RECORD, b"mine", None).await.unwrap();
    assert!(matches!(written, Written::Done { ref rev, .. } if rev == "000000000"), "{written:?}");
    assert_eq!(fake.count("POST /2/files/upload"), 1);
}

#[tokio::test]
async fn a_write_that_did_not_happen_is_made_again_over_the_same_revision() {
    let fake = one_file(Some((b"base", REV)), |reply, before, file| match before {
        0 => {
            *file.lock().unwrap() = Some((b"base".to_vec(), REV.into()));
            say_text(500, "")
        }
        1 => with_header(refused(429, json!({"reason": {".tag": "too_many_write_operations"}})), "x", "y"),
        _ => reply,
    });
    // The second answer refuses after the fake took the bytes: the third try meets our own write.
    let fake = fake.await;
    let written = with_token(&fake).write_record(RECORD, b"mine", Some(REV)).await.unwrap();
    assert!(matches!(written, Written::Done { .. }), "{written:?}");
    assert_eq!(fake.count("POST /2/files/upload"), 3);
}

#[tokio::test]
async fn a_write_overtaken_by_another_is_a_conflict_even_when_its_answer_was_lost() {
    let fake = one_file(Some((b"base", REV)), |_, _, file| {
        *file.lock().unwrap() = Some((b"theirs".to_vec(), "0000000ff".into()));
        say_text(500, "")
    })
    .await;
    let written = with_token(&fake).write_record(RECORD, b"mine", Some(REV)).await.unwrap();
    assert_eq!((written, fake.count("POST /2/files/upload")), (Written::Conflict, 1));
}

#[tokio::test]
async fn too_many_writes_are_waited_out_wherever_the_tag_stands() {
    let busy = |before| match before {
        0 => refused(409, json!({".tag": "path", "reason": {".tag": "too_many_write_operations"}})),
        1 => refused(429, json!({"reason": {".tag": "too_many_requests"}, "retry_after": 15})),
        2 => say_text(429, "too many"),
        _ => say(200, &metadata("/FastAI/lesson3/m.json", b"{}", REV)),
    };
    let fake = Fake::start(move |_, before| busy(before)).await;
    assert_eq!(with_token(&fake).put(&action(), "m.json", b"{}").await.unwrap().path, "m.json");
    assert_eq!(fake.seen().len(), 4);
}

#[tokio::test]
async fn putting_other_bytes_under_a_taken_name_is_a_conflict() {
    let fake = Fake::start(|_, _| conflict()).await;
    let error = with_token(&fake).put(&action(), "m.json", b"{}").await.unwrap_err();
    assert_eq!((error.kind, fake.seen().len()), (ExitCode::Stale, 1));
    assert_eq!(argument(&fake.seen()[0])["strict_conflict"], false);
}

#[tokio::test]
async fn links_are_secrets_bound_to_one_revision_or_one_path() {
    let file = facts::StoredFile {
        path: "a.pkl".into(),
        rev: REV.into(),
        size: 3,
        content: ContentHash::of(b"one"),
        modified: Timestamp::UNIX_EPOCH,
    };
    let fake = Fake::start(|seen, before| match (seen.line.as_str(), before) {
        ("POST /2/files/get_temporary_link", 0) => {
            say(200, &json!({"metadata": metadata("/a", b"one", REV), "link": "https://dl/s3cr3t"}))
        }
        ("POST /2/files/get_temporary_link", 1) => {
            say(200, &json!({"metadata": metadata("/a", b"two", REV), "link": "https://dl/s3cr3t"}))
        }
        ("POST /2/files/get_temporary_link", _) => say(200, &json!({"lonk": "https://dl/s3cr3t"})),
        _ => say(200, &json!({"link": "https://up/s3cr3t"})),
    })
    .await;
    let client = with_token(&fake);
    let link = client.download_link(&file).await.unwrap();
    assert_eq!(link.value.expose_secret(), "https://dl/s3cr3t");
    assert_eq!(fake.seen()[0].json(), json!({"path": format!("rev:{REV}")}));
    client.download_link(&file).await.expect_err("another file's link");
    let error = client.download_link(&file).await.unwrap_err();
    let up = client.upload_link(&action(), "b.pkl").await.unwrap();
    assert_eq!(up.value.expose_secret(), "https://up/s3cr3t");
    assert_eq!(
        fake.seen().pop().unwrap().json(),
        json!({
            "commit_info": {"path": "/FastAI/lesson3/b.pkl", "mode": {".tag": "add"}, "autorename": false,
                            "mute": true},
            "duration": 14400,
        })
    );
    assert!(!format!("{link:?} {up:?} {error:?}").contains("s3cr3t"));
}

#[tokio::test]
async fn a_missing_scope_is_named() {
    let fake = Fake::start(|seen, _| {
        if seen.line.ends_with("account") {
            refused(401, json!({".tag": "missing_scope", "required_scope": "account_info.read"}))
        } else {
            say_text(
                400,
                "Error in call to API function \"files/x\": Your app (ID: 1) is not permitted to access this endpoint \
                 because it does not have the required scope 'files.metadata.read'.",
            )
        }
    })
    .await;
    let client = with_token(&fake);
    let error = client.identity().await.unwrap_err();
    assert_eq!(error.kind, ExitCode::Credentials);
    assert!(error.to_string().contains("the scope `account_info.read` is missing"), "{error}");
    let error = client.metadata("x").await.unwrap_err();
    assert_eq!(error.kind, ExitCode::Credentials);
    assert!(error.to_string().contains("files.metadata.read"), "{error}");
}

#[tokio::test]
async fn a_revoked_refresh_token_is_a_matter_of_credentials() {
    let fake = Fake::start(|_, _| {
        let why = "refresh token is invalid or revoked: r3fresh";
        say(400, &json!({"error": "invalid_grant", "error_description": why}))
    })
    .await;
    let client = with_refresh(&fake);
    let error = client.look(RECORD).await.unwrap_err();
    assert_eq!((error.kind, fake.seen().len()), (ExitCode::Credentials, 1));
    assert!(error.to_string().contains("`invalid_grant`"), "{error}");
    assert!(!format!("{error:?} {client:?}").contains("r3fresh"));
}

#[tokio::test]
async fn a_teams_space_is_the_smaller_of_its_two_limits() {
    let fake = Fake::start(|_, before| match before {
        0 => say(
            200,
            &json!({"used": 10, "allocation": {".tag": "team", "used": 400, "allocated": 1000,
                    "user_within_team_space_allocated": 50, "user_within_team_space_limit_type": {".tag": "off"}}}),
        ),
        _ => say(200, &json!({"used": 10, "allocation": {".tag": "of_2027"}})),
    })
    .await;
    let client = with_token(&fake);
    assert_eq!(client.free_space().await.unwrap(), 40);
    client.free_space().await.unwrap_err();
}

#[test]
fn folders_and_paths_stay_where_they_belong() {
    assert_eq!(folder("/fastai/lesson3/").unwrap(), "/fastai/lesson3");
    assert_eq!(folder("/").unwrap(), "");
    for bad in ["fastai", "/a/../b", "/a//b", "/a "] {
        folder(bad).expect_err(bad);
    }
    let credentials = StoreCredentials {
        refresh: None,
        app_folder: false,
        grant: Grant::AccessToken("sl.t0ken".into()),
        api_url: String::new(),
        content_url: String::new(),
    };
    let (api, clock) = ("http://127.0.0.1:9", Clock::real());
    let client = StoreClient::new(api, api, credentials, "/", clock).unwrap();
    assert_eq!(client.full(RECORD).unwrap(), "/.dacapo/lesson3.json");
    for bad in ["", "/x", "a/../b", "a/", "a ", "a\\b"] {
        client.full(bad).expect_err(bad);
    }
    assert!(!format!("{client:?}").contains("t0ken"));
}

#[test]
fn names_are_folded_one_character_for_one() {
    assert_eq!(facts::folded("/ÄÖ/İx/ẞ"), "/äö/İx/ß");
}

#[tokio::test]
async fn a_look_and_a_write_can_be_had_on_another_thread() {
    let fake = one_file(None, |reply, _, _| reply).await;
    let client = with_token(&fake);
    tokio::spawn(async move { client.write_record(RECORD, b"one", None).await.map(drop) })
        .await
        .unwrap()
        .unwrap();
    let fake = Fake::start(|seen, _| account(seen)).await;
    let client = with_token(&fake);
    tokio::spawn(async move { client.look(RECORD).await.map(drop) }).await.unwrap().unwrap();
}

/// Answers a deletion like this, and asks for what is there afterwards like that.
async fn deleting(deletion: fn(usize) -> Reply, there: fn() -> Reply) -> (Fake, Result<()>) {
    let fake = Fake::start(move |seen, before| match seen.line.as_str() {
        "POST /2/files/delete_v2" => deletion(before),
        "POST /2/files/get_metadata" => there(),
        other => panic!("unexpected {other}"),
    })
    .await;
    let modified = Timestamp::UNIX_EPOCH;
    let file = facts::StoredFile {
        path: "2026-10-01_Export.pkl".to_owned(),
        rev: REV.to_owned(),
        size: 3,
        content: ContentHash::of(b"one"),
        modified,
    };
    let done = with_token(&fake).delete(&action(), &file).await;
    (fake, done)
}

#[tokio::test]
async fn a_file_is_deleted_as_it_was_listed_and_asked_for_afterwards() {
    let (fake, done) = deleting(|_| say(200, &json!({"metadata": {}})), not_found).await;
    done.unwrap();
    let asked = fake.seen().into_iter().find(|seen| seen.line.ends_with("delete_v2")).unwrap();
    assert_eq!(asked.json(), json!({"path": "/FastAI/lesson3/2026-10-01_Export.pkl", "parent_rev": REV}));
    let (_, done) = deleting(
        |_| say(200, &json!({"metadata": {}})),
        || say(200, &metadata("/fastai/lesson3/2026-10-01_Export.pkl", b"one", REV)),
    )
    .await;
    assert!(done.unwrap_err().to_string().contains("still has it"));
}

#[tokio::test]
async fn what_is_gone_already_is_gone_and_a_lost_answer_is_asked_for_again() {
    fn gone() -> Reply {
        refused(409, json!({".tag": "path_lookup", "path_lookup": {".tag": "not_found"}}))
    }
    let (fake, done) =
        deleting(|before| if before == 0 { say_text(503, "down") } else { gone() }, not_found).await;
    done.unwrap();
    assert_eq!(fake.count("POST /2/files/delete_v2"), 2);
}

#[tokio::test]
async fn another_revision_is_not_deleted() {
    fn another() -> Reply {
        let conflict = json!({".tag": "conflict", "conflict": {".tag": "file"}});
        refused(409, json!({".tag": "path_write", "path_write": conflict}))
    }
    let (fake, done) = deleting(|_| another(), not_found).await;
    assert_eq!(done.unwrap_err().kind, ExitCode::Stale);
    assert_eq!(fake.count("POST /2/files/get_metadata"), 0);
}
