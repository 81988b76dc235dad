"""The most memory of helper and laptop while large files are moved and hashed: constant in the files' size."""

import subprocess
import time

import ours
from bench import MIB, PROGRAM, most_memory, table, verdict
from laptop import Laptop

MOST = 64 * MIB


def measure(bench):
    sizes = [bench.size // 16, bench.size // 4, bench.size]
    rows = {"helper, hash": [], "helper, push": [], "helper, pull": [], "dacapo hash": []}
    with bench.world("world") as world:
        laptop = Laptop(world)
        for size in sizes:
            home = bench.home("home")
            place = bench.file(home / "large", size)
            path = f"/large-{size}"
            packing = ours.Helper(home, ours.packing("large"))
            packed = packing.result()
            session = laptop.session()
            sending = ours.send(laptop, home, "large", packed, session)
            sending.result()
            laptop.finish(session, size, path)
            fetching = ours.fetch(laptop, bench.home("other"), "large", path)
            fetching.result()
            rows["helper, hash"].append(packing.memory)
            rows["helper, push"].append(sending.memory)
            rows["helper, pull"].append(fetching.memory)
            rows["dacapo hash"].append(while_it_runs(PROGRAM, "hash", place))
        held = world.memory()
    head = ["most memory in MiB, by the file's size"] + [f"{size // MIB} MiB" for size in sizes] + [""]
    table("memory", head, [
        [name] + [f"{most / MIB:.0f}" for most in found] + [verdict(max(found) <= MOST, f"{MOST // MIB}")]
        for name, found in rows.items()
    ])
    print(f"  the world held at most {held // MIB} MiB\n")


def while_it_runs(*command):
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    most = 0
    while process.poll() is None:
        most = max(most, most_memory(process.pid))
        time.sleep(0.002)
    return most
