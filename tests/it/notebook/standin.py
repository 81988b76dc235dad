"""Answers like a notebook server, or doesn't, as `~/standin.json` says: for what a real one can't be brought to do.

Started as `python -m jupyterlab --config=FILE`, in place of the Python that JupyterLab was installed for.
"""
import http.server
import json
import os
import sys
import threading
import time

HOME = os.path.expanduser("~")
SETTINGS = json.load(open(next(word for word in sys.argv if word.startswith("--config=")).split("=", 1)[1]))
TOKEN = SETTINGS["IdentityProvider"]["token"]


def how():
    try:
        with open(HOME + "/standin.json") as file:
            return json.load(file)
    except FileNotFoundError:
        return {}


class Answer(http.server.BaseHTTPRequestHandler):
    failures = 0

    def do_GET(self):
        kernels = how().get("kernels", [])
        answers = {
            "/api": {"version": "2.0-standin"}, "/api/status": {}, "/api/terminals": [],
            "/api/kernels": [{"id": str(number), "execution_state": state}
                             for number, (_, state) in enumerate(kernels)],
            "/api/sessions": [{"path": path, "kernel": {"id": str(number)}}
                              for number, (path, _) in enumerate(kernels)],
        }
        locked = how().get("locked") or self.headers.get("Authorization") != "token " + TOKEN
        path = self.path.split("?")[0]
        begins = path == "/api/kernels" and Answer.failures < how().get("begins", 0)
        Answer.failures += begins
        status = 500 if begins else 200 if path in answers or path == "/lab" else 404
        status = 403 if locked and path != "/lab" else status
        body = json.dumps(answers.get(path, "a page")).encode() if status == 200 else b"{}"
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


if how().get("dies"):
    print("the notebook can't start: bad traitlet in http://127.0.0.1/lab?token=%s\x1b[2J" % TOKEN)
    sys.exit(3)


def end_with_the_test():
    """A world that is stopped leaves its servers' programs running; this one goes with its disk."""
    while os.path.exists(HOME):
        time.sleep(1)
    os._exit(0)


threading.Thread(target=end_with_the_test, daemon=True).start()
print("listening", flush=True)
http.server.ThreadingHTTPServer(("127.0.0.1", SETTINGS["ServerApp"]["port"]), Answer).serve_forever()
