"""The helper as it goes over the wire: joined and started the way the Rust side says, read from its source."""

import os
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SERVER = ROOT / "src" / "provider" / "server"
EXCHANGE = (SERVER / "exchange.rs").read_text()

PARTS = re.findall(r'include_str!\("(helper/\w+\.py)"\)', EXCHANGE)
SOURCE = b"".join((SERVER / part).read_bytes() for part in PARTS)


def arguments():
    """Returns what stands behind `python3`, as `python_arguments` has it."""
    start = re.search(r'let start = format!\("([^"]+)", HELPER\.len\(\)\);', EXCHANGE).group(1)
    options = re.search(r'\[("-IS"\.into\(\), "-c"\.into\(\), start)\]', EXCHANGE).group(1)
    assert options.count(",") == 2, "the way that the helper is started has changed"
    return ["-IS", "-c", start.replace("{}", str(len(SOURCE)))]


if __name__ == "__main__":
    os.write(1, SOURCE)
