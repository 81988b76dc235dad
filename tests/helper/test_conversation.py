"""One start answers many requests, one after the other, and ends when nobody asks any more."""

import os
import time

import pytest
from conversation import Said, until
from laptop import content_hash

PATHS = {"op": "hash", "paths": {"it": "file"}}


def look(helper):
    return helper.answer()["it"]["content"]


def test_the_next_request_meets_nothing_of_the_one_before(home):
    home.write("file", b"first")
    helper = home.start(PATHS)
    assert look(helper) == content_hash(b"first")
    helper.ask({"op": "pack", "path": "missing", "gzip": True, "limit": 1, "copied": 1})
    with pytest.raises(Said):
        helper.answer()
    home.write("file", b"second")
    helper.ask({"op": "pack", "path": "file", "gzip": False, "limit": 100, "copied": 100})
    # It takes the lock that the one before it had.
    assert helper.answer()["payload"] == content_hash(b"second")
    helper.ask(PATHS)
    assert helper.result()["it"]["content"] == content_hash(b"second")


@pytest.mark.parametrize("late", [b'{"secret": "too-late-for-anybody-to-hear"}\n', b'{"secret": null}\n'])
def test_a_secret_that_comes_too_late_is_no_request(home, late):
    home.write("file", b"bytes")
    helper = home.start(PATHS)
    assert look(helper) == content_hash(b"bytes")
    helper.ask(PATHS, before=late)
    assert helper.result()["it"]["content"] == content_hash(b"bytes")


def test_half_a_line_for_the_one_before_is_not_the_start_of_the_next(home):
    """The first process that answers hears what was read ahead; it must not be read a second time."""
    home.write("file", b"bytes")
    helper = home.start(PATHS, behind=b'{"secret": "half of it')
    assert look(helper) == content_hash(b"bytes")
    helper.ask(PATHS)
    assert helper.result()["it"]["content"] == content_hash(b"bytes")


def test_it_ends_when_nobody_asks_any_more(home):
    home.write("file", b"bytes")
    helper = home.start(PATHS)
    look(helper)
    assert helper.hang_up() == 0


def test_whoever_answers_ends_with_whoever_was_asked(home):
    """Only the first process is ended: the other one would go on unseen."""
    home.path(".dacapo").mkdir()
    place = home.write("file", b"")
    os.truncate(place, 100_000_000_000)
    helper = home.start({"op": "pack", "path": "file", "gzip": False, "limit": 10**12, "copied": 0})
    helper.wait_for(lambda line: "alive" in line)
    pid = helper.process.pid
    [answering] = open(f"/proc/{pid}/task/{pid}/children").read().split()
    helper.kill()
    until(lambda: not os.path.exists(f"/proc/{answering}"))


def test_an_answering_process_that_is_ended_gives_no_answer(home):
    place = home.write("file", b"")
    os.truncate(place, 100_000_000_000)
    helper = home.start({"op": "pack", "path": "file", "gzip": False, "limit": 10**12, "copied": 0})
    helper.wait_for(lambda line: "alive" in line)
    pid = helper.process.pid
    [answering] = open(f"/proc/{pid}/task/{pid}/children").read().split()
    os.kill(int(answering), 9)
    until(lambda: helper.ended)
    assert not any("result" in line or "error" in line for line in helper.lines)
    helper.end()
    assert helper.process.returncode == 1


def test_a_start_without_a_request_ends_with_its_input(home):
    helper = home.start({}, silent=True)
    began = time.monotonic()
    assert helper.hang_up() == 0 and time.monotonic() - began < 30
