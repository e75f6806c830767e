"""tools/evaluate.py as a user calls it."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[2] / "tools" / "evaluate.py"

TRUTH = """id,annotation,width,height,cell_type,group
astro1,1 3 7 3 13 3,6,5,astro,w1
astro1,5 2 11 2,6,5,astro,w1
cort1,1 2,4,4,cort,w2
none,,8,8,cort,w3
"""

PREDICTIONS = """id,predicted
astro1,1 3 7 3
cort1,1 2
cort1,9 4
none,
"""


@pytest.fixture
def tables(tmp_path):
    (tmp_path / "sub.csv").write_text(PREDICTIONS)
    (tmp_path / "truth.csv").write_text(TRUTH)
    return tmp_path


def run(folder, *arguments):
    command = [sys.executable, str(TOOL), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)


@pytest.fixture
def main(tables, monkeypatch, capsys):
    """The tool's own main in the folder of the tables: exit code, stdout, stderr."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("evaluate_tool", TOOL)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setattr(sys, "path", list(sys.path))
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, "argv", [str(TOOL)])
    monkeypatch.chdir(tables)

    def call(*arguments):
        capsys.readouterr()
        try:
            code = module.main(list(arguments))
        except SystemExit as ended:  # how argparse ends
            code = ended.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_report_json_and_table(tables):
    done = run(tables, "sub.csv", "truth.csv", "--json", "out/scores.json", "--per-image", "out/images.csv")
    assert (done.returncode, done.stderr) == (0, "")
    # astro1: one of two cells at IoU 6/9, thresholds 0.50 to 0.65; cort1: the cell and an invented one; none: 1
    expected = (0.4 * 0.5 + 0.5 + 1.0) / 3
    assert f"  all images       3      3          3  {expected:.4f}" in done.stdout
    assert [line.split()[0] for line in done.stdout.splitlines()[-3:]] == ["astro1", "cort1", "none"]

    values = json.loads((tables / "out" / "scores.json").read_text())
    assert values["map"] == pytest.approx(expected)
    assert values["per_type"] == pytest.approx({"astro": 0.2, "cort": 0.75})
    assert values["ap"]["0.50"] == pytest.approx((0.5 + 0.5 + 1) / 3)
    assert values["ap"]["0.95"] == pytest.approx((0 + 0.5 + 1) / 3)
    assert {image["id"]: image["map"] for image in values["images"]} == pytest.approx(
        {"astro1": 0.2, "cort1": 0.5, "none": 1.0}
    )
    assert values["errors"]["cells"]["missed"] == 1
    assert values["errors"]["predictions"]["invented"] == 1
    assert str(tables) not in json.dumps(values)

    rows = list(csv.DictReader((tables / "out" / "images.csv").open()))
    assert [row["id"] for row in rows] == ["astro1", "cort1", "none"]


def test_same_input_same_output(main, tables):
    arguments = ["sub.csv", "truth.csv", "--json", "scores.json", "--per-image", "images.csv"]
    first = main(*arguments), (tables / "scores.json").read_bytes(), (tables / "images.csv").read_bytes()
    second = main(*arguments), (tables / "scores.json").read_bytes(), (tables / "images.csv").read_bytes()
    assert first == second


def test_truth_against_itself_is_exactly_one(main, tables):
    with open(tables / "truth.csv") as file:
        rows = [(row["id"], row["annotation"]) for row in csv.DictReader(file)]
    (tables / "sub.csv").write_text("id,predicted\n" + "".join(f"{key},{mask}\n" for key, mask in rows))
    assert main("sub.csv", "truth.csv", "--json", "scores.json")[0] == 0
    values = json.loads((tables / "scores.json").read_text())
    assert values["map"] == 1.0
    assert set(values["ap"].values()) == set(values["per_type"].values()) == {1.0}
    assert values["f1"] == values["pq"] == values["mean_best_iou"] == 1.0


@pytest.mark.parametrize("name", ["phase_usiigaci", "nuclei_dsb2018"])
def test_real_truth_against_itself_is_exactly_one(main, tables, name):
    path = TOOL.parents[2] / "shared" / "data" / name / "train.csv"
    if not path.is_file():
        pytest.skip("real data not here")
    with open(path, newline="") as file:
        rows = [(row["id"], row["annotation"]) for row in csv.DictReader(file)]
    (tables / "sub.csv").write_text("id,predicted\n" + "".join(f"{key},{mask}\n" for key, mask in rows))
    assert main("sub.csv", str(path), "--json", "scores.json")[0] == 0
    assert json.loads((tables / "scores.json").read_text())["map"] == 1.0


def test_truth_may_overlap_and_predictions_not(main, tables):
    (tables / "truth.csv").write_text("id,annotation,width,height\na,1 4,6,5\na,3 6,6,5\n")
    (tables / "sub.csv").write_text("id,predicted\na,1 4\na,5 4\n")
    code, out, _ = main("sub.csv", "truth.csv", "--json", "scores.json")
    assert code == 0
    # The second prediction has IoU 4/6 with the second cell: a match up to 0.65.
    assert json.loads((tables / "scores.json").read_text())["map"] == pytest.approx(0.4 + 0.6 / 3)

    (tables / "sub.csv").write_text("id,predicted\na,1 4\na,3 6\n")
    code, out, error = main("sub.csv", "truth.csv")
    assert (code, out) == (2, "")
    assert error == (
        "evaluate.py: error: sub.csv: image 'a': the masks of rows 2 and 3 overlap in 2 pixels; the competition "
        "refuses overlapping predictions, so give each pixel to one cell\n"
    )


def test_without_cell_types(main, tables):
    (tables / "truth.csv").write_text("id,annotation,width,height\na,1 4,6,5\n")
    (tables / "sub.csv").write_text("id,predicted\na,1 4\n")
    code, out, _ = main("sub.csv", "truth.csv", "--json", "scores.json")
    assert code == 0
    assert json.loads((tables / "scores.json").read_text())["per_type"] == {}
    assert out.splitlines()[-1].split()[:3] == ["a", "-", "1.0000"]


def test_size_edges(main, tables):
    code, out, _ = main("sub.csv", "truth.csv", "--size-edges", "4", "9", "--json", "scores.json")
    assert code == 0
    assert "  below 4 " in out and "  4 to 8 " in out and "  9 or more " in out
    bins = json.loads((tables / "scores.json").read_text())["recall_by_size"]
    assert [(size["cells"], size["found"]) for size in bins] == [(1, 1), (1, 0), (1, 1)]


# What is wrong in which file, and the message. Every one leaves with 2, prints nothing else and writes nothing.
ROWS = "id,annotation,width,height\n"
BAD = {
    "no header": ("sub", "a,1 1\n", "sub.csv: the header is 'a,1 1', expected 'id,predicted'"),
    "header variant": ("sub", "Id,Predicted\na,1 1\n", "expected 'id,predicted': names are lower case without spaces"),
    "overlap": (
        "sub",
        PREDICTIONS + "cort1,12 2\n",
        "sub.csv: image 'cort1': the masks of rows 4 and 6 overlap in 1 pixel",
    ),
    "unknown id": (
        "sub",
        PREDICTIONS + "other,\n",
        "sub.csv: 1 id not in the truth: 'other' (row 6); remove these rows",
    ),
    "missing id": (
        "sub",
        PREDICTIONS.replace("none,\n", ""),
        "sub.csv: 1 image of the truth without a row: 'none'; every image needs one, an image without cells the row "
        "`id,` with nothing after the comma",
    ),
    "two empty rows": ("sub", PREDICTIONS + "none,\n", "sub.csv: row 6: id 'none' has an empty row already (row 5)"),
    "empty and not": ("sub", PREDICTIONS + "cort1,\n", "sub.csv: row 6: id 'cort1' is empty here, which says that"),
    "same row twice": ("sub", PREDICTIONS + "cort1,1 2\n", "sub.csv: row 6: id 'cort1' has the same mask as row 3"),
    "damaged mask": ("sub", PREDICTIONS + "cort1,4 1 6\n", "sub.csv: row 6: id 'cort1': RLE pair 2: start '6' has no"),
    "mask past the end": ("sub", PREDICTIONS + "cort1,15 3\n", "sub.csv: row 6: id 'cort1': RLE pair 1: the run 15 3"),
    "fields": ("sub", PREDICTIONS + "cort1,4 1,7\n", "sub.csv: row 6: 3 fields, but the header has 2 columns"),
    "truth damaged": ("truth", TRUTH + "cort1,0 3,4,4,cort,w2\n", "truth.csv: row 6: id 'cort1': RLE pair 1: start 0"),
    "truth bad width": (
        "truth",
        TRUTH + "cort1,4 1,x,4,cort,w2\n",
        "truth.csv: row 6: width should be a whole number of pixels above 0, found 'x'",
    ),
    "truth bad height": ("truth", TRUTH + "cort1,4 1,4,0,cort,w2\n", "truth.csv: row 6: height should be a whole"),
    "truth two sizes": (
        "truth",
        TRUTH + "cort1,4 1,4,5,cort,w2\n",
        "truth.csv: row 6: id 'cort1' is 4 x 5 pixels (width x height) here and 4 x 4 in row 4",
    ),
    "truth same row twice": (
        "truth",
        TRUTH + "cort1,1 2,4,4,cort,w2\n",
        "truth.csv: row 6: id 'cort1' has the same mask as row 4",
    ),
    "truth two empty rows": ("truth", TRUTH + "none,,8,8,,\n", "truth.csv: row 6: id 'none' has an empty row already"),
    "truth without height": (
        "truth",
        "id,annotation,width\n",
        "truth.csv: the header is 'id,annotation,width', expected",
    ),
    "truth without rows": ("truth", ROWS, "truth.csv: no rows below the header"),
}


@pytest.mark.parametrize(("which", "text", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input(main, tables, which, text, message):
    (tables / f"{which}.csv").write_text(text)
    code, out, error = main("sub.csv", "truth.csv", "--json", "scores.json", "--per-image", "images.csv")
    assert (code, out) == (2, "")
    assert error.startswith("evaluate.py: error: ") and message in error
    assert error.count("\n") == 1
    assert sorted(path.name for path in tables.iterdir()) == ["sub.csv", "truth.csv"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.csv", "truth.csv"], "absent.csv: no such file"),
        (["sub.csv", "absent.csv"], "absent.csv: no such file"),
        (["truth.csv", "sub.csv"], "sub.csv: the header is 'id,predicted', .* the predictions come first"),
        (["sub.csv", "truth.csv", "--size-edges", "9", "4"], "size edges should be ascending and above 0, found 9 4"),
        (["sub.csv"], "the following arguments are required: TRUTH.csv"),
        (["sub.csv", "truth.csv", "--size-edges", "x"], "argument --size-edges: invalid int value: 'x'"),
    ],
)
def test_bad_arguments(main, arguments, message):
    code, out, error = main(*arguments)
    assert (code, out) == (2, "")
    assert re.search(message, error)


def test_error_as_the_user_sees_it(tables):
    done = run(tables, "absent.csv", "truth.csv")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "evaluate.py: error: absent.csv: no such file\n"


def test_help_has_an_example(main):
    code, out, _ = main("--help")
    assert code == 0
    assert "example:\n  python tools/evaluate.py" in out
