import json
import os
import tempfile
import time
from pathlib import Path

import pytest
from conversation import PYTHON, Conversation, Said, until
from laptop import Laptop, content_hash
from world import World

SPEED = 60


def pytest_report_header():
    return f"the helper runs with {PYTHON}"


@pytest.fixture(scope="session")
def world():
    # In memory, where there is such a place: the world writes everything down before it answers.
    place = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(dir=place) as folder:
        world = World(folder, clock_speed=SPEED)
        yield world
        world.stop()


@pytest.fixture
def laptop(world):
    laptop = Laptop(world)
    laptop.reset()
    return laptop


class Home:
    """A login user's home with a helper in it."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.running = []

    def path(self, below):
        return self.folder / below

    def write(self, below, data):
        place = self.path(below)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        return place

    def read(self, below):
        return self.path(below).read_bytes()

    def start(self, ask, **options):
        conversation = Conversation(self.folder, dict({"speed": SPEED}, **ask), **options)
        self.running.append(conversation)
        return conversation

    def ask(self, ask, **options):
        return self.start(ask, **options).result()

    def refused(self, ask, **options):
        """Returns the error of a conversation that must end with one."""
        return self.refusal(self.start(ask, **options))

    @staticmethod
    def refusal(helper):
        with pytest.raises(Said) as caught:
            helper.result()
        return caught.value

    def left(self):
        """Returns what is there beside the user's own files, the lock and the cache of hashes."""
        own = self.path(".dacapo")
        names = set(os.listdir(os.fsencode(own))) if own.exists() else set()
        names -= {b"lock", b"hashes", b"marker"}
        if (own / "hashes").exists():
            known = json.loads((own / "hashes").read_bytes()).values()
            names -= {b"blocks-" + entry[-1].encode() for entry in known}
        for _, _, there in os.walk(os.fsencode(self.folder)):
            names |= {name for name in there if b"dacapo-part" in name}
        return sorted(names)


def age(place):
    """Waits until a file has been there long enough for the cache of hashes.

    By the file's own times, of which one can't be set.
    """
    until(lambda: time.time_ns() - place.stat().st_ctime_ns > 3_050_000_000)


@pytest.fixture
def home(tmp_path):
    folder = tmp_path / "home"
    folder.mkdir()
    home = Home(folder)
    yield home
    for conversation in home.running:
        if conversation.process.poll() is None:
            conversation.kill()


@pytest.fixture
def other_home(tmp_path):
    folder = tmp_path / "other"
    folder.mkdir()
    return Home(folder)


@pytest.fixture
def stored(laptop):
    """Stores bytes and returns how they are asked for."""

    def stored(data, path="lesson3/export.pkl", **more):
        metadata = laptop.put(f"/{len(laptop.stored)}_export.pkl", data)
        laptop.stored.append(metadata)
        return dict(
            {
                "op": "pull",
                "path": path,
                "secret": laptop.link(metadata["path_lower"]),
                "stored": content_hash(data),
                "stored_size": len(data),
                "gzip": False,
                "payload": content_hash(data),
                "replaces": None,
            },
            **more,
        )

    return stored
