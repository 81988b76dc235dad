# To the store, large ------------------------------------------------------------------------------------


class Upload(Transfer):
    """Appends the missing blocks of a file to a concurrent upload session."""

    def __init__(self, ask, descriptor, digests, journal, have):
        total = ask["stored_size"]
        whole = total // BLOCK
        super().__init__(ask, total, [number for number in range(whole) if number not in have])
        self.done -= total - whole * BLOCK  # The last, short block closes the session.
        self.furthest = self.done
        self.content_url = ask["content_url"]
        self.session = ask["session"]
        self.descriptor = descriptor
        self.digests = digests
        self.journal = journal

    def address(self, _):
        return self.content_url

    def move(self, line, run):
        first, end = run
        self.append(line, first * BLOCK, (end - first) * BLOCK, self.digests[first:end])
        self.journal.note([first, end])
        run[0] = end

    def end(self):
        patiently(self.close_session)

    def close_session(self):
        """Sends what lies behind the last whole block, which ends the session: nothing can follow."""
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
                secret.renew(line.number, self.pace)
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
            if moved < length and response.status == 200:
                raise Again("the store answered before it had everything")
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
        if now != digests:
            raise Failed("changed", "it changed while it was sent")
        raise Again("a part arrived damaged")


def push_session(ask, home):
    """Sends a large file in a concurrent upload session; the other side makes the file of it."""
    only_one(home)
    known = Known(home)
    descriptor = open_source(ask, home)
    about = [ask["session"], ask["started"], ask["stored_size"]]
    journal = Journal(session_place(home, ask["stored"]), about)
    try:
        digests = known.digests(ask["stored"], ask["stored_size"])
        if digests is None:
            digests = hash_blocks(descriptor, ask["stored_size"])
            if digests is None or joined(digests) != ask["stored"]:
                raise Failed("changed", "it changed after it was hashed")
        lines = journal.read() or []
        have = acknowledged(lines, ask["stored_size"])
        upload = Upload(ask, descriptor, digests, journal, have)
        resumed = upload.done
        if resumed:
            talk.say(resumed=resumed)
        journal.begin(lines)
        if "closed" not in lines:
            upload.carry_out()
        return {"resumed": resumed}
    finally:
        journal.close()
        os.close(descriptor)


def acknowledged(lines, total):
    """Returns the numbers of the blocks that the store has, by the journal."""
    found = set()
    for line in lines:
        if isinstance(line, list) and len(line) == 2 and all(isinstance(number, int) for number in line):
            found.update(range(max(0, line[0]), min(line[1], total // BLOCK)))
    return found


