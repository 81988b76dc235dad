# Set-up --------------------------------------------------------------------------------------------------

# What a step may say to whoever waits for it; all of it goes into its log, of which the end is kept.
MOST_LINES = 2000
LONGEST_LINE = 500
MOST_LOGGED = 4 * 1024 * 1024  # Twice that lies there at most.
# Where installers put what can be had again: files that appear here while set-up runs again are set-up's.
INSTALLED = (
    ".local/lib/**", ".local/bin/**", ".local/include/**", ".local/share/jupyter/**", ".local/etc/jupyter/**",
    ".conda/**", "miniconda3/**", "miniforge3/**", "anaconda3/**",
)
# As `pip freeze` leaves them out.
INSTALLERS = frozenset(("pip", "setuptools", "wheel", "distribute"))


def set_up_folder(home):
    folder = os.path.join(own_folder(home), b"setup")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    return folder


def read_set_up(home):
    """Returns what is noted of set-up; where that can't be read, no step counts as done."""
    try:
        with open(os.path.join(home, b".dacapo", b"setup", b"state.json"), "rb") as file:
            noted = json.loads(file.read(10000000))
        steps = [{"run": str(step["run"]), "inputs": dict(step["inputs"])} for step in noted["steps"]]
        return {"steps": steps, "broke": noted.get("broke"), "freeze": noted.get("freeze")}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {"steps": [], "broke": None, "freeze": None}


def write_set_up(home, noted):
    folder = set_up_folder(home)
    write_whole(os.path.join(folder, b"state.json"), json.dumps(noted).encode())
    sync_folder(folder)


def sync_folder(folder):
    """Makes the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def look_at_set_up(ask, home, checkout):
    if ask.get("setup") is None:
        return None
    noted = read_set_up(home)
    broke = noted["broke"] and {"run": noted["broke"]["run"], "code": noted["broke"].get("code")}
    inputs = {path: artifact(below(checkout, path), checkout) for path in ask["setup"]}
    return dict(noted, broke=broke, inputs=inputs, packages=frozen(checkout))


def frozen(checkout):
    """Returns the packages that programs in the checkout find, without those that install others."""
    fits = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]*")
    return {name: version for name, version in packages(interpreter(checkout)[1]).items()
            if name not in INSTALLERS and fits.fullmatch(name) and fits.fullmatch(version)}


# The steps


def run_step(ask, home):
    """Makes sure that a step has run with the inputs as they are; tells whether it had to."""
    only_one(home)
    checkout = checkout_folder(ask, home)
    steps, position = ask["steps"], ask["position"]
    noted = read_set_up(home)
    end_left_behind(noted)
    inputs = read_inputs(ask, checkout)
    if [step["run"] for step in noted["steps"][:position]] != steps[:position]:
        raise Failed("changed", "the steps before it are no longer those that ran here")
    done = noted["steps"][:position + 1]
    if len(done) > position and done[-1] == {"run": steps[position], "inputs": inputs}:
        return False
    mark = Mark(ask, home, checkout)
    note = {"steps": noted["steps"][:position], "broke": None, "freeze": None}

    def begun(process):
        # From here on it counts as begun; the steps behind it have to run again in any case.
        note["broke"] = {"run": steps[position], "code": None, "process": process}
        write_set_up(home, note)

    command = ["/bin/sh", "-c", steps[position]]
    code, last = run_logged(command, checkout, ask["limit"], log_of(home, position), begun, mark)
    mark.move()
    if code:
        note["broke"] = {"run": steps[position], "code": code}
        write_set_up(home, note)
        raise Failed("step_failed", "it ended with exit code %d; its last words:" % code, *last or ["none"])
    note.update(steps=note["steps"] + [{"run": steps[position], "inputs": inputs}], broke=None)
    if position == len(steps) - 1:
        note["freeze"] = frozen(checkout)
    write_set_up(home, note)
    return True


def checkout_folder(ask, home):
    checkout = os.path.realpath(below(home, ask["checkout"]))
    if not os.path.isdir(checkout):
        raise Failed("missing", "there is no folder `%s`" % ask["checkout"])
    return checkout


def read_inputs(ask, checkout):
    inputs = {}
    for path in ask["inputs"]:
        seen = artifact(below(checkout, path), checkout)
        if seen["state"] != "file":
            raise Failed("input", "`%s`: %s" % (path, seen.get("why") or "there is no such file in the checkout"))
        inputs[path] = seen["content"]
    return inputs


def end_left_behind(noted):
    """Ends a step whose helper was killed: it must not be at work twice."""
    process = (noted["broke"] or {}).get("process")
    try:
        pid, started = process
        is_it = stat_of("/proc/%d" % pid)[2] == started
    except (OSError, IndexError, ValueError, TypeError):
        return
    if is_it:
        end_group(pid, signal.SIGKILL)


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
    """Runs a command without a terminal, in a process group that ends with it; returns code and last lines."""
    # Nothing may run that isn't noted: it waits for a line, and ends without one. The lock isn't handed on: what
    # is left running in another session would hold it for ever.
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


# The mark, and what set-up itself has made


class Mark:
    """Moves the mark that tells new files from old past what a step has made, where nobody's work is hidden so.

    Nothing may be newer than the mark when the step begins. Until set-up has ended once, that is enough: before
    it nobody works here. Later somebody may be at work while the step runs; then whatever is newer afterwards
    must lie where installers put things, and no program may be at work before or after. Otherwise the mark stays
    where it is, and the step's files are listed as new.
    """

    def __init__(self, ask, home, checkout):
        self.ask, self.home, self.checkout = ask, home, checkout
        self.set_up = read_marker(home)[1]
        self.moving = threading.Lock()
        self.may_move = self.nothing_new(ask["disposable"])

    def nothing_new(self, disposable):
        since = read_marker(self.home)[0]
        if since is None:
            return False
        places = {below(self.checkout, path) for path in self.ask["artifacts"].values()}
        own = places | {place + b".dacapo-part" for place in places}
        checkout = Checkout(self.checkout, own, None, since)
        report = look_at_checkout(checkout, below(self.home, self.ask["checkout"])) or {}
        if report.get("broken") or report.get("lfs"):
            return False
        if new_files(self.home, since, checkout, dict(self.ask, disposable=disposable)) != ([], 0):
            return False
        if not self.set_up:
            return True
        notebook, _ = look_at_notebook({}, self.home)
        return not processes(self.home, self.checkout, since, gpu_processes(), notebook)

    def move(self):
        if not self.may_move:
            return
        if self.set_up:
            folder = re.sub(r"([*?\[\]{}\\])", r"\\\1", self.ask["checkout"])
            own = [folder + "/.venv/**", folder + "/venv/**"]
            if not self.nothing_new(self.ask["disposable"] + list(INSTALLED) + own):
                return
        with self.moving:
            set_marker(self.home, self.set_up)

    def watch(self, pid):
        """Sees to it that a step which ends with this connection leaves no more behind than one that fails."""
        def settle():
            end = time.monotonic() + 2
            while not has_ended(pid) and time.monotonic() < end:
                time.sleep(0.02)
            self.moving.acquire()  # The end of everything follows.
            set_marker(self.home, False)

        if self.may_move and not self.set_up:
            at_the_end.append(settle)

    @staticmethod
    def unwatch():
        at_the_end.clear()


# The packages of a lock


def install_packages(ask, home):
    """Makes sure that there are the packages of a lock, and no others."""
    only_one(home)
    checkout = checkout_folder(ask, home)
    noted = read_set_up(home)
    end_left_behind(noted)
    wanted = dict(package.split("==", 1) for package in ask["packages"])
    missing = differing(wanted, frozen(checkout))[0]
    if missing:
        mark = Mark(ask, home, checkout)
        install_missing(ask, home, checkout, missing, noted, mark)
        mark.move()
    there = frozen(checkout)
    missing, others = differing(wanted, there)
    if missing or others:
        lines = ["%s: the lock has %s, there is %s" % (name, wanted.get(name, "none"), there.get(name, "none"))
                 for name in sorted(set(missing) | set(others))]
        raise Failed("packages_differ", *lines[:12] + (["and %d more" % (len(lines) - 12)] if lines[12:] else []))
    write_set_up(home, dict(noted, freeze=there))
    return None


def differing(wanted, there):
    """Returns what has to be installed, and what there is besides."""
    missing = {name: version for name, version in wanted.items() if there.get(name) != version}
    return missing, [name for name in there if name not in wanted]


def install_missing(ask, home, checkout, missing, noted, mark):
    python = own_python(checkout)
    code, _, _ = run([python, "-m", "pip", "--version"], plain_environment(), cwd=checkout)
    if code:
        raise Failed("no_pip", "`%s -m pip` ended with exit code %d" % (text(python), code))
    requirements = os.path.join(set_up_folder(home), b"freeze.txt")
    write_whole(requirements, "".join("%s==%s\n" % pair for pair in sorted(missing.items())).encode())
    command = [python, "-m", "pip", "install", "--no-deps", "--no-input", "--no-color", "--progress-bar", "off",
               "--disable-pip-version-check", "-r", requirements]
    environment = plain_environment()
    # Where the system keeps its packages from pip, set-up has gone past that already.
    environment["PIP_BREAK_SYSTEM_PACKAGES"] = "1"

    def begun(process):
        write_set_up(home, dict(noted, broke={"run": "", "code": None, "process": process}))

    log = os.path.join(set_up_folder(home), b"freeze.log")
    code, last = run_logged(command, checkout, ask["limit"], log, begun, mark, environment)
    write_set_up(home, dict(noted, broke=None))
    if code:
        raise Failed("step_failed", "`pip install` ended with exit code %d; its last words:" % code, *last)


def own_python(checkout):
    """Returns the Python that the checkout's programs run with."""
    for name in (b".venv", b"venv"):
        python = os.path.join(checkout, name, b"bin", b"python")
        if read_settings(os.path.join(checkout, name, b"pyvenv.cfg")) is not None and os.access(python, os.X_OK):
            return python
    return os.fsencode(sys.executable)


