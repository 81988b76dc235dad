"""list_folder, its cursors, and what they tell after a change."""

import pytest
from dropbox.files import DeletedMetadata, FileMetadata, FolderMetadata

from store.client import bad_input, client, raw, refusal, tags


def fill(dbx, place, names=("a", "B", "deep/c", "deep/er/d")):
    for name in names:
        dbx.files_upload(name.encode(), f"{place}/{name}")


def below(place, entries):
    return [entry.path_lower.removeprefix(place) for entry in entries]


def all_pages(dbx, page):
    entries = list(page.entries)
    while page.has_more:
        page = dbx.files_list_folder_continue(page.cursor)
        entries += page.entries
    return entries, page.cursor


def test_a_folder_lists_what_is_directly_in_it(dbx, place):
    fill(dbx, place)
    page = dbx.files_list_folder(place.upper())
    assert below(place, page.entries) == ["/a", "/b", "/deep"]
    assert [type(entry) for entry in page.entries] == [FileMetadata, FileMetadata, FolderMetadata]
    assert page.has_more is False
    assert page.entries[1] == dbx.files_get_metadata(f"{place}/b")
    assert page.entries[1].path_display == f"{place}/B"


def test_a_recursive_list_has_everything_and_the_folder_itself(dbx, place):
    fill(dbx, place)
    entries = dbx.files_list_folder(place, recursive=True).entries
    assert below(place, entries) == ["", "/a", "/b", "/deep", "/deep/c", "/deep/er", "/deep/er/d"]


def test_the_root_is_listed_without_itself(own):
    with client(own) as dbx:
        fill(dbx, "")
        assert below("", dbx.files_list_folder("").entries) == ["/a", "/b", "/deep"]
        recursive = dbx.files_list_folder("", recursive=True).entries
        assert below("", recursive) == ["/a", "/b", "/deep", "/deep/c", "/deep/er", "/deep/er/d"]


@pytest.mark.parametrize("limit", [1, 2, 3, 6, 7, 2000])
def test_pages_add_up_to_the_whole(dbx, place, limit):
    fill(dbx, place)
    page = dbx.files_list_folder(place, recursive=True, limit=limit)
    assert len(page.entries) == min(limit, 7)
    assert page.has_more is (limit < 7)
    entries, _ = all_pages(dbx, page)
    assert entries == dbx.files_list_folder(place, recursive=True).entries


def test_a_cursor_tells_only_what_changed_since(dbx, place):
    fill(dbx, place)
    cursor = dbx.files_list_folder(place, recursive=True).cursor
    quiet = dbx.files_list_folder_continue(cursor)
    assert (quiet.entries, quiet.has_more) == ([], False)
    made = dbx.files_upload(b"new", f"{place}/deep/new")
    dbx.files_delete_v2(f"{place}/a")
    news = dbx.files_list_folder_continue(quiet.cursor)
    assert below(place, news.entries) == ["/deep/new", "/a"]
    assert news.entries[0] == made and type(news.entries[1]) is DeletedMetadata
    assert dbx.files_list_folder_continue(news.cursor).entries == []
    # An earlier cursor still tells all of it.
    assert below(place, dbx.files_list_folder_continue(cursor).entries) == ["/deep/new", "/a"]


def test_changes_between_the_pages_are_not_missed(dbx, place):
    fill(dbx, place, ("a", "b", "c"))
    page = dbx.files_list_folder(place, limit=2)
    early = dbx.files_upload(b"early", f"{place}/0")
    entries, cursor = all_pages(dbx, page)
    entries += dbx.files_list_folder_continue(cursor).entries
    assert early in entries
    assert {"/a", "/b", "/c"} <= set(below(place, entries))


def test_the_news_come_in_pages_too(dbx, place):
    dbx.files_create_folder_v2(place)
    cursor = dbx.files_list_folder(place, limit=2).cursor
    fill(dbx, place, ("a", "b", "c"))
    page = dbx.files_list_folder_continue(cursor)
    assert (below(place, page.entries), page.has_more) == (["/a", "/b"], True)
    page = dbx.files_list_folder_continue(page.cursor)
    assert (below(place, page.entries), page.has_more) == (["/c"], False)


def test_a_flat_list_hears_nothing_of_what_is_deeper(dbx, place):
    fill(dbx, place)
    cursor = dbx.files_list_folder(place).cursor
    dbx.files_upload(b"x", f"{place}/deep/new")
    assert dbx.files_list_folder_continue(cursor).entries == []


def test_deleted_entries_are_listed_on_request(dbx, place):
    fill(dbx, place, ("a", "b"))
    dbx.files_delete_v2(f"{place}/a")
    assert below(place, dbx.files_list_folder(place).entries) == ["/b"]
    entries = dbx.files_list_folder(place, include_deleted=True).entries
    assert below(place, entries) == ["/a", "/b"]
    assert [type(entry) for entry in entries] == [DeletedMetadata, FileMetadata]


def test_what_cannot_be_listed(dbx, place):
    made = dbx.files_upload(b"x", f"{place}/a")
    assert tags(refusal(dbx.files_list_folder, f"{place}/none")) == "path/not_found"
    assert tags(refusal(dbx.files_list_folder, f"{place}/a")) == "path/not_folder"
    assert tags(refusal(dbx.files_list_folder, made.id)) == "path/not_folder"


def test_a_folder_is_listed_by_its_id(dbx, place):
    fill(dbx, place)
    folder = dbx.files_get_metadata(f"{place}/deep")
    assert below(place, dbx.files_list_folder(folder.id).entries) == ["/deep/c", "/deep/er"]


def test_the_cursor_of_a_deleted_folder_finds_nothing(dbx, place):
    fill(dbx, place)
    cursor = dbx.files_list_folder(place).cursor
    dbx.files_delete_v2(place)
    assert tags(refusal(dbx.files_list_folder_continue, cursor)) == "path/not_found"


def test_cursors_of_an_emptied_world_are_dead(own):
    with client(own) as dbx:
        fill(dbx, "")
        cursor = dbx.files_list_folder("").cursor
        own.admin("POST", "reset")
        assert refusal(dbx.files_list_folder_continue, cursor).is_reset()
        assert refusal(dbx.files_list_folder_longpoll, cursor).is_reset()
        assert dbx.files_list_folder("").entries == []


@pytest.mark.parametrize("limit", [0, 2001])
def test_a_page_has_a_size(dbx, limit):
    text = bad_input(raw, dbx, "files/list_folder", {"path": "", "limit": limit})
    assert text.endswith(f"request body: limit: {limit} is not within 1 and 2000")


@pytest.mark.parametrize("limit", [1.5, "7"])
def test_the_size_of_a_page_is_a_whole_number(dbx, limit):
    text = bad_input(raw, dbx, "files/list_folder", {"path": "", "limit": limit})
    assert "limit: expected integer, got " in text


def test_an_invented_cursor_is_refused_in_plain_text(dbx):
    assert 'Invalid "cursor" parameter' in bad_input(dbx.files_list_folder_continue, "invented")


def test_waiting_for_news_needs_no_token(world, dbx, place):
    fill(dbx, place)
    cursor = dbx.files_list_folder(place).cursor
    with client(world, token="sl.no-token-at-all-is-looked-at") as stranger:
        quiet = stranger.files_list_folder_longpoll(cursor, timeout=30)
        assert (quiet.changes, quiet.backoff) == (False, 30)
        dbx.files_upload(b"x", f"{place}/new")
        assert stranger.files_list_folder_longpoll(cursor).changes is True
    after = dbx.files_list_folder_continue(cursor).cursor
    assert dbx.files_list_folder_longpoll(after).changes is False
