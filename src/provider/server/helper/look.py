# Looking at the checkout --------------------------------------------------------------------------------


class Git:
    """git in one work tree, deaf to the caller's environment."""

    def __init__(self, folder):
        self.folder = folder
        self.environment = git_environment()
        # Without a ceiling, a plain folder inside a home that is itself a repository would answer for it.
        self.environment["GIT_CEILING_DIRECTORIES"] = os.fsdecode(os.path.dirname(folder))

    def try_run(self, *arguments, **options):
        command = ["git", "-c", "safe.directory=*", "-c", "core.fsmonitor=false",
                   "-c", "core.quotePath=false", "-c", "gc.auto=0", "-c", "maintenance.auto=false"]
        try:
            code, out, err = run(command + list(arguments), self.environment, cwd=self.folder, **options)
            # A version manager's stand-in says so by its exit code.
            if code == 127:
                raise Failed("no_git", spoken(err) or "git is not installed")
            return code, out, err
        except FileNotFoundError:
            if shutil.which("git"):
                raise
            raise Failed("no_git", "git is not installed") from None

    def __call__(self, *arguments, **options):
        code, out, err = self.try_run(*arguments, **options)
        # git leaves out what it can't read, warns and calls it a success.
        unread = b"warning: could not open" in err or b"warning: ignoring broken" in err
        if code != 0 or unread:
            raise Failed("git", spoken(err) or "`git %s` ended with %d" % (arguments[0], code))
        return out


def git_environment():
    chosen = ("GIT_CONFIG_NOSYSTEM", "GIT_CONFIG_GLOBAL")  # Which settings are read, not what to work on.
    kept = {name: value for name, value in os.environ.items()
            if name in chosen or not name.startswith("GIT_")}
    kept.update(GIT_OPTIONAL_LOCKS="0", GIT_TERMINAL_PROMPT="0", LC_ALL="C.UTF-8", LANGUAGE="C")
    return kept


def spoken(err):
    """git's own last words, in one line, without what a URL may carry."""
    words = re.sub(r"//[^/@\s:]*:[^/@\s]*@", "//****@", text(err))
    lines = [line.strip() for line in re.split(r"[\r\n]+", words)]
    noise = ("Cloning into", "hint:", "remote: Enumerating")
    return "; ".join([line for line in lines if line and not line.startswith(noise)][-6:])


def lines_of(raw):
    return [line for line in raw.split(b"\0") if line]


class Checkout:
    """The checkout and all that hangs on it: linked work trees and submodules."""

    def __init__(self, place, own, wanted=None):
        self.place = place
        self.wanted = wanted    # A commit that HEAD may contain.
        self.own = own          # Paths that the artifacts guard answers for.
        self.answered = set()   # Files that the repo guard answers for.
        self.git_folders = set()
        self.tips = []
        self.dirty = []
        self.unfinished = None

    def report(self):
        git = Git(self.place)
        top = git("rev-parse", "--show-toplevel")[:-1]
        if os.path.realpath(top) != self.place:
            raise Failed("git", "it is not the top of its repository, `%s` is" % text(top))
        # The files first, the names last: whatever moves from one to the other meanwhile is seen twice,
        # never missed.
        self.look_at_files(git, b"")
        self.look_at_operation(git)
        branch = self.head_branch(git)
        head = self.commit_of(git, "HEAD")
        if head and not branch:
            self.tips.append({"name": "detached HEAD", "commit": head})
        self.look_at_worktrees(git)
        self.look_at_names(git)
        code, remote, _ = git.try_run("config", "--get", "remote.origin.url")
        return {
            "remote": text(remote[:-1]) if code == 0 else None, "head": head, "branch": branch,
            "tips": self.tips, "dirty": self.dirty, "unfinished": self.unfinished,
            "contains_wanted": self.contains(git, self.wanted),
        }

    def contains(self, git, commit):
        """Tells whether HEAD contains a commit; one that isn't here is not contained."""
        if not commit or not re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", commit):
            return False
        return git.try_run("merge-base", "--is-ancestor", commit, "HEAD")[0] == 0

    def head_branch(self, git):
        code, name, _ = git.try_run("symbolic-ref", "-q", "HEAD")
        return text(name.strip()).replace("refs/heads/", "", 1) if code == 0 else None

    def commit_of(self, git, name):
        code, out, _ = git.try_run("rev-parse", "--verify", "-q", name + "^{commit}")
        return text(out.strip()) if code == 0 else None

    # Files

    def look_at_files(self, git, shown):
        """Adds what `git status` finds in one work tree; `shown` stands before its paths."""
        staged = lines_of(git("ls-files", "-s", "-z"))
        self.git_folders.add(os.path.join(git.folder, b".git"))
        links = []
        for line in staged:
            entry, path = line.split(b"\t", 1)
            if entry.startswith(b"160000"):
                links.append(path)
            else:
                self.answered.add(os.path.join(git.folder, path))
        status = git("status", "--porcelain=v2", "-z", "--untracked-files=all", "--ignore-submodules=none")
        found = parse_status(status)
        for path, how in found:
            place = os.path.join(git.folder, path)
            if how == "untracked":
                if place in self.own:
                    continue
                self.answered.add(place)
            self.add_dirty(shown + path, place, how)
        self.look_at_hidden(git, shown, staged)
        for path in links:
            self.look_at_submodule(git, shown, path, {path for path, _ in found})

    def add_dirty(self, shown, place, how):
        try:
            info = os.lstat(place)
            size = None if stat.S_ISDIR(info.st_mode) else info.st_size
        except OSError:
            size = None
        self.dirty.append({"path": text(shown), "how": how, "size": size})

    def look_at_hidden(self, git, shown, staged):
        """Finds changes that git was told not to look for (assume-unchanged, skip-worktree)."""
        flagged = lines_of(git("ls-files", "-v", "-z"))
        hidden = [line for line in flagged if line[:1].islower() or line[:1] == b"S"]
        if not hidden:
            return
        index = {line.split(b"\t", 1)[1]: line.split(b" ", 2)[:2] for line in staged}
        for line in hidden:
            tag, path = line[:1], line[2:]
            place = os.path.join(git.folder, path)
            mode, blob = index[path]
            if not os.path.lexists(place):
                # A skipped file that isn't there is what a sparse checkout looks like.
                if tag != b"S" and tag != b"s":
                    self.add_dirty(shown + path, place, "deleted")
            elif hash_object(git, path, mode) != blob:
                self.add_dirty(shown + path, place, "modified")
            talk.alive()

    def look_at_submodule(self, git, shown, path, dirty):
        place = os.path.join(git.folder, path)
        if not os.path.lexists(os.path.join(place, b".git")):
            return
        inner = Git(place)
        self.look_at_files(inner, shown + path + b"/")
        if path in dirty:
            return
        # Its commits belong to another remote, which nobody asks: what wasn't seen there counts as unsaved.
        unpushed = inner("rev-list", "--max-count=1", "--branches", "--tags", "HEAD", "--not", "--remotes")
        if unpushed or inner.try_run("rev-parse", "--verify", "-q", "refs/stash")[0] == 0:
            self.add_dirty(shown + path, place, "modified")

    # Names

    def look_at_names(self, git):
        form = "--format=%(refname)%00%(objectname)%00%(objecttype)%00%(*objectname)%00%(*objecttype)"
        for line in git("for-each-ref", form).splitlines():
            name, commit, kind, peeled, peeled_kind = line.split(b"\0")
            if name.startswith(b"refs/remotes/"):
                continue
            if name == b"refs/stash":
                self.look_at_stash(git, commit)
                continue
            if kind == b"tag":
                commit = peeled
                if peeled_kind == b"tag":
                    commit = git("rev-parse", "--verify", "-q", os.fsdecode(name) + "^{}").strip()
            self.tips.append({"name": name_for_people(text(name)), "commit": text(commit)})

    def look_at_stash(self, git, newest):
        code, out, _ = git.try_run("rev-list", "--walk-reflogs", "refs/stash")
        entries = out.split() if code == 0 else []
        for number, commit in enumerate(entries or [newest]):
            self.tips.append({"name": "stash@{%d}" % number, "commit": text(commit)})

    def look_at_worktrees(self, git):
        for block in git("worktree", "list", "--porcelain").split(b"\n\n"):
            words = dict((line.split(b" ", 1) + [b""])[:2] for line in block.splitlines())
            place = words.get(b"worktree")
            if place is None or os.path.realpath(place) == self.place or b"bare" in words:
                continue
            if b"detached" in words:
                name = "detached HEAD of worktree " + text(place)
                self.tips.append({"name": name, "commit": text(words[b"HEAD"])})
            if os.path.isdir(place):
                linked = Git(os.path.realpath(place))
                self.look_at_files(linked, os.path.relpath(linked.folder, self.place) + b"/")
                self.look_at_operation(linked)

    def look_at_operation(self, git):
        folder = git("rev-parse", "--absolute-git-dir")[:-1]
        self.unfinished = self.unfinished or operation(folder)


def parse_status(raw):
    """Reads `git status --porcelain=v2 -z` into (path, how) pairs."""
    fields = iter(lines_of(raw))
    found = []
    for field in fields:
        kind = field[:1]
        if kind == b"?":
            found.append((field[2:], "untracked"))
        elif kind == b"u":
            found.append((field.split(b" ", 10)[10], "unmerged"))
        elif kind == b"2":
            found.append((field.split(b" ", 9)[9], "renamed"))
            next(fields, None)  # The name before.
        elif kind == b"1":
            found.append((field.split(b" ", 8)[8], how_changed(field[2:3], field[3:4])))
        elif kind != b"#":
            raise Failed("git", "`git status` said something unknown: %s" % text(field[:80]))
    return found


def how_changed(index, tree):
    if b"D" in (index, tree):
        return "deleted"
    return "modified" if tree != b"." else "staged"


def hash_object(git, path, mode):
    if mode == b"120000":
        place = os.path.join(git.folder, path)
        if not os.path.islink(place):
            return None
        return git("hash-object", "--stdin", feed=os.readlink(place)).strip()
    code, out, _ = git.try_run("hash-object", "--", path)
    return out.strip() if code == 0 else None


def name_for_people(name):
    for start, word in (("refs/heads/", "branch "), ("refs/tags/", "tag ")):
        if name.startswith(start):
            return word + name[len(start):]
    return name


def operation(folder):
    """Returns what `git` is in the middle of, by the files it keeps for it."""
    signs = (
        (b"rebase-merge", "rebase"), (b"rebase-apply", "rebase"), (b"MERGE_HEAD", "merge"),
        (b"CHERRY_PICK_HEAD", "cherry-pick"), (b"REVERT_HEAD", "revert"), (b"BISECT_LOG", "bisect"),
    )
    for sign, name in signs:
        if os.path.lexists(os.path.join(folder, sign)):
            return name
    try:
        with open(os.path.join(folder, b"sequencer", b"todo"), "rb") as todo:
            return "revert" if todo.read(6) == b"revert" else "cherry-pick"
    except OSError:
        return None


# Looking at the rest ------------------------------------------------------------------------------------


def probe(ask, home):
    checkout_place = os.path.realpath(below(home, ask["checkout"]))
    places = {name: below(checkout_place, path) for name, path in ask["artifacts"].items()}
    own = set(places.values()) | {place + b".dacapo-part" for place in places.values()}
    with ThreadPoolExecutor(2) as pool:
        about = pool.submit(machine, home)
        on_gpu = pool.submit(gpu_processes)
        checkout = Checkout(checkout_place, own, ask.get("wanted"))
        report = look_at_checkout(checkout, below(home, ask["checkout"]))
        known = Known(home, believed=not ask.get("fresh"))
        artifacts = {name: artifact(place, checkout_place, known) for name, place in places.items()}
        marker, set_up = read_marker(home)
        files, more = (None, 0)
        if marker is not None:
            files, more = new_files(home, marker, checkout, ask)
        return dict(
            about.result(), set_up=set_up, checkout=report, artifacts=artifacts, files=files, more_files=more,
            processes=processes(checkout_place, on_gpu.result()))


def look_at_checkout(checkout, place):
    try:
        mode = os.lstat(place).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not stat.S_ISDIR(mode):
        return {"broken": "it is a symbolic link" if stat.S_ISLNK(mode) else "it is not a folder"}
    try:
        return checkout.report()
    except Failed as failed:
        # Half an answer must not pass for a whole one: without git, no file is git's to answer for.
        checkout.answered.clear()
        return {"broken": "; ".join(failed.why) or failed.kind}


def artifact(place, checkout, known=None):
    folder = os.path.realpath(os.path.dirname(place))
    if folder != checkout and not folder.startswith(checkout + b"/"):
        return {"state": "unreadable", "why": "a link leads it out of the checkout"}
    try:
        info, content = hash_file(place, known)
        return {"state": "file", "size": info.st_size, "content": content}
    except (FileNotFoundError, NotADirectoryError):
        return {"state": "missing"}
    except Failed as failed:
        return {"state": "unreadable", "why": "; ".join(failed.why)}
    except OSError as error:
        return {"state": "unreadable", "why": error.strerror or "it can't be read"}


def new_files(home, marker, checkout, ask):
    """Lists regular files that nobody else answers for; returns the first and how many more there are."""
    disposable = [glob(pattern) for pattern in ask["disposable"]]
    whole = [glob(pattern[:-3]) for pattern in map(tidy, ask["disposable"]) if pattern.endswith("/**")]
    mounts = mounts_elsewhere()
    part = below(home, ask["checkout"]) + b".dacapo-part"
    roots = [(home, b"")]
    if not (checkout.place + b"/").startswith(home + b"/"):
        roots.append((checkout.place, os.fsencode(ask["checkout"]) + b"/"))
    found, more = [], 0

    def shown(path):
        root, before = next(pair for pair in roots[::-1] if path.startswith(pair[0] + b"/"))
        return text(before + path[len(root) + 1:])

    def add(name, size):
        nonlocal more
        if len(found) < LISTED:
            found.append({"path": name, "size": size})
        else:
            more += 1

    def skipped(entry):
        raw = entry.path[len(home) + 1:] if entry.path.startswith(home + b"/") else b""
        return (raw in CACHES or raw.startswith(KNOWN_HOSTS) or entry.name in CACHES_ANYWHERE
                or entry.path in checkout.git_folders or entry.path in checkout.own or entry.path == part)

    waiting = [root for root, _ in roots]
    while waiting:
        folder = waiting.pop()
        talk.alive()
        try:
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            # What can't be read can't be shown to be nothing.
            add(shown(folder) + "/" if folder not in dict(roots) else "./", 0)
            continue
        inner = []
        for entry in entries:
            name = shown(entry.path)
            if skipped(entry):
                continue
            try:
                info = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            if stat.S_ISDIR(info.st_mode):
                if entry.path not in mounts and not any(pattern.fullmatch(name) for pattern in whole):
                    inner.append(entry.path)
            elif stat.S_ISREG(info.st_mode) and entry.path not in checkout.answered:
                new = max(info.st_mtime_ns, info.st_ctime_ns) >= marker
                if new and not any(pattern.fullmatch(name) for pattern in disposable):
                    add(name, info.st_size)
        waiting.extend(reversed(inner))
    return found, more


def mounts_elsewhere():
    try:
        with open("/proc/self/mounts", "rb") as file:
            lines = [line.split(b" ") for line in file.read().splitlines()]
    except OSError:
        return set()
    octal = re.compile(rb"\\([0-7]{3})")
    return {octal.sub(lambda match: bytes([int(match.group(1), 8)]), line[1])
            for line in lines if len(line) > 2 and text(line[2]) in ELSEWHERE}


def tidy(pattern):
    """`scratch/` means everything in it; `./` in front says nothing."""
    pattern = pattern[2:] if pattern.startswith("./") else pattern
    return pattern + "**" if pattern.endswith("/") else pattern


def glob(pattern):
    """Reads a glob: `**` crosses folders, `*` and `?` don't, `[…]` is a set, `\\` takes the next as it is."""
    pattern = tidy(pattern)
    out, at = "", 0
    while at < len(pattern):
        char = pattern[at]
        if pattern.startswith("**/", at) and (at == 0 or pattern[at - 1] == "/"):
            out, at = out + "(?:.*/)?", at + 3
            continue
        if pattern.startswith("**", at):
            out, at = out + ".*", at + 2
            continue
        end = pattern.find("]", at + 2) if char == "[" else -1
        if end > 0:
            inner = pattern[at + 1:end]
            denied = inner[:1] in ("!", "^")
            inner = re.sub(r"([\\\[\]^&~|])", r"\\\1", inner[1:] if denied else inner)
            out, at = out + "(?!/)[" + ("^" if denied else "") + inner + "]", end + 1
            continue
        if char == "\\" and at + 1 < len(pattern):
            at += 1
            out += re.escape(pattern[at])
        else:
            out += {"*": "[^/]*", "?": "[^/]"}.get(char) or re.escape(char)
        at += 1
    return re.compile(out, re.DOTALL)


# Programs at work ---------------------------------------------------------------------------------------


def processes(checkout, on_gpu):
    """Lists programs that use the GPU or work in the checkout, without ourselves and what carries us."""
    apart = ancestors(os.getpid()) | {os.getpid()} | children
    found = {pid: {"pid": pid, "command": command, "why": "gpu"} for pid, command in on_gpu}
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
        if pid in apart or pid in found:
            continue
        try:
            command = at_work("/proc/%d" % pid, checkout)
        except OSError:
            continue  # Gone meanwhile, or not ours to look at.
        if command:
            found[pid] = {"pid": pid, "command": command, "why": "checkout"}
    return [found[pid] for pid in sorted(found)]


def at_work(folder, checkout):
    parent, state = parent_and_state(folder)
    ours = os.geteuid() in (0, os.stat(folder).st_uid)
    if not ours or state in ("Z", "X") or parent == os.getpid():
        return None
    with open(folder + "/cmdline", "rb") as file:
        words = file.read(65536).split(b"\0")[:-1]
    cwd = os.fsencode(os.readlink(folder + "/cwd"))
    inside = cwd == checkout or cwd.startswith(checkout + b"/")
    paths = (os.path.normpath(os.path.join(cwd, word)) for word in words if word)
    named = any(path.startswith(checkout + b"/") for path in paths)
    if not words or not (inside or named) or os.path.basename(words[0]).startswith(b"sshd"):
        return None
    return name_of(words, cwd)


def name_of(words, cwd):
    """Names a program by itself and its first argument; more might show a secret."""
    name = os.path.basename(words[0])
    first = next((word for word in words[1:] if word and not word.startswith(b"-")), None)
    # Behind an option it may be that option's value, a password for one; a file is not.
    if first is not None and (first == words[1] or os.path.exists(os.path.join(cwd, first))):
        name += b" " + os.path.basename(first)
    return text(name)[:60]


def parent_and_state(folder):
    with open(folder + "/stat", "rb") as file:
        fields = file.read().rsplit(b")", 1)[1].split()
    return int(fields[1]), text(fields[0])


def ancestors(pid):
    found = set()
    while pid > 1:
        try:
            pid = parent_and_state("/proc/%d" % pid)[0]
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


