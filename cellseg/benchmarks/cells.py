"""Random cells that the benchmarks work on: boxes, and what members say about them; the same in every run.

Probabilities are multiples of 2^-20, weights x confidences multiples of 2^-4 that add up to 1. So their products and
sums fit into the 24 bits of a float32, nothing is rounded in whatever order, and two sides that vote on them must agree
in every pixel.
"""

import numpy as np
import torch
from torch import Tensor

from cellseg.benchmarks.subjects import LARGEST_BOX, SMALLEST_BOX, Scale
from cellseg.structures import CropMasks

# Steps of a probability, and of a confidence times its weight.
_PROBABILITY_STEPS = 2**20
_PART_STEPS = 16

WEIGHTS = (2.0, 1.0, 1.0)


def random_windows(rng: np.random.Generator, scale: Scale) -> np.ndarray:
    """Boxes of whole pixels anywhere in the image, int64 [N, 4] (x0, y0, x1, y1)."""
    sides = rng.integers(SMALLEST_BOX, LARGEST_BOX, (scale.instances, 2), endpoint=True)
    corner = rng.integers(0, (scale.width, scale.height) - sides, endpoint=True)
    return np.concatenate((corner, corner + sides), axis=1)


def random_evidence(rng: np.random.Generator, windows: np.ndarray, scale: Scale) -> CropMasks:
    """One member's probabilities: in each window an ellipse with a soft edge, about as large as the window."""
    crops = []
    for x0, y0, x1, y1 in windows.tolist():
        width, height = x1 - x0, y1 - y0
        shift_x, shift_y = rng.normal(0.0, 0.04, 2)
        x = ((np.arange(width) + 0.5) / width - 0.5 - shift_x) / rng.uniform(0.42, 0.5)
        y = ((np.arange(height) + 0.5) / height - 0.5 - shift_y) / rng.uniform(0.42, 0.5)
        inside = 1.0 - np.hypot(x[None, :], y[:, None])
        probability = 1.0 / (1.0 + np.exp(-8.0 * inside))
        crops.append(torch.from_numpy(np.round(probability * _PROBABILITY_STEPS) / _PROBABILITY_STEPS).float())
    return CropMasks.from_crops(crops, torch.from_numpy(windows), (scale.height, scale.width))


def random_confidence(rng: np.random.Generator, instances: int) -> Tensor:
    """Confidences of the members, float64 [3, N] in 0..1; those of an instance times the weights add up to 1."""
    first = rng.integers(4, 12, instances)
    second = rng.integers(1, _PART_STEPS - first)
    steps = np.stack((first, second, _PART_STEPS - first - second))
    return torch.from_numpy(steps / _PART_STEPS / np.reshape(WEIGHTS, (3, 1)))
