"""tools/derive_text.py as a user calls it."""

import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from cellseg.datasets.folder import DataFolder
from cellseg.multimodal.derive.facts import true_instances


def snapshot(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def derive(blob_project):
    return lambda *arguments: blob_project.call("derive_text", *arguments)


@pytest.fixture
def images(blob_project):
    """A folder with three images."""
    folder = blob_project.root / "images"
    folder.mkdir()
    for number in range(3):
        Image.fromarray(blob_project.blobs.blob_image(30 + number)[0]).save(folder / f"image{number}.png")
    return folder


def test_a_data_set_and_its_scores(blob_project, derive):
    root = blob_project.root
    code, out, err = derive("dataset", "data/blobs", "--out", "text", "--official")
    assert code == 0, err
    assert out.startswith("text\n") and "test: questions" in out and "best blind guess" in out
    content = json.loads((root / "text" / "captions.json").read_text())
    first = {}
    for entry in content["annotations"]:
        first.setdefault(entry["image_id"], entry["caption"])
    generated = [{"image_id": image, "caption": text} for image, text in first.items()]
    (root / "generated.json").write_text(json.dumps(generated))
    questions = json.loads((root / "text" / "vqa.json").read_text())["annotations"]
    answers = [{"question_id": entry["id"], "answer": entry["answer"]} for entry in questions]
    (root / "answers.json").write_text(json.dumps(answers))
    arguments = ["--captions", "generated.json", "--answers", "answers.json", "--json", "scores.json"]
    code, out, err = derive("score", "--data", "text", *arguments)
    assert code == 0, err
    assert "test: what 4 captions say" in out and "question only" in out
    scores = json.loads((root / "scores.json").read_text())
    for split in ("train", "val", "test"):
        assert scores["captions"][split]["count"]["accuracy"] == 1.0
        assert scores["captions"][split]["cell_type"]["accuracy"] == 1.0
        assert scores["questions"][split]["all"]["answers"] == 1.0
        assert scores["questions"][split]["all"]["majority"] < 0.8
    # Several files are trainings of one model; then the questions are left out.
    both = ["--captions", "generated.json", "generated.json", "--against", "generated.json", "--json", "both.json"]
    code, out, err = derive("score", "--data", "text", *both)
    assert code == 0, err
    assert "test: what captions say" in out and "minus the other" in out and "question only" not in out
    comparison = json.loads((root / "both.json").read_text())["comparison"]
    assert comparison["test"]["count"]["mean"] == 1.0 and comparison["test"]["count"]["minus_other"][0] == 0
    code, _, err = derive("score", "--data", "text", "--against", "generated.json")
    assert code == 2 and "--against needs --captions, which it is compared with" in err
    # The questions alone need no data set.
    code, out, _ = derive("score", "--vqa", "text/splits/train/vqa.json")
    assert code == 0 and "captions say" not in out


@pytest.fixture
def true_results(blob_project):
    """A results folder with the true cells of the test images."""
    folder = DataFolder(blob_project.root / "data" / "blobs")
    root = blob_project.root / "true"
    (root / "instances").mkdir(parents=True)
    (root / "run.json").write_text("{}")
    for record in folder.load_split(0, "test"):
        cells = true_instances(record, folder.class_names)
        (root / "instances" / f"{record.key}.json").write_text(json.dumps({"source": "x", **cells.to_dict()}))
    return root


def test_answers_from_predicted_cells(blob_project, true_results, derive):
    root = blob_project.root

    def scores(submission, out):
        code, said, err = derive("answer", "--data", "text", "--submission", submission, "--out", out)
        assert code == 0, err
        files = ["--answers", f"{out}/answers.json", "--captions", f"{out}/captions.json", "--json", "scores.json"]
        assert derive("score", "--data", "text", *files)[0] == 0
        values = json.loads((root / "scores.json").read_text())
        return values["questions"]["test"], values["captions"]["test"], said, err

    assert derive("dataset", "data/blobs", "--out", "text")[0] == 0
    questions, captions, said, err = scores("true", "right")
    number = questions["all"]["questions"]
    assert said == f"right: {number} answers to {number} questions about 4 images\n" and "no answer" not in err
    assert {values["answers"] for values in questions.values()} == {1.0}
    assert captions["count"]["accuracy"] == captions["cell_type"]["accuracy"] == 1.0
    # An ensemble that misses cells, by its folder, by its table in that folder, and by the table alone.
    assert blob_project.call("ensemble_infer", "ensemble.py", "data/blobs:test", "--out", "found")[0] == 0
    code, _, err = derive("answer", "--data", "text", "--submission", "found", "--out", "folder")
    assert code == 0 and "no answer" not in err
    assert derive("answer", "--data", "text", "--submission", "found/submission.csv", "--out", "beside")[0] == 0
    assert snapshot(root / "beside") == snapshot(root / "folder")
    (root / "found" / "submission.csv").rename(root / "alone.csv")
    questions, captions, _, err = scores("alone.csv", "alone")
    about_types = sum(questions[kind]["questions"] for kind in ("cell_type", "type_count", "has_type"))
    assert f"alone.csv: no answer to {about_types} questions about cell types: it knows no cell types, the res" in err
    assert questions["has_type"]["answers"] == 0.0 and captions["cell_type"]["stated"] == 0
    # Fewer cells make a lower count.
    with open(root / "alone.csv") as file:
        rows = list(csv.DictReader(file))
    lines = {row["id"]: f"{row['id']},{row['predicted']}" for row in rows}
    (root / "few.csv").write_text("\n".join(["id,predicted", *lines.values()]) + "\n")
    _, few, _, _ = scores("few.csv", "few")
    assert few["count"]["accuracy"] == 0.0 < captions["count"]["accuracy"]
    assert few["count"]["error"]["mean"] > captions["count"]["error"]["mean"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            ["--submission", "true", "--split", "dev"],
            "text/facts.json: no images of the split 'dev'; choose another --spl",
        ),
        (["--submission", "true", "--split", "train"], "true: nothing about the image "),
        (["--submission", "none.csv"], "none.csv: no such file"),
        (["--submission", "true", "--data", "data"], "data/derived.json: no such file"),
        (
            ["--submission", "true", "--data", "old"],
            "has no question_value, which older versions did not write; run deriv",
        ),
        (
            ["--submission", "true", "--out", "true"],
            "true: exists; choose another --out, or replace it with --overwrite",
        ),
        (
            ["--submission", "true", "--out", "true", "--overwrite"],
            "true: holds instances, run.json, so --overwrite leaves",
        ),
        ([], "the following arguments are required: --submission"),
    ],
)
def test_answers_that_cannot_be_given(blob_project, true_results, derive, arguments, message):
    root = blob_project.root
    assert derive("dataset", "data/blobs", "--out", "text", "--no-images")[0] == 0
    shutil.copytree(root / "text", root / "old")
    content = json.loads((root / "old" / "vqa.json").read_text())
    for entry in content["annotations"]:
        del entry["question_value"]
    (root / "old" / "vqa.json").write_text(json.dumps(content))
    before = snapshot(root)
    code, _, err = derive("answer", "--data", "text", "--out", "out", *arguments)
    assert code == 2 and message in err and "Traceback" not in err
    assert err.splitlines()[-1].count("error: ") == 1
    assert snapshot(root) == before and not (root / "out").exists()


def test_the_same_command_the_same_bytes(blob_project, derive):
    for name in ("one", "two"):
        assert derive("dataset", "data/blobs", "--out", name)[0] == 0
    assert snapshot(blob_project.root / "one") == snapshot(blob_project.root / "two")


def test_from_images_to_a_report(blob_project, images, derive):
    root = blob_project.root
    arguments = ["report", images, "--config", "ensemble.py", "--out", "out", "--title", "Blobs"]
    code, out, err = derive(*arguments)
    assert code == 0, err
    values = json.loads((root / "out" / "report.json").read_text())
    found = json.loads((root / "out" / "segmentation" / "instances" / "image0.json").read_text())
    assert out == f"out/report.html: {values['overall']['cells']} cells in 3 images\n"
    assert values["images"][0]["count"] == len(found["scores"]) >= 5
    assert set(values["overall"]["types"]) == {"a_round", "b_long"}
    assert set(values["provenance"]["ensemble"]["members"]) == {"sharp", "shifted", "dim"}
    assert str(root) not in (root / "out" / "report.json").read_text()
    page = (root / "out" / "report.html").read_text()
    assert "<title>Blobs</title>" in page and page.count("<article") == 3
    # The same again asks no network, and another report of the same results is the same.
    before = snapshot(root / "out")
    blob_project.blobs.BlobMember.encoded = 0
    assert derive(*arguments)[0] == 0 and blob_project.blobs.BlobMember.encoded == 0
    assert snapshot(root / "out") == before
    code, _, err = derive("report", images, "--submission", "out/segmentation", "--out", "again", "--title", "Blobs")
    assert code == 0, err
    assert snapshot(root / "again") == {name: before[name] for name in ("cells.csv", "report.html", "report.json")}


def test_options_reach_the_ensemble(blob_project, images, derive):
    chosen = ["--members", "sharp", "--cfg-options", "settings.mask_threshold=0.6"]
    code, _, err = derive("report", images, "--config", "ensemble.py", "--out", "out", *chosen)
    assert code == 0, err
    run = json.loads((blob_project.root / "out" / "segmentation" / "run.json").read_text())
    assert set(run["members"]) == {"sharp"} and run["settings"]["global"]["mask_threshold"] == 0.6
    code, _, err = derive("report", images, "--config", "ensemble.py", "--out", "out")
    assert code == 2 and "holds a run with other settings" in err
    code, _, err = derive("report", images, "--config", "ensemble.py", "--out", "out", "--overwrite")
    assert code == 0, err


def test_the_fold_of_a_data_folder(blob_project, derive):
    code, _, err = derive("report", "data/blobs:test", "--config", "ensemble.py", "--fold", "1", "--out", "out")
    assert code == 0, err
    values = json.loads((blob_project.root / "out" / "report.json").read_text())
    with open(blob_project.root / "data" / "blobs" / "splits" / "fold1" / "test.csv") as file:
        assert [image["key"] for image in values["images"]] == sorted({row["id"] for row in csv.DictReader(file)})


def test_bad_images_are_skipped_and_the_exit_code_says_so(blob_project, images, derive):
    (images / "broken.png").write_bytes(b"\x89PNG broken")
    Image.fromarray(np.full((96, 128, 3), 13, np.uint8)).save(images / "unlucky.png")
    code, out, err = derive("report", images, "--config", "ensemble.py", "--out", "out")
    assert code == 1 and "in 3 images" in out
    assert "skipped broken: " in err and "skipped unlucky: the network cannot take this image" in err
    values = json.loads((blob_project.root / "out" / "report.json").read_text())
    assert [entry["id"] for entry in values["skipped"]] == ["broken", "unlucky"]


def test_a_submission_is_enough(blob_project, images, derive):
    assert blob_project.call("ensemble_infer", "ensemble.py", images, "--out", "found")[0] == 0
    (images / "image2.png").unlink()
    code, out, err = derive("report", images, "--submission", "found/submission.csv", "--out", "out")
    assert code == 0 and "in 2 images" in out
    assert err == f"found/submission.csv: passed over images that are not in {images}: 1\n"


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["dataset", "none", "--out", "out"], "none: not a data folder"),
        (["dataset", "data/blobs", "--out", "ensemble.py"], "ensemble.py: exists and is not a folder"),
        (
            ["dataset", "data/blobs", "--out", "out", "--splits", "dev"],
            "--splits dev: expected some of train, val, test",
        ),
        (["dataset", "data/blobs", "--out", "out", "--submission", "no.csv"], "no.csv: no such file"),
        (["score"], "score: give --data, --vqa or both"),
        (["score", "--vqa", "x.json", "--captions", "y.json"], "--captions needs --data"),
        (["score", "--data", "none"], "none/vqa.json: no such file"),
        (["report", "images", "--out", "out"], "one of the arguments --config --submission is required"),
        (["report", "none", "--out", "out", "--config", "ensemble.py"], "none: no such file or folder"),
        (["report", "none", "--out", "out", "--submission", "no.csv"], "none: no such file or folder"),
        (["report", "images", "--out", "out", "--submission", "no.csv"], "no.csv: no such file"),
        (["report", "images", "--out", "out", "--config", "none.py"], "none.py"),
        (["report", "images", "--out", "out", "--config", "ensemble.py", "--side", "3"], "--side 3: expected 64 to"),
        (
            ["report", "images", "--out", "out", "--submission", "s.csv", "--weights", "w.json"],
            "--weights belongs to --config: --submission segments nothing",
        ),
        ([], "the following arguments are required"),
    ],
)
def test_errors_are_one_line(blob_project, images, derive, arguments, message):
    code, _, err = derive(*arguments)
    assert code == 2 and message in err and "Traceback" not in err
    assert not (blob_project.root / "out").exists()


@pytest.mark.parametrize("job", ["dataset", "answer", "score", "report"])
def test_help_ends_with_an_example(derive, job):
    code, out, _ = derive(job, "--help")
    assert code == 0 and f"example:\n  python tools/derive_text.py {job} " in out
