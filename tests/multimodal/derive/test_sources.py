"""Predicted cells from a submission and from a results folder."""

import json

import numpy as np
import pytest

from cellseg.errors import InputError, MissingFileError
from cellseg.multimodal.derive.sources import Predictions

SIZE = (4, 5)


@pytest.fixture
def table(tmp_path):
    def write(text):
        path = tmp_path / "sub.csv"
        path.write_text(text)
        return path

    return write


def test_a_submission(table):
    predictions = Predictions.open(table("id,predicted\na,1 2 6 2\nb,\na,20 1\n"))
    assert predictions.keys() == {"a", "b"} and not predictions.scored
    cells = predictions.load("a", SIZE)
    dense = np.zeros((2, *SIZE), bool)
    dense[0, :2, :2] = dense[1, 3, 4] = True
    assert (cells.masks.to_dense().numpy() == dense).all()
    assert cells.class_names == ("cell",) and cells.boxes.tolist() == [[0, 0, 2, 2], [4, 3, 5, 4]]
    assert len(predictions.load("b", SIZE)) == 0
    assert list(predictions.provenance) == ["submission_sha256"]


@pytest.mark.parametrize("names, expected", [(("astro",), ("astro",)), (("astro", "cort"), ("cell",))])
def test_a_submission_has_a_type_only_where_there_is_one(table, names, expected):
    assert Predictions.open(table("id,predicted\na,1 2\n"), names).load("a", SIZE).class_names == expected


@pytest.mark.parametrize(
    "text, message",
    [
        ("id,mask\na,1 2\n", "sub.csv: column predicted is missing"),
        ("", "sub.csv: the file is empty"),
        ("id,predicted\na,1 2,\n", "sub.csv: row 2: 3 fields, but the header has 2 columns"),
        ("id,predicted\na,1 2\n ,\n", "sub.csv: row 3: the id is empty"),
        ("id,predicted\na,1 2\na,\n", "sub.csv: row 3: id 'a' is empty here, but has other rows; remove one"),
        ("id,predicted\na,1 2\na,19 3\n", "sub.csv: row 3: id 'a': RLE pair 1"),
        ("id,predicted\na,1\n", "sub.csv: row 2: id 'a': RLE pair 1: start '1' has no length"),
    ],
)
def test_damaged_submissions(table, text, message):
    with pytest.raises(InputError) as error:
        Predictions.open(table(text)).load("a", SIZE)
    assert message in str(error.value)


def test_images_that_it_says_nothing_about(table):
    predictions = Predictions.open(table("id,predicted\na,\n"))
    predictions.check_keys(["a"], "x")
    wanted = ["a", *(f"i{number}" for number in range(7))]
    with pytest.raises(
        InputError, match="sub.csv: nothing about the image i0, i1, i2, i3, i4 and 2 more; choose others"
    ):
        predictions.check_keys(wanted, "choose others")


def test_a_results_folder(write_results, some_instances):
    cells = some_instances(["dot", "thin", "dot"])
    predictions = Predictions.open(write_results({"a": cells, "b": some_instances([])}))
    assert predictions.scored and predictions.keys() == {"a", "b"}
    assert predictions.class_names == ("Big_one", "dot", "thin")
    found = predictions.load("a", (48, 64))
    assert found.labels.tolist() == [1, 2, 1] and found.scores.tolist() == cells.scores.tolist()
    assert predictions.provenance["ensemble"]["members"] == {"one": "abc"}


def test_a_results_folder_without_images_knows_no_types(write_results):
    assert Predictions.open(write_results({})).class_names == ("cell",)


def test_damaged_results(write_results, some_instances, tmp_path):
    root = write_results({"a": some_instances(["dot"]), "b": some_instances(["dot"], ("dot", "other"))})
    with pytest.raises(InputError, match="a.json: of an image of 64 x 48 pixels; the image is 9 x 8"):
        Predictions.open(root).load("a", (8, 9))
    with pytest.raises(InputError, match="b.json: of other cell types"):
        Predictions.open(root).load("b", (48, 64))
    (root / "instances" / "a.json").write_text(json.dumps({"source": 1}))
    with pytest.raises(InputError, match="a.json: instances: expected the keys .*; run ensemble_infer.py again"):
        Predictions.open(root)
    with pytest.raises(MissingFileError, match="not a results folder of ensemble_infer.py"):
        Predictions.open(tmp_path)
    with pytest.raises(MissingFileError, match="none.csv: no such file"):
        Predictions.open(tmp_path / "none.csv")
