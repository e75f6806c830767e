"""Boxes of outlines against masks drawn plainly."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cellseg.models.yolox.outlines import Outlines
from cellseg.structures import CropMasks


def disc(size, centre, radius):
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    return (x - centre[0]) ** 2 + (y - centre[1]) ** 2 < radius**2


def outlines_of(*masks):
    crops = CropMasks.from_dense(torch.from_numpy(np.stack(masks)))
    return Outlines.from_masks(crops, np.arange(len(masks)))


def polygon(points, label=0):
    points = np.array(points, dtype=float)
    outlines = Outlines(points, np.zeros(len(points), dtype=int), np.array([label]), np.zeros(1))
    outlines.whole_areas = outlines.areas()
    return outlines


def test_boxes_are_the_masks_boxes():
    masks = [disc((40, 60), (20, 15), 8), disc((40, 60), (45.5, 22), 11), np.zeros((40, 60), bool)]
    masks[2][39, 59] = True
    outlines = outlines_of(*masks)
    expected = CropMasks.from_dense(torch.from_numpy(np.stack(masks))).boxes().numpy()
    targets = outlines.targets(0.0)
    np.testing.assert_array_equal(targets[:, :4], expected)
    np.testing.assert_array_equal(targets[:, 4], [0, 1, 2])


def test_masks_without_pixels_are_left_out_with_their_labels():
    masks = np.zeros((3, 20, 20), bool)
    masks[0, 2:5, 3:9] = masks[2, 10:12, 10:19] = True
    crops = CropMasks.from_dense(torch.from_numpy(masks))
    outlines = Outlines.from_masks(crops, np.array([4, 5, 6]))
    assert outlines.labels.tolist() == [4, 6]
    assert outlines.areas().tolist() == [18, 18]


def test_no_masks():
    outlines = Outlines.from_masks(CropMasks.empty((10, 10)), np.zeros(0, dtype=int))
    moved = Outlines.cat([outlines, outlines]).affine(np.eye(2, 3)).clip(0, 0, 5, 5)
    assert moved.targets(0.0).shape == (0, 5)
    assert moved.areas().shape == (0,)


def test_turned_disc_keeps_the_size_of_its_box():
    # The box of a turned box would be 1.37 times as wide at 30 degrees.
    outlines = outlines_of(disc((100, 100), (50, 50), 30))
    angle = np.deg2rad(30)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = np.column_stack([turn, 50 - turn @ (50, 50)])
    box = outlines.affine(matrix).targets(0.0)[0, :4]
    np.testing.assert_allclose(box, [20, 20, 80, 80], atol=1.0)


def test_affine_scales_the_whole_area():
    outlines = polygon([(0, 0), (4, 0), (4, 2), (0, 2)]).affine(np.array([[2.0, 0, 1], [0, -3.0, 5]]))
    assert outlines.whole_areas.tolist() == [48]
    assert outlines.areas().tolist() == [48]
    np.testing.assert_allclose(outlines.targets(0.0)[0], [1, -1, 9, 5, 0])


@pytest.mark.parametrize(
    ("window", "box", "area"),
    [
        ((0, 0, 10, 10), (0, 0, 10, 10), 50),
        ((0, 0, 5, 10), (0, 0, 5, 10), 37.5),
        # Where the triangle is cut, the box of what is left is lower than the cut box would be.
        ((5, 0, 10, 10), (5, 0, 10, 5), 12.5),
        ((-5, 2, 20, 4), (0, 2, 8, 4), 14),
        ((2, 3, 3, 4), (2, 3, 3, 4), 1),
    ],
)
def test_clipped_triangle(window, box, area):
    left = polygon([(0, 0), (10, 0), (0, 10)]).clip(*window)
    np.testing.assert_allclose(left.targets(0.0)[0, :4], box)
    np.testing.assert_allclose(left.areas(), [area])
    assert left.whole_areas.tolist() == [50]


def test_what_is_outside_has_no_target():
    left = polygon([(0, 0), (10, 0), (0, 10)]).clip(8, 8, 20, 20)
    assert left.areas().tolist() == [0]
    assert len(left.targets(0.0)) == 0


def test_least_visible():
    left = polygon([(0, 0), (10, 0), (10, 10), (0, 10)]).clip(0, 0, 3, 100)
    assert len(left.targets(0.3)) == 1
    assert len(left.targets(0.31)) == 0


@given(st.integers(0, 10_000))
def test_clipping_many_at_once_equals_one_by_one(seed):
    generator = np.random.default_rng(seed)
    singles = []
    for label in range(6):
        angles = np.sort(generator.uniform(0, 2 * np.pi, generator.integers(3, 9)))
        points = generator.uniform(0, 40, 2) + 12 * np.column_stack([np.cos(angles), np.sin(angles)])
        singles.append(polygon(points, label))
    window = (10, 5, 30, 28)
    together = Outlines.cat(singles).clip(*window)
    np.testing.assert_allclose(together.areas(), [single.clip(*window).areas()[0] for single in singles], atol=1e-9)
    expected = np.concatenate([single.clip(*window).targets(0.1) for single in singles])
    np.testing.assert_allclose(together.targets(0.1), expected)


@given(st.integers(0, 10_000))
def test_clipped_area_agrees_with_sampling(seed):
    generator = np.random.default_rng(seed)
    angles = np.sort(generator.uniform(0, 2 * np.pi, 7))
    points = np.array([20, 20]) + 15 * np.column_stack([np.cos(angles), np.sin(angles)])
    step = 0.1
    grid = np.stack(np.meshgrid(np.arange(0, 40, step), np.arange(0, 40, step)), -1).reshape(-1, 2) + step / 2
    ahead = np.roll(points, -1, axis=0)
    inside = np.ones(len(grid), dtype=bool)
    for a, b in zip(points, ahead, strict=True):
        inside &= (b[0] - a[0]) * (grid[:, 1] - a[1]) >= (b[1] - a[1]) * (grid[:, 0] - a[0])
    inside &= (grid >= (12, 15)).all(axis=1) & (grid < (30, 31)).all(axis=1)
    area = polygon(points).clip(12, 15, 30, 31).areas()[0]
    assert area == pytest.approx(inside.sum() * step**2, abs=1.5)
