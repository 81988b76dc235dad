"""Tokens: refresh, scopes, expiry, the code flow with PKCE, revocation."""

import base64
import hashlib

import pytest
import requests
from dropbox.exceptions import AuthError, BadInputError
from dropbox.oauth import DropboxOAuth2FlowNoRedirect

from store.client import client, refreshing, session

ALL = "account_info.read files.content.read files.content.write files.metadata.read"


def unauthorised(call, *arguments):
    """Returns the typed error of a call that must fail with 401."""
    with pytest.raises(AuthError) as caught:
        call(*arguments)
    assert caught.value.status_code == 401
    return caught.value.error


def token_call(world, **fields):
    reply = requests.post(f"{world.ready['dropbox_api']}/oauth2/token", data=fields, timeout=60)
    assert len(reply.headers["x-dropbox-request-id"]) == 32
    return reply


def refresh(world, **fields):
    fields = {
        "grant_type": "refresh_token",
        "refresh_token": world.ready["dropbox_refresh_token"],
        "client_id": world.ready["dropbox_app_key"],
        **fields,
    }
    return token_call(world, **{name: value for name, value in fields.items() if value is not None})


def flow(world, **options):
    """The SDK's code flow, and the code that the sandbox's consenting user was shown."""
    options = {"use_pkce": True, "token_access_type": "offline", **options}
    flow = DropboxOAuth2FlowNoRedirect(world.ready["dropbox_app_key"], **options)
    flow.requests_session = session(world)
    page = flow.requests_session.get(flow.start(), timeout=60)
    assert page.status_code == 200, page.text
    return flow, page.text


def test_a_refresh_gives_a_short_lived_token_and_nothing_else(world):
    reply = refresh(world)
    assert reply.headers["content-type"] == "application/json"
    body = reply.json()
    assert sorted(body) == ["access_token", "expires_in", "token_type"]
    assert (body["expires_in"], body["token_type"]) == (14_400, "bearer")
    assert body["access_token"].startswith("sl.")
    with client(world, token=body["access_token"]) as dbx:
        assert dbx.check_user("x").result == "x"


def test_the_client_refreshes_by_itself(world, place):
    with refreshing(world) as dbx:
        assert dbx.files_upload(b"x", f"{place}/a").size == 1


def test_an_expired_token_is_refreshed_and_the_call_repeated(own):
    with refreshing(own) as dbx:
        first = dbx.files_upload(b"x", "/a")
        own.jump(14_400)
        assert dbx.files_get_metadata("/a").rev == first.rev
    calls = [(request["path"], request["status"]) for request in own.requests()]
    assert calls == [
        ("/oauth2/token", 200),
        ("/2/files/upload", 200),
        ("/2/files/get_metadata", 401),
        ("/oauth2/token", 200),
        ("/2/files/get_metadata", 200),
    ]


def test_a_token_expires_on_the_worlds_clock(own):
    token = refresh(own).json()["access_token"]
    with client(own, token=token) as dbx:
        own.jump(14_400 - 60)
        assert dbx.check_user("still").result == "still"
        own.jump(60)
        # Without a refresh token the client has nothing to try again with.
        assert unauthorised(dbx.check_user).is_expired_access_token()


def test_a_token_for_writing_only_cannot_look_or_read(world, dbx, place):
    dbx.files_upload(b"secret", f"{place}/a")
    with refreshing(world, scope=["files.content.write"]) as narrow:
        assert narrow.files_upload(b"x", f"{place}/b").size == 1
        for call, scope in (
            (lambda: narrow.files_get_metadata(f"{place}/a"), "files.metadata.read"),
            (lambda: narrow.files_list_folder(place), "files.metadata.read"),
            (lambda: narrow.files_list_revisions(f"{place}/a"), "files.metadata.read"),
            (lambda: narrow.files_download(f"{place}/a"), "files.content.read"),
            (lambda: narrow.files_get_temporary_link(f"{place}/a"), "files.content.read"),
            (narrow.users_get_current_account, "account_info.read"),
            (narrow.users_get_space_usage, "account_info.read"),
            (narrow.check_user, "account_info.read"),
        ):
            error = unauthorised(call)
            assert error.get_missing_scope().required_scope == scope


def test_a_token_for_reading_only_cannot_write(world, dbx, place):
    dbx.files_upload(b"x", f"{place}/a")
    with refreshing(world, scope=["files.content.read", "files.metadata.read"]) as narrow:
        assert narrow.files_download(f"{place}/a")[1].content == b"x"
        for call in (
            lambda: narrow.files_upload(b"y", f"{place}/b"),
            lambda: narrow.files_delete_v2(f"{place}/a"),
            lambda: narrow.files_move_v2(f"{place}/a", f"{place}/b"),
            lambda: narrow.files_create_folder_v2(f"{place}/d"),
            lambda: narrow.files_upload_session_start(b""),
            lambda: narrow.files_upload_session_start_batch(1),
            lambda: narrow.files_save_url(f"{place}/c", "http://127.0.0.1/"),
        ):
            assert unauthorised(call).get_missing_scope().required_scope == "files.content.write"


def test_the_401_has_its_header_and_body(world):
    narrow = refresh(world, scope="files.content.write").json()["access_token"]
    reply = requests.post(
        f"{world.ready['dropbox_api']}/2/files/get_metadata",
        json={"path": "/a"},
        headers={"Authorization": f"Bearer {narrow}"},
        timeout=60,
    )
    assert (reply.status_code, reply.headers["content-type"]) == (401, "application/json")
    assert reply.headers["www-authenticate"] == 'Bearer realm="Dropbox-API"'
    assert reply.json()["error"] == {".tag": "missing_scope", "required_scope": "files.metadata.read"}
    assert reply.json()["error_summary"].rstrip(".") == "missing_scope/"


def test_a_token_nobody_gave_out_is_invalid(world):
    with client(world, token="sl." + "x" * 100) as dbx:
        assert unauthorised(dbx.check_user).is_invalid_access_token()


def test_a_malformed_token_is_a_bad_call(world):
    with client(world, token="short") as dbx, pytest.raises(BadInputError) as caught:
        dbx.check_user()
    assert caught.value.message.endswith("The given OAuth 2 access token is malformed.")


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"refresh_token": "x" * 64}, "invalid_grant"),
        ({"refresh_token": "x"}, "invalid_grant"),
        ({"client_id": "nobody"}, "invalid_client"),
        ({"client_secret": "guessed"}, "invalid_client"),
        ({"scope": "sharing.write"}, "invalid_scope"),
        ({"scope": "files.content.read sharing.write"}, "invalid_scope"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"grant_type": None}, "invalid_request"),
    ],
)
def test_refreshes_that_fail_fail_as_oauth_does(world, fields, error):
    reply = refresh(world, **fields)
    assert (reply.status_code, reply.json()["error"]) == (400, error)
    assert reply.json()["error_description"]


def test_the_client_takes_a_bad_refresh_token_for_an_invalid_login(world):
    options = {"oauth2_refresh_token": "x" * 64, "app_key": world.ready["dropbox_app_key"]}
    with client(world, **options) as dbx, pytest.raises(AuthError) as caught:
        dbx.check_user()
    assert caught.value.error.is_invalid_access_token()


def test_the_code_flow_ends_in_a_refresh_token(world):
    started, code = flow(world)
    result = started.finish(code)
    assert result.access_token.startswith("sl.")
    assert result.scope == ALL
    with client(world, token=result.access_token) as dbx:
        assert dbx.users_get_current_account().account_id == result.account_id
    assert result.user_id.isdigit()
    options = {"oauth2_refresh_token": result.refresh_token, "app_key": world.ready["dropbox_app_key"]}
    assert result.refresh_token != world.ready["dropbox_refresh_token"]
    with client(world, **options) as dbx:
        assert dbx.check_user("x").result == "x"


def test_the_code_flow_grants_what_was_asked_for(world):
    started, code = flow(world, scope=["files.content.read"])
    result = started.finish(code)
    assert result.scope == "files.content.read"
    with client(world, token=result.access_token) as dbx:
        assert unauthorised(dbx.files_upload, b"x", "/x").is_missing_scope()
    # A refresh can't widen it.
    wider = refresh(world, refresh_token=result.refresh_token, scope="files.content.write")
    assert (wider.status_code, wider.json()["error"]) == (400, "invalid_scope")


def test_online_access_has_no_refresh_token(world):
    started, code = flow(world, token_access_type="online")
    assert started.finish(code).refresh_token == ""


def exchange(world, code, verifier, **fields):
    fields = {
        "grant_type": "authorization_code",
        "code": code,
        "client_id": world.ready["dropbox_app_key"],
        "code_verifier": verifier,
        **fields,
    }
    return token_call(world, **{name: value for name, value in fields.items() if value is not None})


def test_a_code_is_exchanged_once(world):
    started, code = flow(world)
    started.finish(code)
    again = exchange(world, code, started.code_verifier)
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")


def test_a_code_needs_its_verifier(world):
    started, code = flow(world)
    wrong = exchange(world, code, "x" * 43)
    assert (wrong.status_code, wrong.json()["error"]) == (400, "invalid_grant")
    # Who guesses wrong has no second guess.
    assert exchange(world, code, started.code_verifier).json()["error"] == "invalid_grant"
    started, code = flow(world)
    assert exchange(world, code, None).json()["error"] == "invalid_request"
    assert exchange(world, code, started.code_verifier, client_id="nobody").json()["error"] == "invalid_client"
    assert exchange(world, code, started.code_verifier).status_code == 200


@pytest.mark.parametrize("length", [42, 129])
def test_a_verifier_has_43_to_128_characters(world, length):
    verifier = "v" * length
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=")
    code = authorise(world, code_challenge=challenge.decode()).text
    assert exchange(world, code, verifier).json()["error"] == "invalid_grant"


def test_a_code_lasts_ten_minutes(world):
    started, code = flow(world)
    world.jump(600)
    reply = exchange(world, code, started.code_verifier)
    assert reply.json() == {
        "error": "invalid_grant",
        "error_description": "code doesn't exist or has expired",
    }


def authorise(world, **changes):
    fields = {
        "response_type": "code",
        "client_id": world.ready["dropbox_app_key"],
        "token_access_type": "offline",
        "code_challenge": base64.urlsafe_b64encode(bytes(32)).rstrip(b"=").decode(),
        "code_challenge_method": "S256",
        **changes,
    }
    fields = {name: value for name, value in fields.items() if value is not None}
    return requests.get(f"{world.ready['dropbox_api']}/oauth2/authorize", params=fields, timeout=60)


@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": "nobody"},
        {"response_type": "token"},
        {"redirect_uri": "http://127.0.0.1:1/"},
        {"code_challenge": None},
        {"code_challenge": "short"},
        {"code_challenge_method": "plain"},
        {"scope": "sharing.write"},
    ],
)
def test_the_page_refuses_what_the_app_may_not_ask(world, changes):
    assert authorise(world).status_code == 200
    reply = authorise(world, **changes)
    assert reply.status_code == 400
    (name,) = changes
    assert reply.text.startswith("Invalid " + ("code_challenge" if "challenge" in name else name))


def test_revoking_ends_the_token_its_siblings_and_its_refresh_token(own):
    started, code = flow(own)
    granted = started.finish(code)
    siblings = [refresh(own, refresh_token=granted.refresh_token).json()["access_token"] for _ in range(2)]
    stranger = refresh(own).json()["access_token"]
    with client(own, token=siblings[0]) as dbx:
        assert dbx.auth_token_revoke() is None
    for token in (*siblings, granted.access_token):
        with client(own, token=token) as dbx:
            assert unauthorised(dbx.check_user).is_invalid_access_token()
    reply = refresh(own, refresh_token=granted.refresh_token)
    assert reply.json() == {
        "error": "invalid_grant",
        "error_description": "refresh token is invalid or revoked",
    }
    with client(own, token=stranger) as dbx:
        assert dbx.check_user("x").result == "x", "another grant is another matter"


def test_the_worlds_own_secrets_can_be_revoked_until_it_is_emptied(own):
    with client(own, token=refresh(own).json()["access_token"]) as dbx:
        dbx.auth_token_revoke()
    assert refresh(own).json()["error"] == "invalid_grant"
    with client(own) as dbx:
        dbx.auth_token_revoke()
        assert unauthorised(dbx.auth_token_revoke).is_invalid_access_token()
        own.admin("POST", "reset")
        assert dbx.check_user("x").result == "x"
    assert refresh(own).status_code == 200
