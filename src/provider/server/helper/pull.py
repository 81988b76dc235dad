# From the store -----------------------------------------------------------------------------------------


def pull(ask, home):
    place = below(home, ask["path"])
    only_one(home)
    part = place + b".dacapo-part"
    mark = ("%s-%s" % (ask["stored"][:32], hashlib.sha256(place).hexdigest()[:16])).encode()
    packed = os.path.join(own_folder(home), b"pull-" + mark) if ask["gzip"] else part
    journal = Journal(os.path.join(own_folder(home), b"pull-" + mark + b".blocks"),
                      [ask["stored"], ask["stored_size"]])
    before, content = what_lies_there(place)
    if ask["payload"] and content == ask["payload"]:
        forget(part, packed, journal.place)
        return {"payload": content, "size": before.st_size}
    if before is not None and content != ask["replaces"] and before.st_size:
        raise Failed("changed", "it holds %s, not %s" % (content[:12], (ask["replaces"] or "nothing")[:12]))
    if before is None and ask["replaces"]:
        raise Failed("changed", "it is gone")
    sweep(own_folder(home))
    os.makedirs(os.path.dirname(place), exist_ok=True)
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
        # After trouble on the way alone the next run goes on with what is here.
        on_the_way = getattr(failed, "kind", None) in ("network", "http")
        if not on_the_way or not journal.read():
            forget(part, packed, journal.place)
        raise
    forget(part, packed, journal.place)
    return {"payload": payload, "size": size}


def forget(*places):
    for place in places:
        remove(place)


def what_lies_there(place):
    try:
        return hash_file(place)
    except (FileNotFoundError, NotADirectoryError):
        return None, None


def new_file(path):
    remove(path)
    return open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w+b")


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
            patiently(os.fsync, file.fileno())
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


