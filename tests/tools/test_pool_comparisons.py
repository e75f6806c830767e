"""tools/pool_comparisons.py as a user calls it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[2] / "tools" / "pool_comparisons.py"


@pytest.fixture
def folder(tmp_path):
    """A folder with the comparisons of two seeds of a member and the ensemble."""
    for seed in range(2):
        rows = [
            dict(name=name, kind=kind, validation=0.5)
            | {key: [value + 0.1 * seed] * 4 for key in ("per_image", "per_image_ap50", "per_image_ap75")}
            for name, kind, value in (("yolox", "member", 0.3), ("ensemble", "ensemble", 0.4))
        ]
        names = dict(images=["a", "b", "c", "d"], groups=["g", "g", "h", "h"], cell_types=["cort"] * 4)
        (tmp_path / f"seed{seed}").mkdir()
        (tmp_path / f"seed{seed}" / "comparison.json").write_text(json.dumps(dict(split="test", rows=rows, **names)))
    return tmp_path


def run(folder, *arguments):
    command = [sys.executable, str(TOOL), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


def test_two_seeds(folder):
    done = run(folder, "seed0/comparison.json", "seed1/comparison.json", "--out", "out")
    assert (done.returncode, done.stderr) == (0, "")
    assert {path.name for path in (folder / "out").iterdir()} == {"pooled.json", "pooled.md", "pooled.png"}
    assert (folder / "out" / "pooled.md").read_text() == done.stdout
    plain = json.loads((folder / "out" / "pooled.json").read_text())
    assert [row["map"] for row in plain["rows"]] == pytest.approx([0.35, 0.45, 0.35])
    assert plain["rows"][0]["spread"] == pytest.approx(0.1 / 2**0.5)
    assert [entry["file"] for entry in plain["comparisons"]] == ["seed0/comparison.json", "seed1/comparison.json"]
    assert "| best single member | 0.350 [0.350, 0.350] | ± 0.071 |" in done.stdout


def test_ensembles_by_name(folder):
    pairs = ["first=seed0/comparison.json", "second=seed1/comparison.json"]
    done = run(folder, "--ensembles", *pairs, "--out", "out")
    assert (done.returncode, done.stderr) == (0, "")
    rows = json.loads((folder / "out" / "pooled.json").read_text())["rows"]
    assert [row["name"] for row in rows] == ["first", "second"]
    assert [row["map"] for row in rows] == pytest.approx([0.4, 0.5])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give comparisons of one ensemble, or those of several ones with --ensembles"),
        (["--ensembles", "seed0/comparison.json"], "--ensembles seed0/comparison.json: expected NAME=COMPARISON.json"),
        (["seed0/comparison.json", "none.json"], "none.json: no such file"),
        (
            ["seed0/comparison.json", "seed0/comparison.json"],
            "seed0/comparison.json: the same comparison as seed0/comparison.json; give each one once",
        ),
    ],
)
def test_bad_input_is_one_line(folder, arguments, message):
    done = run(folder, *arguments, "--out", "out")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"pool_comparisons.py: error: {message}\n"
    assert not (folder / "out").exists()
