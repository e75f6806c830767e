"""tools/tune_ensemble.py as a user calls it."""

import json
import shutil
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


@pytest.fixture
def read(blob_project):
    def load(name="weights.json"):
        return json.loads((blob_project.root / name).read_text())

    return load


def test_help_has_an_example():
    done = subprocess.run([sys.executable, str(TOOL), "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "example:\n  python tools/tune_ensemble.py" in done.stdout


def test_tuning_writes_weights_that_score_as_promised(blob_project, tune, read):
    code, out, err = tune("--out", "weights.json", "--budget", "60", "--split", "all", "--seed", "1", "--calibrate")
    assert code == 0, err
    assert "competition mAP on the 12 images of split 'all'" in out and "written: weights.json" in out
    content = read()
    scores = content["provenance"]["scores"]
    assert set(scores) == {"sharp", "shifted", "uniform", "matching", "ensemble"}
    assert set(content["alone"]) == {"sharp", "shifted"} and set(content["variants"]) == {"uniform"}
    assert set(content["calibration"]) == {"sharp", "shifted", "dim"} and content["matching"]["rule"]
    assert scores["ensemble"]["after"] > scores["ensemble"]["before"]
    search = {"tuner": "differential_evolution", "budget": 60, "seed": 1, "calibrate": True}
    assert search.items() <= content["provenance"]["search"].items()
    for name, row in scores.items():
        assert f"{row['after']:.4f}" in next(line for line in out.splitlines() if line.startswith(name))
    # What inference makes with these weights has the score that the tuning saw, for each member alone too.
    for members in ([], ["sharp"], ["shifted"]):
        name = "-".join(members) or "ensemble"
        arguments = ["--members", *members] if members else []
        code, _, err = blob_project.call(
            "ensemble_infer", "ensemble.py", "data/blobs:all", "--out", name, "--weights", "weights.json", *arguments
        )
        assert code == 0, err
        blob_project.call("evaluate", f"{name}/submission.csv", "data/blobs/truth.csv", "--json", f"{name}.json")
        assert read(f"{name}.json")["map"] == pytest.approx(scores[name]["after"], abs=1e-6)


def test_the_same_call_gives_the_same_bytes_with_and_without_the_cache(blob_project, tune):
    assert tune("--out", "first.json", "--budget", "20", "--cache", "cache")[0] == 0
    asked = blob_project.blobs.BlobMember.encoded
    assert asked > 0
    assert tune("--out", "second.json", "--budget", "20", "--cache", "cache")[0] == 0
    assert blob_project.blobs.BlobMember.encoded == asked
    first, second = (blob_project.root / name for name in ("first.json", "second.json"))
    assert first.read_bytes() == second.read_bytes()
    assert str(blob_project.root) not in first.read_text()
    assert not list(blob_project.root.glob("*.journal"))


def test_some_members_only(tune, read):
    code, out, _ = tune("--out", "weights.json", "--budget", "20", "--members", "sharp", "dim", "--tuner", "random")
    assert code == 0
    content = read()
    assert content["members"] == ["sharp", "shifted", "dim"] and content["global"]["weights"]["shifted"] == 0
    assert set(content["alone"]) == {"sharp"} and "matching" not in content


def test_without_calibration_and_shrinkage(tune, read):
    assert tune("--out", "weights.json", "--budget", "20", "--shrinkage", "0")[0] == 0
    content = read()
    assert "calibration" not in content
    assert content["provenance"]["search"]["calibrate"] is False and content["provenance"]["search"]["shrinkage"] == 0


def test_margins_that_cannot_be(tune):
    for value, message in (("-0.1", "margin -0.1: expected 0 to 1"), ("nan", "margin nan: expected 0 to 1")):
        code, _, err = tune("--out", "weights.json", "--margins", value)
        assert code == 2 and message in err and "Traceback" not in err


def test_a_report_on_unseen_images(blob_project, tune, read):
    arguments = ["--budget", "12", "--split", "all", "--cross-validate", "3", "--report", "report", "--seed", "2"]
    arguments += ["--margins", "0.4"]
    code, out, err = tune("--out", "weights.json", *arguments)
    assert code == 0, err
    assert "on images that the tuning did not see (3 parts):" in out and "report: report" in out
    found = sorted(path.name for path in (blob_project.root / "report").iterdir())
    assert found == ["history.png", "reliability.png", "report.json", "report.md"]
    for name in ("history.png", "reliability.png"):
        assert Image.open(blob_project.root / "report" / name).size[0] > 200
    report, content = read("report/report.json"), read()
    rows = report["cross_validation"]["rows"]
    names = {"sharp", "shifted", "uniform", "matching", "best single member", "ensemble"}
    assert set(rows) == names and report["images"] == 12 and report["groups"] == 6 and report["seen"] is False
    assert all(len(row["per_image"]) == 12 for row in rows.values())
    assert rows["ensemble"]["map"] == pytest.approx(np.mean(rows["ensemble"]["per_image"]))
    assert content["provenance"]["cross_validation"]["rows"]["sharp"]["difference"] == rows["sharp"]["difference"]
    assert {effect["kind"] for effect in report["effects"]} == {"member", "stage", "fusion", "vote scheme"}
    margins = [effect for effect in report["effects"] if effect["name"].startswith("margin as it is, not ")]
    assert margins and content["provenance"]["search"]["margins"] == [0.4]
    assert [row["name"] for row in report["ceilings"]] == [
        "true boxes",
        "true masks",
        "perfect claims",
        "perfect selection",
    ]
    assert report["reliability"]["cells"] == sum(row["count"] for row in report["reliability"]["bins"]) > 0
    text = (blob_project.root / "report" / "report.md").read_text()
    assert "Measured on images that the tuning did not see." in text and "tuned on the other 2 of 3 parts" in text
    for heading in ("# Tuning", "## Scores", "## Settings", "## Effects", "## Ceilings", "## Certainty"):
        assert heading in text
    # All rows of a table have as many cells as its header.
    lines = text.splitlines()
    for line, following in zip(lines, lines[1:], strict=False):
        if line.startswith("|") and following.startswith("|"):
            assert line.count("|") == following.count("|")
    assert str(blob_project.root) not in text


def test_a_report_on_the_images_that_were_tuned_on_says_so(blob_project, tune, read):
    assert tune("--out", "weights.json", "--budget", "10", "--report", "report")[0] == 0
    text = (blob_project.root / "report" / "report.md").read_text()
    assert text.count("Measured on the images that were tuned on") == 2 and "unseen" not in text
    report = read("report/report.json")
    assert report["seen"] is True and "cross_validation" not in report


def test_a_tuning_that_was_stopped_goes_on(blob_project, tune, monkeypatch):
    from cellseg.ensemble.evidence.pool import EvidencePool

    arguments = ["--budget", "20", "--split", "all", "--cross-validate", "2", "--cache", "cache"]
    assert tune("--out", "expected.json", *arguments)[0] == 0
    count, limit = 0, None
    score = EvidencePool.score

    def counted(self, *rest):
        nonlocal count
        count += 1
        if count == limit:
            raise KeyboardInterrupt
        return score(self, *rest)

    monkeypatch.setattr(EvidencePool, "score", counted)
    assert tune("--out", "weights.json", *arguments)[0] == 0
    whole, count, limit = count, 0, count * 2 // 3
    code, _, err = tune("--out", "weights.json", *arguments)
    assert code == 130 and "interrupted" in err
    assert (blob_project.root / "weights.json.journal").is_dir()
    (blob_project.root / "weights.json").unlink()
    count, limit = 0, None
    assert tune("--out", "weights.json", *arguments, "--resume")[0] == 0
    assert count < whole * 0.6
    assert (blob_project.root / "weights.json").read_bytes() == (blob_project.root / "expected.json").read_bytes()
    assert not (blob_project.root / "weights.json.journal").exists()


def test_a_stopped_tuning_with_other_options_is_not_continued(blob_project, tune, monkeypatch):
    arguments = ["--budget", "10", "--cache", "cache"]
    with monkeypatch.context() as patch:
        patch.setattr("cellseg.ensemble.tuning.tune.save_weights", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert tune("--out", "weights.json", *arguments)[0] == 130
    code, _, err = tune("--out", "weights.json", *arguments, "--resume", "--calibrate")
    assert code == 0 and "the journal is discarded" in err
    code, _, err = tune("--out", "weights.json", *arguments, "--resume")
    assert code == 0 and "weights.json.journal: no journals of a tuning that was stopped; it starts anew" in err


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--budget", "5"], "budget 5: expected 10 or more"),
        (["--tuner", "magic"], "tuner 'magic' is none of"),
        (["--members", "blunt"], "no member 'blunt'; it has sharp, shifted, dim"),
        (["--members", "dim"], "none of the members dim proposes boxes"),
        (["--split", "none"], "invalid choice: 'none'"),
        (["--cfg-options", "data_root=data/none"], "data/none: not a data folder"),
        (["--cfg-options", "data_root="], "no data_root, the data folder to tune on"),
        (["--cfg-options", "fold=7"], "fold 7 does not exist"),
        (["--seed", "-1"], "seed -1: expected a whole number of 0 or more"),
        (["--shrinkage", "-1"], "shrinkage -1.0: expected a number of 0 or more"),
        (["--cross-validate", "1"], "--cross-validate 1: expected 2 or more parts"),
        (["--cross-validate", "9"], "--cross-validate 9 needs images of 9 groups or more"),
        (["--cfg-options", "fusion.weights.blunt=1"], "fusion.weights: unknown members ['blunt']"),
        (["--cfg-options", "settings.types.flat.exponent=1"], "types.flat: unknown cell type"),
        (["--cfg-options", "members.2.name=uniform"], "no member can be named 'uniform'"),
    ],
)
def test_errors_are_one_line(blob_project, tune, arguments, message):
    code, _, err = tune("--out", "weights.json", *arguments)
    assert code == 2 and message in err and "Traceback" not in err
    assert not list(blob_project.root.glob("weights.json*")) and blob_project.blobs.BlobMember.encoded == 0


def test_data_of_other_types(blob_project, tune):
    text = (blob_project.root / "ensemble.py").read_text().replace("b_long", "c_flat")
    (blob_project.root / "ensemble.py").write_text(text)
    code, _, err = tune("--out", "weights.json")
    assert code == 2 and "has the types ['a_round', 'b_long'], the members know ['a_round', 'c_flat']" in err


@pytest.fixture
def own_data(blob_data, tmp_path):
    """A copy of the data folder that a test may damage."""
    copy = tmp_path / "copy"
    shutil.copytree(blob_data, copy)
    return copy


def test_images_that_changed_after_preparation(tune, own_data):
    for path in (own_data / "images").iterdir():
        Image.fromarray(np.zeros((10, 10), np.uint8)).save(path)
    code, _, err = tune("--out", "weights.json", "--cfg-options", f"data_root={own_data}")
    assert code == 2 and "10 x 10 pixels, its annotations are for 128 x 96" in err


def test_a_split_without_images(tune, own_data):
    path = own_data / "splits" / "fold0" / "val.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"images": [], "annotations": []}))
    code, _, err = tune("--out", "weights.json", "--cfg-options", f"data_root={own_data}")
    assert code == 2 and "fold0/val.json: no images to tune on" in err


@pytest.mark.parametrize("cells", [True, False])
def test_images_on_which_nothing_is_found(tune, read, own_data, cells):
    """Dark images: nobody proposes a box. The score is 0 where there are cells, and 1 where there are none."""
    for path in (own_data / "images").iterdir():
        Image.fromarray(np.zeros((96, 128), np.uint8)).save(path)
    path = own_data / "splits" / "fold0" / "val.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content if cells else content | {"annotations": []}))
    arguments = ["--budget", "10", "--report", "report", "--cfg-options", f"data_root={own_data}"]
    code, _, err = tune("--out", "weights.json", *arguments)
    assert code == 0, err
    expected = 0.0 if cells else 1.0
    assert {row["after"] for row in read()["provenance"]["scores"].values()} == {expected}
    report = read("report/report.json")
    assert report["reliability"]["cells"] == 0 and report["reliability"]["rank_correlation"] is None
    assert {row["map"] for row in report["ceilings"] if row["name"] != "true boxes"} == {expected}
    assert not (own_data.parent / "report" / "reliability.png").exists()
