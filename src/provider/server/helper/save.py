# Saving what the remote doesn't have --------------------------------------------------------------------

LARGEST_SAVED = 100 * 1000 * 1000
# File names that mean credentials, and folders that hold them; what stands here is part of the README.
CREDENTIAL_NAMES = (
    "*.key", "*.keystore", "*.jks", "*.kdbx", "*.p12", "*.pem", "*.pfx", "*.ppk", "*.tfvars", "*credentials*",
    "*secret*", ".boto", ".dockercfg", ".env", ".env.*", ".envrc", ".git-credentials", ".htpasswd", ".netrc",
    ".npmrc", ".pgpass", ".pypirc", ".s3cfg", "_netrc", "id_dsa*", "id_ecdsa*", "id_ed25519*", "id_rsa*",
    "kaggle.json", "rclone.conf", "service-account*.json", "service_account*.json",
)
CREDENTIAL_FOLDERS = frozenset((".aws", ".azure", ".docker", ".gnupg", ".kube", ".ssh"))
HARMLESS_NAMES = ("*.pub", "*.example", "*.sample", "*.template")


def refusal(path, size, named):
    """Says why a file isn't pushed unless it is named; none where it may be."""
    shown = text(path)
    if any(shown == name or shown.startswith(name.rstrip("/") + "/") for name in named):
        return None
    *folders, name = shown.lower().split("/")
    harmless = any(fnmatch.fnmatchcase(name, pattern) for pattern in HARMLESS_NAMES)
    telling = any(fnmatch.fnmatchcase(name, pattern) for pattern in CREDENTIAL_NAMES)
    if telling and not harmless or CREDENTIAL_FOLDERS.intersection(folders):
        return "its name is one that credentials have"
    if size is not None and size > LARGEST_SAVED:
        return "it is larger than 100 MB"
    return None


def judge_saving(git, checkout, changed, named):
    """Says of everything whether saving takes it along; returns the commit that would hold what differs."""
    for tip in checkout.tips:
        tip["refused"] = refused_within(git, tip["commit"], named)
    snapshot = Snapshot(git, changed, named)
    return snapshot.made(git)[0] if snapshot.carries() else None


def refused_within(git, commit, named):
    """Finds what isn't to be pushed in what a push of the commit would bring."""
    listed = git("rev-list", "--objects", commit, "--not", "--remotes").splitlines()
    paths = dict(line.split(b" ", 1) for line in listed if b" " in line)
    if not paths:
        return None
    sizes = git("cat-file", "--batch-check=%(objectname) %(objecttype) %(objectsize)",
                feed=b"".join(name + b"\n" for name in paths))
    for line in sizes.splitlines():
        name, kind, size = line.split(b" ")
        why = refusal(paths[name], int(size), named) if kind == b"blob" else None
        if why:
            return "`%s` in it: %s" % (text(paths[name]), why)
    return None


class Snapshot:
    """A commit of what differs from HEAD, and below it one of the index where that is a third state.

    It is made of bytes as they lie there, whatever git's filters would make of them, and always the same of
    the same bytes: so its name tells whether anything has changed, and where it is, they are safe.
    """

    def __init__(self, git, changed, named):
        self.head = git.names("HEAD")
        nothing = git("hash-object", "-t", "tree", "--stdin", feed=b"")
        self.base = (git("rev-parse", self.head + "^{tree}") if self.head else nothing).strip()
        self.none = b"0" * len(self.base)
        self.paths = []
        self.staged = {}
        if any(entry["how"] == "unmerged" for _, entry in changed):
            return  # Half a merge is in no tree.
        for path, entry in changed:
            self.judge(git, path, entry, named)
        self.stage(git, dict(changed), named)

    def carries(self):
        return bool(self.paths or self.staged)

    def judge(self, git, path, entry, named):
        place = os.path.join(git.folder, path)
        if os.path.lexists(place):
            entry["refused"] = refusal(path, entry["size"], named)
        folder = os.path.isdir(place) and not os.path.islink(place)
        entry["carried"] = not entry.get("refused") and (not folder or entry["how"] == "staged")
        if entry["carried"] and not folder:
            self.paths.append(path)

    def stage(self, git, entries, named):
        fields = iter(lines_of(git("diff-index", "--cached", "--raw", "-z", "--no-renames", text(self.base))))
        for field in fields:
            _, mode, _, blob, how = field.split(b" ")
            path = next(fields)
            if how == b"D":
                self.staged[path] = (b"0", self.none)
            elif entries[path]["carried"]:
                # What was staged may be another thing than what lies there.
                size = 0 if mode == b"160000" else int(git("cat-file", "-s", text(blob)))
                why = refusal(path, size, named)
                if why:
                    entries[path].update(refused=why, carried=False)
                    self.paths = [other for other in self.paths if other != path]
                else:
                    self.staged[path] = (mode, blob)

    def lines(self, git, write):
        """Yields what to put into an index so that its tree is as the work tree is."""
        for path in self.paths:
            place = os.path.join(git.folder, path)
            try:
                info = os.lstat(place)
            except FileNotFoundError:
                yield b"0 " + self.none + b"\t" + path
                continue
            if stat.S_ISLNK(info.st_mode):
                mode, name = b"120000", written(git, os.readlink(place), write)
            elif stat.S_ISREG(info.st_mode):
                mode = b"100755" if info.st_mode & 0o100 else b"100644"
                name = git("hash-object", *(["-w"] if write else []), "--no-filters", "--", path).strip()
            else:
                raise Failed("changed", "`%s` is no file any more" % text(path))
            yield mode + b" " + name + b"\t" + path

    def made(self, git, write=False):
        """Makes the commit; returns its name and its tree's. Only `write` leaves anything behind."""
        with tempfile.TemporaryDirectory(prefix="dacapo-") as folder:
            git = git.with_index(os.path.join(folder, "index"))
            if not write:
                keep_apart(git, folder)
            git("read-tree", text(self.base))
            put = [mode + b" " + name + b"\t" + path for path, (mode, name) in self.staged.items()]
            index = tree_with(git, put)
            tree = tree_with(git, list(self.lines(git, write)))
            parents = [self.head] if self.head else []
            if index not in (self.base, tree):
                parents = parents + [commit_of(git, index, parents, "What was staged", self.head)]
            return commit_of(git, tree, parents, "What lay in the work tree", self.head), text(tree)


def keep_apart(git, folder):
    """Has git write its objects elsewhere, and read those that are there."""
    objects = git("rev-parse", "--git-path", "objects")[:-1]
    there = os.path.join(git.folder, objects).replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    apart = os.path.join(folder, "objects")
    os.mkdir(apart)
    git.environment.update(GIT_OBJECT_DIRECTORY=apart,
                           GIT_ALTERNATE_OBJECT_DIRECTORIES='"%s"' % os.fsdecode(there))


def written(git, data, write):
    return git("hash-object", *(["-w"] if write else []), "--stdin", feed=data).strip()


def tree_with(git, lines):
    git("update-index", "-z", "--index-info", feed=b"".join(line + b"\0" for line in sorted(lines)))
    return git("write-tree", "--missing-ok").strip()


def commit_of(git, tree, parents, words, dated_by):
    """Makes a commit that is the same whenever it is made: dated as the one that it is based on."""
    date = "@0 +0000"
    if dated_by:
        committer = next(line for line in git("cat-file", "commit", dated_by).splitlines()
                         if line.startswith(b"committer "))
        date = "@%s +0000" % text(committer.split(b" ")[-2])
    for who in ("AUTHOR", "COMMITTER"):
        git.environment.update({"GIT_%s_NAME" % who: "dacapo", "GIT_%s_EMAIL" % who: "dacapo@localhost",
                                "GIT_%s_DATE" % who: date})
    options = [word for parent in parents for word in ("-p", parent)]
    return text(git("-c", "i18n.commitEncoding=UTF-8", "commit-tree", *options, text(tree),
                    feed=words.encode()).strip())


def save(ask, home):
    """Pushes what differs and what the remote lacks to one new branch; nothing that was here changes."""
    place = os.path.realpath(below(home, ask["path"]))
    only_one(home)
    own = {below(place, path) for path in ask["artifacts"]}
    checkout = Checkout(place, own | {path + b".dacapo-part" for path in own})
    report = checkout.report(ask["named"])
    if report["remote"] != ask["url"]:
        raise Failed("occupied", "`%s` is a checkout of another repo" % ask["path"])
    known = {(tip["name"], tip["commit"]) for tip in report["tips"] if not tip["refused"]}
    if report["snapshot"] != ask["snapshot"] or not known.issuperset(map(tuple, ask["tips"])):
        raise Failed("changed", "what is to be saved has changed since it was planned")
    git = Git(place, LOOKING)
    commit = saved_commit(git, checkout, ask)
    pushing = Git(place)
    pushing.environment["GIT_SSH_COMMAND"] = ssh_command(home, ask["known_hosts"])
    check_agent(ask["url"])
    tags = ["%s:refs/tags/%s/%s" % (thing, ask["branch"], name) for name, thing in ask["tags"]]
    branch = ["%s:refs/heads/%s" % (commit, ask["branch"])] if commit else []
    ask_remote(pushing, "push", "--quiet", "--atomic", "--no-follow-tags", "--recurse-submodules=no", "--",
               ask["url"], *branch, *tags)
    return commit


def saved_commit(git, checkout, ask):
    """Returns the one commit that leads to all that is to be saved."""
    leads = [commit for _, commit in ask["tips"] if git("cat-file", "-t", commit).strip() == b"commit"]
    tree = None
    if ask["snapshot"]:
        made, tree = Snapshot(git, checkout.changed, ask["named"]).made(git, write=True)
        if made != ask["snapshot"]:
            raise Failed("changed", "what is to be saved has changed since it was planned")
        leads.insert(0, made)
    leads = list(dict.fromkeys(leads))
    if len(leads) < 2:
        return leads[0] if leads else None
    tree = tree or text(git("rev-parse", (git.names("HEAD") or leads[0]) + "^{tree}").strip())
    words = "Saved from the server before its end\n\n" + "".join(
        "%s %s\n" % (commit, name) for name, commit in ask["tips"])
    return commit_of(git, tree, leads, words, leads[0])


