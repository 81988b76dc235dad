# Looking at the rest ------------------------------------------------------------------------------------


def probe(ask, home):
    checkout_place = os.path.realpath(below(home, ask["checkout"]))
    places = {name: below(checkout_place, path) for name, path in ask["artifacts"].items()}
    own = set(places.values()) | {place + b".dacapo-part" for place in places.values()}
    marker, set_up = read_marker(home)
    with ThreadPoolExecutor(2) as pool:
        about = pool.submit(machine, home)
        on_gpu = pool.submit(gpu_processes)
        checkout = Checkout(checkout_place, own, ask.get("wanted"), marker)
        report = look_at_checkout(checkout, below(home, ask["checkout"]), ask.get("save"))
        known = Known(home, believed=not ask.get("fresh"))
        artifacts = {name: artifact(place, checkout_place, known) for name, place in places.items()}
        files, more = (None, 0)
        if marker is not None:
            files, more = new_files(home, marker, checkout, ask)
        notebook, told = look_at_notebook(ask, home)
        setup = look_at_set_up(ask, home, checkout_place)
        return dict(
            about.result(), set_up=set_up, checkout=report, artifacts=artifacts, files=files, more_files=more,
            notebook=told, setup=setup,
            processes=processes(home, checkout_place, marker, on_gpu.result(), notebook))


def look_at_checkout(checkout, place, save=None):
    try:
        mode = os.lstat(place).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not stat.S_ISDIR(mode):
        return {"broken": "it is a symbolic link" if stat.S_ISLNK(mode) else "it is not a folder"}
    try:
        return checkout.report(save)
    except Failed as failed:
        # Half an answer must not pass for a whole one: without git, no file is git's to answer for.
        checkout.answered.clear()
        checkout.git_folders.clear()
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
    kept_by_git = [folder for folder in sorted(checkout.git_folders) if folder.startswith(home + b"/")]
    waiting.extend(folder for folder in kept_by_git if os.path.isdir(folder) and not os.path.islink(folder))
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
            if skipped(entry) or folder in checkout.git_folders and is_gits_own(entry.name):
                continue
            if entry.name.endswith(b".sample") and os.path.dirname(folder) in checkout.git_folders:
                continue  # A hook that git puts there by itself, and never runs.
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


def is_gits_own(name):
    """Tells whether git itself keeps this in its folder; hooks and all else there are somebody's."""
    passing = re.fullmatch(rb"[A-Z_]+|(sharedindex|rebase|fsmonitor|gc)[-.].*", name)
    return name in GITS_OWN or passing is not None


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
    """Reads a glob: `**` crosses folders, `*`, `?` don't, `[…]` is a set, `\\` takes the next as it is."""
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


