"""Which parts are measured, with what, and on which machine. Started by `benches/run`."""

import argparse
import importlib

from bench import Bench, machine

PARTS = {
    "hash": "hashing",
    "transfers": "transfers",
    "resume": "resume",
    "memory": "memory",
    "many": "many",
}


def main():
    words = argparse.ArgumentParser(prog="benches/run", description="Measures dacapo beside others.")
    words.add_argument("parts", nargs="*", metavar="PART", help="hash, transfers, resume, memory, many; all, if none")
    words.add_argument("--mib", type=int, default=1024, help="the size of the large file")
    words.add_argument("--runs", type=int, default=5, help="how often each is run, in turns")
    words.add_argument("--files", type=int, default=1000, help="how many small artifacts at most")
    words.add_argument("--folder", help="where files and worlds are kept: in memory, if it has the room")
    asked = words.parse_args()
    unknown = [part for part in asked.parts if part not in PARTS]
    if unknown:
        words.error(f"{unknown[0]} is none of {', '.join(PARTS)}")
    print(machine())
    with Bench(asked) as bench:
        for part in asked.parts or PARTS:
            importlib.import_module(PARTS[part]).measure(bench)


if __name__ == "__main__":
    main()
