"""What each case has: one world for the session, emptied before the case, and the vendor's client for it."""

from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import pytest
import requests
from verda import VerdaClient
from verda.exceptions import APIException
from world import World

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g me@laptop"

# How long a machine takes to come up and to stop, and a little more.
UP, OFF = 70, 31


@pytest.fixture(scope="session")
def shared_world():
    # The world makes each answer durable first; in memory, where there is such a folder, that is quick.
    memory = Path("/dev/shm")
    with TemporaryDirectory(prefix="dacapo-", dir=memory if memory.is_dir() else None) as folder:
        world = World(folder)
        yield world
        world.stop()


@pytest.fixture
def world(shared_world):
    """An empty world with 50 dollars; its clock goes on from where the last case left it."""
    shared_world.admin("POST", "reset")
    return shared_world


@pytest.fixture
def log_in(world):
    """Makes a new client, with the world's own credentials unless told otherwise."""

    def log_in(**changes):
        ready = world.ready
        given = {"client_id": ready["client_id"], "client_secret": ready["client_secret"], **changes}
        return VerdaClient(given["client_id"], given["client_secret"], ready["cloud"])

    return log_in


@pytest.fixture
def client(log_in):
    return log_in()


@pytest.fixture
def refused():
    """Expects a refusal with exactly this code and message."""

    @contextmanager
    def refused(code, message):
        with pytest.raises(APIException) as caught:
            yield
        assert (caught.value.code, caught.value.message) == (code, message)

    return refused


@pytest.fixture
def key(client):
    return client.ssh_keys.create("laptop", KEY).id


@pytest.fixture
def order(client, key):
    """Orders a machine and returns it as it is right after; what is given replaces what is usual."""

    def order(**changes):
        asked = {
            "instance_type": "1RTX6000ADA.10V",
            "image": "ubuntu-24.04-cuda-13.0-open-docker",
            "hostname": "lesson3",
            "description": "the third lesson",
            "ssh_key_ids": [key],
            "wait_for_status": None,
            **changes,
        }
        return client.instances.create(**asked)

    return order


@pytest.fixture
def running(world, client, order):
    """Orders a machine and returns it once it runs."""

    def running(**changes):
        ordered = order(**changes)
        world.jump(UP)
        machine = client.instances.get_by_id(ordered.id)
        assert machine.status == "running"
        return machine

    return running


@pytest.fixture
def offline(world, client, running):
    """Returns a machine that was shut down."""

    def offline(**changes):
        machine = running(**changes)
        client.instances.action(machine.id, "shutdown")
        world.jump(OFF)
        machine = client.instances.get_by_id(machine.id)
        assert machine.status == "offline"
        return machine

    return offline


@pytest.fixture
def billing(world):
    """Returns what bills now: prices per hour by name."""
    return lambda: {one["name"]: one["price_per_hour"] for one in world.admin("GET", "bill")["billing"]}


@pytest.fixture
def asked(world):
    """Returns the cloud's requests so far as (method, path, status)."""

    def asked(path=""):
        received = [one for one in world.requests() if one["service"] == "cloud" and path in one["path"]]
        return [(one["method"], one["path"], one["status"]) for one in received]

    return asked


@pytest.fixture
def raw(world, client):
    """Sends what the client can't: a request of one's own with the client's token."""

    def raw(method, path, token=None, **more):
        token = token or client._authentication._access_token
        headers = {"Authorization": f"Bearer {token}"}
        return requests.request(method, world.ready["cloud"] + path, headers=headers, timeout=30, **more)

    return raw


@pytest.fixture
def waiting(world, monkeypatch):
    """Lets the client's waits pass on the world's clock; returns the waits so far, in seconds."""
    waits = []

    def sleep(seconds):
        waits.append(seconds)
        world.jump(seconds)

    for module in ("verda.instances._instances", "verda.clusters._clusters"):
        monkeypatch.setattr(f"{module}.time", SimpleNamespace(sleep=sleep, monotonic=lambda: sum(waits)))
    return waits
