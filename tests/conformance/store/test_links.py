"""Temporary links, down and up: they need no token, and they end."""

import pytest
import requests
from dropbox.files import CommitInfo, WriteMode

from store.client import LARGEST_REQUEST, bad_input, bytes_of, content_hash, raw, refusal, tags

RAW = {"Content-Type": "application/octet-stream"}
HOUR = 3600


def post(link, data, headers=RAW):
    return requests.post(link, data=data, headers=headers, timeout=60)


def upload_link(dbx, path, duration=14_400.0, **commit):
    return dbx.files_get_temporary_upload_link(CommitInfo(path, **commit), duration=duration).link


def test_a_link_brings_the_file_without_a_token(dbx, place):
    made = dbx.files_upload(b"0123456789", f"{place}/a")
    result = dbx.files_get_temporary_link(f"{place}/A")
    assert result.metadata == made
    reply = requests.get(result.link, timeout=60)
    assert (reply.status_code, reply.content) == (200, b"0123456789")
    assert reply.headers["accept-ranges"] == "bytes"
    head = requests.head(result.link, timeout=60)
    assert (head.status_code, head.headers["content-length"], head.content) == (200, "10", b"")


@pytest.mark.parametrize(
    ("span", "data", "told"),
    [("bytes=2-4", b"234", "bytes 2-4/10"), ("bytes=7-", b"789", "bytes 7-9/10"), ("bytes=-1", b"9", "bytes 9-9/10")],
)
def test_a_link_brings_parts(dbx, place, span, data, told):
    dbx.files_upload(b"0123456789", f"{place}/a")
    link = dbx.files_get_temporary_link(f"{place}/a").link
    reply = requests.get(link, headers={"Range": span}, timeout=60)
    assert (reply.status_code, reply.content, reply.headers["content-range"]) == (206, data, told)


def test_a_part_that_is_not_there_is_416_on_a_link(dbx, place):
    dbx.files_upload(b"0123456789", f"{place}/a")
    link = dbx.files_get_temporary_link(f"{place}/a").link
    reply = requests.get(link, headers={"Range": "bytes=10-"}, timeout=60)
    assert (reply.status_code, reply.headers["content-range"]) == (416, "bytes */10")


def test_a_link_stays_with_its_revision(dbx, place):
    first = dbx.files_upload(b"one", f"{place}/a")
    link = dbx.files_get_temporary_link(f"rev:{first.rev}").link
    dbx.files_upload(b"two", f"{place}/a", mode=WriteMode.overwrite)
    dbx.files_delete_v2(f"{place}/a")
    assert requests.get(link, timeout=60).content == b"one"


def test_a_link_is_gone_after_four_hours(world, dbx, place):
    made = dbx.files_upload(b"one", f"{place}/a")
    link = dbx.files_get_temporary_link(made.id).link
    world.jump(4 * HOUR - 60)
    assert requests.get(link, timeout=60).content == b"one"
    world.jump(60)
    assert requests.get(link, timeout=60).status_code == 410
    assert requests.get(dbx.files_get_temporary_link(made.id).link, timeout=60).content == b"one"


def test_there_are_links_to_files_only(dbx, place):
    dbx.files_create_folder_v2(place)
    assert tags(refusal(dbx.files_get_temporary_link, place)) == "path/not_file"
    assert tags(refusal(dbx.files_get_temporary_link, f"{place}/none")) == "path/not_found"


def test_an_upload_link_takes_one_file(dbx, place):
    link = upload_link(dbx, f"{place}/a", mute=True)
    assert "/apitul/1/" in link
    reply = post(link, b"model")
    assert (reply.status_code, reply.json()) == (200, {"content-hash": content_hash(b"model")})
    assert reply.headers["content-type"] == "application/json"
    assert bytes_of(dbx, f"{place}/a") == b"model"
    again = post(link, b"other")
    assert (again.status_code, again.headers["content-type"]) == (410, "text/plain; charset=utf-8")
    assert bytes_of(dbx, f"{place}/a") == b"model"


def test_the_commit_of_an_upload_link_is_judged_on_use(dbx, place):
    link = upload_link(dbx, f"{place}/a")
    dbx.files_upload(b"earlier", f"{place}/a")
    reply = post(link, b"later")
    assert reply.status_code == 409
    assert "conflict" not in reply.text, "the reason is hidden"
    assert bytes_of(dbx, f"{place}/a") == b"earlier"


def test_an_upload_link_swaps_by_revision(dbx, place):
    first = dbx.files_upload(b"one", f"{place}/a")
    links = [upload_link(dbx, f"{place}/a", mode=WriteMode.update(first.rev)) for _ in range(2)]
    assert [post(links[0], b"two").status_code, post(links[1], b"three").status_code] == [200, 409]
    assert bytes_of(dbx, f"{place}/a") == b"two"


@pytest.mark.parametrize("kind", ["text/plain", "application/json", ""])
def test_an_upload_link_takes_raw_bytes_only(dbx, place, kind):
    link = upload_link(dbx, f"{place}/a")
    assert post(link, b"model", {"Content-Type": kind}).status_code == 400
    # It is not used up by that.
    assert post(link, b"model").status_code == 200


def test_an_upload_link_ends_when_it_was_to(world, dbx, place):
    short, long = upload_link(dbx, f"{place}/a", 60.0), upload_link(dbx, f"{place}/b")
    world.jump(61)
    assert post(short, b"x").status_code == 410
    world.jump(4 * HOUR - 90)
    assert post(long, b"x").status_code == 200


@pytest.mark.parametrize("duration", [59.0, 14_401.0])
def test_the_life_of_an_upload_link_has_bounds(dbx, place, duration):
    argument = {"commit_info": {"path": f"{place}/a"}, "duration": duration}
    text = bad_input(raw, dbx, "files/get_temporary_upload_link", argument)
    assert "request body: duration: " in text and "is not within 60 and 14400" in text


def test_an_unknown_upload_link_is_409(dbx, place):
    link = upload_link(dbx, f"{place}/a")
    assert post(link + "x", b"model").status_code == 409


def test_an_upload_link_takes_no_more_than_one_request_may_carry(dbx, place):
    link = upload_link(dbx, f"{place}/a")
    assert post(link, bytes(LARGEST_REQUEST + 1)).status_code == 413
    assert tags(refusal(dbx.files_get_metadata, f"{place}/a")) == "path/not_found"
