import re

import pytest
from world import World

from store.client import client


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    world = World(tmp_path_factory.mktemp("store"))
    yield world
    world.stop()


@pytest.fixture(scope="session")
def dbx(world):
    with client(world) as dbx:
        yield dbx


@pytest.fixture
def own(tmp_path):
    """A world of its own, for what would disturb the others."""
    world = World(tmp_path / "world")
    yield world
    world.stop()


@pytest.fixture
def place(request):
    """A folder that no other case uses; it doesn't exist yet."""
    return "/" + re.sub(r"\W+", "_", request.node.name).strip("_").lower()
