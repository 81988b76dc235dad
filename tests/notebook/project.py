"""A project with a world of its own, whose server's pip finds JupyterLab without a network."""

import json
import os
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(os.environ.get("DACAPO", ROOT / "target" / "debug" / "dacapo"))
WHEELS = ROOT / "target" / "notebook" / "wheels"
# Where pip looks is set by a file in the server's home, which is nobody's work.
SPEC = (ROOT / "session.toml").read_text().replace("\n\n[instance]", '\ndisposable = [".config/**"]\n\n[instance]', 1)
PATIENCE = 120


class Ran:
    """How a command ended."""

    def __init__(self, done):
        self.code, self.stdout, self.stderr = done.returncode, done.stdout, done.stderr
        self.all = self.stdout + self.stderr

    def exits(self, code):
        assert self.code == code, f"exit code {self.code}\n--- stdout\n{self.stdout}\n--- stderr\n{self.stderr}"
        return self

    def says(self, *texts):
        for text in texts:
            assert text in self.all, f"`{text}` is not in\n{self.all}"
        return self


class Project:
    def __init__(self, folder, spec=SPEC):
        self.folder = Path(folder)
        self.spec = spec
        self.port = free_port()
        self.ways = []
        (self.folder / "outside-home").mkdir(parents=True)
        self.write("")
        command = [PROGRAM, "sandbox", "serve", "--clock-speed", "30", "--dir", self.folder / ".dacapo/sandbox"]
        self.world = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, cwd=self.folder, env=self.environment(), start_new_session=True
        )
        self.ready = json.loads(self.world.stdout.readline())

    def write(self, more):
        (self.folder / "session.toml").write_text(self.spec + more)

    def environment(self, **more):
        return dict({"PATH": os.environ["PATH"], "HOME": str(self.folder / "outside-home")}, **more)

    def dacapo(self, *arguments):
        done = subprocess.run(
            [PROGRAM, "--sandbox", *arguments], cwd=self.folder, env=self.environment(), stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=600,
        )
        return Ran(done)

    def up(self, pip=True):
        """Rents the server, and sets its pip up, if it is to find anything."""
        self.dacapo("up", "--yes").exits(0)
        (home,) = (self.folder / ".dacapo/sandbox/disks").glob("*/home")
        self.home = home
        self.set_pip(WHEELS if pip else self.folder / "outside-home")
        return self

    def set_pip(self, wheels):
        settings = self.home / ".config/pip/pip.conf"
        settings.parent.mkdir(parents=True, exist_ok=True)
        settings.write_text(f"[global]\nno-index = true\nfind-links = {wheels}\n")

    def with_notebook(self, more=""):
        self.write(f"\n[notebook]\nport = {self.port}\n{more}")
        return self

    def token(self):
        return (self.home / ".dacapo/notebook/token").read_text().strip()

    def state(self):
        return json.loads((self.home / ".dacapo/notebook/state.json").read_text())

    def api(self, path, port=None, token=None, body=None):
        """Asks the notebook server as its page does; from here, its loopback being this machine's."""
        headers = {"Authorization": f"token {token or self.token()}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{port or self.port}{path}", data, headers)

        def answer():
            try:
                with urllib.request.urlopen(request, timeout=30) as got:
                    return [json.loads(got.read() or b"null")]
            except urllib.error.HTTPError as error:
                # It fails for a moment when a kernel is in its list and has no last activity yet.
                if error.code != 500:
                    raise
                return None

        return until(f"it answers to {path}", answer)[0]

    def instance(self):
        """The one machine, as the cloud shows it to anybody with the account's credentials."""
        grant = {
            "grant_type": "client_credentials", "client_id": self.ready["client_id"],
            "client_secret": self.ready["client_secret"],
        }
        request = urllib.request.Request(
            self.ready["cloud"] + "/oauth2/token", json.dumps(grant).encode(), {"Content-Type": "application/json"}
        )
        token = json.loads(urllib.request.urlopen(request).read())["access_token"]
        request = urllib.request.Request(
            self.ready["cloud"] + "/instances", headers={"Authorization": f"Bearer {token}"}
        )
        (instance,) = json.loads(urllib.request.urlopen(request).read())
        return instance

    def faults(self, plan):
        file = self.folder / "faults.json"
        file.write_text(json.dumps(plan))
        self.dacapo("sandbox", "faults", str(file), "--clear").exits(0)

    def way(self, *arguments, **environment):
        way = Way(self, arguments, environment)
        self.ways.append(way)
        return way

    def close(self):
        for way in self.ways:
            way.stop()
        if hasattr(self, "home"):
            # Its instance ends what runs on it.
            self.dacapo("down", "--yes", "--discard", "processes", "--discard", "files:**", "--discard",
                        "repo:untracked", "--discard", "repo:modified")
        self.dacapo("sandbox", "stop")
        self.world.wait(timeout=60)
        self.world.stdout.close()


class Way:
    """`dacapo notebook`, for as long as it runs."""

    def __init__(self, project, arguments, environment):
        self.process = subprocess.Popen(
            [PROGRAM, "--sandbox", "notebook", *arguments], cwd=project.folder, env=project.environment(**environment),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        self.said = []
        self.listener = threading.Thread(target=self.listen, daemon=True)
        self.listener.start()
        self.first = self.process.stdout.readline().strip()

    def listen(self):
        for line in self.process.stderr:
            self.said.append(line.rstrip())

    @property
    def base(self):
        return self.first.split("/lab")[0]

    def says(self, text, times=1):
        until(f"`{text}` is said {times} time(s)", lambda: sum(text in line for line in self.said) >= times)

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        self.process.wait(timeout=30)
        self.listener.join()
        self.process.stdout.close()
        self.process.stderr.close()
        return self.process.returncode


def lives(pid):
    """Tells whether a process is there; one that nobody has buried yet isn't."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def until(what, holds, patience=PATIENCE):
    """Waits until something holds, and returns it."""
    end = time.monotonic() + patience
    while True:
        value = holds()
        if value:
            return value
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.05)
