"""One conversation with the helper, as the Rust side has it: the script and a request in, JSON lines out."""

import json
import os
import secrets
import subprocess
import threading
import time
from pathlib import Path

from script import SOURCE, arguments

PYTHON = os.environ.get("DACAPO_PYTHON", "python3")
PATIENCE = 60


def until(holds):
    """Waits until something holds."""
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.01)


class Said(Exception):
    """The helper's own error."""

    def __init__(self, kind, why):
        super().__init__(kind, why)
        self.kind = kind
        self.why = why


class Conversation:
    """A running helper. `lines` is what it has said so far; no secret may ever be in it."""

    def __init__(self, home, ask, renew=None, prepare=None, behind=b"", silent=False):
        self.home = Path(home)
        self.nonce = secrets.token_hex(16)
        self.secrets = [ask["secret"]] if ask.get("secret") else []
        self.renew = renew
        self.lines = []
        self.heard = threading.Condition()
        self.ended = False
        self.peak = 0
        environment = {"HOME": str(home), "PATH": os.environ["PATH"]}
        self.process = subprocess.Popen(
            [PYTHON, *arguments()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=home,
            env=environment,
            start_new_session=True,
            preexec_fn=prepare,
        )
        self.errors = b""
        self.threads = [threading.Thread(target=self.listen), threading.Thread(target=self.listen_to_errors)]
        for thread in self.threads:
            thread.start()
        request = b"" if silent else json.dumps(dict(ask, nonce=self.nonce)).encode() + b"\n"
        self.write(SOURCE + request + behind)

    def write(self, raw):
        try:
            self.process.stdin.write(raw)
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # It has ended; its last line, or that there is none, says how.

    def give(self, secret):
        """Brings another link or token."""
        self.secrets.append(secret)
        self.write(json.dumps({"secret": secret}).encode() + b"\n")

    def listen(self):
        try:
            for raw in self.process.stdout:
                self.look_at_memory()
                self.hear(raw)
        finally:
            with self.heard:
                self.ended = True
                self.heard.notify_all()

    def hear(self, raw):
        for secret in self.secrets:
            assert secret.encode() not in raw, raw
        line = json.loads(raw)
        assert line.pop("nonce") == self.nonce, raw
        with self.heard:
            self.lines.append(line)
            self.heard.notify_all()
        if "want" in line and self.renew:
            self.give(self.renew())

    def listen_to_errors(self):
        self.errors = self.process.stderr.read()

    def look_at_memory(self):
        """Keeps the most that the process which answers has had in memory, in bytes."""
        pid = self.process.pid
        try:
            answering = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            status = Path(f"/proc/{answering[0]}/status").read_text()
        except (OSError, IndexError):
            return
        found = [line for line in status.splitlines() if line.startswith("VmHWM:")]
        if found:
            self.peak = max(self.peak, int(found[0].split()[1]) * 1024)

    def wait_for(self, wanted):
        """Waits until a line is as wanted and returns it."""
        end = time.monotonic() + PATIENCE
        at = 0
        with self.heard:
            while True:
                while at < len(self.lines):
                    if wanted(self.lines[at]):
                        return self.lines[at]
                    at += 1
                assert not self.ended, f"it ended before: {self.lines[-3:]} {self.errors!r}"
                assert self.heard.wait(max(0, end - time.monotonic())), f"it said {self.lines[-3:]}"

    def said(self, word):
        """Returns what came with a word, in the order it came."""
        return [line[word] for line in self.lines if word in line]

    def ask(self, ask, before=b""):
        """Asks once more, with something in front that isn't asked any more."""
        self.nonce = secrets.token_hex(16)
        with self.heard:
            self.lines = []
        self.write(before + json.dumps(dict(ask, nonce=self.nonce)).encode() + b"\n")

    def result(self):
        """Hears the answer and ends the conversation; an error is raised."""
        try:
            return self.answer()
        finally:
            self.process.stdin.close()
            self.end()
            ended = self.process.returncode, self.errors
            assert ended == (0, b""), ended

    def answer(self):
        """Waits for the last line and until more can be asked, and returns the result; an error is raised."""
        last = self.wait_for(lambda line: "result" in line or "error" in line)
        self.wait_for(lambda line: "ready" in line)
        if "error" in last:
            raise Said(last["error"]["kind"], " ".join(last["error"]["why"]))
        return last["result"]

    def kill(self):
        """Ends it as nothing can be prepared for."""
        self.process.kill()
        self.end()

    def hang_up(self):
        """Goes away without a word and returns the exit code."""
        self.process.stdin.close()
        self.process.wait(PATIENCE)
        self.end()
        return self.process.returncode

    def end(self):
        for thread in self.threads:
            thread.join(PATIENCE)
        self.process.wait(PATIENCE)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            try:
                stream.close()
            except BrokenPipeError:
                pass
        self.look_for_secrets()

    def look_for_secrets(self):
        """No secret may stand in any file or in its name, whole or in a telling part."""
        for secret in self.secrets:
            telling = max(secret.split("/"), key=len).encode()
            assert len(telling) >= 16
            assert telling not in self.errors
            for folder, _, names in os.walk(os.fsencode(self.home)):
                for name in names:
                    place = os.path.join(folder, name)
                    assert telling not in place
                    if os.path.isfile(place) and os.path.getsize(place) < 1_000_000:
                        assert telling not in Path(os.fsdecode(place)).read_bytes(), place
