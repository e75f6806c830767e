"""Steps run in the order of their needs, not twice, and stop at a failure."""

import json
import sys
import threading
import time

import pytest

from cellseg.errors import CellsegError, InputError
from cellseg.recipes import steps as running
from cellseg.recipes.steps import Step, run_steps

SCRIPT = """import os, sys, time
name, code, seconds = sys.argv[1:4]
open(os.environ["NOTES"], "a").write(f"{name} begins\\n")
print(f"this is {name} with {os.environ['OMP_NUM_THREADS']}", flush=True)
time.sleep(float(seconds))
open(os.environ["NOTES"], "a").write(f"{name} ends\\n")
sys.exit(int(code))
"""


@pytest.fixture
def notes(tmp_path, monkeypatch):
    """A project whose only tool notes when it begins and ends; returns what it noted."""
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "note.py").write_text(SCRIPT)
    monkeypatch.setattr(running, "ROOT", tmp_path)
    monkeypatch.setenv("NOTES", str(tmp_path / "notes.txt"))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    return lambda: (tmp_path / "notes.txt").read_text().splitlines() if (tmp_path / "notes.txt").exists() else []


def step(name, *needs, code=0, seconds=0.0):
    return Step(name, f"the step {name}", ("note.py", name, str(code), str(seconds)), needs)


def test_a_step_waits_for_what_it_needs(notes):
    ended = run_steps([step("c", "b", "a"), step("b", "a"), step("a")], jobs=3)
    assert notes() == [f"{name} {what}" for name in "abc" for what in ("begins", "ends")]
    assert [one.step.name for one in ended] == ["a", "b", "c"] and all(one.seconds > 0 for one in ended)


def test_steps_run_beside_each_other_up_to_the_number_of_jobs(monkeypatch):
    now, most, lock = [0], [0], threading.Lock()

    class Process:
        """What is used of a subprocess.Popen; counts how many there are at a time."""

        stdout, returncode = None, 0

        def __init__(self, *args, **kwargs):
            pass

        def __enter__(self):
            with lock:
                now[0] += 1
                most[0] = max(most[0], now[0])
            time.sleep(0.05)
            return self

        def __exit__(self, *error):
            with lock:
                now[0] -= 1

    monkeypatch.setattr(running.subprocess, "Popen", Process)
    for jobs in (1, 2, 3):
        most[0] = 0
        run_steps([step(name) for name in "abcdef"], jobs=jobs)
        assert most[0] == jobs


def test_those_listed_first_begin_first_even_if_they_become_ready_later(notes):
    run_steps([step("a"), step("b", "a"), step("c"), step("d")], jobs=1)
    assert [line for line in notes() if line.endswith("begins")] == [f"{name} begins" for name in "abcd"]


@pytest.mark.parametrize(
    ("cores", "jobs", "shares"), [(8, None, "2 8"), (8, 2, "4 8"), (2, None, "1 2"), (1, 5, "1 1")]
)
def test_steps_share_the_cores(notes, monkeypatch, capfd, cores, jobs, shares):
    monkeypatch.setattr(running, "available_cores", lambda: cores)
    run_steps([*(step(name) for name in "abcd"), step("last", *"abcd")], jobs=jobs)
    out = capfd.readouterr().out
    each, alone = shares.split()
    assert all(f"this is {name} with {each}\n" in out for name in "abcd") and f"this is last with {alone}\n" in out


def test_lines_of_steps_beside_each_other_bear_their_names(notes, monkeypatch, capfd):
    monkeypatch.setattr(running, "available_cores", lambda: 2)
    run_steps([step("a"), step("b"), step("last", "a", "b")])
    out = capfd.readouterr().out
    assert "[a] this is a" in out and "[b] this is b" in out and "\nthis is last" in out


def test_a_failure_ends_it_and_the_one_beside_it_is_waited_for(notes):
    steps = [step("bad", code=3, seconds=0.1), step("good", seconds=0.6), step("next", "bad"), step("other")]
    with pytest.raises(CellsegError, match=r"^the step failed with exit code 3: python tools/note\.py bad 3 0\.1$"):
        run_steps(steps, jobs=2)
    assert sorted(notes()) == ["bad begins", "bad ends", "good begins", "good ends"]


def test_a_recorded_step_does_not_run_again(notes, tmp_path, capfd):
    records = tmp_path / "records"
    steps = [step("a"), step("b", "a")]
    run_steps(steps, records=records)
    assert (records / "a.log").read_text().startswith("$ python tools/note.py a 0 0.0\nthis is a")
    assert json.loads((records / "b.json").read_text())["command"] == ["note.py", "b", "0", "0.0"]
    before = notes()
    capfd.readouterr()
    ended = run_steps(steps, records=records)
    assert notes() == before and [one.seconds for one in ended] == [None, None]
    assert "-- a: done before" in capfd.readouterr().out


def test_what_depends_on_a_step_that_ran_runs_again(notes, tmp_path):
    records = tmp_path / "records"
    run_steps([step("a"), step("b", "a"), step("c")], records=records)
    ended = run_steps([step("a", seconds=0.01), step("b", "a"), step("c")], records=records)
    assert {one.step.name: one.seconds is None for one in ended} == {"a": False, "b": False, "c": True}


def test_a_step_that_failed_is_no_longer_on_record(notes, tmp_path):
    records = tmp_path / "records"
    run_steps([step("a")], records=records)
    with pytest.raises(CellsegError, match=f"its output is in {records / 'a.log'} and ends with: this is a with "):
        run_steps([step("a", code=1)], records=records)
    (ended,) = run_steps([step("a")], records=records)
    assert ended.seconds is not None


@pytest.mark.parametrize(
    ("needs", "words"),
    [({"a": ["x"]}, "step a: needs 'x', which is no step"), ({"a": ["b"], "b": ["a"]}, "need each other in a circle")],
)
def test_needs_that_cannot_be_met(notes, needs, words):
    with pytest.raises(InputError, match=words):
        run_steps([step(name, *own) for name, own in needs.items()])
    assert notes() == []


@pytest.mark.parametrize("jobs", [0, -1])
def test_less_than_one_job(notes, jobs):
    with pytest.raises(InputError, match=f"--jobs {jobs}: expected 1 or more"):
        run_steps([step("a")], jobs=jobs)
    assert notes() == []


def test_commands_are_shown_as_they_can_be_typed():
    assert Step("a", "", ("train.py", "my config.py", "k=(1, 2)")).text == (
        "python tools/train.py 'my config.py' 'k=(1, 2)'"
    )
    assert sys.executable not in Step("a", "", ("train.py",)).text
