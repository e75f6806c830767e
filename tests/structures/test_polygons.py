"""Outlines there and back, and filling against a plain count of crossings in exact fractions."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from cellseg.errors import InputError
from cellseg.structures import CropMasks

masks = arrays(np.bool_, array_shapes(min_dims=3, max_dims=3, max_side=9))


def signed_area(ring):
    x, y = ring.T
    return float((x[:-1] * y[1:] - x[1:] * y[:-1]).sum() / 2)


@given(masks)
@settings(deadline=None, max_examples=300)
def test_outlines_and_back(dense):
    crops = CropMasks.from_dense(torch.from_numpy(dense))
    outlines = crops.to_polygons()
    back = CropMasks.from_polygons(outlines, crops.image_size)
    assert torch.equal(back.windows, crops.windows)
    assert torch.equal(back.values, crops.values)
    for mask, rings in zip(dense, outlines, strict=True):
        assert sum(map(signed_area, rings)) == mask.sum()
        # One outer ring around each 4-connected part, one inner around each 8-connected hole.
        holes = ndimage.label(~np.pad(mask, 1), np.ones((3, 3)))[1] - 1
        areas = [signed_area(ring) for ring in rings]
        assert sum(area > 0 for area in areas) == ndimage.label(mask)[1]
        assert sum(area < 0 for area in areas) == holes


@given(masks)
@settings(deadline=None, max_examples=200)
def test_rings_run_along_every_pixel_edge_once(dense):
    for mask, rings in zip(dense, CropMasks.from_dense(torch.from_numpy(dense)).to_polygons(), strict=True):
        walked = []
        for ring in rings:
            assert ring.dtype == np.float64 and (ring[0] == ring[-1]).all()
            assert ring[0].tolist() == min(ring.tolist(), key=lambda point: (point[1], point[0]))
            steps = np.diff(ring, axis=0)
            assert ((steps == 0).sum(axis=1) == 1).all()  # horizontal or vertical
            assert ((steps[1:] == 0) != (steps[:-1] == 0)).all()  # and a turn at every point
            for (x0, y0), (x1, y1) in zip(ring[:-1].astype(int), ring[1:].astype(int), strict=True):
                walked += [("across", x, y0) for x in range(min(x0, x1), max(x0, x1))]
                walked += [("down", x0, y) for y in range(min(y0, y1), max(y0, y1))]
        padded = np.pad(mask, 1)
        y, x = np.nonzero(padded[1:, 1:-1] != padded[:-1, 1:-1])
        edges = [("across", *edge) for edge in zip(x.tolist(), y.tolist(), strict=True)]
        y, x = np.nonzero(padded[1:-1, 1:] != padded[1:-1, :-1])
        edges += [("down", *edge) for edge in zip(x.tolist(), y.tolist(), strict=True)]
        assert sorted(walked) == sorted(edges)


def test_a_square_with_a_hole_and_a_touching_pixel():
    mask = torch.zeros(1, 6, 7, dtype=torch.bool)
    mask[0, 1:4, 2:5] = True
    mask[0, 2, 3] = False
    mask[0, 4, 5] = True
    (rings,) = CropMasks.from_dense(mask).to_polygons()
    assert [ring.tolist() for ring in rings] == [
        [[2, 1], [5, 1], [5, 4], [2, 4], [2, 1]],
        [[3, 2], [3, 3], [4, 3], [4, 2], [3, 2]],
        [[5, 4], [6, 4], [6, 5], [5, 5], [5, 4]],
    ]


def test_outlines_from_a_device(device):
    dense = torch.zeros(1, 3, 3, dtype=torch.bool, device=device)
    dense[0, 1, 1] = True
    assert CropMasks.from_dense(dense).to_polygons()[0][0].tolist() == [[1, 1], [2, 1], [2, 2], [1, 2], [1, 1]]


def plain_fill(rings, height, width):
    """Pixels whose centre sees an odd number of edges to its left, in exact numbers."""
    mask = np.zeros((height, width), bool)
    for y in range(height):
        for x in range(width):
            centre_x, centre_y = Fraction(2 * x + 1, 2), Fraction(2 * y + 1, 2)
            for ring in rings:
                points = [(Fraction(a), Fraction(b)) for a, b in ring]
                for (x0, y0), (x1, y1) in zip(points, points[1:] + points[:1], strict=True):
                    if (y0 <= centre_y) != (y1 <= centre_y):
                        crossing = x0 + (centre_y - y0) * (x1 - x0) / (y1 - y0)
                        mask[y, x] ^= crossing <= centre_x
    return mask


quarters = st.integers(-12, 44).map(lambda number: number / 4)
ring_lists = st.lists(st.lists(st.tuples(quarters, quarters), min_size=3, max_size=6), max_size=3)


@given(st.lists(ring_lists, max_size=3), st.integers(1, 8), st.integers(1, 8))
@settings(deadline=None, max_examples=200)
def test_filling_any_rings_even_across_themselves_and_the_border(outlines, height, width):
    crops = CropMasks.from_polygons(outlines, (height, width))
    expected = np.array([plain_fill(rings, height, width) for rings in outlines]).reshape(-1, height, width)
    np.testing.assert_array_equal(crops.to_dense().numpy(), expected)
    assert torch.equal(crops.windows, crops.tight().windows)


def test_closed_and_open_rings_fill_alike():
    ring = [[1.0, 1.0], [5.0, 1.5], [3.0, 6.0]]
    closed = CropMasks.from_polygons([[ring + ring[:1]]], (8, 8))
    assert torch.equal(closed.to_dense(), CropMasks.from_polygons([[ring]], (8, 8)).to_dense())
    assert closed.areas().item() > 0


def test_masks_without_rings_are_empty():
    assert CropMasks.from_polygons([[], []], (4, 4)).areas().tolist() == [0, 0]
    assert len(CropMasks.from_polygons([], (4, 4))) == 0


@pytest.mark.parametrize(
    ("outlines", "message"),
    [
        ([[], [[[0, 0], [1, 1]]]],
         "outline of instance 1, ring 0: expected shape [K, 2] with at least 3 points, got [2, 2]"),
        ([[[0, 0, 3, 3, 0, 3]]],
         "outline of instance 0, ring 0: expected shape [K, 2] with at least 3 points, got [6]"),
        ([[[[0, 0], [1, 1], [0, float("nan")]]]],
         "outline of instance 0, ring 0: point 2 is (0.0, nan), not a place near an image"),
        ([[[[0, 0], [1, 1], [0, 1]], [[0, 0], [1e30, 1], [0, 1]]]],
         "outline of instance 0, ring 1: point 1 is (1e+30, 1.0), not a place near an image"),
        ([[[["a", 0], [1, 1], [0, 1]]]], "outline of instance 0, ring 0: expected numbers of shape [K, 2]"),
        ([[[[0, 0], [1, 1], [0]]]], "outline of instance 0, ring 0: expected numbers of shape [K, 2]"),
    ],
)  # fmt: skip
def test_wrong_rings(outlines, message):
    with pytest.raises(InputError) as caught:
        CropMasks.from_polygons(outlines, (8, 8))
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (60_000, "the windows of 1 masks take more than 2147483648 pixels: refused"),
        (2**31 - 1, "outlines: their edges cross 4294967294 pixel rows, more than 268435456: refused"),
    ],
)
def test_outlines_that_fill_absurd_images_are_refused(size, message):
    with pytest.raises(InputError) as caught:
        CropMasks.from_polygons([[[[0, 0], [2**31, 0], [2**31, 2**31], [0, 2**31]]]], (size, size))
    assert str(caught.value) == message
