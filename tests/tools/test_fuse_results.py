"""tools/fuse_results.py as a user calls it."""

import csv
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from cellseg.io.submission import read_predictions, write_predictions
from cellseg.structures import CropMasks

TOOL = Path(__file__).resolve().parents[2] / "tools" / "fuse_results.py"
SIZES = {"a": (40, 50), "b": (40, 50), "c": (30, 60)}
CENTRES = {"a": [(10, 10), (10, 30), (28, 20)], "b": [(12, 12), (30, 35)], "c": []}


def labels_of(key: str, radius: float = 6.0, dropped: int = 0, first: int = 1) -> np.ndarray:
    """A label image of the discs of an image, without the last ``dropped`` ones."""
    height, width = SIZES[key]
    y, x = np.mgrid[:height, :width] + 0.5
    labels = np.zeros((height, width), np.int64)
    for number, (a, b) in enumerate(CENTRES[key][: len(CENTRES[key]) - dropped]):
        labels[(y - a) ** 2 + (x - b) ** 2 < radius**2] = first + number
    return labels


def masks_of(key: str, **options) -> CropMasks:
    return CropMasks.from_label_image(torch.from_numpy(labels_of(key, **options)))


@pytest.fixture
def fuse(monkeypatch, tmp_path, capsys):
    """Runs the tool in a folder with three images and the results of three programs for them."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    for name in ("images", "small", "large"):
        (tmp_path / name).mkdir()
    rows = [("id", "annotation", "width", "height")]
    for key, (height, width) in SIZES.items():
        Image.fromarray(np.full((height, width), 90, np.uint8)).save(tmp_path / "images" / f"{key}.png")
        Image.fromarray(labels_of(key, radius=5.5).astype(np.uint8)).save(tmp_path / "small" / f"{key}.png")
        tifffile.imwrite(tmp_path / "large" / f"{key}_masks.tif", labels_of(key, 6.5, first=70_000).astype(np.uint32))
        rows += [(key, text, width, height) for text in masks_of(key).to_rle() or [""]]
    with open(tmp_path / "truth.csv", "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    write_predictions(tmp_path / "ours.csv", {key: masks_of(key, dropped=1 if key == "a" else 0) for key in SIZES})
    spec = importlib.util.spec_from_file_location("tool_fuse_results", TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)

    def call(*arguments):
        capsys.readouterr()
        try:
            code = tool.main([str(argument) for argument in arguments])
        except SystemExit as ended:
            code = ended.code
        return code, *capsys.readouterr()

    return call


ALL = ("small=small", "large=large", "ours=ours.csv", "--label-suffix", "large=_masks", "--out", "out")
TO = ("--out", "o", "--sizes", "truth.csv")


def rows(path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def same(found: CropMasks, expected: CropMasks) -> bool:
    return sorted(found.to_rle()) == sorted(expected.to_rle())


def test_help_has_an_example():
    done = subprocess.run([sys.executable, str(TOOL), "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "example:\n  python tools/fuse_results.py cellpose=out/cellpose" in done.stdout


def test_three_programs_by_majority(fuse, tmp_path):
    code, out, err = fuse(*ALL, "--images", "images", "--formats", "submission", "labels")
    assert (code, out, err) == (0, "out: 5 cells in 3 images\n", "")
    found = read_predictions("out/submission.csv", SIZES)
    # Two of the three found the last cell of a: the better ones' masks are equally good, the first by its box counts.
    assert same(found["b"].masks, masks_of("b")) and len(found["a"].masks) == 3 and len(found["c"].masks) == 0
    assert (tmp_path / "out/submission.csv").read_text().endswith("c,\n")
    for key, size in SIZES.items():
        labels = np.asarray(Image.open(tmp_path / "out" / "labels" / f"{key}.png"))
        assert labels.shape == size and labels.max() == len(CENTRES[key])
        assert same(CropMasks.from_label_image(torch.from_numpy(labels.astype(np.int64))), found[key].masks)
    instances = rows("out/instances.csv")
    assert [(row["id"], row["cell"], row["score"]) for row in instances] == [
        ("a", "1", "1.000000"),
        ("a", "2", "1.000000"),
        ("a", "3", "0.666667"),
        ("b", "1", "1.000000"),
        ("b", "2", "1.000000"),
    ]
    assert 0 < float(instances[0]["uncertainty"]) < float(instances[2]["uncertainty"]) < 1
    assert (instances[3]["area_px"], instances[3]["x0"]) == (str(int(masks_of("b").areas()[0])), "6")


@pytest.mark.parametrize(
    ("options", "counts"),
    [
        (("--rule", "all"), (2, 2, 0)),
        (("--rule", "any", "--weights", "ours=0"), (3, 2, 0)),
        (("--rule", "majority", "--weights", "ours=3"), (2, 2, 0)),
        (("--score-threshold", "0.7"), (2, 2, 0)),
        (("--min-area", "1000"), (0, 0, 0)),
        (("--iou-threshold", "0.95"), (0, 0, 0)),
    ],
)
def test_options_reach_the_matching(fuse, options, counts):
    assert fuse(*ALL, "--sizes", "truth.csv", *options)[0] == 0
    found = read_predictions("out/submission.csv", SIZES)
    assert tuple(len(found[key].masks) for key in SIZES) == counts


@pytest.mark.parametrize(("threshold", "radius"), [(0.2, 6.5), (0.5, 6.0), (0.8, 5.5)])
def test_masks_are_averaged(fuse, threshold, radius):
    assert fuse(*ALL, "--sizes", "truth.csv", "--mask-threshold", threshold)[0] == 0
    assert same(read_predictions("out/submission.csv", SIZES)["b"].masks, masks_of("b", radius=radius))


def test_order_of_programs_changes_nothing(fuse, tmp_path):
    options = ("--label-suffix", "large=_masks", "--images", "images", "--formats", "submission", "labels")
    for name, sources in (("one", ALL[:3]), ("two", ALL[:3]), ("three", ALL[2::-1])):
        assert fuse(*sources, *options, "--out", name)[0] == 0
    files = {
        name: {str(path.relative_to(name)): path.read_bytes() for path in Path(name).rglob("*") if path.is_file()}
        for name in ("one", "two", "three")
    }
    assert len(files["one"]) == 6 and files["one"] == files["two"] == files["three"]


def test_scores_on_a_truth(fuse):
    code, out, _ = fuse(*ALL, "--truth", "truth.csv")
    assert code == 0
    scores = dict(line.split() for line in out.splitlines()[1:5])
    assert out.startswith("competition mAP on 3 images of truth.csv:\n") and list(scores) == [
        "small",
        "large",
        "ours",
        "fused",
    ]
    assert float(scores["ours"]) == pytest.approx((2 / 3 + 1 + 1) / 3, abs=1e-4)
    assert 1 > float(scores["fused"]) > max(float(scores[name]) for name in ("small", "large", "ours"))


def test_tuning_on_a_truth(fuse, tmp_path):
    (tmp_path / "part.csv").write_text("".join((tmp_path / "truth.csv").read_text().splitlines(True)[:6]))
    code, out, _ = fuse(*ALL, "--images", "images", "--truth", "part.csv", "--tune", "--min-area", "20")
    assert code == 0 and out.startswith("tuned on part.csv: rule m")
    assert "competition mAP on 2 images of part.csv; too good for other images:\n" in out
    assert float(out.splitlines()[-2].split()[1]) > 0.9
    run = json.loads((tmp_path / "out/run.json").read_text())
    assert run["matching"]["min_area"] == 20 and len(run["tuned_on"]) == 64
    assert run["matching"]["weights"] == dict(small=1, large=1, ours=1) and str(tmp_path) not in json.dumps(run)


def test_missing_images_as_the_user_chose(fuse, tmp_path):
    (tmp_path / "small" / "b.png").unlink()
    (tmp_path / "large" / "b_masks.tif").unlink()
    write_predictions("ours.csv", {key: masks_of(key) for key in "bc"})
    code, _, err = fuse(*ALL, "--images", "images")
    assert code == 2 and not (tmp_path / "out").exists()
    assert "small: small: no label image for 1 image (b); --missing empty takes these as images without cells" in err
    code, out, err = fuse(*ALL, "--images", "images", "--missing", "empty", "--rule", "any")
    assert code == 0 and err.splitlines() == [
        "small: nothing about 1 images, taken as without cells",
        "large: nothing about 1 images, taken as without cells",
        "ours: nothing about 1 images, taken as without cells",
    ]
    assert same(read_predictions("out/submission.csv", SIZES)["b"].masks, masks_of("b"))
    assert json.loads((tmp_path / "out/run.json").read_text())["missing"] == dict(small=["b"], large=["b"], ours=["a"])


def test_label_images_of_other_images_are_passed_over(fuse):
    code, out, err = fuse("small=small", "large=large", "--label-suffix", "large=_masks", "--images", "images/[ab].png",
                          "--out", "out")  # fmt: skip
    assert code == 0 and "in 2 images" in out
    assert err == "".join(f"{name}: 1 label images of other images were passed over\n" for name in ("small", "large"))


def test_earlier_results_are_replaced_only_when_told(fuse, tmp_path):
    assert fuse(*ALL, "--images", "images", "--formats", "labels", "submission")[0] == 0
    (tmp_path / "out" / "labels" / "mine.png").write_bytes(b"keep")
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    code, _, err = fuse(*ALL, "--images", "images/[ab].png", "--rule", "all")
    assert code == 2 and "out: holds the results of an earlier run; give another folder, or --overwrite" in err
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == before
    assert fuse(*ALL, "--images", "images", "--rule", "all", "--overwrite")[0] == 0
    assert sorted(path.name for path in (tmp_path / "out").rglob("*") if path.is_file()) == [
        "instances.csv",
        "mine.png",
        "run.json",
        "submission.csv",
    ]


def spoil(name: str) -> None:
    """One kind of damage to the inputs."""
    small, ours = Path("small/b.png"), Path("ours.csv")
    if name == "size":
        Image.fromarray(np.zeros((41, 50), np.uint8)).save(small)
    elif name == "colours":
        Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save(small)
    elif name == "broken":
        small.write_bytes(b"\x89PNG")
    elif name == "twice":
        Image.fromarray(np.zeros((40, 50), np.uint8)).save("small/b.bmp")
    elif name == "overlap":
        ours.write_text("id,predicted\na,1 5\na,4 5\nb,\nc,\n")
    elif name == "repeated":
        ours.write_text("id,predicted\na,1 5\na,1 5\nb,\nc,\n")
    elif name == "outside":
        ours.write_text("id,predicted\na,1999 5\nb,\nc,\n")
    elif name == "unknown":
        ours.write_text("id,predicted\na,\nb,\nc,\nd,1 5\n")
    elif name == "header":
        ours.write_text("id,mask\na,\n")
    elif name == "others":
        ours.write_text("id,predicted\n")
    elif name == "truth":
        Path("truth.csv").write_text("id,annotation,width,height\na,,51,40\n")
    elif name == "path":
        Path("truth.csv").write_text("id,annotation,width,height\n../a,,50,40\n")
    elif name == "image":
        Path("images/b.png").write_bytes(b"no image")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("size", "small: small/b.png: the label image is 50 x 41 pixels (width x height), the image 50 x 40"),
        ("colours", "small: small: b.png: expected one label a pixel, found an array of shape [40, 50, 3]"),
        ("broken", "small: small: b.png: cannot be read as an image"),
        ("twice", "small: small: several image files have this id: b.bmp, b.png; keep one"),
        ("overlap", "ours.csv: image 'a': the masks of rows 2 and 3 overlap in 2 pixels"),
        ("repeated", "ours.csv: row 3: id 'a' has the same mask as row 2; remove one"),
        ("outside", "ours.csv: row 2: id 'a': "),
        ("unknown", "ours: ours.csv: 1 id (d) of no image that is fused; remove these rows, or give all its images"),
        ("header", "ours.csv: the header is 'id,mask', expected 'id,predicted': no column 'predicted'"),
        ("others", "ours: ours.csv: has no row of any of the images; expected 'a'"),
        ("truth", "truth.csv: id 'a' is 51 x 40 pixels (width x height) there, its image 50 x 40"),
        ("image", "images/b.png: cannot be read as an image"),
    ],
)
def test_damaged_inputs_are_one_error(fuse, tmp_path, damage, message):
    spoil(damage)
    code, _, err = fuse(*ALL, "--images", "images", "--truth", "truth.csv", "--missing", "empty")
    assert code == 2 and message in err and err.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("small=small", *TO), "expected the results of at least two programs"),
        (("small=small", "small=large", *TO[:2]), "NAME=PATH: the name 'small' comes twice"),
        (("small=small", "ours.csv", *TO[:2]), "NAME=PATH: expected NAME=VALUE, found 'ours.csv'"),
        (("small=small", "fused=ours.csv", *TO), "'fused' is the name of what comes out"),
        (("small=small", "x=none", *TO), "x: none: no such file or folder"),
        (("small=small", "x=images/a.png", *TO), "x: images/a.png: expected a submission"),
        (("small=small", "large=large", *TO), "large: large: has no label image of any"),
        ((*ALL,), "give the images with --images, or a table with their sizes with --sizes or --truth"),
        ((*ALL, "--images", "none"), "none: no such file or folder"),
        ((*ALL, "--sizes", "none.csv"), "none.csv: no such file"),
        ((*ALL, "--weights", "theirs=2"), "matching.weights: no member 'theirs'; there are small, large, ours"),
        ((*ALL, "--weights", "ours=much"), "--weights ours: expected a number, found 'much'"),
        ((*ALL, "--weights", "ours=-1"), "matching.weights.ours: expected 0 or more, found -1.0"),
        ((*ALL, "--weights", "ours=1", "ours=2"), "--weights: the name 'ours' comes twice"),
        ((*ALL, "--weights", "ours=0", "small=0", "large=0"), "the weights of small, large, ours are all 0"),
        ((*ALL, "--label-suffix", "theirs=x"), "--label-suffix: no program 'theirs'; there are small, large, ours"),
        ((*ALL, "--label-suffix", "large=_masks", "ours=x", *TO[2:]), "a label suffix does nothing for the submission"),
        ((*ALL, "--iou-threshold", "2"), "matching.iou_threshold: expected 0 or more and below 1, found 2.0"),
        ((*ALL, "--rule", "most"), "argument --rule: invalid choice: 'most'"),
        ((*ALL, "--tune"), "--tune needs --truth, a table with true cells"),
        ((*ALL, "--tune", "--truth", "truth.csv", "--rule", "any"), "--rule does nothing with --tune, which finds it"),
        ((*ALL, "--seed", "1"), "--seed does nothing without --tune"),
        ((*ALL[:-1], "ours.csv", "--sizes", "truth.csv"), "ours.csv: is a file; give a folder"),
        ((*ALL[:-1], "images", "--sizes", "truth.csv"), "images: holds files that are not of this command"),
        ((*ALL, "--images", "images", "--sizes", "truth.csv"), "not allowed with argument --images"),
    ],
)  # fmt: skip
def test_options_that_cannot_be_used(fuse, tmp_path, arguments, message):
    code, _, err = fuse(*arguments)
    assert code == 2 and message in err and "Traceback" not in err
    assert not (tmp_path / "out").exists() and not (tmp_path / "o").exists()


def test_ids_that_are_paths_are_refused(fuse, tmp_path):
    spoil("path")
    code, _, err = fuse(*ALL, "--sizes", "truth.csv")
    assert code == 2 and "truth.csv: id '../a' is a path; an id is a plain name" in err
