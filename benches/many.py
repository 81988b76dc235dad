"""Many small artifacts, by the whole program: how requests and time grow with their number."""

import time
from collections import Counter

from bench import ROOT, program, table

SIZE = 1000


def measure(bench):
    counts = [count for count in (10, 100, 1000, 10_000) if count <= bench.files] or [bench.files]
    rows = []
    for count in counts:
        rows += session(bench, count)
    head = ["", "files", "s", "ms a file", "cloud", "store", "ssh", "git", "store a file"]
    table(f"artifacts of {SIZE} B each; requests by service", head, rows)


def session(bench, count):
    """Ends a session with so many new artifacts, and begins it again with all of them."""
    folder = bench.home(f"session-{count}")
    (folder / "session.toml").write_text(spec(count))
    with bench.world(f"session-{count}/world", clock_speed=120.0) as world:
        # A machine whose bill can't be paid is shut down, and hours go by here.
        world.set(cloud={"balance": 1_000_000})
        program(folder, "up", "--yes")
        program(folder, "run", "--", "python3", "-c", FILES, str(count), str(SIZE))
        stored = watched(world, count, "store", lambda: program(folder, "down", "--yes"))
        brought = watched(world, count, "bring", lambda: program(folder, "up", "--yes"))
        program(folder, "down", "--yes")
    return [stored, brought]


FILES = """
import os, sys
os.makedirs("out")
for number in range(int(sys.argv[1])):
    with open("out/%d" % number, "w") as file:
        file.write(("%d " % number).ljust(int(sys.argv[2])))
"""


def spec(count):
    head = (ROOT / "session.toml").read_text().split("[artifacts")[0]
    return head + "".join(f'[artifacts.a{number}]\npath = "out/{number}"\n' for number in range(count))


def watched(world, count, what, act):
    before = len(world.requests())
    began = time.monotonic()
    act()
    seconds = time.monotonic() - began
    seen = Counter(request["service"] for request in world.requests()[before:])
    store = seen["dropbox_api"] + seen["dropbox_content"]
    return [what, count, f"{seconds:.1f}", f"{1000 * seconds / count:.0f}", seen["cloud"], store, seen["ssh"],
            seen["git"], f"{store / count:.1f}"]
