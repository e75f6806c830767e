"""Feature maps read in boxes, against a plain loop and a ramp."""

import numpy as np
import torch

from cellseg.members.pooling import FEATURE_GRID, FeatureLevel


def plain_pool(values: np.ndarray, box) -> np.ndarray:
    """Means of 2 x 2 samples in each bin of a box (in cells of the map): ``[C, 7, 7]``."""
    channels, height, width = values.shape
    x0, y0, x1, y1 = box
    out = np.zeros((channels, FEATURE_GRID, FEATURE_GRID))
    for row in range(FEATURE_GRID):
        for column in range(FEATURE_GRID):
            for i in (0.25, 0.75):
                for j in (0.25, 0.75):
                    # Cell n has its centre at n + 0.5.
                    x = x0 + (x1 - x0) * (column + j) / FEATURE_GRID - 0.5
                    y = y0 + (y1 - y0) * (row + i) / FEATURE_GRID - 0.5
                    if x < -1 or y < -1 or x > width or y > height:
                        continue
                    x, y = min(max(x, 0), width - 1), min(max(y, 0), height - 1)
                    left, top = int(x), int(y)
                    right, bottom = min(left + 1, width - 1), min(top + 1, height - 1)
                    dx, dy = x - left, y - top
                    upper = values[:, top, left] * (1 - dx) + values[:, top, right] * dx
                    lower = values[:, bottom, left] * (1 - dx) + values[:, bottom, right] * dx
                    out[:, row, column] += (upper * (1 - dy) + lower * dy) / 4
    return out


def test_pooling_equals_plain_loops():
    values = np.random.default_rng(0).random((3, 12, 17), dtype=np.float32)
    scale, origin = (0.25, 0.3), (40.0, 8.0)
    boxes = np.array([[50, 12, 70, 30], [41.3, 8.2, 43.1, 9.9], [30, 0, 120, 60], [60, 20, 60, 20]], dtype=np.float32)
    found = FeatureLevel(torch.from_numpy(values), scale, origin).pool(torch.from_numpy(boxes))
    assert found.shape == (4, 3, 7, 7) and found.dtype == torch.float32
    for index, box in enumerate((boxes - [*origin, *origin]) * [*scale, *scale]):
        np.testing.assert_allclose(found[index].numpy(), plain_pool(values, box), atol=1e-5)


def test_no_boxes():
    assert FeatureLevel(torch.rand(5, 4, 4), (0.5, 0.5)).pool(torch.zeros(0, 4)).shape == (0, 5, 7, 7)
