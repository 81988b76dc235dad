# Going on where an earlier run ended --------------------------------------------------------------------


class Journal:
    """Which blocks have been moved, a line each, so that the next run goes on from there.

    What it claims is checked or harmless: a line that a crash tore off only means moving a block again.
    """

    def __init__(self, place, about):
        self.place = place
        self.about = about
        self.descriptor = None

    def read(self):
        """Returns the lines of an earlier run about the same thing; none when there was no such run."""
        try:
            with open(self.place, "rb") as file:
                lines = file.read(16000000).split(b"\n")[:-1]
        except OSError:
            return None
        told = []
        for line in lines:
            try:
                told.append(json.loads(line))
            except ValueError:
                break
        return told[1:] if told[:1] == [self.about] else None

    def begin(self, lines):
        """Opens the journal for more, behind these lines."""
        raw = b"".join(json.dumps(line).encode() + b"\n" for line in [self.about] + lines)
        write_whole(self.place, raw)
        self.descriptor = os.open(self.place, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)

    def note(self, line):
        os.write(self.descriptor, json.dumps(line).encode() + b"\n")

    def close(self):
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


