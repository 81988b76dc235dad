# Talking to the store -----------------------------------------------------------------------------------

CONNECTIONS = 8
MOST_AT_ONCE = 8  # Blocks of one request: 32 MiB.
PATIENCE = 600  # Seconds that nothing may move before a transfer is given up.
THROTTLED = 3600  # The same, where the store asks for pauses.


class Again(Exception):
    """A failure that another try may mend, after the pause that the store asks for, if it does."""

    def __init__(self, why, pause=None):
        super().__init__(why)
        self.why = why
        self.pause = pause


class Expired(Exception):
    """The link or token is no good any more."""


class Stopped(Exception):
    """Another connection's failure has ended the transfer."""


class NoRanges(Exception):
    """The store gives the whole file or nothing."""


def connect(link, limit=60):
    """Opens the connection that a link names; returns it and what to ask for."""
    parts = urllib.parse.urlsplit(link)
    loopback = parts.hostname == "localhost" or re.match(r"127\.|::1$", parts.hostname or "")
    if parts.scheme != "https" and not (parts.scheme == "http" and loopback):
        raise Failed("bad_request", "the link is neither https nor to loopback")
    target = (parts.path or "/") + ("?" + parts.query if parts.query else "")
    if parts.scheme == "http":
        return http.client.HTTPConnection(parts.hostname, parts.port, timeout=limit), target
    context = ssl.create_default_context()
    direct = loopback or urllib.request.proxy_bypass(parts.hostname)
    proxy = None if direct else urllib.request.getproxies().get("https")
    if not proxy:
        return http.client.HTTPSConnection(parts.hostname, parts.port, timeout=limit, context=context), target
    through = urllib.parse.urlsplit(proxy if "://" in proxy else "http://" + proxy)
    connection = http.client.HTTPSConnection(through.hostname, through.port, timeout=limit, context=context)
    connection.set_tunnel(parts.hostname, parts.port or 443)
    return connection, target


@contextmanager
def on_the_wire():
    """Tells failures of the network from those of the disk."""
    try:
        yield
    except (OSError, http.client.HTTPException) as error:
        raise Again(reason(error)) from None


def reason(error):
    if isinstance(error, http.client.IncompleteRead):
        return "the connection ended early"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def check(response):
    """Sorts an answer that is no success: what may be tried again, what needs a new secret, what is final."""
    status = response.status
    words = text(response.read(4000)).strip()
    if status in (401, 410):
        raise Expired()
    if status == 429:
        raise Again("the store asks for a pause", pause_asked(response, words))
    if status >= 500 or status == 408:
        raise Again("the store answered %d" % status)
    raise Failed("http", "the store answered %d" % status, words[:2000])


def pause_asked(response, words):
    try:
        told = response.getheader("Retry-After") or json.loads(words)["error"]["retry_after"]
        return min(max(float(told), 0.0), 600.0)
    except (ValueError, KeyError, TypeError):
        return 1.0


class Pace:
    """When to try again: one gate for all connections, and an end to patience."""

    def __init__(self, ask):
        # A rehearsal's clock runs faster than ours, and so must our pauses.
        self.speed = max(1.0, float(ask.get("speed") or 1))
        self.lock = threading.Lock()
        self.gate = 0.0
        self.last = time.monotonic()
        self.stopped = False

    def limit(self):
        """How long a connection may be silent, in our seconds."""
        return max(4.0, 60 / self.speed)

    def moved(self):
        self.last = time.monotonic()
        secret.moved()

    def trouble(self, again, tried):
        """Waits before the next try; gives up when nothing has moved for too long."""
        idle = (time.monotonic() - self.last) * self.speed
        if idle > (PATIENCE if again.pause is None else THROTTLED):
            raise Failed("network", again.why)
        seconds = again.pause
        if seconds is None:
            seconds = min(30.0, 0.5 * 2 ** min(tried, 6)) * random.uniform(0.5, 1.0)
        talk.waiting(again.why, seconds)
        end = time.monotonic() + seconds / self.speed
        if again.pause is None:
            self.sleep_until(end)
        else:
            with self.lock:
                self.gate = max(self.gate, end)
            self.pass_gate()

    def pass_gate(self):
        self.sleep_until(self.gate)

    def sleep_until(self, end):
        while not self.stopped:
            left = end - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, 1.0))
            talk.alive()


class Journal:
    """Which blocks have been moved, a line each, so that the next run goes on from there.

    What it claims is checked or harmless: a line that a crash tore off only means moving a block again.
    """

    def __init__(self, place, about):
        self.place = place
        self.about = about
        self.descriptor = None

    def read(self):
        """Returns the lines of an earlier run about the same thing; none when there was no such run."""
        try:
            with open(self.place, "rb") as file:
                lines = file.read(16000000).split(b"\n")[:-1]
        except OSError:
            return None
        told = []
        for line in lines:
            try:
                told.append(json.loads(line))
            except ValueError:
                break
        return told[1:] if told[:1] == [self.about] else None

    def begin(self, lines):
        """Opens the journal for more, behind these lines."""
        raw = b"".join(json.dumps(line).encode() + b"\n" for line in [self.about] + lines)
        write_whole(self.place, raw)
        self.descriptor = os.open(self.place, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)

    def note(self, line):
        os.write(self.descriptor, json.dumps(line).encode() + b"\n")

    def close(self):
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


class Transfer:
    """The blocks of one file, shared out among several connections."""

    def __init__(self, ask, total, missing):
        self.pace = Pace(ask)
        self.connections = int(ask.get("connections") or CONNECTIONS)
        self.total = total
        self.state = threading.Condition()
        self.runs = deque(stretches(missing))
        self.wanted = len(missing)
        self.at_work = 0
        self.done = total - sum(self.length(number) for number in missing)
        self.under_way = 0
        self.spare = None  # A connection that has nothing more to do.

    def length(self, number):
        return min(BLOCK, self.total - number * BLOCK)

    def carry_out(self):
        """Moves every missing block; the first failure ends all."""
        talk.moved(self.done, self.total)
        # Large files in large requests, but never so few that some connections have nothing to do.
        self.most = max(1, min(MOST_AT_ONCE, self.wanted // (2 * self.connections)))
        workers = max(1, min(self.connections, -(-self.wanted // self.most)))
        with ThreadPoolExecutor(workers) as pool:
            for future in [pool.submit(self.work) for _ in range(workers)]:
                future.result()
        self.end()
        talk.moved(self.done, self.total, last=True)

    def end(self):
        """Does what comes after the last block, and closes the last connection."""
        if self.spare is not None:
            self.spare.close()

    def work(self):
        line = None
        tried = 0
        try:
            while True:
                run = self.take()
                if run is None:
                    return
                try:
                    self.pace.pass_gate()
                    number, value = secret.current()
                    if line is None or line.number != number:
                        line = self.open(line, number, value)
                    self.move(line, run)
                    tried = 0
                except Expired:
                    secret.renew(line.number)
                except Again as again:
                    line.close()
                    tried += 1
                    self.pace.trouble(again, tried)
                finally:
                    self.put_back(run)
        except Stopped:
            return
        except BaseException:
            self.pace.stopped = True
            with self.state:
                self.state.notify_all()
            raise
        finally:
            with self.state:
                line, self.spare = self.spare, line
            if line is not None:
                line.close()

    def open(self, line, number, value):
        if line is not None:
            line.close()
        return Line(self.address(value), number, value, self.pace.limit())

    def take(self):
        """Takes the next few blocks; none when all are moved. Waits while others may give some back."""
        with self.state:
            while not self.runs and self.at_work and not self.pace.stopped:
                self.state.wait(1)
            if self.pace.stopped or not self.runs:
                return None
            run = self.runs[0]
            # An equal share of all that is still to come, others' requests under way included: so all end
            # at once, and in few requests, each of which costs a round trip. Rounded up, because bytes that
            # wait in buffers count as moved already.
            share = -(-(self.total - self.done - self.under_way) // (BLOCK * self.connections))
            count = min(run[1] - run[0], max(1, min(self.most, share)))
            mine = [run[0], run[0] + count]
            run[0] += count
            if run[0] == run[1]:
                self.runs.popleft()
            self.at_work += 1
            return mine

    def put_back(self, run):
        """Gives back what is left of a run, which is nothing after a success."""
        with self.state:
            self.at_work -= 1
            if run[0] < run[1]:
                self.runs.appendleft(run)
            self.state.notify_all()

    def count(self, moved=0, done=0):
        with self.state:
            self.under_way += moved - done
            self.done += done
            shown = self.done + self.under_way
        if done:
            self.pace.moved()
        talk.moved(shown, self.total)


def stretches(numbers):
    """Joins sorted numbers into [first, end) pairs."""
    found = []
    for number in numbers:
        if found and found[-1][1] == number:
            found[-1][1] += 1
        else:
            found.append([number, number + 1])
    return found


class Line:
    """One connection to the store, opened when it is first used and again after a failure."""

    def __init__(self, address, number, value, limit):
        self.address = address
        self.number = number
        self.value = value
        self.limit = limit
        self.connection = None

    def ready(self):
        if self.connection is None:
            self.connection, self.target = connect(self.address, self.limit)
        return self.connection

    def close(self):
        if self.connection is not None:
            self.connection.close()
            self.connection = None


# From the store -----------------------------------------------------------------------------------------


def pull(ask, home):
    place = below(home, ask["path"])
    only_one(home)
    known = Known(home)
    before, content = what_lies_there(place, known)
    if ask["payload"] and content == ask["payload"]:
        return {"payload": content, "size": before.st_size}
    if before is not None and content != ask["replaces"] and before.st_size:
        raise Failed("changed", "it holds %s, not %s" % (content[:12], (ask["replaces"] or "nothing")[:12]))
    if before is None and ask["replaces"]:
        raise Failed("changed", "it is gone")
    os.makedirs(os.path.dirname(place), exist_ok=True)
    part = place + b".dacapo-part"
    mark = ("%s-%s" % (ask["stored"][:32], hashlib.sha256(place).hexdigest()[:16])).encode()
    packed = os.path.join(own_folder(home), b"pull-" + mark) if ask["gzip"] else part
    journal = os.path.join(own_folder(home), b"pull-" + mark + b".blocks")
    try:
        download(ask, packed, journal)
        if ask["gzip"]:
            payload, size = unpack(packed, part)
        else:
            payload, size = ask["stored"], ask["stored_size"]
        if ask["payload"] and payload != ask["payload"]:
            words = "the unpacked bytes hash to %s, not %s" % (payload[:12], ask["payload"][:12])
            raise Failed("mismatch", words)
        put_in_place(part, place, before)
    except (Failed, OSError) as failed:
        # After trouble with the network alone the next run goes on with what is here.
        if getattr(failed, "kind", None) != "network":
            forget(part, packed, journal)
        raise
    forget(part, packed, journal)
    return {"payload": payload, "size": size}


def forget(*places):
    for place in places:
        remove(place)


def what_lies_there(place, known=None):
    try:
        return hash_file(place, known)
    except (FileNotFoundError, NotADirectoryError):
        return None, None


def new_file(path):
    remove(path)
    return open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w+b")


class Download(Transfer):
    """Brings the missing blocks of a stored object into a file."""

    def __init__(self, ask, descriptor, journal, have, ranges=True):
        total = ask["stored_size"]
        count = blocks_of(total)
        super().__init__(ask, total, [number for number in range(count) if number not in have])
        self.descriptor = descriptor
        self.journal = journal
        self.digests = [have.get(number) for number in range(count)]
        self.ranges = ranges
        if not ranges:
            self.connections = 1
            self.runs = deque([[0, count]] if count else [])

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
        for number in range(first, run[1]):
            digest = self.take_block(response, number)
            if self.digests[number] is None:
                self.digests[number] = digest
                self.journal.note([number, digest.hex()])
            if self.ranges:
                run[0] = number + 1
        run[0] = run[1]
        if response.read(1):
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
            raise self.too_much()

    def too_much(self):
        return Failed("mismatch", "the store sends more than the %d bytes of its listing" % self.total)

    def take_block(self, response, number):
        """Reads one block, hashes it and writes it to its place."""
        offset, left = number * BLOCK, self.length(number)
        have = self.digests[number] is not None
        digest = hashlib.sha256()
        moved = 0
        try:
            while left:
                if self.pace.stopped:
                    raise Stopped()
                with on_the_wire():
                    data = response.read(min(PIECE // 2, left))
                    if not data:
                        raise http.client.IncompleteRead(b"")
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


def download(ask, path, journal_place):
    """Fetches the stored bytes into a file, going on where an earlier run ended."""
    total = ask["stored_size"]
    journal = Journal(journal_place, [ask["stored"], total])
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
        journal.begin([[number, digest.hex()] for number, digest in sorted(have.items())])
        try:
            content = Download(ask, descriptor, journal, have).carry_out()
        except NoRanges:
            content = Download(ask, descriptor, journal, {}, ranges=False).carry_out()
        if content != ask["stored"] and total > BLOCK:
            # Parts of a file have been served wrongly before; the whole in one piece is another path there.
            content = Download(ask, descriptor, journal, {}, ranges=False).carry_out()
        os.fsync(descriptor)
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
        told = {}
        for line in lines:
            number, digest = line
            if isinstance(number, int) and 0 <= number < blocks_of(total):
                told[number] = bytes.fromhex(digest)
        numbers = sorted(told)
        found = hash_blocks(descriptor, total, numbers) or []
        return {number: digest for number, digest in zip(numbers, found) if digest == told[number]}
    except (TypeError, ValueError):
        return {}
    finally:
        os.close(descriptor)


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


# To the store -------------------------------------------------------------------------------------------

PACK = re.compile(r"pack-[0-9a-f]{64}(\.gz)?")


def hash_paths(ask, home):
    """Says what lies at some paths below a folder, as a look at the checkout does."""
    folder = os.path.realpath(home)
    known = Known(home)
    return {name: artifact(below(folder, path), folder, known) for name, path in ask["paths"].items()}


def pack(ask, home):
    """Makes a file ready for storing: hashed, and where its bytes can't change any more.

    A large file that is stored as it is isn't copied: each of its requests carries the hash of the blocks
    that were counted here, so a change meanwhile is refused by the store itself.
    """
    place = below(home, ask["path"])
    only_one(home)
    known = Known(home)
    try:
        size = size_of(place)
    except (FileNotFoundError, NotADirectoryError):
        raise Failed("missing", "there is no file at `%s`" % ask["path"]) from None
    if not ask["gzip"] and size > ask["limit"]:
        raise too_large(size, size, ask["limit"])
    sweep(own_folder(home))
    if not ask["gzip"] and size > ask["copied"]:
        packed = as_it_is(place, known)
    else:
        packed = packed_before(place, home, known) if ask["gzip"] else None
        packed = packed or pack_anew(place, ask, home, known)
    return dict(packed, session=session_before(home, packed))


def sweep(folder):
    """Removes what transfers left behind that nobody has gone on with for longer than a session lives."""
    for name in os.listdir(folder):
        place = os.path.join(folder, name)
        try:
            old = time.time() - os.lstat(place).st_mtime > 8 * 24 * 3600
        except OSError:
            continue
        if old and name.startswith((b"pull-", b"pack", b"push-", b"blocks-")):
            remove(place)


def as_it_is(place, known):
    info, digests = read_file(place, known)
    known.keep_digests(digests)
    content = joined(digests)
    return {"temp": None, "payload": content, "size": info.st_size, "stored": content,
            "stored_size": info.st_size}


def packed_before(place, home, known):
    """Returns what an earlier run packed of the same bytes, read through once more; none when it is lost."""
    descriptor = open_regular(place)
    try:
        digests = known.recall(place, os.fstat(descriptor))
    finally:
        os.close(descriptor)
    if digests is None:
        return None
    name = "pack-" + joined(digests) + ".gz"
    note = os.path.join(own_folder(home), name.encode() + b".note")
    try:
        with open(note, "rb") as file:
            packed = json.loads(file.read(1000))
        descriptor = open_regular(os.path.join(own_folder(home), name.encode()))
    except (OSError, ValueError, Failed):
        return None
    try:
        found = hash_blocks(descriptor, os.fstat(descriptor).st_size)
    finally:
        os.close(descriptor)
    if packed.get("temp") != name or found is None or joined(found) != packed.get("stored"):
        return None
    known.keep_digests(found)
    return packed


def pack_anew(place, ask, home, known):
    folder = own_folder(home)
    part = os.path.join(folder, b"packing")
    try:
        with open(open_regular(place), "rb", buffering=0) as source, new_file(part) as file:
            before = os.fstat(source.fileno())
            began = time.time_ns()
            payload, stored = copy_packed(source, file, before.st_size, ask)
            if payload.length != before.st_size or identity(os.fstat(source.fileno())) != identity(before):
                raise Failed("changed", "it changed while it was packed")
            file.flush()
            os.fsync(file.fileno())
        known.remember(place, before, began, payload.blocks())
        content = payload.hexdigest()
        name = "pack-" + content + (".gz" if ask["gzip"] else "")
        packed = {"temp": name, "payload": content, "size": payload.length, "stored": stored.hexdigest(),
                  "stored_size": stored.length}
        known.keep_digests(stored.blocks())
        write_whole(os.path.join(folder, name.encode() + b".note"), json.dumps(packed).encode())
        os.replace(part, os.path.join(folder, name.encode()))
        return packed
    finally:
        remove(part)


def copy_packed(source, file, size, ask):
    payload, stored = ContentHasher(), ContentHasher()

    def keep(data):
        stored.update(data)
        file.write(data)
        if stored.length > ask["limit"]:
            raise too_large(size, stored.length, ask["limit"])

    for data, packed in (zipped if ask["gzip"] else copied)(source):
        payload.update(data)
        keep(packed)
        talk.moved(payload.length, size)
    if ask["gzip"] and not payload.length:
        keep(member(b""))
    return payload, stored


def copied(source):
    while True:
        data = source.read(PIECE)
        if not data:
            return
        yield data, data


def zipped(source):
    """Packs on all cores: each piece is a gzip member of its own, which gunzip joins again.

    The pieces don't depend on how many cores there are: equal bytes give equal packed bytes.
    """
    cores = min(os.cpu_count() or 1, 16)
    under_way = deque()
    with ThreadPoolExecutor(cores) as pool:
        while True:
            data = source.read(PIECE)
            while data and len(data) < PIECE:  # A short read is no end.
                more = source.read(PIECE - len(data))
                if not more:
                    break
                data += more
            if data:
                under_way.append((data, pool.submit(member, data)))
            while under_way and (not data or len(under_way) > cores + 2):
                piece, packed = under_way.popleft()
                yield piece, packed.result()
            if not data:
                return


def member(data):
    # No name and no time in the header: equal bytes give equal packed bytes.
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    return packer.compress(data) + packer.flush()


def session_before(home, packed):
    """Returns the upload session in which an earlier run had begun to send these bytes."""
    try:
        with open(session_place(home, packed["stored"]), "rb") as file:
            about = json.loads(file.readline(2000))
        return {"id": str(about[0]), "started": str(about[1])} if about[2] == packed["stored_size"] else None
    except (OSError, ValueError, TypeError, LookupError):
        return None


def session_place(home, stored):
    return os.path.join(own_folder(home), b"push-" + stored.encode())


def size_of(place):
    descriptor = open_regular(place)
    try:
        return os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)


def too_large(size, stored, limit):
    words = "%d bytes, at least %d when stored; the limit is %d" % (size, stored, limit)
    return Failed("too_large", words)


def pack_place(ask, home):
    if not PACK.fullmatch(ask["temp"]):
        raise Failed("bad_request", "`%s` is not the name of a packed file" % ask["temp"])
    return os.path.join(own_folder(home), ask["temp"].encode())


def discard_pack(ask, home):
    if ask["temp"]:
        remove(pack_place(ask, home))
        remove(pack_place(ask, home) + b".note")
    if not re.fullmatch(r"[0-9a-f]{64}", ask["stored"]):
        raise Failed("bad_request", "`%s` is no content hash" % ask["stored"])
    remove(session_place(home, ask["stored"]))
    Known(home).forget_digests(ask["stored"])
    return None


def open_source(ask, home):
    """Opens what is to be sent: the packed copy or, where there is none, the file itself."""
    place = pack_place(ask, home) if ask["temp"] else below(home, ask["path"])
    try:
        descriptor = open_regular(place)
    except FileNotFoundError:
        raise Failed("missing", "what was to be sent is gone; run it again") from None
    if os.fstat(descriptor).st_size != ask["stored_size"]:
        os.close(descriptor)
        raise Failed("changed", "it changed after it was hashed")
    return descriptor


def push(ask, home):
    """Sends a packed file; the store's own hash of what it took must be the one we counted."""
    total = ask["stored_size"]
    with open(open_source(ask, home), "rb") as file:
        connection, target = connect(secret.current()[1], Pace(ask).limit())
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


def refused(response):
    words = text(response.read(2000)).strip()
    return Failed("http", "the store answered %d" % response.status, words)


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


class Upload(Transfer):
    """Appends the missing blocks of a file to a concurrent upload session."""

    def __init__(self, ask, descriptor, digests, journal, have):
        total = ask["stored_size"]
        whole = total // BLOCK
        super().__init__(ask, total, [number for number in range(whole) if number not in have])
        self.done -= total - whole * BLOCK  # The last, short block closes the session.
        self.content_url = ask["content_url"]
        self.session = ask["session"]
        self.descriptor = descriptor
        self.digests = digests
        self.journal = journal
        self.wrong = 0

    def address(self, _):
        return self.content_url

    def move(self, line, run):
        first, end = run
        self.append(line, first * BLOCK, (end - first) * BLOCK, self.digests[first:end])
        self.journal.note([first, end])
        run[0] = end

    def end(self):
        """Sends what is behind the last whole block, which ends the session: nothing can follow."""
        offset = self.total // BLOCK * BLOCK
        line, tried = self.spare, 0
        while True:
            try:
                self.pace.pass_gate()
                number, value = secret.current()
                if line is None or line.number != number:
                    line = self.open(line, number, value)
                self.append(line, offset, self.total - offset, self.digests[offset // BLOCK:], close=True)
                break
            except Expired:
                secret.renew(line.number)
            except Again as again:
                line.close()
                tried += 1
                self.pace.trouble(again, tried)
        line.close()
        self.journal.note("closed")

    def append(self, line, offset, length, digests, close=False):
        argument = {"cursor": {"session_id": self.session, "offset": offset}, "close": close,
                    "content_hash": joined(digests)}
        moved = 0
        try:
            with on_the_wire():
                connection = line.ready()
                connection.putrequest("POST", line.target.rstrip("/") + "/2/files/upload_session/append_v2")
                connection.putheader("Authorization", "Bearer " + line.value)
                connection.putheader("Content-Type", "application/octet-stream")
                connection.putheader("Content-Length", str(length))
                connection.putheader("Dropbox-API-Arg", json.dumps(argument))
                connection.endheaders()
            for data in self.pieces(offset, length):
                try:
                    with on_the_wire():
                        connection.send(data)
                except Again:
                    break  # A store that refuses early closes its end, and its answer says why.
                moved += len(data)
                self.count(moved=len(data))
            with on_the_wire():
                response = connection.getresponse()
                if response.status == 409:
                    self.conflict(response, offset, digests, close)
                elif response.status != 200:
                    check(response)
                response.read()
        except BaseException:
            self.count(moved=-moved)
            raise
        self.count(moved=length - moved, done=length)

    def pieces(self, offset, length):
        while length:
            if self.pace.stopped:
                raise Stopped()
            data = os.pread(self.descriptor, min(PIECE // 2, length), offset)
            if not data:
                raise Failed("changed", "it became shorter while it was sent")
            yield data
            offset += len(data)
            length -= len(data)

    def conflict(self, response, offset, digests, close):
        words = text(response.read(4000))
        try:
            tag = json.loads(words)["error"][".tag"]
        except (ValueError, KeyError, TypeError):
            tag = words
        if tag == "closed" and close:
            return  # The answer to an earlier try was lost.
        if tag in ("not_found", "closed", "lookup_failed"):
            raise Failed("session_gone", "the store doesn't know the upload session any more")
        if tag == "content_hash_mismatch":
            self.tell_who_changed(offset, digests)
        raise Failed("http", "the store refused a part", words[:500])

    def tell_who_changed(self, offset, digests):
        """The bytes that arrived weren't those that were hashed: the file or the way there changed them."""
        first = offset // BLOCK
        now = hash_blocks(self.descriptor, self.total, list(range(first, first + len(digests))))
        self.wrong += 1
        if now != digests or self.wrong > 5:
            raise Failed("changed", "it changed while it was sent")
        raise Again("a part arrived damaged")


def push_session(ask, home):
    """Sends a large file in a concurrent upload session; the other side makes the file of it."""
    only_one(home)
    known = Known(home)
    descriptor = open_source(ask, home)
    journal = Journal(session_place(home, ask["stored"]), [ask["session"], ask["started"], ask["stored_size"]])
    try:
        before = os.fstat(descriptor)
        digests = known.digests(ask["stored"], ask["stored_size"])
        if digests is None:
            digests = hash_blocks(descriptor, ask["stored_size"])
            if digests is None or joined(digests) != ask["stored"]:
                raise Failed("changed", "it changed after it was hashed")
        lines = journal.read() or []
        have = {number for line in lines if isinstance(line, list) for number in range(*line)}
        upload = Upload(ask, descriptor, digests, journal, have)
        resumed = upload.done
        if resumed:
            talk.say(resumed=resumed)
        journal.begin(lines)
        if "closed" not in lines:
            upload.carry_out()
        if identity(os.fstat(descriptor)) != identity(before):
            raise Failed("changed", "it changed while it was sent")
        return {"resumed": resumed}
    finally:
        journal.close()
        os.close(descriptor)


