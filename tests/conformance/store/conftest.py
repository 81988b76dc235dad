import pytest
from world import World


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    world = World(tmp_path_factory.mktemp("store"))
    yield world
    world.stop()
