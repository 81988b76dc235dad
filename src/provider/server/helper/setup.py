# Set-up --------------------------------------------------------------------------------------------------

def set_up_folder(home):
    folder = os.path.join(own_folder(home), b"setup")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    return folder


def read_set_up(home):
    """Returns what is noted of set-up; where that can't be read, no step counts as done."""
    try:
        with open(os.path.join(home, b".dacapo", b"setup", b"state.json"), "rb") as file:
            noted = json.loads(file.read(10000000))
        steps = [{"run": str(step["run"]), "inputs": dict(step["inputs"])} for step in noted["steps"]]
        return {"steps": steps, "broke": noted.get("broke"), "freeze": noted.get("freeze")}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {"steps": [], "broke": None, "freeze": None}


def write_set_up(home, noted):
    folder = set_up_folder(home)
    write_whole(os.path.join(folder, b"state.json"), json.dumps(noted).encode())
    sync_folder(folder)


def sync_folder(folder):
    """Makes the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def look_at_set_up(ask, home, checkout):
    if ask.get("setup") is None:
        return None
    noted = read_set_up(home)
    broke = noted["broke"] and {"run": noted["broke"]["run"], "code": noted["broke"].get("code")}
    inputs = {path: artifact(below(checkout, path), checkout) for path in ask["setup"]}
    return dict(noted, broke=broke, inputs=inputs, packages=frozen(checkout))


# The steps


def run_step(ask, home):
    """Makes sure that a step has run with the inputs as they are; tells whether it had to."""
    only_one(home)
    checkout = checkout_folder(ask, home)
    steps, position = ask["steps"], ask["position"]
    noted = read_set_up(home)
    end_left_behind(noted)
    inputs = read_inputs(ask, checkout)
    if [step["run"] for step in noted["steps"][:position]] != steps[:position]:
        raise Failed("changed", "the steps before it are no longer those that ran here")
    done = noted["steps"][:position + 1]
    if len(done) > position and done[-1] == {"run": steps[position], "inputs": inputs}:
        return False
    mark = Mark(ask, home, checkout)
    note = {"steps": noted["steps"][:position], "broke": None, "freeze": None}

    def begun(process):
        # From here on it counts as begun; the steps behind it have to run again in any case.
        note["broke"] = {"run": steps[position], "code": None, "process": process}
        write_set_up(home, note)

    command = ["/bin/sh", "-c", steps[position]]
    code, last = run_logged(command, checkout, ask["limit"], log_of(home, position), begun, mark)
    mark.move()
    if code:
        note["broke"] = {"run": steps[position], "code": code}
        write_set_up(home, note)
        raise Failed("step_failed", "it ended with exit code %d; its last words:" % code, *last or ["none"])
    note.update(steps=note["steps"] + [{"run": steps[position], "inputs": inputs}], broke=None)
    if position == len(steps) - 1:
        note["freeze"] = frozen(checkout)
    write_set_up(home, note)
    return True


def checkout_folder(ask, home):
    checkout = os.path.realpath(below(home, ask["checkout"]))
    if not os.path.isdir(checkout):
        raise Failed("missing", "there is no folder `%s`" % ask["checkout"])
    return checkout


def read_inputs(ask, checkout):
    inputs = {}
    for path in ask["inputs"]:
        seen = artifact(below(checkout, path), checkout)
        if seen["state"] != "file":
            why = seen.get("why") or "there is no such file in the checkout"
            raise Failed("input", "`%s`: %s" % (path, why))
        inputs[path] = seen["content"]
    return inputs


def end_left_behind(noted):
    """Ends a step whose helper was killed: it must not be at work twice."""
    process = (noted["broke"] or {}).get("process")
    try:
        pid, started = process
        is_it = stat_of("/proc/%d" % pid)[2] == started
    except (OSError, IndexError, ValueError, TypeError):
        return
    if is_it:
        end_group(pid, signal.SIGKILL)


