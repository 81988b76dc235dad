# The home directory and the marker ----------------------------------------------------------------------


def home_folder():
    return os.path.realpath(os.fsencode(os.path.expanduser("~")))


def own_folder(home):
    folder = os.path.join(home, b".dacapo")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    os.chmod(folder, 0o700)
    return folder


def write_whole(path, content, mode=0o600):
    """Writes a file so that a reader sees the old bytes or the new ones, never a part."""
    part = path + b".new"
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode), "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


def only_one(home):
    """Waits until no other helper changes anything; the lock goes with the process."""
    path = os.path.join(own_folder(home), b"lock")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    for _ in range(100):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held.append(descriptor)
            return
        except OSError:
            talk.alive()
            time.sleep(0.2)
    raise Failed("busy", "another dacapo has been changing this server for 20 s")


def read_marker(home):
    """Returns when set-up ended (or began) by the disk's own clock, and whether it ended."""
    try:
        with open(os.path.join(home, b".dacapo", b"marker"), "rb") as file:
            marker = json.loads(file.read(1000))
        return int(marker["time_ns"]), bool(marker["set_up"])
    except (OSError, ValueError, KeyError, TypeError):
        return None, False


def set_marker(home, set_up):
    # The disk's clock, not ours: the kernel stamps files with a coarser clock that runs behind, and a
    # file written just after a finer stamp would look older than it.
    path = os.path.join(own_folder(home), b"marker")
    write_whole(path + b".clock", b"")
    now = os.lstat(path + b".clock").st_mtime_ns
    os.unlink(path + b".clock")
    write_whole(path, json.dumps({"time_ns": now, "set_up": set_up}).encode())


def below(home, path):
    """Returns the absolute path of something that a request names below the home directory."""
    raw = os.fsencode(path)
    parts = raw.split(b"/")
    if not raw or raw.startswith(b"/") or b".." in parts or b"\0" in raw:
        raise Failed("bad_request", "`%s` is not a path below the home directory" % text(raw))
    return os.path.join(home, *[part for part in parts if part not in (b"", b".")])


def machine(home):
    disk = os.statvfs(home)
    return {
        "python": "%d.%d.%d" % sys.version_info[:3],
        "git": git_version(),
        "gpu": gpu_name(),
        "home": text(home),
        "disk_free": disk.f_bavail * disk.f_frsize,
    }


def git_version():
    try:
        code, out, _ = run(["git", "--version"], limit=30)
    except OSError:
        return None
    return text(out).strip().replace("git version ", "") if code == 0 else None


def gpu_name():
    try:
        code, out, _ = run(["nvidia-smi", "-L"], limit=40)
    except (OSError, Failed):
        return None
    lines = text(out).strip().splitlines()
    return lines[0] if code == 0 and lines else None


def hello(ask, home):
    if read_marker(home)[0] is None:
        set_marker(home, False)
    own_folder(home)
    return machine(home)


def finish_set_up(ask, home):
    # Only the first end of set-up moves the marker: moving it again would hide what was made since.
    if not read_marker(home)[1]:
        set_marker(home, True)
    return None


