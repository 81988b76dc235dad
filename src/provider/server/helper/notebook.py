# The notebook server ------------------------------------------------------------------------------------

MOST_ANSWER = 4 * 1024 * 1024
LONGEST_NAME = 200
# One that is starting has not been told anything yet.
IDLE = ("idle", "starting", "dead")
# Seconds after which one is asked again that answers 500: Jupyter does so in the moment in which a kernel is
# in its list without a last activity (jupyter_server/services/kernels/kernelmanager.py: `kernel_model`).
AGAIN_AFTER = (0.1, 0.2, 0.5, 1, 2)


class Notebook:
    """A notebook server on this machine's loopback, and what it says of itself to whoever has its token.

    Ours is noted in ~/.dacapo/notebook with the process that we started. Of one that came with the image the
    other side told us, which knows its token.
    """

    def __init__(self, port, token, process=None, asked=None):
        self.port = port
        self.token = token
        # Ours: its id and when it started, so that another with this id isn't taken for it.
        self.process = process
        self.asked = asked or {"port": port, "directory": ".", "packages": []}
        self.kernels, self.documents, self.terminals, self.version = [], [], 0, None

    def is_alive(self):
        """Tells whether the process that we started is still there."""
        try:
            _, state, started = stat_of("/proc/%d" % self.process[0])
        except (OSError, IndexError, ValueError):
            return False
        return started == self.process[1] and state not in ("Z", "X")

    def listens(self):
        """Tells whether it is this one that has the port: nobody else gets to see the token."""
        holder = port_holder(self.port)
        if self.process is None:
            return holder is not None
        return bool(holder) and self.process[0] in {holder} | ancestors(holder)

    def get(self, path):
        status, body = self.answer(path)
        for pause in AGAIN_AFTER:
            if status != 500:
                break
            time.sleep(pause)
            status, body = self.answer(path)
        if status in (301, 302, 401, 403):
            raise Failed("notebook_locked", "it asks for a password on port %d: its token isn't taken"
                         % self.port)
        try:
            if status != 200:
                raise ValueError
            return json.loads(body)
        except ValueError:
            what = "what listens on port %d is no Jupyter server: it answered %d to `%s`"
            raise Failed("notebook_silent", what % (self.port, status, path))

    def answer(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path, headers={"Authorization": "token " + self.token})
            response = connection.getresponse()
            return response.status, response.read(MOST_ANSWER)
        except (OSError, http.client.HTTPException) as error:
            raise Failed("notebook_silent", "it doesn't answer on port %d: %s" % (self.port, reason(error)))
        finally:
            connection.close()

    def look(self):
        """Asks for its kernels, and what is open in it."""
        try:
            self.get("/api/status")
            self.version = str(self.get("/api").get("version"))[:60]
            sessions = [(str(one["path"])[:LONGEST_NAME], one["kernel"]["id"])
                        for one in self.get("/api/sessions") if one.get("kernel")]
            names = {kernel: path for path, kernel in sessions}
            self.kernels = [
                {"id": str(one["id"]), "document": names.get(one["id"]),
                 "idle": one.get("execution_state") in IDLE} for one in self.get("/api/kernels")]
            self.documents = sorted({path for path, _ in sessions})[:LISTED]
            self.terminals = self.count_terminals()
        except (KeyError, TypeError, AttributeError):
            raise Failed("notebook_silent", "what listens on port %d is no Jupyter server" % self.port)

    def count_terminals(self):
        try:
            return len(self.get("/api/terminals"))
        except Failed:
            return 0  # Terminals can be switched off.

    def report(self, why=None):
        kernels = [{"document": one["document"], "idle": one["idle"]} for one in self.kernels[:LISTED]]
        return dict(
            self.asked, given=self.process is None, running=why is None, why=why, version=self.version,
            kernels=kernels, documents=self.documents, terminals=self.terminals)


def notebook_folder(home):
    folder = os.path.join(own_folder(home), b"notebook")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    return folder


def noted_notebook(home):
    """Returns the notebook server that we started last; none where we never did."""
    folder = os.path.join(home, b".dacapo", b"notebook")
    try:
        with open(os.path.join(folder, b"state.json"), "rb") as file:
            noted = json.loads(file.read(100000))
        with open(os.path.join(folder, b"token")) as file:
            token = file.read(200).strip()
        asked = {"port": int(noted["port"]), "directory": noted["directory"], "packages": noted["packages"]}
        process = int(noted["pid"]), int(noted["started"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    secret.values.append(token)
    return Notebook(asked["port"], token, process, asked)


def known_notebook(ask, home):
    """Returns the notebook server that the request is about: the image's own, else ours."""
    if ask.get("notebook_port"):
        return Notebook(ask["notebook_port"], secret.current()[1])
    return noted_notebook(home)


def look_at_notebook(ask, home):
    """Returns the notebook server, asked, and what is to be said of it; none where there is none."""
    notebook = known_notebook(ask, home)
    if notebook is None:
        return None, None
    if notebook.process is not None and not notebook.is_alive():
        return notebook, notebook.report("it has ended")
    try:
        if not notebook.listens():
            raise Failed("notebook_silent", "nothing of it listens on port %d" % notebook.port)
        notebook.look()
    except Failed as failed:
        return notebook, notebook.report(secret.without("; ".join(failed.why)))
    return notebook, notebook.report()


def notebook_address(ask, home):
    """Says where the notebook server is and what opens it; null where none runs."""
    notebook = known_notebook(ask, home)
    if notebook is None or notebook.process is not None and not notebook.is_alive() or not notebook.listens():
        return None
    notebook.get("/api/status")
    return {"port": notebook.port, "token": notebook.token}


def port_holder(port):
    """Returns the id of the process that listens on a port, 0 where it can't be told; None for nobody."""
    sockets = set()
    for name in ("tcp", "tcp6"):
        try:
            with open("/proc/net/" + name, "rb") as file:
                rows = [line.split() for line in file.read().splitlines()[1:]]
        except OSError:
            continue
        sockets.update(b"socket:[" + row[9] + b"]" for row in rows
                       if row[3] == b"0A" and int(row[1].rsplit(b":", 1)[1], 16) == port)
    if not sockets:
        return None
    for pid in (name for name in os.listdir("/proc") if name.isdigit()):
        if any(link in sockets for link in open_in("/proc/%s/fd" % pid)):
            return int(pid)
    return 0


def open_in(folder):
    """Yields what a process has open, as far as it is ours to look at, without what it closes meanwhile."""
    try:
        numbers = os.listdir(folder)
    except OSError:
        return
    for number in numbers:
        try:
            yield os.fsencode(os.readlink(folder + "/" + number))
        except OSError:
            continue


