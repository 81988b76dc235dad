# git ------------------------------------------------------------------------------------------------------

# What a look overrides: settings that could hide work, and hooks, which are no business of a look's.
LOOKING = (
    "core.hooksPath=/dev/null", "core.fileMode=true", "core.symlinks=true", "core.ignoreCase=false",
    "core.sparseCheckout=false", "core.untrackedCache=false", "core.splitIndex=false",
)


class Git:
    """git in one work tree, deaf to the caller's environment."""

    def __init__(self, folder, settings=()):
        self.folder = folder
        self.settings = [word for setting in settings for word in ("-c", setting)]
        self.environment = git_environment()
        # Without a ceiling, a plain folder inside a home that is itself a repository would answer for it.
        self.environment["GIT_CEILING_DIRECTORIES"] = os.fsdecode(os.path.dirname(folder))

    def with_index(self, path):
        """Returns the same git with another index."""
        other = Git(self.folder)
        other.settings = self.settings
        other.environment = dict(self.environment, GIT_INDEX_FILE=os.fsdecode(path))
        return other

    def try_run(self, *arguments, **options):
        command = ["git", "-c", "safe.directory=*", "-c", "core.fsmonitor=false",
                   "-c", "core.quotePath=false", "-c", "gc.auto=0",
                   "-c", "maintenance.auto=false"] + self.settings
        try:
            code, out, err = run(command + list(arguments), self.environment, cwd=self.folder, **options)
            # A version manager's stand-in says so by its exit code.
            if code == 127:
                raise Failed("no_git", spoken(err) or "git is not installed")
            return code, out, err
        except FileNotFoundError:
            if shutil.which("git"):
                raise
            raise Failed("no_git", "git is not installed") from None

    def __call__(self, *arguments, **options):
        code, out, err = self.try_run(*arguments, **options)
        # git leaves out what it can't read, warns and calls it a success.
        unread = b"warning: could not open" in err or b"warning: ignoring broken" in err
        if code != 0 or unread:
            raise Failed("git", spoken(err) or "`git %s` ended with %d" % (text(arguments[0]), code))
        return out

    def names(self, name):
        """Returns the commit that a name stands for; none where there is no such name."""
        code, out, _ = self.try_run("rev-parse", "--verify", "-q", name + "^{commit}")
        return text(out.strip()) if code == 0 else None

    def setting(self, key):
        code, out, _ = self.try_run("config", "--get", key)
        return out[:-1] if code == 0 else None


def git_environment():
    chosen = ("GIT_CONFIG_NOSYSTEM", "GIT_CONFIG_GLOBAL")  # Which settings are read, not what to work on.
    kept = {name: value for name, value in os.environ.items()
            if name in chosen or not name.startswith("GIT_")}
    # Replaced objects and grafts would tell of another history than the one that is there.
    kept.update(GIT_OPTIONAL_LOCKS="0", GIT_TERMINAL_PROMPT="0", LC_ALL="C.UTF-8", LANGUAGE="C",
                GIT_NO_REPLACE_OBJECTS="1", GIT_GRAFT_FILE="/dev/null")
    return kept


def spoken(err):
    """git's own last words, in one line, without what a URL may carry."""
    words = re.sub(r"//[^/@\s:]*:[^/@\s]*@", "//****@", text(err))
    lines = [line.strip() for line in re.split(r"[\r\n]+", words)]
    noise = ("Cloning into", "hint:", "remote: Enumerating")
    return "; ".join([line for line in lines if line and not line.startswith(noise)][-6:])


def lines_of(raw):
    return [line for line in raw.split(b"\0") if line]


