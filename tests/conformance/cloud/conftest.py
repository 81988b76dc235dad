import pytest
from world import World


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    world = World(tmp_path_factory.mktemp("cloud"))
    yield world
    world.stop()
