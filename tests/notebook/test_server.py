"""The server's side: what is installed and started, what plans and guards know of it, what never shows."""

from pathlib import Path

from project import SPEC, WHEELS, lives, until


def test_it_is_installed_started_and_agreed_with(project):
    project.installed.says("start JupyterLab", "Successfully installed", f"on port {project.port}")
    project.dacapo("plan", "--detailed-exitcode").exits(0).says("nothing to do", "the notebook runs: Jupyter Server 2.")
    project.dacapo("status").exits(0).says("notebook   Jupyter Server 2.")
    home = project.home / ".dacapo/notebook"
    modes = {name: (home / name).stat().st_mode & 0o777 for name in ("token", "config.json", "log", "state.json")}
    assert set(modes.values()) == {0o600}, modes
    assert home.stat().st_mode & 0o777 == 0o700
    # What it wrote by itself is nobody's work.
    project.untouched.says("✓ files", "✓ processes", "a browser may hold unsaved")


def test_the_token_is_in_no_log_no_request_and_no_output(project):
    token = project.token()
    assert token not in (project.home / ".dacapo/notebook/log").read_text()
    for words in ("plan", "plan --json", "status", "status --json", "up --yes --json", "sandbox requests"):
        assert token not in project.dacapo(*words.split()).all, words
    kept = Path(project.folder / ".dacapo/sandbox")
    record = project.dacapo("run", "--", "true").exits(0)
    assert token not in record.all
    holding = [
        path.relative_to(project.home) for path in kept.rglob("*")
        if path.is_file() and "venv" not in path.parts and token.encode() in path.read_bytes()
    ]
    assert all(path.parts[:2] == (".dacapo", "notebook") for path in holding), holding


def test_a_busy_kernel_stands_against_the_end_by_name_and_an_idle_one_does_not(project, page):
    way = project.way()
    page.open(way.first)
    page.new_notebook(project)
    page.run("x = 1")
    page.is_idle()
    name = project.api("/api/sessions")[-1]["path"]
    end = ("plan", "--set", "state=absent")
    until("it is idle", lambda: "✓ processes" in project.dacapo(*end).stdout)
    project.dacapo(*end).says(name)
    page.run("import time; [time.sleep(1) for _ in range(1000)]")
    until("it is busy", lambda: f"kernel of {name}` is at work (busy kernel)" in project.dacapo(*end).stdout)
    project.dacapo("down", "--yes", "--discard", "files:**", "--discard", "repo:untracked").exits(5).says(name)
    project.dacapo("plan").exits(0).says(f"busy: {name}")
    project.dacapo("up", "--yes", "--set", "notebook.directory=data").exits(5).says("kernels run in it", name)
    for kernel in project.api("/api/kernels"):
        project.api(f"/api/kernels/{kernel['id']}/interrupt", body={})
    until("it is idle again", lambda: "✓ processes" in project.dacapo(*end).stdout)
    way.stop()


def test_one_that_was_killed_is_started_again_with_another_token(project):
    way = project.way()
    before, pid = project.token(), project.state()["pid"]
    project.dacapo("run", "--", "kill", "-9", str(pid)).exits(0)
    until("it is gone", lambda: not lives(pid))
    project.dacapo("plan", "--detailed-exitcode").exits(2).says("start JupyterLab", "it has ended")
    project.dacapo("up", "--yes").exits(0)
    assert project.token() != before
    assert way.process.poll() is None, "the way stays open meanwhile"
    way.stop()


def test_packages_beside_it_are_installed_and_another_folder_is_shown(new_project):
    project = new_project().up().with_notebook('directory = "data"\npackages = ["humanize>=4"]\n')
    project.dacapo("up", "--yes").exits(0).says("with humanize>=4", "in data")
    assert [one["name"] for one in project.api("/api/contents")["content"]] == ["iris.csv"]
    python = project.home / ".dacapo/notebook/venv/bin/python"
    project.dacapo("run", "--", str(python), "-c", "import humanize").exits(0)
    first = project.state()["pid"]
    project.with_notebook()
    project.dacapo("plan").exits(0).says("restart JupyterLab", '-directory = "data"')
    project.dacapo("up", "--yes").exits(0)
    assert project.state()["pid"] != first
    second = project.state()["pid"]
    project.write("")
    project.dacapo("up", "--yes").exits(0).says("end the notebook server")
    assert not lives(second)
    project.dacapo("plan", "--detailed-exitcode").exits(0)


def test_without_a_way_to_install_it_the_last_words_of_pip_are_told_and_up_goes_on_later(new_project):
    project = new_project().up(pip=False).with_notebook()
    failed = project.dacapo("up", "--yes").exits(1)
    failed.says("cannot start the notebook server", "`pip install jupyterlab>=4,<5` ended with 1", "No matching distribution")
    project.dacapo("notebook").exits(255).says("doesn't run", "up` starts it")
    project.set_pip(WHEELS)
    project.dacapo("up", "--yes").exits(0)
    project.dacapo("plan", "--detailed-exitcode").exits(0)


def test_a_server_whose_image_runs_jupyter_keeps_it_and_gets_nothing_installed(project, new_project):
    spec = SPEC.replace('["1RTX6000ADA.10V", "1L40S.20V"]', '"1RTX6000ADA.10V"')
    spec = spec.replace("ubuntu-24.04-cuda-13.0-open-docker", "jupyter")
    image = new_project(spec=spec).up()
    token = image.instance()["jupyter_token"]
    assert len(token) == 48
    # What the image would run, as the cloud set it up: with this token, in whatever folder.
    image.home.joinpath("image.json").write_text(
        '{"ServerApp": {"ip": "127.0.0.1", "port": %d, "port_retries": 0, "open_browser": false, "allow_root": true,'
        ' "root_dir": "%s"}, "IdentityProvider": {"token": "%s"}}' % (image.port, image.home, token)
    )
    python = project.home / ".dacapo/notebook/venv/bin/python"
    start = f"setsid {python} -m jupyterlab --config=$HOME/image.json > /dev/null 2>&1 < /dev/null &"
    image.dacapo("run", "--", "sh", "-c", start).exits(0)
    image.with_notebook()
    up = image.dacapo("up", "--yes").exits(0)
    assert token not in up.all
    image.dacapo("plan", "--detailed-exitcode").exits(0).says("which the image runs")
    assert not (image.home / ".dacapo/notebook").exists(), "nothing is installed"
    way = image.way()
    assert way.first.endswith("/lab?token=" + token)
    assert image.api("/api/status", port=int(way.base.rsplit(":", 1)[1]), token=token)["kernels"] == 0
    assert way.stop() == 0
    assert token not in image.dacapo("status", "--json").all
