"""What a transfer sends again that was cut off at nine tenths."""

import ours
from bench import MIB, table, verdict
from laptop import Laptop
from transfers import CAP, CONNECTIONS

CUT = 0.9
LARGEST_REQUEST = 68 * MIB  # With a block that would be left over.
LINK = f"rtt=30ms,rate={CAP // 1_000_000}MB"


def measure(bench):
    home = bench.home("home")
    bench.file(home / "large")
    rows = []
    with bench.world("world", "--link", LINK) as world:
        laptop = Laptop(world)
        for run in range(bench.runs):
            rows.append(["push", *push(bench, world, laptop, home, f"/large-{run}")])
        for _ in range(bench.runs):
            rows.append(["pull", *pull(bench, laptop, "/large-0")])
    most = CONNECTIONS * LARGEST_REQUEST
    rows = [[what, f"{cut / MIB:.0f}", f"{again / MIB:.1f}", verdict(again <= most, f"{most // MIB}")]
            for what, cut, again in rows]
    table(f"{bench.size // MIB} MiB, the helper killed at {CUT:.0%}; goal: at most {CONNECTIONS} requests, "
          f"{most // MIB} MiB, again", ["", "cut at MiB", "again MiB", ""], rows)


def push(bench, world, laptop, home, path):
    packed = ours.pack(home, "large")
    session = laptop.session()
    cut = cut_off(ours.send(laptop, home, "large", packed, session), bench.size)
    before = received(world)
    # The next run finds the session that this one had begun.
    packed = ours.pack(home, "large")
    assert packed["session"]["id"] == session
    ours.send(laptop, home, "large", packed, session).result()
    assert laptop.finish(session, bench.size, path)["content_hash"] == packed["stored"]
    return cut, cut + received(world) - before - bench.size


def pull(bench, laptop, path):
    home = bench.home("other")
    cut = cut_off(ours.fetch(laptop, home, "large", path), bench.size)
    second = ours.fetch(laptop, home, "large", path)
    resumed = [said["resumed"] for said in second.lines() if "resumed" in said]
    second.end()
    assert (home / "large").stat().st_size == bench.size
    return cut, cut - resumed[0]


def cut_off(helper, size):
    """Kills the helper once it has moved enough; returns how much that was."""
    for said in helper.lines():
        moved = said.get("progress", {"bytes": 0})["bytes"]
        if moved >= CUT * size:
            helper.kill()
            return moved
    raise AssertionError(f"it ended before it was cut off: {said}")


def received(world):
    """Returns how many bytes have arrived in whole requests of upload sessions."""
    appends = [request for request in world.requests() if request["path"].endswith("append_v2")]
    return sum(int(request["headers"]["content-length"]) for request in appends)
