# Starting it ---------------------------------------------------------------------------------------------

JUPYTERLAB = "jupyterlab>=4,<5"
INSTALLING = 1800  # Seconds.
STARTING = 120
MOST_SAID = 300  # Lines.
NO_NEWS = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false"}}


def start_notebook(ask, home):
    """Makes sure that a notebook server runs as asked, and reads back that it answers to its token."""
    if ask.get("notebook_port"):
        return await_notebook(known_notebook(ask, home), home)
    only_one(home)
    checkout = os.path.realpath(below(home, ask["checkout"]))
    asked = {key: ask[key] for key in ("port", "directory", "packages")}
    notebook = noted_notebook(home)
    if notebook is not None and notebook.is_alive():
        report = await_notebook(notebook, home)
        if notebook.asked == asked:
            return report
        end_notebook(notebook)
    root = checkout if ask["directory"] == "." else below(checkout, ask["directory"])
    if not os.path.isdir(root):
        raise Failed("missing", "there is no folder `%s` in the checkout" % ask["directory"])
    refuse_taken(ask["port"])
    command, environment = jupyter(home, checkout, ask["packages"])
    # Installing took a while.
    refuse_taken(ask["port"])
    return await_notebook(launch_notebook(home, root, asked, command, environment), home)


def stop_notebook(ask, home):
    """Ends our notebook server; one in which kernels run stays."""
    only_one(home)
    notebook = noted_notebook(home)
    if notebook is not None and notebook.is_alive():
        notebook.look()
        end_notebook(notebook)
    forget_notebook(home)
    return None


def end_notebook(notebook):
    if notebook.kernels:
        names = sorted(one["document"] or "a kernel without a notebook" for one in notebook.kernels)
        raise Failed("notebook_in_use", *["a kernel runs: %s" % name for name in names[:LISTED]])
    pid = notebook.process[0]
    for how, patience in ((signal.SIGTERM, 15), (signal.SIGKILL, 5)):
        end_group(pid, how)
        end = time.monotonic() + patience
        while notebook.is_alive() and time.monotonic() < end:
            talk.alive()
            time.sleep(0.05)
    if notebook.is_alive():
        raise Failed("notebook_silent", "process %d doesn't end" % pid)


def forget_notebook(home):
    for name in (b"state.json", b"token", b"config.json"):
        try:
            os.unlink(os.path.join(notebook_folder(home), name))
        except FileNotFoundError:
            pass


def refuse_taken(port):
    holder = port_holder(port)
    if holder is not None:
        try:
            name = " `%s`" % Program(holder).named() if holder else ""
        except (OSError, IndexError, ValueError):
            name = ""
        who = "process %d%s listens" % (holder, name) if holder else "somebody else's process listens"
        raise Failed("port_taken", "%s on port %d already" % (who, port))


# Installing it


def jupyter(home, checkout, wanted):
    """Returns what starts JupyterLab, and its environment: the checkout's, the machine's or our own."""
    for name in (b".venv", b"venv"):
        folder = os.path.join(checkout, name)
        if os.access(os.path.join(folder, b"bin", b"jupyter-lab"), os.X_OK):
            if wanted:
                install(folder, wanted)
            return [os.path.join(folder, b"bin", b"python"), "-m", "jupyterlab"], within(folder)
    there = shutil.which("jupyter-lab")
    if there and not wanted:
        return [there], plain_environment()
    folder = os.path.join(notebook_folder(home), b"venv")
    note = folder + b".installed"
    requirements = [JUPYTERLAB] + wanted
    if not os.path.exists(note):
        code, said = stream([sys.executable, "-m", "venv", "--clear", "--system-site-packages", folder])
        if code:
            raise Failed("no_notebook", "`python3 -m venv` ended with %d" % code, *said)
    elif read_lines(note) == requirements:
        return [os.path.join(folder, b"bin", b"python"), "-m", "jupyterlab"], within(folder)
    install(folder, requirements)
    # Whether to be told of news is a question that would leave a file as work.
    settings = os.path.join(folder, b"share/jupyter/lab/settings")
    os.makedirs(settings, exist_ok=True)
    write_whole(os.path.join(settings, b"overrides.json"), json.dumps(NO_NEWS).encode(), 0o644)
    write_whole(note, "\n".join(requirements).encode())
    return [os.path.join(folder, b"bin", b"python"), "-m", "jupyterlab"], within(folder)


def read_lines(path):
    with open(path) as file:
        return file.read(100000).splitlines()


def install(folder, requirements):
    pip = [os.path.join(folder, b"bin", b"python"), "-m", "pip", "install", "--no-input", "--no-color",
           "--retries", "3", "--disable-pip-version-check", "--progress-bar", "off", "--"]
    code, said = stream(pip + requirements, within(folder))
    if code:
        raise Failed("no_notebook", "`pip install %s` ended with %d" % (" ".join(requirements), code), *said)


def plain_environment():
    """Returns our own environment without what belongs to this login alone."""
    return {key: value for key, value in os.environ.items() if not key.startswith("SSH_")}


def within(folder):
    environment = plain_environment()
    environment["VIRTUAL_ENV"] = os.fsdecode(folder)
    programs = os.fsdecode(os.path.join(folder, b"bin"))
    environment["PATH"] = programs + ":" + environment.get("PATH", os.defpath)
    return environment


def stream(command, environment=None):
    """Runs a program and passes on what it says, to a limit; returns its exit code and its last lines."""
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env=environment or plain_environment(), start_new_session=True, pass_fds=held)
    children.add(process.pid)
    last, lines, rest = deque(maxlen=12), 0, b""
    end = time.monotonic() + INSTALLING
    try:
        while True:
            ready = select.select([process.stdout], [], [], 2)[0]
            if time.monotonic() > end:
                raise Failed("timeout", "`%s` took more than %d s" % (text(command[0]), INSTALLING), *last)
            talk.alive()
            if not ready:
                continue
            heard = os.read(process.stdout.fileno(), 65536)
            *whole, rest = (rest + heard).split(b"\n")
            if not heard and rest:
                whole, rest = [rest], b""
            for line in (text(line).rstrip()[:300] for line in whole):
                if line:
                    last.append(line)
                    lines += 1
                    if lines <= MOST_SAID:
                        talk.say(said=line)
            rest = rest[-300:]
            if not heard:
                return process.wait(), list(last)
    finally:
        children.discard(process.pid)
        if process.poll() is None:
            end_group(process.pid, signal.SIGKILL)
            process.wait()


# Running it


def launch_notebook(home, root, asked, command, environment):
    """Starts it in a session of its own, so that it outlives us and the login that we came with."""
    folder = notebook_folder(home)
    token = os.urandom(24).hex()
    secret.values.append(token)
    write_whole(os.path.join(folder, b"token"), token.encode() + b"\n")
    config = os.path.join(folder, b"config.json")
    write_whole(config, json.dumps(notebook_settings(root, asked["port"], token)).encode())
    environment["JUPYTER_RUNTIME_DIR"] = os.fsdecode(os.path.join(folder, b"runtime"))
    # Nothing may run that isn't noted: it waits for a line, and ends without one.
    waiting = ["/bin/sh", "-c", 'read -r go && exec "$@" < /dev/null', "sh"]
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
    with open(os.open(os.path.join(folder, b"log"), flags, 0o600), "ab") as log:
        process = subprocess.Popen(
            waiting + command + [b"--config=" + config], stdin=subprocess.PIPE, stdout=log, stderr=log,
            env=environment, cwd=home, start_new_session=True)
    noted = process.pid, stat_of("/proc/%d" % process.pid)[2]
    note = dict(asked, pid=noted[0], started=noted[1])
    write_whole(os.path.join(folder, b"state.json"), json.dumps(note).encode())
    process.stdin.write(b"go\n")
    process.stdin.close()
    return Notebook(asked["port"], token, noted, asked)


def notebook_settings(root, port, token):
    """Returns Jupyter's settings, for a file of ours alone: arguments and variables are seen by others."""
    server = {
        "ip": "127.0.0.1", "port": port, "port_retries": 0, "open_browser": False,
        "root_dir": os.fsdecode(root), "allow_root": os.geteuid() == 0, "token": token,
    }
    # It asks nobody on the internet for news of itself.
    lab = {"check_for_updates_class": "jupyterlab.NeverCheckForUpdate", "news_url": None}
    return {"ServerApp": server, "IdentityProvider": {"token": token}, "LabApp": lab}


def await_notebook(notebook, home):
    """Waits until it answers to its token."""
    end = time.monotonic() + STARTING
    while True:
        if notebook.process is not None and not notebook.is_alive():
            raise Failed("notebook_died", "JupyterLab ended at once; its last words:", *last_words(home))
        try:
            if notebook.listens():
                notebook.look()
                return notebook.report()
            if time.monotonic() > end:
                raise Failed("notebook_silent", "nothing of it listened on port %d for %d s"
                             % (notebook.port, STARTING))
        except Failed as failed:
            # One that is starting may be deaf for a moment, but knows its token from the first.
            if failed.kind == "notebook_locked" or time.monotonic() > end:
                raise
        talk.alive()
        time.sleep(0.1)


def last_words(home):
    with open(os.path.join(notebook_folder(home), b"log"), "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - 4000))
        lines = text(file.read()).splitlines()
    return [line.rstrip()[:300] for line in lines if line.strip()][-12:]


