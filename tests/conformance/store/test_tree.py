"""Folders, deletion, moves, copies, revisions, restores."""

import pytest
from dropbox.files import DeletedMetadata, FileMetadata, FolderMetadata, ListRevisionsMode, WriteMode

from store.client import bad_input, bytes_of, client, content_hash, raw, refusal, tags


def names(dbx, path):
    """Returns the lower-case paths below a folder, without it."""
    entries = dbx.files_list_folder(path, recursive=True).entries
    return [entry.path_lower.removeprefix(path) for entry in entries if entry.path_lower != path]


def test_a_folder_is_made_with_those_above_it(dbx, place):
    made = dbx.files_create_folder_v2(f"{place}/A/b").metadata
    assert type(made) is FolderMetadata
    assert (made.name, made.path_display, made.path_lower) == ("b", f"{place}/A/b", f"{place}/a/b")
    assert made.id.startswith("id:") and len(made.id) == 25
    assert dbx.files_get_metadata(made.id) == made


def test_a_folder_is_not_made_twice(dbx, place):
    dbx.files_create_folder_v2(place)
    assert tags(refusal(dbx.files_create_folder_v2, place.upper())) == "path/conflict/folder"
    assert dbx.files_create_folder_v2(place, autorename=True).metadata.path_lower == f"{place} (2)"


def test_a_folder_is_not_made_where_a_file_is(dbx, place):
    dbx.files_upload(b"x", place)
    assert tags(refusal(dbx.files_create_folder_v2, place)) == "path/conflict/file"
    assert tags(refusal(dbx.files_create_folder_v2, f"{place}/below")) == "path/conflict/file_ancestor"


def test_a_deletion_tells_what_was_there(dbx, place):
    made = dbx.files_upload(b"x", f"{place}/a")
    assert dbx.files_delete_v2(f"{place}/A").metadata == made
    assert tags(refusal(dbx.files_get_metadata, f"{place}/a")) == "path/not_found"
    deleted = dbx.files_get_metadata(f"{place}/a", include_deleted=True)
    assert type(deleted) is DeletedMetadata
    assert (deleted.name, deleted.path_lower) == ("a", f"{place}/a")
    assert tags(refusal(dbx.files_delete_v2, f"{place}/a")) == "path_lookup/not_found"


def test_a_folder_is_deleted_with_all_below_it(dbx, place):
    dbx.files_upload(b"x", f"{place}/d/deep/file")
    folder = dbx.files_get_metadata(f"{place}/d")
    assert dbx.files_delete_v2(f"{place}/d").metadata == folder
    for path in ("/d", "/d/deep", "/d/deep/file"):
        assert tags(refusal(dbx.files_get_metadata, place + path)) == "path/not_found"
    assert names(dbx, place) == []


def test_a_deletion_by_revision_deletes_only_that_one(dbx, place):
    first = dbx.files_upload(b"1", f"{place}/a")
    second = dbx.files_upload(b"2", f"{place}/a", mode=WriteMode.overwrite)
    error = refusal(dbx.files_delete_v2, f"{place}/a", parent_rev=first.rev)
    assert tags(error) == "path_write/conflict/file"
    assert bytes_of(dbx, f"{place}/a") == b"2"
    assert dbx.files_delete_v2(f"{place}/a", parent_rev=second.rev).metadata.rev == second.rev


def test_a_deletion_by_revision_is_for_files(dbx, place):
    dbx.files_create_folder_v2(place)
    error = refusal(dbx.files_delete_v2, place, parent_rev="0" * 31)
    assert tags(error) == "path_lookup/not_file"
    assert dbx.files_get_metadata(place).path_lower == place


def test_a_moved_file_keeps_its_id_and_its_history(dbx, place):
    first = dbx.files_upload(b"1", f"{place}/a")
    second = dbx.files_upload(b"2", f"{place}/a", mode=WriteMode.overwrite)
    moved = dbx.files_move_v2(f"{place}/a", f"{place}/new/B").metadata
    assert (moved.id, moved.path_display) == (first.id, f"{place}/new/B")
    assert moved.content_hash == content_hash(b"2")
    assert tags(refusal(dbx.files_get_metadata, f"{place}/a")) == "path/not_found"
    history = dbx.files_list_revisions(f"{place}/new/b", mode=ListRevisionsMode.id).entries
    assert [revision.rev for revision in history] == [second.rev, first.rev]


def test_a_moved_folder_keeps_its_id_and_what_is_in_it(dbx, place):
    made = dbx.files_upload(b"x", f"{place}/From/Deep/File")
    folder = dbx.files_get_metadata(f"{place}/from")
    moved = dbx.files_move_v2(f"{place}/from", f"{place}/To").metadata
    assert type(moved) is FolderMetadata
    assert (moved.id, moved.path_display) == (folder.id, f"{place}/To")
    assert names(dbx, place) == ["/to", "/to/deep", "/to/deep/file"]
    found = dbx.files_get_metadata(f"{place}/to/deep/file")
    assert (found.id, found.path_display) == (made.id, f"{place}/To/Deep/File")


def test_a_copy_is_a_file_of_its_own(dbx, place):
    made = dbx.files_upload(b"x", f"{place}/a")
    copy = dbx.files_copy_v2(f"{place}/a", f"{place}/b").metadata
    assert type(copy) is FileMetadata
    assert copy.id != made.id and copy.rev != made.rev
    assert (copy.content_hash, copy.client_modified) == (made.content_hash, made.client_modified)
    dbx.files_upload(b"y", f"{place}/b", mode=WriteMode.overwrite)
    assert bytes_of(dbx, f"{place}/a") == b"x"


def test_a_copied_folder_has_files_of_its_own(dbx, place):
    made = dbx.files_upload(b"x", f"{place}/from/file")
    folder = dbx.files_get_metadata(f"{place}/from")
    copy = dbx.files_copy_v2(f"{place}/from", f"{place}/to").metadata
    assert copy.id != folder.id
    assert names(dbx, place) == ["/from", "/from/file", "/to", "/to/file"]
    assert dbx.files_get_metadata(f"{place}/to/file").id != made.id


@pytest.mark.parametrize("route", ["files_move_v2", "files_copy_v2"])
def test_nothing_is_moved_or_copied_over_something(dbx, place, route):
    for name in ("a", "file", "folder/x"):
        dbx.files_upload(name.encode(), f"{place}/{name}")
    relocate = getattr(dbx, route)
    assert tags(refusal(relocate, f"{place}/a", f"{place}/file")) == "to/conflict/file"
    assert tags(refusal(relocate, f"{place}/a", f"{place}/folder")) == "to/conflict/folder"
    assert tags(refusal(relocate, f"{place}/a", f"{place}/file/x")) == "to/conflict/file_ancestor"
    assert tags(refusal(relocate, f"{place}/none", f"{place}/y")) == "from_lookup/not_found"
    assert tags(refusal(relocate, f"{place}/a", f"{place}/bad ")) == "to/malformed_path"
    assert names(dbx, place) == ["/a", "/file", "/folder", "/folder/x"]
    assert relocate(f"{place}/a", f"{place}/file", autorename=True).metadata.name == "file (2)"


def test_a_folder_is_not_moved_into_itself(dbx, place):
    dbx.files_create_folder_v2(f"{place}/d")
    error = refusal(dbx.files_move_v2, f"{place}/d", f"{place}/D/e")
    assert error.is_cant_move_folder_into_itself()
    assert refusal(dbx.files_move_v2, f"{place}/d", f"{place}/D").is_duplicated_or_nested_paths()
    assert names(dbx, place) == ["/d"]


def test_a_move_may_not_find_what_was_just_uploaded(own):
    own.set(dropbox={"move_lag": 5.0})
    with client(own) as dbx:
        made = dbx.files_upload(b"x", "/a")
        assert dbx.files_get_metadata("/a").rev == made.rev, "looking finds it"
        assert tags(refusal(dbx.files_move_v2, "/a", "/b")) == "from_lookup/not_found"
        own.jump(5)
        assert dbx.files_move_v2("/a", "/b").metadata.id == made.id


def test_revisions_come_newest_first_and_in_pages(dbx, place):
    revisions = [
        dbx.files_upload(str(index).encode(), f"{place}/a", mode=WriteMode.overwrite) for index in range(5)
    ][::-1]
    page = dbx.files_list_revisions(f"{place}/a", limit=2)
    assert (page.entries, page.has_more, page.is_deleted) == (revisions[:2], True, False)
    page = dbx.files_list_revisions(f"{place}/a", limit=3, before_rev=revisions[1].rev)
    assert (page.entries, page.has_more) == (revisions[2:], False)
    assert [bytes_of(dbx, f"rev:{one.rev}") for one in revisions] == [b"4", b"3", b"2", b"1", b"0"]


def test_the_revisions_of_a_deleted_file_stay(dbx, place):
    made = dbx.files_upload(b"x", f"{place}/a")
    dbx.files_delete_v2(f"{place}/a")
    found = dbx.files_list_revisions(f"{place}/a")
    assert found.is_deleted and found.server_deleted >= made.server_modified
    assert [revision.rev for revision in found.entries] == [made.rev]


def test_revisions_by_id_are_those_of_one_file(dbx, place):
    dbx.files_upload(b"old", f"{place}/a")
    dbx.files_delete_v2(f"{place}/a")
    new = dbx.files_upload(b"new", f"{place}/a")
    assert len(dbx.files_list_revisions(f"{place}/a").entries) == 2
    by_id = dbx.files_list_revisions(f"{place}/a", mode=ListRevisionsMode.id)
    assert [revision.rev for revision in by_id.entries] == [new.rev]


def test_revisions_that_cannot_be_listed(dbx, place):
    made = dbx.files_upload(b"x", f"{place}/d/a")
    assert tags(refusal(dbx.files_list_revisions, f"{place}/none")) == "path/not_found"
    assert tags(refusal(dbx.files_list_revisions, f"{place}/d")) == "path/not_file"
    error = refusal(dbx.files_list_revisions, f"{place}/d/a", before_rev="0" * 31)
    assert error.is_invalid_before_rev()
    error = refusal(
        dbx.files_list_revisions, f"{place}/d/a", mode=ListRevisionsMode.id, before_rev=made.rev
    )
    assert error.is_before_rev_not_supported()
    text = bad_input(raw, dbx, "files/list_revisions", {"path": "/a", "limit": 101})
    assert text.endswith("limit: 101 is not within 1 and 100")


def test_an_earlier_revision_comes_back_as_a_new_one(dbx, place):
    first = dbx.files_upload(b"first", f"{place}/a")
    second = dbx.files_upload(b"second", f"{place}/a", mode=WriteMode.overwrite)
    restored = dbx.files_restore(f"{place}/a", first.rev)
    assert restored.rev not in (first.rev, second.rev)
    assert (restored.id, restored.content_hash) == (first.id, first.content_hash)
    assert bytes_of(dbx, f"{place}/a") == b"first"


def test_a_deleted_file_is_restored(dbx, place):
    made = dbx.files_upload(b"x", f"{place}/d/a")
    dbx.files_delete_v2(f"{place}/d")
    restored = dbx.files_restore(f"{place}/d/a", made.rev)
    assert (restored.id, restored.path_lower) == (made.id, f"{place}/d/a")
    assert bytes_of(dbx, f"{place}/d/a") == b"x"


def test_what_cannot_be_restored(dbx, place):
    made = dbx.files_upload(b"x", f"{place}/a")
    other = dbx.files_upload(b"y", f"{place}/b")
    assert refusal(dbx.files_restore, f"{place}/a", other.rev).is_invalid_revision()
    assert tags(refusal(dbx.files_restore, f"{place}/none", made.rev)) == "path_lookup/not_found"
    dbx.files_create_folder_v2(f"{place}/d")
    assert tags(refusal(dbx.files_restore, f"{place}/d", made.rev)) == "path_write/conflict/folder"
