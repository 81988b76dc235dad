//! Upload sessions over real HTTP: what is on disk at each step, and after a process has died.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use super::{assert_refused, put};
use crate::digest::{BLOCK, ContentHash};
use crate::sandbox::support::{Got, TestWorld};

/// Calls an upload route of the content host.
async fn send(world: &TestWorld, route: &str, argument: Value, bytes: &[u8]) -> Got {
    let url = format!("{}/2/files/{route}", world.ready.dropbox_content);
    let (token, argument) = (format!("Bearer {}", world.ready.dropbox_token), argument.to_string());
    let headers = [
        ("authorization", token.as_str()),
        ("dropbox-api-arg", argument.as_str()),
        ("content-type", "application/octet-stream"),
    ];
    world.plain("POST", &url, &headers, bytes).await
}

async fn start(world: &TestWorld, bytes: &[u8]) -> String {
    let got = send(world, "upload_session/start", json!({}), bytes).await;
    got.json()["session_id"].as_str().unwrap().to_owned()
}

async fn append(world: &TestWorld, session: &str, offset: u64, bytes: &[u8]) -> Got {
    let argument = json!({"cursor": {"session_id": session, "offset": offset}});
    send(world, "upload_session/append_v2", argument, bytes).await
}

async fn finish(world: &TestWorld, session: &str, offset: u64, path: &str) -> Got {
    let cursor = json!({"session_id": session, "offset": offset});
    let argument = json!({"cursor": cursor, "commit": {"path": path}});
    send(world, "upload_session/finish", argument, b"").await
}

/// Makes the store look round: whatever is spent is removed by the next request.
async fn look_round(world: &TestWorld) {
    assert_eq!(world.dropbox("check/user", json!({})).await.status, 200);
}

fn kept(dir: &Path, what: &str) -> BTreeSet<String> {
    let entries = std::fs::read_dir(dir.join("dropbox").join(what)).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn only(name: impl ToString) -> BTreeSet<String> {
    BTreeSet::from([name.to_string()])
}

fn file_of(session: &str) -> String {
    session.split(':').nth(1).unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_session_leaves_its_content_and_nothing_else() {
    let world = TestWorld::start().await;
    let session = start(&world, b"one ").await;
    let got = append(&world, &session, 4, b"two").await;
    assert_eq!(
        (got.status, got.header("content-type"), got.text.as_str()),
        (200, "application/json", "null")
    );
    assert_eq!(kept(world.dir.path(), "sessions"), only(file_of(&session)));
    let made = finish(&world, &session, 7, "/a").await.json();
    assert_eq!(made["content_hash"], json!(ContentHash::of(b"one two")));
    look_round(&world).await;
    assert_eq!(kept(world.dir.path(), "sessions"), BTreeSet::new());
    assert_eq!(kept(world.dir.path(), "objects"), only(ContentHash::of(b"one two")));
    assert_eq!(world.download(json!({"path": "/a"}), &[]).await.text, "one two");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_commit_keeps_the_session_and_no_content() {
    let world = TestWorld::start().await;
    put(&world, "/a", b"there").await;
    let session = start(&world, b"other").await;
    let got = finish(&world, &session, 5, "/a").await;
    let nested = json!({".tag": "path", "path": {".tag": "conflict", "conflict": {".tag": "file"}}});
    assert_refused(&got, "path/conflict/file", &nested);
    let failed = world.upload(json!({"path": "/a"}), b"third").await.json();
    let third = failed["error"]["upload_session_id"].as_str().unwrap().to_owned();
    look_round(&world).await;
    assert_eq!(kept(world.dir.path(), "objects"), only(ContentHash::of(b"there")));
    assert_eq!(kept(world.dir.path(), "sessions"), BTreeSet::from([&session, &third].map(|id| file_of(id))));
    assert_eq!(finish(&world, &session, 5, "/b").await.status, 200);
    assert_eq!(finish(&world, &third, 5, "/c").await.status, 200);
    assert_eq!(world.download(json!({"path": "/c"}), &[]).await.text, "third");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_content_is_kept_once_and_outlives_a_session() {
    let world = TestWorld::start().await;
    put(&world, "/a", b"same").await;
    let session = start(&world, b"same").await;
    assert_eq!(finish(&world, &session, 4, "/a/below").await.status, 409);
    assert_eq!(finish(&world, &session, 4, "/b").await.status, 200);
    look_round(&world).await;
    assert_eq!(kept(world.dir.path(), "objects"), only(ContentHash::of(b"same")));
    assert_eq!(world.download(json!({"path": "/a"}), &[]).await.text, "same");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_process_goes_on_and_removes_what_belongs_to_nothing() {
    let world = TestWorld::start().await;
    put(&world, "/a", b"file").await;
    let session = start(&world, b"half").await;
    let dir = world.end().await;
    // As if the last process had died between keeping bytes and saying so.
    let stray = ContentHash::of(b"stray").to_string();
    std::fs::write(dir.path().join("dropbox/objects").join(&stray), b"stray").unwrap();
    std::fs::write(dir.path().join("dropbox/sessions/stray"), b"stray").unwrap();
    let path = dir.path().join("dropbox/sessions").join(file_of(&session));
    std::fs::write(path, b"half and what nobody was told of").unwrap();

    let world = TestWorld::start_in(dir).await;
    assert_eq!(kept(world.dir.path(), "objects"), only(ContentHash::of(b"file")));
    assert_eq!(kept(world.dir.path(), "sessions"), only(file_of(&session)));
    assert_eq!(append(&world, &session, 4, b" more").await.status, 200);
    let made = finish(&world, &session, 9, "/b").await.json();
    assert_eq!(made["content_hash"], json!(ContentHash::of(b"half more")));
    assert_eq!(world.download(json!({"path": "/b"}), &[]).await.text, "half more");
    assert_eq!(world.download(json!({"path": "/a"}), &[]).await.text, "file");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_world_from_before_upload_sessions_still_opens() {
    let world = TestWorld::start().await;
    let made = put(&world, "/a", b"file").await;
    let dir = world.end().await;
    let path = dir.path().join("state/world.json");
    let mut state: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let store = state["store"].as_object_mut().unwrap();
    for name in ["sessions", "codes", "jobs", "move_lag"] {
        assert!(store.remove(name).is_some(), "{name}");
    }
    let tokens = store["tokens"].as_object_mut().unwrap();
    for name in ["grants", "revoked"] {
        assert!(tokens.remove(name).is_some(), "{name}");
    }
    std::fs::write(&path, state.to_string()).unwrap();
    std::fs::remove_dir_all(dir.path().join("dropbox/sessions")).unwrap();
    let world = TestWorld::start_in(dir).await;
    let found = world.dropbox("files/get_metadata", json!({"path": "/a"})).await.json();
    assert_eq!(found["rev"], made["rev"]);
    assert_eq!(world.refresh(None).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_end_with_their_week_and_with_their_world() {
    let world = TestWorld::start().await;
    let session = start(&world, b"x").await;
    world.admin.jump(7.0 * 86_400.0).await.unwrap();
    assert_refused(&append(&world, &session, 1, b"y").await, "not_found", &json!({".tag": "not_found"}));
    assert_eq!(kept(world.dir.path(), "sessions"), BTreeSet::new());
    let session = start(&world, b"x").await;
    world.admin.reset().await.unwrap();
    assert_eq!(kept(world.dir.path(), "sessions"), BTreeSet::new());
    assert_refused(&append(&world, &session, 1, b"y").await, "not_found", &json!({".tag": "not_found"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_offset_names_the_right_one_beside_its_tag() {
    let world = TestWorld::start().await;
    let session = start(&world, b"1234").await;
    let error = json!({".tag": "incorrect_offset", "correct_offset": 4});
    assert_refused(&append(&world, &session, 3, b"x").await, "incorrect_offset", &error);
    let nested = json!({".tag": "lookup_failed", "lookup_failed": error});
    let got = finish(&world, &session, 3, "/a").await;
    assert_refused(&got, "lookup_failed/incorrect_offset", &nested);
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_that_come_all_at_once_and_again_make_the_file_that_was_sent() {
    let world = TestWorld::start().await;
    let bytes: Vec<u8> = (0..3 * BLOCK + 5).map(|i| (i * 31 % 251) as u8).collect();
    let concurrent = json!({"session_type": "concurrent"});
    let started = send(&world, "upload_session/start", concurrent, b"").await.json();
    let session = started["session_id"].as_str().unwrap();
    // Each part is sent wrong first; both are on their way at once with the others' parts.
    let part = |number: usize| bytes[number * BLOCK..].chunks(BLOCK).next().unwrap();
    let (world, part) = (&world, &part);
    let sent = [0, 1, 2].map(|number| async move {
        let offset = (number * BLOCK) as u64;
        let (wrong, right) = (vec![7; BLOCK], part(number));
        assert_eq!(append(world, session, offset, &wrong).await.status, 200);
        let both = (append(world, session, offset, right), append(world, session, offset, right));
        let both = futures_util::future::join(both.0, both.1).await;
        assert_eq!((both.0.status, both.1.status), (200, 200));
    });
    futures_util::future::join_all(sent).await;
    let cursor = json!({"session_id": session, "offset": 3 * BLOCK});
    let close = json!({"cursor": cursor, "close": true});
    assert_eq!(send(world, "upload_session/append_v2", close, part(3)).await.text, "null");
    let refused = append(world, session, 0, &vec![9; BLOCK]).await;
    assert_refused(&refused, "closed", &json!({".tag": "closed"}));
    let made = finish(world, session, bytes.len() as u64, "/a").await.json();
    assert_eq!(made["content_hash"], json!(ContentHash::of(&bytes)));
    let object = world.dir.path().join("dropbox/objects").join(ContentHash::of(&bytes).to_string());
    assert_eq!(ContentHash::of(&std::fs::read(object).unwrap()), ContentHash::of(&bytes));
}
