"""An embedded world for the vendors' clients: `dacapo sandbox serve` in a folder of its own."""

import json
import os
import subprocess
from pathlib import Path

import requests

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(os.environ.get("DACAPO", ROOT / "target" / "debug" / "dacapo"))


class World:
    """A running sandbox. `ready` says where everything is reached and with which secrets."""

    def __init__(self, folder, clock_speed=1.0, options=()):
        command = [PROGRAM, "sandbox", "serve", "--dir", folder, "--clock-speed", str(clock_speed), *options]
        # A session of its own: a Ctrl-C in the terminal is the test runner's to handle.
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{PROGRAM} did not start; it said why above")
        self.ready = json.loads((Path(folder) / "ready.json").read_text())

    def admin(self, method, route, body=None):
        """Sends one admin request and returns the decoded answer; any refusal is an error."""
        headers = {"Authorization": f"Bearer {self.ready['admin_key']}"}
        url = f"{self.ready['admin']}/{route}"
        reply = requests.request(method, url, json=body, headers=headers, timeout=60)
        assert reply.status_code == 200, f"{route}: {reply.status_code} {reply.text}"
        return reply.json()

    def jump(self, seconds):
        """Moves the world's clock forward."""
        return self.admin("POST", "jump", {"seconds": seconds})["now"]

    def set(self, **changes):
        """Changes the world behind the services' backs: `cloud={...}`, `dropbox={...}`."""
        self.admin("POST", "set", changes)

    def requests(self):
        """Returns every request received, oldest first."""
        return self.admin("GET", "requests")

    def stop(self):
        """Ends the world and waits for its process."""
        self.admin("POST", "stop")
        self.process.wait(timeout=30)
        self.process.stdout.close()
