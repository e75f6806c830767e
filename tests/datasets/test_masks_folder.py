import numpy as np
import pytest
import tifffile
from PIL import Image

from cellseg.datasets.mask_files import read_labels, read_mask
from cellseg.datasets.masks_folder import Description, read_label_images, read_mask_folders
from cellseg.errors import InputError, MissingFileError

SIZE = (12, 16)


def labels_with(*numbers: int) -> np.ndarray:
    labels = np.zeros(SIZE, np.int64)
    for place, number in enumerate(numbers):
        labels[1 + 3 * place : 3 + 3 * place, 2:7] = number
    return labels


def save(path, array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, array) if path.suffix == ".tif" else Image.fromarray(array).save(path)


GREY = np.full(SIZE, 120, np.uint8)


@pytest.fixture
def pairs(tmp_path):
    save(tmp_path / "images" / "a.png", GREY)
    save(tmp_path / "images" / "b.tif", GREY)
    save(tmp_path / "labels" / "a.png", labels_with(3, 700).astype(np.uint16))
    save(tmp_path / "labels" / "b.tif", labels_with(1, 70_000, 2).astype(np.int32))
    return tmp_path / "images", tmp_path / "labels"


def test_label_images(pairs):
    source = read_label_images(*pairs)
    assert source.problems == []
    assert [(image.key, image.cell_type, image.group) for image in source.images] == [
        ("a", "cell", "a"),
        ("b", "cell", "b"),
    ]
    masks, names = source.images[1].read_cells(SIZE, [])
    expected = np.stack([labels_with(1, 70_000, 2) == number for number in (1, 2, 70_000)])
    assert np.array_equal(masks.to_dense().numpy(), expected)
    assert names == ["cell"] * 3


def test_both_in_one_folder(tmp_path):
    for key in "ab":
        save(tmp_path / f"{key}_img.png", GREY)
        save(tmp_path / f"{key}_masks.png", labels_with(1).astype(np.uint8))
    source = read_label_images(tmp_path, tmp_path, image_suffix="_img", label_suffix="_masks")
    assert [image.key for image in source.images] == ["a", "b"]
    assert source.problems == []
    with pytest.raises(InputError, match="images and labels lie in one folder; tell them apart with --label-suffix"):
        read_label_images(tmp_path, tmp_path)


def test_one_folder_and_only_a_label_suffix(tmp_path):
    save(tmp_path / "a.png", GREY)
    save(tmp_path / "a_masks.png", labels_with(1).astype(np.uint8))
    source = read_label_images(tmp_path, tmp_path, label_suffix="_masks")
    assert [image.key for image in source.images] == ["a"]
    assert source.problems == []


def test_images_and_labels_without_each_other(pairs):
    images, labels = pairs
    save(images / "c.png", GREY)
    save(labels / "d.png", labels_with(1).astype(np.uint8))
    source = read_label_images(images, labels)
    assert [str(problem) for problem in source.problems] == [
        "c, id c: no image file c.png (or .jpg, .jpeg, .bmp, .tif, .tiff) in labels/",
        "d, id d: a label image without an image d.png (.tif, ...)",
    ]


def test_label_image_of_another_size(pairs):
    images, labels = pairs
    save(labels / "a.png", np.zeros((5, 6), np.uint8))
    with pytest.raises(InputError, match="the label image is 6 x 5, the image 16 x 12"):
        read_label_images(images, labels).images[0].read_cells(SIZE, [])


def test_types_and_groups_from_a_table(pairs, tmp_path):
    table = tmp_path / "table.csv"
    table.write_text("id,cell_type,slide\na,round,s1\nb,,s2\n")
    source = read_label_images(*pairs, Description("flat", table, "slide"))
    assert [(image.cell_type, image.group) for image in source.images] == [("round", "s1"), ("flat", "s2")]
    assert source.images[0].read_cells(SIZE, [])[1] == ["round", "round"]
    assert source.class_names == ("flat", "round")
    assert source.files == {"table.csv": table}


def test_problems_of_a_table(pairs, tmp_path):
    table = tmp_path / "table.csv"
    table.write_text("id,slide\na,s1\na,s2\nz,s1\nb\n")
    source = read_label_images(*pairs, Description(table=table, group="slide"))
    assert [str(problem) for problem in source.problems] == [
        "row 3, id a: this id stands in the table before",
        "row 4, id z: the table names an image that is not there",
        "row 5, id b: has 1 fields, the header 2",
        "b, id b: has no row in table.csv",
    ]
    assert [image.key for image in source.images] == ["a"]


def test_a_group_needs_a_table(pairs):
    with pytest.raises(InputError, match="--group slide needs --table, a CSV file with id and slide"):
        read_label_images(*pairs, Description(group="slide"))


def test_no_images(tmp_path):
    with pytest.raises(InputError, match="found no images here"):
        read_label_images(tmp_path, tmp_path, label_suffix="_masks")


# -- one file for each instance ----------------------------------------------------------------------------------------


@pytest.fixture
def folders(tmp_path):
    for key in ("n1", "n2"):
        save(tmp_path / "stage1" / key / "images" / f"{key}.png", np.dstack([GREY] * 4))
        for number in (1, 2):
            mask = (labels_with(1, 2) == number).astype(np.uint8) * 255
            save(tmp_path / "stage1" / key / "masks" / f"{number}abc.png", mask)
    return tmp_path / "stage1"


def test_mask_folders(folders):
    source = read_mask_folders(folders)
    assert source.problems == []
    assert [image.key for image in source.images] == ["n1", "n2"]
    masks, names = source.images[0].read_cells(SIZE, [])
    assert np.array_equal(masks.to_dense().numpy(), np.stack([labels_with(1, 2) == number for number in (1, 2)]))
    assert names == ["cell", "cell"]


def test_bad_mask_files_are_reported_one_by_one(folders):
    save(folders / "n1" / "masks" / "3.png", np.zeros(SIZE, np.uint8))
    save(folders / "n1" / "masks" / "4.png", np.ones((3, 3), np.uint8))
    (folders / "n1" / "masks" / "5.png").write_bytes(b"no image")
    problems = []
    masks, _ = read_mask_folders(folders).images[0].read_cells(SIZE, problems)
    assert len(masks) == 2
    texts = [str(problem) for problem in problems]
    assert texts[:2] == [
        "n1/masks/3.png, id n1: the mask is empty",
        "n1/masks/4.png, id n1: the mask is 3 x 3, the image 16 x 12",
    ]
    assert texts[2].startswith("n1/masks/5.png, id n1: 5.png: cannot be read as an image (UnidentifiedImageError")


def test_bad_folders_are_reported(folders, tmp_path):
    (folders / "empty").mkdir()
    save(folders / "two" / "images" / "a.png", GREY)
    save(folders / "two" / "images" / "b.png", GREY)
    save(folders / "nomasks" / "images" / "a.png", GREY)
    save(tmp_path / "elsewhere" / "a.png", GREY)
    save(folders / "linked" / "images" / "a.png", GREY)
    (folders / "linked" / "masks").symlink_to(tmp_path / "elsewhere")
    assert [str(problem) for problem in read_mask_folders(folders).problems] == [
        "empty, id empty: has no folder empty/images",
        "linked, id linked: linked/masks is a link that leads out of stage1/; copy what it points to",
        "nomasks, id nomasks: has no folder nomasks/masks; an image without cells has an empty one",
        "two, id two: has 2 images in two/images; expected one",
    ]


def test_an_empty_folder_of_masks_is_an_image_without_cells(folders):
    for path in (folders / "n2" / "masks").iterdir():
        path.unlink()
    masks, _ = read_mask_folders(folders).images[1].read_cells(SIZE, [])
    assert len(masks) == 0


def test_missing_root(tmp_path):
    with pytest.raises(MissingFileError, match="nowhere: no such folder"):
        read_mask_folders(tmp_path / "nowhere")


# -- files -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("a.png", labels_with(1, 255).astype(np.uint8)),
        ("a.png", labels_with(1, 65_535).astype(np.uint16)),
        ("a.tif", labels_with(1, 65_535).astype(np.uint16)),
        ("a.tif", labels_with(1, 2_000_000).astype(np.uint32)),
        ("a.tif", labels_with(1, 7).astype(np.float32)),
    ],
)
def test_labels_of_every_depth(tmp_path, name, array):
    save(tmp_path / name, array)
    assert np.array_equal(read_labels(tmp_path / name), array.astype(np.int64))


def test_a_palette_holds_labels_not_colours(tmp_path):
    image = Image.fromarray(labels_with(1, 5).astype(np.uint8))
    image.putpalette([index * 7 % 256 for index in range(768)])
    image.save(tmp_path / "a.png")
    assert np.array_equal(read_labels(tmp_path / "a.png"), labels_with(1, 5))


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        (
            "a.tif",
            np.full(SIZE, 0.5, np.float32),
            "a.tif: holds values that are no whole numbers, so they are no labels",
        ),
        ("a.tif", np.full(SIZE, np.nan, np.float32), "a.tif: holds values that are no whole numbers"),
        ("a.tif", np.full(SIZE, -1, np.int16), "a.tif: labels must lie in 0 to 2147483647"),
        ("a.tif", np.full(SIZE, 2**32 - 1, np.uint32), "a.tif: labels must lie in 0 to 2147483647"),
        ("a.png", np.zeros((*SIZE, 3), np.uint8), "a.png: expected one label a pixel, found an array of shape"),
        ("a.jpg", np.zeros(SIZE, np.uint8), r"a.jpg: masks must be stored without loss \(.png, .tif, .tiff, .bmp\)"),
    ],
)
def test_files_that_hold_no_labels(tmp_path, name, array, message):
    save(tmp_path / name, array)
    with pytest.raises(InputError, match=message):
        read_labels(tmp_path / name)


def test_masks_may_have_colours_and_alpha(tmp_path):
    mask = labels_with(1) > 0
    grey = mask.astype(np.uint8) * 255
    for channels in ([grey] * 3, [grey, grey, grey, np.full(SIZE, 255, np.uint8)]):
        save(tmp_path / "m.png", np.dstack(channels))
        assert np.array_equal(read_mask(tmp_path / "m.png"), mask)
    save(tmp_path / "m.png", np.dstack([grey, np.full(SIZE, 255, np.uint8)]))
    assert np.array_equal(read_mask(tmp_path / "m.png"), mask)
