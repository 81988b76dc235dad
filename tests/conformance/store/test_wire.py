"""The wire itself: routes, content types, unknown fields, chunked bodies, and what save_url does."""

import json
import socket

import pytest
import requests
from dropbox.files import WriteMode

from store.client import bad_input, bytes_of, content_hash, raw, refusal, tags


def post(world, route, host="dropbox_api", headers=None, **options):
    headers = {"Authorization": f"Bearer {world.ready['dropbox_token']}", **(headers or {})}
    return requests.post(f"{world.ready[host]}/2/{route}", headers=headers, timeout=60, **options)


@pytest.mark.parametrize(
    ("route", "argument"),
    [
        ("files/get_metadata", {"path": "/a"}),
        ("files/list_folder", {"path": ""}),
        ("files/list_folder/continue", {"cursor": None}),
        ("files/create_folder_v2", {"path": "/a"}),
        ("files/delete_v2", {"path": "/a"}),
        ("files/move_v2", {"from_path": "/a", "to_path": "/b"}),
        ("files/copy_v2", {"from_path": "/a", "to_path": "/b"}),
        ("files/list_revisions", {"path": "/a"}),
        ("files/restore", {"path": "/a", "rev": "0" * 31}),
        ("files/get_temporary_link", {"path": "/a"}),
        ("files/get_temporary_upload_link", {"commit_info": {"path": "/a"}}),
        ("files/save_url", {"path": "/a", "url": "http://127.0.0.1/"}),
        ("files/upload_session/start_batch", {"num_sessions": 1}),
        ("files/upload_session/finish_batch_v2", {"entries": []}),
        ("check/user", {}),
    ],
)
def test_unknown_fields_are_refused_in_plain_text(dbx, route, argument):
    if "cursor" in argument:
        argument = {"cursor": dbx.files_list_folder("").cursor}
    text = bad_input(raw, dbx, route, {**argument, "surprise": 1})
    name = route.removesuffix("_v2") + (":2" if route.endswith("_v2") else "")
    assert text == f'Error in call to API function "{name}": request body: unknown field \'surprise\''


@pytest.mark.parametrize(
    ("route", "argument"),
    [
        ("upload", {"path": "/a"}),
        ("upload_session/start", {}),
        ("upload_session/append_v2", {"cursor": {"session_id": "x", "offset": 0}}),
        ("upload_session/append_batch", {"entries": []}),
        ("upload_session/finish", {"cursor": {"session_id": "x", "offset": 0}, "commit": {"path": "/a"}}),
    ],
)
def test_unknown_fields_of_uploads_are_refused_in_plain_text(dbx, route, argument):
    argument = {**argument, "surprise": 1}
    text = bad_input(raw, dbx, f"files/{route}", argument, "content", "upload", b"")
    assert text.endswith("HTTP header \"Dropbox-API-Arg\": unknown field 'surprise'")


@pytest.mark.parametrize(
    ("argument", "what"),
    [
        ({}, "missing required field 'path'"),
        ({"path": 7}, "path: expected string, got number"),
        ({"path": "/a", "autorename": "yes"}, "autorename: expected boolean, got string"),
        ({"path": "/a", "mode": "merge"}, "mode: invalid tag 'merge'"),
        ({"path": "/a", "mode": {".tag": "update"}}, "mode: missing required field 'update'"),
        ({"path": "/a", "mode": {".tag": "update", "update": "XYZ"}}, "mode: update: 'XYZ' did not match"),
        ({"path": "/a", "mode": 3}, "mode: expected union, got number"),
        ([], "expected object"),
    ],
)
def test_wrong_types_are_refused_in_plain_text(dbx, argument, what):
    text = bad_input(raw, dbx, "files/upload", argument, "content", "upload", b"x")
    assert text.startswith('Error in call to API function "files/upload": HTTP header "Dropbox-API-Arg": ' + what)


def test_a_tag_may_be_a_bare_string(dbx, place):
    for mode in ("overwrite", {".tag": "overwrite"}):
        argument = {"path": f"{place}/a", "mode": mode}
        made = raw(dbx, "files/upload", argument, "content", "upload", str(mode).encode())
        assert made["content_hash"] == content_hash(str(mode).encode())


@pytest.mark.parametrize("route", ["files/nothing", "files/upload", "files/copy_v3", "team/get_info"])
def test_unknown_routes_are_refused_in_plain_text(dbx, route):
    assert f'Unknown API function: "{route}"' in bad_input(raw, dbx, route, {})


def test_a_body_that_is_no_json(world):
    reply = post(world, "files/get_metadata", data=b"{", headers={"Content-Type": "application/json"})
    assert reply.status_code == 400
    assert reply.headers["content-type"] == "text/plain; charset=utf-8"
    assert reply.text.endswith("request body: could not decode input as JSON")


@pytest.mark.parametrize("kind", ["text/html", "application/octet-stream", "application/x-www-form-urlencoded"])
def test_an_rpc_call_is_json(world, kind):
    reply = post(world, "files/get_metadata", data=b'{"path": "/a"}', headers={"Content-Type": kind})
    assert reply.status_code == 400
    assert f'Bad HTTP "Content-Type" header: "{kind}".' in reply.text


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "application/x-www-form-urlencoded"])
def test_an_upload_is_raw_bytes(world, dbx, place, kind):
    headers = {"Dropbox-API-Arg": json.dumps({"path": f"{place}/a"}), "Content-Type": kind}
    reply = post(world, "files/upload", "dropbox_content", headers, data=b"x")
    assert reply.status_code == 400
    assert f'Bad HTTP "Content-Type" header: "{kind}".' in reply.text
    assert tags(refusal(dbx.files_get_metadata, f"{place}/a")) == "path/not_found"


def test_an_upload_without_an_argument(world):
    kind = {"Content-Type": "application/octet-stream"}
    reply = post(world, "files/upload", "dropbox_content", kind, data=b"x")
    assert reply.status_code == 400
    assert 'Must provide HTTP header "Dropbox-API-Arg" or URL parameter "arg".' in reply.text


def test_letters_that_no_header_may_carry_are_refused(world):
    argument = json.dumps({"path": "/ü"}, ensure_ascii=False).encode()
    kind = {"Content-Type": "application/octet-stream", "Dropbox-API-Arg": argument}
    reply = post(world, "files/upload", "dropbox_content", kind, data=b"x")
    assert reply.status_code == 400
    assert 'HTTP header "Dropbox-API-Arg": could not decode input as JSON' in reply.text


def test_a_call_without_a_token(world):
    reply = requests.post(f"{world.ready['dropbox_api']}/2/check/user", json={}, timeout=60)
    assert reply.status_code == 400
    assert 'Must provide HTTP header "Authorization" or URL parameter "authorization".' in reply.text


def test_routes_without_an_argument_take_null_or_nothing(world, dbx):
    null = dbx.users_get_current_account()
    nothing = post(world, "users/get_current_account")
    assert (nothing.status_code, nothing.json()["account_id"]) == (200, null.account_id)
    wrong = post(world, "users/get_current_account", json={})
    assert (wrong.status_code, wrong.text.endswith("request body: expected null")) == (400, True)


def test_bodies_may_come_in_chunks(world, dbx, place):
    headers = {
        "Dropbox-API-Arg": json.dumps({"path": f"{place}/a"}),
        "Content-Type": "application/octet-stream",
    }
    reply = post(world, "files/upload", "dropbox_content", headers, data=iter([b"one ", b"two"]))
    assert (reply.status_code, reply.json()["size"]) == (200, 7)
    assert reply.headers["content-type"] == "application/json"
    assert bytes_of(dbx, f"{place}/a") == b"one two"


def job_of(dbx, path, url):
    launched = dbx.files_save_url(path, url)
    assert launched.is_async_job_id()
    return dbx.files_save_url_check_job_status(launched.get_async_job_id())


def test_a_saved_address_becomes_a_file_beside_what_is_there(dbx, place):
    dbx.files_upload(b"model", f"{place}/from")
    link = dbx.files_get_temporary_link(f"{place}/from").link
    dbx.files_upload(b"newer", f"{place}/from", mode=WriteMode.overwrite)
    dbx.files_upload(b"there", f"{place}/to")
    made = job_of(dbx, f"{place}/to", link).get_complete()
    assert (made.name, made.content_hash) == ("to (2)", content_hash(b"model"))
    assert bytes_of(dbx, f"{place}/to (2)") == b"model"
    assert bytes_of(dbx, f"{place}/to") == b"there"


def test_an_address_out_of_reach_fails_the_job(dbx, place):
    assert job_of(dbx, f"{place}/a", "https://example.invalid/a").get_failed().is_download_failed()
    assert tags(refusal(dbx.files_get_metadata, f"{place}/a")) == "path/not_found"


def test_what_is_no_address_and_what_is_no_job(dbx, place):
    assert refusal(dbx.files_save_url, f"{place}/a", "ftp://example.invalid/a").is_invalid_url()
    assert refusal(dbx.files_save_url_check_job_status, "no job").is_invalid_async_job_id()


def test_a_client_may_wait_to_be_asked_for_its_body(world, place):
    host, port = world.ready["dropbox_content"].removeprefix("http://").split(":")
    head = (
        "POST /2/files/upload HTTP/1.1\r\n"
        f"Host: {host}\r\n"
        f"Authorization: Bearer {world.ready['dropbox_token']}\r\n"
        f'Dropbox-API-Arg: {{"path": "{place}/a"}}\r\n'
        "Content-Type: application/octet-stream\r\n"
        "Content-Length: 5\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
    )
    with socket.create_connection((host, int(port)), timeout=30) as wire:
        wire.sendall(head.encode())
        assert wire.recv(1024).startswith(b"HTTP/1.1 100 Continue\r\n")
        wire.sendall(b"model")
        answer = b"".join(iter(lambda: wire.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert json.loads(answer.split(b"\r\n\r\n")[-1])["size"] == 5
