# What programs run with ---------------------------------------------------------------------------------

MOST_PACKAGES = 5000


def surroundings(ask, home):
    """Says what the checkout is at, and what programs in it run with."""
    place = os.path.realpath(below(home, ask["checkout"]))
    own = {below(place, path) for path in ask["artifacts"]}
    report = look_at_checkout(Checkout(place, own), below(home, ask["checkout"])) or {}
    commit = report.get("head")
    python, folders = interpreter(place)
    return {
        "commit": commit, "dirty": differs(report, ask["artifacts"]) if commit else None,
        "environment": {"python": python, "cuda": cuda_version(), "packages": packages(folders)},
    }


def differs(report, artifacts):
    """Tells whether the work tree is another than its commit; what was made from it doesn't count."""
    return bool(report["unfinished"]) or any(entry["path"] not in artifacts for entry in report["dirty"])


def interpreter(place):
    """Returns the version of the Python that the checkout's programs run with, and where its packages lie.

    Nothing of a virtual environment is run: its settings and folders say enough.
    """
    for name in (b".venv", b"venv"):
        folder = os.path.join(place, name)
        settings = read_settings(os.path.join(folder, b"pyvenv.cfg"))
        if settings is None:
            continue
        folders = site_packages(os.path.join(folder, b"lib"))
        if settings.get("include-system-site-packages", "").lower() == "true":
            folders += own_folders()
        version = re.match(r"\d+(\.\d+){0,2}", settings.get("version") or settings.get("version_info") or "")
        return version.group() if version else None, folders
    return "%d.%d.%d" % sys.version_info[:3], own_folders()


def read_settings(path):
    """Reads a pyvenv.cfg; None where there is none."""
    try:
        with open(path, "rb") as file:
            lines = text(file.read(10000)).splitlines()
    except OSError:
        return None
    pairs = (line.split("=", 1) for line in lines if "=" in line)
    return {key.strip().lower(): value.strip() for key, value in pairs}


def site_packages(lib):
    try:
        names = sorted(os.listdir(lib))
    except OSError:
        return []
    pythons = [name for name in names if name.startswith(b"python3")]
    return [os.fsdecode(os.path.join(lib, name, b"site-packages")) for name in pythons]


def own_folders():
    """Returns where python3 finds packages: `-I` and `-S` keep them from us, not from programs."""
    import site
    site.main()
    return [folder for folder in [site.getusersitepackages()] + sys.path if os.path.isdir(folder)]


def packages(folders):
    # Slow to import, and no other operation needs it.
    from importlib import metadata
    found = {}
    for package in metadata.distributions(path=folders):
        talk.alive()
        if len(found) == MOST_PACKAGES:
            break
        try:
            name, version = package.metadata["Name"], package.version
        except Exception:  # Half-installed packages fail in many ways; they are nothing that could be named.
            continue
        if name and version:
            # The first one found is the one that gets imported.
            found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), version)
    return found


def cuda_version():
    """Returns the installed toolkit's version, else the newest that the driver can serve."""
    try:
        with open("/usr/local/cuda/version.json", "rb") as file:
            return str(json.loads(file.read(100000))["cuda"]["version"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    try:
        code, out, _ = run(["nvidia-smi"], limit=40)
    except (OSError, Failed):
        return None
    version = re.search(r"CUDA (?:UMD )?Version: *([0-9.]+)", text(out))
    return version.group(1) if code == 0 and version else None


