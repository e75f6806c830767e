import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from cellseg.datasets import prepare as prepare_module
from cellseg.datasets.coco import read_coco
from cellseg.datasets.folder import DataFolder
from cellseg.datasets.prepare import Options, prepare
from cellseg.datasets.rescale import rescale_masks
from cellseg.datasets.sartorius import read_sartorius
from cellseg.datasets.summary import format_summary
from cellseg.errors import InputError

THREE_FOLDS = Options(folds=3)


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def prepared(six_wells, tmp_path):
    source = read_sartorius(*six_wells)
    summary = prepare(source, tmp_path / "out", THREE_FOLDS)
    return source, summary, tmp_path / "out"


def test_the_files_of_a_data_folder(prepared):
    source, _, out = prepared
    splits = [
        f"splits/fold{k}/{name}"
        for k in range(3)
        for name in ("test.csv", "test.json", "train.json", "val.csv", "val.json")
    ]
    images = [f"images/{image.key}.png" for image in source.images]
    named = ["annotations.json", "dataset.json", "sheet.png", "splits/all.json", "truth.csv"]
    assert sorted(content(out)) == sorted([*named, *splits, *images])
    assert sorted(path.name for path in out.parent.iterdir()) == ["images", "out", "train.csv"], (
        "nothing hidden is left"
    )


def test_masks_and_pixels_come_back_as_they_were(prepared):
    source, _, out = prepared
    folder = DataFolder(out)
    records = folder.load_split(0, "all")
    assert [record.key for record in records] == [image.key for image in source.images]
    for record, image in zip(records, source.images, strict=True):
        masks, names = image.read_cells(image.size, [])
        assert record.masks.to_dense().equal(masks.to_dense())
        assert [folder.class_names[label] for label in record.labels.tolist()] == names
        assert (record.height, record.width, record.cell_type, record.group) == (24, 32, image.cell_type, image.group)
        with Image.open(folder.image_path(record.file_name)) as written, Image.open(image.path) as read:
            assert written.mode == "L"
            assert np.array_equal(np.asarray(written), np.asarray(read))


def test_splits_partition_the_images_and_never_a_group(prepared):
    folder = DataFolder(prepared[2])
    tested = []
    for fold in range(folder.folds):
        parts = {name: folder.load_split(fold, name) for name in ("train", "val", "test")}
        keys = [record.key for records in parts.values() for record in records]
        assert len(keys) == len(set(keys)) == 12
        groups = [{record.group for record in records} for records in parts.values()]
        assert sum(map(len, groups)) == len(set.union(*groups))
        tested += [record.key for record in parts["test"]]
    assert sorted(tested) == sorted(record.key for record in folder.load_split(0, "all"))


def test_cocos_own_library_reads_it(prepared, capsys):
    source, _, out = prepared
    coco = COCO(str(out / "annotations.json"))
    assert [category["name"] for category in coco.loadCats(coco.getCatIds())] == ["astro", "cort"]
    by_key = {image["key"]: image for image in coco.loadImgs(coco.getImgIds())}
    for image in source.images:
        entry = by_key[image.key]
        assert set(entry) == {"id", "file_name", "width", "height", "key", "cell_type", "group", "fold"}
        annotations = coco.loadAnns(coco.getAnnIds(entry["id"]))
        masks, _ = image.read_cells(image.size, [])
        dense = masks.to_dense().numpy()
        assert np.array_equal(np.stack([coco.annToMask(annotation) for annotation in annotations]).astype(bool), dense)
        for annotation, mask in zip(annotations, dense, strict=True):
            y, x = np.nonzero(mask)
            box = [x.min(), y.min(), x.max() + 1 - x.min(), y.max() + 1 - y.min()]
            assert annotation["bbox"] == box
            assert annotation["area"] == mask.sum()
            assert annotation["iscrowd"] == 0
    capsys.readouterr()


def test_truth_can_be_prepared_again(prepared, tmp_path):
    """The CSV and the COCO file of a data folder are inputs like any others, and tell the same."""
    _, summary, out = prepared
    from_csv = prepare(read_sartorius(out / "truth.csv", out / "images"), tmp_path / "csv", THREE_FOLDS)
    from_coco = prepare(read_coco([out / "annotations.json"], out / "images"), tmp_path / "coco", THREE_FOLDS)
    for again, name in ((from_csv, "csv"), (from_coco, "coco")):
        assert again["group_column"] == "group"
        assert {key: again[key] for key in ("mean", "std", "per_class", "image_sizes")} == {
            key: summary[key] for key in ("mean", "std", "per_class", "image_sizes")
        }
        for file in ("truth.csv", "annotations.json", "splits/fold1/train.json", "splits/fold2/val.csv"):
            assert (tmp_path / name / file).read_bytes() == (out / file).read_bytes()


def test_split_tables_hold_the_rows_of_their_images(prepared):
    out = prepared[2]
    header, *rows = (out / "truth.csv").read_text().splitlines()
    assert header == "id,annotation,width,height,cell_type,group"
    folder = DataFolder(out)
    for fold in range(3):
        for name in ("val", "test"):
            keys = {record.key for record in folder.load_split(fold, name)}
            lines = folder.truth_file(fold, name).read_text().splitlines()
            assert lines == [header, *(row for row in rows if row.split(",")[0] in keys)]


def test_images_without_cells_stay(write_cells, tmp_path):
    csv_path, images = write_cells({f"astro_{well}": [f"a{well}"] for well in "ABCD"})
    lines = csv_path.read_text().splitlines()
    csv_path.write_text("\n".join([lines[0], "aA,,32,24,astro,astro_A", *lines[2:]]) + "\n")
    summary = prepare(read_sartorius(csv_path, images), tmp_path / "out", THREE_FOLDS)
    assert (summary["images"], summary["instances"]) == (4, 3)
    record = DataFolder(tmp_path / "out").load_split(0, "all")[0]
    assert (record.key, len(record.masks), record.labels.tolist()) == ("aA", 0, [])
    assert "aA,,32,24,astro,astro_A\n" in (tmp_path / "out" / "truth.csv").read_text()


def test_statistics_are_those_of_the_training_images(six_wells, tmp_path):
    source = read_sartorius(*six_wells)
    summary = prepare(source, tmp_path / "out", Options(folds=1, val=0.3))
    folder = DataFolder(tmp_path / "out")
    train = folder.load_split(0, "train")
    assert len(train) < 12
    pixels = np.concatenate([np.asarray(Image.open(folder.image_path(r.file_name))).ravel() for r in train]).astype(
        float
    )
    assert folder.mean == pytest.approx([pixels.mean()] * 3, abs=1e-4)
    assert folder.std == pytest.approx([pixels.std()] * 3, abs=1e-4)
    assert summary["splits"] == [{"train": len(train), "val": 12 - len(train), "test": 0}]


def test_a_second_run_writes_the_same_bytes(six_wells, tmp_path):
    for parent in ("first", "second"):
        prepare(read_sartorius(*six_wells), tmp_path / parent / "out", Options(folds=3, scale=0.7, repair="bridge"))
    assert content(tmp_path / "first" / "out") == content(tmp_path / "second" / "out")


def test_nothing_in_the_folder_names_this_machine(prepared, tmp_path):
    for name, data in content(prepared[2]).items():
        assert str(tmp_path).encode() not in data, name


def test_folds_fit_the_groups_by_default(six_wells, write_cells, tmp_path):
    assert prepare(read_sartorius(*six_wells), tmp_path / "six", Options())["folds"] == 5
    few = write_cells({"astro_A": ["a"], "astro_B": ["b"], "cort_A": ["c"]}, folder=tmp_path / "few")
    assert prepare(read_sartorius(*few), tmp_path / "three", Options())["folds"] == 3


def test_scale(six_wells, tmp_path):
    source = read_sartorius(*six_wells)
    summary = prepare(source, tmp_path / "out", Options(folds=3, scale=0.5))
    assert summary["image_sizes"] == [{"height": 12, "width": 16, "images": 12}]
    for record, image in zip(DataFolder(tmp_path / "out").load_split(0, "all"), source.images, strict=True):
        masks, _ = image.read_cells(image.size, [])
        assert record.masks.to_dense().equal(rescale_masks(masks, (12, 16)).to_dense())


def test_masks_that_vanish_are_counted(six_wells, tmp_path):
    summary = prepare(read_sartorius(*six_wells), tmp_path / "out", Options(folds=3, scale=0.05))
    assert summary["defects"]["vanished"] == 18
    assert summary["instances"] == 0
    assert "vanished at this scale: 18 masks" in format_summary(summary)


def test_repair_is_counted(write_cells, tmp_path):
    csv_path, images = write_cells({f"astro_{well}": [f"a{well}"] for well in "ABC"})
    lines = csv_path.read_text().splitlines()
    # A 3 x 3 ring, and a single pixel far from it.
    lines[1] = "aA,34 3 66 1 68 1 98 3 300 1,32,24,astro,astro_A"
    csv_path.write_text("\n".join(lines) + "\n")
    source = read_sartorius(csv_path, images)
    plain = prepare(source, tmp_path / "plain", THREE_FOLDS)
    assert plain["defects"] == {"with_holes": 1, "in_parts": 1, "vanished": 0}
    assert set(plain["repair"].values()) == {0}
    mended = prepare(source, tmp_path / "mended", Options(folds=3, repair="largest"))
    assert mended["repair"] == {"filled": 1, "bridged": 0, "reduced": 1, "pixels_added": 1, "pixels_removed": 1}
    assert "repaired (largest): 1 filled, 0 bridged, 1 reduced" in format_summary(mended)
    assert "aA,34 3 66 3 98 3,32,24,astro,astro_A\n" in (tmp_path / "mended" / "truth.csv").read_text()


def test_provenance_follows_the_inputs(six_wells, tmp_path):
    first = prepare(read_sartorius(*six_wells), tmp_path / "a", THREE_FOLDS)["provenance"]
    path = six_wells[1] / "cortBy.png"
    changed = np.asarray(Image.open(path)).copy()
    changed[0, 0] += 1
    Image.fromarray(changed).save(path)
    second = prepare(read_sartorius(*six_wells), tmp_path / "b", THREE_FOLDS)["provenance"]
    assert first["images"] != second["images"]
    assert first["inputs"] == second["inputs"] != {}
    assert set(first["versions"]) == {"cellseg", "numpy", "opencv", "pillow", "tifffile"}


def test_refusing_lists_twenty_problems_and_writes_nothing(write_cells, tmp_path):
    csv_path, images = write_cells({f"astro_{well}": [f"a{well:02d}"] for well in range(30)})
    for path in sorted(images.iterdir())[:24]:
        path.unlink()
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(InputError) as error:
        prepare(read_sartorius(csv_path, images), tmp_path / "new" / "out", THREE_FOLDS)
    head, *lines = str(error.value).splitlines()
    assert (
        head
        == "24 problems in the input, nothing was written; mend the input, or leave these out with --on-error skip:"
    )
    assert len(lines) == 21
    assert lines[0] == "  row 2, id a00: no image file a00.png (or .jpg, .jpeg, .bmp, .tif, .tiff) in images/"
    assert lines[-1] == "  and 4 more"
    assert sorted(os.listdir(tmp_path)) == sorted([*before, "new"])
    assert os.listdir(tmp_path / "new") == []


def test_problems_in_rows_and_in_images_are_listed_together(six_wells, tmp_path):
    csv_path, images = six_wells
    (images / "astroAx.png").unlink()
    Image.fromarray(np.zeros((24, 31), np.uint8)).save(images / "cortAx.png")
    (images / "cortBx.png").write_bytes(b"no image")
    with pytest.raises(InputError) as error:
        prepare(read_sartorius(csv_path, images), tmp_path / "out", THREE_FOLDS)
    lines = str(error.value).splitlines()
    assert lines[0].startswith("3 problems")
    assert "id astroAx: no image file" in lines[1]
    assert "id cortAx: the image cortAx.png is 31 x 24 (width x height), its annotations say 32 x 24" in lines[2]
    assert "id cortBx" in lines[3] and "cannot be read as an image" in lines[3]


def test_skipping_leaves_out_and_lists(six_wells, tmp_path):
    csv_path, images = six_wells
    (images / "astroAx.png").unlink()
    summary = prepare(read_sartorius(csv_path, images), tmp_path / "out", Options(folds=3, on_error="skip"))
    assert summary["images"] == 11
    reason = "no image file astroAx.png (or .jpg, .jpeg, .bmp, .tif, .tiff) in images/"
    assert summary["skipped"] == [{"row": 2, "id": "astroAx", "reason": reason}]
    assert json.loads((tmp_path / "out" / "dataset.json").read_text()) == summary
    assert f"  row 2, id astroAx: {reason}" in format_summary(summary)


def test_skipping_everything_writes_nothing(six_wells, tmp_path):
    csv_path, images = six_wells
    for path in images.iterdir():
        path.unlink()
    with pytest.raises(InputError, match="12 problems in the input leave no image to prepare; nothing was written"):
        prepare(read_sartorius(csv_path, images), tmp_path / "out", Options(folds=3, on_error="skip"))
    assert not (tmp_path / "out").exists()


def test_an_interrupted_run_leaves_what_was_there(prepared, monkeypatch):
    source, _, out = prepared
    before = content(out.parent)

    def interrupt(path):
        if path.name == "cortAx.png":
            raise KeyboardInterrupt
        return np.zeros((24, 32), np.uint8)

    monkeypatch.setattr(prepare_module, "read_image", interrupt)
    with pytest.raises(KeyboardInterrupt):
        prepare(source, out, Options(folds=3, overwrite=True))
    assert content(out.parent) == before


def test_colour_and_deep_images(write_cells, tmp_path):
    csv_path, images = write_cells({f"astro_{well}": [f"a{well}"] for well in "ABC"})
    colours = np.random.default_rng(0).integers(0, 255, (24, 32, 3), dtype=np.uint8)
    Image.fromarray(colours).save(images / "aA.png")
    Image.fromarray(np.linspace(500, 900, 24 * 32).reshape(24, 32).astype(np.uint16)).save(images / "aB.png")
    prepare(read_sartorius(csv_path, images), tmp_path / "out", THREE_FOLDS)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out" / "images" / "aA.png")), colours)
    deep = Image.open(tmp_path / "out" / "images" / "aB.png")
    assert deep.mode == "L"
    assert np.asarray(deep).min() == 0 and np.asarray(deep).max() == 255


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (dict(scale=0.0), "--scale 0: expected a factor above 0, at most 16"),
        (dict(scale=float("nan")), "--scale nan: expected a factor above 0, at most 16"),
        (dict(scale=17.0), "--scale 17: expected a factor above 0, at most 16"),
        (dict(repair="convex"), "--repair convex: expected one of none, fill, largest, bridge"),
        (dict(on_error="ignore"), "--on-error ignore: expected one of refuse, skip"),
        (dict(folds=7), "--folds 7 needs at least 7 groups, as a group is never split, but there are only 6"),
        (dict(folds=0), "--folds 0: expected at least 1"),
        (dict(val=1.0), "--val 1: expected a fraction between 0 and 1"),
        (dict(seed=-1), "--seed -1: expected 0 or more"),
    ],
)
def test_options_that_cannot_be_used(six_wells, tmp_path, values, message):
    with pytest.raises(InputError, match=message):
        prepare(read_sartorius(*six_wells), tmp_path / "out", Options(**values))
    assert not (tmp_path / "out").exists()
