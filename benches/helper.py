"""The helper as a server runs it: the same source, the same start, the same lines."""

import json
import os
import re
import subprocess
import sys
import threading
import time

from bench import ROOT, most_memory

# The one that the others run in: `python3` may be a wrapper that looks for it first.
PYTHON = os.path.realpath(sys.executable)
SERVER = ROOT / "src" / "provider" / "server"


def source():
    """Joins the helper's parts in the order in which the program sends them."""
    listed = re.search(r"const HELPER: &str = concat!\((.*?)\);", (SERVER / "exchange.rs").read_text(), re.S)
    parts = re.findall(r'include_str!\("([^"]+)"\)', listed[1])
    return b"".join((SERVER / part).read_bytes() for part in parts)


class Refused(Exception):
    """The helper's last line was an error."""


class Helper:
    """One conversation, of one question or more. `secret` makes a link or token when the helper wants one."""

    def __init__(self, home, request, secret=None):
        script = source()
        start = f"import sys;exec(compile(sys.stdin.buffer.read({len(script)}),'dacapo','exec'))"
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [PYTHON, "-I", "-c", start], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={"HOME": str(home), "PATH": os.environ["PATH"]}, cwd=home)
        self.memory = 0
        watch = threading.Thread(target=self.watch, daemon=True)
        watch.start()
        self.send(script)
        self.put(request, secret)

    def put(self, request, secret):
        self.secret = secret
        self.send(line(dict(request, nonce="bench", **({"secret": secret()} if secret else {}))))

    def ask(self, request, secret=None):
        """Asks the next question, behind the answer to the one before; returns the answer."""
        assert "ready" in json.loads(self.process.stdout.readline())
        self.put(request, secret)
        return self.answer()

    def send(self, raw):
        self.process.stdin.write(raw)
        self.process.stdin.flush()

    def watch(self):
        while self.process.poll() is None:
            self.memory = max(self.memory, most_memory(self.process.pid))
            time.sleep(0.02)

    def lines(self):
        """Yields what it says, up to its result."""
        for raw in self.process.stdout:
            said = json.loads(raw)
            if "want" in said:
                self.send(line({"secret": self.secret()}))
            yield said
            if "result" in said or "error" in said:
                return

    def answer(self):
        """Returns what it answers."""
        last = {}
        for last in self.lines():
            pass
        if "result" not in last:
            self.end()
            raise Refused(last.get("error", "the helper ended early"))
        return last["result"]

    def result(self):
        """Returns its answer and ends it; `seconds` and `memory` say what it took."""
        answer = self.answer()
        self.seconds = time.monotonic() - self.began
        self.end()
        return answer

    def end(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def kill(self):
        self.process.kill()
        self.end()


def line(words):
    return json.dumps(words).encode() + b"\n"
