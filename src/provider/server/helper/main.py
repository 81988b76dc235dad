# Commands of the user's ---------------------------------------------------------------------------------


def run_file(ask, home):
    if not re.fullmatch(r"[0-9a-f]{16,64}", ask["run"]):
        raise Failed("bad_request", "not the name of a run")
    return os.path.join(own_folder(home), b"run-" + ask["run"].encode())


def outcome(ask, home):
    """Says how a command of `run` ended, and forgets it; null while it runs or when it is unknown."""
    path = run_file(ask, home)
    try:
        with open(path, "rb") as file:
            words = file.read(100).split()
    except FileNotFoundError:
        return None
    if words[:1] != [b"exit"]:
        return None
    os.unlink(path)
    return int(words[1])


def interrupt(ask, home):
    """Ends a command of `run` with everything in its process group, politely first."""
    path = run_file(ask, home)
    # The command may have been started only just now.
    for _ in range(40):
        if os.path.exists(path):
            break
        time.sleep(0.05)
    try:
        with open(path, "rb") as file:
            words = file.read(100).split()
    except FileNotFoundError:
        return None
    if words[:1] != [b"group"]:
        return None
    group = int(words[1])
    # The command may end at the first signal and leave others of its group behind: what a shell starts
    # with `&` ignores SIGINT.
    for how, patience in ((signal.SIGINT, 3), (signal.SIGTERM, 5), (signal.SIGKILL, 2)):
        end_group(group, how)
        end = time.monotonic() + patience
        while end_group(group, 0):
            if time.monotonic() > end:
                break
            talk.alive()
            time.sleep(0.05)
        else:
            return None
    return None


OPERATIONS = {
    "hello": hello, "probe": probe, "clone": clone, "fast_forward": fast_forward, "pull": pull, "pack": pack,
    "push": push, "push_session": push_session, "discard_pack": discard_pack, "hash": hash_paths,
    "finish_set_up": finish_set_up, "outcome": outcome, "interrupt": interrupt,
    "surroundings": surroundings, "save": save, "commit": commit,
    "run_step": run_step, "install_packages": install_packages,
    "start_notebook": start_notebook, "stop_notebook": stop_notebook, "notebook_address": notebook_address,
}


def answer(ask):
    try:
        return {"result": OPERATIONS[ask["op"]](ask, home_folder())}
    except Failed as failed:
        return complaint(failed.kind, *failed.why)
    except OSError as error:
        kind = "disk_full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "os"
        where = ": `%s`" % text(error.filename) if error.filename else ""
        return complaint(kind, (error.strerror or type(error).__name__) + where)
    except Exception as error:  # Whatever it is, the other side must hear of it.
        line = error.__traceback__
        while line.tb_next:
            line = line.tb_next
        return complaint("bug", "%s in line %d: %s" % (type(error).__name__, line.tb_lineno, error))


def complaint(kind, *why):
    return {"error": {"kind": kind, "why": [secret.without(line) for line in why]}}


def main():
    """Answers requests one after the other, each in a process of its own, until nobody asks any more.

    So none finds a lock, a secret or a thread of the one before it. The next one may be sent when `ready`
    is said: until then the answering process may still read what comes.
    """
    while True:
        line = sys.stdin.buffer.readline()
        if not line:
            return
        ask = json.loads(line)
        if "nonce" not in ask:
            continue  # A secret that came too late for the one before.
        talk.nonce = ask["nonce"]
        living, life = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(life)
            serve(ask, living)
        os.close(living)
        status = os.waitpid(child, 0)[1]
        os.close(life)
        if status:
            os._exit(1)
        # What was read ahead of the process that answered was its to hear.
        sys.stdin = open(0, closefd=False)
        talk.say(ready=None)


def serve(ask, parent):
    threading.Thread(target=end_with, args=(parent,), daemon=True).start()
    if ask.get("secret"):
        secret.values.append(ask.pop("secret"))
    threading.Thread(target=listen, daemon=True).start()
    talk.say(**answer(ask))
    os._exit(0)  # A thread that waits for a line, or for a silent program, must not hold up the end.


def end_with(parent):
    """Ends this process with the one that started it, whose end nobody else would tell."""
    os.read(parent, 1)
    leave()


if __name__ == "__main__":
    main()
