"""Concurrent upload sessions: aligned blocks in any order, closed by one of them."""

import pytest
from dropbox.files import UploadSessionType
from world import World

from store.client import (
    BLOCK,
    DAY,
    append,
    bytes_of,
    client,
    content_hash,
    finish,
    pattern,
    refusal,
    start,
    tags,
)

LARGEST_FILE = 2**41 - 2**22


def concurrent(dbx):
    return start(dbx, session_type=UploadSessionType.concurrent)


def test_blocks_may_come_in_any_order(dbx, place):
    data = pattern(3 * BLOCK + 5)
    session = concurrent(dbx)
    for index in (2, 0, 1):
        append(dbx, session, index * BLOCK, data[index * BLOCK : (index + 1) * BLOCK])
    append(dbx, session, 3 * BLOCK, data[3 * BLOCK :], close=True)
    made = finish(dbx, session, len(data), f"{place}/a")
    assert (made.size, made.content_hash) == (len(data), content_hash(data))
    assert bytes_of(dbx, f"{place}/a") == data


def test_an_append_may_carry_several_blocks(dbx, place):
    data = pattern(4 * BLOCK)
    session = concurrent(dbx)
    append(dbx, session, 2 * BLOCK, data[2 * BLOCK :])
    append(dbx, session, 0, data[: 2 * BLOCK])
    # The size is a whole number of blocks: the closing append has nothing left to bring.
    append(dbx, session, len(data), b"", close=True)
    assert finish(dbx, session, len(data), f"{place}/a").content_hash == content_hash(data)


def test_the_closing_block_may_be_a_whole_one(dbx, place):
    data = pattern(2 * BLOCK)
    session = concurrent(dbx)
    append(dbx, session, 0, data[:BLOCK])
    append(dbx, session, BLOCK, data[BLOCK:], close=True)
    assert finish(dbx, session, len(data), f"{place}/a").content_hash == content_hash(data)


def test_a_small_file_is_one_closing_block(dbx, place):
    session = concurrent(dbx)
    append(dbx, session, 0, b"small", close=True)
    assert finish(dbx, session, 5, f"{place}/a").content_hash == content_hash(b"small")


@pytest.mark.parametrize("offset", [1, BLOCK - 1, BLOCK + 1])
def test_offsets_have_to_be_aligned(dbx, offset):
    error = refusal(append, dbx, concurrent(dbx), offset, bytes(BLOCK))
    assert error.is_concurrent_session_invalid_offset()
    error = refusal(append, dbx, concurrent(dbx), offset, b"x", close=True)
    assert error.is_concurrent_session_invalid_offset()


@pytest.mark.parametrize("length", [1, BLOCK - 1, BLOCK + 1])
def test_lengths_have_to_be_aligned_unless_they_close(dbx, length):
    session = concurrent(dbx)
    assert refusal(append, dbx, session, 0, bytes(length)).is_concurrent_session_invalid_data_size()
    append(dbx, session, 0, bytes(length), close=True)


def test_no_data_comes_with_the_start(dbx):
    error = refusal(start, dbx, b"x", session_type=UploadSessionType.concurrent)
    assert error.is_concurrent_session_data_not_allowed()


def test_a_concurrent_session_does_not_start_closed(dbx):
    error = refusal(start, dbx, b"", close=True, session_type=UploadSessionType.concurrent)
    assert error.is_concurrent_session_close_not_allowed()


def test_no_data_comes_with_the_finish(dbx, place):
    session = concurrent(dbx)
    append(dbx, session, 0, bytes(BLOCK), close=True)
    error = refusal(finish, dbx, session, BLOCK, f"{place}/a", b"x")
    assert error.is_concurrent_session_data_not_allowed()
    assert finish(dbx, session, BLOCK, f"{place}/a").size == BLOCK


def test_finishing_before_closing_is_refused(dbx, place):
    session = concurrent(dbx)
    append(dbx, session, 0, bytes(BLOCK))
    assert refusal(finish, dbx, session, BLOCK, f"{place}/a").is_concurrent_session_not_closed()
    append(dbx, session, BLOCK, b"", close=True)
    assert finish(dbx, session, BLOCK, f"{place}/a").size == BLOCK


@pytest.mark.parametrize("missing", [0, 1])
def test_a_gap_is_missing_data(dbx, place, missing):
    session = concurrent(dbx)
    for index in {0, 1} - {missing}:
        append(dbx, session, index * BLOCK, bytes(BLOCK))
    append(dbx, session, 2 * BLOCK, b"end", close=True)
    error = refusal(finish, dbx, session, 2 * BLOCK + 3, f"{place}/a")
    assert error.is_concurrent_session_missing_data()
    assert tags(refusal(dbx.files_get_metadata, f"{place}/a")) == "path/not_found"


def test_the_gap_before_an_empty_closing_block_is_missing_data(dbx, place):
    session = concurrent(dbx)
    append(dbx, session, 0, bytes(BLOCK))
    append(dbx, session, 2 * BLOCK, b"", close=True)
    error = refusal(finish, dbx, session, 2 * BLOCK, f"{place}/a")
    assert error.is_concurrent_session_missing_data()


def test_a_closed_session_takes_no_more(dbx):
    session = concurrent(dbx)
    append(dbx, session, BLOCK, b"end", close=True)
    assert refusal(append, dbx, session, 0, bytes(BLOCK)).is_closed()


def test_a_resent_block_changes_nothing(dbx, place):
    data = pattern(2 * BLOCK)
    session = concurrent(dbx)
    for _ in range(2):
        append(dbx, session, 0, data[:BLOCK])
    append(dbx, session, BLOCK, data[BLOCK:])
    append(dbx, session, 0, data)
    append(dbx, session, 2 * BLOCK, b"", close=True)
    assert finish(dbx, session, 2 * BLOCK, f"{place}/a").content_hash == content_hash(data)


def test_a_wrong_hash_leaves_the_block_missing(dbx, place):
    data = pattern(BLOCK)
    session = concurrent(dbx)
    wrong = content_hash(b"something else")
    assert refusal(append, dbx, session, 0, data, content_hash=wrong).is_content_hash_mismatch()
    append(dbx, session, BLOCK, b"end", close=True)
    assert refusal(finish, dbx, session, BLOCK + 3, f"{place}/a").is_concurrent_session_missing_data()


def test_the_finish_names_the_whole_size(dbx, place):
    session = concurrent(dbx)
    append(dbx, session, 0, b"end", close=True)
    for offset in (0, 2, 4):
        error = refusal(finish, dbx, session, offset, f"{place}/a")
        assert error.get_lookup_failed().get_incorrect_offset().correct_offset == 3


def test_a_block_behind_the_closing_one_cannot_be_there_before_it(dbx):
    session = concurrent(dbx)
    append(dbx, session, BLOCK, bytes(BLOCK))
    error = refusal(append, dbx, session, 0, b"end", close=True)
    assert error.is_concurrent_session_invalid_offset()


def test_no_file_is_larger_than_the_largest(dbx):
    session = concurrent(dbx)
    assert refusal(append, dbx, session, LARGEST_FILE, bytes(BLOCK)).is_too_large()
    assert refusal(append, dbx, session, LARGEST_FILE, b"x", close=True).is_too_large()


def test_a_concurrent_session_lives_for_seven_days(world, dbx):
    session = concurrent(dbx)
    world.jump(7 * DAY - 60)
    append(dbx, session, 0, bytes(BLOCK))
    world.jump(60)
    assert refusal(append, dbx, session, BLOCK, b"", close=True).is_not_found()


def test_a_half_done_session_survives_its_world(tmp_path):
    data = pattern(2 * BLOCK + 1)
    first = World(tmp_path / "world")
    with client(first) as dbx:
        session = concurrent(dbx)
        append(dbx, session, BLOCK, data[BLOCK : 2 * BLOCK])
    first.process.kill()
    first.process.wait(timeout=30)
    first.process.stdout.close()
    second = World(tmp_path / "world")
    try:
        with client(second) as dbx:
            append(dbx, session, 0, data[:BLOCK])
            append(dbx, session, 2 * BLOCK, data[2 * BLOCK :], close=True)
            assert finish(dbx, session, len(data), "/a").content_hash == content_hash(data)
            assert bytes_of(dbx, "/a") == data
    finally:
        second.stop()
