"""tools/ensemble_infer.py as a user calls it."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cellseg.structures import Instances

TOOL = Path(__file__).resolve().parents[2] / "tools" / "ensemble_infer.py"
ALL = ("submission", "labels", "overlay", "cells")


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def images(blob_project):
    """A folder with three images."""
    folder = blob_project.root / "images"
    folder.mkdir()
    for number in range(3):
        image, _ = blob_project.blobs.blob_image(20 + number)
        Image.fromarray(image).save(folder / f"image{number}.png")
    return folder


@pytest.fixture
def infer(blob_project):
    def call(*arguments):
        return blob_project.call("ensemble_infer", "ensemble.py", *arguments)

    return call


def test_help_has_an_example():
    done = subprocess.run([sys.executable, str(TOOL), "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "example:\n  python tools/ensemble_infer.py" in done.stdout
    assert "DATA_FOLDER:SPLIT" in done.stdout


def test_all_results_of_a_folder(blob_project, images, infer):
    (images / "notes.txt").write_text("not an image")
    code, out, err = infer(images, "--out", "out", "--formats", *ALL)
    assert code == 0 and "instances in 3 images" in out and "1 files that are no images were passed over" in err
    folder = blob_project.root / "out"
    names = [f"image{number}" for number in range(3)]
    for kind, suffix in (("instances", "json"), ("labels", "png"), ("overlay", "png"), ("cells", "csv")):
        assert sorted(path.name for path in (folder / kind).iterdir()) == [f"{name}.{suffix}" for name in names]
    scores, submitted = rows(folder / "instances.csv"), rows(folder / "submission.csv")
    for name in names:
        content = json.loads((folder / "instances" / f"{name}.json").read_text())
        content.pop("source")
        instances = Instances.from_dict(content)
        assert len(instances) >= 5
        labels = np.asarray(Image.open(folder / "labels" / f"{name}.png"))
        assert (labels == instances.masks.to_label_image().numpy()).all()
        assert [row["predicted"] for row in submitted if row["id"] == name] == instances.masks.to_rle()
        mine = [row for row in scores if row["id"] == name]
        assert [int(row["cell"]) for row in mine] == list(range(1, len(instances) + 1))
        assert [row["score"] for row in mine] == [f"{score:.6f}" for score in instances.scores.tolist()]
        assert [int(row["area_px"]) for row in mine] == instances.masks.areas().tolist()
        assert {row["type"] for row in mine} <= {"a_round", "b_long"}
        assert np.asarray(Image.open(folder / "overlay" / f"{name}.png")).shape == (96, 128, 3)
    assert not (folder / "skipped.csv").exists()
    run = json.loads((folder / "run.json").read_text())
    assert set(run["members"]) == {"sharp", "shifted", "dim"} and run["versions"]["torch"]
    assert str(blob_project.root) not in (folder / "run.json").read_text()


def test_the_submission_is_one_for_the_evaluation(blob_project, infer):
    code, out, _ = infer("data/blobs:test", "--out", "out")
    assert code == 0 and "in 4 images" in out
    truth = "data/blobs/splits/fold0/test.csv"
    code, _, err = blob_project.call("evaluate", "out/submission.csv", truth, "--json", "score.json")
    assert code == 0, err
    assert json.loads((blob_project.root / "score.json").read_text())["map"] > 0.3


def test_the_same_inputs_give_the_same_bytes(blob_project, images, infer):
    infer(images, "--out", "first", "--formats", *ALL)
    infer(f"{images}/*.png", "--out", "second", "--formats", *ALL)
    assert snapshot(blob_project.root / "first") == snapshot(blob_project.root / "second")


def test_bad_images_are_skipped_and_listed(blob_project, images, infer):
    (images / "broken.png").write_bytes(b"\x89PNG broken")
    Image.fromarray(np.full((96, 128, 3), 13, np.uint8)).save(images / "unlucky.png")
    Image.fromarray(np.zeros((40, 40), np.uint8)).save(images / "dark.png")
    code, out, err = infer(images, "--out", "out", "--formats", *ALL)
    assert code == 1 and "in 4 images" in out and "2 images were skipped, see out/skipped.csv" in err
    skipped = {row["id"]: row["reason"] for row in rows(blob_project.root / "out" / "skipped.csv")}
    assert "cannot be read as an image" in skipped["broken"]
    assert skipped["unlucky"] == "the network cannot take this image"
    submitted = rows(blob_project.root / "out" / "submission.csv")
    for name in ("broken", "dark", "unlucky"):
        assert [row["predicted"] for row in submitted if row["id"] == name] == [""]
    # Mended, the image gets its result, and the list goes.
    (images / "unlucky.png").unlink()
    Image.fromarray(blob_project.blobs.blob_image(40)[0]).save(images / "broken.png")
    code, out, _ = infer(images, "--out", "out", "--formats", *ALL)
    assert code == 0 and "in 5 images (4 were there already)" in out
    assert not (blob_project.root / "out" / "skipped.csv").exists()


def test_an_image_that_goes_bad_loses_its_old_results(blob_project, images, infer):
    infer(images, "--out", "out", "--formats", *ALL)
    (images / "image1.png").write_bytes(b"gone")
    code, _, _ = infer(images, "--out", "out", "--formats", *ALL)
    assert code == 1
    assert not list((blob_project.root / "out").rglob("image1.*"))
    assert [row["predicted"] for row in rows(blob_project.root / "out/submission.csv") if row["id"] == "image1"] == [""]


def test_files_named_in_a_list(blob_project, images, infer):
    listing = blob_project.root / "list.txt"
    listing.write_text("images/image2.png\nimages/gone.png\nimages/table.csv\n")
    code, out, _ = infer(listing, "--out", "out")
    assert code == 1 and "in 1 images" in out
    skipped = rows(blob_project.root / "out" / "skipped.csv")
    assert [row["id"] for row in skipped] == ["gone", "table.csv"]
    assert "no such file" in skipped[0]["reason"] and skipped[1]["reason"] == "not an image (.csv)"


def test_a_killed_run_continues(blob_project, images, infer, monkeypatch):
    infer(images, "--out", "whole", "--formats", *ALL)
    encode, calls = blob_project.blobs.BlobMember.encode, []

    def dying(self, image):
        calls.append(1)
        if len(calls) == 8:  # during the third image
            raise KeyboardInterrupt
        return encode(self, image)

    monkeypatch.setattr(blob_project.blobs.BlobMember, "encode", dying)
    code, _, err = infer(images, "--out", "out", "--formats", *ALL)
    assert code == 130 and "interrupted" in err
    assert len(list((blob_project.root / "out" / "instances").iterdir())) == 2
    blob_project.blobs.BlobMember.encoded = 0
    code, out, _ = infer(images, "--out", "out", "--formats", *ALL)
    assert code == 0 and "(2 were there already)" in out and blob_project.blobs.BlobMember.encoded == 3
    assert snapshot(blob_project.root / "out") == snapshot(blob_project.root / "whole")


def test_another_format_later_asks_no_network(blob_project, images, infer):
    infer(images, "--out", "out", "--formats", "submission")
    blob_project.blobs.BlobMember.encoded = 0
    code, out, _ = infer(images, "--out", "out", "--formats", *ALL)
    assert code == 0 and "(3 were there already)" in out and blob_project.blobs.BlobMember.encoded == 0
    infer(images, "--out", "fresh", "--formats", *ALL)
    assert snapshot(blob_project.root / "out") == snapshot(blob_project.root / "fresh")


def test_a_changed_image_is_done_again(blob_project, images, infer):
    infer(images, "--out", "out")
    Image.fromarray(blob_project.blobs.blob_image(50)[0]).save(images / "image0.png")
    code, out, _ = infer(images, "--out", "out")
    assert code == 0 and "(2 were there already)" in out


def test_a_damaged_result_is_made_again(blob_project, images, infer):
    infer(images, "--out", "out")
    before = snapshot(blob_project.root / "out")
    for name, text in (("image0", "{"), ("image1", '{"source": 1}'), ("image2", "[]")):
        (blob_project.root / "out" / "instances" / f"{name}.json").write_text(text)
    code, out, _ = infer(images, "--out", "out")
    assert code == 0 and "already" not in out
    assert snapshot(blob_project.root / "out") == before


def test_results_that_cannot_be_written_end_the_run(blob_project, images, infer, monkeypatch):
    from cellseg.ensemble import folder_run

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folder_run, "write_label_image", full)
    code, _, err = infer(images, "--out", "out", "--formats", "labels")
    assert code == 2 and "out: results cannot be written (No space left on device)" in err
    assert not (blob_project.root / "out" / "skipped.csv").exists()


@pytest.mark.parametrize(
    "arguments, different",
    [
        (["--members", "sharp"], "members.dim, members.shifted, settings.global.weights.dim"),
        (["--cfg-options", "settings.mask_threshold=0.6"], "settings.global.mask_threshold"),
        (["--cfg-options", "fusion.margin=0.3"], "fusion.margin"),
        (["--cfg-options", "members.0.shift=2"], "members.sharp"),
    ],
)
def test_other_settings_need_another_folder(blob_project, images, infer, arguments, different):
    infer(images, "--out", "out", "--formats", *ALL)
    before = snapshot(blob_project.root / "out")
    code, _, err = infer(images, "--out", "out", *arguments)
    assert code == 2 and f"holds a run with other settings (different: {different}" in err
    assert "--overwrite to start afresh" in err
    assert snapshot(blob_project.root / "out") == before


def test_overwriting_leaves_nothing_of_the_old_run(blob_project, images, infer):
    infer(images, "--out", "out", "--formats", *ALL)
    (images / "image2.png").unlink()
    (blob_project.root / "out" / "mine.txt").write_text("keep")
    code, out, _ = infer(images, "--out", "out", "--members", "sharp", "--overwrite")
    assert code == 0 and "in 2 images" in out and "already" not in out
    infer(images, "--out", "fresh", "--members", "sharp")
    expected = snapshot(blob_project.root / "fresh") | {"mine.txt": b"keep"}
    assert snapshot(blob_project.root / "out") == expected


@pytest.mark.parametrize("members", [["sharp"], ["shifted"], ["sharp", "dim"], ["dim", "shifted", "sharp"]])
def test_any_members(images, infer, members):
    code, out, err = infer(images, "--out", "out", "--members", *members)
    assert code == 0 and "instances in 3 images" in out, err


def test_weights_of_a_file_decide(blob_project, images, infer):
    alone = dict(sharp=1.0, shifted=0.0, dim=0.0)
    content = {
        "format": 1,
        "members": ["sharp", "shifted", "dim"],
        "class_names": ["a_round", "b_long"],
        "global": {"weights": alone, "mask_threshold": 0.55, "score_threshold": 0.2},
    }
    (blob_project.root / "weights.json").write_text(json.dumps(content))
    code, _, err = infer(images, "--out", "weighted", "--weights", "weights.json")
    assert code == 0, err
    infer(images, "--out", "single", "--members", "sharp")
    weighted, single = (blob_project.root / name for name in ("weighted", "single"))
    assert (weighted / "submission.csv").read_bytes() == (single / "submission.csv").read_bytes()


def test_weights_tuned_with_other_checkpoints_are_noted(blob_project, images, infer):
    assert blob_project.call("tune_ensemble", "ensemble.py", "--out", "weights.json", "--budget", "10")[0] == 0
    code, _, err = infer(images, "--out", "a", "--weights", "weights.json")
    assert code == 0 and "tuned with other" not in err
    code, _, err = infer(images, "--out", "b", "--weights", "weights.json", "--cfg-options", "members.1.shift=2")
    assert code == 0 and "weights.json: tuned with other checkpoints or options of shifted" in err


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["none", "--out", "out"], "none: no such file or folder"),
        (["images", "--out", "out", "--members", "blunt"], "no member 'blunt'; it has sharp, shifted, dim"),
        (["images", "--out", "out", "--members", "dim"], r"none of its members (dim) proposes boxes"),
        (["images", "--out", "out", "--formats", "video"], "--formats video: known are submission, labels, overlay"),
        (["images", "--out", "out", "--weights", "none.json"], "none.json: no such file"),
        (["images", "--out", "ensemble.py"], "ensemble.py: is a file; give a folder"),
        (["data/blobs:none", "--out", "out"], "data/blobs:none: no such file or folder"),
        (["data/none:test", "--out", "out"], "data/none: not a data folder"),
        (["images", "--out", "out", "--cfg-options", "fold"], "--cfg-options fold: expected KEY=VALUE"),
        (["images", "--out", "out", "--cfg-options", "speed=1"], "the config has no 'speed'"),
        (["images", "--out", "out", "--cfg-options", "members.0.speed=1"], "member 'sharp'"),
        (["images"], "the following arguments are required: --out"),
    ],
)
def test_errors_are_one_line(blob_project, images, infer, arguments, message):
    code, _, err = infer(*arguments)
    assert code == 2 and message in err and "Traceback" not in err
    assert not (blob_project.root / "out").exists()
