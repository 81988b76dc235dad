# Saving now: a commit of what differs, pushed to its branch -------------------------------------------------


def commit(ask, home):
    """Commits exactly the files that were agreed on, and pushes the branch; nothing else is touched.

    Carried out before it is done: without a difference there is no commit, and a branch that is pushed
    stays so.
    """
    place = os.path.realpath(below(home, ask["path"]))
    only_one(home)
    own = {below(place, path) for path in ask["artifacts"]}
    checkout = Checkout(place, own | {path + b".dacapo-part" for path in own})
    report = checkout.report(ask["named"])
    if report["remote"] != ask["url"]:
        raise Failed("occupied", "`%s` is a checkout of another repo" % ask["path"])
    if report["branch"] != ask["branch"]:
        raise Failed("other_branch", "the checkout is on %s" % (
            "the branch `%s`" % report["branch"] if report["branch"] else "no branch"))
    if report["unfinished"]:
        raise Failed("dirty", "a %s is under way" % report["unfinished"][0])
    paths = [path for path, entry in checkout.changed if entry["carried"] and entry["how"] != "filtered"]
    if sorted(map(text, paths)) != sorted(ask["files"]):
        raise Failed("changed", "what is to be saved has changed since it was planned")
    git = Git(place)
    git.environment["GIT_SSH_COMMAND"] = ssh_command(home, ask["known_hosts"])
    git.environment.pop("GIT_OPTIONAL_LOCKS")
    check_agent(ask["url"])
    put_in(git, paths, ask["message"])
    push_branch(git, ask)
    return state_of(git)


def put_in(git, paths, message):
    git("update-index", "--add", "--remove", "--replace", "-z", "--stdin",
        feed=b"".join(path + b"\0" for path in paths), limit=3600)
    if git.names("HEAD") and git.try_run("diff-index", "--cached", "--quiet", "HEAD")[0] == 0:
        return
    # The user's own hooks take part, as they would by hand.
    code, out, err = git.try_run("commit", "--quiet", "--file=-", feed=message.encode(), limit=3600)
    if code:
        raise Failed("git", spoken(err) or spoken(out) or "`git commit` ended with %d" % code)


def push_branch(git, ask):
    """Pushes without force; a remote that has moved on refuses, and nothing is merged here."""
    name = "HEAD:refs/heads/" + ask["branch"]
    try:
        ask_remote(
            git, "push", "--quiet", "--no-follow-tags", "--recurse-submodules=no", "--", ask["url"], name)
    except Failed as failed:
        if any("[rejected]" in line for line in failed.why):
            raise Failed("diverged", "the remote's branch has commits that the checkout lacks", *failed.why)
        raise
    # So that git there knows, too.
    ask_remote(git, "fetch", "--quiet", "origin")


