"""The content hash of a large file: ours, our helper's, and what others have."""

import os
import subprocess
import sys

from bench import MIB, PROGRAM, in_turns, middle, table, verdict
from helper import Helper

VENDOR = """
import sys
from dropbox.content_hash import DropboxContentHasher
hasher = DropboxContentHasher()
with open(sys.argv[1], "rb") as file:
    while True:
        data = file.read(1024 * 1024)
        if not data:
            break
        hasher.update(data)
print(hasher.hexdigest())
"""


def measure(bench):
    place = bench.file(bench.folder / "large")
    size = bench.size
    expected = output(PROGRAM, "hash", place).split()[0]

    def same(*command):
        assert expected in output(*command), command

    def helper():
        # A home of its own each time: what the helper remembers would answer for it.
        home = bench.home("hashing")
        os.link(place, home / "large")
        asked = Helper(home, {"op": "hash", "paths": {"large": "large"}})
        assert expected in str(asked.result())
        return asked.seconds

    limit = os.environ["LIMIT"]
    times = in_turns(bench.runs, {
        "read-and-hash limit": lambda: same(limit, place),
        "dacapo hash": lambda: same(PROGRAM, "hash", place),
        "our helper": helper,
        "rclone hashsum dropbox": lambda: same("rclone", "--config", "/dev/null", "hashsum", "dropbox", place),
        "Dropbox's Python hasher": lambda: same(sys.executable, "-c", VENDOR, place),
        "openssl dgst -sha256": lambda: output("openssl", "dgst", "-sha256", place) and None,
    })
    best, openssl = min(times["read-and-hash limit"]), min(times["openssl dgst -sha256"])
    rows = []
    for name, took in times.items():
        rate = size / MIB / min(took)
        rows.append([name, f"{middle(took):.3f}", f"{min(took):.3f}", f"{rate:.0f}",
                     f"{best / min(took):.2f}", f"{openssl / min(took):.2f}"])
    table(f"content hash of {size // MIB} MiB, {bench.runs} runs each, in turns; ratios by the best run",
          ["", "median s", "best s", "MiB/s", "of the limit", "× openssl"], rows)
    ours, helped = min(times["dacapo hash"]), min(times["our helper"])
    table("goals", ["", "", ""], [
        ["dacapo hash ≥ 0.95 of the limit", f"{best / ours:.2f}", verdict(best / ours >= 0.95, "0.95")],
        ["dacapo hash ≥ 2 × openssl", f"{openssl / ours:.2f}", verdict(openssl / ours >= 2, "2")],
        ["our helper ≥ 1.5 × openssl", f"{openssl / helped:.2f}", verdict(openssl / helped >= 1.5, "1.5")],
    ])
    os.unlink(place)


def output(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
