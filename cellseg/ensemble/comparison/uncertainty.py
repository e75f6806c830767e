"""Whether the uncertainty of cells tells how good they are."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from cellseg.metrics.reliability import ReliabilityCurve, best_overlaps, reliability_curve, spearman
from cellseg.structures import CropMasks, Instances


@dataclass(frozen=True)
class UncertaintyCheck:
    """1 - uncertainty of each cell against its IoU with the best true cell.

    Attributes:
        cells: how many there are.
        curve: in ten bins of 1 - uncertainty.
        spearman: rank correlation of the two; None where it is not defined.
    """

    cells: int
    curve: ReliabilityCurve
    spearman: float | None


def check_uncertainty(found: Sequence[Instances], truths: Sequence[CropMasks]) -> UncertaintyCheck | None:
    """Compare the uncertainty of all cells with what they turned out to be; None where they have none.

    Args:
        found: instances of each image.
        truths: the true cells of each.
    """
    if not found or any(instances.uncertainty is None for instances in found):
        return None
    certain = torch.cat([1 - instances.uncertainty for instances in found]).clamp(0, 1)
    actual = torch.cat([best_overlaps(instances.masks, truth) for instances, truth in zip(found, truths, strict=True)])
    return UncertaintyCheck(len(certain), reliability_curve(certain, actual), spearman(certain, actual))
