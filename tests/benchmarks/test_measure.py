"""What is measured is what was done: known amounts of memory, known results, both sides by turns."""

import subprocess
import sys
import textwrap
from types import SimpleNamespace

import pytest
import torch

from cellseg.benchmarks import measure, rows
from cellseg.benchmarks.rows import Row, format_rows
from cellseg.benchmarks.subjects import SUBJECTS, Scale
from cellseg.errors import CellsegError

MIB = 1 << 20

# A subject whose inputs need 300 MiB for a while and keep 50, and whose sides need 64 and 6 MiB and give back none.
MEMORY = """
import sys, types
import numpy as np
from cellseg.benchmarks.measure import measure_memory
from cellseg.benchmarks.subjects import Scale

def touch(mib):
    return np.ones(mib << 20, np.uint8)

def make_inputs(scale):
    touch(300)
    return [touch(1) for _ in range(50)]

def run_cellseg(inputs):
    return touch(6)

def run_alternative(inputs):
    touch(64)
    return touch(10)

fake = types.ModuleType("cellseg.benchmarks.fake")
fake.__dict__.update(make_inputs=make_inputs, run_cellseg=run_cellseg, run_alternative=run_alternative)
sys.modules["cellseg.benchmarks.fake"] = fake
print(measure_memory("fake", sys.argv[1], Scale()))
"""


@pytest.fixture
def fake(monkeypatch):
    """Install a subject of two plain functions; torch's number of threads is put back afterwards."""
    threads = torch.get_num_threads()

    def install(ours, theirs, **more):
        subject = SimpleNamespace(
            make_inputs=lambda scale: scale,
            run_cellseg=ours,
            run_alternative=theirs,
            find_difference=lambda a, b: "" if a == b else f"{a} is not {b}",
            **more,
        )
        monkeypatch.setitem(sys.modules, "cellseg.benchmarks.fake", subject)

    yield install
    torch.set_num_threads(threads)


@pytest.mark.parametrize(("side", "expected"), [("cellseg", 6), ("alternative", 64)])
def test_memory_of_known_size(project_root, side, expected):
    command = [sys.executable, "-c", textwrap.dedent(MEMORY), side]
    done = subprocess.run(command, cwd=project_root, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    # The last block of ballast may rise above the peak by up to 1 MiB, which hides as much of what is measured.
    assert expected - 1.1 <= int(done.stdout) / MIB <= expected + 0.6


def test_memory_can_be_measured_on_less(fake):
    seen = []

    def side(inputs):
        seen.append(inputs)

    fake(side, side, make_memory_inputs=lambda scale: ("less", scale.instances))
    measure.measure_memory("fake", "cellseg", Scale(7))
    assert seen == [("less", 4), ("less", 7)]


def test_sides_are_timed_by_turns(fake, monkeypatch):
    clock, calls, scales = [0.0], [], []

    def side(name, durations):
        def run(inputs):
            assert torch.get_num_threads() == 1
            calls.append(name)
            scales.append(inputs)
            clock[0] += durations.pop(0)
            return "same"

        return run

    monkeypatch.setattr(measure.time, "process_time", lambda: clock[0])
    # The first run of each is on a few cells and is not timed.
    fake(side("ours", [100.0, 1.0, 9.0, 2.0]), side("theirs", [100.0, 30.0, 10.0, 20.0]))
    assert measure.measure_times("fake", Scale(), 3) == (2.0, 20.0, {})
    assert calls == ["ours", "theirs"] * 4
    assert [scale.instances for scale in scales] == [4, 4] + [400] * 6


def test_a_subject_can_measure_more(fake):
    fake(lambda inputs: 1, lambda inputs: 1, measure_more=lambda scale: {"cells": scale.instances})
    assert measure.measure_times("fake", Scale(7), 1).more == {"cells": 7}


def test_a_difference_is_an_error(fake):
    fake(lambda inputs: 1, lambda inputs: 2)
    with pytest.raises(CellsegError, match="^fake: 1 is not 2$"):
        measure.measure_times("fake", Scale(), 1)


def test_ratios():
    row = Row(SUBJECTS["voting"], 0.01, 1.5, 20 * MIB, 500 * MIB)
    assert row.to_dict() == {
        "name": "voting",
        "alternative": SUBJECTS["voting"].alternative,
        "time_ratio": 150.0,
        "memory_ratio": 25.0,
        "milliseconds": 10.0,
        "alternative_milliseconds": 1500.0,
        "peak_mib": 20.0,
        "alternative_peak_mib": 500.0,
        "same_work": True,
        "more": {},
    }
    # What lies below the accuracy of the measurement makes no ratio, neither infinite nor below 1.
    assert Row(SUBJECTS["rle"], 0.01, 0.02, 0, 5 * MIB).memory_ratio == 10.0
    assert Row(SUBJECTS["rle"], 0.01, 0.02, 0, 0).memory_ratio == 1.0


def test_table():
    text = format_rows([Row(SUBJECTS["voting"], 0.01, 1.5, 20 * MIB, 500 * MIB)], Scale())
    assert text.splitlines()[0] == "400 instances, image of 520 x 704 (height x width), one thread"
    assert text.splitlines()[3].split() == "voting 10.0 ms 20.0 MiB 1500.0 ms 500.0 MiB 150.0x 25.0x".split()
    assert text.endswith(f"against {SUBJECTS['voting'].alternative}\n")


def test_table_of_other_work():
    """Of work that is not the same the share is told, and values of its own stand below."""
    more = {"exponent": 1.1, "milliseconds": {"100": 2.5, "200": 5.5}}
    row = Row(SUBJECTS["pipeline"], 0.05, 2.0, 20 * MIB, 80 * MIB, more)
    lines = format_rows([row, Row(SUBJECTS["tuning"], 90.0, 360.0, MIB, MIB)], Scale()).splitlines()
    assert lines[3].split() == "pipeline 50.0 ms 20.0 MiB 2000.0 ms 80.0 MiB 40.0x 4.0x".split()
    assert lines[4].split() == "tuning 1.5 min 1.0 MiB 6.0 min 1.0 MiB 4.0x 1.0x".split()
    assert lines[6] == f"pipeline: {row.subject.work}, against {row.subject.alternative}; 2.5% of its time"
    assert lines[7:9] == ["  exponent: 1.1", "  milliseconds: 100: 2.5, 200: 5.5"]
    assert not lines[9].endswith("of its time")


def test_a_part_of_the_work_counts_for_all_of_it(monkeypatch):
    results = {"measure_times": measure.Times(1.0, 5.0, {"images": 40}), "measure_memory": MIB}
    monkeypatch.setattr(rows, "_in_new_process", lambda function, *arguments: results[function])
    [row] = rows.measure_rows([SUBJECTS["tuning"]], Scale())
    assert (row.seconds, row.alternative_seconds, row.time_ratio) == (1.0, 50.0, 50.0)
    assert row.to_dict()["more"] == {"images": 40}


# Another process imports the function by its module's name, so the module has to lie on the path.
ENDS = """
import os

def die(*arguments):
    os._exit(9)

def take_too_much(*arguments):
    raise MemoryError
"""


@pytest.mark.parametrize("end", ["die", "take_too_much"])
def test_a_killed_process_is_an_error(end, tmp_path, monkeypatch):
    (tmp_path / "ends_of_processes.py").write_text(ENDS)
    monkeypatch.syspath_prepend(tmp_path)
    import ends_of_processes

    monkeypatch.setattr(rows, "_call", getattr(ends_of_processes, end))
    with pytest.raises(CellsegError, match="^voting: the measuring process ran out of memory or was killed; dense"):
        rows.measure_rows([SUBJECTS["voting"]], Scale())


def test_torch_without_memory_is_without_memory(fake):
    def too_large(inputs):
        return torch.empty(1 << 60)

    fake(too_large, too_large)
    with pytest.raises(MemoryError, match="allocate memory"):
        rows._call("measure_times", "fake", Scale(), 1)
