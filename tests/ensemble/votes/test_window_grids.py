"""Windows to grids and back: exact to a fraction of a pixel."""

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from cellseg.ensemble.votes.window_grids import sample_grids
from cellseg.members.stretch import stretch_grids
from cellseg.structures import CropMasks

SIZE = (120, 150)


def soft_disc(windows, centre, radius, softness=2.0):
    """A disc with a soft rim in each window, as probabilities at the pixel centres."""
    crops = []
    for x0, y0, x1, y1 in windows.tolist():
        y, x = torch.meshgrid(torch.arange(y0, y1) + 0.5, torch.arange(x0, x1) + 0.5, indexing="ij")
        distance = ((x - centre[0]) ** 2 + (y - centre[1]) ** 2).sqrt()
        crops.append(torch.sigmoid((radius - distance) / softness))
    return CropMasks.from_crops(crops, windows, SIZE)


def centroid(masks):
    """Mean position of the probability, in pixels."""
    x0, y0, x1, y1 = masks.windows[0].tolist()
    y, x = torch.meshgrid(torch.arange(y0, y1) + 0.5, torch.arange(x0, x1) + 0.5, indexing="ij")
    values = masks.crop(0).double()
    return torch.stack([(values * x).sum(), (values * y).sum()]) / values.sum()


@pytest.mark.parametrize("window", [[20, 30, 62, 66], [11, 13, 29, 37], [3, 5, 108, 92], [0, 0, 150, 120]])
def test_a_disc_goes_to_the_grid_and_back(window):
    windows = torch.tensor([window])
    x0, y0, x1, y1 = window
    centre = torch.tensor([(x0 + x1) / 2 + 0.37, (y0 + y1) / 2 - 0.21])
    radius = min(x1 - x0, y1 - y0) * 0.36
    disc = soft_disc(windows, centre, radius, softness=radius / 5)
    grids = sample_grids([disc], 28)
    # The grid has the analytic values at its own centres.
    step = torch.tensor([x1 - x0, y1 - y0]) / 28
    y, x = torch.meshgrid(torch.arange(28) + 0.5, torch.arange(28) + 0.5, indexing="ij")
    distance = ((x * step[0] + x0 - centre[0]) ** 2 + (y * step[1] + y0 - centre[1]) ** 2).sqrt()
    assert (grids[0, 0] - torch.sigmoid((radius - distance) / (radius / 5))).abs().max() < 0.03
    back = stretch_grids(grids[:, 0], windows.float(), windows, SIZE)
    assert (back.values - disc.values).abs().max() < 0.04
    assert (centroid(back) - centroid(disc)).abs().max() < 0.03


def test_against_plain_interpolation():
    rng = np.random.default_rng(0)
    windows = torch.tensor([[4, 5, 24, 18], [0, 0, 7, 30], [50, 60, 51, 61], [10, 10, 38, 38]])
    crops = [torch.from_numpy(rng.random((y1 - y0, x1 - x0))).float() for x0, y0, x1, y1 in windows.tolist()]
    found = sample_grids([CropMasks.from_crops(crops, windows, SIZE)], 28)
    for index, crop in enumerate(crops):
        height, width = crop.shape
        points = 1 if max(height, width) <= 28 else 2
        place = (np.arange(28 * points) + 0.5) / (28 * points)
        y, x = np.meshgrid(place * height - 0.5, place * width - 0.5, indexing="ij")
        fine = map_coordinates(crop.numpy(), [y, x], order=1, mode="nearest")
        expected = fine.reshape(28, points, 28, points).mean(axis=(1, 3))
        np.testing.assert_allclose(found[index, 0].numpy(), expected, atol=1e-5)


def test_a_window_of_the_size_of_the_grid_is_copied():
    windows = torch.tensor([[3, 7, 31, 35]])
    crop = torch.rand(28, 28)
    assert torch.equal(sample_grids([CropMasks.from_crops([crop], windows, SIZE)], 28)[0, 0], crop)


def test_several_masks_in_any_order_and_number():
    windows = torch.tensor([[0, 0, 9, 9], [5, 5, 5, 5], [20, 10, 140, 115], [2, 3, 40, 17]])
    parts = [soft_disc(windows, (x, 20.0), 8.0) for x in (5.0, 30.0, 60.0)]
    grids = sample_grids(parts, 28)
    assert grids.shape == (4, 3, 28, 28) and (grids[1] == 0).all()
    for member, part in enumerate(parts):
        for index in range(4):
            assert torch.equal(sample_grids([part[index]], 28)[0, 0], grids[index, member])
    order = torch.tensor([3, 0, 2, 1])
    assert torch.equal(sample_grids([part[order] for part in parts], 28), grids[order])
    many = [part[torch.arange(4).repeat(200)] for part in parts]
    assert torch.equal(sample_grids(many, 28)[396:400], grids)
    assert sample_grids([parts[0][torch.zeros(0, dtype=torch.int64)]], 28).shape == (0, 1, 28, 28)


def test_bool_masks_become_shares():
    windows = torch.tensor([[0, 0, 56, 56]])
    mask = torch.zeros(56, 56, dtype=torch.bool)
    mask[:, :28] = True
    grid = sample_grids([CropMasks.from_crops([mask], windows, SIZE)], 28)[0, 0]
    assert (grid[:, :13] == 1).all() and (grid[:, 15:] == 0).all()
    assert float(grid.mean()) == pytest.approx(0.5)
