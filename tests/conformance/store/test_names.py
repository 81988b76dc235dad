"""Paths: case, letters beyond ASCII, headers that carry them, names that are refused."""

import json

import pytest

from store.client import bad_input, bytes_of, raw, refusal, tags


def test_case_is_ignored_and_kept(dbx, place):
    made = dbx.files_upload(b"x", f"{place}/FastAI/Export.PKL")
    found = dbx.files_get_metadata(f"{place.upper()}/fastai/EXPORT.pkl")
    assert found == made
    assert found.path_display == f"{place}/FastAI/Export.PKL"
    assert found.path_lower == f"{place}/fastai/export.pkl"
    assert bytes_of(dbx, f"{place}/FASTAI/export.pkl") == b"x"


def test_a_second_spelling_does_not_rename_a_folder(dbx, place):
    dbx.files_create_folder_v2(f"{place}/Data")
    made = dbx.files_upload(b"x", f"{place}/DATA/New")
    assert made.path_display == f"{place}/Data/New"


@pytest.mark.parametrize(
    "name",
    ["Größe.pkl", "ÅNGSTRÖM", "модель.bin", "模型 2.pkl", "exp ü😀.pkl", "𝔘nicode", 'q"uote', "a%20b+c&d=e"],
)
def test_names_survive_the_headers_both_ways(dbx, place, name):
    made = dbx.files_upload(name.encode(), f"{place}/{name}")
    assert (made.name, made.path_display) == (name, f"{place}/{name}")
    # The metadata of a download comes back in a header, which carries ASCII only.
    found, reply = dbx.files_download(f"{place}/{name}")
    assert (found.name, reply.content) == (name, name.encode())
    assert reply.headers["dropbox-api-result"].isascii()
    assert "\x7f" not in reply.headers["dropbox-api-result"]


def test_letters_beyond_the_first_plane_are_escaped_as_surrogate_pairs(dbx, place):
    dbx.files_upload(b"x", f"{place}/ü😀")
    header = dbx.files_download(f"{place}/ü😀")[1].headers["dropbox-api-result"]
    assert r"\u00fc\ud83d\ude00" in header
    assert json.loads(header)["name"] == "ü😀"


def test_letters_fold_one_by_one(dbx, place):
    made = dbx.files_upload(b"x", f"{place}/ÄÖ")
    assert made.path_lower == f"{place}/äö"
    # No letter becomes two: these stay different names.
    assert dbx.files_upload(b"1", f"{place}/straße").id != dbx.files_upload(b"2", f"{place}/STRASSE").id


@pytest.mark.parametrize(
    "name",
    ["back\\slash", "del\x7f", "ends in space ", "tab\t", "a//b", "dir/", ".", "..", "a/../b", "x" * 256],
)
def test_names_that_cannot_be_written_are_malformed(dbx, place, name):
    assert tags(refusal(dbx.files_upload, b"x", f"{place}/{name}")) == "path/malformed_path"


def test_255_characters_are_not_too_many(dbx, place):
    assert len(dbx.files_upload(b"x", f"{place}/" + "ü" * 255).name) == 255


@pytest.mark.parametrize("name", ["desktop.ini", "Thumbs.db", ".DS_Store", ".dropbox", ".dropbox.attr"])
def test_names_of_systems_are_disallowed(dbx, place, name):
    assert tags(refusal(dbx.files_upload, b"x", f"{place}/{name}")) == "path/disallowed_name"
    assert tags(refusal(dbx.files_create_folder_v2, f"{place}/{name}")) == "path/disallowed_name"


@pytest.mark.parametrize(
    ("route", "argument", "field", "what"),
    [
        ("files/get_metadata", {"path": "a"}, "path", "'a' did not match pattern"),
        ("files/get_metadata", {"path": ""}, "path", "'' did not match pattern"),
        ("files/get_metadata", {"path": "rev:12"}, "path", "'rev:12' did not match pattern"),
        ("files/delete_v2", {"path": "rev:0123456789"}, "path", "did not match pattern"),
        ("files/create_folder_v2", {"path": "id:abc"}, "path", "'id:abc' did not match pattern"),
        ("files/list_folder", {"path": "docs"}, "path", "'docs' did not match pattern"),
        ("files/move_v2", {"from_path": "x", "to_path": "/y"}, "from_path", "'x' did not match pattern"),
        ("files/list_revisions", {"path": "x"}, "path", "'x' did not match pattern"),
        ("files/restore", {"path": "/x", "rev": "XYZ"}, "rev", "'XYZ' did not match pattern"),
    ],
)
def test_paths_that_match_no_pattern_are_refused_in_plain_text(dbx, route, argument, field, what):
    text = bad_input(raw, dbx, route, argument)
    name = route.removesuffix("_v2") + (":2" if route.endswith("_v2") else "")
    assert text.startswith(f'Error in call to API function "{name}": request body: {field}: ')
    assert what in text


@pytest.mark.parametrize(
    "route",
    ["files/get_metadata", "files/create_folder_v2", "files/delete_v2"],
)
def test_the_root_folder_is_unsupported(dbx, route):
    assert bad_input(raw, dbx, route, {"path": "/"}).endswith("path: The root folder is unsupported.")


def test_the_root_is_listed_as_an_empty_path_only(dbx):
    text = bad_input(raw, dbx, "files/list_folder", {"path": "/"})
    assert text.endswith('path: Specify the root folder as an empty string rather than as "/".')


def test_the_root_of_an_upload_is_refused_with_the_place_of_the_path(dbx):
    text = bad_input(raw, dbx, "files/upload", {"path": "/"}, "content", "upload", b"x")
    assert 'HTTP header "Dropbox-API-Arg": path: The root folder is unsupported.' in text
    argument = {"cursor": {"session_id": "x", "offset": 0}, "commit": {"path": "/"}}
    text = bad_input(raw, dbx, "files/upload_session/finish", argument, "content", "upload", b"")
    assert 'HTTP header "Dropbox-API-Arg": commit.path: The root folder is unsupported.' in text


def test_the_own_namespace_is_another_name_for_the_root(dbx, place):
    namespace = dbx.users_get_current_account().root_info.home_namespace_id
    made = dbx.files_upload(b"x", f"ns:{namespace}{place}/a")
    assert made.path_lower == f"{place}/a"
    assert dbx.files_get_metadata(f"ns:{namespace}{place}/A") == made
    for other in (f"ns:{namespace}7{place}/a", f"ns:7{place}/a"):
        assert tags(refusal(dbx.files_get_metadata, other)) == "path/not_found"
