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


