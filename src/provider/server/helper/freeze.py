# The packages of a lock --------------------------------------------------------------------------------

# As `pip freeze` leaves them out.
INSTALLERS = frozenset(("pip", "setuptools", "wheel", "distribute"))


def frozen(checkout):
    """Returns the packages that programs in the checkout find, without those that install others."""
    fits = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]*")
    return {name: version for name, version in packages(interpreter(checkout)[1]).items()
            if name not in INSTALLERS and fits.fullmatch(name) and fits.fullmatch(version)}


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
        words = "%s: the lock has %s, there is %s"
        lines = [words % (name, wanted.get(name, "none"), there.get(name, "none"))
                 for name in sorted(set(missing) | set(others))]
        more = ["and %d more" % (len(lines) - 12)] if len(lines) > 12 else []
        raise Failed("packages_differ", *lines[:12] + more)
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
    command = [python, "-m", "pip", "install", "--no-deps", "--no-input", "--no-color",
               "--progress-bar", "off", "--disable-pip-version-check", "-r", requirements]
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
        settings = read_settings(os.path.join(checkout, name, b"pyvenv.cfg"))
        if settings is not None and os.access(python, os.X_OK):
            return python
    return os.fsencode(sys.executable)


