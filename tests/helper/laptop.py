"""The laptop's part of a transfer, by plain HTTP: it mints, starts, finishes and looks."""

import base64
import hashlib
import json

import requests

BLOCK = 4 * 1024 * 1024
REQUEST = 140 * 1024 * 1024


def content_hash(data):
    """Dropbox's content hash, written down here once more."""
    digests = [hashlib.sha256(data[at : at + BLOCK]).digest() for at in range(0, len(data), BLOCK)]
    return hashlib.sha256(b"".join(digests)).hexdigest()


class Laptop:
    """Whoever has the account's own secrets; the helper gets links and narrow tokens from here."""

    def __init__(self, world):
        self.world = world
        self.http = requests.Session()
        self.http.trust_env = False
        self.stored = []
        self.authorization = {"Authorization": f"Bearer {world.ready['dropbox_token']}"}

    # The account

    def call(self, route, argument):
        url = f"{self.world.ready['dropbox_api']}/2/{route}"
        reply = self.http.post(url, json=argument, headers=self.authorization, timeout=60)
        assert reply.status_code == 200, f"{route}: {reply.status_code} {reply.text}"
        return reply.json()

    def send(self, route, argument, body=b""):
        headers = dict(self.authorization)
        headers.update({"Content-Type": "application/octet-stream", "Dropbox-API-Arg": json.dumps(argument)})
        url = f"{self.world.ready['dropbox_content']}/2/{route}"
        return self.http.post(url, data=body, headers=headers, timeout=120)

    def put(self, path, data):
        """Stores some bytes and returns the file's metadata."""
        reply = self.send("files/upload", {"path": path}, data)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def seed(self, path, data):
        """Puts bytes there behind the service's back."""
        encoded = base64.b64encode(data).decode()
        self.world.admin(
            "POST", "seed_store", {"path": path, "bytes": encoded, "modified": "2026-11-20T10:00:00Z"}
        )

    def metadata(self, path):
        return self.call("files/get_metadata", {"path": path})

    def bytes_of(self, path):
        return self.http.get(self.link(path), timeout=120).content

    # What the helper is given

    def link(self, path):
        return self.call("files/get_temporary_link", {"path": path})["link"]

    def upload_link(self, path, mode="add"):
        commit = {"commit_info": {"path": path, "mode": mode}, "duration": 14400}
        return self.call("files/get_temporary_upload_link", commit)["link"]

    def token(self):
        """A token that can write and nothing else."""
        form = {
            "grant_type": "refresh_token",
            "refresh_token": self.world.ready["dropbox_refresh_token"],
            "client_id": self.world.ready["dropbox_app_key"],
            "scope": "files.content.write",
        }
        reply = self.http.post(f"{self.world.ready['dropbox_api']}/oauth2/token", data=form, timeout=60)
        assert reply.status_code == 200, reply.text
        return reply.json()["access_token"]

    def start(self):
        """Starts a concurrent upload session."""
        argument = {"session_type": {".tag": "concurrent"}}
        reply = self.send("files/upload_session/start", argument)
        assert reply.status_code == 200, reply.text
        return reply.json()["session_id"]

    def finish(self, session, size, path):
        """Makes a file of a session; returns the answer, whatever it is."""
        argument = {
            "cursor": {"session_id": session, "offset": size},
            "commit": {"path": path, "mode": "add"},
        }
        return self.send("files/upload_session/finish", argument)

    # What the store was asked

    def gets(self):
        """Returns every request for stored bytes: (first byte, one past the last, status, fault)."""
        found = []
        for request in self.world.requests():
            if request["path"].startswith("/cd/0/get/"):
                said = request["headers"].get("range")
                first, last = (int(part) for part in said[6:].split("-")) if said else (0, None)
                end = None if last is None else last + 1
                found.append((first, end, request["status"], request.get("struck")))
        return found

    def appends(self):
        """Returns every append: (offset, closing, status, fault)."""
        found = []
        for request in self.world.requests():
            if request["path"].endswith("/append_v2"):
                argument = json.loads(request["headers"]["dropbox-api-arg"])
                found.append(
                    (
                        argument["cursor"]["offset"],
                        argument["close"],
                        request["status"],
                        request.get("struck"),
                    )
                )
        return found

    def fail(self, *rules):
        """Puts a fault plan in force."""
        self.world.admin("PUT", "faults", {"rules": list(rules)})

    def reset(self):
        self.world.admin("POST", "reset")
