"""Crops of boxes: exact geometry, the class of every pixel, jitter, and which crops a data set shows."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import DATASETS

import cellseg.openmmlab  # noqa: F401
from cellseg.datasets.box_crops import (
    BACKGROUND,
    CENTRAL,
    IGNORED,
    NEIGHBOUR,
    BoxCropDataset,
    check_margin,
    collate_crops,
    crop_matrices,
    crop_target,
    enlarge,
    jitter_boxes,
    sample_crops,
)
from cellseg.datasets.transforms import dihedral_matrix
from cellseg.errors import InputError
from cellseg.structures import CropMasks

PROJECT = Path(__file__).resolve().parents[2]
REGIONS = torch.tensor(
    [[10.3, 6.2, 31.7, 25.9], [-4.5, -2.25, 9.0, 8.5], [0.0, 0.0, 50.0, 40.0], [44.0, 33.1, 56.0, 44]]
)


@pytest.fixture(scope="module")
def discs(tmp_path_factory):
    """A data folder: 8 training images (the last without cells) and 4 for validation, 96 x 96 px."""
    write = runpy.run_path(str(PROJECT / "tests" / "models" / "disc_folder.py"))["write_disc_folder"]
    return write(tmp_path_factory.mktemp("discs"))


def plain_sample(image, x, y):
    """Bilinear value of ``[C, H, W]`` at a point; pixel centres at halves, the edge pixels continue."""
    height, width = image.shape[1:]
    x, y = min(max(x - 0.5, 0), width - 1), min(max(y - 0.5, 0), height - 1)
    left, top = int(x), int(y)
    right, bottom = min(left + 1, width - 1), min(top + 1, height - 1)
    a, b = x - left, y - top
    upper = image[:, top, left] * (1 - a) + image[:, top, right] * a
    lower = image[:, bottom, left] * (1 - a) + image[:, bottom, right] * a
    return upper * (1 - b) + lower * b


@pytest.mark.parametrize("size", [8, 11])
def test_crops_equal_a_plain_loop(size):
    image = np.random.default_rng(0).random((3, 40, 50))
    found = sample_crops(torch.from_numpy(image).float(), crop_matrices(REGIONS, size), size).numpy()
    assert found.shape == (4, 3, size, size)
    for crop, (x0, y0, x1, y1) in zip(found, REGIONS.tolist(), strict=True):
        for row in range(size):
            for column in range(size):
                x, y = x0 + (column + 0.5) / size * (x1 - x0), y0 + (row + 0.5) / size * (y1 - y0)
                np.testing.assert_allclose(crop[:, row, column], plain_sample(image, x, y), atol=2e-5)


def test_a_crop_of_its_own_size_is_a_slice():
    image = torch.randint(0, 256, (3, 40, 50), dtype=torch.uint8)
    matrices = crop_matrices(torch.tensor([[7.0, 5.0, 27.0, 25.0], [30.0, 20.0, 50.0, 40.0]]), 20)
    found = sample_crops(image, matrices, 20)
    torch.testing.assert_close(found[0], image[:, 5:25, 7:27].float(), rtol=0, atol=1e-3)
    torch.testing.assert_close(found[1], image[:, 20:40, 30:50].float(), rtol=0, atol=1e-3)


@pytest.mark.parametrize("index", range(8))
def test_symmetries_turn_whole_crops(index):
    image = torch.rand(2, 40, 50)
    plain = sample_crops(image, crop_matrices(REGIONS, 12), 12)
    found = sample_crops(image, crop_matrices(REGIONS, 12, [index] * 4), 12)
    expected = torch.rot90(plain, index % 4, (2, 3))
    expected = expected.flip(3) if index >= 4 else expected
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("index", range(8))
@pytest.mark.parametrize("size", [24, 64])
def test_the_middle_of_the_crop_is_the_middle_of_the_box(index, size):
    """A disc in the box's centre, wider than high as the box: in the crop it is round and central."""
    box = torch.tensor([[20.35, 31.6, 68.75, 55.8]])
    y, x = np.mgrid[0:960, 0:1200] / 10 + 0.05
    inside = ((x - 44.55) / 20) ** 2 + ((y - 43.7) / 10) ** 2 < 1
    image = inside.reshape(96, 10, 120, 10).mean(axis=(1, 3))  # the share of each pixel that the disc covers
    crop = sample_crops(torch.from_numpy(image[None]), crop_matrices(enlarge(box, 0.25), size, [index]), size)[0, 0]
    centres = torch.arange(size) + 0.5
    total = crop.sum()
    assert float((crop.sum(0) * centres).sum() / total) == pytest.approx(size / 2, abs=0.02)
    assert float((crop.sum(1) * centres).sum() / total) == pytest.approx(size / 2, abs=0.02)
    radii = 20 / 48.4 / 1.5 * size, 10 / 24.2 / 1.5 * size
    assert float(total) == pytest.approx(np.pi * radii[0] * radii[1], rel=0.01)


@pytest.mark.parametrize("margin", [0.0, 0.1, 0.25])
def test_enlarged_boxes_keep_their_centre(margin):
    boxes = torch.tensor([[2.0, 3.0, 12.0, 7.0], [0.5, 0.5, 1.5, 4.5]])
    found = enlarge(boxes, margin)
    torch.testing.assert_close(found[:, :2] + found[:, 2:], boxes[:, :2] + boxes[:, 2:])
    torch.testing.assert_close(found[:, 2:] - found[:, :2], (boxes[:, 2:] - boxes[:, :2]) * (1 + 2 * margin))


def overlapping_cells():
    """A cell, one that overlaps it, one that touches it, one far away, on 40 x 50 px."""
    masks = torch.zeros(4, 40, 50, dtype=torch.bool)
    masks[0, 10:22, 12:26] = True
    masks[1, 18:30, 20:34] = True
    masks[2, 10:22, 4:12] = True
    masks[3, 32:40, 40:50] = True
    return CropMasks.from_dense(masks)


def target_of(cells, index, region, size, symmetry=0):
    covered = cells.to_dense().any(dim=0).numpy().astype(np.float32)
    matrix = crop_matrices(torch.tensor([region]), size, [symmetry])[0].numpy()
    return crop_target(cells, index, covered, matrix, size)


def test_classes_on_whole_pixels():
    cells = overlapping_cells()
    dense = cells.to_dense().numpy()
    for index in range(4):
        found = target_of(cells, index, [2.0, 6.0, 34.0, 38.0], 32)
        own, others = dense[index, 6:38, 2:34], np.delete(dense, index, axis=0).any(axis=0)[6:38, 2:34]
        # What both cover belongs to the box's own cell.
        assert np.array_equal(found, np.where(own, CENTRAL, np.where(others, NEIGHBOUR, BACKGROUND)))
        assert found.dtype == np.int64
    assert {BACKGROUND, CENTRAL, NEIGHBOUR} == {0, 1, 2}


def test_pixels_outside_the_image_are_ignored():
    found = target_of(overlapping_cells(), 3, [35.0, 28.0, 55.0, 48.0], 20)
    expected = np.full((20, 20), IGNORED)
    expected[:12, :15] = BACKGROUND
    expected[4:12, 5:15] = CENTRAL
    assert np.array_equal(found, expected)


def plain_target(dense, index, points):
    """Class of each point: the largest of the bilinear shares of own cell, other cells, background."""
    own = dense[index].astype(float)
    either = dense.any(axis=0).astype(float)
    height, width = own.shape
    edged = np.pad(np.stack([own, either]), ((0, 0), (1, 1), (1, 1)))  # no cell outside the image
    out = np.zeros(len(points), dtype=int)
    clear = np.zeros(len(points), dtype=bool)
    for number, (x, y) in enumerate(points):
        if not (0 <= x < width and 0 <= y < height):
            out[number], clear[number] = IGNORED, True
            continue
        a, b = plain_sample(edged, x + 1, y + 1)
        shares = [1 - b, a, b - a]
        out[number] = int(np.argmax(shares))
        clear[number] = sorted(shares)[2] - sorted(shares)[1] > 0.05  # OpenCV interpolates in steps of 1/32 px
    return out, clear


@pytest.mark.parametrize("symmetry", [0, 3, 5])
@pytest.mark.parametrize(
    ("index", "region", "size"),
    [(0, [7.3, 6.4, 30.1, 25.2], 48), (1, [10.0, 11.7, 47.3, 43.9], 20), (3, [30.6, 24.3, 57.2, 45.5], 33)],
)
def test_classes_equal_a_plain_count_of_shares(index, region, size, symmetry):
    cells = overlapping_cells()
    found = target_of(cells, index, region, size, symmetry)
    turn = dihedral_matrix(symmetry)
    half = np.array([region[2] - region[0], region[3] - region[1]]) / 2
    middle = np.array([region[0] + region[2], region[1] + region[3]]) / 2
    units = [
        (2 * (column + 0.5) / size - 1, 2 * (row + 0.5) / size - 1) for row in range(size) for column in range(size)
    ]
    points = [middle + half * (turn @ unit) for unit in units]
    expected, clear = plain_target(cells.to_dense().numpy(), index, points)
    assert clear.mean() > 0.9 and set(expected) >= {BACKGROUND, CENTRAL}
    assert np.array_equal(found.reshape(-1)[clear], expected[clear])


def test_image_and_classes_of_a_crop_lie_on_each_other(discs):
    dataset = BoxCropDataset(discs, 0, "train", [], size=64)
    dataset.pipeline = lambda crop: crop
    np.random.seed(0)
    for number in range(len(dataset)):
        for crop in dataset[number]:
            cell = np.isin(crop["target"], (CENTRAL, NEIGHBOUR))
            grey = crop["img"][..., 0]
            # The ground is at 60, cells at 130 and above: half way between there is at most an edge.
            assert grey[cell].mean() > 120 and grey[crop["target"] == BACKGROUND].mean() < 75
            assert (cell != (grey > 95))[crop["target"] != IGNORED].mean() < 0.06


def test_jitter_stays_in_its_ranges():
    boxes = np.tile([[100.0, 200.0, 140.0, 220.0]], (4000, 1))
    found = jitter_boxes(boxes, np.random.default_rng(0), (0.8, 1.25), 0.1, (400, 500))
    sizes = found[:, 2:] - found[:, :2]
    centres = (found[:, 2:] + found[:, :2]) / 2
    factors, shifts = sizes / [40, 20], (centres - [120, 210]) / [40, 20]
    assert 0.8 <= factors.min() < 0.81 and 1.24 < factors.max() <= 1.25
    assert -0.1 <= shifts.min() < -0.098 and 0.098 < shifts.max() <= 0.1
    assert np.log(factors).mean() == pytest.approx(0, abs=0.01) and shifts.mean() == pytest.approx(0, abs=0.005)
    # Width, height and both shifts are independent.
    assert np.abs(np.corrcoef(np.concatenate([factors, shifts], axis=1).T) - np.eye(4)).max() < 0.05


def test_jittered_boxes_stay_inside_the_image():
    boxes = np.array([[0.0, 0.0, 12.0, 9.0], [38.0, 21.0, 50.0, 40.0], [0.0, 0.0, 50.0, 40.0]]).repeat(200, axis=0)
    found = jitter_boxes(boxes, np.random.default_rng(1), (0.5, 2.0), 0.5, (40, 50))
    assert found.min() == 0 and found[:, [0, 2]].max() == 50 and found[:, [1, 3]].max() == 40
    assert (found[:, 2:] > found[:, :2]).all()


def test_no_jitter_is_the_box_itself():
    boxes = np.array([[3.0, 4.0, 12.0, 9.0]])
    assert jitter_boxes(boxes, np.random.default_rng(0), (1.0, 1.0), 0.0, (40, 50)) == pytest.approx(boxes)


def crops_of(dataset, number):
    dataset.pipeline = lambda crop: crop
    return dataset[number]


def test_training_shows_an_image_several_times_and_anew(discs):
    dataset = BoxCropDataset(discs, 0, "train", [], size=32, crops_per_image=20)
    assert len(dataset) == 7, "the image without cells is left out"
    np.random.seed(4)
    first, second = crops_of(dataset, 0), crops_of(dataset, 0)
    cells = [crop["cell"] for crop in first]
    count = len(dataset.get_data_info(0)["cells"])
    assert len(cells) == 20 > count
    assert set(cells) == set(range(count)), "every cell once before any again"
    shown = [cells.count(cell) for cell in range(count)]
    assert max(shown) - min(shown) <= 1
    images = np.stack([crop["img"] for crop in first + second])
    assert len(np.unique(images.reshape(40, -1), axis=0)) == 40, "another crop each time"
    np.random.seed(4)
    assert all(np.array_equal(a["img"], b["img"]) for a, b in zip(first, crops_of(dataset, 0), strict=True))


def test_validation_shows_the_same_crops_always(discs):
    options = dict(size=32, crops_per_image=3, turn=False, seed=5)
    dataset = BoxCropDataset(discs, 0, "val", [], **options)
    seen = []
    for start in (0, 1):
        np.random.seed(start)
        crops = [crop for number in (2, 0, 1, 3) for crop in crops_of(dataset, number)]
        seen.append(np.stack([crop["img"] for crop in crops]))
    assert np.array_equal(*seen)
    other = BoxCropDataset(discs, 0, "val", [], **options | dict(seed=6))
    assert not np.array_equal(seen[0][:3], np.stack([crop["img"] for crop in crops_of(other, 2)]))
    many = BoxCropDataset(discs, 0, "val", [], **options | dict(crops_per_image=100))
    for number in range(len(many)):
        cells = sorted(crop["cell"] for crop in crops_of(many, number))
        assert cells == list(range(len(many.get_data_info(number)["cells"]))), "no cell twice"


def test_crops_without_jitter_or_turn_are_the_boxes(discs):
    dataset = BoxCropDataset(discs, 0, "val", [], size=48, margin=0.25, scale=(1, 1), shift=0, turn=False, seed=0)
    item = dataset._read(dataset.get_data_info(0))
    for crop in crops_of(dataset, 0):
        region = enlarge(item["cells"].boxes()[crop["cell"]][None], 0.25)
        image = torch.from_numpy(np.ascontiguousarray(item["img"].transpose(2, 0, 1)))
        expected = sample_crops(image, crop_matrices(region, 48), 48)[0].permute(1, 2, 0)
        np.testing.assert_allclose(crop["img"], expected, atol=0.51)
        own = crop["target"] == CENTRAL
        rows, columns = np.nonzero(own.any(axis=1))[0], np.nonzero(own.any(axis=0))[0]
        # The box is the middle 48 / 1.5 pixels, from 8 to 40, and the cell touches its four sides.
        assert np.abs([rows[0] - 8, columns[0] - 8, rows[-1] - 39, columns[-1] - 39]).max() <= 1


def test_the_symmetries_are_all_shown(discs):
    options = dict(size=16, crops_per_image=200, scale=(1, 1), shift=0)
    np.random.seed(0)
    counts = []
    for turn in (False, True):
        dataset = BoxCropDataset(discs, 0, "train", [], turn=turn, **options)
        crops = [crop for crop in crops_of(dataset, 0) if crop["cell"] == 0]
        counts.append(len(np.unique(np.stack([crop["img"].ravel() for crop in crops]), axis=0)))
    assert counts == [1, 8]


def test_small_remnants_are_neighbours_but_not_drawn(discs):
    dataset = BoxCropDataset(discs, 0, "val", [], size=32, crops_per_image=50, seed=0, least_area=150)
    for number in range(len(dataset)):
        areas = dataset.get_data_info(number)["cells"].areas()
        cells = {crop["cell"] for crop in crops_of(dataset, number)}
        assert cells == set((areas >= 150).nonzero()[:, 0].tolist()) and 0 < len(cells) < len(areas)


def test_packed_crops_make_one_batch(discs):
    dataset = DATASETS.build(
        dict(
            type="BoxCropDataset",
            data_root=str(discs),
            fold=0,
            split="train",
            size=32,
            crops_per_image=3,
            pipeline=[dict(type="RandomLight"), dict(type="PackCropMap")],
        )
    )
    batch = collate_crops([dataset[0], dataset[3]])
    assert len(batch["inputs"]) == len(batch["data_samples"]) == 6
    for image, sample in zip(batch["inputs"], batch["data_samples"], strict=True):
        assert image.shape == (3, 32, 32) and image.dtype == torch.uint8
        target = sample.gt_sem_seg.data
        assert target.shape == (1, 32, 32) and target.dtype == torch.int64
        assert (target == CENTRAL).any()
        assert sample.ori_shape == sample.img_shape == (32, 32)
    assert [sample.key for sample in batch["data_samples"]] == ["image_00"] * 3 + ["image_03"] * 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(size=0), "size = 0: expected a whole number of at least 8"),
        (dict(size=(64, 64)), "size = (64, 64): expected a whole number of at least 8"),
        (dict(size=64.0), "size = 64.0: expected a whole number of at least 8"),
        (dict(margin=-0.1), "margin = -0.1: expected a number from 0 to 10"),
        (dict(margin=float("nan")), "margin = nan: expected a number from 0 to 10"),
        (dict(margin="wide"), "margin = 'wide': expected a number from 0 to 10"),
        (dict(crops_per_image=0), "crops_per_image = 0: expected a whole number of at least 1"),
        (dict(crops_per_image=True), "crops_per_image = True: expected a whole number of at least 1"),
        (dict(scale=(1.2, 0.8)), "scale = (1.2, 0.8): expected two numbers above 0, the smaller one first"),
        (dict(scale=(0, 1)), "scale = (0, 1): expected two numbers above 0, the smaller one first"),
        (dict(scale=1.0), "scale = 1.0: expected two numbers above 0, the smaller one first"),
        (dict(scale=(0.8, float("inf"))), "scale = (0.8, inf): expected two numbers above 0, the smaller one first"),
        (dict(shift=-0.1), "shift = -0.1: expected a number from 0 to 0.5"),
        (dict(shift=0.6), "shift = 0.6: expected a number from 0 to 0.5"),
        (dict(seed=-1), "seed = -1: expected a whole number of at least 0"),
        (dict(least_area=0), "least_area = 0: expected a whole number of at least 1"),
    ],
)
def test_options_out_of_range_are_refused(discs, options, message):
    with pytest.raises(InputError) as caught:
        BoxCropDataset(discs, 0, "train", [], **dict(size=64) | options)
    assert str(caught.value) == message


def test_a_split_without_large_enough_cells_is_refused(discs):
    with pytest.raises(InputError, match=r"split 'train' of fold 0 has no cell of 9999 pixels or more \(least_area\)"):
        BoxCropDataset(discs, 0, "train", [], size=64, least_area=9999)


def test_margins_are_checked_by_name():
    assert check_margin("margin", 1) == 1.0
    with pytest.raises(InputError, match="^config.py: crop_margin = None: expected a number from 0 to 10$"):
        check_margin("config.py: crop_margin", None)
