# Talking ------------------------------------------------------------------------------------------------


class Talk:
    """Lines to the other side."""

    def __init__(self):
        self.nonce = None
        self.lock = threading.Lock()
        self.last = 0.0

    def say(self, **words):
        line = json.dumps(dict(words, nonce=self.nonce)).encode("ascii") + b"\n"
        with self.lock:
            try:
                while line:
                    line = line[os.write(1, line):]
            except OSError:
                leave()

    def moved(self, done, total=None, last=False):
        """Says how far the work is, at most five times a second."""
        now = time.monotonic()
        if last or now - self.last >= 0.2:
            self.last = now
            self.say(progress={"bytes": done, "total": total})

    def waiting(self, why, seconds):
        """Says what everything waits for."""
        self.last = time.monotonic()
        self.say(waiting={"why": secret.without(why), "seconds": int(seconds + 0.999)})

    def alive(self):
        """Says that work without a length goes on."""
        now = time.monotonic()
        if now - self.last >= 2:
            self.last = now
            self.say(alive=None)


talk = Talk()


class Secret:
    """A link or a token that the other side renews: when it is asked to, or before the old one ends."""

    PATIENCE = 120
    MOST_RENEWALS = 5

    def __init__(self):
        self.changed = threading.Condition()
        self.values = []
        self.asked = 0
        self.renewals = 0

    def arrived(self, line):
        try:
            value = json.loads(line)["secret"]
        except (ValueError, KeyError, TypeError):
            return
        if not isinstance(value, str) or not value:
            return
        with self.changed:
            self.values.append(value)
            self.changed.notify_all()

    def current(self):
        """Returns the secret of now, and its number."""
        with self.changed:
            return len(self.values), self.values[-1]

    def moved(self):
        self.renewals = 0

    def renew(self, number, pace):
        """Waits for another one than that with this number, which is no good any more."""
        with self.changed:
            if len(self.values) == number and self.asked < number:
                self.asked = number
                self.renewals += 1
                if self.renewals > self.MOST_RENEWALS:
                    raise Failed("http", "the store refuses every new link or token")
                talk.say(want=None)
            end = time.monotonic() + self.PATIENCE
            while len(self.values) == number:
                self.changed.wait(1)
                talk.alive()
                if pace.stopped:
                    raise Stopped()
                if time.monotonic() > end:
                    raise Failed("network", "no new link or token came")

    def without(self, words):
        """Takes every secret, or any telling piece of one, out of what is said."""
        for value in self.values:
            pieces = [piece for piece in re.split(r"[/?&=]", value) if len(piece) > 12]
            for piece in [value] + pieces:
                words = words.replace(piece, "****")
        return words


secret = Secret()


def listen():
    """Hears what comes after the request; ends everything once the other side is gone.

    A rerun must not meet its forerunner at work.
    """
    rest = b""
    while True:
        try:
            # Not from the descriptor: what came with the request is in the buffer already.
            heard = sys.stdin.buffer.read1(65536)
        except (OSError, ValueError):
            break
        if not heard:
            break
        *lines, rest = (rest + heard).split(b"\n")
        for line in lines:
            secret.arrived(line)
    leave()


at_the_end = []  # What is still to be done when nobody listens any more; it must be quick.
leaving = threading.Lock()


def leave():
    """Ends everything at once: nobody listens any more."""
    leaving.acquire()  # Whoever else comes here waits for the end.
    last = list(at_the_end)
    for group in list(children):
        end_group(group, signal.SIGKILL)
    try:
        for act in last:
            act()
    finally:
        os._exit(1)


def patiently(act, *arguments):
    """Does what may take long without a word, and says meanwhile that it goes on."""
    with ThreadPoolExecutor(1) as pool:
        return patient_result(pool.submit(act, *arguments))


def patient_result(future):
    while not wait([future], 2).done:
        talk.alive()
    return future.result()


