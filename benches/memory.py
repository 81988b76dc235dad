"""The most memory of helper and laptop while large files are moved and hashed: constant in the files' size."""

import subprocess
import time

import ours
from bench import MIB, PROGRAM, ROOT, environment, most_memory, program, table, verdict
from laptop import Laptop

MOST = 64 * MIB


def measure(bench):
    sizes = [bench.size // 16, bench.size // 4, bench.size]
    rows = {"helper, hash": [], "helper, push": [], "helper, pull": [], "dacapo hash": [],
            "dacapo artifacts push": [], "dacapo artifacts pull": []}
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
    whole_program(bench, sizes, rows["dacapo artifacts push"], rows["dacapo artifacts pull"])
    head = ["most memory in MiB, by the file's size"] + [f"{size // MIB} MiB" for size in sizes] + [""]
    table("memory", head, [
        [name] + [f"{most / MIB:.0f}" for most in found] + [verdict(max(found) <= MOST, f"{MOST // MIB}")]
        for name, found in rows.items()
    ])
    print(f"  the world held at most {held // MIB} MiB\n")


def whole_program(bench, sizes, pushing, pulling):
    """Moves files between a server and the store, and watches what runs on the laptop."""
    folder = bench.home("session")
    (folder / "session.toml").write_text((ROOT / "session.toml").read_text().replace('"gzip"', '"none"'))
    with bench.world("session/world"):
        program(folder, "up", "--yes")
        for size in sizes:
            place = bench.file(bench.folder / "large", size)
            program(folder, "run", "--", "cp", place, "export.pkl")
            push, pull = [(PROGRAM, "--sandbox=world", "artifacts", way, "--yes") for way in ("push", "pull")]
            pushing.append(while_it_runs(*push, cwd=folder, env=environment(folder)))
            program(folder, "run", "--", "rm", "export.pkl")
            pulling.append(while_it_runs(*pull, cwd=folder, env=environment(folder)))
            program(folder, "run", "--", "cmp", place, "export.pkl")
        program(folder, "down", "--yes")


def while_it_runs(*command, **options):
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, **options)
    most = 0
    while process.poll() is None:
        most = max(most, most_memory(process.pid))
        time.sleep(0.002)
    assert process.returncode == 0, command
    return most
