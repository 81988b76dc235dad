# When to try again --------------------------------------------------------------------------------------

PATIENCE = 600  # Seconds that nothing may move before a transfer is given up.
THROTTLED = 3600  # The same, where the store asks for pauses.


class Trickle:
    """Tells a connection that is as good as silent: next to nothing comes while it may be silent."""

    LEAST = 16 * 1024

    def __init__(self, pace):
        self.limit = pace.limit()
        self.since = time.monotonic()
        self.bytes = 0

    def came(self, count):
        self.bytes += count
        now = time.monotonic()
        if now - self.since > self.limit:
            if self.bytes < self.LEAST:
                raise Again("the store sends next to nothing")
            self.since, self.bytes = now, 0


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


