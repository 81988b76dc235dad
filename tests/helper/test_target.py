"""What lies where stored bytes are to go: only what was planned with is ever replaced."""

import mmap
import os
import shutil
import socket
import time

import pytest
from conversation import until
from data import noise
from laptop import BLOCK, content_hash
from way import StandIn, Way

PLACE = "lesson3/export.pkl"


def hash_or_none(data):
    return None if data is None else content_hash(data)


@pytest.mark.parametrize(
    "there, replaces, allowed",
    [
        (None, None, True),
        (b"", None, True),
        (b"old", b"old", True),
        (b"new", b"old", True),
        (b"new", None, True),
        (b"work", None, False),
        (b"work", b"old", False),
        (None, b"old", False),
        (b"", b"old", True),
    ],
)
def test_only_the_bytes_that_were_planned_with_are_replaced(home, stored, there, replaces, allowed):
    if there is not None:
        home.write(PLACE, there)
    ask = stored(b"new", replaces=hash_or_none(replaces))
    if allowed:
        home.ask(ask)
        assert home.read(PLACE) == b"new"
    else:
        assert home.refused(ask).kind == "changed"
        assert not home.path(PLACE).exists() if there is None else home.read(PLACE) == there


def overwritten(place):
    place.write_bytes(b"WORK")


def overwritten_with_its_old_time(place):
    before = os.stat(place)
    with open(place, "r+b") as file:
        file.write(b"WORK")
    os.utime(place, ns=(before.st_atime_ns, before.st_mtime_ns))


def appended(place):
    with open(place, "ab") as file:
        file.write(b"WORK")


def renamed_over(place):
    other = place.with_name("other")
    other.write_bytes(b"WORK")
    os.replace(other, place)


def made_a_link(place):
    os.unlink(place)
    os.symlink("WORK", place)


def made_a_folder(place):
    os.unlink(place)
    place.mkdir()


def removed(place):
    os.unlink(place)


def looks_like(place):
    """What anybody would see there."""
    if os.path.islink(place):
        return "link", os.readlink(place)
    if os.path.isdir(place):
        return "folder", os.listdir(place)
    return ("file", place.read_bytes()) if place.exists() else None


@pytest.mark.parametrize(
    "change",
    [overwritten, overwritten_with_its_old_time, appended, renamed_over, made_a_link, made_a_folder, removed],
)
def test_what_changes_while_the_new_bytes_travel_stays(home, stored, change):
    place = home.write(PLACE, b"work")
    after = []

    def answer(request, number):
        change(place)
        after.append(looks_like(place))
        return 200, {}, b"new"

    with StandIn(answer) as store:
        ask = stored(b"new", replaces=content_hash(b"work"), secret=store.link)
        assert home.refused(ask).kind == "changed"
    assert looks_like(place) == after[0]
    assert home.left() == []


@pytest.mark.parametrize("appear", [overwritten, lambda place: os.symlink("nowhere", place), os.mkdir])
def test_what_appears_while_the_new_bytes_travel_stays(home, stored, appear):
    place = home.path(PLACE)
    after = []

    def answer(request, number):
        appear(place)
        after.append(looks_like(place))
        return 200, {}, b"new"

    with StandIn(answer) as store:
        assert home.refused(stored(b"new", secret=store.link)).kind == "changed"
    assert looks_like(place) == after[0]
    assert home.left() == []


def test_bytes_written_through_a_mapping_are_not_taken_for_those_of_before(home, stored):
    """Such a write changes no time at first; a cache of hashes believes that nothing has happened."""
    old = noise(16 * 1024 * 1024)
    place = home.write(PLACE, old)
    with open(place, "r+b") as file, mmap.mmap(file.fileno(), 0) as mapping:
        mapping[:1] = old[:1]
        time.sleep(3.1)  # Until the cache takes it for settled, by the file's own times.
        assert home.ask({"op": "hash", "paths": {"it": PLACE}})["it"]["content"] == content_hash(old)
        before = os.stat(place)
        mapping[:4] = b"WORK"
        if os.stat(place).st_mtime_ns != before.st_mtime_ns:
            pytest.fail("the kernel noticed the write, so this shows nothing")
        ask = stored(b"new", replaces=content_hash(old))
        assert home.refused(ask).kind == "changed"
    assert home.read(PLACE)[:4] == b"WORK"


def link_to_a_file(place):
    place.with_name("precious").write_bytes(b"old")
    os.symlink("precious", place)


def bound(place):
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(str(place))


@pytest.mark.parametrize(
    "put, kind",
    [
        (os.mkdir, "occupied"),
        (os.mkfifo, "occupied"),
        (link_to_a_file, "occupied"),
        (bound, "os"),
        (lambda place: os.symlink("nowhere", place), "occupied"),
    ],
)
def test_what_is_no_file_is_in_the_way(home, stored, laptop, put, kind, monkeypatch):
    place = home.path(PLACE)
    place.parent.mkdir()
    monkeypatch.chdir(place.parent)
    put(place if put is not bound else place.relative_to(place.parent))
    for replaces in (None, content_hash(b"old")):
        assert home.refused(stored(b"new", replaces=replaces)).kind == kind
    assert laptop.gets() == []
    assert os.path.lexists(place)


def test_a_file_in_the_place_of_a_folder_is_in_the_way(home, stored):
    home.write("lesson3", b"a file")
    assert home.refused(stored(b"new")).kind == "os"
    assert home.read("lesson3") == b"a file"


@pytest.mark.parametrize("path", ["../x", "/etc/x", "", "a/../../x", "a\0b"])
def test_nothing_outside_of_home_is_touched(home, stored, path):
    assert home.refused(stored(b"new", path)).kind == "bad_request"


def test_another_name_of_the_replaced_file_keeps_its_bytes(home, stored):
    place = home.write(PLACE, b"old")
    os.link(place, home.path("another"))
    home.ask(stored(b"new", replaces=content_hash(b"old")))
    assert home.read(PLACE) == b"new" and home.read("another") == b"old"


def test_too_small_a_disk_is_told_before_anything_moves(home, stored, laptop):
    home.write(PLACE, b"old")
    free = shutil.disk_usage(home.folder).free
    ask = stored(b"new", replaces=content_hash(b"old"), stored_size=2 * free)
    error = home.refused(ask)
    assert error.kind == "disk_full" and str(2 * free) in error.why
    assert laptop.gets() == [] and home.read(PLACE) == b"old" and home.left() == []


def test_a_disk_that_fills_up_meanwhile_keeps_the_old_file_and_nothing_half(home, stored):
    import resource

    def small():
        resource.setrlimit(resource.RLIMIT_FSIZE, (2 * BLOCK, 2 * BLOCK))

    home.write(PLACE, b"old")
    ask = stored(noise(5 * BLOCK), replaces=content_hash(b"old"))
    assert home.refused(ask, prepare=small).kind == "os"
    assert home.read(PLACE) == b"old" and home.left() == []


def test_only_one_at_a_time(home, stored, laptop, world):
    """The second waits for the first, and finds its work done."""
    data = noise(2 * BLOCK)
    ask = stored(data)
    with Way(world.ready["dropbox_content"], down=BLOCK, hold=True) as way:
        first = home.start(dict(ask, secret=way.through(ask["secret"])))
        until(way.full.is_set)
        second = home.start(ask)
        second.wait_for(lambda line: "alive" in line)
        assert laptop.gets() and not home.path(PLACE).exists()
        asked = len(laptop.gets())
        first.kill()
    second.result()
    assert home.read(PLACE) == data and len(laptop.gets()) > asked
