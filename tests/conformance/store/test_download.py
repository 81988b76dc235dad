"""files/download: whole and in parts, by path, id and revision, and only when something changed."""

import json

import pytest
import requests
from dropbox.exceptions import HttpError
from dropbox.files import WriteMode

from store.client import bad_input, bytes_of, pattern, raw, refusal, tags

DATA = b"0123456789"


def part(dbx, path, span):
    """Downloads a part; returns status, bytes, Content-Range and the metadata."""
    metadata, reply = dbx.files_download(path, extra_headers={"Range": span})
    return reply.status_code, reply.content, reply.headers.get("content-range"), metadata


def test_a_download_describes_what_it_brings(dbx, place):
    made = dbx.files_upload(DATA, f"{place}/Name")
    found, reply = dbx.files_download(f"{place}/name")
    assert found == made
    assert (reply.status_code, reply.content) == (200, DATA)
    assert reply.headers["content-type"] == "application/octet-stream"
    assert reply.headers["content-length"] == "10"
    assert reply.headers["accept-ranges"] == "bytes"


def test_a_file_is_found_by_its_id_wherever_it_is(dbx, place):
    made = dbx.files_upload(DATA, f"{place}/a")
    dbx.files_move_v2(f"{place}/a", f"{place}/b")
    found, reply = dbx.files_download(made.id)
    assert (found.path_lower, reply.content) == (f"{place}/b", DATA)


def test_a_revision_is_found_after_it_was_replaced_and_deleted(dbx, place):
    first = dbx.files_upload(DATA, f"{place}/a")
    dbx.files_upload(b"newer", f"{place}/a", mode=WriteMode.overwrite)
    assert bytes_of(dbx, f"rev:{first.rev}") == DATA
    assert bytes_of(dbx, f"{place}/a", rev=first.rev) == DATA
    dbx.files_delete_v2(f"{place}/a")
    found, reply = dbx.files_download(f"rev:{first.rev}")
    assert (found.rev, found.size, reply.content) == (first.rev, 10, DATA)


@pytest.mark.parametrize(
    ("span", "data", "told"),
    [
        ("bytes=2-4", b"234", "bytes 2-4/10"),
        ("bytes=0-0", b"0", "bytes 0-0/10"),
        ("bytes=7-", b"789", "bytes 7-9/10"),
        ("bytes=7-99", b"789", "bytes 7-9/10"),
        ("bytes=-3", b"789", "bytes 7-9/10"),
        ("bytes=-99", DATA, "bytes 0-9/10"),
        ("bytes=0-", DATA, "bytes 0-9/10"),
    ],
)
def test_parts_come_with_their_place_and_the_whole_files_metadata(dbx, place, span, data, told):
    made = dbx.files_upload(DATA, f"{place}/a")
    assert part(dbx, f"{place}/a", span) == (206, data, told, made)


@pytest.mark.parametrize("span", ["bytes=10-", "bytes=10-20", "bytes=-0"])
def test_parts_that_are_not_there_are_not_satisfiable(dbx, place, span):
    dbx.files_upload(DATA, f"{place}/a")
    # The tag is not in the spec: the client sees an error it doesn't know.
    assert refusal(part, dbx, f"{place}/a", span).is_other()


def test_nothing_is_part_of_an_empty_file(world, dbx, place):
    dbx.files_upload(b"", f"{place}/a")
    reply = requests.post(
        f"{world.ready['dropbox_content']}/2/files/download",
        headers={
            "Authorization": f"Bearer {world.ready['dropbox_token']}",
            "Dropbox-API-Arg": json.dumps({"path": f"{place}/a"}),
            "Range": "bytes=0-0",
        },
        timeout=60,
    )
    assert reply.status_code == 409
    assert reply.json()["error_summary"].rstrip(".") == "range/not_satisfiable/"


@pytest.mark.parametrize("span", ["bytes=4-2", "bytes=a-b", "bytes=0-1,4-5", "lines=0-1", "bytes=-"])
def test_ranges_that_say_nothing_are_ignored(dbx, place, span):
    made = dbx.files_upload(DATA, f"{place}/a")
    assert part(dbx, f"{place}/a", span) == (200, DATA, None, made)


def test_parts_put_together_are_the_file(dbx, place):
    data = pattern(1_000_003)
    dbx.files_upload(data, f"{place}/a")
    step = 300_000
    spans = [f"bytes={at}-{at + step - 1}" for at in range(0, len(data), step)]
    assert b"".join(part(dbx, f"{place}/a", span)[1] for span in spans) == data


def test_what_is_known_already_is_not_sent(dbx, place):
    dbx.files_upload(DATA, f"{place}/a")
    etag = dbx.files_download(f"{place}/a")[1].headers["etag"]
    for known in (etag, f'W/"other", {etag}', "*", etag.removeprefix("W/")):
        with pytest.raises(HttpError) as caught:
            dbx.files_download(f"{place}/a", extra_headers={"If-None-Match": known})
        assert (caught.value.status_code, caught.value.body) == (304, "")
    assert dbx.files_download(f"{place}/a", extra_headers={"If-None-Match": 'W/"other"'})[1].content == DATA
    dbx.files_upload(b"newer", f"{place}/a", mode=WriteMode.overwrite)
    found, reply = dbx.files_download(f"{place}/a", extra_headers={"If-None-Match": etag})
    assert (reply.content, reply.headers["etag"] != etag, found.size) == (b"newer", True, 5)


def test_a_download_may_be_a_get_with_the_argument_in_the_address(world, dbx, place):
    dbx.files_upload(DATA, f"{place}/ü😀")
    reply = requests.get(
        f"{world.ready['dropbox_content']}/2/files/download",
        params={"arg": json.dumps({"path": f"{place}/ü😀"}, ensure_ascii=False)},
        headers={"Authorization": f"Bearer {world.ready['dropbox_token']}", "Range": "bytes=8-"},
        timeout=60,
    )
    assert (reply.status_code, reply.content) == (206, b"89")
    assert json.loads(reply.headers["dropbox-api-result"])["name"] == "ü😀"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/missing", "path/not_found"),
        ("", "path/not_file"),
        ("id:none", "path/not_found"),
        ("rev:" + "0" * 31, "path/not_found"),
    ],
)
def test_what_cannot_be_downloaded(dbx, place, path, expected):
    dbx.files_create_folder_v2(place)
    path = path if path.startswith(("id:", "rev:")) else place + path
    assert tags(refusal(dbx.files_download, path)) == expected


def test_a_deleted_file_is_not_downloaded_by_its_path(dbx, place):
    dbx.files_upload(DATA, f"{place}/a")
    dbx.files_delete_v2(f"{place}/a")
    assert tags(refusal(dbx.files_download, f"{place}/a")) == "path/not_found"


def test_an_unknown_field_of_a_download_is_refused(dbx):
    text = bad_input(raw, dbx, "files/download", {"path": "/a", "deep": 1}, "content", "download")
    assert text.endswith("HTTP header \"Dropbox-API-Arg\": unknown field 'deep'")
