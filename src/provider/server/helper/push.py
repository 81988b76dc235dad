# To the store, small ------------------------------------------------------------------------------------


def open_source(ask, home):
    """Opens what is to be sent: the packed copy or, where there is none, the file itself."""
    place = pack_place(ask, home) if ask["temp"] is not None else below(home, ask["path"])
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
            response = patiently(send, connection, target, file, total)
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


