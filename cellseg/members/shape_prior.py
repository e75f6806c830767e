"""The mean shape of a cell type: what a detector, which knows boxes only, can say about pixels."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch

from cellseg.datasets.records import ImageRecord
from cellseg.errors import InputError

GRID = 32  # cells of the grid along each side of a box


def learn_shape_prior(records: Sequence[ImageRecord], num_classes: int, size: int = GRID) -> torch.Tensor:
    """Mean of the masks of each cell type, each stretched from its tight box onto one grid.

    A value is the part of a grid cell's area that the mask covers, exact for boxes larger and smaller than the grid.

    Args:
        records: training images.
        num_classes: K.
        size: S, grid cells along a side.

    Returns:
        float32 ``[K, S, S]`` in 0..1, rows top to bottom. A type without a training cell gets the mean of all cells.

    Raises:
        InputError: there is no cell at all.
    """
    sums = np.zeros((num_classes, size, size))
    counts = np.zeros(num_classes)
    for record in records:
        masks = record.masks.tight()
        for index, label in enumerate(record.labels.tolist()):
            mask = masks.crop(index).numpy()
            if mask.size:
                sums[label] += _shares(mask.shape[0], size) @ mask @ _shares(mask.shape[1], size).T
                counts[label] += 1
    if not counts.sum():
        raise InputError("the shape prior needs at least one training cell; found none")
    everything = sums.sum(axis=0) / counts.sum()
    means = [total / count if count else everything for total, count in zip(sums, counts, strict=True)]
    return torch.from_numpy(np.stack(means)).float().clamp(0, 1)


@lru_cache(maxsize=1024)
def _shares(length: int, size: int) -> np.ndarray:
    """Part of each of ``size`` equal grid cells that each of ``length`` equal pixels fills, ``[size, length]``."""
    cells, pixels = np.arange(size)[:, None] / size, np.arange(length)[None] / length
    overlap = np.minimum(cells + 1 / size, pixels + 1 / length) - np.maximum(cells, pixels)
    return np.maximum(overlap, 0) * size
