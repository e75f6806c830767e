"""tools/compare.py as a user calls it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cellseg.ensemble.config import load_ensemble_config
from cellseg.ensemble.settings import uniform_settings
from cellseg.ensemble.weights_file import save_weights

TOOL = Path(__file__).resolve().parents[2] / "tools" / "compare.py"


@pytest.fixture
def compare(blob_project):
    """Runs the tool on the ensemble of the project, with weights that count as tuned on its validation images."""
    config = load_ensemble_config(blob_project.root / "ensemble.py")
    settings = uniform_settings(config.names, ("a_round", "b_long"), mask_threshold=0.55)
    save_weights("weights.json", settings, {"data": {"split": "val", "fold": 0}})

    def call(*arguments):
        return blob_project.call("compare", "ensemble.py", "--weights", "weights.json", "--out", "out", *arguments)

    return call


def test_help_has_an_example():
    done = subprocess.run([sys.executable, str(TOOL), "--help"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "example:\n  python tools/compare.py configs/" in done.stdout


def test_table_values_and_pictures(compare, blob_project):
    code, out, err = compare()
    assert (code, err) == (0, "")
    folder = blob_project.root / "out"
    files = {"comparison.json", "comparison.md", "comparison.png", "examples.png", "reliability.png"}
    assert {path.name for path in folder.iterdir()} == files
    assert (folder / "comparison.md").read_text() == out
    plain = json.loads((folder / "comparison.json").read_text())
    assert [row["name"] for row in plain["rows"]] == ["sharp", "shifted", "ensemble"] and plain["split"] == "test"
    assert all(f"| {row['name']} | {row['map']:.3f} |" in out for row in plain["rows"])
    assert plain["rows"][2]["map"] > 0.2
    for name in ("comparison.png", "examples.png", "reliability.png"):
        with Image.open(folder / name) as picture:
            assert np.asarray(picture.convert("RGB")).std() > 10


def test_vote_schemes_have_rows(compare, blob_project):
    code, out, err = compare("--votes", "median", "staple", "--device", "cpu", "--cache", "kept")
    assert (code, err) == (0, "")
    plain = json.loads((blob_project.root / "out" / "comparison.json").read_text())
    kinds = [(row["name"], row["kind"]) for row in plain["rows"]]
    assert kinds == [
        ("sharp", "member"),
        ("shifted", "member"),
        ("median vote", "vote"),
        ("staple vote", "vote"),
        ("ensemble", "ensemble"),
    ]
    assert "| median vote |" in out and list((blob_project.root / "kept").iterdir())


def test_the_help_names_every_scheme(blob_project):
    from cellseg.ensemble.votes.schemes import SCHEMES

    code, out, _ = blob_project.call("compare", "--help")
    assert code == 0 and ", ".join(SCHEMES) in " ".join(out.split())


def test_the_same_call_gives_the_same_bytes(compare, blob_project):
    folder = blob_project.root / "out"
    assert compare()[0] == 0
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert compare()[0] == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first
    assert str(blob_project.root).encode() not in b"".join(first.values())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--split", "val"], "--split val: the weights were tuned on it; score them on images that tuning did not see"),
        (["--weights", "none.json"], "none.json: no such file"),
        (["--cfg-options", "data_root=nowhere"], "nowhere: not a data folder"),
        (["--votes", "mode"], "--votes mode: unknown; the schemes are mean, "),
        (["--cfg-options", "dataroot=x"], "ensemble.py: --cfg-options dataroot: the config has no 'dataroot'"),
    ],
)
def test_mistakes_are_one_line(compare, blob_project, arguments, message):
    code, out, err = compare(*arguments)
    assert (code, out) == (2, "") and message in err and err.count("\n") == 1
    assert not (blob_project.root / "out").exists()
