"""tools/prepare_data.py as a user calls it."""

import csv
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cellseg.datasets.folder import DataFolder
from cellseg.structures.rle import encode_rle

TOOL = Path(__file__).resolve().parents[2] / "tools" / "prepare_data.py"
SIZE = (24, 32)
HEADER = ["id", "annotation", "width", "height", "cell_type", "sample_id"]


def square(x: int, y: int) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[y : y + 6, x : x + 8] = True
    return mask


@pytest.fixture
def source(tmp_path):
    """Six images in six wells, two cells each: row 2 and 3 are a0, row 4 and 5 are a1, and so on."""
    (tmp_path / "images").mkdir()
    rows = [HEADER]
    for number in range(6):
        key, kind = f"a{number}", "astro" if number % 2 else "cort"
        Image.fromarray(np.full(SIZE, 100 + number, np.uint8)).save(tmp_path / "images" / f"{key}.png")
        for x in (2, 15):
            rows.append([key, encode_rle(square(x, number)), "32", "24", kind, f"well{number}"])
    write_rows(tmp_path / "train.csv", rows)
    return tmp_path


def write_rows(path, rows) -> None:
    with open(path, "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def read_rows(path) -> list[list[str]]:
    with open(path, newline="") as file:
        return list(csv.reader(file))


@pytest.fixture
def main(source, monkeypatch, capsys):
    """The tool's own main in the folder of the data: exit code, stdout, stderr."""
    spec = importlib.util.spec_from_file_location("prepare_data_tool", TOOL)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setattr(sys, "path", list(sys.path))
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, "argv", [str(TOOL)])
    monkeypatch.chdir(source)

    def call(*arguments):
        try:
            code = module.main(list(arguments))
        except SystemExit as error:  # argparse
            code = error.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


SARTORIUS = ("sartorius", "--csv", "train.csv", "--images", "images", "--folds", "3", "--out", "out")


def test_sartorius_in_a_process_of_its_own(source):
    command = [sys.executable, str(TOOL), *SARTORIUS, "--scale", "0.5"]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "out: 6 images, 12 cells, scale 0.5\n"
        "\n"
        "class  images  cells  a image, mean  largest  area px, mean  median\n"
        "astro       3      6              2        2              7       7\n"
        "cort        3      6              2        2           10.5    10.5\n"
        "\n"
        "images of each split; 6 groups, by sample_id\n"
        "fold  train  val  test\n"
        "0         2    2     2\n"
        "1         2    2     2\n"
        "2         2    2     2\n"
        "\n"
        "masks with holes: 0, in several parts: 0\n"
    )
    folder = DataFolder(source / "out")
    assert folder.class_names == ("astro", "cort")
    assert {len(folder.load_split(fold, "test")) for fold in range(3)} == {2}


def test_help_of_every_form(main):
    for arguments in ([], ["sartorius"], ["livecell"], ["masks"], ["coco"], ["synthetic"]):
        code, out, _ = main(*arguments, "--help")
        assert code == 0
        assert "example:\n  python tools/prepare_data.py" in out


def test_an_unknown_option_is_refused(main):
    code, _, err = main(*SARTORIUS, "--stratify")
    assert code == 2
    assert "unrecognized arguments: --stratify" in err


BAD_INPUT = {
    "path as id": (
        lambda rows, root: rows[1].__setitem__(0, "../images/a0"),
        "row 2, id ../images/a0: id '../images/a0' is a path; an id is a plain name",
    ),
    "absolute path as id": (
        lambda rows, root: rows[1].__setitem__(0, "/etc/passwd"),
        "row 2, id /etc/passwd: id '/etc/passwd' is a path; an id is a plain name",
    ),
    "link out of the folder": (
        lambda rows, root: relink(root),
        "row 4, id a1: a1.png is a link that leads out of images/; copy what it points to",
    ),
    "missing image": (
        lambda rows, root: (root / "images" / "a1.png").unlink(),
        "row 4, id a1: no image file a1.png (or .jpg, .jpeg, .bmp, .tif, .tiff) in images/",
    ),
    "two images of one id": (
        lambda rows, root: Image.fromarray(np.zeros(SIZE, np.uint8)).save(root / "images" / "a1.jpg"),
        "row 4, id a1: several image files have this id: a1.jpg, a1.png; keep one",
    ),
    "unreadable image": (
        lambda rows, root: (root / "images" / "a1.png").write_bytes(b"text"),
        "row 4, id a1: images/a1.png: cannot be read as an image (unknown content)",
    ),
    "image of another size": (
        lambda rows, root: Image.fromarray(np.zeros((24, 31), np.uint8)).save(root / "images" / "a1.png"),
        "row 4, id a1: the image a1.png is 31 x 24 (width x height), its annotations say 32 x 24",
    ),
    "damaged run lengths": (
        lambda rows, root: rows[4].__setitem__(1, "1 2 769 4"),
        "row 5, id a1: RLE pair 2: the run 769 4 ends at pixel 772, but an image of 24 x 32 (height x width) has 768",
    ),
    "row twice": (
        lambda rows, root: rows.append(list(rows[4])),
        "row 14, id a1: repeats the annotation of row 5",
    ),
    "width differs between rows": (
        lambda rows, root: rows[4].__setitem__(2, "33"),
        "row 5, id a1: width 33 differs from 32 in row 4",
    ),
    "type differs between rows": (
        lambda rows, root: rows[4].__setitem__(4, "cort"),
        "row 5, id a1: cell_type 'cort' differs from 'astro' in row 4",
    ),
    "not a whole number": (
        lambda rows, root: rows[4].__setitem__(3, "24.5"),
        "row 5, id a1: height '24.5' is not a whole number of pixels",
    ),
    "too few fields": (
        lambda rows, root: rows[4].pop(),
        "row 5, id a1: has 5 fields, the header has 6",
    ),
}


def relink(root) -> None:
    (root / "images" / "a1.png").rename(root / "elsewhere.png")
    (root / "images" / "a1.png").symlink_to(root / "elsewhere.png")


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_refused_or_skipped_by_row(main, source, case):
    spoil, message = BAD_INPUT[case]
    rows = read_rows(source / "train.csv")
    spoil(rows, source)
    write_rows(source / "train.csv", rows)

    code, out, err = main(*SARTORIUS)
    assert (code, out) == (2, "")
    assert err.endswith(
        "error: 1 problem in the input, nothing was written; mend the input, or leave these out with --on-error skip:\n"
        f"  {message}\n"
    )
    assert not (source / "out").exists()

    code, out, err = main(*SARTORIUS, "--on-error", "skip")
    assert (code, err) == (1, "")
    assert out.endswith(f"skipped, as listed in dataset.json: 1\n  {message}\n")
    skipped = json.loads((source / "out" / "dataset.json").read_text())["skipped"]
    assert [problem["reason"] for problem in skipped] == [message.split(": ", 1)[1]]
    assert sum(len(record.masks) for record in DataFolder(source / "out").load_split(0, "all")) in (10, 11, 12)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "train.csv: the file is empty; expected a header with id, annotation, width, height"),
        ("id,annotation,width,height\n", "train.csv: has a header but no rows; expected one row for each instance"),
        ("id,rle,width\n", "train.csv: column annotation, height is missing; the file has id, rle, width"),
    ],
)
def test_a_file_that_is_no_table(main, source, text, message):
    (source / "train.csv").write_text(text)
    code, _, err = main(*SARTORIUS)
    assert code == 2
    assert err.endswith(f"error: {message}\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--csv", "no.csv"), "error: no.csv: no such file\n"),
        (("--images", "nowhere"), "error: nowhere: no such folder of images\n"),
        (
            ("--group", "plate"),
            "error: train.csv: --group plate needs the column 'plate'; the file has id, annotation,",
        ),
        (("--scale", "-1"), "error: --scale -1: expected a factor above 0, at most 16\n"),
        (("--folds", "9"), "error: --folds 9 needs at least 9 groups"),
        (("--out", "images"), "images: exists; choose another --out, or replace it with --overwrite\n"),
        (("--out", "images", "--overwrite"), "images: is no data folder, so --overwrite leaves it alone"),
        (("--repair", "convex"), "invalid choice: 'convex'"),
    ],
)
def test_options_that_cannot_be_used(main, arguments, message):
    code, _, err = main(*SARTORIUS, *arguments)
    assert code == 2
    assert message in err


def test_overwrite(main, source):
    assert main(*SARTORIUS)[0] == 0
    code, _, err = main(*SARTORIUS, "--repair", "fill")
    assert code == 2
    assert "out: exists; choose another --out, or replace it with --overwrite" in err
    assert main(*SARTORIUS, "--repair", "fill", "--overwrite")[0] == 0
    assert json.loads((source / "out" / "dataset.json").read_text())["options"]["repair"] == "fill"


def test_known_bad_images(main, source):
    rows = read_rows(source / "train.csv")
    rows.append(["e92c56871769", "1 2", "32", "24", "cort", "well9"])
    write_rows(source / "train.csv", rows)
    Image.fromarray(np.zeros(SIZE, np.uint8)).save(source / "images" / "e92c56871769.png")
    code, out, _ = main(*SARTORIUS, "--drop-known-bad")
    assert code == 0
    assert out.endswith("known bad images dropped: e92c56871769\n")
    assert json.loads((source / "out" / "dataset.json").read_text())["images"] == 6


# -- other forms -------------------------------------------------------------------------------------------------------


def coco_content(names: list[str]) -> dict:
    images = [{"id": i, "file_name": name, "width": 32, "height": 24} for i, name in enumerate(names)]
    annotations = [
        {"id": i, "image_id": i, "category_id": 1, "segmentation": [[2, i, 10, i, 10, i + 6, 2, i + 6]]}
        for i in range(len(names))
    ]
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "cell"}]}


def test_coco(main, source):
    content = coco_content([f"a{number}.png" for number in range(6)])
    content["annotations"][3]["iscrowd"] = 1
    (source / "x.json").write_text(json.dumps(content))
    arguments = ("coco", "--json", "x.json", "--images", "images", "--folds", "3", "--out", "out")
    code, _, err = main(*arguments)
    message = "x.json annotation 3, id a3: is a crowd region (iscrowd is not 0), not one instance"
    assert code == 2
    assert err.endswith(f"  {message}\n")
    code, out, _ = main(*arguments, "--on-error", "skip")
    assert code == 1
    assert out.endswith(f"  {message}\n")
    records = DataFolder(source / "out").load_split(0, "all")
    assert [len(record.masks) for record in records] == [1, 1, 1, 0, 1, 1]
    assert np.array_equal(records[2].masks.to_dense()[0].numpy(), square(2, 2))


def test_livecell(main, source):
    names = [f"A172_Phase_C{number}_1_00d00h00m_1.tif" for number in range(6)]
    for number, name in enumerate(names):
        Image.open(source / "images" / f"a{number}.png").save(source / "images" / name)
    (source / "x.json").write_text(json.dumps(coco_content(names)))
    code, out, _ = main("livecell", "--json", "x.json", "--images", "images", "--folds", "3", "--out", "out")
    assert code == 0
    assert "6 groups, by type and well" in out
    folder = DataFolder(source / "out")
    assert folder.class_names == ("A172",)
    assert {record.group for record in folder.load_split(0, "all")} == {f"A172_C{number}" for number in range(6)}


def test_label_images(main, source):
    (source / "labels").mkdir()
    for number in range(6):
        labels = square(2, number) * 3 + square(15, number) * 500
        Image.fromarray(labels.astype(np.uint16)).save(source / "labels" / f"a{number}_masks.png")
    rows = [["id", "cell_type", "slide"], *([f"a{number}", "yeast", f"s{number // 2}"] for number in range(6))]
    write_rows(source / "table.csv", rows)
    arguments = ("masks", "--images", "images", "--labels", "labels", "--label-suffix", "_masks", "--folds", "3")
    code, out, _ = main(*arguments, "--table", "table.csv", "--group", "slide", "--out", "out")
    assert code == 0
    assert "3 groups, by slide" in out
    records = DataFolder(source / "out").load_split(0, "all")
    assert {record.cell_type for record in records} == {"yeast"}
    assert np.array_equal(records[4].masks.to_dense().numpy(), np.stack([square(2, 4), square(15, 4)]))


def test_mask_folders(main, source):
    for number in range(6):
        folder = source / "stage1" / f"a{number}"
        (folder / "images").mkdir(parents=True)
        (folder / "masks").mkdir()
        Image.open(source / "images" / f"a{number}.png").convert("RGBA").save(folder / "images" / f"a{number}.png")
        Image.fromarray(square(2, number)).save(folder / "masks" / "m.png")
    code, _, _ = main("masks", "--folders", "stage1", "--cell-type", "nucleus", "--folds", "3", "--out", "out")
    assert code == 0
    folder = DataFolder(source / "out")
    assert folder.class_names == ("nucleus",)
    assert np.array_equal(folder.load_split(0, "all")[5].masks.to_dense()[0].numpy(), square(2, 5))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "error: expected --images with --labels, or --folders\n"),
        (("--images", "images"), "error: expected --images with --labels, or --folders\n"),
        (("--folders", "x", "--labels", "images"), "error: --folders stands alone: --images, --labels"),
        (("--images", "images", "--labels", "images"), "tell them apart with --label-suffix\n"),
    ],
)
def test_masks_options_that_do_not_fit(main, arguments, message):
    code, _, err = main("masks", *arguments, "--out", "out")
    assert code == 2
    assert message in err


SYNTHETIC = (
    "synthetic",
    "--num-images",
    "9",
    "--height",
    "96",
    "--width",
    "120",
    "--images-per-well",
    "1",
    "--folds",
    "3",
)


def test_synthetic_twice_gives_the_same_bytes(main, source):
    files = []
    for parent in ("one", "two"):
        assert main(*SYNTHETIC, "--out", f"{parent}/demo")[0] == 0
        root = source / parent / "demo"
        files.append({str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()})
    assert files[0] == files[1]
    summary = json.loads(files[0]["dataset.json"])
    assert summary["source"] == "synthetic"
    assert summary["class_names"] == ["astro", "cort", "shsy5y"]
    assert (summary["images"], summary["groups"]) == (9, 9)
    assert main(*SYNTHETIC, "--seed", "1", "--out", "three")[0] == 0
    assert (source / "three" / "truth.csv").read_bytes() != files[0]["truth.csv"]


def test_synthetic_source_can_be_kept(main, source):
    assert main(*SYNTHETIC, "--out", "demo", "--keep", "raw")[0] == 0
    assert (
        main("sartorius", "--csv", "raw/train.csv", "--images", "raw/images", "--folds", "3", "--out", "again")[0] == 0
    )
    assert (source / "again" / "truth.csv").read_bytes() == (source / "demo" / "truth.csv").read_bytes()
    code, _, err = main(*SYNTHETIC, "--out", "other", "--keep", "raw")
    assert code == 2
    assert "error: --keep raw: exists and is not an empty folder; choose another" in err


def test_synthetic_checks_out_before_it_draws(main, source):
    (source / "busy").mkdir()
    (source / "busy" / "x").touch()
    code, _, err = main("synthetic", "--num-images", "1000000", "--out", "busy")
    assert code == 2
    assert "busy: exists" in err


@pytest.mark.slow
def test_real_phase_contrast_images(main, source, shared_data):
    data = shared_data / "phase_usiigaci"
    files = ("--csv", str(data / "train.csv"), "--images", str(data / "images"))
    code, _, _ = main("sartorius", *files, "--scale", "0.5", "--folds", "4", "--out", "phase")
    assert code == 0
    folder = DataFolder(source / "phase")
    assert (folder.summary["images"], folder.summary["instances"]) == (37, 2433)
    assert folder.summary["group_column"] == "group"
    for fold in range(4):
        assert {record.cell_type for record in folder.load_split(fold, "val")} == set(folder.class_names)
