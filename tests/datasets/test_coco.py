import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from cellseg.datasets.coco import read_coco, read_livecell
from cellseg.datasets.coco_cells import polygon_masks
from cellseg.errors import InputError, MissingFileError

SIZE = (20, 30)


def square(x: int, y: int, side: int) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[y : y + side, x : x + side] = True
    return mask


def compressed(mask: np.ndarray) -> dict:
    rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(rle["size"]), "counts": rle["counts"].decode()}


def uncompressed(mask: np.ndarray) -> dict:
    flat = mask.ravel(order="F").astype(int)
    changes = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *changes, flat.size]).tolist()
    return {"size": list(mask.shape), "counts": counts if flat[0] == 0 else [0, *counts]}


def outline(x: int, y: int, side: int) -> list[float]:
    return [x, y, x + side, y, x + side, y + side, x, y + side]


@pytest.fixture
def content():
    """Two images in folders; polygon, both run lengths, and a polygon in two parts."""
    images = [
        {"id": 7, "file_name": "train/a.png", "width": 30, "height": 20, "plate": "p1"},
        {"id": 9, "file_name": "b.png", "width": 30, "height": 20, "plate": "p2"},
        {"id": 11, "file_name": "c.png", "width": 30, "height": 20, "plate": "p2"},
    ]
    annotations = [
        {"id": 1, "image_id": 7, "category_id": 5, "segmentation": [outline(2, 3, 4)], "iscrowd": 0},
        {"id": 2, "image_id": 9, "category_id": 2, "segmentation": compressed(square(1, 1, 5))},
        {"id": 3, "image_id": 7, "category_id": 5, "segmentation": uncompressed(square(0, 0, 2)), "iscrowd": 0},
        {"id": 4, "image_id": 7, "category_id": 2, "segmentation": [outline(10, 10, 3), outline(12, 12, 4)]},
    ]
    categories = [{"id": 5, "name": "neuron"}, {"id": 2, "name": "glia"}]
    return {"images": images, "annotations": annotations, "categories": categories}


@pytest.fixture
def read(tmp_path, content):
    """Writes ``content`` with its images and reads it."""
    (tmp_path / "images" / "train").mkdir(parents=True)
    for name in ("train/a.png", "b.png", "c.png"):
        Image.fromarray(np.zeros(SIZE, np.uint8)).save(tmp_path / "images" / name)

    def read_it(**options):
        (tmp_path / "x.json").write_text(json.dumps(content))
        return read_coco([tmp_path / "x.json"], tmp_path / "images", **options)

    return read_it


def all_cells(source):
    problems, cells = list(source.problems), {}
    for image in source.images:
        masks, names = image.read_cells(SIZE, problems)
        cells[image.key] = (masks.to_dense().numpy(), names)
    return cells, [str(problem) for problem in problems]


def test_polygons_and_both_run_lengths(read):
    source = read()
    cells, problems = all_cells(source)
    assert problems == []
    assert source.class_names == ("glia", "neuron")
    masks, names = cells["train__a"]
    assert names == ["neuron", "neuron", "glia"]
    expected = [square(2, 3, 4), square(0, 0, 2), square(10, 10, 3) | square(12, 12, 4)]
    assert np.array_equal(masks, np.stack(expected))
    assert np.array_equal(cells["b"][0], square(1, 1, 5)[None])
    assert cells["c"] == (pytest.approx(np.zeros((0, *SIZE))), [])


def test_types_and_groups(read, content):
    source = read()
    assert source.group_column == "image"
    assert {image.key: image.cell_type for image in source.images} == {
        "train__a": "neuron",
        "b": "glia",
        "c": "unlabelled",
    }
    content["images"][2]["cell_type"] = "glia"
    source = read(group="plate")
    assert {image.key: (image.cell_type, image.group) for image in source.images} == {
        "train__a": ("neuron", "p1"),
        "b": ("glia", "p2"),
        "c": ("glia", "p2"),
    }
    with pytest.raises(InputError, match="--group well needs the column 'well'; the file has file_name"):
        read(group="well")


BAD = {
    "crowd": (
        "annotations",
        1,
        {"iscrowd": 1},
        "x.json annotation 2, id b: is a crowd region (iscrowd is not 0), not one instance",
    ),
    "unknown image": ("annotations", 1, {"image_id": 5}, "x.json annotation 2: image_id 5 is not among the images"),
    "unknown category": (
        "annotations",
        1,
        {"category_id": 1},
        "x.json annotation 2, id b: category_id 1 is not among the categories",
    ),
    "annotation id twice": ("annotations", 1, {"id": 1}, "x.json annotation 1, id b: id 1 is used twice"),
    "annotation without id": (
        "annotations",
        1,
        {"id": None},
        "x.json annotations[1], id b: id None is not a whole number",
    ),
    "no segmentation": (
        "annotations",
        0,
        {"segmentation": None},
        "x.json annotation 1, id train__a: has no segmentation; expected polygons or run lengths",
    ),
    "no polygons": (
        "annotations",
        0,
        {"segmentation": []},
        "x.json annotation 1, id train__a: has an empty list of polygons",
    ),
    "short polygon": (
        "annotations",
        0,
        {"segmentation": [[1, 2, 3, 4]]},
        "x.json annotation 1, id train__a: polygon 1 is not a flat list of at least three x, y pairs",
    ),
    "polygon with text": (
        "annotations",
        0,
        {"segmentation": [[1, 2, 3, 4, 5, "6"]]},
        "x.json annotation 1, id train__a: polygon 1 holds '6', which is not a coordinate",
    ),
    "polygon with NaN": (
        "annotations",
        0,
        {"segmentation": [[1, 2, 3, 4, 5, float("nan")]]},
        "x.json annotation 1, id train__a: polygon 1 holds nan, which is not a coordinate",
    ),
    "polygon far away": (
        "annotations",
        0,
        {"segmentation": [[1, 2, 3, 4, 5, 10**400]]},
        "x.json annotation 1, id train__a: polygon 1 holds 1000000000000000000000000000000000000000, "
        "which is not a coordinate",
    ),
    "polygon outside": (
        "annotations",
        0,
        {"segmentation": [outline(100, 100, 5)]},
        "x.json annotation 1, id train__a: its segmentation has no pixel of the image",
    ),
    "counts too short": (
        "annotations",
        0,
        {"segmentation": {"size": [20, 30], "counts": [3, 2]}},
        "x.json annotation 1, id train__a: COCO RLE: the counts add up to 5, but an image of 20 x 30",
    ),
    "run lengths of another size": (
        "annotations",
        0,
        {"segmentation": compressed(np.ones((5, 5), bool))},
        "x.json annotation 1, id train__a: COCO RLE of size 5 x 5 in an image of 20 x 30 (height x width)",
    ),
    "image id twice": ("images", 1, {"id": 7}, "x.json image 7: id 7 is used twice"),
    "image without id": ("images", 2, {"id": "c"}, "x.json images[2]: has no whole number as id"),
    "file twice": ("images", 2, {"file_name": "b.png"}, "x.json image 11, id b: its name is taken by x.json image 9"),
    "path upwards": (
        "images",
        2,
        {"file_name": "../x.png"},
        "x.json image 11: file name '../x.png' leads out of the image folder; expected a path inside it",
    ),
    "absolute path": (
        "images",
        2,
        {"file_name": "/etc/x.png"},
        "x.json image 11: file name '/etc/x.png' leads out of the image folder; expected a path inside it",
    ),
    "missing file": ("images", 2, {"file_name": "d.png"}, "x.json image 11, id d: no image file d.png in images/"),
    "no width": ("images", 2, {"width": 3.5}, "x.json image 11, id c: width 3.5 is not a whole number of pixels"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_entries_are_reported(read, content, case):
    part, index, change, message = BAD[case]
    content[part][index].update(change)
    _, problems = all_cells(read())
    assert problems[0].startswith(message)


def test_an_image_of_which_no_annotation_is_usable(read, content):
    content["annotations"][1]["segmentation"] = [outline(100, 100, 5)]
    image = next(image for image in read().images if image.key == "b")
    with pytest.raises(InputError, match="none of its 1 annotations can be used"):
        image.read_cells(SIZE, [])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "not a COCO file"),
        ("{", "not a JSON file"),
        ('{"images": [], "annotations": [], "categories": []}', "names no images"),
        ('{"images": [{}], "annotations": []}', "not a COCO file (the list 'categories' is missing)"),
        ('{"images": [{}], "annotations": [], "categories": []}', "names no categories"),
        ('{"images": [{}], "annotations": [], "categories": [{"id": 1}]}', "needs an id and a name that no other has"),
    ],
)
def test_files_that_are_not_coco(tmp_path, text, message):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(InputError) as error:
        read_coco([tmp_path / "x.json"], tmp_path)
    assert str(error.value).startswith(str(tmp_path / "x.json"))
    assert message in str(error.value)


def test_missing_file(tmp_path):
    with pytest.raises(MissingFileError, match="x.json: no such file"):
        read_coco([tmp_path / "x.json"], tmp_path)


def test_several_files_need_the_same_categories(tmp_path, read, content):
    read()
    content["categories"][0]["name"] = "other"
    (tmp_path / "y.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="y.json: its categories differ from those of .*x.json"):
        read_coco([tmp_path / "x.json", tmp_path / "y.json"], tmp_path / "images")


def test_polygons_agree_with_pycocotools_on_pixel_edges():
    """On whole coordinates both fill the same pixels; in between, pycocotools rounds to fifths of a pixel."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        x0, y0 = rng.integers(0, 10, 2)
        x1, y1 = x0 + rng.integers(1, 15), y0 + rng.integers(1, 10)
        polygon = [float(value) for value in (x0, y0, x1, y0, x1, y1, x0, y1)]
        expected = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects([polygon], *SIZE))).astype(bool)
        assert np.array_equal(polygon_masks([[polygon]], SIZE).to_dense()[0].numpy(), expected)


# -- LIVECell ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def livecell(tmp_path):
    names = ["A172_Phase_C7_1_00d00h00m_1.tif", "A172_Phase_C7_2_01d04h00m_3.tif", "SkBr3_Phase_H3_1_00d00h00m_2.tif"]
    folders = ["", "A172", "SkBr3"]
    for name, folder in zip(names, folders, strict=True):
        (tmp_path / "images" / folder).mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros(SIZE, np.uint8)).save(tmp_path / "images" / folder / name)
    images = [{"id": i, "file_name": name, "width": 30, "height": 20} for i, name in enumerate(names)]
    annotations = {
        str(i): {"id": i, "image_id": i, "category_id": 1, "iscrowd": 1, "segmentation": [outline(i, i, 4)]}
        for i in range(3)
    }
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "cell"}]}

    def read(content=content):
        (tmp_path / "livecell.json").write_text(json.dumps(content))
        return read_livecell([tmp_path / "livecell.json"], tmp_path / "images")

    return read, content


def test_livecell_types_and_wells_come_from_file_names(livecell):
    source = livecell[0]()
    assert source.problems == []
    assert source.class_names == ("A172", "SkBr3")
    assert [(image.cell_type, image.group) for image in source.images] == [
        ("A172", "A172_C7"),
        ("A172", "A172_C7"),
        ("SkBr3", "SkBr3_H3"),
    ]


def test_livecell_outlines_are_cells_whatever_iscrowd_says(livecell):
    masks, names = livecell[0]().images[1].read_cells(SIZE, [])
    assert np.array_equal(masks.to_dense().numpy(), square(1, 1, 4)[None])
    assert names == ["A172"]


def test_livecell_names_of_another_form(livecell, tmp_path):
    read, content = livecell
    content["images"][0]["file_name"] = "other.tif"
    Image.fromarray(np.zeros(SIZE, np.uint8)).save(tmp_path / "images" / "other.tif")
    source = read(content)
    assert [str(problem) for problem in source.problems] == [
        "livecell.json image 0, id other: file name 'other.tif' is not TYPE_MODALITY_WELL_LOCATION_TIME_CROP"
    ]
    assert len(source.images) == 2
