# Running other programs ---------------------------------------------------------------------------------

children = set()
held = []  # The lock's descriptor: programs we start keep it too, so that a killed helper's git still counts.


def run(command, environment=None, limit=600, cwd=None, feed=None):
    """Runs a program to its end; returns its exit code, output and error output."""
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE if feed is not None else subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env=environment, cwd=cwd, start_new_session=True, pass_fds=held)
    children.add(process.pid)
    try:
        end = time.monotonic() + limit
        while True:
            try:
                out, err = process.communicate(feed, timeout=2)
                return process.returncode, out, err
            except subprocess.TimeoutExpired:
                feed = None
                talk.alive()
                if time.monotonic() > end:
                    raise Failed("timeout", "`%s` took more than %d s" % (text(command[0]), limit))
    finally:
        children.discard(process.pid)
        if process.poll() is None:
            end_group(process.pid, signal.SIGKILL)
            process.wait()


def end_group(group, how):
    try:
        os.killpg(group, how)
        return True
    except (ProcessLookupError, PermissionError):
        return False


