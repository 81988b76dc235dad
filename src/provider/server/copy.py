"""One side of a copy between the laptop and the server: `give` reads what lies here, `take` puts what comes.

Arguments: the side, the folder that relative paths count from. One request as a line of JSON in, one answer out; then
`give` is told which files to send, and sends their bytes one after the other, and `take` gets them. Names travel as
hexadecimal digits of their bytes. Nothing that lies here is replaced unless the request says so, and no file is there
before all its bytes are, and hash to what was promised.
"""
import errno
import hashlib
import json
import os
import stat
import sys
import tempfile

BLOCK = 4 * 1024 * 1024
PIECE = 256 * 1024
side, base = sys.argv[1], os.fsencode(sys.argv[2])
stdin, stdout = sys.stdin.buffer, sys.stdout.buffer


class Failed(Exception):
    pass


class Hasher:
    """The content hash: SHA-256 of the SHA-256 of each block of 4 MiB."""

    def __init__(self):
        self.joined, self.block, self.filled = hashlib.sha256(), hashlib.sha256(), 0

    def update(self, data):
        while data:
            now, data = data[:BLOCK - self.filled], data[BLOCK - self.filled:]
            self.block.update(now)
            self.filled += len(now)
            if self.filled == BLOCK:
                self.close()

    def close(self):
        self.joined.update(self.block.digest())
        self.block, self.filled = hashlib.sha256(), 0

    def digest(self):
        if self.filled:
            self.close()
        return self.joined.hexdigest()


def say(**words):
    stdout.write(json.dumps(words).encode() + b"\n")
    stdout.flush()


def hear():
    line = stdin.readline()
    if not line.endswith(b"\n"):
        raise SystemExit(1)  # Whoever asked is gone.
    return json.loads(line)


def text(path):
    return path.decode("utf-8", "backslashreplace")


def located(path):
    if path == b"~" or path.startswith(b"~/"):
        path = os.fsencode(os.path.expanduser("~")) + path[1:]
    return os.path.join(base, path)


def content(path):
    hasher = Hasher()
    with open(path, "rb") as file:
        while True:
            piece = file.read(PIECE)
            if not piece:
                return hasher.digest()
            hasher.update(piece)


# Giving


class Given:
    def __init__(self, recursive):
        self.recursive, self.entries, self.places, self.skipped = recursive, [], [], []

    def top(self, number, path):
        place = located(path)
        # What is named itself may be a link to what is meant.
        info = os.stat(place)
        if stat.S_ISDIR(info.st_mode) and not self.recursive:
            raise Failed("`%s` is a folder: `-r` copies it with all that is in it" % text(path))
        if not stat.S_ISDIR(info.st_mode) and not stat.S_ISREG(info.st_mode):
            raise Failed("`%s` is neither a file nor a folder" % text(path))
        self.add(number, b"", place, info)

    def add(self, number, below, place, info):
        entry = {"source": number, "path": below.hex(), "mode": info.st_mode & 0o777}
        if stat.S_ISDIR(info.st_mode):
            self.note(dict(entry, kind="folder"), place)
            for inner in sorted(os.listdir(place)):
                there = os.path.join(place, inner)
                self.add(number, os.path.join(below, inner), there, os.lstat(there))
        elif stat.S_ISREG(info.st_mode):
            self.note(dict(entry, kind="file", size=info.st_size, content=content(place)), place)
        elif stat.S_ISLNK(info.st_mode):
            self.note(dict(entry, kind="link", to=os.readlink(place).hex()), place)
        else:
            self.skipped.append(text(place))

    def note(self, entry, place):
        self.entries.append(entry)
        self.places.append(place)


def give():
    ask = hear()
    given = Given(ask["recursive"])
    for number, path in enumerate(ask["paths"]):
        path = bytes.fromhex(path)
        try:
            given.top(number, path)
        except FileNotFoundError as error:
            if error.filename != located(path):
                raise
            raise Failed("there is no `%s`" % text(path)) from None
    say(entries=given.entries, skipped=given.skipped)
    for number in hear()["send"]:
        send(given.places[number], given.entries[number]["size"])


def send(place, size):
    with open(place, "rb") as file:
        while size:
            piece = file.read(min(PIECE, size))
            if not piece:
                # The other side counts bytes; it must not take those of the next file for this one's.
                os.write(2, ("`%s` became shorter while it was read\n" % text(place)).encode())
                raise SystemExit(1)
            stdout.write(piece)
            size -= len(piece)
    stdout.flush()


# Taking


def inside(below):
    """Refuses a path that would leave the folder that it is to be in."""
    words = below.split(b"/") if below else []
    if any(word in (b"", b".", b"..") or b"\0" in word for word in words):
        raise Failed("`%s` is no path to put anything at" % text(below))
    return below


def root_of(target, several):
    """Says whether what comes goes into the target or takes its place."""
    place = located(target)
    if os.path.isdir(place):
        return place, True
    if several or target.endswith(b"/"):
        raise Failed("`%s` is no folder" % text(target))
    if not os.path.isdir(os.path.dirname(place)):
        raise Failed("there is no folder `%s`" % text(os.path.dirname(target) or target))
    return place, False


class Taken:
    def __init__(self, ask):
        self.entries = ask["entries"]
        self.overwrite = ask["overwrite"]
        names = [inside(bytes.fromhex(name)) for name in ask["names"]]
        root, into = root_of(bytes.fromhex(ask["target"]), len(names) > 1)
        self.places, folders = [], set()
        for entry in self.entries:
            name, below = names[entry["source"]], inside(bytes.fromhex(entry["path"]))
            top = os.path.join(root, name) if into and name else root
            place = os.path.join(top, below) if below else top
            # So nothing is put behind a link that came along, nor beside what was judged.
            if below and os.path.dirname(place) not in folders:
                raise Failed("`%s` lies in no folder that comes along" % text(place))
            if entry["kind"] == "folder":
                folders.add(place)
            self.places.append(place)
        if len(set(self.places)) < len(self.places):
            raise Failed("two things would get the same place")
        self.states = [self.state(*both) for both in zip(self.entries, self.places)]

    def state(self, entry, place):
        kind = entry["kind"]
        try:
            info = os.lstat(place)
        except (FileNotFoundError, NotADirectoryError):
            return "new"
        if kind == "folder":
            top = not entry["path"]
            return "same" if os.path.isdir(place) and (top or not stat.S_ISLNK(info.st_mode)) else "blocked"
        if stat.S_ISDIR(info.st_mode) or not (stat.S_ISREG(info.st_mode) or stat.S_ISLNK(info.st_mode)):
            return "blocked"
        if kind == "link":
            same = stat.S_ISLNK(info.st_mode) and os.readlink(place).hex() == entry["to"]
        else:
            same = (stat.S_ISREG(info.st_mode) and info.st_size == entry["size"]
                    and content(place) == entry["content"])
        return "same" if same else "different"

    def put(self):
        todo = [(entry, place) for entry, place, state in zip(self.entries, self.places, self.states)
                if state in ("new", "different")]
        for entry, place in todo:
            if entry["kind"] == "folder":
                os.mkdir(place, 0o700 | entry["mode"] & 0o777)
        for entry, place in todo:
            if entry["kind"] == "file":
                self.receive(entry, place)
        # Last, so that nothing can be put through one.
        for entry, place in todo:
            if entry["kind"] == "link":
                self.place_link(bytes.fromhex(entry["to"]), place)

    def receive(self, entry, place):
        descriptor, part = tempfile.mkstemp(suffix=b".dacapo-part", prefix=b".", dir=os.path.dirname(place))
        try:
            with open(descriptor, "wb") as file:
                hasher, left = Hasher(), entry["size"]
                while left:
                    piece = stdin.read(min(PIECE, left))
                    if not piece:
                        raise SystemExit(1)
                    hasher.update(piece)
                    file.write(piece)
                    left -= len(piece)
                file.flush()
                os.fchmod(file.fileno(), entry["mode"] & 0o777 & ~mask)
                os.fsync(file.fileno())
            if hasher.digest() != entry["content"]:
                raise Failed("`%s` changed while it was copied" % text(place))
            self.place(part, place)
        finally:
            if os.path.lexists(part):
                os.unlink(part)

    def place(self, part, place):
        """Puts a whole file at its place; what came there meanwhile stays."""
        if self.overwrite:
            return os.replace(part, place)
        try:
            os.link(part, place)
        except FileExistsError:
            raise Failed("something came to `%s` meanwhile" % text(place)) from None
        except OSError as error:
            # Not every file system knows a second name for a file.
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
                raise
            if os.path.lexists(place):
                raise Failed("something came to `%s` meanwhile" % text(place)) from None
            os.rename(part, place)

    def place_link(self, to, place):
        if self.overwrite and os.path.lexists(place):
            os.unlink(place)
        os.symlink(to, place)


def take():
    taken = Taken(hear())
    say(states=taken.states, places=[text(place) for place in taken.places])
    if not hear()["go"]:
        return
    taken.put()
    say(done=True)


mask = os.umask(0)
os.umask(mask)
try:
    {"give": give, "take": take}[side]()
except Failed as failed:
    say(error=str(failed))
except OSError as error:
    where = ": `%s`" % text(os.fsencode(error.filename)) if error.filename is not None else ""
    say(error=(error.strerror or type(error).__name__) + where)
