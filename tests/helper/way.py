"""What stands between the helper and the store: a way that can be cut, and stores of a few lines."""

import http.server
import socket
import threading
from urllib.parse import urlsplit


class Way:
    """A relay on loopback to the store's content host that lets only so many bytes through in a direction.

    Behind them it is cut or, where it is to hold, nothing comes through any more.
    """

    def __init__(self, base, up=None, down=None, hold=False):
        self.goal = (urlsplit(base).hostname, urlsplit(base).port)
        self.left = {"up": up, "down": down}
        self.hold = hold
        self.full = threading.Event()
        self.closed = threading.Event()
        self.lock = threading.Lock()
        self.cut = False
        self.connections = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.base = "http://127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def through(self, link):
        """Returns the same link, this way."""
        return self.base + urlsplit(link)._replace(scheme="", netloc="").geturl()

    def accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            far = socket.create_connection(self.goal)
            with self.lock:
                self.connections += [near, far]
            for ends in ((near, far, "up"), (far, near, "down")):
                threading.Thread(target=self.carry, args=ends, daemon=True).start()

    def carry(self, source, goal, direction):
        try:
            while True:
                data = source.recv(65536)
                if not data:
                    break
                if not self.allows(direction, len(data)):
                    self.full.set()
                    if self.hold:
                        self.closed.wait()
                    self.close()
                    return
                goal.sendall(data)
        except OSError:
            pass
        for end in (source, goal):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def allows(self, direction, count):
        with self.lock:
            if self.left[direction] is None:
                return not self.cut
            self.left[direction] -= count
            return self.left[direction] >= 0 and not self.cut

    def close(self):
        """Cuts every connection and takes no more."""
        self.closed.set()
        with self.lock:
            self.cut = True
            connections, self.connections = self.connections, []
        try:
            # Closing alone wouldn't end a wait for the next one.
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        for connection in connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            connection.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class StandIn:
    """A store of one function: (request, number) → (status, headers, body). It keeps what it was asked."""

    def __init__(self, answer, reads=True):
        outer = self
        self.requests = []
        self.lock = threading.Lock()

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def reply(self):
                length = int(self.headers.get("Content-Length") or 0)
                self.body = self.rfile.read(length) if reads else b""
                with outer.lock:
                    number = len(outer.requests)
                    outer.requests.append(self)
                status, headers, body = answer(self, number)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                if "Content-Length" not in headers:
                    self.send_header("Content-Length", str(len(body)))
                if not reads:
                    self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(body)
                if len(body) < int(headers.get("Content-Length", 0)) or not reads:
                    self.close_connection = True

            do_GET = do_POST = reply

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                pass  # The helper may leave at any moment.

        self.server = Server(("127.0.0.1", 0), Handler)
        self.base = "http://127.0.0.1:%d" % self.server.server_address[1]
        self.link = self.base + "/a-very-secret-name/of-a-file?with=one-more-secret"
        threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        ).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
