"""tools/run_recipe.py: its commands are ones that a user could type, and it runs what is missing."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
RECIPES = sorted((PROJECT / "configs" / "recipes").glob("*.py"))


def run(*arguments):
    command = [sys.executable, "tools/run_recipe.py", *map(str, arguments)]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=900)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_dry_run_prints_commands_that_the_tools_understand(path, parse):
    where = ("--data", "some data", "--out", "o", "--folds", 2, "--seeds", 5)
    done = run(path, *where, "--amp", "--device", "cpu", "--dry-run")
    assert (done.returncode, done.stderr) == (0, "")
    lines = [shlex.split(line) for line in done.stdout.splitlines()]
    assert all(line[0] == "python" for line in lines)
    for line in lines:
        options = parse([line[1].removeprefix("tools/"), *line[2:]])
        if "cfg_options" in options:
            assert {"data_root=some data", "fold=2"} <= set(options.cfg_options)
            assert (PROJECT / options.config).is_file()
    assert {line[1] for line in lines} >= {"tools/train.py", "tools/tune_ensemble.py", "tools/compare.py"}


def test_a_mistake_in_the_recipe_is_one_line(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("folds = [0]\n")
    done = run(path, "--out", tmp_path / "out")
    assert (done.returncode, done.stderr) == (2, f"run_recipe.py: error: {path}: data_root is missing\n")
    assert not (tmp_path / "out").exists()


def test_data_that_is_not_there_is_said_before_anything_runs(tmp_path):
    done = run(RECIPES[0], "--data", tmp_path / "none", "--out", tmp_path / "out")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"run_recipe.py: error: {tmp_path}/none: not a data folder")
    assert not (tmp_path / "out").exists()


def test_a_fold_that_is_not_there_is_said_before_anything_runs(blob_data, tmp_path):
    done = run(RECIPES[0], "--data", blob_data, "--folds", 0, 9, "--out", tmp_path / "out")
    assert (done.returncode, done.stdout) == (2, "") and "fold 9" in done.stderr
    assert done.stderr.count("\n") == 1 and not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_whole_recipe_and_what_a_second_run_leaves_out(tmp_path):
    synthetic = ["--out", tmp_path / "data", "--num-images", 18, "--height", 96, "--width", 96, "--folds", 3]
    prepare = [sys.executable, "tools/prepare_data.py", "synthetic", *map(str, synthetic)]
    subprocess.run(prepare, cwd=PROJECT, check=True, capture_output=True)
    path = tmp_path / "mine.py"
    path.write_text(
        f"""
data_root = {str(tmp_path / "data")!r}
folds = [0]
seeds = [0]
short = {{"view": (96, 96), "iterations": 12, "batch_size": 2, "train_cfg.val_interval": 12, "warm_up": 4}}
trainings = dict(
    first=dict(config="configs/upernet/upernet_small.py", options=short),
    second=dict(config="configs/upernet/upernet_flow_small.py", options=short),
)
ensembles = dict(
    alone=dict(config={str(tmp_path / "alone.py")!r}, members=["first"], budget=10),
    both=dict(config={str(tmp_path / "both.py")!r}, members=["first", "second"], budget=10),
)
del short
"""
    )
    names = dict(alone=["first"], both=["first", "second"])
    for name, members in names.items():
        specs = [dict(type="upernet", name=member, work_dir="x") for member in members]
        (tmp_path / f"{name}.py").write_text(f"data_root = 'x'\nfold = 0\nmembers = {specs}\n")
    out = tmp_path / "out"
    done = run(path, "--out", out)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "9 steps, 0 of them done before" in done.stdout
    pooled = json.loads((out / "ensembles" / "pooled.json").read_text())
    assert [row["name"] for row in pooled["rows"]] == ["alone", "both"] and pooled["folds"] == 1
    assert (out / "both" / "pooled.md").read_text() in done.stdout
    again = run(path, "--out", out)
    assert again.returncode == 0 and "9 steps, 9 of them done before" in again.stdout
    # A setting of one ensemble touches that ensemble, and what its scores go into.
    path.write_text(path.read_text().replace('["first", "second"], budget=10', '["first", "second"], budget=11'))
    changed = run(path, "--out", out)
    assert "9 steps, 5 of them done before" in changed.stdout
