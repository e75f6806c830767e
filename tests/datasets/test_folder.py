import json

import pytest

from cellseg.datasets.folder import DataFolder
from cellseg.datasets.prepare import Options, prepare
from cellseg.datasets.sartorius import read_sartorius
from cellseg.errors import InputError, MissingFileError


@pytest.fixture
def root(six_wells, tmp_path):
    prepare(read_sartorius(*six_wells), tmp_path / "data", Options(folds=3))
    return tmp_path / "data"


def change(path, edit) -> None:
    value = json.loads(path.read_text())
    edit(value)
    path.write_text(json.dumps(value))


def test_what_it_tells(root):
    folder = DataFolder(root)
    assert folder.class_names == ("astro", "cort")
    assert (len(folder.mean), len(folder.std), folder.folds) == (3, 3, 3)
    assert folder.split_file(1, "val") == root / "splits" / "fold1" / "val.json"
    assert folder.split_file(0, "all") == root / "splits" / "all.json"
    assert folder.truth_file(2, "test") == root / "splits" / "fold2" / "test.csv"
    assert folder.truth_file(0, "all") == root / "truth.csv"
    assert folder.image_path("astroAx.png") == root / "images" / "astroAx.png"


def test_image_ids_are_those_of_the_file(root):
    folder = DataFolder(root)
    images = json.loads(folder.split_file(1, "train").read_text())["images"]
    assert folder.image_ids(1, "train") == {image["key"]: image["id"] for image in images}


def test_loading_only_some_images(root):
    records = DataFolder(root).load_split(0, "all", keys={"cortBy", "astroAx"})
    assert [(record.key, len(record.masks)) for record in records] == [("astroAx", 1), ("cortBy", 2)]


@pytest.mark.parametrize(
    ("fold", "name", "message"),
    [
        (3, "train", "fold 3 does not exist; the folder has folds 0 to 2"),
        (-1, "train", "fold -1 does not exist; the folder has folds 0 to 2"),
        (0, "training", "split 'training' is not one of train, val, test, all"),
    ],
)
def test_splits_that_do_not_exist(root, fold, name, message):
    with pytest.raises(InputError, match=message):
        DataFolder(root).split_file(fold, name)


def test_no_truth_of_the_training_split(root):
    with pytest.raises(InputError, match="there is no CSV of the training split; use val, test or all"):
        DataFolder(root).truth_file(0, "train")


def test_a_single_fold_has_no_test_split(six_wells, tmp_path):
    prepare(read_sartorius(*six_wells), tmp_path / "one", Options(folds=1))
    folder = DataFolder(tmp_path / "one")
    assert len(folder.load_split(0, "train")) + len(folder.load_split(0, "val")) == 12
    with pytest.raises(InputError, match="prepared with --folds 1, so it has no test split; prepare more folds"):
        folder.split_file(0, "test")


@pytest.mark.parametrize("name", ["../dataset.json", "/etc/passwd", "a/b.png", "..", ""])
def test_image_names_stay_inside(root, name):
    with pytest.raises(InputError, match="is not a plain file name"):
        DataFolder(root).image_path(name)


def test_folders_that_are_none(tmp_path):
    with pytest.raises(
        MissingFileError, match=r"not a data folder \(it has no dataset.json\); run tools/prepare_data.py"
    ):
        DataFolder(tmp_path / "nowhere")
    (tmp_path / "dataset.json").write_text('{"format": "other"}')
    with pytest.raises(InputError, match="not the summary of a data folder"):
        DataFolder(tmp_path)


def test_missing_files(root):
    folder = DataFolder(root)
    (root / "splits" / "fold0" / "val.json").unlink()
    with pytest.raises(
        MissingFileError, match="val.json: no such file; run tools/prepare_data.py to write a data folder anew"
    ):
        folder.load_split(0, "val")
    (root / "images" / "astroAx.png").unlink()
    with pytest.raises(MissingFileError, match="astroAx.png: no such image; run tools/prepare_data.py"):
        folder.load_split(0, "all")


DAMAGE = {
    "no list": (lambda value: value.pop("annotations"), "damaged, the list 'annotations' is missing"),
    "no key": (lambda value: value["images"][1].pop("key"), r"images\[1\] lacks key"),
    "no number": (
        lambda value: value["annotations"][0].update(image_id=[]),
        r"annotations\[0\]: image_id is not a whole",
    ),
    "unknown image": (lambda value: value["annotations"][0].update(image_id=99), "annotation 1 names an unknown image"),
    "path": (
        lambda value: value["images"][0].update(file_name="../../x.png"),
        "'../../x.png' is not a plain file name",
    ),
    "class": (lambda value: value["categories"][0].update(name="x"), "its categories are not those of dataset.json"),
    "counts": (
        lambda value: value["annotations"][0]["segmentation"].update(counts=[3, 2]),
        "image astroAx: .*the counts add up to 5",
    ),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_annotations(root, case):
    edit, message = DAMAGE[case]
    change(root / "splits" / "all.json", edit)
    with pytest.raises(InputError, match=message) as error:
        DataFolder(root).load_split(0, "all")
    assert str(root) in str(error.value)
