"""The competition's score: mean precision over IoU thresholds, then over images (competition mAP).

For every image and every threshold t = 10/20 ... 19/20, true positives (TP) are the largest number of one-to-one pairs
of a prediction and a true cell with ``20 * intersection > 20 t * union``, in whole numbers. Predictions left over are
false positives (FP), true cells left over false negatives (FN), and the precision is TP / (TP + FP + FN). An image
with cells but no predictions, or with predictions but no cells, scores 0; one with neither scores 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cellseg.errors import InputError
from cellseg.metrics.matching import THRESHOLDS, Overlap, count_matches, measure_overlap
from cellseg.structures import CropMasks


@dataclass(frozen=True)
class Score:
    """Competition mAP of a set of images.

    Attributes:
        counts: int64 ``[I, 10, 3]``: true positives, false positives, false negatives of each image and threshold.
    """

    counts: Tensor

    @property
    def per_image_threshold(self) -> Tensor:
        """Precision of each image at each threshold, float64 ``[I, 10]``."""
        return precision(self.counts)

    @property
    def per_image(self) -> Tensor:
        """Mean precision of each image over the thresholds, float64 ``[I]``."""
        return self.per_image_threshold.mean(dim=1)

    @property
    def ap(self) -> dict[float, float]:
        """Mean precision over images at each threshold, keyed 0.5, 0.55 ... 0.95."""
        return dict(zip(THRESHOLDS, self.per_image_threshold.mean(dim=0).tolist(), strict=True))

    @property
    def map(self) -> float:
        """Mean over thresholds, then images."""
        return self.per_image.mean().item()


def competition_map(predictions: Sequence[CropMasks], truths: Sequence[CropMasks]) -> Score:
    """Score predictions against the truth.

    Masks may overlap on either side; the competition itself refuses predictions that do.

    Args:
        predictions: the bool masks predicted for each image.
        truths: the true bool masks of the same images, in the same order.

    Raises:
        InputError: the lists have different lengths or no image, masks are not bool, or sizes or devices differ.
    """
    if len(predictions) != len(truths):
        raise InputError(f"predictions of {len(predictions)} images and truths of {len(truths)} cannot be compared")
    if len(predictions) == 0:
        raise InputError("no images to score")
    counts = []
    for index, (predicted, true) in enumerate(zip(predictions, truths, strict=True)):
        try:
            counts.append(match_counts(measure_overlap(predicted, true)))
        except InputError as error:
            raise InputError(f"image {index}: {error}") from error
    return Score(torch.stack(counts))


def match_counts(overlap: Overlap) -> Tensor:
    """True positives, false positives and false negatives of one image: int64 ``[10, 3]``, a row per threshold."""
    matched = torch.from_numpy(count_matches(overlap))
    invented = len(overlap.prediction_areas) - matched
    missed = len(overlap.truth_areas) - matched
    return torch.stack([matched, invented, missed], dim=1)


def precision(counts: Tensor) -> Tensor:
    """TP / (TP + FP + FN), and 1 where there is nothing to find and nothing found.

    Args:
        counts: int64 ``[..., 3]``: true positives, false positives, false negatives.

    Returns:
        float64 ``[...]``.
    """
    total = counts.sum(dim=-1)
    return torch.where(total > 0, counts[..., 0].double() / total.clamp(min=1), 1.0)
