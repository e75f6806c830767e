"""F1, panoptic quality (PQ) and mean IoU at the threshold 0.5."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Quality:
    """Numbers of cells, summed over any number of images, and the scores that follow from them.

    Attributes:
        matched: pairs of a prediction and a true cell with IoU > 0.5, one to one.
        predictions: predicted cells.
        cells: true cells.
        matched_iou: sum of the IoU of the pairs.
        best_iou: sum over true cells of the largest IoU with any prediction (0 for a cell that none touches).
    """

    matched: int
    predictions: int
    cells: int
    matched_iou: float
    best_iou: float

    @property
    def precision(self) -> float | None:
        """Share of the predictions that match a cell; None without predictions."""
        return _ratio(self.matched, self.predictions)

    @property
    def recall(self) -> float | None:
        """Share of the true cells that are matched; None without cells."""
        return _ratio(self.matched, self.cells)

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN); 1 where there is nothing to find and nothing found."""
        total = self.predictions + self.cells
        return 2 * self.matched / total if total else 1.0

    @property
    def mean_matched_iou(self) -> float | None:
        """Mean IoU of the pairs ("segmentation quality"); None without pairs."""
        return _ratio(self.matched_iou, self.matched)

    @property
    def pq(self) -> float:
        """Panoptic quality, F1 x mean IoU of the pairs (Kirillov et al., CVPR 2019, eq. 1)."""
        total = self.predictions + self.cells
        return 2 * self.matched_iou / total if total else 1.0

    @property
    def mean_best_iou(self) -> float | None:
        """Mean over the true cells of the largest IoU with any prediction; None without cells."""
        return _ratio(self.best_iou, self.cells)

    @staticmethod
    def total(qualities: Sequence["Quality"]) -> "Quality":
        """Sum over images: every cell weighs the same, whichever image it lies in."""
        return Quality(
            matched=sum(quality.matched for quality in qualities),
            predictions=sum(quality.predictions for quality in qualities),
            cells=sum(quality.cells for quality in qualities),
            matched_iou=float(np.sum([quality.matched_iou for quality in qualities])),
            best_iou=float(np.sum([quality.best_iou for quality in qualities])),
        )


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
