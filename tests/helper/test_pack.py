"""A file is made ready for storing: hashed, packed or copied, or refused with its reason."""

import ctypes
import gzip
import os
import socket
import stat
import time

import pytest
from conftest import Home, age
from data import noise, pattern
from laptop import BLOCK, content_hash

PLACE = "lesson3/export.pkl"
LIMIT = 10**9
COPIED = 150_000_000


def pack(path=PLACE, **more):
    return dict({"op": "pack", "path": path, "gzip": True, "limit": LIMIT, "copied": COPIED}, **more)


def discard(packed):
    return {"op": "discard_pack", "temp": packed["temp"], "stored": packed["stored"]}


@pytest.mark.parametrize("size", [0, 1, 1024 * 1024, 1024 * 1024 + 1, 2 * BLOCK, 2 * BLOCK + 1])
def test_what_is_packed_unpacks_to_the_same_bytes(home, size):
    data = pattern(size)
    home.write(PLACE, data)
    packed = home.ask(pack())
    raw = home.read(".dacapo/" + packed["temp"])
    assert gzip.decompress(raw) == data
    assert packed == {
        "temp": packed["temp"],
        "payload": content_hash(data),
        "size": size,
        "stored": content_hash(raw),
        "stored_size": len(raw),
        "session": None,
    }


def test_equal_bytes_are_packed_equally(home, other_home):
    data = pattern(3 * BLOCK + 1)
    home.write(PLACE, data)
    os.utime(home.path(PLACE), (0, 0))
    other_home.write("another/name", data)
    first, second = home.ask(pack()), other_home.ask(pack("another/name"))
    assert first == second
    assert home.read(".dacapo/" + first["temp"]) == other_home.read(".dacapo/" + second["temp"])


@pytest.mark.parametrize("size", [0, 1, BLOCK, BLOCK + 1])
def test_a_small_file_is_copied_and_what_was_copied_stays(home, size):
    data = noise(size)
    home.write(PLACE, data)
    packed = home.ask(pack(gzip=False))
    home.write(PLACE, b"another version")
    assert home.read(".dacapo/" + packed["temp"]) == data
    assert (
        (packed["stored"], packed["stored_size"])
        == (packed["payload"], packed["size"])
        == (content_hash(data), size)
    )


def test_a_large_file_is_not_copied(home):
    data = noise(2 * BLOCK)
    home.write(PLACE, data)
    packed = home.ask(pack(gzip=False, copied=BLOCK))
    assert packed == {
        "temp": None,
        "payload": content_hash(data),
        "size": len(data),
        "stored": content_hash(data),
        "stored_size": len(data),
        "session": None,
    }
    assert not any(name.startswith("pack") for name in os.listdir(home.path(".dacapo")))


@pytest.mark.parametrize("packing", [True, False])
def test_a_discarded_pack_leaves_nothing(home, packing):
    home.write(PLACE, noise(BLOCK))
    packed = home.ask(pack(gzip=packing))
    for _ in range(2):
        home.ask(discard(packed))
        assert home.left() == []


@pytest.mark.parametrize(
    "temp", ["../lesson3/export.pkl", "marker", "pack-../../lesson3/export.pkl", "pack-" + 64 * "x"]
)
def test_discarding_touches_nothing_but_packs(home, temp):
    home.write(PLACE, b"precious")
    home.write(".dacapo/marker", b"precious")
    assert home.refused({"op": "discard_pack", "temp": temp, "stored": 64 * "0"}).kind == "bad_request"
    for stored in ("", "../marker", 63 * "0", 64 * "/"):
        assert home.refused({"op": "discard_pack", "temp": None, "stored": stored}).kind == "bad_request"
    assert home.read(PLACE) == home.read(".dacapo/marker") == b"precious"


def changed_in_the_middle(place):
    with open(place, "r+b") as file:
        file.seek(BLOCK)
        file.write(b"WORK")


def appended(place):
    with open(place, "ab") as file:
        file.write(b"more")


def cut_short(place):
    os.truncate(place, BLOCK)


@pytest.mark.parametrize("packing", [True, False])
@pytest.mark.parametrize("change", [changed_in_the_middle, appended, cut_short])
def test_a_file_that_changes_while_it_is_packed_is_refused(home, packing, change):
    place = home.write(PLACE, noise(BLOCK))
    os.truncate(place, 1_000_000_000)  # Long enough on every machine; most of it is no block of the disk.
    helper = home.start(pack(gzip=packing, limit=10**10, copied=10**10 if packing else 0))
    # It has begun to read once it has something to say of it.
    helper.wait_for(lambda line: "progress" in line or "alive" in line)
    change(place)
    assert home.refusal(helper).kind == "changed"
    assert home.left() == []


def test_what_is_too_large_is_refused_and_leaves_no_copy(home):
    home.write(PLACE, noise(3 * BLOCK))
    for packing in (True, False):
        error = home.refused(pack(gzip=packing, limit=BLOCK))
        assert error.kind == "too_large" and str(3 * BLOCK) in error.why and str(BLOCK) in error.why
        assert home.left() == []


def device(place):
    os.mknod(place, stat.S_IFCHR | 0o666, os.makedev(1, 5))


def bound(place):
    here = os.getcwd()
    os.chdir(place.parent)  # The name of a socket must be short.
    try:
        with socket.socket(socket.AF_UNIX) as end:
            end.bind(place.name)
    finally:
        os.chdir(here)


@pytest.mark.parametrize(
    "put, kind",
    [
        (lambda place: None, "missing"),
        (os.mkdir, "occupied"),
        (os.mkfifo, "occupied"),
        (bound, "os"),
        (lambda place: os.symlink("/etc/passwd", place), "occupied"),
        (lambda place: os.symlink("nowhere", place), "occupied"),
        # Only root can make a device; anybody can lead to one.
        (device if os.geteuid() == 0 else lambda place: os.symlink("/dev/zero", place), "occupied"),
    ],
)
def test_what_is_no_file_is_refused(home, put, kind):
    home.path("lesson3").mkdir()
    put(home.path(PLACE))
    for packing in (True, False):
        assert home.refused(pack(gzip=packing)).kind == kind
    assert home.left() == []


def test_a_file_below_a_file_is_missing(home):
    home.write("lesson3", b"a file")
    assert home.refused(pack()).kind == "missing"


def as_anybody():
    """Gives up reading what isn't ours to read, which root otherwise may (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH)."""
    library = ctypes.CDLL(None)
    for capability in (1, 2):
        library.prctl(24, capability, 0, 0, 0)


def test_a_file_that_cannot_be_read_is_refused_by_its_name(home):
    home.write(PLACE, b"secret").chmod(0)
    error = home.refused(pack(), prepare=as_anybody)
    assert error.kind == "os" and PLACE in error.why and "ermission" in error.why


def test_holes_are_read_as_what_they_stand_for(home):
    with open(home.write(PLACE, b""), "r+b") as file:
        file.seek(5 * BLOCK)
        file.write(b"the end")
    data = bytes(5 * BLOCK) + b"the end"
    packed = home.ask(pack())
    assert packed["payload"] == content_hash(data)
    assert gzip.decompress(home.read(".dacapo/" + packed["temp"])) == data
    assert packed["stored_size"] < 100_000


@pytest.mark.parametrize(
    "name",
    [
        b"with blanks and 'quotes' \"of\" both kinds",
        b"-rf",
        b"$(touch x); `touch y` & # %s",
        b"two\nlines\t\r",
        b"\xff\xfe\x80 no text",
        "übergröße 模型 🎼".encode(),
        b"a" * 250,
        b"~",
        b"*",
        b"\\",
        b"...",
    ],
)
def test_odd_names_are_names(home, name):
    place = os.path.join(os.fsencode(home.path("lesson3")), name)
    os.makedirs(os.path.dirname(place))
    with open(place, "wb") as file:
        file.write(b"the bytes behind the name")
    packed = home.ask(pack("lesson3/" + os.fsdecode(name)))
    assert packed["payload"] == content_hash(b"the bytes behind the name")
    assert sorted(os.listdir(os.fsencode(home.folder))) == [b".dacapo", b"lesson3"]


def test_a_name_that_is_no_text_is_still_told_in_an_error(home):
    error = home.refused(pack("lesson3/" + os.fsdecode(b"\xff")))
    assert error.kind == "missing"


# What an earlier run packed


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """An aged file that the cache takes, in a home that already has it packed."""
    home = Home(tmp_path_factory.mktemp("large"))
    age(home.write(PLACE, pattern(20 * 1024 * 1024)))
    return home, home.ask(pack())


def packing_time(home, packed):
    return home.path(".dacapo/" + packed["temp"]).stat().st_mtime_ns


def test_what_was_packed_before_is_not_packed_again(large):
    home, packed = large
    before = packing_time(home, packed)
    assert home.ask(pack()) == packed
    assert packing_time(home, packed) == before


@pytest.mark.parametrize("damage", [b"another length", None])
def test_a_damaged_pack_is_made_anew(large, damage):
    home, packed = large
    place = home.path(".dacapo/" + packed["temp"])
    good = place.read_bytes()
    place.write_bytes(damage or good[:-1] + bytes([good[-1] ^ 1]))
    assert home.ask(pack()) == packed
    assert place.read_bytes() == good


@pytest.mark.parametrize("note", [b"", b"{}", b"[]", b"null", b'{"temp": "marker", "stored": 3}', b"\xff"])
def test_a_damaged_note_is_no_danger(large, note):
    home, packed = large
    home.path(".dacapo/" + packed["temp"] + ".note").write_bytes(note)
    assert home.ask(pack()) == packed


def test_old_leftovers_are_swept_and_young_ones_are_not(home):
    names = [start + "0" * 64 for start in ("pack-", "push-", "blocks-", "pull-")] + ["packing", "hashes.77"]
    nine_days_ago = time.time() - 9 * 24 * 3600
    for name in names:
        home.write(".dacapo/old-" + name, b"not ours by its name")
        for place in (home.write(".dacapo/" + name, b"x"), home.path(".dacapo/old-" + name)):
            os.utime(place, (nine_days_ago, nine_days_ago))
    home.write(".dacapo/pack-" + "1" * 64, b"x")
    home.write(PLACE, b"small")
    home.ask(discard(home.ask(pack())))
    assert home.left() == sorted([b"pack-" + b"1" * 64] + [b"old-" + name.encode() for name in names])
