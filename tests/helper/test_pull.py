"""Stored bytes are brought as they are, from one request or many, packed or not."""

import gzip

import pytest
from data import noise
from laptop import BLOCK, content_hash
from way import StandIn

PLACE = "lesson3/export.pkl"


@pytest.mark.parametrize("size", [0, 1, 12, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 9 * BLOCK + 7])
def test_bytes_arrive_as_they_are_stored(home, stored, size):
    data = noise(size)
    helper = home.start(stored(data))
    assert helper.result() == {"payload": content_hash(data), "size": size}
    assert home.read(PLACE) == data
    assert home.left() == []
    assert helper.said("progress")[-1] == {"bytes": size, "total": size}


def test_each_block_is_asked_for_once(home, stored, laptop):
    data = noise(21 * BLOCK + 5)
    home.ask(stored(data))
    parts = sorted((first, end) for first, end, _, _ in laptop.gets())
    assert parts[0][0] == 0 and parts[-1][1] == len(data)
    assert all(end == first for (_, end), (first, _) in zip(parts, parts[1:]))
    assert len(parts) >= 7, "several connections share the work"


def test_a_connection_that_has_nothing_more_to_do_takes_over_from_a_slow_one(home, stored, laptop):
    data = noise(16 * BLOCK)
    laptop.fail({"path": "/cd/0/get/**", "fault": {"change": {"rate": 60_000}}})
    home.ask(dict(stored(data), connections=2))
    assert home.read(PLACE) == data and home.left() == []
    others = [(first, end) for first, end, _, fault in laptop.gets() if not fault]
    assert sum(end - first for first, end in others) >= 13 * BLOCK


@pytest.mark.parametrize("size", [0, 5, BLOCK, 3 * BLOCK + 1])
def test_packed_bytes_arrive_unpacked(home, stored, size):
    data = noise(size)
    packed = gzip.compress(data, 1)
    ask = stored(packed, gzip=True, payload=content_hash(data))
    assert home.ask(ask) == {"payload": content_hash(data), "size": size}
    assert home.read(PLACE) == data
    assert home.left() == []


def test_a_payload_that_nobody_knows_yet_is_told(home, stored):
    packed = gzip.compress(b"made by hand") + gzip.compress(b", in two pieces")
    told = home.ask(stored(packed, gzip=True, payload=None))
    assert told == {"payload": content_hash(b"made by hand, in two pieces"), "size": 27}


def test_what_is_there_already_is_not_fetched(home, stored, laptop):
    home.write(PLACE, b"the same")
    assert home.ask(stored(b"the same"))["size"] == 8
    assert laptop.gets() == []


def test_a_new_file_has_the_users_own_mode_and_a_replaced_one_keeps_its(home, stored):
    home.ask(stored(b"new", "a"))
    assert home.path("a").stat().st_mode & 0o777 == home.write("b", b"").stat().st_mode & 0o777
    home.write("c", b"old").chmod(0o640)
    home.ask(stored(b"new", "c", replaces=content_hash(b"old")))
    assert home.path("c").stat().st_mode & 0o777 == 0o640


def whole(data):
    """A store that knows no ranges."""
    return lambda request, number: (200, {}, data)


def test_a_store_that_ignores_ranges_gives_the_whole(home, stored):
    data = noise(5 * BLOCK + 3)
    with StandIn(whole(data)) as store:
        home.ask(stored(data, secret=store.link))
        assert home.read(PLACE) == data
        assert any(request.headers["Range"] for request in store.requests)
        assert store.requests[-1].headers["Range"] is None
    assert home.left() == []


def test_a_store_that_ignores_ranges_and_breaks_off_is_asked_again(home, stored):
    data = noise(3 * BLOCK)

    def answer(request, number):
        breaks_off = request.headers["Range"] is None and not broken
        if breaks_off:
            broken.append(True)
        return 200, {"Content-Length": str(len(data))}, data[: BLOCK + 5] if breaks_off else data

    broken = []
    with StandIn(answer) as store:
        home.ask(stored(data, secret=store.link))
    assert home.read(PLACE) == data and broken


def test_a_part_longer_than_the_one_asked_for_is_asked_for_again(home, stored):
    """As a page of words in the place of a part of one byte is."""
    data = noise(BLOCK + 1)

    def answer(request, number):
        first, last = (int(part) for part in request.headers["Range"][6:].split("-"))
        lies = first == BLOCK and not lied
        if lies:
            lied.append(True)
        right = {"Content-Range": "bytes %d-%d/%d" % (first, last, len(data))}
        return 206, right, b"<html>busy</html>" if lies else data[first : last + 1]

    lied = []
    with StandIn(answer) as store:
        home.ask(stored(data, secret=store.link))
    assert home.read(PLACE) == data and lied


@pytest.mark.parametrize("said", ["bytes 0-4194303/8388608", "bytes 4194304-8388607/*", "", "bytes=0-1/2"])
def test_a_part_other_than_the_one_asked_for_is_not_believed(home, stored, said):
    data = noise(2 * BLOCK)

    def answer(request, number):
        first, last = (int(part) for part in request.headers["Range"][6:].split("-"))
        right = "bytes %d-%d/%d" % (first, last, len(data))
        lies = first == BLOCK and not lied
        if lies:
            lied.append(True)
        return (
            206,
            {"Content-Range": said if lies else right},
            data[:BLOCK] if lies else data[first : last + 1],
        )

    lied = []
    with StandIn(answer) as store:
        home.ask(stored(data, secret=store.link))
        assert home.read(PLACE) == data and lied
        # It was found out by its header, not only by the hash of the whole.
        assert all(request.headers["Range"] for request in store.requests)


def test_too_many_bytes_are_refused(home, stored):
    for headers in ({}, {"Transfer-Encoding": "identity", "Content-Length": "14"}):
        with StandIn(lambda request, number, headers=headers: (200, headers, b"twelve bytes++")) as store:
            error = home.refused(stored(b"twelve bytes", secret=store.link))
        assert error.kind == "mismatch" and "more than" in error.why
    assert home.left() == [] and not home.path(PLACE).exists()


def corrupt(size=BLOCK):
    return {"path": "/cd/0/get/**", "fault": {"change": {"replace": "x" * size}}}


def test_a_part_that_was_wrong_once_is_fetched_again_in_the_whole(home, stored, laptop):
    data = noise(4 * BLOCK)
    ask = stored(data)
    laptop.fail(corrupt())
    home.ask(ask)
    assert home.read(PLACE) == data
    assert laptop.gets()[-1][:3] == (0, None, 200)
    assert home.left() == []


def test_a_small_file_that_was_wrong_once_is_fetched_again(home, stored, laptop):
    ask = stored(b"twelve bytes")
    laptop.fail(corrupt(12))
    home.ask(ask)
    assert home.read(PLACE) == b"twelve bytes"


def ranges(data):
    """A store that knows ranges and gives these bytes."""

    def answer(request, number):
        if not request.headers["Range"]:
            return 200, {}, data
        first, last = (int(part) for part in request.headers["Range"][6:].split("-"))
        return 206, {"Content-Range": "bytes %d-%d/%d" % (first, last, len(data))}, data[first : last + 1]

    return answer


@pytest.mark.parametrize("size", [12, BLOCK, 3 * BLOCK + 1])
def test_bytes_that_stay_wrong_never_reach_their_place(home, stored, size):
    home.write(PLACE, b"old")
    with StandIn(ranges(noise(size, seed=2))) as store:
        ask = stored(noise(size), replaces=content_hash(b"old"), secret=store.link)
        assert home.refused(ask).kind == "mismatch"
        assert store.requests[-1].headers["Range"] is None
    assert home.read(PLACE) == b"old"
    assert home.left() == []


def test_packed_bytes_that_are_none_are_refused(home, stored):
    whole = gzip.compress(b"payload")
    wrong = [b"no gzip at all", whole[:-3], whole[:8] + b"\xff" * 8 + whole[16:], b"", whole + b"trailing"]
    for packed in wrong:
        home.write(PLACE, b"old")
        ask = stored(packed, gzip=True, payload=content_hash(b"payload"), replaces=content_hash(b"old"))
        assert home.refused(ask).kind in ("not_gzip", "mismatch"), packed
        assert home.read(PLACE) == b"old"
        assert home.left() == []


def test_another_payload_than_promised_is_refused(home, stored):
    ask = stored(gzip.compress(b"other"), gzip=True, payload=content_hash(b"payload"))
    assert home.refused(ask).kind == "mismatch"
    assert home.left() == [] and not home.path(PLACE).exists()
