# Making ready for the store -----------------------------------------------------------------------------

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
        if old and name.startswith((b"pull-", b"pack", b"push-", b"blocks-", b"hashes.")):
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
        info = os.fstat(descriptor)
        digests = known.recall(place, info)
    finally:
        os.close(descriptor)
    if digests is None:
        return None
    content = joined(digests)
    name = "pack-" + content + ".gz"
    try:
        with open(note_place(home, name), "rb") as file:
            stored = json.loads(file.read(1000))["stored"]
        copy, found = read_file(os.path.join(own_folder(home), name.encode()))
    except (OSError, ValueError, KeyError, TypeError, Failed):
        return None
    if joined(found) != stored:
        return None
    known.keep_digests(found)
    return {"temp": name, "payload": content, "size": info.st_size, "stored": stored,
            "stored_size": copy.st_size}


def note_place(home, name):
    """Where it stands what a packed copy came to when it was made."""
    return os.path.join(own_folder(home), name.encode() + b".note")


def pack_anew(place, ask, home, known):
    folder = own_folder(home)
    part = os.path.join(folder, b"packing")
    try:
        with open(open_regular(place), "rb", buffering=0) as source, new_file(part) as file:
            before = os.fstat(source.fileno())
            began = time.time_ns()
            payload, stored = copy_packed(source, file, before, ask)
            check_same(source, before)
            if payload.length != before.st_size:
                raise changed_meanwhile()
            file.flush()
            patiently(os.fsync, file.fileno())
        known.remember(place, before, began, payload.blocks())
        content = payload.hexdigest()
        name = "pack-" + content + (".gz" if ask["gzip"] else "")
        packed = {"temp": name, "payload": content, "size": payload.length, "stored": stored.hexdigest(),
                  "stored_size": stored.length}
        known.keep_digests(stored.blocks())
        write_whole(note_place(home, name), json.dumps({"stored": packed["stored"]}).encode())
        os.replace(part, os.path.join(folder, name.encode()))
        return packed
    finally:
        remove(part)


def check_same(source, before):
    if identity(os.fstat(source.fileno())) != identity(before):
        raise changed_meanwhile()


def changed_meanwhile():
    return Failed("changed", "it changed while it was packed")


def copy_packed(source, file, before, ask):
    payload, stored = ContentHasher(), ContentHasher()

    def keep(data):
        stored.update(data)
        file.write(data)
        if stored.length > ask["limit"]:
            raise too_large(before.st_size, stored.length, ask["limit"])

    for data, packed in (zipped if ask["gzip"] else copied)(source):
        payload.update(data)
        keep(packed)
        check_same(source, before)  # Why read on for an hour what is lost already.
        talk.moved(payload.length, before.st_size)
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
    Known(home).forget_digests(ask["stored"])
    remove(session_place(home, ask["stored"]))
    if ask["temp"] is not None:
        remove(pack_place(ask, home))
        remove(note_place(home, ask["temp"]))
    return None


