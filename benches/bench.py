"""What all parts share: a place for files, worlds, runs in turns, and the tables."""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = Path(os.environ["DACAPO"])
MIB = 1024 * 1024

sys.path.insert(0, str(ROOT / "tests" / "conformance"))
from world import World  # noqa: E402


class Bench:
    """A folder for everything that the benchmarks make, gone with them."""

    def __init__(self, asked):
        self.size = asked.mib * MIB
        self.runs = asked.runs
        self.files = asked.files
        # A disk is slower than what is measured here: it would make all of them equal.
        memory = Path("/dev/shm")
        room = memory.is_dir() and shutil.disk_usage(memory).free > 6 * self.size + 512 * MIB
        parent = asked.folder or (memory if room else ROOT / "target")
        self.folder = Path(tempfile.mkdtemp(prefix="dacapo-bench-", dir=parent))
        print(f"files and worlds: {'in memory' if parent == memory else parent}\n", flush=True)
        if parent == memory:
            touch_memory(self.folder / "touched", 4 * self.size)

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        shutil.rmtree(self.folder, ignore_errors=True)

    def home(self, name):
        """Returns an empty home directory."""
        home = self.folder / name
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir()
        return home

    def file(self, place, size=None):
        """Makes a file of bytes that no gzip makes smaller, the same in each run."""
        import random

        source = random.Random(size)
        left = size or self.size
        with open(place, "wb") as file:
            while left:
                file.write(source.randbytes(min(left, MIB)))
                left -= min(left, MIB)
        return place

    def world(self, name, *options, clock_speed=1.0):
        """Starts a world, whose clock runs like ours where nothing else is said."""
        return Served(self.folder / name, clock_speed, options)


def touch_memory(place, size):
    """Has the memory that will be used handed to this machine, if it is a virtual one: that takes its time,
    which would be counted against whoever comes first."""
    with open(place, "wb") as file:
        for _ in range(size // MIB):
            file.write(bytes(MIB))
    os.unlink(place)


class Served(World):
    """A world that ends with its block."""

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        self.stop()

    def memory(self):
        return most_memory(self.process.pid)


def most_memory(process):
    """Returns the most memory that a running process has held so far, in bytes; 0 when it is gone."""
    try:
        words = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0
    found = [line.split()[1] for line in words.splitlines() if line.startswith("VmHWM:")]
    return int(found[0]) * 1024 if found else 0


def in_turns(runs, contestants):
    """Runs each contestant once, then each again; returns the seconds of each one's runs.

    Whatever else the machine does at times is then no one's bad luck alone. A contestant returns its own
    seconds, or none if its whole call counts.
    """
    times = {name: [] for name in contestants}
    for turn in range(runs):
        order = list(contestants) if turn % 2 == 0 else list(reversed(contestants))
        for name in order:
            began = time.monotonic()
            seconds = contestants[name]()
            times[name].append(seconds if seconds is not None else time.monotonic() - began)
    return times


def table(title, head, rows):
    """Prints a table whose first column is text."""
    print(title)
    rows = [head] + [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    for row in rows:
        cells = [cell.ljust(width) if not at else cell.rjust(width) for at, (cell, width) in enumerate(zip(row, widths))]
        print("  " + "  ".join(cells).rstrip())
    print(flush=True)


def verdict(reached, goal):
    return "reached" if reached else f"MISSED: {goal}"


def middle(times):
    return statistics.median(times)


def machine():
    """Says on what this was measured."""
    words = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in words if line.startswith("model name")), "unknown CPU")
    sha = "with SHA-NI" if any("sha_ni" in line for line in words) else "without SHA-NI"
    load = os.getloadavg()[0]
    return f"machine: {len(os.sched_getaffinity(0))} cores, {model}, {sha}; load {load:.1f} when it began"


def environment(folder):
    """Returns what the program finds around it, whose home is a folder of ours."""
    return {"PATH": os.environ["PATH"], "HOME": str(folder)}


def program(folder, *arguments):
    """Runs the program in a project's folder, in the world below it."""
    command = [PROGRAM, "--sandbox=world", *arguments]
    ran = subprocess.run(command, cwd=folder, env=environment(folder), stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT)
    assert ran.returncode == 0, ran.stdout.decode()[-3000:]
