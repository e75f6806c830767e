"""tools/tune_ensemble.py as a user calls it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

TOOL = Path(__file__).resolve().parents[2] / "tools" / "tune_ensemble.py"


@pytest.fixture
def tune(blob_project):
    def call(*arguments):
        return blob_project.call("tune_ensemble", "ensemble.py", *arguments)

    return call


def test_help_has_an_example():
    done = subprocess.run([sys.executable, str(TOOL), "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "example:\n  python tools/tune_ensemble.py" in done.stdout


def test_tuning_writes_weights_that_score_as_promised(blob_project, tune):
    code, out, err = tune("--out", "weights.json", "--budget", "60", "--split", "all", "--seed", "1")
    assert code == 0, err
    assert "competition mAP on the 12 images of split 'all'" in out and "written: weights.json" in out
    content = json.loads((blob_project.root / "weights.json").read_text())
    scores = content["provenance"]["scores"]
    assert set(scores) == {"sharp", "shifted", "ensemble"} and set(content["alone"]) == {"sharp", "shifted"}
    assert scores["ensemble"]["after"] >= max(row["after"] for row in scores.values()) - 1e-9
    assert scores["ensemble"]["after"] > scores["ensemble"]["before"]
    assert content["provenance"]["search"] == {"tuner": "differential_evolution", "budget": 60, "seed": 1}
    # What inference makes with these weights has the score that the tuning saw, for each member alone too.
    for members in ([], ["sharp"], ["shifted"]):
        name = "-".join(members) or "ensemble"
        arguments = ["--members", *members] if members else []
        code, _, err = blob_project.call(
            "ensemble_infer", "ensemble.py", "data/blobs:all", "--out", name, "--weights", "weights.json", *arguments
        )
        assert code == 0, err
        blob_project.call("evaluate", f"{name}/submission.csv", "data/blobs/truth.csv", "--json", f"{name}.json")
        measured = json.loads((blob_project.root / f"{name}.json").read_text())["map"]
        assert measured == pytest.approx(scores[name]["after"], abs=1e-6)


def test_the_same_call_gives_the_same_bytes_with_and_without_the_cache(blob_project, tune):
    assert tune("--out", "first.json", "--budget", "20", "--cache", "cache")[0] == 0
    asked = blob_project.blobs.BlobMember.encoded
    assert asked > 0
    assert tune("--out", "second.json", "--budget", "20", "--cache", "cache")[0] == 0
    assert blob_project.blobs.BlobMember.encoded == asked
    first, second = (blob_project.root / name for name in ("first.json", "second.json"))
    assert first.read_bytes() == second.read_bytes()
    assert str(blob_project.root) not in first.read_text()


def test_some_members_only(blob_project, tune):
    code, out, _ = tune("--out", "weights.json", "--budget", "20", "--members", "sharp", "dim", "--tuner", "random")
    assert code == 0
    content = json.loads((blob_project.root / "weights.json").read_text())
    assert content["members"] == ["sharp", "shifted", "dim"] and content["global"]["weights"]["shifted"] == 0
    assert set(content["alone"]) == {"sharp"}


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--budget", "5"], "budget 5: expected 10 or more"),
        (["--tuner", "magic"], "tuner 'magic' is none of differential_evolution, random, uniform"),
        (["--members", "blunt"], "no member 'blunt'; it has sharp, shifted, dim"),
        (["--members", "dim"], "none of the members dim proposes boxes"),
        (["--split", "none"], "invalid choice: 'none'"),
        (["--cfg-options", "data_root=data/none"], "data/none: not a data folder"),
        (["--cfg-options", "data_root="], "no data_root, the data folder to tune on"),
        (["--cfg-options", "fold=7"], "fold 7 does not exist"),
        (["--seed", "-1"], "seed -1: expected a whole number of 0 or more"),
    ],
)
def test_errors_are_one_line(blob_project, tune, arguments, message):
    code, _, err = tune("--out", "weights.json", *arguments)
    assert code == 2 and message in err and "Traceback" not in err
    assert not (blob_project.root / "weights.json").exists()


def test_data_of_other_types(blob_project, tune):
    text = (blob_project.root / "ensemble.py").read_text().replace("b_long", "c_flat")
    (blob_project.root / "ensemble.py").write_text(text)
    code, _, err = tune("--out", "weights.json")
    assert code == 2 and "has the types ['a_round', 'b_long'], the members know ['a_round', 'c_flat']" in err


def test_images_that_changed_after_preparation(blob_project, tune, blob_data, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(blob_data, copy)
    for path in (copy / "images").iterdir():
        Image.fromarray(np.zeros((10, 10), np.uint8)).save(path)
    code, _, err = tune("--out", "weights.json", "--cfg-options", f"data_root={copy}")
    assert code == 2 and "10 x 10 pixels, its annotations are for 128 x 96" in err
