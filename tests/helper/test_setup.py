"""Set-up's steps by themselves: what is noted, what is kept of their words, and what may move the mark."""

import json
import os

from conversation import until


def step(home, run, position=0, **more):
    home.path("lesson3").mkdir(exist_ok=True)
    steps = run if isinstance(run, list) else [run]
    ask = {"op": "run_step", "checkout": "lesson3", "artifacts": {}, "disposable": [], "limit": 60}
    return dict(dict(ask, steps=steps, position=position, inputs=[]), **more)


def noted(home):
    return json.loads(home.read(".dacapo/setup/state.json"))


def test_a_step_runs_once_with_one_content_of_its_inputs(home):
    ask = step(home, "echo ran >> ../.cache-of-mine", inputs=["needs.txt"])
    assert home.refused(ask).kind == "input"
    home.write("lesson3/needs.txt", b"1")
    assert [home.ask(ask), home.ask(ask)] == [True, False]
    home.write("lesson3/needs.txt", b"2")
    assert home.ask(ask) is True
    assert home.read(".cache-of-mine") == b"ran\n" * 2


def test_a_failed_step_is_noted_as_such_with_its_code(home):
    error = home.refused(step(home, "echo the last words; exit 3"))
    assert (error.kind, "exit code 3" in error.why, "the last words" in error.why) == ("step_failed", True, True)
    assert noted(home)["broke"] == {"run": "echo the last words; exit 3", "code": 3}
    assert noted(home)["steps"] == []


def test_a_step_killed_by_a_signal_has_its_code_and_its_shell_no_options(home):
    assert "exit code 143" in home.refused(step(home, "kill -TERM $$")).why


def test_a_step_out_of_turn_is_refused(home):
    assert home.refused(step(home, ["true", "true"], position=1)).kind == "changed"
    assert home.ask(step(home, ["true", "true"])) is True
    assert home.ask(step(home, ["true", "true"], position=1)) is True
    assert [one["run"] for one in noted(home)["steps"]] == ["true", "true"]
    assert noted(home)["freeze"] is not None


def test_a_step_that_takes_too_long_ends_with_what_it_started(home):
    run = "sleep 600 & echo $! > ../pid; echo waiting; wait"
    error = home.refused(step(home, run, limit=1))
    assert (error.kind, "waiting" in error.why) == ("step_timeout", True)
    pid = int(home.read("pid"))
    until(lambda: not os.path.exists("/proc/%d" % pid) or ") Z" in open("/proc/%d/stat" % pid).read())


def test_a_step_ends_with_whoever_asked_for_it(home):
    asked = home.start(step(home, "echo $$ > ../pid; echo begun; sleep 600"))
    asked.wait_for(lambda line: line.get("said") == "begun")
    assert asked.hang_up() == 1
    pid = int(home.read("pid"))
    until(lambda: not os.path.exists("/proc/%d" % pid) or ") Z" in open("/proc/%d/stat" % pid).read())
    assert noted(home)["broke"]["code"] is None


def test_a_step_cannot_have_more_words_than_are_kept(home):
    asked = home.start(step(home, "yes 0123456789 | head -n 1000000"))
    assert asked.result() is True
    assert len(asked.said("said")) == 2001
    kept = sum(home.path(".dacapo/setup/" + name).stat().st_size for name in ("1.log", "1.log.1"))
    assert 4 << 20 <= kept <= 8 << 20


def test_a_broken_note_is_none(home):
    assert home.ask(step(home, "true")) is True
    home.write(".dacapo/setup/state.json", b'{"steps": 1}')
    assert home.ask(step(home, "true")) is True
