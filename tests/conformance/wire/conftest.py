import os
import shutil
import subprocess

import pytest
from recording import SERVICES
from world import PROGRAM, ROOT, World


class Laptop:
    """A project folder, and dacapo in it with a bare environment."""

    def __init__(self, folder, world):
        self.folder, self.world = folder, world
        self.bare = {"PATH": os.environ["PATH"], "HOME": str(folder)}

    def dacapo(self, *arguments, code=0, **environment):
        ran = subprocess.run(
            [PROGRAM, *arguments],
            cwd=self.folder,
            env=self.bare | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert ran.returncode == code, f"{arguments}: {ran.returncode}\n{ran.stdout}\n{ran.stderr}"
        return ran.stdout

    def sandbox(self, *arguments, code=0):
        return self.dacapo("--sandbox", *arguments, code=code)


@pytest.fixture(scope="session")
def laptop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wire")
    shutil.copy(ROOT / "session.toml", folder)
    world = World(folder / ".dacapo" / "sandbox", clock_speed=120)
    yield Laptop(folder, world)
    world.stop()


@pytest.fixture(scope="session")
def ours(laptop):
    """Every call that our client makes: a whole session, and what only troubles bring up."""
    world = laptop.world
    laptop.sandbox("up", "--yes")
    laptop.sandbox("run", "--", "python3", "train.py")
    world.set(cloud={"status": {machine(world): "offline"}})
    laptop.sandbox("up", "--yes")
    laptop.sandbox("down", "--yes")

    # The version that the world began with is named by nobody any more.
    laptop.sandbox("artifacts", "prune", "--keep", "1", "--uploads", "--yes")

    # A machine that the cloud took away leaves its volume behind.
    laptop.sandbox("up", "--yes")
    world.set(cloud={"status": {machine(world): "discontinued"}})
    volume = next(one["id"] for one in world.admin("GET", "bill")["billing"] if one["kind"] == "volume")
    # The deletion's answer is lost, so the volume itself is asked.
    unclear = {"answer": {"status": 500, "after": True}}
    fail(world, service="cloud", method="PUT", path="/v1/volumes", fault=unclear)
    laptop.sandbox("down", "--yes", "--discard", "server:gone", "--discard", f"volume:{volume}")

    # A listing of more than one page.
    more = {"change": {"set": {"/has_more": True}}}
    fail(world, service="dropbox_api", path="/2/files/list_folder", fault=more)
    laptop.sandbox("status")

    # Outside the sandbox's own set-up, Dropbox is logged in to with a refresh token. Git still has only
    # the world's ssh, which leads nowhere but into the world.
    ready = world.ready
    ssh = laptop.folder / "bin" / "ssh"
    ssh.parent.mkdir()
    ssh.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {ready["ssh"]} "$@"\n')
    ssh.chmod(0o755)
    laptop.dacapo(
        "status",
        PATH=f"{ssh.parent}:{laptop.bare['PATH']}",
        HOME=ready["home"],
        VERDA_CLIENT_ID=ready["client_id"],
        VERDA_CLIENT_SECRET=ready["client_secret"],
        VERDA_BASE_URL=ready["cloud"],
        DROPBOX_APP_KEY=ready["dropbox_app_key"],
        DROPBOX_REFRESH_TOKEN=ready["dropbox_refresh_token"],
        DROPBOX_API_URL=ready["dropbox_api"],
        DROPBOX_CONTENT_URL=ready["dropbox_content"],
    )
    return [request for request in world.requests() if request["service"] in SERVICES]


def fail(world, **rule):
    """Makes one call go wrong as the rule says."""
    world.admin("POST", "faults", {"rules": [rule]})


def machine(world):
    """Returns the id of the one machine that bills."""
    return next(one["id"] for one in world.admin("GET", "bill")["billing"] if one["kind"] == "instance")
