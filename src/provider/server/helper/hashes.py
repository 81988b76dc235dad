# Content hashes -----------------------------------------------------------------------------------------


class ContentHasher:
    """Dropbox's content hash of bytes as they come."""

    def __init__(self):
        self.digests = []
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
        self.digests.append(self.block.digest())
        self.block = hashlib.sha256()
        self.filled = 0

    def blocks(self):
        """Ends the last block and returns the digests of all."""
        if self.filled:
            self.close()
        return self.digests

    def hexdigest(self):
        return joined(self.blocks())


def joined(digests):
    """Returns the content hash of the bytes whose blocks have these digests."""
    return hashlib.sha256(b"".join(digests)).hexdigest()


def blocks_of(size):
    return -(-size // BLOCK)


def identity(info):
    # Both times: a program may set one of them back, as `rsync -t` does.
    return info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns


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


def read_file(path, known=None):
    """Returns the identity of a regular file and its blocks' digests, read by all cores at once.

    With `known`, a file that is as it was when it was last read isn't read again.
    """
    descriptor = open_regular(path)
    try:
        before = os.fstat(descriptor)
        digests = known.recall(path, before) if known else None
        if digests is not None:
            return before, digests
        began = time.time_ns()
        digests = hash_blocks(descriptor, before.st_size)
        if digests is None or identity(os.fstat(descriptor)) != identity(before):
            raise Failed("changed", "it changed while it was read")
        if known:
            known.remember(path, before, began, digests)
        return before, digests
    finally:
        os.close(descriptor)


def hash_file(path, known=None):
    """Returns the identity and the content hash of a regular file."""
    info, digests = read_file(path, known)
    return info, joined(digests)


def hash_blocks(descriptor, size, numbers=None):
    """Returns the digests of all blocks, or of those numbered; none when the file is shorter."""
    wanted = range(blocks_of(size)) if numbers is None else numbers
    digests = [b""] * len(wanted)
    places = iter(range(len(wanted)))

    def work():
        for place in places:
            number = wanted[place]
            digests[place] = hash_block(descriptor, number * BLOCK, min(BLOCK, size - number * BLOCK))
            talk.alive()
            if digests[place] is None:
                return

    workers = max(1, min(os.cpu_count() or 1, len(wanted), MOST_HASHING))
    with ThreadPoolExecutor(workers) as pool:
        for future in [pool.submit(work) for _ in range(workers)]:
            future.result()
    return None if None in digests else digests


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


class Known:
    """What large files came to when they were last read: a cache, which may be deleted at any time.

    An entry holds for one size, inode and pair of times, in nanoseconds. A file that was written to within
    moments of being read is never remembered: a second write could leave the same times. What decides over
    a deletion or an overwriting doesn't ask here, since a program that writes through a mapping changes no
    time at first; what it reads itself is worth remembering all the same.
    """

    WORTH = 16 * 1024 * 1024
    SETTLED = 3 * 10**9

    def __init__(self, home, believed=True):
        self.home = home
        self.believed = believed

    def place(self):
        return os.path.join(own_folder(self.home), b"hashes")

    def read(self):
        try:
            with open(self.place(), "rb") as file:
                entries = json.loads(file.read(1000000))
            return entries if isinstance(entries, dict) else {}
        except (OSError, ValueError):
            return {}

    def recall(self, path, info):
        """Returns the blocks' digests of an unchanged file; none when it has to be read."""
        if info.st_size < self.WORTH or not self.believed:
            return None
        entry = self.read().get(text(path))
        if not isinstance(entry, list) or entry[:-1] != list(identity(info)):
            return None
        return self.digests(entry[-1], info.st_size)

    def digests(self, content, size):
        """Returns the blocks' digests behind a content hash; none when they are lost."""
        try:
            with open(self.blocks_place(content), "rb") as file:
                raw = file.read(32 * blocks_of(size) + 1)
        except (OSError, Failed):
            return None
        digests = [raw[at:at + 32] for at in range(0, len(raw), 32)]
        return digests if len(raw) == 32 * blocks_of(size) and joined(digests) == content else None

    def blocks_place(self, content):
        if not re.fullmatch(r"[0-9a-f]{64}", str(content)):
            raise Failed("bad_request", "`%s` is no content hash" % content)
        return os.path.join(own_folder(self.home), b"blocks-" + content.encode())

    def remember(self, path, info, began, digests):
        if info.st_size < self.WORTH or began - max(info.st_mtime_ns, info.st_ctime_ns) < self.SETTLED:
            return
        self.keep_digests(digests)
        entries = {name: entry for name, entry in self.read().items() if self.still_there(name, entry)}
        entries[text(path)] = list(identity(info)) + [joined(digests)]
        self.write(self.place(), json.dumps(entries).encode())

    def keep_digests(self, digests):
        self.write(self.blocks_place(joined(digests)), b"".join(digests))

    def forget_digests(self, content):
        place = self.blocks_place(content)
        if content not in json.dumps(self.read()):
            remove(place)

    def still_there(self, name, entry):
        try:
            if list(identity(os.lstat(os.fsencode(name)))) == entry[:-1]:
                return True
            remove(self.blocks_place(entry[-1]))
        except (OSError, TypeError, LookupError, ValueError, Failed):
            pass
        return False

    @staticmethod
    def write(place, content):
        """Looks may run beside each other, so each writes to a name of its own first."""
        part = place + b".%d" % os.getpid()
        try:
            with new_file(part) as file:
                file.write(content)
            os.replace(part, place)
        except OSError:
            remove(part)


