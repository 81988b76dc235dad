# Bringing the repo --------------------------------------------------------------------------------------


def clone(ask, home):
    place = below(home, ask["path"])
    part = place + b".dacapo-part"
    only_one(home)
    way = ssh_command(home, ask["known_hosts"])
    if os.path.lexists(place) and not empty_folder(place):
        return already_there(place, ask)
    check_agent(ask["url"])
    remove(part)
    os.makedirs(os.path.dirname(place), exist_ok=True)
    git = Git(os.path.dirname(place))
    git.environment["GIT_SSH_COMMAND"] = way
    try:
        ask_remote(git, "clone", "--branch", ask["branch"], "--config", "core.sshCommand=" + way, "--",
                   ask["url"], part)
        brought = settle(Git(part), ask)
        if os.path.lexists(place):
            os.rmdir(place)
        os.rename(part, place)
    except BaseException:
        remove(part)
        raise
    return brought


def already_there(place, ask):
    """A clone that was carried out before is done; anything else at its place is not ours to touch."""
    try:
        checkout = Checkout(os.path.realpath(place), set()).report()
    except (Failed, OSError) as failed:
        why = failed.why if isinstance(failed, Failed) else [failed.strerror]
        raise Failed("occupied", "something else lies at `%s`" % ask["path"], *why) from None
    if checkout["remote"] != ask["url"]:
        other = spoken((checkout["remote"] or "nothing").encode())
        raise Failed("occupied", "`%s` is a checkout of `%s`" % (ask["path"], other))
    if not checkout["head"]:
        raise Failed("occupied", "`%s` is a checkout without a commit" % ask["path"])
    return {"commit": checkout["head"], "branch": checkout["branch"]}


def settle(git, ask):
    """Puts a fresh clone on the wanted commit, says who commits there, and reads back what it is."""
    branch, commit = ask["branch"], ask.get("commit")
    if commit:
        on_remote(git, commit, branch)
        git("checkout", "-q", "-B", branch, commit, limit=3600)
    for key, value in (("user.name", ask.get("user_name")), ("user.email", ask.get("user_email"))):
        if value:
            git("config", key, value)
    return state_of(git)


def state_of(git):
    head = text(git("rev-parse", "--verify", "-q", "HEAD^{commit}").strip())
    return {"commit": head, "branch": text(git("rev-parse", "--abbrev-ref", "HEAD").strip())}


def on_remote(git, commit, branch):
    code, _, err = git.try_run("merge-base", "--is-ancestor", commit, "refs/remotes/origin/" + branch)
    if code != 0:
        words = "the remote's branch `%s` doesn't hold the commit %s" % (branch, commit[:12])
        raise Failed("no_commit", words, spoken(err))


def fast_forward(ask, home):
    place = os.path.realpath(below(home, ask["path"]))
    only_one(home)
    checkout = Checkout(place, set())
    report = checkout.report()
    if report["branch"] != ask["branch"]:
        raise Failed("other_branch", "the checkout is on %s" % (
            "the branch `%s`" % report["branch"] if report["branch"] else "no branch"))
    if report["unfinished"]:
        raise Failed("dirty", "a %s is under way" % report["unfinished"][0])
    in_the_way = [entry["path"] for entry in report["dirty"] if entry["how"] != "untracked"]
    if in_the_way:
        raise Failed("dirty", "changed: " + ", ".join(in_the_way[:5]) + (" …" if in_the_way[5:] else ""))
    git = Git(place)
    way = ssh_command(home, ask["known_hosts"])
    git.environment["GIT_SSH_COMMAND"] = way
    git.environment.pop("GIT_OPTIONAL_LOCKS")
    check_agent(report["remote"] or "")
    ask_remote(git, "fetch", "--quiet", "origin")
    on_remote(git, ask["to"], ask["branch"])
    if git.try_run("merge-base", "--is-ancestor", ask["to"], "HEAD")[0] == 0:
        return state_of(git)
    if git.try_run("merge-base", "--is-ancestor", "HEAD", ask["to"])[0] != 0:
        raise Failed("diverged", "the checkout has commits that the remote's branch doesn't have")
    # Ignored files are somebody's too; by default a merge overwrites them without a word.
    careful = ("merge", "--quiet", "--ff-only", "--no-overwrite-ignore")
    code, out, err = git.try_run(*careful, ask["to"], limit=3600)
    if code != 0:
        raise Failed("dirty", spoken(err) or spoken(out))
    return state_of(git)


def ask_remote(git, *arguments):
    """Runs a git command that talks to the remote; its refusals get a kind."""
    code, _, err = git.try_run(*arguments, limit=3600)
    if code == 0:
        return
    words = text(err)
    signs = (
        ("Host key verification failed", "git_host_key"), ("Permission denied (", "git_denied"),
        ("Remote branch", "no_branch"), ("couldn't find remote ref", "no_branch"),
        ("Authentication failed", "git_denied"), ("could not read Username", "git_denied"),
        ("Could not resolve host", "git"), ("Connection", "git"),
        ("No space left", "disk_full"), ("ot found", "no_repo"), ("does not exist", "no_repo"),
        ("does not appear to be a git repository", "no_repo"),
    )
    raise Failed(next((kind for sign, kind in signs if sign in words), "git"), spoken(err))


def ssh_command(home, lines):
    """Keeps the git hosts' keys here and returns the ssh that believes nothing else."""
    path = os.path.join(own_folder(home), b"known_hosts")
    write_whole(path, "".join(line.rstrip("\n") + "\n" for line in lines).encode())
    # ssh splits this option at blanks even inside one shell word: the quotes are for ssh itself.
    quoted = shlex.quote('UserKnownHostsFile="%s"' % os.fsdecode(path).replace("%", "%%"))
    return " ".join(("ssh -o", quoted,
                     "-o GlobalKnownHostsFile=/dev/null -o StrictHostKeyChecking=yes -o BatchMode=yes",
                     "-o ConnectTimeout=20 -o ServerAliveInterval=15"))


def over_ssh(url):
    return url.startswith(("ssh://", "git+ssh://", "ssh+git://")) or (
        "://" not in url and ":" in url.split("/", 1)[0])


def check_agent(url):
    if not over_ssh(url) or not shutil.which("ssh-add"):
        return
    code, _, err = run(["ssh-add", "-l"], limit=30)
    if code:
        raise Failed("agent_empty" if code == 1 else "agent_absent", spoken(err) or "the agent holds no key")


def empty_folder(place):
    try:
        return not os.path.islink(place) and not os.listdir(place)
    except OSError:
        return False


def remove(place):
    if os.path.isdir(place) and not os.path.islink(place):
        shutil.rmtree(place)
    elif os.path.lexists(place):
        os.unlink(place)


