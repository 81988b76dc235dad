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
            while line:
                line = line[os.write(1, line):]

    def moved(self, done, total=None, last=False):
        """Says how far the work is, at most five times a second."""
        now = time.monotonic()
        if last or now - self.last >= 0.2:
            self.last = now
            self.say(progress={"bytes": done, "total": total})

    def waiting(self, why, seconds):
        """Says what everything waits for."""
        self.last = time.monotonic()
        self.say(waiting={"why": why, "seconds": int(seconds + 0.999)})

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
        with self.changed:
            self.values.append(value)
            self.changed.notify_all()

    def current(self):
        """Returns the secret of now, and its number."""
        with self.changed:
            return len(self.values), self.values[-1]

    def moved(self):
        self.renewals = 0

    def renew(self, number):
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
                self.changed.wait(2)
                talk.alive()
                if time.monotonic() > end:
                    raise Failed("network", "no new link or token came")

    def without(self, words):
        """Takes every secret, or any telling piece of one, out of what is said."""
        raw = json.dumps(words)
        for value in self.values:
            for piece in [value] + [piece for piece in re.split(r"[/?&=]", value) if len(piece) > 12]:
                raw = raw.replace(json.dumps(piece)[1:-1], "****")
        return json.loads(raw)


secret = Secret()


def listen():
    """Hears what comes after the request; ends everything once the other side is gone.

    A rerun must not meet its forerunner at work.
    """
    rest = b""
    while True:
        try:
            heard = os.read(0, 65536)
        except InterruptedError:
            continue
        except OSError:
            break
        if not heard:
            break
        *lines, rest = (rest + heard).split(b"\n")
        for line in lines:
            secret.arrived(line)
    for group in list(children):
        end_group(group, signal.SIGKILL)
    os._exit(1)


