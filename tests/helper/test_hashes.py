"""Content hashes are Dropbox's, and what is remembered of them never outlives the bytes."""

import hashlib
import json
import os
import time

import pytest
from conftest import Home, age
from data import pattern
from laptop import BLOCK, content_hash

PLACE = "lesson3/export.pkl"
SIZE = 16 * 1024 * 1024
DATA = pattern(BLOCK) + bytes(SIZE - BLOCK)

# Published vectors: byte[i] = i mod 251, hashed alike by five implementations.
VECTORS = {
    0: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    1: "1406e05881e299367766d313e26c05564ec91bf721d31726bd6e46e60689539a",
    4194303: "e1d05b9adf4293b7fec11b099ce74116fc06dfa733a9833be9166ab4c769da43",
    4194304: "b9654428408015906b44a00935b70af33830aa344b780b0eabd535a133150d04",
    4194305: "4a6cc0a344febaa07772e7c974834b2fb1d24594d4ba15f27c97a54699709f44",
    8388608: "b76a633d9733b991a976dba723df6940bfaf789390a929fe8f68fd1b4705c8c1",
    8388609: "c84ee1d6377d71687c1cfe37be0897c4e351df175ea677ca2c918736a9cfb476",
    10485760: "9b168152f37a1b2c33d9b26ca4a679d5f99f84f8c070fd3a4491d52cbfe96af4",
}
OF_LETTERS = {
    1: "1cd6ef71e6e0ff46ad2609d403dc3fee244417089aa4461245a4e4fe23a55e42",
    4194305: "8f553da8d00d0bf509d8470e242888be33019c20c0544811f5b2b89e98360b92",
}


def look(home, **paths):
    return home.ask({"op": "hash", "paths": paths or {"it": PLACE}})


def hash_of(home):
    return look(home)["it"]["content"]


def test_the_published_vectors_come_out(home):
    paths = {}
    for size in VECTORS:
        home.write(f"pattern-{size}", pattern(size))
        paths[f"pattern-{size}"] = f"pattern-{size}"
    for size in OF_LETTERS:
        home.write(f"letters-{size}", b"A" * size)
        paths[f"letters-{size}"] = f"letters-{size}"
    told = look(home, **paths)
    for start, vectors in (("pattern", VECTORS), ("letters", OF_LETTERS)):
        for size, expected in vectors.items():
            assert told[f"{start}-{size}"] == {"state": "file", "size": size, "content": expected}


@pytest.mark.parametrize("size", VECTORS)
def test_bytes_hashed_as_they_pass_come_to_the_same(home, size):
    home.write(PLACE, pattern(size))
    ask = {"op": "pack", "path": PLACE, "gzip": False, "limit": 10**9, "copied": 10**9}
    assert home.ask(ask)["stored"] == VECTORS[size]


def test_what_is_no_file_is_said_to_be_so(home):
    home.path("folder").mkdir()
    os.symlink("/etc", home.path("out"))
    os.symlink("folder", home.path("link"))
    told = look(home, a="nowhere", b="folder", c="out/passwd", d="link")
    states = {name: one["state"] for name, one in told.items()}
    assert states == {"a": "missing", "b": "unreadable", "c": "unreadable", "d": "unreadable"}


# The cache


@pytest.fixture(scope="module")
def aged_homes(tmp_path_factory):
    """Homes with a large file that has been there for a while, all at once: that takes a while."""
    folders = [tmp_path_factory.mktemp("aged") for _ in range(20)]
    homes = [Home(folder) for folder in folders]
    for home in homes:
        home.write(PLACE, DATA)
    age(homes[-1].path(PLACE))
    return homes


@pytest.fixture
def known(aged_homes):
    """A home with a large file whose hash is remembered."""
    home = aged_homes.pop()
    assert hash_of(home) == content_hash(DATA)
    assert PLACE in home.read(".dacapo/hashes").decode()
    return home


def entry(home):
    [(_, entry)] = json.loads(home.read(".dacapo/hashes")).items()
    return entry


def believe(home):
    """Writes a lie into the cache, with blocks to match: whoever believes the cache tells it."""
    digests = [hashlib.sha256(bytes([number])).digest() for number in range(SIZE // BLOCK)]
    content = hashlib.sha256(b"".join(digests)).hexdigest()
    home.write(".dacapo/blocks-" + content, b"".join(digests))
    entries = json.loads(home.read(".dacapo/hashes"))
    [name] = entries
    entries[name][-1] = content
    home.write(".dacapo/hashes", json.dumps(entries).encode())
    return content


def test_an_unchanged_file_is_not_read_again(known):
    """Told by a lie: only somebody who doesn't read the file believes it."""
    lie = believe(known)
    assert hash_of(known) == lie


def test_what_decides_reads_for_itself(known):
    lie = believe(known)
    ask = {
        "op": "probe",
        "checkout": "lesson3",
        "artifacts": {"it": "export.pkl"},
        "disposable": [],
        "wanted": None,
    }
    assert known.ask(ask)["artifacts"]["it"]["content"] == lie
    assert known.ask(dict(ask, fresh=True))["artifacts"]["it"]["content"] == content_hash(DATA)
    # What it read is remembered, in place of the lie.
    assert hash_of(known) == content_hash(DATA)


def test_a_pull_reads_what_it_is_to_replace(known, stored):
    lie = believe(known)
    assert known.refused(stored(b"new", replaces=lie)).kind == "changed"
    assert known.read(PLACE) == DATA


def grow(place):
    with open(place, "ab") as file:
        file.write(b"x")


def write_in_place(place):
    with open(place, "r+b") as file:
        file.write(b"x")


def write_in_place_with_its_old_time(place):
    before = os.stat(place)
    write_in_place(place)
    os.utime(place, ns=(before.st_atime_ns, before.st_mtime_ns))


def another_inode_with_its_old_times(place):
    before = os.stat(place)
    other = place.with_name("other")
    other.write_bytes(b"x" + place.read_bytes()[1:])
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    os.replace(other, place)


@pytest.mark.parametrize(
    "change", [grow, write_in_place, write_in_place_with_its_old_time, another_inode_with_its_old_times]
)
def test_a_changed_file_is_read_again(known, change):
    change(known.path(PLACE))
    assert hash_of(known) == content_hash(known.read(PLACE)) != content_hash(DATA)


@pytest.mark.parametrize("field", range(5))
def test_each_mark_of_a_file_counts(known, field):
    """Device, inode, size and both times, one by one: with any of them wrong the lie isn't believed."""
    believe(known)
    entries = json.loads(known.read(".dacapo/hashes"))
    [name] = entries
    entries[name][field] += 1
    known.write(".dacapo/hashes", json.dumps(entries).encode())
    assert hash_of(known) == content_hash(DATA)


def spoilt(home):
    """Every way in which the cache may have been edited or damaged."""
    good = home.read(".dacapo/hashes")
    [(name, entry)] = json.loads(good).items()
    for one in (b"", b"{", b"[]", b"null", b"3", b"\xff\xfe", good[:-10], good * 2):
        yield one
    for one in (
        None,
        3,
        [],
        {},
        "x",
        [1, 2],
        entry[:-1],
        entry[:-1] + [None],
        entry[:-1] + ["../lesson3"],
        entry[:-1] + [64 * "0"],
        entry + [1],
        [entry],
    ):
        yield json.dumps({name: one}).encode()
        yield json.dumps({"x": one, name: entry, "../../x": one, "": one, "\x00": one}).encode()


def test_an_edited_cache_is_no_danger(known):
    right = content_hash(DATA)
    for cache in list(spoilt(known)):
        known.write(".dacapo/hashes", cache)
        assert hash_of(known) == right, cache
    assert known.read(PLACE) == DATA
    assert sorted(os.listdir(known.path("lesson3"))) == ["export.pkl"]


@pytest.mark.parametrize("blocks", [b"", b"x" * 32, b"\0" * 128, None])
def test_edited_lists_of_blocks_are_no_danger(known, blocks):
    place = known.path(".dacapo/blocks-" + entry(known)[-1])
    place.unlink() if blocks is None else place.write_bytes(blocks)
    assert hash_of(known) == content_hash(DATA)


def test_a_file_that_was_just_written_is_not_remembered(home):
    home.write(PLACE, DATA)
    os.utime(home.path(PLACE), (0, 0))
    hash_of(home)
    assert not home.path(".dacapo/hashes").exists()


def test_what_is_gone_is_forgotten(known):
    content = entry(known)[-1]
    known.path(PLACE).rename(known.path("lesson3/another"))
    end = time.monotonic() + 30
    while PLACE in known.read(".dacapo/hashes").decode():
        look(known, it="lesson3/another")
        assert time.monotonic() < end
    assert list(json.loads(known.read(".dacapo/hashes"))) == [str(known.path("lesson3/another"))]
    assert look(known, it="lesson3/another")["it"]["content"] == content
