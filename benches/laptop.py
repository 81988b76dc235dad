"""The laptop's part of a transfer by plain calls: sessions, links, and the file that is made at the end."""

import json

import requests


class Laptop:
    """Calls a world's Dropbox with the laptop's own token."""

    def __init__(self, world):
        self.world = world
        self.connection = requests.Session()
        self.connection.trust_env = False
        self.token = world.ready["dropbox_token"]
        self.content_url = world.ready["dropbox_content"]

    def session(self):
        """Starts a concurrent upload session."""
        answer = self.content("files/upload_session/start", {"session_type": "concurrent"})
        return json.loads(answer)["session_id"]

    def finish(self, session, size, path):
        """Makes a file of a closed session and returns what the store says of it."""
        argument = {"cursor": {"session_id": session, "offset": size}, "commit": {"path": path}}
        return json.loads(self.content("files/upload_session/finish", argument))

    def link(self, path):
        return json.loads(self.rpc("files/get_temporary_link", {"path": path}))["link"]

    def delete(self, path):
        self.rpc("files/delete_v2", {"path": path})

    def metadata(self, path):
        return json.loads(self.rpc("files/get_metadata", {"path": path}))

    def rpc(self, route, argument):
        return self.ask(self.world.ready["dropbox_api"], route, {"Content-Type": "application/json"},
                        json.dumps(argument).encode())

    def content(self, route, argument, body=b""):
        headers = {"Content-Type": "application/octet-stream", "Dropbox-API-Arg": json.dumps(argument)}
        return self.ask(self.content_url, route, headers, body)

    def ask(self, base, route, headers, body):
        headers["Authorization"] = "Bearer " + self.token
        answer = self.connection.post(f"{base}/2/{route}", data=body, headers=headers, timeout=120)
        answer.raise_for_status()
        return answer.content
