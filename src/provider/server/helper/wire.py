# Talking to the store -----------------------------------------------------------------------------------


class Again(Exception):
    """A failure that another try may mend, after the pause that the store asks for, if it does."""

    def __init__(self, why, pause=None):
        super().__init__(why)
        self.why = why
        self.pause = pause


class Expired(Exception):
    """The link or token is no good any more."""


class Stopped(Exception):
    """Another connection's failure has ended the transfer."""


class NoRanges(Exception):
    """The store gives the whole file or nothing."""


def connect(link, limit=60):
    """Opens the connection that a link names; returns it and what to ask for."""
    parts = urllib.parse.urlsplit(link)
    loopback = re.fullmatch(r"localhost|127(\.[0-9]+){3}|::1", parts.hostname or "")
    if parts.scheme != "https" and not (parts.scheme == "http" and loopback):
        raise Failed("bad_request", "the link is neither https nor to loopback")
    target = (parts.path or "/") + ("?" + parts.query if parts.query else "")
    if parts.scheme == "http":
        return http.client.HTTPConnection(parts.hostname, parts.port, timeout=limit), target
    context = ssl.create_default_context()
    direct = loopback or urllib.request.proxy_bypass(parts.hostname)
    proxy = None if direct else urllib.request.getproxies().get("https")
    if not proxy:
        return http.client.HTTPSConnection(parts.hostname, parts.port, timeout=limit, context=context), target
    through = urllib.parse.urlsplit(proxy if "://" in proxy else "http://" + proxy)
    connection = http.client.HTTPSConnection(through.hostname, through.port, timeout=limit, context=context)
    connection.set_tunnel(parts.hostname, parts.port or 443)
    return connection, target


@contextmanager
def on_the_wire():
    """Tells failures of the network from those of the disk."""
    try:
        yield
    except (OSError, http.client.HTTPException) as error:
        raise Again(reason(error)) from None


def reason(error):
    if isinstance(error, http.client.IncompleteRead):
        return "the connection ended early"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def check(response):
    """Sorts an answer that is no success: what may be tried again, what needs a new secret, what is final."""
    status = response.status
    words = text(response.read(4000)).strip()
    if status in (401, 410):
        raise Expired()
    if status == 429:
        raise Again("the store asks for a pause", pause_asked(response, words))
    if status >= 500 or status == 408:
        raise Again("the store answered %d" % status)
    raise Failed("http", "the store answered %d" % status, words[:2000])


def pause_asked(response, words):
    try:
        told = float(response.getheader("Retry-After") or json.loads(words)["error"]["retry_after"])
    except (ValueError, KeyError, TypeError):
        return 1.0
    return min(told, 600.0) if told >= 0 else 1.0


class Line:
    """One connection to the store, opened when it is first used and again after a failure."""

    def __init__(self, address, number, value, limit):
        self.address = address
        self.number = number
        self.value = value
        self.limit = limit
        self.connection = None

    def ready(self):
        if self.connection is None:
            self.connection, self.target = connect(self.address, self.limit)
        return self.connection

    def close(self):
        if self.connection is not None:
            self.connection.close()
            self.connection = None


