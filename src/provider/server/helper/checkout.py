# Looking at the checkout --------------------------------------------------------------------------------


class Checkout:
    """The checkout and all that hangs on it: linked work trees, submodules, repositories nested in it."""

    def __init__(self, place, own, wanted=None, since=None):
        self.place = place
        self.wanted = wanted    # A commit that HEAD may contain.
        self.own = own          # Paths that the artifacts guard answers for.
        self.since = since      # When set-up ended: what is older came with the clone.
        self.answered = set()   # Files that the repo guard answers for.
        self.git_folders = set()
        self.tops = set()       # Work trees that are looked at by themselves.
        self.pointers = {}      # LFS objects by what they are called in the work trees.
        self.tips = []
        self.dirty = []
        self.nested = []
        self.lfs = []
        self.unfinished = []
        self.changed = []       # What differs in the checkout itself: (path, what is said of it).

    def report(self, save=None):
        git = Git(self.place, LOOKING)
        top = git("rev-parse", "--show-toplevel")[:-1]
        if os.path.realpath(top) != self.place:
            raise Failed("git", "it is not the top of its repository, `%s` is" % text(top))
        # The files first, the names last: whatever moves from one to the other meanwhile is seen twice,
        # never missed.
        self.changed = changed = self.look_at_repository(git, b"")
        branch = self.head_branch(git)
        head = git.names("HEAD")
        if head and not branch:
            self.tips.insert(0, {"name": "detached HEAD", "commit": head})
        self.look_at_names(git)
        self.look_at_folder(git)
        remote = git.setting("remote.origin.url")
        return {
            "remote": None if remote is None else text(remote), "head": head, "branch": branch,
            "tips": self.tips, "dirty": self.dirty, "nested": self.nested, "lfs": self.lfs,
            "unfinished": self.unfinished, "contains_wanted": self.contains(git, self.wanted),
            "snapshot": None if save is None else judge_saving(git, self, changed, save),
        }

    def contains(self, git, commit):
        """Tells whether HEAD contains a commit; one that isn't here is not contained."""
        if not is_commit(commit):
            return False
        return git.try_run("merge-base", "--is-ancestor", commit, "HEAD")[0] == 0

    def head_branch(self, git):
        code, name, _ = git.try_run("symbolic-ref", "-q", "HEAD")
        return text(name.strip()).replace("refs/heads/", "", 1) if code == 0 else None

    # Work trees

    def look_at_repository(self, git, shown):
        """Looks at a work tree, what is under way in it, and the trees linked to it."""
        linked = list(linked_trees(git))
        self.tops.update([git.folder] + [place for place, _, _ in linked])
        changed = self.look_at_files(git, shown)
        self.look_at_operation(git, shown)
        for place, commit, detached in linked:
            name = os.path.relpath(place, self.place)
            if detached:
                self.tips.append({"name": "detached HEAD of worktree " + text(place), "commit": commit})
            if os.path.isdir(place):
                tree = Git(place, LOOKING)
                self.look_at_files(tree, name + b"/")
                self.look_at_operation(tree, name)
                self.look_at_names(tree, "refs/bisect", "refs/rewritten", "refs/worktree")
            elif staged_without_tree(git, place):
                # What was staged there outlives its folder, until git forgets the tree.
                self.add_dirty(name, place, "staged")
        return changed

    def look_at_files(self, git, shown):
        """Adds what differs in one work tree, byte for byte; `shown` stands before its paths."""
        self.git_folders.update(git_folders_of(git))
        staged = [tuple(line.split(b"\t", 1)) for line in lines_of(git("ls-files", "-s", "-z"))]
        links = [path for entry, path in staged if entry.startswith(b"160000")]
        files = [(entry.split(b" "), path) for entry, path in staged if not entry.startswith(b"160000")]
        self.answered.update(os.path.join(git.folder, path) for _, path in files)
        skipped = skipped_files(git)
        found = []
        for path, index, tree in plain_status(git):
            place = os.path.join(git.folder, path)
            if tree == b"D" and path in skipped:
                tree = b"."  # A skipped file that isn't there is what a sparse checkout looks like.
            if index == tree == b".":
                continue
            if index == b"?" and path.endswith(b"/"):
                self.look_at_nested(place[:-1], shown + path)
                continue
            if index == b"?" and place in self.own:
                continue
            how = how_changed(index, tree)
            if how == "untracked":
                self.answered.add(place)
            found.append((path, how))
        behind = differing_bytes(git, files, {path for path, _ in found}, self.pointers)
        found.extend((path, "filtered") for path in behind)
        told = [(path, self.add_dirty(shown + path, os.path.join(git.folder, path), how))
                for path, how in found]
        for path in links:
            self.look_at_submodule(os.path.join(git.folder, path), shown + path)
        return told

    def add_dirty(self, shown, place, how):
        try:
            info = os.lstat(place)
            size = None if stat.S_ISDIR(info.st_mode) else info.st_size
        except OSError:
            size = None
        self.dirty.append({"path": text(shown), "how": how, "size": size, "carried": False})
        return self.dirty[-1]

    def look_at_submodule(self, place, shown):
        if not os.path.lexists(os.path.join(place, b".git")):
            return
        inner = Git(place, LOOKING)
        self.look_at_repository(inner, shown + b"/")
        if count_unpushed(inner):
            self.add_dirty(shown, place, "unpushed")

    def look_at_nested(self, place, shown):
        """Looks at a repository that nothing but its place ties to this one."""
        if os.path.realpath(place) in self.tops:
            return
        before = len(self.dirty), len(self.tips), len(self.unfinished)
        about = {"path": text(shown), "unpushed": 0, "changed": 0, "stashes": 0, "broken": None}
        try:
            inner = Git(os.path.realpath(place), LOOKING)
            self.look_at_repository(inner, shown)
            about["unpushed"] = count_unpushed(inner)
            about["stashes"] = len(stash_entries(inner))
        except Failed as failed:
            about["broken"] = "; ".join(failed.why) or failed.kind
        about["changed"] = sum(map(len, (self.dirty, self.tips, self.unfinished))) - sum(before)
        del self.dirty[before[0]:], self.tips[before[1]:], self.unfinished[before[2]:]
        self.nested.append(about)

    def look_at_operation(self, git, shown):
        what = operation(git("rev-parse", "--absolute-git-dir")[:-1])
        if what:
            self.unfinished.append(what + (" in " + text(shown.rstrip(b"/")) if shown else ""))

    # Names

    def look_at_names(self, git, *below):
        form = ("--format=%(refname)%00%(objectname)%00%(objecttype)%00%(*objectname)%00%(*objecttype)"
                "%00%(symref)")
        common, logged = common_folder(git), keeps_logs(git)
        for line in git("for-each-ref", form, *below).splitlines():
            name, thing, kind, peeled, peeled_kind, leads_to = line.split(b"\0")
            if leads_to or name.startswith(b"refs/remotes/") and logged and was_fetched(common, name):
                continue
            if name == b"refs/stash":
                self.look_at_stash(git, thing)
                continue
            commit = peeled if kind == b"tag" else thing
            if kind == b"tag" and peeled_kind == b"tag":
                commit = git("rev-parse", "--verify", "-q", os.fsdecode(name) + "^{}").strip()
            tip = {"name": name_for_people(text(name)), "commit": text(commit)}
            fetched = name.startswith(b"refs/remotes/")
            if fetched and any(tip["commit"] == other["commit"] for other in self.tips):
                continue  # What was pushed from here usually has a name here.
            if name.startswith(b"refs/tags/"):
                tip["tag"] = text(thing)
            self.tips.append(tip)

    def look_at_stash(self, git, newest):
        for number, commit in enumerate(stash_entries(git) or [newest]):
            self.tips.append({"name": "stash@{%d}" % number, "commit": text(commit)})

    # Behind the work trees

    def look_at_folder(self, git):
        """Looks at what the repository itself keeps: submodules that no tree shows, LFS objects."""
        common = common_folder(git)
        for folder in module_folders(os.path.join(common, b"modules")):
            if os.path.realpath(folder) in self.git_folders:
                continue
            inner = git_without_tree(folder)
            if count_unpushed(inner):
                self.add_dirty(os.path.relpath(folder, self.place), folder, "unpushed")
        storage = git.setting("lfs.storage")
        self.lfs = lfs_objects(os.path.join(common, storage or b"lfs"), self.since, self.pointers)


def is_commit(word):
    return bool(word) and re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", word) is not None


def plain_status(git):
    """Yields (path, in the index, in the tree) of what differs, seen with an index that was never told
    anything: no times to trust, no flags, no memory of what isn't tracked."""
    with tempfile.TemporaryDirectory(prefix="dacapo-") as folder:
        plain = git.with_index(os.path.join(folder, "index"))
        plain("update-index", "-z", "--index-info", feed=git("ls-files", "-s", "-z"))
        status = plain("status", "--porcelain=v2", "-z", "--untracked-files=all", "--ignore-submodules=none")
    return parse_status(status)


def parse_status(raw):
    """Reads `git status --porcelain=v2 -z`."""
    fields = iter(lines_of(raw))
    found = []
    for field in fields:
        kind = field[:1]
        if kind == b"?":
            found.append((field[2:], b"?", b"?"))
        elif kind == b"u":
            found.append((field.split(b" ", 10)[10], b"U", b"U"))
        elif kind == b"2":
            found.append((field.split(b" ", 9)[9], b"R", field[3:4]))
            next(fields, None)  # The name before.
        elif kind == b"1":
            found.append((field.split(b" ", 8)[8], field[2:3], field[3:4]))
        elif kind != b"#":
            raise Failed("git", "`git status` said something unknown: %s" % text(field[:80]))
    return found


def how_changed(index, tree):
    words = {b"?": "untracked", b"U": "unmerged", b"R": "renamed"}
    if index in words:
        return words[index]
    if b"D" in (index, tree):
        return "deleted"
    return "modified" if tree != b"." else "staged"


def skipped_files(git):
    """Returns the files that needn't be there, and aren't."""
    flagged = (line[2:] for line in lines_of(git("ls-files", "-v", "-z")) if line[:1] in (b"S", b"s"))
    return {path for path in flagged if not os.path.lexists(os.path.join(git.folder, path))}


def linked_trees(git):
    """Yields (place, commit, whether it is on no branch) of every other work tree."""
    own = git_folders_of(git)
    for block in git("worktree", "list", "--porcelain").split(b"\n\n"):
        words = dict((line.split(b" ", 1) + [b""])[:2] for line in block.splitlines())
        place = words.get(b"worktree")
        if place is None or b"bare" in words:
            continue
        place = os.path.realpath(place)
        # Of a submodule git may name the folder that it is kept in.
        if place != git.folder and place not in own:
            yield place, text(words.get(b"HEAD", b"")), b"detached" in words


def staged_without_tree(git, place):
    """Tells whether a work tree whose folder is gone left something staged."""
    trees = os.path.join(common_folder(git), b"worktrees")
    for name in os.listdir(trees):
        folder = os.path.join(trees, name)
        try:
            with open(os.path.join(folder, b"gitdir"), "rb") as file:
                leads_to = os.path.dirname(file.read().rstrip(b"\n"))
        except OSError:
            continue
        if os.path.realpath(leads_to) == place:
            inner = git_without_tree(folder)
            return inner.try_run("diff-index", "--cached", "--quiet", "HEAD")[0] != 0
    return False


def git_without_tree(folder):
    """Returns git for a repository whose work tree isn't where it says."""
    git = Git(folder, LOOKING)
    git.environment.update(GIT_DIR=os.fsdecode(folder), GIT_WORK_TREE=os.fsdecode(folder))
    return git


def git_folders_of(git):
    own = git("rev-parse", "--absolute-git-dir")[:-1]
    return {os.path.join(git.folder, b".git"), os.path.realpath(own), common_folder(git)}


def common_folder(git):
    return os.path.realpath(os.path.join(git.folder, git("rev-parse", "--git-common-dir")[:-1]))


def module_folders(modules):
    """Yields the git folders of submodules, whatever their names, and of those within them."""
    for folder, inner, files in os.walk(modules):
        if "HEAD" in [text(name) for name in files] and b"objects" in inner:
            yield folder
            inner[:] = [name for name in inner if name == b"modules"]


def count_unpushed(git):
    """Counts commits that no remote was ever seen to have.

    Whoever asks the remote asks that of the session; of others, what was seen there must do.
    """
    return int(git("rev-list", "--count", "--exclude=refs/stash", "--all", "--not", "--remotes")) + len(
        stash_entries(git))


def stash_entries(git):
    if git.try_run("rev-parse", "--verify", "-q", "refs/stash")[0] != 0:
        return []
    code, out, _ = git.try_run("rev-list", "--walk-reflogs", "refs/stash")
    return out.split() if code == 0 else []


def keeps_logs(git):
    return (git.setting("core.logAllRefUpdates") or b"").lower() not in (b"false", b"no", b"off", b"0")


def was_fetched(common, name):
    """Tells whether a remote's branch is as it came from there: not as it was sent, or set by hand."""
    try:
        with open(os.path.join(common, b"logs", name), "rb") as file:
            last = file.read().splitlines()[-1:]
    except (OSError, ValueError):
        return not os.path.lexists(os.path.join(common, name))
    message = last[0].partition(b"\t")[2] if last else b""
    return message.startswith((b"fetch", b"clone", b"pull", b"remote"))


def name_for_people(name):
    starts = (("refs/heads/", "branch "), ("refs/tags/", "tag "), ("refs/remotes/", "remote branch "))
    for start, word in starts:
        if name.startswith(start):
            return word + name[len(start):]
    return name


def operation(folder):
    """Returns what `git` is in the middle of, by the files it keeps for it."""
    signs = (
        (b"rebase-merge", "rebase"), (b"rebase-apply/applying", "am"), (b"rebase-apply", "rebase"),
        (b"MERGE_HEAD", "merge"), (b"CHERRY_PICK_HEAD", "cherry-pick"), (b"REVERT_HEAD", "revert"),
        (b"BISECT_LOG", "bisect"), (b"NOTES_MERGE_PARTIAL", "merge of notes"),
    )
    for sign, name in signs:
        if os.path.lexists(os.path.join(folder, sign)):
            return name
    try:
        with open(os.path.join(folder, b"sequencer", b"todo"), "rb") as todo:
            return "revert" if todo.read(6) == b"revert" else "cherry-pick"
    except OSError:
        return None


