"""Who listens on a port."""

import subprocess

from conversation import PYTHON
from script import PARTS, SERVER

FUNCTIONS = b"".join((SERVER / part).read_bytes() for part in PARTS[:-1]).decode()

# Its socket has a higher number than all that is closed and opened again.
BUSY = """
import os, socket
low = [os.open("/dev/null", os.O_RDONLY) for _ in range(300)]
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    for number in low:
        os.close(number)
    for number in low:
        assert os.open("/dev/null", os.O_RDONLY) == number
"""


def test_whoever_closes_files_while_looked_at_is_found():
    with subprocess.Popen([PYTHON, "-IS", "-c", BUSY], stdout=subprocess.PIPE) as busy:
        try:
            port = int(busy.stdout.readline())
            asking = FUNCTIONS + "\nprint({port_holder(%d) for _ in range(50)})" % port
            asked = subprocess.run(
                [PYTHON, "-IS", "-"], input=asking.encode(), check=True, stdout=subprocess.PIPE
            )
        finally:
            busy.kill()
    assert asked.stdout.decode().strip() == "{%d}" % busy.pid
