"""Push and pull of a large file over modelled links: ours, and the official SDK one by one and at once."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import ours
from bench import MIB, in_turns, middle, table, verdict
from laptop import Laptop

CONNECTIONS = 8
CAP = 20_000_000
LINKS = {
    f"round trip 30 ms, {CAP // 1_000_000} MB/s a connection": f"rtt=30ms,rate={CAP // 1_000_000}MB",
    "round trip 30 ms, no cap": "rtt=30ms",
}


def measure(bench):
    home = bench.home("home")
    bench.file(home / "large")
    for number, (words, link) in enumerate(LINKS.items()):
        with bench.world(f"world-{number}", "--link", link) as world:
            over_a_link(bench, world, home, words, CAP * CONNECTIONS if "rate" in link else None)


def over_a_link(bench, world, home, words, cap):
    laptop = Laptop(world)
    reading = []
    names = (f"/large-{number}" for number in itertools.count())
    there = next(names)
    ours.push(laptop, home, "large", there)

    def push():
        path = next(names)
        read, moved = ours.push(laptop, home, "large", path)
        laptop.delete(path)
        reading.append(read)
        return moved

    def pull():
        seconds = ours.pull(laptop, bench.home("other"), "large", there)
        assert (bench.folder / "other" / "large").stat().st_size == bench.size
        return seconds

    times = in_turns(bench.runs, {
        "push, ours": push,
        "push, SDK, one by one": lambda: vendor(world, "push", 0, home / "large", next(names)),
        f"push, SDK, {CONNECTIONS} at once": lambda: vendor(world, "push", CONNECTIONS, home / "large", next(names)),
        "pull, ours": pull,
        "pull, SDK, one by one": lambda: vendor(world, "pull", 0, bench.folder / "pulled", there),
        f"pull, SDK, {CONNECTIONS} at once": lambda: vendor(world, "pull", CONNECTIONS, bench.folder / "pulled", there),
    })
    rows = []
    for name, took in times.items():
        base = middle(times[name.split(",")[0] + ", ours"])
        rate = bench.size / 1e6 / middle(took)
        rows.append([name, f"{middle(took):.2f}", f"{min(took):.2f}", f"{rate:.0f}", f"{middle(took) / base:.2f}"]
                    + ([f"{bench.size / middle(took) / cap:.3f}"] if cap else []))
    head = ["", "median s", "best s", "MB/s", "× ours"] + (["of connections × cap"] if cap else [])
    table(f"{bench.size // MIB} MiB, {words}, {bench.runs} runs each, in turns", head, rows)
    print(f"  before each push of ours the file is read and hashed: median {middle(reading):.2f} s;")
    print(f"  the world held at most {world.memory() // MIB} MiB\n")
    goals = []
    for what in ["push", "pull"]:
        mine = middle(times[f"{what}, ours"])
        if cap:
            part = bench.size / mine / cap
            goals.append([f"{what} ≥ 0.95 of connections × cap", f"{part:.3f}", verdict(part >= 0.95, "0.95")])
        else:
            best = min(middle(took) for name, took in times.items() if name.startswith(what) and "SDK" in name)
            goals.append([f"{what} no slower than the fastest SDK", f"{best / mine:.2f}", verdict(mine <= best, "1")])
    table("goals", ["", "", ""], goals)


def vendor(world, what, workers, file, path):
    command = [sys.executable, Path(__file__).with_name("vendor.py"), what, str(workers), file, path]
    told = subprocess.run(command, input=json.dumps(world.ready), check=True, stdout=subprocess.PIPE, text=True)
    if what == "pull":
        os.unlink(file)
    return float(told.stdout)
