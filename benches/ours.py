"""Our push and pull of a large file: the helper at work, and the calls that the laptop makes around it.

Whoever has the whole program do it swaps these two functions: they move a file and return the seconds.
"""

import time

from helper import Helper

LARGEST = 1 << 40


def push(laptop, home, name, path, connections=None):
    """Stores a file of the home directory; returns the seconds of reading it and of moving it."""
    began = time.monotonic()
    packed = pack(home, name)
    hashed = time.monotonic()
    session = laptop.session()
    send(laptop, home, name, packed, session, connections).result()
    made = laptop.finish(session, packed["stored_size"], path)
    assert made["content_hash"] == packed["stored"]
    return hashed - began, time.monotonic() - hashed


def pack(home, name):
    return Helper(home, packing(name)).result()


def packing(name):
    return {"op": "pack", "path": name, "gzip": False, "copied": 0, "limit": LARGEST}


def send(laptop, home, name, packed, session, connections=None):
    """Starts to send what was packed."""
    ask = {"op": "push_session", "temp": packed["temp"], "path": name, "stored": packed["stored"],
           "stored_size": packed["stored_size"], "session": session, "started": "now",
           "content_url": laptop.content_url, "speed": 1}
    if connections:
        ask["connections"] = connections
    return Helper(home, ask, secret=lambda: laptop.token)


def pull(laptop, home, name, path, connections=None):
    """Brings a file into the home directory; returns the seconds."""
    began = time.monotonic()
    fetch(laptop, home, name, path, connections).result()
    return time.monotonic() - began


def fetch(laptop, home, name, path, connections=None):
    """Starts to bring a file."""
    there = laptop.metadata(path)
    ask = {"op": "pull", "path": name, "stored": there["content_hash"], "stored_size": there["size"],
           "gzip": False, "payload": there["content_hash"], "replaces": None, "speed": 1}
    if connections:
        ask["connections"] = connections
    return Helper(home, ask, secret=lambda: laptop.link(path))
