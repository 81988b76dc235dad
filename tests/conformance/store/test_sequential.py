"""Sequential upload sessions: start, append, finish, and every way to get them wrong."""

import pytest
from dropbox.files import CommitInfo, UploadSessionCursor, WriteMode
from world import World

from store.client import (
    BLOCK,
    DAY,
    HASH_OF_NOTHING,
    LARGEST_REQUEST,
    append,
    bad_input,
    bytes_of,
    client,
    content_hash,
    finish,
    pattern,
    raw,
    refusal,
    start,
    tags,
)


def test_the_pieces_become_the_file(dbx, place):
    session = start(dbx, b"one ")
    assert session.startswith("pid_upload_session:")
    assert append(dbx, session, 4, b"two ") is None
    assert append(dbx, session, 8, b"three ") is None
    made = finish(dbx, session, 14, f"{place}/a", b"four")
    assert (made.size, made.content_hash) == (18, content_hash(b"one two three four"))
    assert bytes_of(dbx, f"{place}/a") == b"one two three four"


def test_pieces_across_hash_blocks_give_the_hash_of_the_whole(dbx, place):
    data = pattern(2 * BLOCK + 7)
    session = start(dbx, data[:5])
    append(dbx, session, 5, data[5 : BLOCK + 3])
    append(dbx, session, BLOCK + 3, data[BLOCK + 3 :], close=True)
    made = finish(dbx, session, len(data), f"{place}/a")
    assert made.content_hash == content_hash(data)
    assert bytes_of(dbx, f"{place}/a") == data


def test_a_session_may_stay_empty(dbx, place):
    made = finish(dbx, start(dbx), 0, f"{place}/empty")
    assert (made.size, made.content_hash) == (0, HASH_OF_NOTHING)
    assert bytes_of(dbx, f"{place}/empty") == b""


def test_empty_appends_change_nothing(dbx, place):
    session = start(dbx)
    append(dbx, session, 0, b"")
    append(dbx, session, 0, b"x")
    append(dbx, session, 1, b"")
    assert finish(dbx, session, 1, f"{place}/a").content_hash == content_hash(b"x")


def test_a_whole_file_may_come_with_the_start(dbx, place):
    session = start(dbx, b"whole", close=True)
    assert finish(dbx, session, 5, f"{place}/a").content_hash == content_hash(b"whole")


def test_a_whole_file_may_come_with_the_finish(dbx, place):
    assert finish(dbx, start(dbx), 0, f"{place}/a", b"whole").content_hash == content_hash(b"whole")


@pytest.mark.parametrize("offset", [0, 3, 5, 2**40])
def test_a_wrong_offset_is_told_the_right_one(dbx, place, offset):
    session = start(dbx, b"1234")
    error = refusal(append, dbx, session, offset, b"56")
    assert error.is_incorrect_offset() and error.get_incorrect_offset().correct_offset == 4
    append(dbx, session, 4, b"56")
    assert finish(dbx, session, 6, f"{place}/a").content_hash == content_hash(b"123456")


def test_an_empty_append_at_zero_asks_where_the_session_stands(dbx):
    session = start(dbx, b"1234567")
    assert refusal(append, dbx, session, 0, b"").get_incorrect_offset().correct_offset == 7


def test_a_resent_append_is_told_that_it_has_landed(dbx):
    session = start(dbx)
    append(dbx, session, 0, b"1234")
    assert refusal(append, dbx, session, 0, b"1234").get_incorrect_offset().correct_offset == 4


def test_finishing_at_a_wrong_offset_is_told_the_right_one(dbx, place):
    session = start(dbx, b"1234")
    error = refusal(finish, dbx, session, 3, f"{place}/a", b"x")
    assert tags(error).startswith("lookup_failed/incorrect_offset")
    assert error.get_lookup_failed().get_incorrect_offset().correct_offset == 4
    assert finish(dbx, session, 4, f"{place}/a").size == 4


def test_the_error_of_a_wrong_offset_has_the_documented_shape(dbx, place):
    session = start(dbx, b"1234")
    cursor = {"session_id": session, "offset": 1}
    reply = raw(dbx, "files/upload_session/append_v2", {"cursor": cursor}, "content", "upload", b"x")
    assert reply["error"] == {".tag": "incorrect_offset", "correct_offset": 4}
    assert reply["error_summary"].rstrip(".") == "incorrect_offset/"
    argument = {"cursor": cursor, "commit": {"path": f"{place}/a"}}
    reply = raw(dbx, "files/upload_session/finish", argument, "content", "upload", b"")
    lookup = {".tag": "incorrect_offset", "correct_offset": 4}
    assert reply["error"] == {".tag": "lookup_failed", "lookup_failed": lookup}
    assert reply["error_summary"].rstrip(".") == "lookup_failed/incorrect_offset/"


def test_each_request_carries_the_hash_of_its_own_bytes(dbx, place):
    session = start(dbx, b"1234", content_hash=content_hash(b"1234"))
    append(dbx, session, 4, b"56", content_hash=content_hash(b"56"))
    assert refusal(append, dbx, session, 6, b"7", content_hash=content_hash(b"8")).is_content_hash_mismatch()
    # What didn't arrive whole was not appended.
    append(dbx, session, 6, b"7", content_hash=content_hash(b"7"))
    made = finish(dbx, session, 7, f"{place}/a")
    assert made.content_hash == content_hash(b"1234567")


def test_a_wrong_hash_at_the_start_starts_nothing(dbx):
    assert refusal(start, dbx, b"x", content_hash=HASH_OF_NOTHING).is_content_hash_mismatch()


def test_a_wrong_hash_at_the_finish_makes_no_file(dbx, place):
    session = start(dbx, b"12")
    error = refusal(
        dbx.files_upload_session_finish,
        b"34",
        UploadSessionCursor(session, 2),
        CommitInfo(f"{place}/a"),
        content_hash=HASH_OF_NOTHING,
    )
    assert error.is_content_hash_mismatch()
    assert tags(refusal(dbx.files_get_metadata, f"{place}/a")) == "path/not_found"
    assert finish(dbx, session, 2, f"{place}/a", b"34").size == 4


@pytest.mark.parametrize("length", [63, 65, 0])
def test_a_hash_of_another_length_is_refused_in_plain_text(dbx, length):
    argument = {"content_hash": "a" * length}
    text = bad_input(raw, dbx, "files/upload_session/start", argument, "content", "upload", b"")
    assert "content_hash: " in text and "must be exactly 64 characters" in text


def test_a_closed_session_takes_no_more(dbx, place):
    session = start(dbx, b"12")
    append(dbx, session, 2, b"34", close=True)
    assert refusal(append, dbx, session, 4, b"56").is_closed()
    assert tags(refusal(finish, dbx, session, 4, f"{place}/a", b"56")) == "lookup_failed/closed"
    assert finish(dbx, session, 4, f"{place}/a").content_hash == content_hash(b"1234")


def test_a_finished_session_is_used_up(dbx, place):
    session = start(dbx, b"12")
    made = finish(dbx, session, 2, f"{place}/a")
    assert refusal(append, dbx, session, 2, b"34").is_closed()
    assert tags(refusal(finish, dbx, session, 2, f"{place}/b")) == "lookup_failed/closed"
    assert dbx.files_get_metadata(f"{place}/a").rev == made.rev
    assert tags(refusal(dbx.files_get_metadata, f"{place}/b")) == "path/not_found"


def test_an_unknown_session_is_not_found(dbx, place):
    assert refusal(append, dbx, "pid_upload_session:none", 0, b"x").is_not_found()
    error = refusal(finish, dbx, "pid_upload_session:none", 0, f"{place}/a")
    assert tags(error) == "lookup_failed/not_found"


def test_a_session_lives_for_seven_days(world, dbx, place):
    session = start(dbx, b"12")
    world.jump(7 * DAY - 60)
    append(dbx, session, 2, b"34")
    # The clock runs from the start, not from the last append.
    world.jump(60)
    assert refusal(append, dbx, session, 4, b"56").is_not_found()
    assert tags(refusal(finish, dbx, session, 4, f"{place}/a")) == "lookup_failed/not_found"


def test_a_conflict_at_the_finish_keeps_the_bytes(dbx, place):
    dbx.files_upload(b"there", f"{place}/a")
    session = start(dbx, b"12")
    error = refusal(finish, dbx, session, 2, f"{place}/a", b"34")
    assert tags(error) == "path/conflict/file"
    # They have been appended all the same: the next try carries nothing and starts behind them.
    error = refusal(finish, dbx, session, 2, f"{place}/b")
    assert error.get_lookup_failed().get_incorrect_offset().correct_offset == 4
    assert finish(dbx, session, 4, f"{place}/b").content_hash == content_hash(b"1234")
    assert bytes_of(dbx, f"{place}/a") == b"there"


def test_the_commit_of_a_session_knows_every_mode(dbx, place):
    first = dbx.files_upload(b"one", f"{place}/a")
    error = refusal(
        finish, dbx, start(dbx, b"two"), 3, f"{place}/a", mode=WriteMode.update("0" * 31), strict_conflict=True
    )
    assert tags(error) == "path/conflict/file"
    second = finish(dbx, start(dbx, b"two"), 3, f"{place}/a", mode=WriteMode.update(first.rev))
    assert second.id == first.id and second.rev != first.rev
    third = finish(dbx, start(dbx, b"three"), 5, f"{place}/a", autorename=True)
    assert third.name == "a (2)"


def test_more_than_150_mib_in_one_append_is_refused(dbx):
    session = start(dbx)
    assert refusal(append, dbx, session, 0, bytes(LARGEST_REQUEST + 1)).is_payload_too_large()
    assert refusal(append, dbx, session, 1, b"").get_incorrect_offset().correct_offset == 0


@pytest.mark.parametrize(
    ("cursor", "what"),
    [
        ({}, "cursor: missing required field 'session_id'"),
        ({"session_id": "x"}, "cursor: missing required field 'offset'"),
        ({"session_id": "x", "offset": -1}, "cursor.offset: -1 is not within 0 and"),
        ({"session_id": "x", "offset": 1.5}, "cursor.offset: expected integer, got float"),
        ({"session_id": 7, "offset": 1}, "cursor.session_id: expected string, got number"),
        ({"session_id": "x", "offset": 1, "at": 2}, "cursor: unknown field 'at'"),
    ],
)
def test_malformed_cursors_are_refused_in_plain_text(dbx, cursor, what):
    argument = {"cursor": cursor}
    text = bad_input(raw, dbx, "files/upload_session/append_v2", argument, "content", "upload", b"")
    start_of_text = 'Error in call to API function "files/upload_session/append:2": HTTP header "Dropbox-API-Arg": '
    assert text.startswith(start_of_text + what)


def test_a_session_survives_its_world(tmp_path):
    first = World(tmp_path / "world")
    with client(first) as dbx:
        sequential = start(dbx, b"one ")
        append(dbx, sequential, 4, b"two ")
        failed = dbx.files_upload(b"kept", "/kept")
    first.stop()
    second = World(tmp_path / "world")
    try:
        with client(second) as dbx:
            append(dbx, sequential, 8, b"three")
            made = finish(dbx, sequential, 13, "/a")
            assert bytes_of(dbx, "/a") == b"one two three"
            assert made.content_hash == content_hash(b"one two three")
            assert dbx.files_get_metadata("/kept").rev == failed.rev
            assert bytes_of(dbx, "/kept") == b"kept"
    finally:
        second.stop()


def test_no_bytes_of_ended_sessions_stay_on_disk(own, tmp_path):
    bodies = tmp_path / "world" / "dropbox" / "sessions"
    with client(own) as dbx:
        finish(dbx, start(dbx, b"done"), 4, "/done")
        open_one = start(dbx, b"open")
        dbx.check_user("the next request sweeps")
        assert [path.name for path in bodies.iterdir()] == [open_one.split(":")[1]]
        own.jump(7 * DAY)
        dbx.check_user("the next request sweeps")
        assert list(bodies.iterdir()) == []
        start(dbx, b"again")
        own.admin("POST", "reset")
        assert list(bodies.iterdir()) == []
        assert list((tmp_path / "world" / "dropbox" / "objects").iterdir()) == []
