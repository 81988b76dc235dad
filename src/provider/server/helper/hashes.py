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


