"""Recorded requests in one comparable form: what was called, and every value that was sent with it."""

import json
import re
from urllib.parse import parse_qsl

SERVICES = ("cloud", "dropbox_api", "dropbox_content")

# Headers that a service reads. The others (agent, encodings, keep-alive) are each library's own business.
MEANINGFUL = ["authorization", "content-type", "dropbox-api-path-root", "if-none-match", "range"]
ARGUMENT = "dropbox-api-arg"
IDENTIFIER = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
LINK = re.compile(r"(?<=/cd/0/get/)[^/]+|(?<=/apitul/1/)[^/]+")


def name_of(request):
    """Returns the call's name: service, method, and the path with ids and links left open."""
    path = LINK.sub("{link}", IDENTIFIER.sub("{id}", request["path"]))
    return f"{request['service']} {request['method']} {path}"


def fields_of(request):
    """Returns every value sent, by the place it was sent in: `query/limit`, `body/os_volume/size`."""
    headers = request["headers"]
    fields = {"path": name_of(request).split()[2]}
    fields |= {f"header/{name}": headers[name] for name in MEANINGFUL if name in headers}
    fields |= {f"query/{name}": value for name, value in parse_qsl(request["query"], keep_blank_values=True)}
    if ARGUMENT in headers:
        fields |= flattened("argument", json.loads(headers[ARGUMENT]))
    kind = headers.get("content-type", "")
    if kind.startswith("application/json"):
        fields |= flattened("body", json.loads(request["body"])) if request["body"] else {}
    elif kind.startswith("application/x-www-form-urlencoded"):
        fields |= {f"body/{name}": value for name, value in parse_qsl(request["body"])}
    elif request["body"]:
        fields["bytes"] = request["body"]
    return fields


def flattened(place, value):
    """Returns the scalars (and empty containers) of a JSON value by their place."""
    if isinstance(value, dict) and value:
        parts = value.items()
    elif isinstance(value, list) and value:
        parts = enumerate(value)
    else:
        return {place: value}
    return {key: leaf for name, part in parts for key, leaf in flattened(f"{place}/{name}", part).items()}


def argument_of(request):
    """Returns the JSON that the call carries in its body or, with raw bytes as its body, in a header."""
    headers = request["headers"]
    if ARGUMENT in headers:
        return json.loads(headers[ARGUMENT])
    return json.loads(request["body"]) if request["body"] else None
