"""Masks in windows of any size, read on square grids of one size; ``members.stretch`` takes grids back to windows."""

from collections.abc import Sequence

import torch
from torch import Tensor

from cellseg.structures import CropMasks

# A grid cell that covers several pixels is their mean: of so many points at most along each side.
_MAX_POINTS = 4
# Boxes at once: the points of 2000 large windows would fill gigabytes.
_AT_ONCE = 256


def sample_grids(masks: Sequence[CropMasks], size: int) -> Tensor:
    """Read masks on grids whose cells divide each window evenly.

    A pixel's value stands at its centre, values between centres are bilinear, and beyond the outer centres the nearest
    one holds. A cell of the grid has the value at its centre, or, where it is larger than a pixel, the mean of points
    spread evenly over it.

    Args:
        masks: M times the same N windows, float32 or bool.
        size: S, cells along a side.

    Returns:
        float32 ``[N, M, S, S]``, rows from top to bottom; 0 for an empty window.
    """
    windows, offsets = masks[0].windows, masks[0].offsets
    values = [part.values.float() for part in masks]
    heights, widths = masks[0].window_sizes()
    grids = torch.zeros((len(windows), len(masks), size, size), device=windows.device)
    points = torch.ceil(torch.maximum(heights, widths) / size).clamp(1, _MAX_POINTS).long()
    there = (heights > 0) & (widths > 0)
    for count in points[there].unique().tolist():
        for chosen in (there & (points == count)).nonzero()[:, 0].split(_AT_ONCE):
            row = _positions(heights[chosen], size * count)
            column = _positions(widths[chosen], size * count)
            for index, part in enumerate(values):
                fine = _read(part, offsets[chosen], widths[chosen], row, column)
                grids[chosen, index] = torch.nn.functional.avg_pool2d(fine[:, None], count)[:, 0]
    return grids


def _positions(lengths: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """For points spread evenly over each length: the pixel before, the one after, and how far towards it."""
    middle = (torch.arange(count, device=lengths.device, dtype=torch.float64) + 0.5) / count
    place = (middle * lengths[:, None] - 0.5).clamp(min=0)
    place = torch.minimum(place, (lengths[:, None] - 1).double())
    before = place.floor()
    after = torch.minimum(before + 1, (lengths[:, None] - 1).double())
    return before.long(), after.long(), (place - before).float()


def _read(
    values: Tensor,
    starts: Tensor,
    widths: Tensor,
    row: tuple[Tensor, Tensor, Tensor],
    column: tuple[Tensor, Tensor, Tensor],
) -> Tensor:
    """Bilinear values ``[B, R, C]`` of B crops at the points where their rows and columns cross."""
    (top, bottom, down), (left, right, along) = row, column
    down, along = down[:, :, None], along[:, None, :]

    def at(y: Tensor, x: Tensor) -> Tensor:
        return values[starts[:, None, None] + y[:, :, None] * widths[:, None, None] + x[:, None, :]]

    upper = at(top, left) * (1 - along) + at(top, right) * along
    lower = at(bottom, left) * (1 - along) + at(bottom, right) * along
    return upper * (1 - down) + lower * down
