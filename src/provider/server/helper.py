"""What dacapo runs on the rented server: one operation per start, stdlib only, Python 3.8 or newer.

It arrives on standard input and is never written to disk. Behind it, on the same input, comes one line
of JSON: {"nonce", "op", ...}. Every line it prints is JSON and carries the nonce; the last one holds
"result" or "error". Input stays open until the other side has read that line: an end of file before it
means that nobody listens any more, and ends the work.

Paths are bytes inside and text only at the edge: file names need not be UTF-8.
"""
import errno
import fcntl
import gzip
import hashlib
import http.client
import json
import os
import re
import shlex
import shutil
import signal
import ssl
import stat
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
import zlib
from concurrent.futures import ThreadPoolExecutor

BLOCK = 4 * 1024 * 1024
PIECE = 1024 * 1024
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


def leave_when_alone():
    """Ends everything once the other side is gone: a rerun must not meet its forerunner at work."""
    while True:
        try:
            if not os.read(0, 65536):
                break
        except InterruptedError:
            continue
        except OSError:
            break
    for group in list(children):
        end_group(group, signal.SIGKILL)
    os._exit(1)


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


# Content hashes -----------------------------------------------------------------------------------------


class ContentHasher:
    """Dropbox's content hash of bytes as they come."""

    def __init__(self):
        self.joined = hashlib.sha256()
        self.block = hashlib.sha256()
        self.filled = 0
        self.length = 0

    def update(self, data):
        view = memoryview(data)
        self.length += len(view)
        while view:
            now = view[:BLOCK - self.filled]
            self.block.update(now)
            self.filled += len(now)
            view = view[len(now):]
            if self.filled == BLOCK:
                self.close()

    def close(self):
        self.joined.update(self.block.digest())
        self.block = hashlib.sha256()
        self.filled = 0

    def hexdigest(self):
        if self.filled:
            self.close()
        return self.joined.hexdigest()


def identity(info):
    return info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns


def open_regular(path):
    """Opens a regular file without following a link or waiting for a pipe."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise Failed("occupied", "it is a symbolic link") from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        kind = "a folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "not a regular file"
        os.close(descriptor)
        raise Failed("occupied", "it is " + kind)
    return descriptor


def hash_file(path):
    """Returns the identity and the content hash of a regular file, read by all cores at once."""
    descriptor = open_regular(path)
    try:
        before = os.fstat(descriptor)
        content = hash_blocks(descriptor, before.st_size)
        if content is None or identity(os.fstat(descriptor)) != identity(before):
            raise Failed("changed", "it changed while it was read")
        return before, content
    finally:
        os.close(descriptor)


def hash_blocks(descriptor, size):
    count = -(-size // BLOCK)
    digests = [b""] * count
    numbers = iter(range(count))

    def work():
        for number in numbers:
            digests[number] = hash_block(descriptor, number * BLOCK, min(BLOCK, size - number * BLOCK))
            talk.alive()
            if digests[number] is None:
                return

    workers = max(1, min(os.cpu_count() or 1, count))
    with ThreadPoolExecutor(workers) as pool:
        for future in [pool.submit(work) for _ in range(workers)]:
            future.result()
    return None if None in digests else hashlib.sha256(b"".join(digests)).hexdigest()


def hash_block(descriptor, offset, length):
    digest = hashlib.sha256()
    while length:
        data = os.pread(descriptor, min(PIECE, length), offset)
        if not data:
            return None
        digest.update(data)
        offset += len(data)
        length -= len(data)
    return digest.digest()


# Looking at the checkout --------------------------------------------------------------------------------


class Git:
    """git in one work tree, deaf to the caller's environment."""

    def __init__(self, folder):
        self.folder = folder
        self.environment = git_environment()
        # Without a ceiling, a plain folder inside a home that is itself a repository would answer for it.
        self.environment["GIT_CEILING_DIRECTORIES"] = os.fsdecode(os.path.dirname(folder))

    def try_run(self, *arguments, **options):
        command = ["git", "-c", "safe.directory=*", "-c", "core.fsmonitor=false", "-c", "core.quotePath=false",
                   "-c", "gc.auto=0", "-c", "maintenance.auto=false"]
        try:
            code, out, err = run(command + list(arguments), self.environment, cwd=self.folder, **options)
            # A version manager's stand-in says so by its exit code.
            if code == 127:
                raise Failed("no_git", spoken(err) or "git is not installed")
            return code, out, err
        except FileNotFoundError:
            if shutil.which("git"):
                raise
            raise Failed("no_git", "git is not installed") from None

    def __call__(self, *arguments, **options):
        code, out, err = self.try_run(*arguments, **options)
        # git leaves out what it can't read, warns and calls it a success.
        unread = b"warning: could not open" in err or b"warning: ignoring broken" in err
        if code != 0 or unread:
            raise Failed("git", spoken(err) or "`git %s` ended with %d" % (arguments[0], code))
        return out


def git_environment():
    chosen = ("GIT_CONFIG_NOSYSTEM", "GIT_CONFIG_GLOBAL")  # Which settings are read, not what to work on.
    kept = {name: value for name, value in os.environ.items() if name in chosen or not name.startswith("GIT_")}
    kept.update(GIT_OPTIONAL_LOCKS="0", GIT_TERMINAL_PROMPT="0", LC_ALL="C.UTF-8", LANGUAGE="C")
    return kept


def spoken(err):
    """git's own last words, in one line, without what a URL may carry."""
    words = re.sub(r"//[^/@\s:]*:[^/@\s]*@", "//****@", text(err))
    lines = [line.strip() for line in re.split(r"[\r\n]+", words)]
    noise = ("Cloning into", "hint:", "remote: Enumerating")
    return "; ".join([line for line in lines if line and not line.startswith(noise)][-6:])


def lines_of(raw):
    return [line for line in raw.split(b"\0") if line]


class Checkout:
    """The checkout and all that hangs on it: linked work trees and submodules."""

    def __init__(self, place, own, wanted=None):
        self.place = place
        self.wanted = wanted    # A commit that HEAD may contain.
        self.own = own          # Paths that the artifacts guard answers for.
        self.answered = set()   # Files that the repo guard answers for.
        self.git_folders = set()
        self.tips = []
        self.dirty = []
        self.unfinished = None

    def report(self):
        git = Git(self.place)
        top = git("rev-parse", "--show-toplevel")[:-1]
        if os.path.realpath(top) != self.place:
            raise Failed("git", "it is not the top of its repository, `%s` is" % text(top))
        # The files first, the names last: whatever moves from one to the other meanwhile is seen twice,
        # never missed.
        self.look_at_files(git, b"")
        self.look_at_operation(git)
        branch = self.head_branch(git)
        head = self.commit_of(git, "HEAD")
        if head and not branch:
            self.tips.append({"name": "detached HEAD", "commit": head})
        self.look_at_worktrees(git)
        self.look_at_names(git)
        code, remote, _ = git.try_run("config", "--get", "remote.origin.url")
        return {
            "remote": text(remote[:-1]) if code == 0 else None, "head": head, "branch": branch,
            "tips": self.tips, "dirty": self.dirty, "unfinished": self.unfinished,
            "contains_wanted": self.contains(git, self.wanted),
        }

    def contains(self, git, commit):
        """Tells whether HEAD contains a commit; one that isn't here is not contained."""
        if not commit or not re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", commit):
            return False
        return git.try_run("merge-base", "--is-ancestor", commit, "HEAD")[0] == 0

    def head_branch(self, git):
        code, name, _ = git.try_run("symbolic-ref", "-q", "HEAD")
        return text(name.strip()).replace("refs/heads/", "", 1) if code == 0 else None

    def commit_of(self, git, name):
        code, out, _ = git.try_run("rev-parse", "--verify", "-q", name + "^{commit}")
        return text(out.strip()) if code == 0 else None

    # Files

    def look_at_files(self, git, shown):
        """Adds what `git status` finds in one work tree; `shown` stands before its paths."""
        staged = lines_of(git("ls-files", "-s", "-z"))
        self.git_folders.add(os.path.join(git.folder, b".git"))
        links = []
        for line in staged:
            entry, path = line.split(b"\t", 1)
            if entry.startswith(b"160000"):
                links.append(path)
            else:
                self.answered.add(os.path.join(git.folder, path))
        status = git("status", "--porcelain=v2", "-z", "--untracked-files=all", "--ignore-submodules=none")
        found = parse_status(status)
        for path, how in found:
            place = os.path.join(git.folder, path)
            if how == "untracked":
                if place in self.own:
                    continue
                self.answered.add(place)
            self.add_dirty(shown + path, place, how)
        self.look_at_hidden(git, shown, staged)
        for path in links:
            self.look_at_submodule(git, shown, path, {path for path, _ in found})

    def add_dirty(self, shown, place, how):
        try:
            info = os.lstat(place)
            size = None if stat.S_ISDIR(info.st_mode) else info.st_size
        except OSError:
            size = None
        self.dirty.append({"path": text(shown), "how": how, "size": size})

    def look_at_hidden(self, git, shown, staged):
        """Finds changes that git was told not to look for (assume-unchanged, skip-worktree)."""
        flagged = lines_of(git("ls-files", "-v", "-z"))
        hidden = [line for line in flagged if line[:1].islower() or line[:1] == b"S"]
        if not hidden:
            return
        index = {line.split(b"\t", 1)[1]: line.split(b" ", 2)[:2] for line in staged}
        for line in hidden:
            tag, path = line[:1], line[2:]
            place = os.path.join(git.folder, path)
            mode, blob = index[path]
            if not os.path.lexists(place):
                # A skipped file that isn't there is what a sparse checkout looks like.
                if tag != b"S" and tag != b"s":
                    self.add_dirty(shown + path, place, "deleted")
            elif hash_object(git, path, mode) != blob:
                self.add_dirty(shown + path, place, "modified")
            talk.alive()

    def look_at_submodule(self, git, shown, path, dirty):
        place = os.path.join(git.folder, path)
        if not os.path.lexists(os.path.join(place, b".git")):
            return
        inner = Git(place)
        self.look_at_files(inner, shown + path + b"/")
        if path in dirty:
            return
        # Its commits belong to another remote, which nobody asks: what wasn't seen there counts as unsaved.
        unpushed = inner("rev-list", "--max-count=1", "--branches", "--tags", "HEAD", "--not", "--remotes")
        if unpushed or inner.try_run("rev-parse", "--verify", "-q", "refs/stash")[0] == 0:
            self.add_dirty(shown + path, place, "modified")

    # Names

    def look_at_names(self, git):
        form = "--format=%(refname)%00%(objectname)%00%(objecttype)%00%(*objectname)%00%(*objecttype)"
        for line in git("for-each-ref", form).splitlines():
            name, commit, kind, peeled, peeled_kind = line.split(b"\0")
            if name.startswith(b"refs/remotes/"):
                continue
            if name == b"refs/stash":
                self.look_at_stash(git, commit)
                continue
            if kind == b"tag":
                commit = peeled
                if peeled_kind == b"tag":
                    commit = git("rev-parse", "--verify", "-q", os.fsdecode(name) + "^{}").strip()
            self.tips.append({"name": name_for_people(text(name)), "commit": text(commit)})

    def look_at_stash(self, git, newest):
        code, out, _ = git.try_run("rev-list", "--walk-reflogs", "refs/stash")
        entries = out.split() if code == 0 else []
        for number, commit in enumerate(entries or [newest]):
            self.tips.append({"name": "stash@{%d}" % number, "commit": text(commit)})

    def look_at_worktrees(self, git):
        for block in git("worktree", "list", "--porcelain").split(b"\n\n"):
            words = dict((line.split(b" ", 1) + [b""])[:2] for line in block.splitlines())
            place = words.get(b"worktree")
            if place is None or os.path.realpath(place) == self.place or b"bare" in words:
                continue
            if b"detached" in words:
                name = "detached HEAD of worktree " + text(place)
                self.tips.append({"name": name, "commit": text(words[b"HEAD"])})
            if os.path.isdir(place):
                linked = Git(os.path.realpath(place))
                self.look_at_files(linked, os.path.relpath(linked.folder, self.place) + b"/")
                self.look_at_operation(linked)

    def look_at_operation(self, git):
        folder = git("rev-parse", "--absolute-git-dir")[:-1]
        self.unfinished = self.unfinished or operation(folder)


def parse_status(raw):
    """Reads `git status --porcelain=v2 -z` into (path, how) pairs."""
    fields = iter(lines_of(raw))
    found = []
    for field in fields:
        kind = field[:1]
        if kind == b"?":
            found.append((field[2:], "untracked"))
        elif kind == b"u":
            found.append((field.split(b" ", 10)[10], "unmerged"))
        elif kind == b"2":
            found.append((field.split(b" ", 9)[9], "renamed"))
            next(fields, None)  # The name before.
        elif kind == b"1":
            found.append((field.split(b" ", 8)[8], how_changed(field[2:3], field[3:4])))
        elif kind != b"#":
            raise Failed("git", "`git status` said something unknown: %s" % text(field[:80]))
    return found


def how_changed(index, tree):
    if b"D" in (index, tree):
        return "deleted"
    return "modified" if tree != b"." else "staged"


def hash_object(git, path, mode):
    if mode == b"120000":
        place = os.path.join(git.folder, path)
        if not os.path.islink(place):
            return None
        return git("hash-object", "--stdin", feed=os.readlink(place)).strip()
    code, out, _ = git.try_run("hash-object", "--", path)
    return out.strip() if code == 0 else None


def name_for_people(name):
    for start, word in (("refs/heads/", "branch "), ("refs/tags/", "tag ")):
        if name.startswith(start):
            return word + name[len(start):]
    return name


def operation(folder):
    """Returns what `git` is in the middle of, by the files it keeps for it."""
    signs = (
        (b"rebase-merge", "rebase"), (b"rebase-apply", "rebase"), (b"MERGE_HEAD", "merge"),
        (b"CHERRY_PICK_HEAD", "cherry-pick"), (b"REVERT_HEAD", "revert"), (b"BISECT_LOG", "bisect"),
    )
    for sign, name in signs:
        if os.path.lexists(os.path.join(folder, sign)):
            return name
    try:
        with open(os.path.join(folder, b"sequencer", b"todo"), "rb") as todo:
            return "revert" if todo.read(6) == b"revert" else "cherry-pick"
    except OSError:
        return None


# Looking at the rest ------------------------------------------------------------------------------------


def probe(ask, home):
    checkout_place = os.path.realpath(below(home, ask["checkout"]))
    places = {name: below(checkout_place, path) for name, path in ask["artifacts"].items()}
    own = set(places.values()) | {place + b".dacapo-part" for place in places.values()}
    with ThreadPoolExecutor(2) as pool:
        about = pool.submit(machine, home)
        on_gpu = pool.submit(gpu_processes)
        checkout = Checkout(checkout_place, own, ask.get("wanted"))
        report = look_at_checkout(checkout, below(home, ask["checkout"]))
        artifacts = {name: artifact(place, checkout_place) for name, place in places.items()}
        marker, set_up = read_marker(home)
        files, more = (None, 0)
        if marker is not None:
            files, more = new_files(home, marker, checkout, ask)
        return dict(
            about.result(), set_up=set_up, checkout=report, artifacts=artifacts, files=files, more_files=more,
            processes=processes(checkout_place, on_gpu.result()))


def look_at_checkout(checkout, place):
    try:
        mode = os.lstat(place).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not stat.S_ISDIR(mode):
        return {"broken": "it is a symbolic link" if stat.S_ISLNK(mode) else "it is not a folder"}
    try:
        return checkout.report()
    except Failed as failed:
        # Half an answer must not pass for a whole one: without git, no file is git's to answer for.
        checkout.answered.clear()
        return {"broken": "; ".join(failed.why) or failed.kind}


def artifact(place, checkout):
    folder = os.path.realpath(os.path.dirname(place))
    if folder != checkout and not folder.startswith(checkout + b"/"):
        return {"state": "unreadable", "why": "a link leads it out of the checkout"}
    try:
        info, content = hash_file(place)
        return {"state": "file", "size": info.st_size, "content": content}
    except (FileNotFoundError, NotADirectoryError):
        return {"state": "missing"}
    except Failed as failed:
        return {"state": "unreadable", "why": "; ".join(failed.why)}
    except OSError as error:
        return {"state": "unreadable", "why": error.strerror or "it can't be read"}


def new_files(home, marker, checkout, ask):
    """Lists regular files that nobody else answers for; returns the first and how many more there are."""
    disposable = [glob(pattern) for pattern in ask["disposable"]]
    whole = [glob(pattern[:-3]) for pattern in map(tidy, ask["disposable"]) if pattern.endswith("/**")]
    mounts = mounts_elsewhere()
    part = below(home, ask["checkout"]) + b".dacapo-part"
    roots = [(home, b"")]
    if not (checkout.place + b"/").startswith(home + b"/"):
        roots.append((checkout.place, os.fsencode(ask["checkout"]) + b"/"))
    found, more = [], 0

    def shown(path):
        root, before = next(pair for pair in roots[::-1] if path.startswith(pair[0] + b"/"))
        return text(before + path[len(root) + 1:])

    def add(name, size):
        nonlocal more
        if len(found) < LISTED:
            found.append({"path": name, "size": size})
        else:
            more += 1

    def skipped(entry):
        raw = entry.path[len(home) + 1:] if entry.path.startswith(home + b"/") else b""
        return (raw in CACHES or raw.startswith(KNOWN_HOSTS) or entry.name in CACHES_ANYWHERE
                or entry.path in checkout.git_folders or entry.path in checkout.own or entry.path == part)

    waiting = [root for root, _ in roots]
    while waiting:
        folder = waiting.pop()
        talk.alive()
        try:
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            # What can't be read can't be shown to be nothing.
            add(shown(folder) + "/" if folder not in dict(roots) else "./", 0)
            continue
        inner = []
        for entry in entries:
            name = shown(entry.path)
            if skipped(entry):
                continue
            try:
                info = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            if stat.S_ISDIR(info.st_mode):
                if entry.path not in mounts and not any(pattern.fullmatch(name) for pattern in whole):
                    inner.append(entry.path)
            elif stat.S_ISREG(info.st_mode) and entry.path not in checkout.answered:
                new = max(info.st_mtime_ns, info.st_ctime_ns) >= marker
                if new and not any(pattern.fullmatch(name) for pattern in disposable):
                    add(name, info.st_size)
        waiting.extend(reversed(inner))
    return found, more


def mounts_elsewhere():
    try:
        with open("/proc/self/mounts", "rb") as file:
            lines = [line.split(b" ") for line in file.read().splitlines()]
    except OSError:
        return set()
    octal = re.compile(rb"\\([0-7]{3})")
    return {octal.sub(lambda match: bytes([int(match.group(1), 8)]), line[1])
            for line in lines if len(line) > 2 and text(line[2]) in ELSEWHERE}


def tidy(pattern):
    """`scratch/` means everything in it; `./` in front says nothing."""
    pattern = pattern[2:] if pattern.startswith("./") else pattern
    return pattern + "**" if pattern.endswith("/") else pattern


def glob(pattern):
    """Reads a glob: `**` crosses folders, `*` and `?` don't, `[…]` is a set, `\\` takes the next as it is."""
    pattern = tidy(pattern)
    out, at = "", 0
    while at < len(pattern):
        char = pattern[at]
        if pattern.startswith("**/", at) and (at == 0 or pattern[at - 1] == "/"):
            out, at = out + "(?:.*/)?", at + 3
            continue
        if pattern.startswith("**", at):
            out, at = out + ".*", at + 2
            continue
        end = pattern.find("]", at + 2) if char == "[" else -1
        if end > 0:
            inner = pattern[at + 1:end]
            denied = inner[:1] in ("!", "^")
            inner = re.sub(r"([\\\[\]^&~|])", r"\\\1", inner[1:] if denied else inner)
            out, at = out + "(?!/)[" + ("^" if denied else "") + inner + "]", end + 1
            continue
        if char == "\\" and at + 1 < len(pattern):
            at += 1
            out += re.escape(pattern[at])
        else:
            out += {"*": "[^/]*", "?": "[^/]"}.get(char) or re.escape(char)
        at += 1
    return re.compile(out, re.DOTALL)


# Programs at work ---------------------------------------------------------------------------------------


def processes(checkout, on_gpu):
    """Lists programs that use the GPU or work in the checkout, without ourselves and what carries us."""
    apart = ancestors(os.getpid()) | {os.getpid()} | children
    found = {pid: {"pid": pid, "command": command, "why": "gpu"} for pid, command in on_gpu}
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
        if pid in apart or pid in found:
            continue
        try:
            command = at_work("/proc/%d" % pid, checkout)
        except OSError:
            continue  # Gone meanwhile, or not ours to look at.
        if command:
            found[pid] = {"pid": pid, "command": command, "why": "checkout"}
    return [found[pid] for pid in sorted(found)]


def at_work(folder, checkout):
    parent, state = parent_and_state(folder)
    ours = os.geteuid() in (0, os.stat(folder).st_uid)
    if not ours or state in ("Z", "X") or parent == os.getpid():
        return None
    with open(folder + "/cmdline", "rb") as file:
        words = file.read(65536).split(b"\0")[:-1]
    cwd = os.fsencode(os.readlink(folder + "/cwd"))
    inside = cwd == checkout or cwd.startswith(checkout + b"/")
    paths = (os.path.normpath(os.path.join(cwd, word)) for word in words if word)
    named = any(path.startswith(checkout + b"/") for path in paths)
    if not words or not (inside or named) or os.path.basename(words[0]).startswith(b"sshd"):
        return None
    return name_of(words, cwd)


def name_of(words, cwd):
    """Names a program by itself and its first argument; more might show a secret."""
    name = os.path.basename(words[0])
    first = next((word for word in words[1:] if word and not word.startswith(b"-")), None)
    # Behind an option it may be that option's value, a password for one; a file is not.
    if first is not None and (first == words[1] or os.path.exists(os.path.join(cwd, first))):
        name += b" " + os.path.basename(first)
    return text(name)[:60]


def parent_and_state(folder):
    with open(folder + "/stat", "rb") as file:
        fields = file.read().rsplit(b")", 1)[1].split()
    return int(fields[1]), text(fields[0])


def ancestors(pid):
    found = set()
    while pid > 1:
        try:
            pid = parent_and_state("/proc/%d" % pid)[0]
        except (OSError, IndexError, ValueError):
            break
        found.add(pid)
    return found


def gpu_processes():
    try:
        code, out, _ = run(["nvidia-smi", "--query-compute-apps=pid,name", "--format=csv,noheader"], limit=40)
    except (OSError, Failed):
        return []
    pairs = [line.split(b",", 1) for line in out.splitlines()] if code == 0 else []
    return [(int(pair[0]), text(os.path.basename(pair[1].strip()))[:60])
            for pair in pairs if len(pair) == 2 and pair[0].strip().isdigit()]


# Bringing the repo --------------------------------------------------------------------------------------


def clone(ask, home):
    place = below(home, ask["path"])
    part = place + b".dacapo-part"
    only_one(home)
    way = ssh_command(home, ask["known_hosts"])
    if os.path.lexists(place) and not empty_folder(place):
        return already_there(place, ask)
    check_agent(ask["url"])
    remove(part)
    os.makedirs(os.path.dirname(place), exist_ok=True)
    git = Git(os.path.dirname(place))
    git.environment["GIT_SSH_COMMAND"] = way
    try:
        ask_remote(git, "clone", "--branch", ask["branch"], "--config", "core.sshCommand=" + way, "--",
                   ask["url"], part)
        brought = settle(Git(part), ask)
        if os.path.lexists(place):
            os.rmdir(place)
        os.rename(part, place)
    except BaseException:
        remove(part)
        raise
    return brought


def already_there(place, ask):
    """A clone that was carried out before is done; anything else at its place is not ours to touch."""
    try:
        checkout = Checkout(os.path.realpath(place), set()).report()
    except (Failed, OSError) as failed:
        why = failed.why if isinstance(failed, Failed) else [failed.strerror]
        raise Failed("occupied", "something else lies at `%s`" % ask["path"], *why) from None
    if checkout["remote"] != ask["url"]:
        other = spoken((checkout["remote"] or "nothing").encode())
        raise Failed("occupied", "`%s` is a checkout of `%s`" % (ask["path"], other))
    if not checkout["head"]:
        raise Failed("occupied", "`%s` is a checkout without a commit" % ask["path"])
    return {"commit": checkout["head"], "branch": checkout["branch"]}


def settle(git, ask):
    """Puts a fresh clone on the wanted commit, says who commits there, and reads back what it is."""
    branch, commit = ask["branch"], ask.get("commit")
    if commit:
        on_remote(git, commit, branch)
        git("checkout", "-q", "-B", branch, commit, limit=3600)
    for key, value in (("user.name", ask.get("user_name")), ("user.email", ask.get("user_email"))):
        if value:
            git("config", key, value)
    return state_of(git)


def state_of(git):
    head = text(git("rev-parse", "--verify", "-q", "HEAD^{commit}").strip())
    return {"commit": head, "branch": text(git("rev-parse", "--abbrev-ref", "HEAD").strip())}


def on_remote(git, commit, branch):
    code, _, err = git.try_run("merge-base", "--is-ancestor", commit, "refs/remotes/origin/" + branch)
    if code != 0:
        words = "the remote's branch `%s` doesn't hold the commit %s" % (branch, commit[:12])
        raise Failed("no_commit", words, spoken(err))


def fast_forward(ask, home):
    place = os.path.realpath(below(home, ask["path"]))
    only_one(home)
    checkout = Checkout(place, set())
    report = checkout.report()
    if report["branch"] != ask["branch"]:
        raise Failed("other_branch", "the checkout is on %s" % (
            "the branch `%s`" % report["branch"] if report["branch"] else "no branch"))
    if report["unfinished"]:
        raise Failed("dirty", "a %s is under way" % report["unfinished"])
    in_the_way = [entry["path"] for entry in report["dirty"] if entry["how"] != "untracked"]
    if in_the_way:
        raise Failed("dirty", "changed: " + ", ".join(in_the_way[:5]) + (" …" if in_the_way[5:] else ""))
    git = Git(place)
    way = ssh_command(home, ask["known_hosts"])
    git.environment["GIT_SSH_COMMAND"] = way
    git.environment.pop("GIT_OPTIONAL_LOCKS")
    check_agent(report["remote"] or "")
    ask_remote(git, "fetch", "--quiet", "origin")
    on_remote(git, ask["to"], ask["branch"])
    if git.try_run("merge-base", "--is-ancestor", ask["to"], "HEAD")[0] == 0:
        return state_of(git)
    if git.try_run("merge-base", "--is-ancestor", "HEAD", ask["to"])[0] != 0:
        raise Failed("diverged", "the checkout has commits that the remote's branch doesn't have")
    # Ignored files are somebody's too; by default a merge overwrites them without a word.
    careful = ("merge", "--quiet", "--ff-only", "--no-overwrite-ignore")
    code, out, err = git.try_run(*careful, ask["to"], limit=3600)
    if code != 0:
        raise Failed("dirty", spoken(err) or spoken(out))
    return state_of(git)


def ask_remote(git, *arguments):
    """Runs a git command that talks to the remote; its refusals get a kind."""
    code, _, err = git.try_run(*arguments, limit=3600)
    if code == 0:
        return
    words = text(err)
    signs = (
        ("Host key verification failed", "git_host_key"), ("Permission denied (", "git_denied"),
        ("Remote branch", "no_branch"), ("couldn't find remote ref", "no_branch"),
        ("Authentication failed", "git_denied"), ("could not read Username", "git_denied"),
        ("Could not resolve host", "git"), ("Connection", "git"),
        ("No space left", "disk_full"), ("ot found", "no_repo"), ("does not exist", "no_repo"),
        ("does not appear to be a git repository", "no_repo"),
    )
    raise Failed(next((kind for sign, kind in signs if sign in words), "git"), spoken(err))


def ssh_command(home, lines):
    """Keeps the git hosts' keys here and returns the ssh that believes nothing else."""
    path = os.path.join(own_folder(home), b"known_hosts")
    write_whole(path, "".join(line.rstrip("\n") + "\n" for line in lines).encode())
    # ssh splits this option at blanks even inside one shell word: the quotes are for ssh itself.
    quoted = shlex.quote('UserKnownHostsFile="%s"' % os.fsdecode(path).replace("%", "%%"))
    return " ".join(("ssh -o", quoted,
                     "-o GlobalKnownHostsFile=/dev/null -o StrictHostKeyChecking=yes -o BatchMode=yes",
                     "-o ConnectTimeout=20 -o ServerAliveInterval=15"))


def over_ssh(url):
    return url.startswith(("ssh://", "git+ssh://", "ssh+git://")) or (
        "://" not in url and ":" in url.split("/", 1)[0])


def check_agent(url):
    if not over_ssh(url) or not shutil.which("ssh-add"):
        return
    code, _, err = run(["ssh-add", "-l"], limit=30)
    if code:
        raise Failed("agent_empty" if code == 1 else "agent_absent", spoken(err) or "the agent holds no key")


def empty_folder(place):
    try:
        return not os.path.islink(place) and not os.listdir(place)
    except OSError:
        return False


def remove(place):
    if os.path.isdir(place) and not os.path.islink(place):
        shutil.rmtree(place)
    elif os.path.lexists(place):
        os.unlink(place)


# Talking to the store -----------------------------------------------------------------------------------


def connect(link):
    """Opens the connection that a link names; returns it and what to ask for."""
    parts = urllib.parse.urlsplit(link)
    loopback = parts.hostname == "localhost" or re.match(r"127\.|::1$", parts.hostname or "")
    if parts.scheme != "https" and not (parts.scheme == "http" and loopback):
        raise Failed("bad_request", "the link is neither https nor to loopback")
    target = (parts.path or "/") + ("?" + parts.query if parts.query else "")
    if parts.scheme == "http":
        return http.client.HTTPConnection(parts.hostname, parts.port, timeout=45), target
    context = ssl.create_default_context()
    direct = loopback or urllib.request.proxy_bypass(parts.hostname)
    proxy = None if direct else urllib.request.getproxies().get("https")
    if not proxy:
        return http.client.HTTPSConnection(parts.hostname, parts.port, timeout=45, context=context), target
    through = urllib.parse.urlsplit(proxy if "://" in proxy else "http://" + proxy)
    connection = http.client.HTTPSConnection(through.hostname, through.port, timeout=45, context=context)
    connection.set_tunnel(parts.hostname, parts.port or 443)
    return connection, target


def refused(response):
    words = text(response.read(2000)).strip()
    return Failed("http", "the store answered %d" % response.status, words)


def pull(ask, home):
    place = below(home, ask["path"])
    only_one(home)
    before, content = what_lies_there(place)
    if ask["payload"] and content == ask["payload"]:
        return {"payload": content, "size": before.st_size}
    if before is not None and content != ask["replaces"] and before.st_size:
        raise Failed("changed", "it holds %s, not %s" % (content[:12], (ask["replaces"] or "nothing")[:12]))
    if before is None and ask["replaces"]:
        raise Failed("changed", "it is gone")
    os.makedirs(os.path.dirname(place), exist_ok=True)
    part = place + b".dacapo-part"
    packed = os.path.join(own_folder(home), b"pull-" + ask["stored"].encode()) if ask["gzip"] else part
    try:
        download(ask, packed)
        if ask["gzip"]:
            payload, size = unpack(packed, part)
        else:
            payload, size = ask["stored"], ask["stored_size"]
        if ask["payload"] and payload != ask["payload"]:
            words = "the unpacked bytes hash to %s, not %s" % (payload[:12], ask["payload"][:12])
            raise Failed("mismatch", words)
        put_in_place(part, place, before)
    finally:
        remove(part)
        remove(packed)
    return {"payload": payload, "size": size}


def what_lies_there(place):
    try:
        return hash_file(place)
    except (FileNotFoundError, NotADirectoryError):
        return None, None


def new_file(path):
    remove(path)
    return open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w+b")


def download(ask, path):
    """Fetches the stored bytes; a cut connection is taken up again where it ended, a few times."""
    total = ask["stored_size"]
    free = shutil.disk_usage(os.path.dirname(path)).free
    if total > free:
        raise Failed("disk_full", "%d bytes are wanted and %d are free" % (total, free))
    hasher = ContentHasher()
    with new_file(path) as file:
        for wait in (0.2, 0.6, 1.8, None):
            try:
                fetch(ask["link"], file, hasher, total)
                break
            except (OSError, http.client.HTTPException) as error:
                if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise
                if wait is None:
                    words = "after %d of %d bytes" % (hasher.length, total)
                    raise Failed("network", words, reason(error)) from None
                time.sleep(wait)
        file.flush()
        os.fsync(file.fileno())
    if hasher.length != total or hasher.hexdigest() != ask["stored"]:
        raise Failed("mismatch", "the store sent other bytes than its listing says")
    talk.moved(total, total, last=True)


def fetch(link, file, hasher, total):
    """Reads the rest of the stored bytes into the file and past the hasher."""
    connection, target = connect(link)
    try:
        headers = {"Range": "bytes=%d-" % hasher.length} if hasher.length else {}
        connection.request("GET", target, headers=headers)
        response = connection.getresponse()
        if response.status not in (200, 206):
            raise refused(response)
        goes_on = response.status == 206 and (response.getheader("Content-Range") or "").startswith(
            "bytes %d-" % hasher.length)
        if hasher.length and not goes_on:
            hasher.__init__()
            file.seek(0)
            file.truncate()
        while True:
            data = response.read(min(PIECE, 262144))
            if not data:
                break
            hasher.update(data)
            file.write(data)
            if hasher.length > total:
                raise Failed("mismatch", "the store sends more than the %d bytes of its listing" % total)
            talk.moved(hasher.length, total)
        if hasher.length < total:
            raise http.client.IncompleteRead(b"")
    finally:
        connection.close()


def reason(error):
    if isinstance(error, http.client.IncompleteRead):
        return "the connection ended early"
    return getattr(error, "strerror", None) or type(error).__name__


def unpack(packed, part):
    hasher = ContentHasher()
    try:
        with gzip.open(packed, "rb") as source, new_file(part) as file:
            while True:
                data = source.read(PIECE)
                if not data:
                    break
                hasher.update(data)
                file.write(data)
                talk.alive()
            file.flush()
            os.fsync(file.fileno())
    except (EOFError, zlib.error) as error:
        raise Failed("not_gzip", str(error)) from None
    except OSError as error:
        if error.errno is None:  # What gzip raises for bytes that are none of its own.
            raise Failed("not_gzip", str(error)) from None
        raise
    return hasher.hexdigest(), hasher.length


def put_in_place(part, place, before):
    """Puts the finished file where it belongs, unless somebody was faster."""
    if before is None:
        umask = os.umask(0o022)
        os.umask(umask)
        os.chmod(part, 0o666 & ~umask)
        try:
            os.link(part, place)  # Fails where something lies: no moment between looking and writing.
        except FileExistsError:
            raise Failed("changed", "it appeared while the new one was fetched") from None
        except OSError:
            if os.path.lexists(place):
                raise Failed("changed", "it appeared while the new one was fetched") from None
            os.rename(part, place)
    else:
        os.chmod(part, stat.S_IMODE(before.st_mode))
        try:
            same = identity(os.lstat(place)) == identity(before)
        except OSError:
            same = False
        if not same:
            raise Failed("changed", "it changed while the new one was fetched")
        os.replace(part, place)
    folder = os.open(os.path.dirname(place), os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


PACK = re.compile(r"pack-[0-9a-f]{64}(\.gz)?")


def pack(ask, home):
    """Copies a file, packed or as it is, to where its bytes can't change any more."""
    place = below(home, ask["path"])
    only_one(home)
    folder = own_folder(home)
    try:
        descriptor = open_regular(place)
    except (FileNotFoundError, NotADirectoryError):
        raise Failed("missing", "there is no file at `%s`" % ask["path"]) from None
    part = os.path.join(folder, b"packing")
    try:
        with open(descriptor, "rb") as source, new_file(part) as file:
            before = os.fstat(source.fileno())
            payload, stored = copy_packed(source, file, before.st_size, ask)
            now = os.fstat(source.fileno())
            if payload.length != before.st_size or identity(now) != identity(before):
                raise Failed("changed", "it changed while it was packed")
            file.flush()
            os.fsync(file.fileno())
        content = payload.hexdigest()
        name = "pack-" + content + (".gz" if ask["gzip"] else "")
        os.replace(part, os.path.join(folder, name.encode()))
    finally:
        remove(part)
    return {"temp": name, "payload": content, "size": payload.length, "stored": stored.hexdigest(),
            "stored_size": stored.length}


def copy_packed(source, file, size, ask):
    # No name and no time in the gzip header: equal bytes give equal packed bytes.
    packer = zlib.compressobj(6, zlib.DEFLATED, 31) if ask["gzip"] else None
    payload, stored = ContentHasher(), ContentHasher()
    if packer is None and size > ask["limit"]:
        raise too_large(size, size, ask["limit"])

    def keep(data):
        stored.update(data)
        file.write(data)
        if stored.length > ask["limit"]:
            raise too_large(size, stored.length, ask["limit"])

    while True:
        data = source.read(PIECE)
        if not data:
            break
        payload.update(data)
        keep(packer.compress(data) if packer else data)
        talk.moved(payload.length, size)
    if packer:
        keep(packer.flush())
    return payload, stored


def too_large(size, stored, limit):
    words = "%d bytes, at least %d when stored; the limit is %d" % (size, stored, limit)
    return Failed("too_large", words)


def pack_place(ask, home):
    if not PACK.fullmatch(ask["temp"]):
        raise Failed("bad_request", "`%s` is not the name of a packed file" % ask["temp"])
    return os.path.join(own_folder(home), ask["temp"].encode())


def discard_pack(ask, home):
    remove(pack_place(ask, home))
    return None


def push(ask, home):
    """Sends a packed file; the store's own hash of what it took must be the one we counted."""
    total = ask["stored_size"]
    try:
        descriptor = open_regular(pack_place(ask, home))
    except FileNotFoundError:
        raise Failed("missing", "the packed file is gone; pack again") from None
    with open(descriptor, "rb") as file:
        if os.fstat(file.fileno()).st_size != total:
            raise Failed("changed", "the packed file changed")
        connection, target = connect(ask["link"])
        try:
            response = send(connection, target, file, total)
            if response.status != 200:
                raise refused(response)
            words = response.read(100000)
        except (OSError, http.client.HTTPException) as error:
            raise Failed("unclear", "the upload's end is unknown", reason(error)) from None
        finally:
            connection.close()
    try:
        content = json.loads(words)["content-hash"]
    except (ValueError, KeyError, TypeError):
        raise Failed("unclear", "the store's answer can't be read: " + text(words[:200])) from None
    if content != ask["stored"]:
        raise Failed("mismatch", "the store took %s, not %s" % (str(content)[:12], ask["stored"][:12]))
    return content


def send(connection, target, file, total):
    sent = 0
    connection.putrequest("POST", target)
    connection.putheader("Content-Type", "application/octet-stream")
    connection.putheader("Content-Length", str(total))
    connection.endheaders()
    try:
        while sent < total:
            data = file.read(min(262144, total - sent))
            if not data:
                raise Failed("changed", "the packed file changed")
            connection.send(data)
            sent += len(data)
            talk.moved(sent, total, last=sent == total)
    except (BrokenPipeError, ConnectionResetError):
        pass  # A store that refuses early closes its end, and its answer says why.
    return connection.getresponse()


# Commands of the user's ---------------------------------------------------------------------------------


def run_file(ask, home):
    if not re.fullmatch(r"[0-9a-f]{16,64}", ask["run"]):
        raise Failed("bad_request", "not the name of a run")
    return os.path.join(own_folder(home), b"run-" + ask["run"].encode())


def outcome(ask, home):
    """Says how a command of `run` ended, and forgets it; null while it runs or when it is unknown."""
    path = run_file(ask, home)
    try:
        with open(path, "rb") as file:
            words = file.read(100).split()
    except FileNotFoundError:
        return None
    if words[:1] != [b"exit"]:
        return None
    os.unlink(path)
    return int(words[1])


def interrupt(ask, home):
    """Ends a command of `run` with everything in its process group, politely first."""
    path = run_file(ask, home)
    # The command may have been started only just now.
    for _ in range(40):
        if os.path.exists(path):
            break
        time.sleep(0.05)
    try:
        with open(path, "rb") as file:
            words = file.read(100).split()
    except FileNotFoundError:
        return None
    if words[:1] != [b"group"]:
        return None
    group = int(words[1])
    # The command may end at the first signal and leave others of its group behind: what a shell starts
    # with `&` ignores SIGINT.
    for how, patience in ((signal.SIGINT, 3), (signal.SIGTERM, 5), (signal.SIGKILL, 2)):
        end_group(group, how)
        end = time.monotonic() + patience
        while end_group(group, 0):
            if time.monotonic() > end:
                break
            talk.alive()
            time.sleep(0.05)
        else:
            return None
    return None


OPERATIONS = {
    "hello": hello, "probe": probe, "clone": clone, "fast_forward": fast_forward, "pull": pull, "pack": pack,
    "push": push, "discard_pack": discard_pack, "finish_set_up": finish_set_up, "outcome": outcome,
    "interrupt": interrupt,
}


def answer(ask):
    try:
        return {"result": OPERATIONS[ask["op"]](ask, home_folder())}
    except Failed as failed:
        return {"error": {"kind": failed.kind, "why": failed.why}}
    except OSError as error:
        kind = "disk_full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "os"
        where = ": `%s`" % text(error.filename) if error.filename else ""
        return {"error": {"kind": kind, "why": [(error.strerror or type(error).__name__) + where]}}
    except Exception as error:  # Whatever it is, the other side must hear of it.
        line = error.__traceback__
        while line.tb_next:
            line = line.tb_next
        words = "%s in line %d: %s" % (type(error).__name__, line.tb_lineno, error)
        return {"error": {"kind": "bug", "why": [words]}}


def without(secret, words):
    """Takes a link, or any telling piece of it, out of what is said."""
    raw = json.dumps(words)
    pieces = [secret] + [piece for piece in re.split(r"[/?&=]", secret) if len(piece) > 12] if secret else []
    for piece in pieces:
        raw = raw.replace(json.dumps(piece)[1:-1], "****")
    return json.loads(raw)


def main():
    ask = json.loads(sys.stdin.buffer.readline())
    talk.nonce = ask["nonce"]
    threading.Thread(target=leave_when_alone, daemon=True).start()
    words = answer(ask)
    if "error" in words:
        words = without(ask.get("link"), words)
    talk.say(**words)


if __name__ == "__main__":
    main()
