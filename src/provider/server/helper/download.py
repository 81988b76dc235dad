# Bringing stored bytes ----------------------------------------------------------------------------------


class Download(Transfer):
    """Brings the missing blocks of a stored object into a file."""

    def __init__(self, ask, descriptor, journal, have, ranges=True):
        total = ask["stored_size"]
        count = blocks_of(total)
        super().__init__(ask, total, [number for number in range(count) if number not in have])
        self.descriptor = descriptor
        self.journal = journal
        self.digests = [have.get(number) for number in range(count)]
        self.ranges = self.leaves = ranges
        if not ranges:
            self.connections = 1
            self.divided = False

    @staticmethod
    def address(link):
        return link

    def carry_out(self):
        super().carry_out()
        return joined(self.digests)

    def move(self, line, run):
        first = 0 if not self.ranges else run[0]
        start, end = first * BLOCK, min(run[1] * BLOCK, self.total)
        part = self.ranges and end - start < self.total
        with on_the_wire():
            connection = line.ready()
            headers = {"Range": "bytes=%d-%d" % (start, end - 1)} if part else {}
            connection.request("GET", line.target, headers=headers)
            response = connection.getresponse()
            if response.status not in (200, 206):
                check(response)
        self.check_promise(response, start, end, part)
        number = first
        while number < run[1]:
            digest = self.take_block(response, number)
            if self.digests[number] is None:
                self.digests[number] = digest
                self.journal.note([number, digest.hex()])
            number += 1
            if self.ranges:
                run[0] = number
        run[0] = run[1]
        if number * BLOCK < end:
            line.close()  # The rest of this answer has become another connection's.
            return
        with on_the_wire():
            more = response.read(1)
        if more:
            raise self.too_much()

    def check_promise(self, response, start, end, part):
        """Believes no answer that isn't about the stretch that was asked for."""
        if part and response.status == 200:
            raise NoRanges()
        if part:
            said = response.getheader("Content-Range") or ""
            if said.replace(" ", "") != "bytes%d-%d/%d" % (start, end - 1, self.total):
                raise Again("the store sent another part than was asked for")
        length = response.getheader("Content-Length")
        if length is not None and length.isdigit() and int(length) > end - start:
            if part:
                raise Again("the store sent more than was asked for")
            raise self.too_much()

    def too_much(self):
        return Failed("mismatch", "the store sends more than the %d bytes of its listing" % self.total)

    def take_block(self, response, number):
        """Reads one block, hashes it and writes it to its place."""
        offset, left = number * BLOCK, self.length(number)
        have = self.digests[number] is not None
        digest = hashlib.sha256()
        moved = 0
        trickle = Trickle(self.pace)
        try:
            while left:
                if self.pace.stopped:
                    raise Stopped()
                with on_the_wire():
                    data = response.read1(min(PIECE // 2, left))
                    if not data:
                        raise http.client.IncompleteRead(b"")
                trickle.came(len(data))
                digest.update(data)
                if not have:
                    write_at(self.descriptor, data, offset)
                    moved += len(data)
                    self.count(moved=len(data))
                offset += len(data)
                left -= len(data)
        except BaseException:
            self.count(moved=-moved)
            raise
        if not have:
            self.count(done=moved)
        return digest.digest()


def write_at(descriptor, data, offset):
    view = memoryview(data)
    while view:
        count = os.pwrite(descriptor, view, offset)
        offset += count
        view = view[count:]


def download(ask, path, journal):
    """Fetches the stored bytes into a file, going on where an earlier run ended."""
    total = ask["stored_size"]
    have = blocks_at(path, journal.read(), total)
    free = shutil.disk_usage(os.path.dirname(path)).free
    missing = total - sum(min(BLOCK, total - number * BLOCK) for number in have)
    if missing > free:
        raise Failed("disk_full", "%d bytes are wanted and %d are free" % (missing, free))
    if have:
        talk.say(resumed=total - missing)
    else:
        new_file(path).close()
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        # It may have been longer, when the bytes of another version were on their way.
        os.ftruncate(descriptor, total)
        journal.begin([[number, digest.hex()] for number, digest in sorted(have.items())])
        try:
            content = Download(ask, descriptor, journal, have).carry_out()
        except NoRanges:
            content = Download(ask, descriptor, journal, {}, ranges=False).carry_out()
        if content != ask["stored"]:
            # Parts of a file have been served wrongly before; the whole in one piece is another path there.
            journal.close()
            journal.begin([])
            content = Download(ask, descriptor, journal, {}, ranges=False).carry_out()
        patiently(os.fsync, descriptor)
    finally:
        journal.close()
        os.close(descriptor)
    if content != ask["stored"]:
        raise Failed("mismatch", "the store sent other bytes than its listing says")


def blocks_at(path, lines, total):
    """Returns the digests of the blocks that an earlier run brought and that are still as it left them."""
    if not lines:
        return {}
    try:
        descriptor = open_regular(path)
    except (OSError, Failed):
        return {}
    try:
        info = os.fstat(descriptor)
        # A crash right after it was put in place leaves a second name of the user's file: not ours to write.
        if info.st_nlink != 1:
            return {}
        told = {}
        for number, digest in lines:
            if 0 <= number < blocks_of(total) and min((number + 1) * BLOCK, total) <= info.st_size:
                told[number] = bytes.fromhex(digest)
        numbers = sorted(told)
        found = hash_blocks(descriptor, total, numbers) or []
        return {number: digest for number, digest in zip(numbers, found) if digest == told[number]}
    except (TypeError, ValueError):
        return {}
    finally:
        os.close(descriptor)


