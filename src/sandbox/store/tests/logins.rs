//! The code flow and revocation over real HTTP.

use serde_json::{Value, json};

use crate::sandbox::support::{Got, TestWorld};

/// The example of RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

async fn agree(world: &TestWorld) -> String {
    let url = format!(
        "{}/oauth2/authorize?response_type=code&client_id={}&token_access_type=offline\
         &code_challenge={CHALLENGE}&code_challenge_method=S256&scope=files.content.write",
        world.ready.dropbox_api, world.ready.dropbox_app_key
    );
    let got = world.plain("GET", &url, &[], b"").await;
    assert_eq!((got.status, got.header("content-type")), (200, "text/plain; charset=utf-8"), "{}", got.text);
    got.text
}

async fn token(world: &TestWorld, fields: &str) -> Got {
    let url = format!("{}/oauth2/token", world.ready.dropbox_api);
    let body = format!("{fields}&client_id={}", world.ready.dropbox_app_key);
    let kind = [("content-type", "application/x-www-form-urlencoded")];
    world.plain("POST", &url, &kind, body.as_bytes()).await
}

async fn exchange(world: &TestWorld, code: &str, verifier: &str) -> Got {
    token(world, &format!("grant_type=authorization_code&code={code}&code_verifier={verifier}")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_becomes_a_grant_for_whoever_has_the_verifier() {
    let world = TestWorld::start().await;
    let refused = exchange(&world, &agree(&world).await, &VERIFIER.replace('d', "D")).await;
    assert_eq!((refused.status, &refused.json()["error"]), (400, &json!("invalid_grant")));
    let code = agree(&world).await;
    let reply = exchange(&world, &code, VERIFIER).await.json();
    assert_eq!(
        (&reply["scope"], &reply["expires_in"], &reply["token_type"]),
        (&json!("files.content.write"), &json!(14_400), &json!("bearer"))
    );
    assert_eq!(exchange(&world, &code, VERIFIER).await.status, 400, "a code is good once");
    let grant = reply["refresh_token"].as_str().unwrap();
    let wider = format!("grant_type=refresh_token&refresh_token={grant}&scope=files.content.read");
    assert_eq!(token(&world, &wider).await.json()["error"], "invalid_scope");
    let refreshed = token(&world, &format!("grant_type=refresh_token&refresh_token={grant}")).await.json();
    let narrow = refreshed["access_token"].as_str().unwrap();
    let look = world.dropbox_as(narrow, "files/get_metadata", json!({"path": "/a"})).await;
    assert_eq!(look.json()["error"]["required_scope"], "files.metadata.read");
    assert_eq!(world.dropbox_as(narrow, "files/create_folder_v2", json!({"path": "/a"})).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn revoking_ends_a_grant_across_restarts_until_the_world_is_emptied() {
    let world = TestWorld::start().await;
    let fresh = async |world: &TestWorld| world.refresh(None).await;
    let token = fresh(&world).await.json()["access_token"].as_str().unwrap().to_owned();
    let sibling = fresh(&world).await.json()["access_token"].as_str().unwrap().to_owned();
    let revoked = world.dropbox_as(&token, "auth/token/revoke", Value::Null).await;
    assert_eq!((revoked.status, revoked.text.as_str()), (200, "null"));
    let world = TestWorld::start_in(world.end().await).await;
    for token in [&token, &sibling] {
        let got = world.dropbox_as(token, "check/user", json!({})).await;
        assert_eq!(got.json()["error"], json!({".tag": "invalid_access_token"}));
    }
    assert_eq!(fresh(&world).await.json()["error"], "invalid_grant");
    assert_eq!(world.dropbox("check/user", json!({})).await.status, 200, "the lasting token stands alone");
    world.admin.reset().await.unwrap();
    assert_eq!(fresh(&world).await.status, 200);
}
