import csv

import numpy as np
import pytest
from PIL import Image

from cellseg.datasets.sartorius import KNOWN_BAD, read_sartorius
from cellseg.errors import InputError, MissingFileError
from cellseg.structures.rle import decode_rle


def read_rows(path) -> list[list[str]]:
    with open(path, newline="") as file:
        return list(csv.reader(file))


def write_rows(path, rows) -> None:
    with open(path, "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def cells(image):
    """Masks, class names and problems of a source image."""
    problems = []
    masks, names = image.read_cells(image.size, problems)
    return masks, names, problems


def test_images_masks_types_and_groups(six_wells):
    csv_path, images = six_wells
    source = read_sartorius(csv_path, images)
    assert source.problems == []
    assert source.class_names == ("astro", "cort")
    assert source.group_column == "sample_id"
    assert [image.key for image in source.images] == sorted(
        f"{k}{w}{n}" for k in ("astro", "cort") for w in "ABC" for n in "xy"
    )
    first = source.images[1]
    assert (first.key, first.cell_type, first.group, first.size) == ("astroAy", "astro", "astro_A", (24, 32))
    masks, names, problems = cells(first)
    expected = [decode_rle(row[1], 24, 32) for row in read_rows(csv_path) if row[0] == "astroAy"]
    assert np.array_equal(masks.to_dense().numpy(), np.stack(expected))
    assert (names, problems) == (["astro", "astro"], [])


def test_only_the_four_columns_are_needed(write_cells):
    csv_path, images = write_cells({"x": ["a", "b"]}, columns=("height", "id", "annotation", "width"))
    source = read_sartorius(csv_path, images)
    assert source.class_names == ("cell",)
    assert source.group_column == "image"
    assert [(image.key, image.group) for image in source.images] == [("a", "a"), ("b", "b")]


def test_wells_are_derived_from_real_sample_ids(write_cells):
    wells = {"shsy5y[diff]_E10-1_Vessel-714_Ph_3": ["a"], "shsy5y[diff]_E10-2_Vessel-714_Ph_3": ["b"]}
    source = read_sartorius(*write_cells(wells))
    assert source.group_column == "plate_well"
    assert {image.group for image in source.images} == {"shsy5y[diff]_E10_Vessel-714"}


def test_known_bad_images_are_dropped_only_when_asked(write_cells):
    files = write_cells({"astro_A": [KNOWN_BAD[0], "good"]})
    assert len(read_sartorius(*files).images) == 2
    source = read_sartorius(*files, drop_known_bad=True)
    assert [image.key for image in source.images] == ["good"]
    assert source.dropped == [KNOWN_BAD[0]]
    assert source.problems == []


def test_an_empty_annotation_is_an_image_without_cells(write_cells):
    csv_path, images = write_cells({"astro_A": ["a", "b"]})
    rows = read_rows(csv_path)
    write_rows(csv_path, [row if row[0] != "a" else [row[0], "", *row[2:]] for row in rows])
    source = read_sartorius(csv_path, images)
    assert source.problems == []
    assert len(cells(source.images[0])[0]) == 0


def test_byte_order_mark_and_blank_lines(six_wells):
    csv_path, images = six_wells
    text = csv_path.read_text()
    csv_path.write_text("\ufeff" + text + "\n\n", encoding="utf-8")
    assert len(read_sartorius(csv_path, images).images) == 12


# A row of astroAx stands at line 2, rows of astroAy at lines 3 and 4.
BAD_ROWS = {
    "id with a path": (2, "id", "../astroAx", "row 2, id ../astroAx: id '../astroAx' is a path; an id is a plain name"),
    "empty id": (2, "id", "", "row 2: the id is empty"),
    "width is no number": (3, "width", "32.5", "row 3, id astroAy: width '32.5' is not a whole number of pixels"),
    "width is text": (3, "width", "wide", "row 3, id astroAy: width 'wide' is not a whole number of pixels"),
    "height is zero": (3, "height", "0", "row 3, id astroAy: height 0 is not between 1 and 1000000"),
    "height differs": (4, "height", "25", "row 4, id astroAy: height 25 differs from 24 in row 3"),
    "type differs": (4, "cell_type", "cort", "row 4, id astroAy: cell_type 'cort' differs from 'astro' in row 3"),
    "group differs": (4, "sample_id", "x", "row 4, id astroAy: the group 'x' differs from 'astro_A' in row 3"),
    "type is empty": (4, "cell_type", " ", "row 4, id astroAy: cell_type is empty"),
    "empty beside others": (
        4,
        "annotation",
        "",
        "row 4, id astroAy: annotation is empty, but the image has other rows",
    ),
    "missing image": (
        2,
        "id",
        "other",
        "row 2, id other: no image file other.png (or .jpg, .jpeg, .bmp, .tif, .tiff) in images/",
    ),
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_bad_rows_are_reported_by_line(six_wells, case):
    line, column, value, message = BAD_ROWS[case]
    csv_path, images = six_wells
    rows = read_rows(csv_path)
    rows[line - 1][rows[0].index(column)] = value
    write_rows(csv_path, rows)
    assert [str(problem) for problem in read_sartorius(csv_path, images).problems] == [message]


DAMAGED = {
    "odd": ("1 2 3", "RLE"),
    "not a number": ("1 2 x 4", "RLE pair 2: start 'x' is not a whole number"),
    "zero length": ("1 0", "RLE pair 1: length 0 is below 1"),
    "past the end": ("1 2 768 2", "RLE pair 2: the run 768 2 ends at pixel 769"),
    "overlapping": ("1 5 3 5", "RLE pair 2: start 3 is before the end of pair 1"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_run_lengths_name_row_and_pair(six_wells, case):
    annotation, message = DAMAGED[case]
    csv_path, images = six_wells
    rows = read_rows(csv_path)
    rows[3][1] = annotation
    write_rows(csv_path, rows)
    source = read_sartorius(csv_path, images)
    masks, _, problems = cells(next(image for image in source.images if image.key == "astroAy"))
    assert len(masks) == 1, "the other row is kept"
    assert (problems[0].row, problems[0].id) == (4, "astroAy")
    assert problems[0].reason.startswith(message)


def test_an_image_of_which_every_row_is_damaged_does_not_become_an_empty_one(six_wells):
    csv_path, images = six_wells
    rows = read_rows(csv_path)
    rows[2][1], rows[3][1] = "5", "1 2 3"
    write_rows(csv_path, rows)
    image = next(image for image in read_sartorius(csv_path, images).images if image.key == "astroAy")
    with pytest.raises(InputError, match="none of its 2 annotations can be used"):
        image.read_cells(image.size, [])


def test_repeated_rows(six_wells):
    csv_path, images = six_wells
    rows = read_rows(csv_path)
    write_rows(csv_path, [*rows, rows[2], rows[1]])
    source = read_sartorius(csv_path, images)
    last = len(rows) + 1
    assert [str(problem) for problem in source.problems] == [
        f"row {last + 1}, id astroAx: repeats the annotation of row 2",
        f"row {last}, id astroAy: repeats the annotation of row 3",
    ]
    assert len(source.images) == 12


def test_two_empty_rows_of_one_image(write_cells):
    csv_path, images = write_cells({"astro_A": ["a"]})
    header, row = read_rows(csv_path)
    write_rows(csv_path, [header, [row[0], "", *row[2:]], [row[0], "", *row[2:]]])
    source = read_sartorius(csv_path, images)
    assert [str(problem) for problem in source.problems] == ["row 3, id a: repeats the annotation of row 2"]
    assert len(source.images) == 1


def test_rows_with_missing_or_additional_fields(six_wells):
    csv_path, images = six_wells
    rows = read_rows(csv_path)
    write_rows(csv_path, [*rows, ["astroAx", "1 2"], [*rows[1], "more"]])
    problems = [str(problem) for problem in read_sartorius(csv_path, images).problems]
    assert problems == [
        f"row {len(rows) + 1}, id astroAx: has 2 fields, the header has 6",
        f"row {len(rows) + 2}, id astroAx: has 7 fields, the header has 6",
    ]


def test_two_image_files_of_one_id(six_wells):
    csv_path, images = six_wells
    Image.fromarray(np.zeros((24, 32), np.uint8)).save(images / "astroAx.tif")
    problems = [str(problem) for problem in read_sartorius(csv_path, images).problems]
    assert problems == ["row 2, id astroAx: several image files have this id: astroAx.png, astroAx.tif; keep one"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty; expected a header with id, annotation, width, height"),
        (b"id,annotation,width,height\n", "has a header but no rows; expected one row for each instance"),
        (b"id,width,height\na,3,4\n", "column annotation is missing; the file has id, width, height"),
        (b"id,annotation,width,height,id\n", "column id stands in the header twice"),
        (b"id,annotation,width,height\n\xff\xfe", "not a CSV file in UTF-8"),
        (b'id,annotation,width,height\n"a', "row 2, id a: has 1 fields, the header has 4"),
    ],
)
def test_files_that_are_no_table(tmp_path, content, message):
    (tmp_path / "images").mkdir()
    (tmp_path / "train.csv").write_bytes(content)
    try:
        problems = read_sartorius(tmp_path / "train.csv", tmp_path / "images").problems
    except InputError as error:
        assert message in str(error)
        assert str(error).startswith(str(tmp_path / "train.csv"))
    else:
        assert [str(problem) for problem in problems] == [message]


def test_missing_files(six_wells, tmp_path):
    with pytest.raises(MissingFileError, match="no.csv: no such file"):
        read_sartorius(tmp_path / "no.csv", six_wells[1])
    with pytest.raises(MissingFileError, match="nowhere: no such folder of images"):
        read_sartorius(six_wells[0], tmp_path / "nowhere")


def test_very_long_annotations(tmp_path):
    """Longer than the 128 KiB at which the csv module stops by default."""
    (tmp_path / "images").mkdir()
    annotation = " ".join(f"{start} 1" for start in range(1, 60_000, 2))
    assert len(annotation) > 2**17
    write_rows(tmp_path / "t.csv", [["id", "annotation", "width", "height"], ["a", annotation, 300, 200]])
    Image.fromarray(np.zeros((200, 300), np.uint8)).save(tmp_path / "images" / "a.png")
    source = read_sartorius(tmp_path / "t.csv", tmp_path / "images")
    assert cells(source.images[0])[0].areas().tolist() == [30_000]
