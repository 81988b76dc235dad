"""A new user's whole way: clone, rehearse, `init`, `up`, a notebook in the browser, `save`, `down`, `log`, `report`."""

import json
import os
import re
import shutil
import subprocess
import threading

import pytest
from project import PROGRAM, ROOT, WHEELS, Project, until


@pytest.fixture
def lesson(tmp_path):
    project = Project(tmp_path / "lesson3")
    (project.folder / "session.toml").unlink()
    # Their own checkout; what it has is what the rehearsed git host has.
    shutil.copytree(ROOT / "examples/lesson3", project.folder, dirs_exist_ok=True)
    git(project.folder, "init", "-q", "-b", "main")
    git(project.folder, "add", "--", *os.listdir(ROOT / "examples/lesson3"))
    git(project.folder, "-c", "user.name=you", "-c", "user.email=you@example.invalid", "commit", "-q", "-m", "lesson 3")
    git(project.folder, "remote", "add", "origin", "git@github.com:me/lesson3.git")
    yield project
    project.close()


def git(folder, *arguments):
    subprocess.run(["git", *arguments], cwd=folder, check=True, env=dict(os.environ, GIT_CONFIG_GLOBAL="/dev/null"))


def test_the_readmes_first_command_runs_in_a_fresh_clone(tmp_path):
    clone = tmp_path / "dacapo"
    git(tmp_path, "clone", "-q", ROOT, clone)
    command = re.search(r"^```console\n\$ (.*)$", (clone / "README.md").read_text(), re.MULTILINE)[1]
    # What the packages were built to already need not be built again.
    environment = dict(os.environ, CARGO_TARGET_DIR=str(ROOT / "target"))
    try:
        ran = subprocess.run(command, shell=True, cwd=clone, env=environment, capture_output=True, text=True, timeout=900)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert "server     1RTX6000ADA.10V in FIN-03, running" in ran.stdout
        subprocess.run([PROGRAM, "--sandbox", "down", "--yes"], cwd=clone, check=True, capture_output=True)
        bill = subprocess.run([PROGRAM, "sandbox", "bill", "--json"], cwd=clone, check=True, capture_output=True)
        assert json.loads(bill.stdout)["billing"] == []
    finally:
        subprocess.run([PROGRAM, "sandbox", "stop"], cwd=clone, capture_output=True)


def test_from_init_to_the_report(lesson, page):
    asked = ("--artifact", "model=export.pkl", "--store", "dropbox:/fastai/lesson3", "--notebook")
    lesson.dacapo("init", "--yes", *asked).exits(0).says("session `lesson3`")
    file = lesson.folder / "session.toml"
    text = file.read_text()
    # The rehearsed server's loopback is this machine's, where others may have the port.
    section = text.index("\n[notebook]")
    rest = text.index("\n", section + 1) + 1
    file.write_text(f"{text[:rest]}port = {lesson.port}\n{text[rest:]}")

    # Where pip finds JupyterLab without a network has to be there before set-up comes to it.
    settle = threading.Thread(target=lambda: set_pip(lesson))
    settle.start()
    lesson.dacapo("up", "--yes").exits(0).says("running", "notebook", "notebook --open")
    settle.join()
    lesson.dacapo("plan", "--detailed-exitcode").exits(0)

    way = lesson.way()
    page.open(way.first)
    page.new_notebook(lesson)
    page.run("open('export.pkl', 'w').write('a better model')")
    model = lesson.home / "lesson3/export.pkl"
    until("the cell has run on the server", lambda: model.read_bytes() == b"a better model")
    page.is_idle()
    page.save()
    notebook = lesson.home / "lesson3" / lesson.api("/api/sessions")[-1]["path"]
    until("the notebook is saved", lambda: "a better model" in notebook.read_text())
    lesson.dacapo("plan", "--set", "state=absent").exits(0).says("✗ repo", notebook.name, "store model")

    lesson.dacapo("save", "-m", "a better model", "--yes").exits(0).says("on the remote", "stored as")
    assert way.stop() == 0
    lesson.dacapo("down", "--yes").exits(0)
    assert json.loads(lesson.dacapo("sandbox", "bill", "--json").exits(0).stdout)["billing"] == []

    (told,) = json.loads(lesson.dacapo("log", "--json").exits(0).stdout)["sessions"]
    (came, went) = told["code"]
    assert came["commit"] != went["commit"] and told["cost"] > 0
    (before, after) = (side["model"]["version"] for side in told["artifacts"])
    assert before != after
    lesson.dacapo("report", "-o", "report.html").exits(0)
    page.driver.get((lesson.folder / "report.html").as_uri())
    words = page.driver.find_element("tag name", "body").text
    for part in ("Nothing of this session bills.", went["commit"][:10], after, "14 B"):
        assert part in words, words


def set_pip(project):
    """Waits for the server's disk, and tells its pip where to look."""
    disks = project.folder / ".dacapo/sandbox/disks"
    (project.home,) = until("the server has a home", lambda: list(disks.glob("*/home")))
    project.set_pip(WHEELS)
