"""Our push and pull of a large file: the helper at work, and the calls that the laptop makes around it.

Whoever has the whole program do it swaps these two functions: they move a file and return the seconds.
"""

import time

from helper import Helper

LARGEST = 1 << 40


def push(laptop, home, name, path, connections=None):
    """Stores a file of the home directory; returns the seconds of reading it and of moving it."""
    began = time.monotonic()
    helper = Helper(home, packing(name))
    packed = helper.answer()
    hashed = time.monotonic()
    session = laptop.session()
    helper.ask(sending(laptop, name, packed, session, connections), secret=lambda: laptop.token)
    made = laptop.finish(session, packed["stored_size"], path)
    moved = time.monotonic()
    helper.end()
    assert made["content_hash"] == packed["stored"]
    return hashed - began, moved - hashed


def pack(home, name):
    return Helper(home, packing(name)).result()


def packing(name):
    return {"op": "pack", "path": name, "gzip": False, "copied": 0, "limit": LARGEST}


def send(laptop, home, name, packed, session, connections=None):
    """Starts to send what was packed."""
    return Helper(home, sending(laptop, name, packed, session, connections), secret=lambda: laptop.token)


def sending(laptop, name, packed, session, connections=None):
    ask = {"op": "push_session", "temp": packed["temp"], "path": name, "stored": packed["stored"],
           "stored_size": packed["stored_size"], "session": session, "started": "now",
           "content_url": laptop.content_url, "speed": 1}
    if connections:
        ask["connections"] = connections
    return ask


def pull(laptop, home, name, path, connections=None):
    """Brings a file into the home directory; returns the seconds.

    The helper is there already, as in a run of the program: it has looked at the server before.
    """
    helper = Helper(home, {"op": "hello"})
    helper.answer()
    began = time.monotonic()
    helper.ask(fetching(laptop, name, path, connections), secret=lambda: laptop.link(path))
    seconds = time.monotonic() - began
    helper.end()
    return seconds


def fetch(laptop, home, name, path, connections=None):
    """Starts to bring a file."""
    return Helper(home, fetching(laptop, name, path, connections), secret=lambda: laptop.link(path))


def fetching(laptop, name, path, connections=None):
    there = laptop.metadata(path)
    ask = {"op": "pull", "path": name, "stored": there["content_hash"], "stored_size": there["size"],
           "gzip": False, "payload": there["content_hash"], "replaces": None, "speed": 1}
    if connections:
        ask["connections"] = connections
    return ask
