# The mark, and what set-up itself has made -------------------------------------------------------------

# Where installers put what can be had again: files that appear here while set-up runs again are set-up's.
INSTALLED = (
    ".local/lib/**", ".local/bin/**", ".local/include/**", ".local/share/jupyter/**", ".local/etc/jupyter/**",
    ".conda/**", "miniconda3/**", "miniforge3/**", "anaconda3/**",
)


class Mark:
    """Moves the mark that tells new files from old past what a step has made, where that hides nobody's work.

    Nothing may be newer than the mark when the step begins. Until set-up has ended once, that is enough:
    before it nobody works here. Later somebody may be at work while the step runs; then whatever is newer
    afterwards must lie where installers put things, and no program may be at work before or after. Otherwise
    the mark stays where it is, and the step's files are listed as new.
    """

    def __init__(self, ask, home, checkout):
        self.ask, self.home, self.checkout = ask, home, checkout
        self.set_up = read_marker(home)[1]
        self.moving = threading.Lock()
        self.may_move = self.nothing_new(ask["disposable"])

    def nothing_new(self, disposable):
        since = read_marker(self.home)[0]
        if since is None:
            return False
        places = {below(self.checkout, path) for path in self.ask["artifacts"].values()}
        own = places | {place + b".dacapo-part" for place in places}
        checkout = Checkout(self.checkout, own, None, since)
        report = look_at_checkout(checkout, below(self.home, self.ask["checkout"])) or {}
        if report.get("broken") or report.get("lfs"):
            return False
        if new_files(self.home, since, checkout, dict(self.ask, disposable=disposable)) != ([], 0):
            return False
        if not self.set_up:
            return True
        notebook, _ = look_at_notebook({}, self.home)
        return not processes(self.home, self.checkout, since, gpu_processes(), notebook)

    def move(self):
        if not self.may_move:
            return
        if self.set_up:
            folder = re.sub(r"([*?\[\]{}\\])", r"\\\1", self.ask["checkout"])
            own = [folder + "/.venv/**", folder + "/venv/**"]
            if not self.nothing_new(self.ask["disposable"] + list(INSTALLED) + own):
                return
        with self.moving:
            set_marker(self.home, self.set_up)

    def watch(self, pid):
        """Sees to it that a step which ends with this connection leaves no more than one that fails."""
        def settle():
            end = time.monotonic() + 2
            while not has_ended(pid) and time.monotonic() < end:
                time.sleep(0.02)
            self.moving.acquire()  # The end of everything follows.
            set_marker(self.home, False)

        if self.may_move and not self.set_up:
            at_the_end.append(settle)

    @staticmethod
    def unwatch():
        at_the_end.clear()


