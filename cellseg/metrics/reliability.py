"""How far stated confidences can be relied on: reliability curve, calibration error, rank correlation."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor

from cellseg.errors import InputError
from cellseg.metrics.iou import shared_pixels
from cellseg.structures import CropMasks


@dataclass(frozen=True)
class ReliabilityRow:
    """What happened where the prediction lay in ``lower`` to ``upper`` (the upper end belongs to the next row).

    Attributes:
        lower, upper: ends of the bin.
        count: how many predictions lie in it.
        mean_predicted, mean_actual: their means, None where there are none.
    """

    lower: float
    upper: float
    count: int
    mean_predicted: float | None
    mean_actual: float | None


@dataclass(frozen=True)
class ReliabilityCurve:
    """Predictions against what happened, in bins of equal width.

    Attributes:
        rows: one per bin, from 0 to 1.
    """

    rows: tuple[ReliabilityRow, ...]

    @property
    def error(self) -> float:
        """Expected calibration error: mean distance of the two means, each bin by its count; 0 without predictions."""
        total = sum(row.count for row in self.rows)
        gaps = [row.count * abs(row.mean_predicted - row.mean_actual) for row in self.rows if row.count]
        return sum(gaps) / max(total, 1)


def reliability_curve(predicted: Tensor, actual: Tensor, bins: int = 10) -> ReliabilityCurve:
    """Compare predictions with what happened.

    Args:
        predicted: float ``[N]`` in 0..1, for example the probability that something holds.
        actual: float or bool ``[N]`` in 0..1, for example whether it held.
        bins: how many bins 0..1 is cut into.

    Raises:
        InputError: lengths differ, a value is outside 0..1 or NaN, or there is no bin.
    """
    if bins < 1:
        raise InputError(f"reliability: expected at least one bin, found {bins}")
    predicted, actual = (_in_unit_range(*part) for part in (("predicted", predicted), ("actual", actual)))
    if len(predicted) != len(actual):
        raise InputError(f"reliability: {len(predicted)} predictions and {len(actual)} results cannot be compared")
    place = np.minimum((predicted * bins).astype(np.int64), bins - 1)
    counts = np.bincount(place, minlength=bins)
    sums = [np.bincount(place, weights=values, minlength=bins) for values in (predicted, actual)]
    rows = []
    for index, count in enumerate(counts.tolist()):
        means = [float(part[index]) / count if count else None for part in sums]
        rows.append(ReliabilityRow(index / bins, (index + 1) / bins, count, *means))
    return ReliabilityCurve(tuple(rows))


def spearman(a: Tensor, b: Tensor) -> float | None:
    """Spearman's rank correlation of two lists of numbers, -1 to 1; equal numbers share the mean of their ranks.

    Returns:
        None where it is not defined: fewer than two numbers, or one side all equal.

    Raises:
        InputError: lengths differ, or a number is not finite.
    """
    sides = [torch.as_tensor(side).detach().cpu().double().reshape(-1).numpy() for side in (a, b)]
    if len(sides[0]) != len(sides[1]):
        raise InputError(f"spearman: {len(sides[0])} and {len(sides[1])} numbers cannot be compared")
    if not all(np.isfinite(side).all() for side in sides):
        raise InputError("spearman: expected finite numbers")
    if any(len(side) < 2 or side.min() == side.max() for side in sides):
        return None
    return float(np.corrcoef(*(rankdata(side) for side in sides))[0, 1].clip(-1.0, 1.0))


def best_overlaps(masks: CropMasks, truths: CropMasks) -> Tensor:
    """The largest IoU of each mask with any true one: float64 ``[N]``, 0 where it touches none.

    Raises:
        InputError: masks are not bool, or image sizes or devices differ.
    """
    # True masks hardly overlap, those of members do; the count is faster this way round.
    columns, rows, shared = shared_pixels(truths, masks)
    union = masks.areas()[rows] + truths.areas()[columns] - shared
    best = torch.zeros(len(masks), dtype=torch.float64, device=shared.device)
    return best.scatter_reduce_(0, rows, shared.double() / union, "amax")


def _in_unit_range(name: str, values: Tensor) -> np.ndarray:
    values = torch.as_tensor(values).detach().cpu().double()
    if values.ndim != 1:
        raise InputError(f"reliability: {name} should have shape [N], found {list(values.shape)}")
    wrong = ~((values >= 0) & (values <= 1))
    if wrong.any():
        raise InputError(f"reliability: {name} should lie in 0..1, found {values[wrong][0].item():g}")
    return values.numpy()
