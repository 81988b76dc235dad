"""The official Dropbox SDK, pointed at a world on loopback, and what the cases measure with."""

import hashlib

import dropbox
import pytest
from dropbox.exceptions import ApiError, BadInputError
from dropbox.files import CommitInfo, UploadSessionCursor
from requests.adapters import HTTPAdapter

BLOCK = 4 * 1024 * 1024
LARGEST_REQUEST = 150 * 1024 * 1024
DAY = 24 * 3600
HASH_OF_NOTHING = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


class Loopback(HTTPAdapter):
    """Sends the SDK's https requests to the world's plain listeners; any other host is an error."""

    def __init__(self, ready):
        super().__init__(pool_maxsize=16)
        api, content = ready["dropbox_api"], ready["dropbox_content"]
        self.bases = {
            "https://api.dropboxapi.com": api,
            "https://content.dropboxapi.com": content,
            "https://notify.dropboxapi.com": api,
            "https://www.dropbox.com": api,
        }

    def send(self, request, **options):
        host = "/".join(request.url.split("/", 3)[:3])
        request.url = self.bases[host] + request.path_url
        return super().send(request, **{**options, "proxies": None})


def session(world):
    """A session of the SDK's own kind that never leaves this machine."""
    session = dropbox.create_session(max_connections=16)
    session.trust_env = False
    session.mount("https://", Loopback(world.ready))
    return session


def client(world, token=None, **options):
    """A client with the world's lasting token, or with what the caller brings."""
    options = {"max_retries_on_error": 0, "max_retries_on_rate_limit": 0, "timeout": 60, **options}
    if "oauth2_refresh_token" not in options:
        options["oauth2_access_token"] = token or world.ready["dropbox_token"]
    return dropbox.Dropbox(session=session(world), **options)


def refreshing(world, scope=None):
    """A client that has nothing but the refresh token."""
    return client(
        world,
        oauth2_refresh_token=world.ready["dropbox_refresh_token"],
        app_key=world.ready["dropbox_app_key"],
        scope=scope,
    )


def raw(dbx, route, argument, host="api", style="rpc", body=None):
    """Calls a route with an argument that the SDK's own checks would not let through."""
    return dbx.request_json_object(host, route, style, argument, "user", body)


def pattern(size):
    """The bytes of the published vectors: the index modulo 251."""
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def content_hash(data):
    """Dropbox's content hash, written down here a second time."""
    digests = [hashlib.sha256(data[at : at + BLOCK]).digest() for at in range(0, len(data), BLOCK)]
    return hashlib.sha256(b"".join(digests)).hexdigest()


def refusal(call, *arguments, **options):
    """Returns the typed error of a call that must fail with 409."""
    with pytest.raises(ApiError) as caught:
        call(*arguments, **options)
    assert len(caught.value.request_id) == 32
    return caught.value.error


def bad_input(call, *arguments, **options):
    """Returns the text of a call that must fail with 400."""
    with pytest.raises(BadInputError) as caught:
        call(*arguments, **options)
    assert len(caught.value.request_id) == 32
    return caught.value.message


def tags(union):
    """Returns a union's tags from the outside in: `path/conflict/file`."""
    names = []
    while hasattr(union, "_tag"):
        names.append(union._tag)
        union = union._value
        # An UploadWriteFailed keeps its reason one level further in.
        union = getattr(union, "reason", union)
    return "/".join(names)


def bytes_of(dbx, path, **options):
    """Returns the whole content of a file."""
    return dbx.files_download(path, **options)[1].content


def start(dbx, data=b"", **options):
    """Starts an upload session and returns its id."""
    return dbx.files_upload_session_start(data, **options).session_id


def append(dbx, session_id, offset, data, **options):
    """Appends to an upload session."""
    return dbx.files_upload_session_append_v2(data, UploadSessionCursor(session_id, offset), **options)


def finish(dbx, session_id, offset, path, data=b"", **commit):
    """Finishes an upload session and returns the file's metadata."""
    cursor = UploadSessionCursor(session_id, offset)
    return dbx.files_upload_session_finish(data, cursor, CommitInfo(path, **commit))
