"""Positions: their formula, that lengths do not move them, resized grids."""

import math

import torch

from cellseg.multimodal.encoders.positions import GridPositions, sinusoidal_positions


def test_sinusoidal_positions_follow_the_formula():
    for width in (7, 8):
        found = sinusoidal_positions(5, width)
        waves = (width + 1) // 2
        for place in range(5):
            angles = [place / 10000 ** (wave / waves) for wave in range(waves)]
            expected = [*map(math.sin, angles), *map(math.cos, angles)][:width]
            torch.testing.assert_close(found[place], torch.tensor(expected), atol=1e-5, rtol=0)
        assert torch.equal(sinusoidal_positions(9, width)[:5], found)


def test_grid_is_resized_to_other_maps():
    module = GridPositions(3, 2)
    assert module(2, 2) is module.grid
    larger = module(4, 6)
    assert larger.shape == (1, 3, 4, 6)
    # The corners of a larger map are those of the grid.
    torch.testing.assert_close(larger[..., [0, 0, -1, -1], [0, -1, 0, -1]], module.grid.flatten(2))
