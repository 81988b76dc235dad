"""start_batch, append_batch, finish_batch."""

import pytest
from dropbox.files import (
    CommitInfo,
    UploadSessionAppendBatchArgEntry,
    UploadSessionCursor,
    UploadSessionFinishArg,
    UploadSessionType,
    WriteMode,
)

from store.client import (
    BLOCK,
    HASH_OF_NOTHING,
    LARGEST_REQUEST,
    append,
    bad_input,
    bytes_of,
    content_hash,
    finish,
    raw,
    refusal,
    start,
    tags,
)


def entry(session, offset, path, **commit):
    return UploadSessionFinishArg(UploadSessionCursor(session, offset), CommitInfo(path, **commit))


def piece(session, offset, length, close=False):
    return UploadSessionAppendBatchArgEntry(UploadSessionCursor(session, offset), length, close)


def test_a_batch_of_sessions_starts_at_once(dbx, place):
    ids = dbx.files_upload_session_start_batch(3).session_ids
    assert len(set(ids)) == 3
    assert all(session.startswith("pid_upload_session:") for session in ids)
    append(dbx, ids[1], 0, b"second")
    assert finish(dbx, ids[1], 6, f"{place}/a").content_hash == content_hash(b"second")


def test_a_batch_of_concurrent_sessions_starts_at_once(dbx):
    session, _ = dbx.files_upload_session_start_batch(2, UploadSessionType.concurrent).session_ids
    assert refusal(append, dbx, session, 1, b"x", close=True).is_concurrent_session_invalid_offset()
    append(dbx, session, BLOCK, bytes(BLOCK))


@pytest.mark.parametrize("count", [0, 1001, -1])
def test_batches_have_a_size(dbx, count):
    text = bad_input(raw, dbx, "files/upload_session/start_batch", {"num_sessions": count})
    assert f"request body: num_sessions: {count} is not within 1 and 1000" in text


def test_a_batch_finishes_what_it_can(dbx, place):
    taken = dbx.files_upload(b"taken", f"{place}/taken")
    whole, clash, opened = start(dbx, b"whole", close=True), start(dbx, b"clash", close=True), start(dbx, b"open")
    late = start(dbx, b"late", close=True)
    results = dbx.files_upload_session_finish_batch_v2(
        [
            entry(whole, 5, f"{place}/whole"),
            entry(clash, 5, f"{place}/taken"),
            entry(opened, 4, f"{place}/open"),
            entry("pid_upload_session:none", 0, f"{place}/none"),
            entry(late, 3, f"{place}/late"),
            entry(whole, 5, f"{place}/twice"),
        ]
    ).entries
    assert [result.is_success() for result in results] == [True] + 5 * [False]
    made = results[0].get_success()
    assert (made.path_display, made.content_hash) == (f"{place}/whole", content_hash(b"whole"))
    failures = [result.get_failure() for result in results[1:]]
    assert tags(failures[0]) == "path/conflict/file"
    assert tags(failures[1]) == "lookup_failed/not_closed"
    assert tags(failures[2]) == "lookup_failed/not_found"
    assert failures[3].get_lookup_failed().get_incorrect_offset().correct_offset == 4
    assert tags(failures[4]) == "lookup_failed/closed"
    assert dbx.files_get_metadata(f"{place}/taken").rev == taken.rev
    # What failed can be tried again.
    (again,) = dbx.files_upload_session_finish_batch_v2(
        [entry(clash, 5, f"{place}/taken", mode=WriteMode.update(taken.rev))]
    ).entries
    assert again.get_success().content_hash == content_hash(b"clash")


def test_a_batch_finishes_concurrent_sessions(dbx, place):
    closed, opened = dbx.files_upload_session_start_batch(2, UploadSessionType.concurrent).session_ids
    append(dbx, closed, 0, b"closed", close=True)
    append(dbx, opened, 0, bytes(BLOCK))
    first, second = dbx.files_upload_session_finish_batch_v2(
        [entry(closed, 6, f"{place}/closed"), entry(opened, BLOCK, f"{place}/open")]
    ).entries
    assert first.get_success().size == 6
    assert second.get_failure().is_concurrent_session_not_closed()


def test_the_hash_of_a_batch_entry_is_that_of_nothing(dbx, place):
    session = start(dbx, b"x", close=True)
    wrong = entry(session, 1, f"{place}/a")
    wrong.content_hash = content_hash(b"x")
    (result,) = dbx.files_upload_session_finish_batch_v2([wrong]).entries
    assert result.get_failure().is_content_hash_mismatch()
    wrong.content_hash = HASH_OF_NOTHING
    (result,) = dbx.files_upload_session_finish_batch_v2([wrong]).entries
    assert result.get_success().size == 1


def test_a_batch_has_no_more_than_a_thousand_entries(dbx):
    one = {"cursor": {"session_id": "x", "offset": 0}, "commit": {"path": "/a"}}
    text = bad_input(raw, dbx, "files/upload_session/finish_batch_v2", {"entries": 1001 * [one]})
    assert text.endswith("entries: list must have at most 1000 items, got 1001")
    assert 'function "files/upload_session/finish_batch:2"' in text


def test_the_earlier_batch_finishes_at_once_too(dbx, place):
    session = start(dbx, b"x", close=True)
    with pytest.warns(DeprecationWarning):
        launch = dbx.files_upload_session_finish_batch([entry(session, 1, f"{place}/a")])
    assert launch.is_complete()
    assert launch.get_complete().entries[0].get_success().path_lower == f"{place}/a"
    assert tags(refusal(dbx.files_upload_session_finish_batch_check, "no job")) == "invalid_async_job_id"


def test_one_body_is_cut_for_many_sessions(dbx, place):
    one, two, three = dbx.files_upload_session_start_batch(3).session_ids
    entries = [piece(one, 0, 3, True), piece(two, 5, 4), piece(three, 0, 0), piece(two, 0, 2)]
    entries += [piece("pid_upload_session:none", 0, 1)]
    results = dbx.files_upload_session_append_batch(b"onebad.twX", entries).entries
    assert [result.is_success() for result in results] == [True, False, True, True, False]
    assert results[1].get_failure().get_incorrect_offset().correct_offset == 0
    assert results[4].get_failure().is_not_found()
    assert finish(dbx, one, 3, f"{place}/one").content_hash == content_hash(b"one")
    finish(dbx, two, 2, f"{place}/two")
    assert bytes_of(dbx, f"{place}/two") == b"tw"
    assert refusal(append, dbx, one, 3, b"x").is_closed()


@pytest.mark.parametrize("body", [b"12", b"1234"])
def test_the_lengths_have_to_add_up_to_the_body(dbx, place, body):
    session = start(dbx)
    error = refusal(dbx.files_upload_session_append_batch, body, [piece(session, 0, 3)])
    assert error.is_length_mismatch()
    assert finish(dbx, session, 0, f"{place}/a").size == 0


def test_the_hash_of_an_append_batch_is_that_of_the_whole_body(dbx):
    one, two = dbx.files_upload_session_start_batch(2).session_ids
    entries = [piece(one, 0, 2), piece(two, 0, 2)]
    error = refusal(dbx.files_upload_session_append_batch, b"1234", entries, content_hash=content_hash(b"12"))
    assert error.is_content_hash_mismatch()
    assert refusal(append, dbx, one, 9, b"").get_incorrect_offset().correct_offset == 0
    done = dbx.files_upload_session_append_batch(b"1234", entries, content_hash=content_hash(b"1234"))
    assert [result.is_success() for result in done.entries] == [True, True]


def test_an_append_batch_has_150_mib_at_most(dbx):
    session = start(dbx)
    size = LARGEST_REQUEST + 1
    error = refusal(dbx.files_upload_session_append_batch, bytes(size), [piece(session, 0, size)])
    assert error.is_payload_too_large()
