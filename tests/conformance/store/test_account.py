"""The account: who it is, how full it is, which root its paths start from."""

import pytest
import requests
from dropbox.common import PathRoot
from dropbox.exceptions import PathRootError
from dropbox.files import CommitInfo, WriteMode

from store.client import append, bad_input, bytes_of, client, finish, raw, refusal, start, tags


@pytest.fixture
def tight(own):
    """A world whose account may hold ten bytes."""
    own.set(dropbox={"allocated": 10})
    with client(own) as dbx:
        yield dbx


def test_the_account_says_who_it_is(dbx):
    account = dbx.users_get_current_account()
    assert account.account_id.startswith("dbid:") and len(account.account_id) == 40
    assert account.name.display_name == "Sand Box"
    assert account.email.endswith(".invalid")
    assert (account.email_verified, account.disabled, account.account_type.is_pro()) == (True, False, True)
    root = account.root_info
    assert type(root).__name__ == "UserRootInfo"
    assert root.root_namespace_id == root.home_namespace_id and root.home_namespace_id.isdigit()


def test_a_check_answers_what_it_was_asked(dbx):
    assert dbx.check_user("ü😀").result == "ü😀"
    assert dbx.check_user().result == ""
    text = bad_input(raw, dbx, "check/user", {"query": "x" * 501})
    assert "query: must have at most 500 characters" in text


def test_space_is_used_by_what_is_there_now(own):
    with client(own) as dbx:
        usage = dbx.users_get_space_usage()
        assert usage.used == 0
        assert usage.allocation.get_individual().allocated == 2_000_000_000_000
        dbx.files_upload(b"12345", "/a")
        dbx.files_upload(b"123", "/a", mode=WriteMode.overwrite)
        dbx.files_copy_v2("/a", "/b")
        assert dbx.users_get_space_usage().used == 6
        start(dbx, b"an upload that is no file yet")
        assert dbx.users_get_space_usage().used == 6
        dbx.files_delete_v2("/a")
        assert dbx.users_get_space_usage().used == 3


def test_a_full_account_takes_no_upload(tight):
    error = refusal(tight.files_upload, b"12345678901", "/a")
    assert tags(error) == "path/insufficient_space"
    assert tags(refusal(tight.files_get_metadata, "/a")) == "path/not_found"
    made = tight.files_upload(b"1234567890", "/a")
    # The file it replaces makes room.
    assert tight.files_upload(b"0987654321", "/a", mode=WriteMode.overwrite).id == made.id
    assert tags(refusal(tight.files_upload, b"1", "/b")) == "path/insufficient_space"


def test_the_bytes_that_found_no_room_wait_for_it(own):
    own.set(dropbox={"allocated": 4})
    with client(own) as dbx:
        kept = refusal(dbx.files_upload, b"12345", "/a").get_path().upload_session_id
        session = start(dbx)
        append(dbx, session, 0, b"54321", close=True)
        assert tags(refusal(finish, dbx, session, 5, "/b")) == "path/insufficient_space"
        own.set(dropbox={"allocated": 10})
        finish(dbx, kept, 5, "/a")
        finish(dbx, session, 5, "/b")
        assert (bytes_of(dbx, "/a"), bytes_of(dbx, "/b")) == (b"12345", b"54321")


def test_a_full_account_takes_no_copy_and_no_restore_but_a_move(tight):
    first = tight.files_upload(b"12345678", "/a")
    assert refusal(tight.files_copy_v2, "/a", "/b").is_insufficient_quota()
    assert tight.files_move_v2("/a", "/b").metadata.id == first.id
    tight.files_upload(b"1", "/b", mode=WriteMode.overwrite)
    tight.files_upload(b"123456789", "/c")
    assert tags(refusal(tight.files_restore, "/b", first.rev)) == "path_write/insufficient_space"
    assert bytes_of(tight, "/b") == b"1"


def test_a_full_account_fails_an_upload_link_without_a_reason(tight):
    link = tight.files_get_temporary_upload_link(CommitInfo("/a")).link
    kind = {"Content-Type": "application/octet-stream"}
    assert requests.post(link, data=b"12345678901", headers=kind, timeout=60).status_code == 409


def test_the_own_root_changes_nothing(dbx, place):
    made = dbx.files_upload(b"x", f"{place}/a")
    namespace = dbx.users_get_current_account().root_info.root_namespace_id
    for root in (PathRoot.home, PathRoot.root(namespace), PathRoot.namespace_id(namespace)):
        rooted = dbx.with_path_root(root)
        assert rooted.files_get_metadata(f"{place}/a") == made
        assert bytes_of(rooted, f"{place}/a") == b"x"


def test_another_root_is_named_in_the_error(dbx):
    own = dbx.users_get_current_account().root_info
    with pytest.raises(PathRootError) as caught:
        dbx.with_path_root(PathRoot.root("7")).files_list_folder("")
    assert caught.value.status_code == 422
    now = caught.value.error.get_invalid_root()
    assert (now.root_namespace_id, now.home_namespace_id) == (own.root_namespace_id, own.home_namespace_id)
    assert type(now).__name__ == "UserRootInfo"


def test_another_namespace_is_not_permitted(dbx, place):
    rooted = dbx.with_path_root(PathRoot.namespace_id("7"))
    for call in (
        lambda: rooted.files_upload(b"x", f"{place}/a"),
        lambda: rooted.files_download(f"{place}/a"),
        rooted.users_get_space_usage,
    ):
        with pytest.raises(PathRootError) as caught:
            call()
        assert caught.value.error.is_no_permission()
    assert tags(refusal(dbx.files_get_metadata, f"{place}/a")) == "path/not_found"


def test_a_root_that_is_no_root_is_refused_in_plain_text(world):
    for header, what in (("{}", "missing required field '.tag'"), ("home", "could not decode input as JSON")):
        with client(world, headers={"Dropbox-API-Path-Root": header}) as dbx:
            text = bad_input(dbx.users_get_space_usage)
            assert f'HTTP header "Dropbox-API-Path-Root": {what}' in text
