"""The page in the browser: a cell is run, its file is on the server, the way there is cut and comes back."""

import json
import os
import threading
from pathlib import Path

from page import QUIET
from project import until


def test_a_cell_that_is_run_in_the_browser_writes_its_file_on_the_server(project, page):
    way = project.way()
    page.open(way.first)
    page.new_notebook(project)
    page.run("open('from-the-browser.txt', 'w').write('hello from a cell')")
    file = project.home / "lesson3/from-the-browser.txt"
    until("the file is on the server", lambda: file.exists() and file.read_text() == "hello from a cell")
    page.save()
    notebook = project.home / "lesson3" / project.api("/api/sessions")[-1]["path"]
    until("the notebook is saved", lambda: "from a cell" in notebook.read_text())
    assert way.stop() == 0


def test_a_way_that_is_cut_comes_back_and_the_page_goes_on(project, page):
    way = project.way()
    page.open(way.first)
    page.new_notebook(project)
    page.run("value = 6")
    page.is_idle()
    project.faults({"ssh": {"refuse": True, "cut": {}}})
    way.says("the connection is gone")
    way.says("no connection yet")
    project.faults({})
    way.says("the connection is back")
    page.run("open('after-the-cut.txt', 'w').write(str(value * 7))")
    file = project.home / "lesson3/after-the-cut.txt"
    until("the same kernel goes on", lambda: file.exists() and file.read_text() == "42")
    assert way.stop() == 0


def test_open_starts_the_browser_which_gets_there_and_no_argument_shows_the_token(project, tmp_path):
    dom, script = tmp_path / "dom.html", tmp_path / "browser"
    options = " ".join(f"'{option}'" for option in (*QUIET, f"--user-data-dir={tmp_path / 'data'}"))
    # The program that is started stays until it has drawn the page.
    script.write_text(f"#!/bin/sh\nchromium {options} --dump-dom --timeout=20000 \"$1\" > '{dom}' 2>/dev/null\n")
    script.chmod(0o755)
    token, seen, done = project.token(), [], threading.Event()

    def watch():
        while not done.is_set():
            seen.extend(shown_by_processes(token))

    watcher = threading.Thread(target=watch)
    watcher.start()
    way = project.way("--open", BROWSER=str(script))
    until("the page is drawn", lambda: dom.exists() and "jupyter-config-data" in dom.read_text())
    done.set()
    watcher.join()
    assert seen == []
    assert way.stop() == 0


def shown_by_processes(token):
    """Names every process of this machine whose arguments or variables hold the token."""
    found = []
    for folder in (Path("/proc") / name for name in os.listdir("/proc") if name.isdigit()):
        for part in ("cmdline", "environ"):
            try:
                if token.encode() in (folder / part).read_bytes():
                    found.append((folder.name, part, (folder / "cmdline").read_bytes()))
            except OSError:
                continue
    return found


def test_the_address_is_one_json_line_where_that_is_asked_for(project):
    way = project.way("--json")
    told = json.loads(way.first)
    assert (told["version"], told["session"]) == (1, "lesson3")
    assert told["url"] == f"http://127.0.0.1:{told['port']}/lab?token={project.token()}"
    assert way.stop() == 0
