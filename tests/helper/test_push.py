"""A packed file is sent to a link, and counts as stored only by the store's own hash."""

import os

import pytest
from data import noise
from laptop import BLOCK
from test_pack import PLACE, discard, pack
from way import StandIn, Way

APITUL = "/apitul/1/*"


def push(packed, link, path=PLACE):
    return {
        "op": "push",
        "path": path,
        "temp": packed["temp"],
        "stored": packed["stored"],
        "stored_size": packed["stored_size"],
        "secret": link,
    }


@pytest.mark.parametrize("size", [0, 1, BLOCK, 2 * BLOCK + 7])
@pytest.mark.parametrize("packing", [True, False])
def test_what_was_packed_is_stored(home, laptop, size, packing):
    home.write(PLACE, noise(size))
    packed = home.ask(pack(gzip=packing))
    helper = home.start(push(packed, laptop.upload_link("/export.pkl")))
    assert helper.result() == packed["stored"]
    assert laptop.metadata("/export.pkl")["content_hash"] == packed["stored"]
    assert laptop.bytes_of("/export.pkl") == home.read(".dacapo/" + packed["temp"])
    if packed["stored_size"]:
        assert helper.said("progress")[-1] == {"bytes": packed["stored_size"], "total": packed["stored_size"]}
    home.ask(discard(packed))
    assert home.left() == []


def test_what_was_packed_is_sent_though_the_file_moves_on(home, laptop):
    home.write(PLACE, b"version 1")
    packed = home.ask(pack(gzip=False))
    home.write(PLACE, b"version 2")
    home.ask(push(packed, laptop.upload_link("/export.pkl")))
    assert laptop.bytes_of("/export.pkl") == b"version 1"


@pytest.fixture
def packed(home):
    home.write(PLACE, noise(2 * BLOCK))
    return home.ask(pack(gzip=False))


def fails(laptop, fault):
    laptop.fail({"path": APITUL, "fault": fault})


@pytest.mark.parametrize(
    "fault, kind",
    [
        ({"change": {"set": {"/content-hash": 64 * "0"}}}, "mismatch"),
        ("empty_body", "unclear"),
        ("html_body", "unclear"),
        ("half_json", "unclear"),
        ("wrong_type", "unclear"),
        ("cut", "unclear"),
        ("cut_after", "unclear"),
        ("silence", "unclear"),
        ("half_body", "unclear"),
        ("dropbox_down", "http"),
        ("redirect", "http"),
        ("too_many_requests", "http"),
        ("not_found_page", "http"),
    ],
)
def test_an_answer_that_proves_nothing_is_no_success(home, laptop, packed, fault, kind):
    link = laptop.upload_link("/export.pkl")
    fails(laptop, fault)
    assert home.refused(dict(push(packed, link), speed=600)).kind == kind


def test_a_link_serves_once(home, laptop, packed):
    link = laptop.upload_link("/export.pkl")
    home.ask(push(packed, link))
    error = home.refused(push(packed, link))
    assert error.kind == "http" and "410" in error.why and "consumed" in error.why


def test_a_way_that_is_cut_leaves_it_unclear(home, laptop, packed, world):
    with Way(world.ready["dropbox_content"], up=BLOCK) as way:
        error = home.refused(push(packed, way.through(laptop.upload_link("/export.pkl"))))
    assert error.kind == "unclear"


def test_a_store_that_refuses_early_is_heard(home, packed):
    with StandIn(lambda request, number: (413, {}, b"it is too much"), reads=False) as store:
        error = home.refused(push(packed, store.link))
    assert error.kind == "http" and "too much" in error.why


def test_a_pack_that_is_gone_is_missing_and_one_that_changed_is_not_sent(home, laptop, packed):
    link = laptop.upload_link("/export.pkl")
    place = home.path(".dacapo/" + packed["temp"])
    os.truncate(place, BLOCK)
    assert home.refused(push(packed, link)).kind == "changed"
    place.unlink()
    assert home.refused(push(packed, link)).kind == "missing"


@pytest.mark.parametrize("temp", ["marker", "../lesson3/export.pkl", "pack-", ""])
def test_nothing_but_packs_is_sent(home, laptop, packed, temp):
    ask = dict(push(packed, laptop.upload_link("/export.pkl"), "../x"), temp=temp)
    assert home.refused(ask).kind == "bad_request"
