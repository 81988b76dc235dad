# Moving the blocks of one file --------------------------------------------------------------------------

CONNECTIONS = 8
MOST_AT_ONCE = 16  # Blocks of one request: 64 MiB.
FIRST = 4  # Of a connection's first request, while nobody knows how fast it is.


class Transfer:
    """The blocks of one file, shared out among several connections."""

    # How long a request is meant to take. Each costs a round trip, so there should be few; but what was under
    # way when something ends is lost, and a slow connection must not hold what the others could have moved.
    seconds = 3
    # Whether a connection can leave the end of its stretch to another one.
    leaves = False

    def __init__(self, ask, total, missing):
        self.pace = Pace(ask)
        self.connections = int(ask.get("connections") or CONNECTIONS)
        self.total = total
        self.state = threading.Condition()
        self.runs = deque(stretches(missing))
        self.wanted = len(missing)
        # Never so few requests that some connections have nothing to do.
        self.most = max(1, min(MOST_AT_ONCE, self.wanted // (2 * self.connections)))
        self.taken = []
        self.done = total - sum(self.length(number) for number in missing)
        self.under_way = 0
        self.furthest = self.done
        self.divided = True
        self.spare = None  # A connection that has nothing more to do.

    def length(self, number):
        return min(BLOCK, self.total - number * BLOCK)

    def carry_out(self):
        """Moves every missing block; the first failure ends all."""
        talk.moved(self.done, self.total)
        workers = max(1, min(self.connections, -(-self.wanted // self.most)))
        with ThreadPoolExecutor(workers) as pool:
            for future in [pool.submit(self.work) for _ in range(workers)]:
                patient_result(future)
        self.end()
        talk.moved(self.done, self.total, last=True)

    def end(self):
        """Does what comes after the last block, and closes the last connection."""
        if self.spare is not None:
            self.spare.close()

    def work(self):
        line = None
        tried = 0
        worth = FIRST
        try:
            while True:
                run = self.take(worth)
                if run is None:
                    return
                first, began = run[0], time.monotonic()
                try:
                    self.pace.pass_gate()
                    number, value = secret.current()
                    if line is None or line.number != number:
                        line = self.open(line, number, value)
                    self.move(line, run)
                    tried = 0
                    worth = int((run[0] - first) * self.seconds / max(time.monotonic() - began, 0.001))
                except Expired:
                    secret.renew(line.number, self.pace)
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

    def take(self, worth):
        """Takes the next few blocks; none when all are moved. Waits while others may give some back."""
        with self.state:
            while not self.runs and self.taken and not self.pace.stopped:
                if self.leaves and self.halve_the_longest():
                    break
                self.state.wait(1)
            if self.pace.stopped or not self.runs:
                return None
            run = self.runs[0]
            count, share = run[1] - run[0], self.share(worth)
            # A single block that would be left over behind several isn't worth a request of its own.
            if self.divided and (count > share + (share > 3) or len(self.runs) > 1):
                count = min(count, share)
            mine = [run[0], run[0] + count]
            run[0] += count
            if run[0] == run[1]:
                self.runs.popleft()
            self.taken.append(mine)
            return mine

    def share(self, worth):
        """Returns how many blocks to take, so that all connections end at once.

        That is an equal share of all that is still to come, others' stretches under way included, in as many
        requests as it takes. Rounded up, because bytes that wait in buffers count as moved already.
        """
        left = (self.total - self.done - self.under_way) / (BLOCK * self.connections)
        requests = 1
        if not self.leaves:
            requests = max(1, round(left / max(1, min(self.most, worth))), math.ceil(left / self.most))
        return max(1, math.ceil(left / requests))

    def halve_the_longest(self):
        """Makes the second half of the longest stretch under way everybody's again, if it is worth it.

        Whoever moves it is in its first block, or has just ended that one.
        """
        longest = max(self.taken, key=lambda run: run[1] - run[0])
        if longest[1] - longest[0] < 4:
            return False
        middle = (longest[0] + longest[1] + 1) // 2
        self.runs.append([middle, longest[1]])
        longest[1] = middle
        return True

    def put_back(self, run):
        """Gives back what is left of a run, which is nothing after a success."""
        with self.state:
            self.taken = [other for other in self.taken if other is not run]
            if run[0] < run[1]:
                self.runs.appendleft(run)
            self.state.notify_all()

    def count(self, moved=0, done=0):
        """Counts bytes that are on their way, and those that have arrived.

        Patience begins anew with bytes that never were on their way before: a slow line may take longer over
        one request than anything may stand still, while bytes that are sent again and again get nowhere.
        """
        with self.state:
            self.under_way += moved - done
            self.done += done
            shown = self.done + self.under_way
            further = shown > self.furthest
            self.furthest = max(self.furthest, shown)
        if further:
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


