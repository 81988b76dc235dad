"""What the helper holds in memory doesn't grow with the file: measured as its peak of resident memory."""

from data import pattern
from laptop import content_hash
from test_pack import PLACE, discard, pack
from test_upload import Upload

SMALL = 8 * 1024 * 1024
LARGE = 400 * 1024 * 1024
# Some buffers and threads more than a small file has need for. (The lists of digests: 3 KB for the large one.)
BOUND = 32 * 1024 * 1024


def peak(home, ask):
    for _ in range(20):
        helper = home.start(ask)
        result = helper.result()
        # Hashing says one line: whoever says it may be gone before it is looked at.
        if helper.peak or ask["op"] != "hash":
            break
    assert helper.peak > 5_000_000
    if ask["op"] == "pack":
        home.ask(discard(result))
    return helper.peak


def test_memory_does_not_grow_with_the_file(home, laptop):
    peaks = {}
    for size in (SMALL, LARGE):
        file = Upload(home, laptop, pattern(size))
        peaks["upload", size] = peak(home, file.ask())
        made = laptop.finish(file.session, size, f"/{size}").json()
        assert made["content_hash"] == file.packed["stored"]
        home.ask(discard(file.packed))
        peaks["pack", size] = peak(home, pack())
        ask = {
            "op": "pull",
            "path": f"lesson3/{size}",
            "secret": laptop.link(f"/{size}"),
            "stored": made["content_hash"],
            "stored_size": size,
            "gzip": False,
            "payload": made["content_hash"],
            "replaces": None,
        }
        peaks["pull", size] = peak(home, ask)
        assert home.path(f"lesson3/{size}").stat().st_size == size
        peaks["hash", size] = peak(home, {"op": "hash", "paths": {"it": f"lesson3/{size}"}})
    for what in ("upload", "pack", "pull", "hash"):
        grown = peaks[what, LARGE] - peaks[what, SMALL]
        print(
            f"{what}: {peaks[what, SMALL] >> 20} MiB for {SMALL >> 20}, {peaks[what, LARGE] >> 20} MiB for {LARGE >> 20}"
        )
        assert grown < BOUND, (what, peaks)
    assert content_hash(home.read(PLACE)) == file.packed["stored"]
