"""A store in trouble, and links that end: what a pull waits for, asks for, and gives up on."""

import datetime
import json

import pytest
from data import noise
from laptop import BLOCK, content_hash
from way import StandIn

PLACE = "lesson3/export.pkl"
GET = "/cd/0/get/**"
HOURS = 3600


def answer(status, body="", times=1, skip=0, path=GET, **headers):
    fault = {"answer": {"status": status, "headers": headers, "body": body}}
    return {"path": path, "times": times, "skip": skip, "fault": fault}


def path_of(link):
    return "/" + link.split("/", 3)[3]


@pytest.mark.parametrize(
    "fault", ["dropbox_down", "bad_gateway", "internal_error", "cut", "half_body", "unknown_failure"]
)
def test_passing_trouble_is_waited_out(home, stored, laptop, fault):
    data = noise(3 * BLOCK)
    ask = stored(data)
    laptop.fail({"path": GET, "times": 3, "fault": fault})
    helper = home.start(ask)
    helper.result()
    assert home.read(PLACE) == data
    assert len(helper.said("waiting")) == 3
    assert all(told["why"] and 0 <= told["seconds"] <= 30 for told in helper.said("waiting"))


def test_trouble_without_an_end_is_given_up(home, stored, laptop):
    ask = dict(stored(b"twelve bytes"), speed=600)
    laptop.fail(answer(503, times="always"))
    error = home.refused(ask)
    assert (error.kind, error.why) == ("network", "the store answered 503")


def test_a_slow_line_is_no_standstill_though_no_block_arrives_whole_in_all_that_time(home, stored, laptop):
    data = noise(4 * BLOCK)
    ask = dict(stored(data), speed=600, connections=2)  # Patience is one second.
    slow = {"rate": 25_000}  # 1.5 MB of our seconds: a block takes nearly three.
    laptop.fail(
        {"path": GET, "fault": {"change": dict(slow, truncate=2_200_000)}},
        {"path": GET, "fault": {"change": slow}},
    )
    helper = home.start(ask)
    helper.result()
    assert home.read(PLACE) == data and helper.said("waiting")


def test_bytes_that_come_again_and_again_and_never_all_are_a_standstill(home, stored, laptop):
    ask = dict(stored(noise(BLOCK)), speed=600)
    laptop.fail({"path": GET, "times": "always", "fault": {"change": {"truncate": 2_000_000}}})
    assert home.refused(ask).kind == "network"


def test_a_store_that_takes_no_connections_for_a_while_is_waited_for(home, stored, laptop):
    ask = stored(b"twelve bytes")
    laptop.fail({"service": "dropbox_content", "fault": {"closed": {"seconds": 60}}})
    helper = home.start(ask)
    helper.result()
    assert home.read(PLACE) == b"twelve bytes" and helper.said("waiting")


def test_silence_is_noticed_and_life_is_shown_meanwhile(home, stored, laptop):
    ask = stored(b"twelve bytes")
    laptop.fail({"path": GET, "fault": "silence"})
    helper = home.start(ask)
    helper.result()
    assert home.read(PLACE) == b"twelve bytes"
    assert helper.said("alive"), "somebody who listens must hear that it still works"
    assert helper.said("waiting")


def test_the_pause_that_is_asked_for_is_told_and_kept(home, stored, laptop):
    data = noise(2 * BLOCK)
    ask = stored(data)
    laptop.fail({"path": GET, "fault": "too_many_requests"})
    helper = home.start(ask)
    helper.result()
    assert helper.said("waiting") == [{"why": "the store asks for a pause", "seconds": 15}]
    assert home.read(PLACE) == data


@pytest.mark.parametrize(
    "told, seconds",
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0"}, 0),
        ({}, 1),
        ({"retry-after": "soon"}, 1),
        ({"retry-after": "nan"}, 1),
        ({"retry-after": "-3"}, 1),
        ({"retry-after": "date+7"}, 1),
        ({"body": {"error": {"reason": {".tag": "too_many_requests"}, "retry_after": 9}}}, 9),
        ({"body": {"error": {"reason": {".tag": "too_many_write_operations"}}}}, 1),
        ({"body": ["?"]}, 1),
        ({"retry-after": "31536000"}, 600),
        ({"retry-after": "inf"}, 600),
    ],
)
def test_every_way_to_ask_for_a_pause_is_understood(home, stored, laptop, told, seconds):
    told = dict(told)
    ask = dict(stored(b"twelve bytes"), speed=6000)
    laptop.fail(answer(429, body=told.pop("body", "slow down"), **told))
    helper = home.start(ask)
    helper.result()
    assert [told["seconds"] for told in helper.said("waiting")] == [seconds]


def test_a_pause_holds_up_every_connection(home, stored, laptop, world):
    data = noise(16 * BLOCK)
    ask = dict(stored(data), speed=1)
    laptop.fail(answer(429, skip=3, **{"retry-after": "2"}))
    helper = home.start(ask)
    helper.result()
    asked = [request for request in world.requests() if request["path"].startswith("/cd/0/get/")]
    [refused] = [when(request) for request in asked if request["status"] == 429]
    early = [request for request in asked if 0 < when(request) - refused < 1.5 * world.ready["clock_speed"]]
    # One for each of the others, that was under way already.
    assert len(early) <= 7 < 16 - 3
    assert helper.said("waiting") == [{"why": "the store asks for a pause", "seconds": 2}]
    assert home.read(PLACE) == data


@pytest.mark.parametrize("status", [400, 403, 404, 409, 416, 302])
def test_a_refusal_is_final_and_told_in_the_stores_words(home, stored, laptop, status):
    ask = stored(b"twelve bytes")
    laptop.fail(answer(status, body="because of reasons", times="always", location="http://127.0.0.1:9/"))
    error = home.refused(ask)
    assert error.kind == "http" and str(status) in error.why and "because of reasons" in error.why
    assert len(laptop.gets()) == 1


def when(request):
    """When a request was answered, in the world's seconds."""
    return datetime.datetime.fromisoformat(request["at"][:19] + "+00:00").timestamp()


# Links that end


def test_a_link_that_ends_half_way_is_renewed(home, stored, laptop):
    data = noise(12 * BLOCK)
    ask = dict(stored(data), connections=2)
    old = ask["secret"]
    laptop.fail(answer(410, "Gone", times="always", skip=1, path=path_of(old)))
    helper = home.start(ask, renew=lambda: laptop.link("/0_export.pkl"))
    helper.result()
    assert home.read(PLACE) == data
    assert helper.said("want") == [None]
    fetched = [(first, end) for first, end, status, _ in laptop.gets() if status == 206]
    # A stretch may end before what was asked for, where the other connection took over; none begins twice.
    assert len({first for first, _ in fetched}) == len(fetched), "what had come isn't fetched again"


def test_a_link_that_has_really_ended_is_renewed(home, stored, laptop, world):
    ask = stored(b"twelve bytes")
    world.jump(4 * HOURS)
    helper = home.start(ask, renew=lambda: laptop.link("/0_export.pkl"))
    helper.result()
    assert home.read(PLACE) == b"twelve bytes" and helper.said("want") == [None]


def test_links_that_all_end_at_once_are_given_up(home, stored, laptop):
    ask = stored(noise(2 * BLOCK))
    laptop.fail(answer(410, "Gone", times="always"))
    helper = home.start(ask, renew=lambda: laptop.link("/0_export.pkl"))
    error = home.refusal(helper)
    assert (error.kind, error.why) == ("http", "the store refuses every new link or token")
    assert len(helper.said("want")) == 5


def test_a_link_that_comes_unasked_is_used(home, stored, laptop):
    """It comes together with the request, so that nothing of it may be lost between two readers."""
    ask = stored(b"twelve bytes")
    laptop.fail(answer(410, "Gone", times="always", path=path_of(ask["secret"])))
    line = json.dumps({"secret": laptop.link("/0_export.pkl")}).encode() + b"\n"
    helper = home.start(ask, behind=line)
    helper.result()
    assert home.read(PLACE) == b"twelve bytes"


@pytest.mark.parametrize(
    "line", [b"\n", b"nonsense\n", b'{"secret": null}\n', b'{"secret": ""}\n', b'{"secret": 3}\n', b"[]\n"]
)
def test_lines_that_bring_nothing_change_nothing(home, stored, laptop, line):
    ask = stored(b"twelve bytes")
    laptop.fail(answer(410, "Gone", path=path_of(ask["secret"])))
    helper = home.start(ask)
    helper.wait_for(lambda said: "want" in said)
    helper.write(line)
    helper.give(laptop.link("/0_export.pkl"))
    helper.result()
    assert home.read(PLACE) == b"twelve bytes"


def test_a_helper_that_waits_for_a_link_ends_when_nobody_is_there_to_bring_one(home, stored, laptop):
    ask = stored(b"twelve bytes")
    laptop.fail(answer(410, "Gone"))
    helper = home.start(ask)
    helper.wait_for(lambda said: "want" in said)
    assert helper.hang_up() == 1


# Where links may lead, and what is said of them


@pytest.mark.parametrize(
    "link",
    [
        "http://192.0.2.1/secret-secret-secret",
        "http://127.example.org/secret-secret-secret",
        "http://127.0.0.1.example.org/secret-secret-secret",
        "ftp://127.0.0.1/secret-secret-secret",
        "file:///etc/passwd-secret-secret",
        "secret-secret-secret-secret",
    ],
)
def test_links_to_the_outside_need_https(home, stored, link):
    error = home.refused(dict(stored(b"twelve bytes"), secret=link))
    assert error.kind == "bad_request"


def test_a_store_that_repeats_the_link_doesnt_make_us_tell_it(home, stored):
    def repeat(request, number):
        return 404, {}, ("no %s, no %s" % (request.path, request.path.split("/")[1])).encode()

    with StandIn(repeat) as store:
        error = home.refused(dict(stored(b"twelve bytes"), secret=store.link))
    assert error.why == "the store answered 404 no /****/of-a-file?with=****, no ****"


def test_a_link_that_cannot_be_asked_for_isnt_told(home, stored):
    link = "http://127.0.0.1:9/a-secret with-blanks-in-it-that-nobody-may-see"
    error = home.refused(dict(stored(b"twelve bytes"), secret=link, speed=6000))
    assert "blanks" not in error.why


def test_what_was_brought_was_verified_whatever_happened(home, stored, laptop):
    """Several kinds of trouble on one transfer."""
    data = noise(10 * BLOCK + 1)
    ask = stored(data)
    laptop.fail(
        {"path": GET, "skip": 1, "fault": "cut"},
        {"path": GET, "skip": 2, "fault": "half_body"},
        {"path": GET, "skip": 3, "fault": "too_many_requests"},
        {"path": GET, "skip": 4, "fault": "dropbox_down"},
        {"path": GET, "skip": 6, "fault": "html_body"},
        {"path": GET, "skip": 7, "fault": "empty_body"},
        answer(410, "Gone", skip=9),
    )
    helper = home.start(ask, renew=lambda: laptop.link("/0_export.pkl"))
    assert helper.result()["payload"] == content_hash(data)
    assert home.read(PLACE) == data and home.left() == []
