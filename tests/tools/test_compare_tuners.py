"""tools/compare_tuners.py as a user calls it."""

import json
import subprocess
import sys
from pathlib import Path
from statistics import mean, stdev

import pytest

TOOL = Path(__file__).resolve().parents[2] / "tools" / "compare_tuners.py"


@pytest.fixture
def compare(blob_project):
    def call(*arguments):
        return blob_project.call("compare_tuners", "ensemble.py", "--out", "out", *arguments)

    return call


def test_help_has_an_example():
    done = subprocess.run([sys.executable, str(TOOL), "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "example:\n  python tools/compare_tuners.py" in done.stdout


def test_every_tuner_is_scored_on_images_that_it_did_not_see(blob_project, compare):
    code, out, err = compare("--budget", "12", "--seeds", "2", "--cache", "cache")
    assert code == 0, err
    content = json.loads((blob_project.root / "out" / "tuners.json").read_text())
    assert set(content["tuners"]) == {"aquila", "differential_evolution", "random", "uniform"}
    assert content["splits"] == {"tuned": "val", "unseen": "test"} and content["seeds"] == 2
    for row in content["tuners"].values():
        assert len(row["tuned"]) == len(row["unseen"]) == 2
        # Equal weights are among the candidates of every search.
        assert min(row["tuned"]) >= content["start"]["tuned"] - 1e-9
    assert content["tuners"]["uniform"]["tuned"][0] == content["tuners"]["uniform"]["tuned"][1]
    assert str(blob_project.root) not in json.dumps(content)
    table = (blob_project.root / "out" / "tuners.md").read_text()
    assert out == table
    header, _, start, *rows = table.splitlines()
    images = content["images"]
    assert (
        header == f"| tuner | val, tuned on ({images['tuned']} images) | test, not seen ({images['unseen']} images) |"
    )
    assert start.startswith("| none: equal weights |") and start.count("±") == 0
    best = max(mean(row["unseen"]) for row in content["tuners"].values())
    first = rows[0].split("|")[1].split()[0]
    values = content["tuners"][first]["unseen"]
    assert mean(values) == best and f"| {best:.4f} ± {stdev(values):.4f} |" in rows[0]
    assert sum(" (default) |" in row for row in rows) == 1 and len(rows) == 4


def test_it_tells_what_a_tuning_tells(blob_project, compare):
    """The score on the images that were tuned on, and on unseen ones, are those of tune_ensemble and compare."""
    arguments = ("--tuners", "random", "--budget", "16", "--seeds", "1")
    assert compare(*arguments)[0] == 0
    row = json.loads((blob_project.root / "out" / "tuners.json").read_text())["tuners"]["random"]
    tuning = ("--out", "weights.json", "--budget", "16", "--tuner", "random", "--seed", "0")
    assert blob_project.call("tune_ensemble", "ensemble.py", *tuning)[0] == 0
    scores = json.loads((blob_project.root / "weights.json").read_text())["provenance"]["scores"]
    assert row["tuned"][0] == pytest.approx(scores["ensemble"]["after"], abs=1e-6)
    inference = ("data/blobs:test", "--out", "found", "--weights", "weights.json")
    assert blob_project.call("ensemble_infer", "ensemble.py", *inference)[0] == 0
    truth = "data/blobs/splits/fold0/test.csv"
    assert blob_project.call("evaluate", "found/submission.csv", truth, "--json", "found.json")[0] == 0
    measured = json.loads((blob_project.root / "found.json").read_text())["map"]
    assert row["unseen"][0] == pytest.approx(measured, abs=1e-6)


def test_the_same_call_gives_the_same_bytes(blob_project, compare):
    arguments = ("--tuners", "aquila", "--budget", "12", "--seeds", "1", "--cache", "cache")
    paths = [blob_project.root / "out" / name for name in ("tuners.md", "tuners.json")]
    assert compare(*arguments)[0] == 0
    asked, first = blob_project.blobs.BlobMember.encoded, [path.read_bytes() for path in paths]
    assert compare(*arguments)[0] == 0
    assert blob_project.blobs.BlobMember.encoded == asked > 0
    assert [path.read_bytes() for path in paths] == first


def test_some_images_and_members_only(blob_project, compare):
    arguments = ("--tuners", "uniform", "random", "uniform", "--budget", "12", "--seeds", "1", "--images", "2")
    assert compare(*arguments, "--members", "sharp", "dim", "--split", "test", "--unseen", "val")[0] == 0
    content = json.loads((blob_project.root / "out" / "tuners.json").read_text())
    assert content["images"] == {"tuned": 2, "unseen": 2} and set(content["tuners"]) == {"uniform", "random"}
    assert content["splits"] == {"tuned": "test", "unseen": "val"}
    assert blob_project.blobs.BlobMember.encoded == 2 * 2 * 2


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--tuners", "magic"], "--tuners: 'magic' is none of aquila, differential_evolution, random, uniform"),
        (["--budget", "5"], "--budget 5: expected 10 or more"),
        (["--seeds", "0"], "--seeds 0: expected 1 or more"),
        (["--images", "-1"], "--images -1: expected 0 or more"),
        (["--unseen", "val"], "--unseen val: is the split to tune on"),
        (["--members", "blunt"], "no member 'blunt'; it has sharp, shifted, dim"),
        (["--cfg-options", "data_root="], "no data_root, the data folder to tune on"),
        (["--cfg-options", "data_root=data/none"], "data/none: not a data folder"),
    ],
)
def test_errors_are_one_line(blob_project, compare, arguments, message):
    code, _, err = compare(*arguments)
    assert code == 2 and message in err and "Traceback" not in err
    assert not (blob_project.root / "out").exists()


def test_data_of_other_types(blob_project, compare):
    text = (blob_project.root / "ensemble.py").read_text().replace("b_long", "c_flat")
    (blob_project.root / "ensemble.py").write_text(text)
    code, _, err = compare()
    assert code == 2 and "data/blobs: has other cell types than the members were trained on" in err
