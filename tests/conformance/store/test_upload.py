"""files/upload: write modes, what comes back, what is refused."""

from datetime import datetime

import pytest
from dropbox.files import FileMetadata, WriteMode

from store.client import (
    HASH_OF_NOTHING,
    LARGEST_REQUEST,
    bad_input,
    bytes_of,
    content_hash,
    finish,
    pattern,
    raw,
    refusal,
    tags,
)

VECTORS = {
    0: HASH_OF_NOTHING,
    1: "1406e05881e299367766d313e26c05564ec91bf721d31726bd6e46e60689539a",
    4_194_303: "e1d05b9adf4293b7fec11b099ce74116fc06dfa733a9833be9166ab4c769da43",
    4_194_304: "b9654428408015906b44a00935b70af33830aa344b780b0eabd535a133150d04",
    4_194_305: "4a6cc0a344febaa07772e7c974834b2fb1d24594d4ba15f27c97a54699709f44",
    8_388_608: "b76a633d9733b991a976dba723df6940bfaf789390a929fe8f68fd1b4705c8c1",
    8_388_609: "c84ee1d6377d71687c1cfe37be0897c4e351df175ea677ca2c918736a9cfb476",
    10_485_760: "9b168152f37a1b2c33d9b26ca4a679d5f99f84f8c070fd3a4491d52cbfe96af4",
}


def test_a_new_file_has_everything_a_file_has(dbx, place):
    made = dbx.files_upload(b"model", f"{place}/Export.pkl")
    assert type(made) is FileMetadata
    assert (made.name, made.size, made.content_hash) == ("Export.pkl", 5, content_hash(b"model"))
    assert (made.path_display, made.path_lower) == (f"{place}/Export.pkl", f"{place}/export.pkl")
    assert len(made.id) == 25 and made.id.startswith("id:")
    assert len(made.rev) == 31 and set(made.rev) <= set("0123456789abcdef")
    assert made.is_downloadable is True
    assert made.client_modified == made.server_modified
    assert made.server_modified.microsecond == 0
    assert dbx.files_get_metadata(f"{place}/Export.pkl") == made


@pytest.mark.parametrize("size", VECTORS)
def test_the_published_vectors_come_back_as_content_hashes(dbx, place, size):
    data = pattern(size)
    assert content_hash(data) == VECTORS[size]
    made = dbx.files_upload(data, f"{place}/vector")
    assert (made.size, made.content_hash) == (size, VECTORS[size])
    assert bytes_of(dbx, made.path_lower) == data


def test_add_keeps_what_is_there(dbx, place):
    first = dbx.files_upload(b"one", f"{place}/a")
    error = refusal(dbx.files_upload, b"two", f"{place}/a")
    assert tags(error) == "path/conflict/file"
    assert error.get_path().upload_session_id.startswith("pid_upload_session:")
    assert dbx.files_get_metadata(f"{place}/a").rev == first.rev
    assert bytes_of(dbx, f"{place}/a") == b"one"


def test_add_of_the_same_bytes_is_nothing_new(dbx, place):
    first = dbx.files_upload(b"one", f"{place}/a")
    assert dbx.files_upload(b"one", f"{place}/A") == first


def test_add_of_the_same_bytes_is_a_conflict_when_strict(dbx, place):
    dbx.files_upload(b"one", f"{place}/a")
    error = refusal(dbx.files_upload, b"one", f"{place}/a", strict_conflict=True)
    assert tags(error) == "path/conflict/file"


def test_overwrite_gives_a_new_revision_of_the_same_file(dbx, place):
    first = dbx.files_upload(b"one", f"{place}/a")
    second = dbx.files_upload(b"two!", f"{place}/a", mode=WriteMode.overwrite)
    assert second.id == first.id and second.rev != first.rev
    assert (second.size, second.content_hash) == (4, content_hash(b"two!"))
    assert bytes_of(dbx, f"{place}/a") == b"two!"


def test_overwrite_with_the_same_bytes_keeps_the_revision(dbx, place):
    first = dbx.files_upload(b"one", f"{place}/a")
    assert dbx.files_upload(b"one", f"{place}/a", mode=WriteMode.overwrite).rev == first.rev


def test_update_with_the_right_revision_writes(dbx, place):
    first = dbx.files_upload(b"one", f"{place}/a")
    second = dbx.files_upload(b"two", f"{place}/a", mode=WriteMode.update(first.rev))
    assert second.rev != first.rev and second.id == first.id
    assert bytes_of(dbx, f"{place}/a") == b"two"


def test_update_with_a_stale_revision_is_a_conflict(dbx, place):
    first = dbx.files_upload(b"one", f"{place}/a")
    second = dbx.files_upload(b"two", f"{place}/a", mode=WriteMode.update(first.rev))
    error = refusal(dbx.files_upload, b"three", f"{place}/a", mode=WriteMode.update(first.rev))
    assert tags(error) == "path/conflict/file"
    assert dbx.files_get_metadata(f"{place}/a").rev == second.rev


def test_update_with_a_stale_revision_and_the_same_bytes_succeeds(dbx, place):
    first = dbx.files_upload(b"one", f"{place}/a")
    second = dbx.files_upload(b"two", f"{place}/a", mode=WriteMode.update(first.rev))
    again = dbx.files_upload(b"two", f"{place}/a", mode=WriteMode.update(first.rev))
    assert again.rev == second.rev


def test_update_of_the_same_bytes_is_a_conflict_when_strict(dbx, place):
    first = dbx.files_upload(b"one", f"{place}/a")
    mode = WriteMode.update(first.rev)
    error = refusal(dbx.files_upload, b"one", f"{place}/a", mode=mode, strict_conflict=True)
    assert tags(error) == "path/conflict/file"


def test_update_of_a_deleted_file_writes_it_anew(dbx, place):
    first = dbx.files_upload(b"one", f"{place}/a")
    dbx.files_delete_v2(f"{place}/a")
    anew = dbx.files_upload(b"two", f"{place}/a", mode=WriteMode.update(first.rev))
    assert anew.id != first.id, "a new file at a deleted path has an id of its own"
    assert bytes_of(dbx, f"{place}/a") == b"two"


def test_update_of_a_deleted_file_is_a_conflict_when_strict(dbx, place):
    first = dbx.files_upload(b"one", f"{place}/a")
    dbx.files_delete_v2(f"{place}/a")
    mode = WriteMode.update(first.rev)
    error = refusal(dbx.files_upload, b"two", f"{place}/a", mode=mode, strict_conflict=True)
    assert tags(error) == "path/conflict/file"


def test_autorename_finds_free_names_with_numbers(dbx, place):
    names = [dbx.files_upload(data, f"{place}/a.txt", autorename=True).name for data in (b"1", b"2", b"3")]
    assert names == ["a.txt", "a (2).txt", "a (3).txt"]
    assert bytes_of(dbx, f"{place}/a.txt") == b"1"
    assert bytes_of(dbx, f"{place}/a (3).txt") == b"3"


def test_autorename_of_a_stale_update_makes_a_conflicted_copy(dbx, place):
    first = dbx.files_upload(b"1", f"{place}/a.txt")
    dbx.files_upload(b"2", f"{place}/a.txt", mode=WriteMode.overwrite)
    copy = dbx.files_upload(b"3", f"{place}/a.txt", mode=WriteMode.update(first.rev), autorename=True)
    assert copy.name == "a (conflicted copy).txt"
    assert bytes_of(dbx, f"{place}/a.txt") == b"2"


@pytest.mark.parametrize("mode", [WriteMode.add, WriteMode.overwrite, WriteMode.update("0" * 31)])
def test_a_folder_in_the_way_is_a_conflict_in_every_mode(dbx, place, mode):
    dbx.files_create_folder_v2(place)
    assert tags(refusal(dbx.files_upload, b"x", place, mode=mode)) == "path/conflict/folder"


def test_a_folder_in_the_way_can_be_avoided_by_autorename(dbx, place):
    dbx.files_create_folder_v2(f"{place}/a")
    made = dbx.files_upload(b"x", f"{place}/a", mode=WriteMode.overwrite, autorename=True)
    assert made.path_lower == f"{place}/a (2)"


def test_a_file_on_the_way_is_a_conflict(dbx, place):
    dbx.files_upload(b"x", place)
    assert tags(refusal(dbx.files_upload, b"y", f"{place}/below")) == "path/conflict/file_ancestor"


def test_missing_folders_above_are_made(dbx, place):
    dbx.files_upload(b"x", f"{place}/A/b/C/file")
    found = [dbx.files_get_metadata(f"{place}{path}").path_display for path in ("/a", "/a/b", "/a/b/c")]
    assert found == [f"{place}/A", f"{place}/A/b", f"{place}/A/b/C"]


def test_client_modified_is_kept_and_server_modified_is_not_it(dbx, place):
    when = datetime(2001, 2, 3, 4, 5, 6)
    made = dbx.files_upload(b"x", f"{place}/a", client_modified=when)
    assert made.client_modified == when
    assert made.server_modified > when
    assert dbx.files_get_metadata(f"{place}/a").client_modified == when


@pytest.mark.parametrize("when", ["2001-02-03T04:05:06.5Z", "2001-02-03T04:05:06+00:00", "yesterday"])
def test_times_that_are_not_whole_seconds_in_utc_are_refused(dbx, place, when):
    argument = {"path": f"{place}/a", "client_modified": when}
    text = bad_input(raw, dbx, "files/upload", argument, "content", "upload", b"x")
    assert f"client_modified: time data '{when}' does not match format '%Y-%m-%dT%H:%M:%SZ'" in text


def test_mute_and_property_groups_change_nothing(dbx, place):
    made = dbx.files_upload(b"x", f"{place}/a", mute=True, property_groups=[])
    assert (made.size, made.content_hash) == (1, content_hash(b"x"))


def test_the_right_content_hash_is_accepted_and_a_wrong_one_writes_nothing(dbx, place):
    made = dbx.files_upload(b"one", f"{place}/a", content_hash=content_hash(b"one"))
    error = refusal(
        dbx.files_upload, b"two", f"{place}/a", mode=WriteMode.overwrite, content_hash=content_hash(b"one")
    )
    assert error.is_content_hash_mismatch()
    assert dbx.files_get_metadata(f"{place}/a").rev == made.rev


def test_an_upload_to_an_id_replaces_that_file(dbx, place):
    first = dbx.files_upload(b"one", f"{place}/a")
    reply = raw(
        dbx, "files/upload", {"path": first.id, "mode": "overwrite"}, "content", "upload", b"two"
    )
    assert (reply["path_lower"], reply["id"]) == (f"{place}/a", first.id)
    assert ".tag" not in reply, "the result is no union"


def test_the_bytes_of_a_failed_upload_wait_in_their_session(dbx, place):
    dbx.files_upload(b"one", f"{place}/a")
    error = refusal(dbx.files_upload, b"precious", f"{place}/a")
    session_id = error.get_path().upload_session_id
    made = finish(dbx, session_id, 8, f"{place}/b")
    assert made.content_hash == content_hash(b"precious")
    assert bytes_of(dbx, f"{place}/b") == b"precious"


def test_more_than_150_mib_in_one_upload_is_refused(dbx, place):
    error = refusal(dbx.files_upload, bytes(LARGEST_REQUEST + 1), f"{place}/big")
    assert error.is_payload_too_large()
    assert tags(refusal(dbx.files_get_metadata, f"{place}/big")) == "path/not_found"


def test_summaries_end_in_a_varying_number_of_dots(dbx, place):
    dbx.files_upload(b"one", f"{place}/a")
    argument = {"path": f"{place}/a", "mode": "add"}
    replies = [raw(dbx, "files/upload", argument, "content", "upload", b"two") for _ in range(40)]
    ends = {reply["error_summary"].removeprefix("path/conflict/file/") for reply in replies}
    assert ends <= {"", ".", "..", "..."} and len(ends) > 1
    session = replies[0]["error"].pop("upload_session_id")
    assert session.startswith("pid_upload_session:")
    assert replies[0]["error"] == {
        ".tag": "path",
        "reason": {".tag": "conflict", "conflict": {".tag": "file"}},
    }
