"""Label images, pictures and tables of cells."""

import csv
import math
from dataclasses import replace

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from cellseg.errors import InputError
from cellseg.io.results import CELL_COLUMNS, measure_cells, write_cells, write_label_image, write_picture
from cellseg.structures import CropMasks, Instances


def make_instances(dense, class_names=("astro", "cort")) -> Instances:
    """Instances of dense masks [N, H, W] with scores 1, 1/2, 1/3 ... and alternating types."""
    masks = CropMasks.from_dense(torch.as_tensor(dense))
    numbers = torch.arange(len(masks))
    return Instances(
        boxes=masks.boxes(),
        scores=1.0 / (numbers + 1),
        labels=numbers % len(class_names),
        masks=masks,
        image_size=masks.image_size,
        class_names=class_names,
    )


@pytest.fixture
def scene():
    """A 4 x 6 rectangle at (2, 1) and an L at the right border of a 20 x 30 image."""
    dense = np.zeros((2, 20, 30), bool)
    dense[0, 1:5, 2:8] = True
    dense[1, 10:16, 27:30] = True
    dense[1, 10:13, 27] = False
    return dense


def test_label_image_is_a_16_bit_png(tmp_path, scene):
    path = write_label_image(tmp_path / "well.a1", make_instances(scene))
    assert path == tmp_path / "well.a1.png"
    labels = np.asarray(Image.open(path))
    assert labels.dtype == np.uint16
    assert np.array_equal(labels, scene[0] * 1 + scene[1] * 2)


def test_label_image_without_cells(tmp_path):
    path = write_label_image(tmp_path / "a", make_instances(np.zeros((0, 5, 7), bool)))
    assert np.array_equal(np.asarray(Image.open(path)), np.zeros((5, 7)))


def many_instances(count: int) -> Instances:
    labels = torch.zeros(260 * 260, dtype=torch.int64)
    labels[:count] = torch.arange(1, count + 1)
    masks = CropMasks.from_label_image(labels.reshape(260, 260))
    zeros = torch.zeros(count)
    return Instances(masks.boxes(), zeros, zeros.long(), masks, masks.image_size, ("cort",))


@pytest.mark.parametrize(("count", "suffix"), [(65_535, ".png"), (65_536, ".tif")])
def test_label_images_hold_any_number_of_cells(tmp_path, count, suffix):
    (tmp_path / ("a.tif" if suffix == ".png" else "a.png")).write_bytes(b"of an earlier run")
    path = write_label_image(tmp_path / "a", many_instances(count))
    assert [entry.name for entry in tmp_path.iterdir()] == [f"a{suffix}"]
    labels = tifffile.imread(path) if suffix == ".tif" else np.asarray(Image.open(path))
    assert labels.dtype == (np.uint32 if suffix == ".tif" else np.uint16)
    assert np.array_equal(labels.ravel()[:count], np.arange(1, count + 1)) and labels.ravel()[count:].max() == 0
    first = path.read_bytes()
    assert write_label_image(tmp_path / "a", many_instances(count)).read_bytes() == first


def test_overlapping_masks_leave_no_file(tmp_path, scene):
    scene[1] |= scene[0]
    with pytest.raises(ValueError, match="overlap"):
        write_label_image(tmp_path / "a", make_instances(scene))
    assert not list(tmp_path.iterdir())


def test_picture(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (9, 8, 3)).astype(np.uint8)
    write_picture(tmp_path / "new" / "a.png", picture)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "new" / "a.png")), picture)


@pytest.mark.parametrize(
    ("name", "picture", "message"),
    [
        ("a.jpg", np.zeros((4, 4), np.uint8), "pictures are written as .png files"),
        ("a.png", np.zeros((4, 4), np.float32), "expected a uint8 picture [H, W] or [H, W, 3], found float32 (4, 4)"),
        ("a.png", np.zeros((4, 4, 2), np.uint8), "expected a uint8 picture [H, W] or [H, W, 3], found uint8 (4, 4, 2)"),
    ],
)
def test_pictures_that_are_none(tmp_path, name, picture, message):
    with pytest.raises(InputError) as caught:
        write_picture(tmp_path / name, picture)
    assert str(caught.value) == f"{tmp_path / name}: {message}"
    assert not list(tmp_path.iterdir())


def test_cells_table(tmp_path, scene):
    image = np.zeros((20, 30, 3), np.uint8)
    image[1:5, 2:8] = (10, 20, 60)
    write_cells(tmp_path / "cells.csv", "well,a", make_instances(scene), image)
    with open(tmp_path / "cells.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(CELL_COLUMNS)
    first, second = rows
    assert (first["id"], first["cell"], first["type"], first["score"]) == ("well,a", "1", "astro", "1.0000")
    assert (second["cell"], second["type"], second["score"]) == ("2", "cort", "0.5000")
    assert (first["area_px"], first["centroid_x_px"], first["centroid_y_px"]) == ("24", "5.0000", "3.0000")
    assert [first[f"box_{end}_px"] for end in ("x0", "y0", "x1", "y1")] == ["2", "1", "8", "5"]
    assert [second[f"box_{end}_px"] for end in ("x0", "y0", "x1", "y1")] == ["27", "10", "30", "16"]
    assert (first["solidity"], first["mean_grey"], second["mean_grey"]) == ("1.0000", "30.0000", "0.0000")
    # A rectangle's second moments are those of the ellipse with the axes' ratio 6 : 4.
    assert float(first["eccentricity"]) == pytest.approx(math.sqrt(1 - (4 / 6) ** 2), abs=1e-4)
    # The L has 15 pixels; its hull is the rectangle of 18 less the triangle of 3 x 1 in the corner.
    assert float(second["solidity"]) == pytest.approx(15 / 16.5, abs=1e-4)


def test_uncertainty_has_a_column(tmp_path, scene):
    image, instances = np.zeros((20, 30, 3), np.uint8), make_instances(scene)
    for known, expected in ((None, ["", ""]), (torch.tensor([0.25, 1.0]), ["0.2500", "1.0000"])):
        write_cells(tmp_path / "cells.csv", "a", replace(instances, uncertainty=known), image)
        with open(tmp_path / "cells.csv", newline="") as file:
            assert [row["uncertainty"] for row in csv.DictReader(file)] == expected


def test_a_disc_has_the_measures_of_a_circle():
    y, x = np.mgrid[:81, :81]
    disc = (x - 40) ** 2 + (y - 40) ** 2 < 30**2
    row = measure_cells("a", make_instances(disc[None]), np.full((81, 81), 7, np.uint8))[0]
    assert row["area_px"] == disc.sum()
    assert row["perimeter_px"] == pytest.approx(2 * math.pi * 30, rel=0.02)
    assert row["eccentricity"] == pytest.approx(0, abs=0.01)
    assert row["solidity"] > 0.95
    assert row["mean_grey"] == 7


def test_measures_do_not_depend_on_the_place_or_the_window():
    shape = np.random.default_rng(3).random((9, 9)) < 0.6
    dense = np.zeros((2, 40, 40), bool)
    dense[0, 0:9, 0:9] = shape
    dense[1, 31:40, 31:40] = shape
    instances = make_instances(dense, ("cort",))
    wide = Instances(
        instances.boxes,
        instances.scores,
        instances.labels,
        instances.masks.rewindow(torch.tensor([[0, 0, 40, 40]] * 2)),
        (40, 40),
        ("cort",),
    )
    image = np.zeros((40, 40), np.uint8)
    rows = measure_cells("a", instances, image)
    for row, other in zip(rows, measure_cells("a", wide, image), strict=True):
        assert row == pytest.approx(other)
    assert rows[1]["centroid_x_px"] == pytest.approx(rows[0]["centroid_x_px"] + 31)
    for name in ("area_px", "perimeter_px", "eccentricity", "solidity"):
        assert rows[0][name] == pytest.approx(rows[1][name])


def test_smallest_masks_have_finite_measures(tmp_path):
    dense = np.zeros((3, 6, 6), bool)
    dense[0, 2, 3] = True
    dense[1, 0, :] = True
    rows = measure_cells("a", make_instances(dense), np.zeros((6, 6), np.uint8))
    assert (rows[0]["area_px"], rows[0]["eccentricity"], rows[0]["solidity"]) == (1, 0.0, 1.0)
    assert rows[1]["eccentricity"] == pytest.approx(math.sqrt(1 - 1 / 36)) and rows[1]["solidity"] == 1.0
    assert rows[2]["area_px"] == 0 and rows[2]["centroid_x_px"] is None
    write_cells(tmp_path / "a.csv", "a", make_instances(dense), np.zeros((6, 6), np.uint8))
    assert (tmp_path / "a.csv").read_text().splitlines()[3] == "a,3,astro,0.3333,,0" + "," * 10


def test_image_of_another_size_is_refused(scene):
    with pytest.raises(InputError) as caught:
        measure_cells("a", make_instances(scene), np.zeros((30, 20), np.uint8))
    assert str(caught.value) == "a: the image is 20 x 30, its cells belong to one of 30 x 20"
