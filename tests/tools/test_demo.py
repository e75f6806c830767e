"""tools/demo.py: its steps are commands that a user could type."""

import subprocess
import sys
from pathlib import Path

import pytest

from cellseg.recipes import steps as running

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def demo(load):
    return load("demo")


@pytest.fixture
def steps(demo):
    return demo.steps(demo.build_parser().parse_args(["--out", "work dirs/x", "--data", "data/y", "--seed", "3"]))


def test_every_step_is_understood_by_its_tool(steps, parse):
    tools = [step.command[0] for step in steps]
    assert tools == [
        "prepare_data.py",
        *["train.py"] * 3,
        "tune_ensemble.py",
        "ensemble_infer.py",
        "compare.py",
        "evaluate.py",
    ]
    options = [parse(step.command) for step in steps]
    prepare, mask_rcnn, yolox, upernet, tune, infer, compare, evaluate = options
    assert (prepare.form, prepare.out, prepare.seed, prepare.num_images) == ("synthetic", "data/y", 3, 120)
    for training in (yolox, mask_rcnn, upernet):
        assert "data_root=data/y" in training.cfg_options and "seed=3" in training.cfg_options
        assert (PROJECT / training.config).is_file()
    # Each step reads what an earlier one wrote.
    dirs = [training.work_dir for training in (yolox, mask_rcnn, upernet)]
    for ensemble in (tune, infer, compare):
        assert (PROJECT / ensemble.config).is_file()
        assert ensemble.cfg_options == ["data_root=data/y", *(f"members.{i}.work_dir={d}" for i, d in enumerate(dirs))]
    assert tune.out == infer.weights == compare.weights
    assert infer.input == "data/y:test" and evaluate.predictions == f"{infer.out}/submission.csv"
    assert evaluate.truth == "data/y/splits/fold0/test.csv"


def test_members_of_the_ensemble_stand_in_the_order_of_the_trainings(demo):
    from mmengine.config import Config

    members = Config.fromfile(str(PROJECT / "configs" / "demo" / "ensemble.py")).members
    assert tuple(member["type"] for member in members) == demo.MEMBERS


@pytest.fixture
def runs(demo, monkeypatch):
    """Notes the commands instead of running them; the one whose tool is in ``codes`` fails."""
    calls, codes = [], {}

    class Process:
        """What is used of a subprocess.Popen."""

        def __init__(self, command, cwd, env, stdout=None, stderr=None, text=None):
            calls.append((command, cwd, env))
            self.returncode = codes.get(command[1], 0)
            self.stdout = iter(["first\n", "second\n"]) if stdout == subprocess.PIPE else None

        def __enter__(self):
            return self

        def __exit__(self, *error):
            return None

    monkeypatch.setattr(running.subprocess, "Popen", Process)
    monkeypatch.setattr(sys, "argv", ["demo.py"])
    return calls, codes


def test_runs_every_step_with_this_interpreter_in_the_project(demo, runs, capsys):
    calls, _ = runs
    assert demo.main([]) == 0
    expected = demo.steps(demo.build_parser().parse_args([]))
    # The trainings begin in any order.
    assert sorted(command for command, *_ in calls) == sorted(
        [sys.executable, f"tools/{step.command[0]}", *step.command[1:]] for step in expected
    )
    tools = [call[0][1] for call in calls]
    assert tools[:5] == [f"tools/{step.command[0]}" for step in expected][:5] and tools[-1] == "tools/evaluate.py"
    assert {cwd for _, cwd, _ in calls} == {PROJECT}
    out = capsys.readouterr().out
    assert "1/8 synthetic phase-contrast images\n$ python tools/prepare_data.py synthetic --out data/demo" in out
    assert "submission: work_dirs/demo/result/submission.csv" in out and " s  in all" in out


def test_commands_are_printed_as_they_can_be_typed(demo, runs, capsys):
    assert demo.main(["--out", "work dirs/x"]) == 0
    assert "--work-dir 'work dirs/x/yolox'" in capsys.readouterr().out


@pytest.mark.parametrize(("cores", "threads"), [(1, "1"), (2, "1"), (3, "1"), (8, "2")])
def test_trainings_share_the_cores(demo, runs, capsys, monkeypatch, cores, threads):
    calls, _ = runs
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(running, "available_cores", lambda: cores)
    assert demo.main([]) == 0
    half = str(max(cores // 2, 1))
    shares = {"tools/train.py": threads, "tools/ensemble_infer.py": half, "tools/compare.py": half}
    for command, _, environment in calls:
        assert environment["OMP_NUM_THREADS"] == shares.get(command[1], str(cores))
    lines = capsys.readouterr().out.splitlines()
    for name in demo.MEMBERS:
        own = [line for line in lines if line.startswith(f"[{name}] ")]
        assert own == ([f"[{name}] first", f"[{name}] second"] if cores > 1 else [])


def test_the_users_own_number_of_threads_is_kept(demo, runs, monkeypatch):
    calls, _ = runs
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert demo.main([]) == 0
    assert {environment["OMP_NUM_THREADS"] for *_, environment in calls} == {"5"}


def test_a_training_that_fails_ends_the_demo(demo, runs, capsys):
    calls, codes = runs
    codes["tools/train.py"] = 2
    assert demo.main([]) == 2
    assert "tools/tune_ensemble.py" not in [call[0][1] for call in calls]
    assert "failed with exit code 2: python tools/train.py configs/demo/" in capsys.readouterr().err


@pytest.mark.parametrize("code", [1, 2, -9])
def test_a_step_that_fails_ends_the_demo(demo, runs, capsys, code):
    calls, codes = runs
    codes["tools/tune_ensemble.py"] = code
    assert demo.main([]) == 2
    assert calls[-1][0][1] == "tools/tune_ensemble.py" and len(calls) == 5
    printed = capsys.readouterr()
    command = f"python tools/tune_ensemble.py {' '.join(calls[-1][0][2:])}\n"
    assert printed.err == f"demo.py: error: the step failed with exit code {code}: {command}"
    assert "== done" not in printed.out


def test_a_real_failing_step_ends_the_demo(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.txt").write_text("not the demo's")
    command = [sys.executable, "tools/demo.py", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "error: the step failed with exit code 2: python tools/prepare_data.py synthetic" in done.stderr
    assert (tmp_path / "data" / "mine.txt").read_text() == "not the demo's"
