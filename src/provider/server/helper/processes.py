# Programs at work ---------------------------------------------------------------------------------------

SHELLS = frozenset((b"sh", b"bash", b"dash", b"zsh", b"fish", b"ksh", b"tcsh", b"csh", b"ash"))
MULTIPLEXERS = frozenset((b"tmux", b"tmux:", b"screen", b"SCREEN"))
# What a login leaves running without anybody's work in it.
BACKGROUND = MULTIPLEXERS | frozenset((
    b"systemd", b"(sd-pam)", b"dbus-daemon", b"dbus-broker", b"gpg-agent", b"ssh-agent", b"dirmngr",
    b"pipewire", b"wireplumber", b"pulseaudio", b"mosh-server",
))


class Program:
    """One program, as /proc shows it."""

    def __init__(self, pid):
        self.pid = pid
        self.folder = "/proc/%d" % pid
        self.parent, self.state, self.started = stat_of(self.folder)
        with open(self.folder + "/cmdline", "rb") as file:
            self.words = file.read(65536).split(b"\0")[:-1]
        self.name = os.path.basename(self.words[0]).lstrip(b"-") if self.words else b""

    def cwd(self):
        return os.fsencode(os.readlink(self.folder + "/cwd"))

    def is_idle_shell(self):
        return self.name in SHELLS and all(re.fullmatch(rb"-[^c-]*|--(login|posix|norc)", word)
                                           for word in self.words[1:])

    def started_from(self, home):
        with open(self.folder + "/environ", "rb") as file:
            own = [word[5:] for word in file.read(65536).split(b"\0") if word.startswith(b"HOME=")]
        return bool(own) and os.path.realpath(own[0]) == home

    def named(self):
        """Names a program by itself and its first argument; more might show a secret."""
        name = os.path.basename(self.words[0])
        first = next((word for word in self.words[1:] if word and not word.startswith(b"-")), None)
        # Behind an option it may be that option's value, a password for one; a file is not.
        if first is not None and (first == self.words[1] or os.path.exists(os.path.join(self.cwd(), first))):
            name += b" " + os.path.basename(first)
        return text(name)[:60]

    def writes_below(self, home):
        """Returns the first file below home that it has open to write to; none where there is none."""
        for number in sorted(os.listdir(self.folder + "/fd"), key=int):
            try:
                leads_to = os.fsencode(os.readlink(self.folder + "/fd/" + number))
                if not leads_to.startswith(home + b"/") or is_cache(leads_to[len(home) + 1:]):
                    continue
                with open(self.folder + "/fdinfo/" + number) as file:
                    flags = next(line for line in file if line.startswith("flags:"))
                if int(flags.split()[1], 8) & os.O_ACCMODE != os.O_RDONLY:
                    return leads_to[len(home) + 1:]
            except (OSError, StopIteration):
                continue
        return None


def processes(home, checkout, since, on_gpu, notebook=None):
    """Lists programs at work, without ourselves, what carries us, and what the notebook server calls idle."""
    apart = ancestors(os.getpid()) | children
    found = {pid: {"pid": pid, "command": command, "why": "gpu"} for pid, command in on_gpu}
    programs = {}
    for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
        try:
            programs[pid] = Program(pid)
        except (OSError, IndexError, ValueError):
            continue  # Gone meanwhile.
    # Another start of this very script has its own lock, and so has the git that it runs.
    own = programs[os.getpid()].words[1:]
    helpers = {pid for pid, program in programs.items() if program.words[1:] == own}
    # Nor is the login's shell at work that waits for it: of a run that was cut off, it may be there for a
    # while.
    carriers = {programs[pid].parent for pid in helpers}
    shells = {pid for pid in carriers if pid in programs and programs[pid].name in SHELLS}
    if notebook is not None:
        apart |= sort_out_kernels(notebook, programs, found)
    for pid in sorted(set(programs) - apart - helpers - shells - set(found)):
        if any(above.pid in helpers for above in line_above(programs[pid], programs)):
            continue
        try:
            why = work_of(programs[pid], programs, home, checkout, since)
            if why:
                found[pid] = {"pid": pid, "command": programs[pid].named(), "why": why}
        except OSError:
            continue  # Gone meanwhile, or not ours to look at.
    return [found[pid] for pid in sorted(found)]


def sort_out_kernels(notebook, programs, found):
    """Names busy kernels by their notebooks; returns what of the notebook server is no work of anybody's."""
    server = notebook.process[0] if notebook.process else 0
    kernels = {}
    for pid, program in programs.items():
        named = (re.search(rb"/kernel-([0-9a-f-]{36})\.json$", word) for word in program.words)
        kernels.update((text(one.group(1)), pid) for one in named if one)
    idle = {server}
    for kernel in notebook.kernels:
        pid = kernels.get(kernel["id"])
        if not kernel["idle"]:
            name = "kernel of %s" % (kernel["document"] or "no notebook")
            found[pid or server] = {"pid": pid or server, "command": name, "why": "busy kernel"}
        elif pid is not None:
            idle.add(pid)
            found.pop(pid, None)  # What it still holds on the GPU is no more than its memory.
    # A terminal that was left open, with nothing running in it.
    left = (pid for pid, program in programs.items() if program.parent == server and program.is_idle_shell())
    idle.update(left)
    return idle


def work_of(program, programs, home, checkout, since):
    """Says what a program is at, as far as it concerns the session; none where it doesn't."""
    ours = os.geteuid() in (0, os.stat(program.folder).st_uid)
    if not ours or not program.words or program.state in ("Z", "X"):
        return None
    if program.name.startswith(b"sshd"):
        return None
    cwd = program.cwd()
    paths = (os.path.normpath(os.path.join(cwd, word)) for word in program.words if word)
    if is_in(cwd, checkout) or any(path.startswith(checkout + b"/") for path in paths):
        return "checkout"
    # What has no place here counts where it was started from a login of this home.
    if program.started_from(home) and any(word.startswith(b"ipykernel") for word in program.words):
        return "kernel"
    if program.is_idle_shell() or program.name in BACKGROUND:
        return None
    writes = program.writes_below(home)
    if writes:
        return "writes " + text(writes)
    above = line_above(program, programs)
    if program.started_from(home) and any(one.name in MULTIPLEXERS for one in above):
        return "tmux or screen"
    # What ran before set-up ended came with the image.
    return "home" if is_in(cwd, home) and started_after(program, since) else None


def is_in(path, folder):
    return path == folder or path.startswith(folder + b"/")


def is_cache(path):
    below = any(path.startswith(cache + b"/") for cache in CACHES)
    return below or path in CACHES or path.startswith(KNOWN_HOSTS)


def line_above(program, programs):
    seen = set()
    while program.parent in programs and program.parent not in seen:
        program = programs[program.parent]
        seen.add(program.pid)
        yield program


def started_after(program, since):
    if since is None:
        return True
    with open("/proc/stat") as file:
        boot = next(int(line.split()[1]) for line in file if line.startswith("btime"))
    # The kernel tells its start in whole seconds.
    return boot + program.started / os.sysconf("SC_CLK_TCK") > since / 1e9 - 2


def stat_of(folder):
    """Returns parent, state and the time of its start in ticks since the kernel's."""
    with open(folder + "/stat", "rb") as file:
        fields = file.read().rsplit(b")", 1)[1].split()
    return int(fields[1]), text(fields[0]), int(fields[19])


def ancestors(pid):
    found = set()
    while pid > 1:
        try:
            pid = stat_of("/proc/%d" % pid)[0]
        except (OSError, IndexError, ValueError):
            break
        found.add(pid)
    return found


def gpu_processes():
    try:
        code, out, _ = run(["nvidia-smi", "--query-compute-apps=pid,name", "--format=csv,noheader"], limit=40)
    except (OSError, Failed):
        return []
    pairs = [line.split(b",", 1) for line in out.splitlines()] if code == 0 else []
    return [(int(pair[0]), text(os.path.basename(pair[1].strip()))[:60])
            for pair in pairs if len(pair) == 2 and pair[0].strip().isdigit()]


