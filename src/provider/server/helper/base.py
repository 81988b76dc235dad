"""What dacapo runs on the rented server: one operation per request, stdlib only, Python 3.8 or newer.

It arrives on standard input and is never written to disk. Behind it, on the same input, comes one line
of JSON: {"nonce", "op", ...}; after {"ready"} another one may follow. Every line it prints is JSON and
carries the nonce; the last one of an answer holds "result" or "error". Input stays open until the other
side has read that line: an end of file before it means that nobody listens any more, and ends the work.
Until then it may bring {"secret"}: a link or token in place of one that ends, asked for with {"want"} or
not.

Paths are bytes inside and text only at the edge: file names need not be UTF-8.
"""
import errno
import fcntl
import fnmatch
import gzip
import hashlib
import http.client
import json
import math
import os
import random
import re
import select
import shlex
import shutil
import signal
import ssl
import stat
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
import zlib
from collections import deque
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager

BLOCK = 4 * 1024 * 1024
PIECE = 1024 * 1024
MOST_HASHING = 32  # Threads; each holds one piece.
LISTED = 200

# Folders and files below the home directory that programs fill by themselves. This list is part of the
# README: what stands here may die with the server without a word.
CACHES = frozenset((
    b".dacapo", b".cache", b".bash_history", b".python_history", b".lesshst", b".viminfo", b".wget-hsts",
    b".ipython/profile_default/history.sqlite", b".ipython/profile_default/startup/README",
    b".local/share/jupyter/runtime", b".local/share/jupyter/nbsignatures.db",
    b".local/share/jupyter/notebook_secret",
    b".jupyter/lab/workspaces",
    b".conda/pkgs", b".npm/_cacache", b".npm/_logs", b".nv", b".rustup/settings.toml", b".triton/cache",
))
CACHES_ANYWHERE = frozenset((b"__pycache__", b".ipynb_checkpoints"))
KNOWN_HOSTS = b".ssh/known_hosts"
GITS_OWN = frozenset((
    b"branches", b"commondir", b"config", b"config.worktree", b"description", b"gitdir", b"index",
    b"index.lock", b"info", b"lfs", b"locked", b"logs", b"modules", b"objects", b"packed-refs", b"refs",
    b"reftable", b"rr-cache", b"sequencer", b"shallow",
    b"worktrees",
))

# Mounts that outlive the server, or that hold no files: walking them proves nothing and may hang.
ELSEWHERE = frozenset((
    "nfs", "nfs4", "cifs", "smb3", "ceph", "lustre", "glusterfs", "afs", "autofs", "proc", "sysfs", "devpts",
    "fuse.sshfs", "fuse.rclone", "fuse.s3fs", "fuse.gcsfuse", "fuse.glusterfs", "fuse.juicefs", "fuse.goofys",
))


class Failed(Exception):
    """A failure that the other side knows by its kind; `why` is in our words or in git's."""

    def __init__(self, kind, *why):
        super().__init__(kind, *why)
        self.kind = kind
        self.why = [text(line) for line in why if line]


def text(raw):
    """Shows bytes that may not be UTF-8."""
    return raw.decode("utf-8", "backslashreplace") if isinstance(raw, bytes) else str(raw)


