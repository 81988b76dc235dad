//! Dropbox's rules, asked over real HTTP.

mod logins;
mod uploads;

use serde_json::{Value, json};

use super::argument::Fields;
use super::problem::Problem;
use super::reading::header_safe;
use crate::digest::ContentHash;
use crate::sandbox::support::{Got, TestWorld};

const HASH_OF_NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// Asserts a 409 with this error and the summary that goes with it, whatever number of dots it has.
fn assert_refused(got: &Got, summary: &str, error: &Value) {
    assert_eq!((got.status, got.header("content-type")), (409, "application/json"), "{}", got.text);
    let body = got.json();
    let dots = body["error_summary"].as_str().unwrap().strip_prefix(summary).unwrap_or("no").to_owned();
    assert!(dots.len() <= 4 && dots.starts_with('/') && dots[1..].chars().all(|dot| dot == '.'), "{body}");
    assert_eq!(body["error"], *error);
}

async fn put(world: &TestWorld, path: &str, bytes: &[u8]) -> Value {
    let got = world.upload(json!({"path": path}), bytes).await;
    assert_eq!((got.status, got.header("content-type")), (200, "application/json"), "{}", got.text);
    got.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn names_ignore_case_and_keep_it() {
    let world = TestWorld::start().await;
    let made = put(&world, "/FastAI/Lesson3/Export.pkl", b"model").await;
    assert_eq!(made["path_lower"], "/fastai/lesson3/export.pkl");
    assert!(made.get(".tag").is_none(), "an upload answers with a bare FileMetadata");
    assert_eq!(made["rev"].as_str().unwrap().len(), 31);
    assert_eq!(made["server_modified"], "2026-11-23T10:00:00Z");
    let found =
        world.dropbox("files/get_metadata", json!({"path": "/fastai/LESSON3/export.PKL"})).await.json();
    assert_eq!(
        (&found[".tag"], &found["path_display"]),
        (&json!("file"), &json!("/FastAI/Lesson3/Export.pkl"))
    );
    let second = put(&world, "/fastai/lesson3/other.pkl", b"x").await;
    assert_eq!(second["path_display"], "/FastAI/Lesson3/other.pkl");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_write_modes_keep_what_others_wrote() {
    let world = TestWorld::start().await;
    let first = put(&world, "/a", b"one").await;
    assert_eq!(put(&world, "/A", b"one").await["rev"], first["rev"], "the same content again is nothing new");
    let strict = json!({"path": "/a", "mode": "add", "strict_conflict": true});
    let error = |tags: Value, got: &Got| {
        let session = got.json()["error"]["upload_session_id"].clone();
        json!({".tag": "path", "reason": tags, "upload_session_id": session})
    };
    let conflict = json!({".tag": "conflict", "conflict": {".tag": "file"}});
    for (argument, bytes) in [(json!({"path": "/a"}), &b"two"[..]), (strict, b"one")] {
        let got = world.upload(argument, bytes).await;
        assert_refused(&got, "path/conflict/file", &error(conflict.clone(), &got));
    }
    let swap = |rev: &Value| json!({"path": "/a", "mode": {".tag": "update", "update": rev}, "strict_conflict": true, "autorename": false});
    let second = world.upload(swap(&first["rev"]), b"two").await.json();
    assert_eq!(second["id"], first["id"]);
    let late = world.upload(swap(&first["rev"]), b"three").await;
    assert_refused(&late, "path/conflict/file", &error(conflict.clone(), &late));
    world.dropbox("files/delete_v2", json!({"path": "/a"})).await;
    let gone = world.upload(swap(&second["rev"]), b"three").await;
    assert_refused(&gone, "path/conflict/file", &error(conflict, &gone));
    let renamed = world.upload(json!({"path": "/b.txt", "autorename": true}), b"1").await.json();
    let beside = world.upload(json!({"path": "/b.txt", "autorename": true}), b"2").await.json();
    assert_eq!((&renamed["name"], &beside["name"]), (&json!("b.txt"), &json!("b (2).txt")));
    let got = world.upload(json!({"path": "/b.txt/c"}), b"2").await;
    assert_refused(
        &got,
        "path/conflict/file_ancestor",
        &error(json!({".tag": "conflict", "conflict": {".tag": "file_ancestor"}}), &got),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_that_do_not_fit_are_refused_in_plain_text() {
    let world = TestWorld::start().await;
    let refused = async |route: &str, body: Value, text: &str| {
        let got = world.dropbox(route, body).await;
        assert_eq!(
            (got.status, got.header("content-type")),
            (400, "text/plain; charset=utf-8"),
            "{}",
            got.text
        );
        assert!(
            got.text.starts_with(&format!("Error in call to API function \"{route}\": request body: {text}")),
            "{}",
            got.text
        );
    };
    refused("files/get_metadata", json!({"path": "a"}), "path: 'a' did not match pattern '").await;
    refused("files/get_metadata", json!({"path": "/"}), "path: The root folder is unsupported.").await;
    refused("files/get_metadata", json!({"path": "/a", "deep": true}), "unknown field 'deep'").await;
    refused("files/get_metadata", json!({}), "missing required field 'path'").await;
    let root = "path: Specify the root folder as an empty string rather than as \"/\".";
    refused("files/list_folder", json!({"path": "/"}), root).await;
    refused("files/get_temporary_link", json!({"path": "rev:12"}), "path: 'rev:12' did not match").await;
    let info = json!({"commit_info": {"path": "/x", "when": 1}});
    refused("files/get_temporary_upload_link", info, "commit_info: unknown field 'when'").await;
    let got = world.upload(json!({"path": "x"}), b"").await;
    assert!(
        got.text.contains("HTTP header \"Dropbox-API-Arg\": path: 'x' did not match pattern"),
        "{}",
        got.text
    );
    let got = world.upload(json!({"path": "/x", "content_hash": HASH_OF_NOTHING}), b"1").await;
    assert_refused(&got, "content_hash_mismatch", &json!({".tag": "content_hash_mismatch"}));
    let url = format!("{}/2/files/get_metadata", world.ready.dropbox_api);
    let token = format!("Bearer {}", world.ready.dropbox_token);
    let headers = [("authorization", token.as_str()), ("content-type", "text/html")];
    assert_eq!(world.plain("POST", &url, &headers, b"{}").await.status, 400);
    let fraction = Fields::parse("x", br#"{"t": "2026-11-23T10:00:00.5Z"}"#).unwrap().time("t");
    assert!(matches!(fraction, Err(Problem::BadCall(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_files_are_hidden_and_their_revisions_stay() {
    let world = TestWorld::start().await;
    let file = put(&world, "/d/model.pkl", b"one").await;
    world.dropbox("files/delete_v2", json!({"path": "/d/model.pkl"})).await;
    let got = world.dropbox("files/get_metadata", json!({"path": "/d/model.pkl"})).await;
    assert_refused(&got, "path/not_found", &json!({".tag": "path", "path": {".tag": "not_found"}}));
    let ask = json!({"path": "/d/model.pkl", "include_deleted": true});
    assert_eq!(world.dropbox("files/get_metadata", ask).await.json()[".tag"], "deleted");
    let pinned = format!("rev:{}", file["rev"].as_str().unwrap());
    assert_eq!(world.download(json!({"path": pinned}), &[]).await.text, "one");
    let revisions = world.dropbox("files/list_revisions", json!({"path": "/d/model.pkl"})).await.json();
    assert_eq!((&revisions["is_deleted"], &revisions["entries"][0]["rev"]), (&json!(true), &file["rev"]));
    let restored = world.dropbox("files/restore", json!({"path": "/d/model.pkl", "rev": file["rev"]})).await;
    assert_eq!(restored.json()["content_hash"], file["content_hash"]);
    assert_eq!(world.download(json!({"path": "/d/model.pkl"}), &[]).await.text, "one");
    let again = put(&world, "/d/new", b"x").await;
    let stale = json!({"path": "/d/new", "parent_rev": file["rev"]});
    let got = world.dropbox("files/delete_v2", stale).await;
    let nested =
        json!({".tag": "path_write", "path_write": {".tag": "conflict", "conflict": {".tag": "file"}}});
    assert_refused(&got, "path_write/conflict/file", &nested);
    let right = json!({"path": "/d/new", "parent_rev": again["rev"]});
    assert_eq!(world.dropbox("files/delete_v2", right).await.json()["metadata"][".tag"], "file");
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_come_in_pages_and_then_tell_only_what_changed() {
    let world = TestWorld::start().await;
    for name in ["/s/a", "/s/b", "/s/deep/c"] {
        put(&world, name, name.as_bytes()).await;
    }
    let names = |page: &Value| -> Vec<String> {
        let entries = page["entries"].as_array().unwrap().iter();
        entries
            .map(|entry| {
                format!("{}:{}", entry[".tag"].as_str().unwrap(), entry["path_lower"].as_str().unwrap())
            })
            .collect()
    };
    let flat = world.dropbox("files/list_folder", json!({"path": "/S"})).await.json();
    assert_eq!(names(&flat), ["file:/s/a", "file:/s/b", "folder:/s/deep"]);
    let mut page =
        world.dropbox("files/list_folder", json!({"path": "/s", "recursive": true, "limit": 2})).await.json();
    let mut all = names(&page);
    while page["has_more"] == true {
        page = world.dropbox("files/list_folder/continue", json!({"cursor": page["cursor"]})).await.json();
        all.extend(names(&page));
    }
    assert_eq!(all, ["folder:/s", "file:/s/a", "file:/s/b", "folder:/s/deep", "file:/s/deep/c"]);
    world.dropbox("files/move_v2", json!({"from_path": "/s/a", "to_path": "/s/z"})).await;
    let news = world.dropbox("files/list_folder/continue", json!({"cursor": page["cursor"]})).await.json();
    assert_eq!(names(&news), ["file:/s/z", "deleted:/s/a"]);
    let got = world.dropbox("files/list_folder", json!({"path": "/nowhere"})).await;
    assert_refused(&got, "path/not_found", &json!({".tag": "path", "path": {".tag": "not_found"}}));
    world.admin.reset().await.unwrap();
    let got = world.dropbox("files/list_folder/continue", json!({"cursor": page["cursor"]})).await;
    assert_refused(&got, "reset", &json!({".tag": "reset"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn moves_keep_the_id_copies_do_not_and_nothing_is_overwritten() {
    let world = TestWorld::start().await;
    let (one, other) = (put(&world, "/one", b"1").await, put(&world, "/x/other", b"2").await);
    let relocate = async |route: &str, from: &str, to: &str| {
        world.dropbox(route, json!({"from_path": from, "to_path": to})).await
    };
    let got = relocate("files/move_v2", "/one", "/x/other").await;
    let nested = json!({".tag": "to", "to": {".tag": "conflict", "conflict": {".tag": "file"}}});
    assert_refused(&got, "to/conflict/file", &nested);
    let moved = relocate("files/move_v2", "/one", "/y/one").await.json();
    assert_eq!(moved["metadata"]["id"], one["id"]);
    let copied = relocate("files/copy_v2", "/x", "/z").await.json();
    assert_eq!(copied["metadata"][".tag"], "folder");
    let copy = world.dropbox("files/get_metadata", json!({"path": "/z/other"})).await.json();
    assert_eq!(copy["content_hash"], other["content_hash"]);
    assert_ne!(copy["id"], other["id"]);
    assert_eq!(relocate("files/move_v2", "/x", "/x/y").await.status, 409);
    let made = world.dropbox("files/create_folder_v2", json!({"path": "/x"})).await;
    let nested = json!({".tag": "path", "path": {".tag": "conflict", "conflict": {".tag": "folder"}}});
    assert_refused(&made, "path/conflict/folder", &nested);
}

#[tokio::test(flavor = "multi_thread")]
async fn downloads_give_parts_and_describe_the_whole() {
    let world = TestWorld::start().await;
    let file = put(&world, "/f", b"0123456789").await;
    for (range, part, told) in [
        ("bytes=2-4", "234", "bytes 2-4/10"),
        ("bytes=7-", "789", "bytes 7-9/10"),
        ("bytes=-3", "789", "bytes 7-9/10"),
    ] {
        let got = world.download(json!({"path": "/f"}), &[("range", range)]).await;
        assert_eq!((got.status, got.text.as_str(), got.header("content-range")), (206, part, told));
        let described: Value = serde_json::from_str(got.header("dropbox-api-result")).unwrap();
        assert_eq!(described, file);
    }
    let got = world.download(json!({"path": "/f"}), &[("range", "bytes=10-")]).await;
    assert_refused(
        &got,
        "range/not_satisfiable",
        &json!({".tag": "range", "range": {".tag": "not_satisfiable"}}),
    );
    let argument = "arg=%7B%22path%22%3A%22%2Ff%22%7D";
    let url = format!("{}/2/files/download?{argument}", world.ready.dropbox_content);
    let token = format!("Bearer {}", world.ready.dropbox_token);
    assert_eq!(world.plain("GET", &url, &[("authorization", &token)], b"").await.text, "0123456789");
}

#[tokio::test(flavor = "multi_thread")]
async fn temporary_links_need_no_token_and_end() {
    let world = TestWorld::start().await;
    let file = put(&world, "/m", b"model").await;
    let pinned = json!({"path": format!("rev:{}", file["rev"].as_str().unwrap())});
    let link = world.dropbox("files/get_temporary_link", pinned).await.json();
    assert_eq!(link["metadata"]["content_hash"], file["content_hash"]);
    let link = link["link"].as_str().unwrap();
    world.upload(json!({"path": "/m", "mode": "overwrite"}), b"newer").await;
    assert_eq!(world.plain("GET", link, &[], b"").await.text, "model", "the link is pinned to its revision");
    let part = world.plain("GET", link, &[("range", "bytes=1-2")], b"").await;
    assert_eq!((part.status, part.text.as_str()), (206, "od"));
    world.admin.jump(14_401.0).await.unwrap();
    assert_eq!(world.plain("GET", link, &[], b"").await.status, 410);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_link_works_once() {
    let world = TestWorld::start().await;
    let mint = async |path: &str, duration: u32| {
        let body = json!({"commit_info": {"path": path, "mode": "add", "mute": true}, "duration": duration});
        world.dropbox("files/get_temporary_upload_link", body).await.json()["link"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let raw = [("content-type", "application/octet-stream")];
    let link = mint("/up", 14_400).await;
    assert_eq!(world.plain("POST", &link, &[("content-type", "text/plain")], b"model").await.status, 400);
    let got = world.plain("POST", &link, &raw, b"model").await;
    assert_eq!((got.status, got.json()), (200, json!({"content-hash": ContentHash::of(b"model")})));
    assert_eq!(world.plain("POST", &link, &raw, b"model").await.status, 410);
    assert_eq!(world.plain("POST", &mint("/up", 60).await, &raw, b"other").await.status, 409, "add refuses");
    assert_eq!(world.plain("POST", &format!("{link}x"), &raw, b"other").await.status, 409);
    let late = mint("/later", 60).await;
    world.admin.jump(61.0).await.unwrap();
    assert_eq!(world.plain("POST", &late, &raw, b"x").await.status, 410);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_narrow_token_does_only_what_it_is_for_and_ends_on_the_clock() {
    let world = TestWorld::start().await;
    let reply = world.refresh(Some("files.content.write")).await.json();
    assert_eq!(reply["expires_in"], 14_400);
    assert!(reply.get("refresh_token").is_none());
    let narrow = reply["access_token"].as_str().unwrap();
    let look = async |token: &str| world.dropbox_as(token, "files/get_metadata", json!({"path": "/x"})).await;
    let refused = look(narrow).await;
    assert_eq!(refused.status, 401);
    assert_eq!(
        refused.json()["error"],
        json!({".tag": "missing_scope", "required_scope": "files.metadata.read"})
    );
    assert_eq!(refused.header("www-authenticate"), "Bearer realm=\"Dropbox-API\"");
    let folder = world.dropbox_as(narrow, "files/create_folder_v2", json!({"path": "/x"})).await;
    assert_eq!(folder.status, 200);
    let wide = world.refresh(None).await.json()["access_token"].as_str().unwrap().to_owned();
    assert_eq!(look(&wide).await.status, 200);
    world.admin.jump(14_401.0).await.unwrap();
    assert_eq!(look(&wide).await.json()["error"][".tag"], "expired_access_token");
    assert_eq!(look(&format!("{wide}x")).await.json()["error"][".tag"], "invalid_access_token");
    assert_eq!(look("no token").await.status, 400);
    assert_eq!(look(&world.ready.dropbox_token).await.status, 200);
    assert_eq!(world.refresh(Some("sharing.write")).await.json()["error"], "invalid_scope");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_account_answers_and_a_full_one_refuses() {
    let world = TestWorld::start().await;
    let url = format!("{}/2/users/get_current_account", world.ready.dropbox_api);
    let token = format!("Bearer {}", world.ready.dropbox_token);
    let empty = world.plain("POST", &url, &[("authorization", &token)], b"").await.json();
    let null = world.dropbox("users/get_current_account", Value::Null).await.json();
    assert_eq!(empty, null);
    assert_eq!(null["account_id"].as_str().unwrap().len(), 40);
    world.admin.set(&json!({"dropbox": {"allocated": 4}})).await.unwrap();
    let got = world.upload(json!({"path": "/big"}), b"12345").await;
    assert!(
        got.json()["error_summary"].as_str().unwrap().starts_with("path/insufficient_space/"),
        "{}",
        got.text
    );
    let usage = world.dropbox("users/get_space_usage", Value::Null).await.json();
    assert_eq!(usage, json!({"used": 0, "allocation": {".tag": "individual", "allocated": 4}}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seeded_file_carries_its_own_date() {
    let world = TestWorld::start().await;
    let path = "/fastai/lesson3/2026-11-20_export.pkl.gz";
    let modified = "2026-11-20T09:30:00Z".parse().unwrap();
    world.admin.seed_store(path, b"packed", modified).await.unwrap();
    let found = world.dropbox("files/get_metadata", json!({"path": path})).await.json();
    assert_eq!((&found["server_modified"], &found["size"]), (&json!("2026-11-20T09:30:00Z"), &json!(6)));
}

#[test]
fn the_published_vector_of_header_safe_json_holds() {
    let value = json!({"field": "some_üñîcødé_and_\u{7f}"});
    assert_eq!(header_safe(&value), r#"{"field":"some_\u00fc\u00f1\u00eec\u00f8d\u00e9_and_\u007f"}"#);
    assert_eq!(header_safe(&json!("😀")), r#""\ud83d\ude00""#);
}
