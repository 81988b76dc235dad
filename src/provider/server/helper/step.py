# One command of set-up's -------------------------------------------------------------------------------

# What a step may say to whoever waits for it; all of it goes into its log, of which the end is kept.
MOST_LINES = 2000
LONGEST_LINE = 500
MOST_LOGGED = 4 * 1024 * 1024  # Twice that lies there at most.


def log_of(home, position):
    return os.path.join(set_up_folder(home), b"%d.log" % (position + 1))


class Log:
    """The end of what a step says: two files take turns, so that neither grows beyond its limit."""

    def __init__(self, path):
        self.path = path
        for old in (path, path + b".1"):
            try:
                os.unlink(old)
            except FileNotFoundError:
                pass
        self.open()

    def open(self):
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        self.file = open(os.open(self.path, flags, 0o600), "wb")
        self.size = 0

    def add(self, line):
        raw = line.encode("utf-8", "backslashreplace") + b"\n"
        if self.size + len(raw) > MOST_LOGGED:
            self.file.close()
            os.replace(self.path, self.path + b".1")
            self.open()
        self.file.write(raw)
        self.size += len(raw)


class Lines:
    """What a step says, line by line: nothing in them moves a cursor, and none is endless."""

    def __init__(self, log):
        self.log = log
        self.last = deque(maxlen=12)
        self.count = 0
        self.rest = b""

    def hear(self, raw):
        *whole, self.rest = re.split(rb"[\r\n]", self.rest + raw)
        if len(self.rest) > 8 * LONGEST_LINE:
            whole, self.rest = whole + [self.rest], b""
        for line in whole:
            self.say(line)

    def say(self, raw):
        line = harmless(raw)
        if not line:
            return
        self.log.add(line)
        self.last.append(line)
        self.count += 1
        if self.count <= MOST_LINES:
            talk.say(said=line)
        elif self.count == MOST_LINES + 1:
            talk.say(said="(what follows is in ~/.dacapo/setup/%s)" % text(os.path.basename(self.log.path)))

    def end(self):
        self.say(self.rest)
        self.log.file.close()


def harmless(raw):
    """Shows a line without colours, and whatever else isn't to be read as what it is."""
    line = re.sub(rb"\x1b(\[[0-?]*[ -/]*[@-~]|[()][0-9A-Za-z])", b"", raw[:8 * LONGEST_LINE])
    line = text(line).rstrip()
    bad = "[^\\t\\x20-\\x7e\\xa1-\u200a\u2010-\u2027\u2030-\u205f\u2070-\ud7ff\ue000-\ufefe\uff00-\U0010ffff]"
    line = re.sub(bad, lambda match: match.group().encode("unicode_escape").decode(), line)
    return line if len(line) <= LONGEST_LINE else line[:LONGEST_LINE] + "..."


def run_logged(command, folder, limit, log, begun, mark, environment=None):
    """Runs a command without a terminal, its process group for as long; returns its code and last lines."""
    # Nothing may run that isn't noted: it waits for a line, and ends without one. The lock isn't handed on:
    # what is left running in another session would hold it for ever.
    waiting = ["/bin/sh", "-c", 'read -r go && exec "$@" < /dev/null', "sh"]
    process = subprocess.Popen(
        waiting + command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env=environment or plain_environment(), cwd=folder, start_new_session=True)
    children.add(process.pid)
    lines = Lines(Log(log))
    try:
        begun((process.pid, stat_of("/proc/%d" % process.pid)[2]))
        mark.watch(process.pid)
        try:
            process.stdin.write(b"go\n")
            process.stdin.close()
        except OSError:
            pass  # It has ended, and its code will tell.
        listen_to(process, lines, time.monotonic() + limit, limit)
        end_group(process.pid, signal.SIGKILL)
        code = process.wait()
        drain(process, lines)
        lines.end()
        return (code if code >= 0 else 128 - code), list(lines.last)
    finally:
        mark.unwatch()
        children.discard(process.pid)
        if process.poll() is None:
            end_group(process.pid, signal.SIGKILL)
            process.wait()


def listen_to(process, lines, end, limit):
    """Passes on what is said until the command itself has ended, whoever still holds its output."""
    is_open = True
    while not has_ended(process.pid):
        talk.alive()
        if time.monotonic() > end:
            give_notice(process)
            drain(process, lines)
            lines.end()
            raise Failed("step_timeout", "it took longer than its `timeout`, and was ended; its last words:",
                         *list(lines.last) or ["none"])
        if not is_open:
            time.sleep(0.05)
        elif select.select([process.stdout], [], [], 0.1)[0]:
            heard = os.read(process.stdout.fileno(), 65536)
            is_open = bool(heard)
            lines.hear(heard)


def has_ended(pid):
    """Tells whether a child has ended; its number stays its own until it is waited for."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def give_notice(process):
    end_group(process.pid, signal.SIGTERM)
    end = time.monotonic() + 5
    while not has_ended(process.pid) and time.monotonic() < end:
        talk.alive()
        time.sleep(0.05)
    end_group(process.pid, signal.SIGKILL)


def drain(process, lines):
    """Takes what is in the pipe, and waits for no more."""
    for _ in range(1000):
        if not select.select([process.stdout], [], [], 0)[0]:
            return
        heard = os.read(process.stdout.fileno(), 65536)
        if not heard:
            return
        lines.hear(heard)


