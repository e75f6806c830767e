"""How far the ensemble's own certainty says how well its cells fit."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from cellseg.ensemble.tuning.cases import Case
from cellseg.ensemble.votes.resolve import resolve
from cellseg.metrics.reliability import ReliabilityCurve, best_overlaps, reliability_curve, spearman


@dataclass(frozen=True)
class Reliability:
    """How far the certainty of the ensemble's cells (1 - uncertainty) says how well they fit.

    Attributes:
        curve: certainty against the IoU with the best true cell.
        correlation: Spearman's rank correlation of the two; None where it is not defined.
        cells: how many.
    """

    curve: ReliabilityCurve
    correlation: float | None
    cells: int


def measure_reliability(cases: Sequence[Case]) -> Reliability:
    """Compare the certainty of the ensemble's cells with how well they fit."""
    certain, fits = [], []
    for case in cases:
        for image, truth in zip(case.evidence(), case.pool.truths, strict=True):
            with torch.inference_mode():
                found = resolve(image, case.settings)
            certain.append(1.0 - found.uncertainty)
            fits.append(best_overlaps(found.masks, truth))
    predicted, actual = torch.cat(certain), torch.cat(fits)
    return Reliability(reliability_curve(predicted, actual), spearman(predicted, actual), len(predicted))
