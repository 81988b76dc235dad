"""What dacapo runs on the rented server: one operation per start, stdlib only, Python 3.8 or newer.

It arrives on standard input and is never written to disk. Behind it, on the same input, comes one line
of JSON: {"nonce", "op", ...}. Every line it prints is JSON and carries the nonce; the last one holds
"result" or "error". Input stays open until the other side has read that line: an end of file before it
means that nobody listens any more, and ends the work. Until then it may bring {"secret"}: a link or token
in place of one that ends, asked for with {"want"} or not.

Paths are bytes inside and text only at the edge: file names need not be UTF-8.
"""
import errno
import fcntl
import fnmatch
import gzip
import hashlib
import http.client
import json
import os
import random
import re
import shlex
import shutil
import signal
import ssl
import stat
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
import zlib
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

BLOCK = 4 * 1024 * 1024
PIECE = 1024 * 1024
MOST_HASHING = 32  # Threads; each holds one piece.
LISTED = 200

# Folders and files below the home directory that programs fill by themselves. This list is part of the
# README: what stands here may die with the server without a word.
CACHES = frozenset((
    b".dacapo", b".cache", b".bash_history", b".python_history", b".lesshst", b".viminfo", b".wget-hsts",
    b".ipython/profile_default/history.sqlite", b".local/share/jupyter/runtime", b".jupyter/lab/workspaces",
    b".conda/pkgs", b".npm/_cacache", b".nv", b".triton/cache",
))
CACHES_ANYWHERE = frozenset((b"__pycache__", b".ipynb_checkpoints"))
KNOWN_HOSTS = b".ssh/known_hosts"
GITS_OWN = frozenset((
    b"branches", b"commondir", b"config", b"config.worktree", b"description", b"gitdir", b"index", b"index.lock", b"info", b"lfs", b"locked",
    b"logs", b"modules", b"objects", b"packed-refs", b"refs", b"reftable", b"rr-cache", b"sequencer", b"shallow",
    b"worktrees",
))

# Mounts that outlive the server, or that hold no files: walking them proves nothing and may hang.
ELSEWHERE = frozenset((
    "nfs", "nfs4", "cifs", "smb3", "ceph", "lustre", "glusterfs", "afs", "autofs", "proc", "sysfs", "devpts",
    "fuse.sshfs", "fuse.rclone", "fuse.s3fs", "fuse.gcsfuse", "fuse.glusterfs", "fuse.juicefs", "fuse.goofys",
))


class Failed(Exception):
    """A failure that the other side knows by its kind; `why` is in our words or in git's."""

    def __init__(self, kind, *why):
        super().__init__(kind, *why)
        self.kind = kind
        self.why = [text(line) for line in why if line]


# Talking ------------------------------------------------------------------------------------------------


class Talk:
    """Lines to the other side."""

    def __init__(self):
        self.nonce = None
        self.lock = threading.Lock()
        self.last = 0.0

    def say(self, **words):
        line = json.dumps(dict(words, nonce=self.nonce)).encode("ascii") + b"\n"
        with self.lock:
            while line:
                line = line[os.write(1, line):]

    def moved(self, done, total=None, last=False):
        """Says how far the work is, at most five times a second."""
        now = time.monotonic()
        if last or now - self.last >= 0.2:
            self.last = now
            self.say(progress={"bytes": done, "total": total})

    def waiting(self, why, seconds):
        """Says what everything waits for."""
        self.last = time.monotonic()
        self.say(waiting={"why": why, "seconds": int(seconds + 0.999)})

    def alive(self):
        """Says that work without a length goes on."""
        now = time.monotonic()
        if now - self.last >= 2:
            self.last = now
            self.say(alive=None)


talk = Talk()


def text(raw):
    """Shows bytes that may not be UTF-8."""
    return raw.decode("utf-8", "backslashreplace") if isinstance(raw, bytes) else str(raw)


# Running other programs ---------------------------------------------------------------------------------

children = set()
held = []  # The lock's descriptor: programs we start keep it too, so that a killed helper's git still counts.


def run(command, environment=None, limit=600, cwd=None, feed=None):
    """Runs a program to its end; returns its exit code, output and error output."""
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE if feed is not None else subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env=environment, cwd=cwd, start_new_session=True, pass_fds=held)
    children.add(process.pid)
    try:
        end = time.monotonic() + limit
        while True:
            try:
                out, err = process.communicate(feed, timeout=2)
                return process.returncode, out, err
            except subprocess.TimeoutExpired:
                feed = None
                talk.alive()
                if time.monotonic() > end:
                    raise Failed("timeout", "`%s` took more than %d s" % (text(command[0]), limit))
    finally:
        children.discard(process.pid)
        if process.poll() is None:
            end_group(process.pid, signal.SIGKILL)
            process.wait()


def end_group(group, how):
    try:
        os.killpg(group, how)
        return True
    except (ProcessLookupError, PermissionError):
        return False


def listen():
    """Hears what comes after the request; ends everything once the other side is gone.

    A rerun must not meet its forerunner at work.
    """
    rest = b""
    while True:
        try:
            heard = os.read(0, 65536)
        except InterruptedError:
            continue
        except OSError:
            break
        if not heard:
            break
        *lines, rest = (rest + heard).split(b"\n")
        for line in lines:
            secret.arrived(line)
    for group in list(children):
        end_group(group, signal.SIGKILL)
    os._exit(1)


class Secret:
    """A link or a token that the other side renews: when it is asked to, or before the old one ends."""

    PATIENCE = 120
    MOST_RENEWALS = 5

    def __init__(self):
        self.changed = threading.Condition()
        self.values = []
        self.asked = 0
        self.renewals = 0

    def arrived(self, line):
        try:
            value = json.loads(line)["secret"]
        except (ValueError, KeyError, TypeError):
            return
        with self.changed:
            self.values.append(value)
            self.changed.notify_all()

    def current(self):
        """Returns the secret of now, and its number."""
        with self.changed:
            return len(self.values), self.values[-1]

    def moved(self):
        self.renewals = 0

    def renew(self, number):
        """Waits for another one than that with this number, which is no good any more."""
        with self.changed:
            if len(self.values) == number and self.asked < number:
                self.asked = number
                self.renewals += 1
                if self.renewals > self.MOST_RENEWALS:
                    raise Failed("http", "the store refuses every new link or token")
                talk.say(want=None)
            end = time.monotonic() + self.PATIENCE
            while len(self.values) == number:
                self.changed.wait(2)
                talk.alive()
                if time.monotonic() > end:
                    raise Failed("network", "no new link or token came")

    def without(self, words):
        """Takes every secret, or any telling piece of one, out of what is said."""
        raw = json.dumps(words)
        for value in self.values:
            for piece in [value] + [piece for piece in re.split(r"[/?&=]", value) if len(piece) > 12]:
                raw = raw.replace(json.dumps(piece)[1:-1], "****")
        return json.loads(raw)


secret = Secret()


def only_one(home):
    """Waits until no other helper changes anything; the lock goes with the process."""
    path = os.path.join(own_folder(home), b"lock")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    for _ in range(100):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held.append(descriptor)
            return
        except OSError:
            talk.alive()
            time.sleep(0.2)
    raise Failed("busy", "another dacapo has been changing this server for 20 s")


# The home directory and the marker ----------------------------------------------------------------------


def home_folder():
    return os.path.realpath(os.fsencode(os.path.expanduser("~")))


def own_folder(home):
    folder = os.path.join(home, b".dacapo")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    os.chmod(folder, 0o700)
    return folder


def write_whole(path, content, mode=0o600):
    """Writes a file so that a reader sees the old bytes or the new ones, never a part."""
    part = path + b".new"
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode), "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


def read_marker(home):
    """Returns when set-up ended (or began) by the disk's own clock, and whether it ended."""
    try:
        with open(os.path.join(home, b".dacapo", b"marker"), "rb") as file:
            marker = json.loads(file.read(1000))
        return int(marker["time_ns"]), bool(marker["set_up"])
    except (OSError, ValueError, KeyError, TypeError):
        return None, False


def set_marker(home, set_up):
    # The disk's clock, not ours: the kernel stamps files with a coarser clock that runs behind, and a
    # file written just after a finer stamp would look older than it.
    path = os.path.join(own_folder(home), b"marker")
    write_whole(path + b".clock", b"")
    now = os.lstat(path + b".clock").st_mtime_ns
    os.unlink(path + b".clock")
    write_whole(path, json.dumps({"time_ns": now, "set_up": set_up}).encode())


def below(home, path):
    """Returns the absolute path of something that a request names below the home directory."""
    raw = os.fsencode(path)
    parts = raw.split(b"/")
    if not raw or raw.startswith(b"/") or b".." in parts or b"\0" in raw:
        raise Failed("bad_request", "`%s` is not a path below the home directory" % text(raw))
    return os.path.join(home, *[part for part in parts if part not in (b"", b".")])


def machine(home):
    disk = os.statvfs(home)
    return {
        "python": "%d.%d.%d" % sys.version_info[:3],
        "git": git_version(),
        "gpu": gpu_name(),
        "home": text(home),
        "disk_free": disk.f_bavail * disk.f_frsize,
    }


def git_version():
    try:
        code, out, _ = run(["git", "--version"], limit=30)
    except OSError:
        return None
    return text(out).strip().replace("git version ", "") if code == 0 else None


def gpu_name():
    try:
        code, out, _ = run(["nvidia-smi", "-L"], limit=40)
    except (OSError, Failed):
        return None
    lines = text(out).strip().splitlines()
    return lines[0] if code == 0 and lines else None


def hello(ask, home):
    if read_marker(home)[0] is None:
        set_marker(home, False)
    own_folder(home)
    return machine(home)


def finish_set_up(ask, home):
    # Only the first end of set-up moves the marker: moving it again would hide what was made since.
    if not read_marker(home)[1]:
        set_marker(home, True)
    return None


