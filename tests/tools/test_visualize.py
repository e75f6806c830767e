"""tools/visualize.py as a user calls it."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cellseg.datasets.folder import DataFolder
from cellseg.io.submission import write_predictions
from cellseg.structures import CropMasks
from cellseg.visualization.overlays import FOUND, INVENTED, MISSED
from cellseg.visualization.sheets import spread_over_types
from cellseg.visualization.trainings import _names

TOOL = Path(__file__).resolve().parents[2] / "tools" / "visualize.py"
TRUTH = "data/blobs/splits/fold0/test.csv"
IMAGES = "data/blobs/images"


@pytest.fixture
def draw(blob_project):
    """Runs the tool in the project's folder."""
    return lambda *arguments: blob_project.call("visualize", *arguments)


def read(path):
    return np.asarray(Image.open(path).convert("RGB"))


def holds(picture, color):
    return bool((picture == np.array(color)).all(2).any())


@pytest.mark.parametrize("kind", ["", "data", "results", "curves", "attention"])
def test_help_ends_with_commands_to_copy(kind):
    command = [sys.executable, str(TOOL), *kind.split(), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and f"example:\n  python tools/visualize.py {kind or 'data'} " in done.stdout


# True cells of a data folder


def test_a_sheet_of_true_cells(draw):
    code, out, err = draw("data", "data/blobs:test", "--out", "out/sheet.png", "--images", "3")
    assert (code, out, err) == (0, "out/sheet.png\n", "")
    sheet = read("out/sheet.png")
    assert sheet.shape == (420, 1200, 3)
    # The images are grey, outlines and nothing else have colours.
    assert (sheet.max(2) != sheet.min(2)).sum() > 500


def test_the_whole_folder_is_the_default(draw):
    assert draw("data", "data/blobs", "--out", "all.png", "--images", "100")[0] == 0
    assert read("all.png").shape == (3 * 420, 1600, 3)
    assert draw("data", "data/blobs:all", "--out", "named.png", "--images", "100")[0] == 0
    assert Path("all.png").read_bytes() == Path("named.png").read_bytes()


def test_folds_have_different_sheets(draw):
    for fold in "01":
        assert draw("data", "data/blobs:test", "--out", f"{fold}.png", "--fold", fold)[0] == 0
    assert Path("0.png").read_bytes() != Path("1.png").read_bytes()


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (2, ["a0", "b0"]),
        (3, ["a0", "a3", "b0"]),
        (5, ["a0", "a1", "a3", "a4", "b0"]),
        (7, ["a0", "a1", "a2", "a3", "a4", "a5", "b0"]),
        (100, ["a0", "a1", "a2", "a3", "a4", "a5", "b0"]),
    ],
)
def test_images_are_spread_over_types(count, expected):
    types = {f"a{number}": "a" for number in range(6)} | {"b0": "b"}
    assert spread_over_types(types, count) == expected


# A submission


@pytest.fixture
def submission(blob_project):
    """The true cells of the test images, each image with its first one missing and one more invented."""
    records = DataFolder("data/blobs").load_split(0, "test")
    predicted = {}
    for record in records:
        labels = record.masks.to_label_image()
        invented = torch.zeros_like(labels, dtype=torch.bool)
        invented[:4, :4] = labels[:4, :4] == 0
        labels[labels == 1] = 0
        labels[invented] = labels.max() + 1
        predicted[record.key] = CropMasks.from_label_image(labels)
    write_predictions("submission.csv", predicted)
    return [record.key for record in records]


def test_found_missed_and_invented_cells(draw, submission):
    code, out, err = draw("results", "submission.csv", "--images", IMAGES, "--truth", TRUTH, "--out", "out")
    assert (code, out, err) == (0, f"out: {len(submission)} pictures\n", "")
    assert {path.name for path in Path("out").iterdir()} == {f"{key}.png" for key in submission}
    for key in submission:
        picture = read(f"out/{key}.png")
        assert picture.shape == (96 + 20, 128, 3)
        assert all(holds(picture[:96], color) for color in (FOUND, MISSED, INVENTED))


def test_without_a_truth_the_cells_are_drawn(draw, submission):
    code, out, err = draw("results", "submission.csv", "--images", IMAGES, "--out", "out")
    assert (code, out, err) == (0, f"out: {len(submission)} pictures\n", "")
    picture = read(f"out/{submission[0]}.png")
    assert picture.shape == (96, 128, 3) and (picture.max(2) != picture.min(2)).any()


@pytest.fixture
def some_images(submission, blob_project):
    """A folder in which the first image is missing, the second is damaged and the third has another size."""
    folder = blob_project.root / "some"
    folder.mkdir()
    for key in submission[1:]:
        (folder / f"{key}.png").write_bytes((blob_project.root / IMAGES / f"{key}.png").read_bytes())
    (folder / f"{submission[1]}.png").write_bytes(b"x")
    Image.new("L", (30, 40)).save(folder / f"{submission[2]}.png")
    return folder


def test_images_that_cannot_be_drawn_are_skipped(draw, submission, some_images):
    code, out, err = draw("results", "submission.csv", "--images", "some", "--truth", TRUTH, "--out", "out")
    assert (code, out) == (1, f"out: {len(submission) - 3} pictures\n")
    lines = err.splitlines()
    assert lines[0] == f"skipped {submission[0]}: some: no image of this id"
    assert lines[1].startswith(f"skipped {submission[1]}: some/{submission[1]}.png: ")
    assert lines[2].startswith(f"skipped {submission[2]}: ") and "(40, 30)" in lines[2]
    assert len(lines) == 3 and not Path(f"out/{submission[0]}.png").exists()


# Curves of trainings


def write_curves(folder, names=("loss", "loss_mask"), scores=("segm_ap",)):
    Path(folder).mkdir(parents=True)
    with open(Path(folder) / "curves.csv", "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("iteration", "phase", "name", "value"))
        writer.writerows((i, "train", name, 2 - i / 50) for i in range(40) for name in names)
        writer.writerows((i, "val", name, i / 50) for i in range(0, 40, 10) for name in scores)


def test_curves_of_one_and_of_several_trainings(draw):
    write_curves("w/a")
    write_curves("w/b", scores=())
    write_curves("w/c", scores=())
    for name, folders in {"one": ["w/a"], "two": ["w/a", "w/b"], "unscored": ["w/b", "w/c"]}.items():
        code, out, err = draw("curves", *folders, "--out", f"{name}.png")
        assert (code, out, err) == (0, f"{name}.png\n", "")
    widths = {name: read(f"{name}.png").shape[1] for name in ("one", "two", "unscored")}
    assert widths["one"] == widths["two"] == 2 * widths["unscored"]
    assert draw("curves", "w/a", "w/b", "--out", "mask.png", "--value", "loss_mask")[0] == 0
    assert draw("curves", "w/a", "--out", "single.png", "--value", "loss")[0] == 0
    assert (read("single.png") != read("one.png")).any()


def test_trainings_are_named_by_what_tells_them_apart():
    assert _names(["work_dirs/a", "work_dirs/b/"]) == ["a", "b"]
    assert _names(["seed0/yolox", "seed1/yolox", "seed1/unet"]) == ["seed0/yolox", "seed1/yolox", "seed1/unet"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data", "nowhere", "--out", "x.png"], "nowhere: not a data folder"),
        (["data", "data/blobs:tests", "--out", "x.png"], "data/blobs:tests: not a data folder"),
        (["data", "data/blobs:test", "--fold", "9", "--out", "x.png"], "fold 9 does not exist"),
        (["data", "data/blobs", "--images", "0", "--out", "x.png"], "--images 0: expected 1 or more"),
        (["data", "data/blobs", "--out", "x.jpg"], "x.jpg: pictures are written as .png files"),
        (["results", "none.csv", "--images", IMAGES, "--out", "x"], "none.csv: no such file"),
        (["results", TRUTH, "--images", IMAGES, "--out", "x"], "this looks like a truth"),
        (["results", "submission.csv", "--images", "nowhere", "--out", "x"], "nowhere"),
        (
            ["results", "submission.csv", "--images", "some", "--out", "x"],
            "some: no image for long0 of submission.csv; give the folder of its images",
        ),
        (
            ["results", "submission.csv", "--images", "empty", "--truth", TRUTH, "--out", "x"],
            "none of 4 images could be drawn; the first, long0: empty: no image of this id",
        ),
        (["curves", "nowhere", "--out", "x.png"], "nowhere/curves.csv: no such file; a training writes curves.csv"),
        (["curves", "w/a", "nowhere", "--out", "x.png"], "nowhere/curves.csv: no such file; a training writes"),
        (
            ["curves", "w/a", "w/b", "--value", "los", "--out", "x.png"],
            "w/a/curves.csv: no training value 'los'; it has loss, loss_mask",
        ),
        (["curves", "w/a", "w/b", "w/a/../a", "--out", "x.png"], "w/a/../a: given twice; name each work folder once"),
        (["curves", "w/a", "--out", "x.svg"], "x.svg: plots are written as .png files"),
    ],
)
def test_bad_input_is_one_line(draw, submission, some_images, arguments, message):
    write_curves("w/a")
    write_curves("w/b")
    Path("empty").mkdir()
    Image.new("L", (30, 40)).save("empty/other.png")
    code, out, err = draw(*arguments)
    first = submission[0]
    assert (code, out) == (2, "") and message.replace("long0", first) in err and err.count("\n") == 1, err
    assert not Path("x").exists() and not Path("x.png").exists()


# Attention of a model of several modalities


def test_where_words_look(draw, blob_project):
    config = TOOL.parents[1] / "configs" / "multimodal" / "visual_language" / "captioning_small.py"
    small = ["source.options.count=40", "width=16", "batch_size=8", "iterations=2", "train_cfg.val_interval=2"]
    assert blob_project.call("train", str(config), "--work-dir", "work", "--cfg-options", *small)[0] == 0
    image = sorted(Path(IMAGES).iterdir())[0]
    code, out, err = draw("attention", "work", f"image={image}", "text=describe the picture", "--out", "words.png")
    assert code == 0, err
    said, path = out.splitlines()
    assert said.startswith('captioning: {"text": "') and path == "words.png"
    assert read("words.png").shape[0] > 100
    # Without a text the model is asked as in its training.
    assert draw("attention", "work", f"image={image}", "--out", "same.png")[0] == 0
    assert Path("same.png").read_bytes() == Path("words.png").read_bytes()
    for wrong, message in (
        (["image"], "'image': expected NAME=VALUE"),
        (["photo=x.png"], "'photo' is no modality of the"),
        (["text=a", "text=b"], "text=a text=b: a name stands there twice"),
    ):
        code, out, err = draw("attention", "work", *wrong, "--out", "none.png")
        assert code == 2 and message in err and "Traceback" not in err and not Path("none.png").exists()


def test_the_answer_is_printed_without_its_embeddings(draw, blob_project):
    config = TOOL.parents[1] / "configs" / "multimodal" / "visual_language" / "matching_small.py"
    small = ["source.options.count=60", "width=16", "batch_size=8", "iterations=2", "train_cfg.val_interval=2"]
    assert blob_project.call("train", str(config), "--work-dir", "work", "--cfg-options", *small)[0] == 0
    image = sorted(Path(IMAGES).iterdir())[0]
    code, out, err = draw("attention", "work", f"image={image}", "text=a red dot", "--out", "words.png")
    assert code == 0, err
    assert out.startswith('matching: {"probability": ') and "embeddings" not in out
