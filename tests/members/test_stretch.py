"""Grids stretched to boxes, against a plain loop."""

import numpy as np
import torch

from cellseg.members.stretch import stretch_grids


def plain_stretch(grid: np.ndarray, box, window) -> np.ndarray:
    x0, y0, x1, y1 = (float(v) for v in box)
    wx0, wy0, wx1, wy1 = (int(v) for v in window)
    size = grid.shape[0]
    out = np.zeros((wy1 - wy0, wx1 - wx0))
    for j in range(wy1 - wy0):
        for i in range(wx1 - wx0):
            x, y = wx0 + i + 0.5, wy0 + j + 0.5
            if not (x0 <= x < x1 and y0 <= y < y1):
                continue
            u = min(max((x - x0) / (x1 - x0) * size - 0.5, 0), size - 1)
            v = min(max((y - y0) / (y1 - y0) * size - 0.5, 0), size - 1)
            left, top = int(u), int(v)
            right, bottom = min(left + 1, size - 1), min(top + 1, size - 1)
            a, b = u - left, v - top
            upper = grid[top, left] * (1 - a) + grid[top, right] * a
            lower = grid[bottom, left] * (1 - a) + grid[bottom, right] * a
            out[j, i] = upper * (1 - b) + lower * b
    return out


def test_equals_plain_loop():
    generator = torch.Generator().manual_seed(0)
    grids = torch.rand(5, 7, 7, generator=generator)
    boxes = torch.tensor(
        [[3.2, 4.1, 20.7, 15.9], [0.0, 0.0, 8.0, 8.0], [30.5, 10.25, 39.9, 29.5], [5, 5, 6, 6], [-2.0, -3.0, 9.5, 12.0]]
    )
    windows = torch.tensor([[1, 2, 24, 18], [0, 0, 10, 9], [28, 8, 40, 30], [4, 4, 8, 8], [0, 0, 11, 14]])
    found = stretch_grids(grids, boxes, windows, (30, 40))
    for index in range(5):
        expected = plain_stretch(grids[index].numpy(), boxes[index], windows[index])
        np.testing.assert_allclose(found.crop(index).numpy(), expected, atol=1e-5)


def test_a_linear_ramp_is_kept_to_a_fraction_of_a_pixel():
    size = 28
    ramp = ((torch.arange(size) + 0.5) / size).repeat(size, 1)[None]
    box = torch.tensor([[10.0, 10.0, 66.0, 66.0]])
    found = stretch_grids(ramp, box, torch.tensor([[10, 10, 66, 66]]), (80, 80)).crop(0)
    expected = (torch.arange(56) + 0.5) / 56
    assert (found[30, 2:-2] - expected[2:-2]).abs().max() < 1e-4


def test_a_box_without_area_holds_nothing():
    boxes = torch.tensor([[4.0, 4.0, 4.0, 9.0], [5.5, 5.5, 5.5, 5.5], [4.0, 4.0, 9.0, 9.0]])
    windows = torch.tensor([[2, 2, 8, 10], [4, 4, 7, 7], [0, 0, 0, 0]])
    found = stretch_grids(torch.ones(3, 7, 7), boxes, windows, (12, 12))
    assert torch.equal(found.values, torch.zeros(6 * 8 + 9))
