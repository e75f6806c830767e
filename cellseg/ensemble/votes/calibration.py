"""Calibration of the members' confidences: what one says with 0.8 should be right in 80 of 100 cases."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from cellseg.ensemble.evidence.values import ImageEvidence
from cellseg.errors import InputError
from cellseg.metrics.reliability import best_overlaps, reliability_curve
from cellseg.structures import CropMasks

# Confidences count as 0.0001 to 0.9999: the logit of 0 and 1 is infinite.
_LEAST = 1e-4

# Weight of the pull towards slope 1 and intercept 0: as if each had been measured before with a deviation of 1/2.
_PRIOR = 4.0

# The cells of one image are alike: all together count like no more than this many that are independent.
_MOST_PER_GROUP = 10


@dataclass(frozen=True)
class Calibration:
    """Platt scaling: a straight line on the logit of the confidence.

    Attributes:
        slope: 0 or more, so that the order of confidences stays.
        intercept: what is added.

    Raises:
        InputError: a slope below 0, or a number that is not finite.
    """

    slope: float = 1.0
    intercept: float = 0.0

    def __post_init__(self) -> None:
        if not (np.isfinite(self.slope) and np.isfinite(self.intercept) and self.slope >= 0):
            raise InputError(f"calibration: expected a finite slope of 0 or more and a finite intercept, found {self}")

    def apply(self, confidence: Tensor) -> Tensor:
        """Calibrated confidences, any shape, in 0..1; a confidence of exactly 0 stays 0: the member found nothing."""
        if (self.slope, self.intercept) == (1.0, 0.0):
            return confidence
        line = self.slope * confidence.double().logit(_LEAST) + self.intercept
        return torch.where(confidence > 0, line.sigmoid(), 0.0).to(confidence.dtype)

    def to_dict(self) -> dict[str, float]:
        """JSON-able form."""
        return asdict(self)


def calibrate(confidence: Tensor, members: Sequence[str], calibration: Mapping[str, Calibration]) -> Tensor:
    """Confidences ``[M, N]`` of the members, each calibrated by its own; members without one keep theirs."""
    if not any(name in calibration for name in members):
        return confidence
    none = Calibration()
    return torch.stack([calibration.get(name, none).apply(row) for name, row in zip(members, confidence, strict=True)])


def fit_calibration(confidence: Tensor, correct: Tensor, groups: Tensor | None = None) -> Calibration:
    """Find the line that makes confidences probabilities: logistic regression, drawn towards the identity.

    The pull counts the more, the fewer data there are. Confidences of exactly 0 say nothing about the line and are left
    out. Without data, or if all were right or all wrong, it is the identity.

    Args:
        confidence: float ``[N]`` in 0..1.
        correct: bool ``[N]``, whether what was said with it was right.
        groups: whole numbers ``[N]``: cells of one image, or of one group of images, have the same one. A group counts
            like 10 independent cells at most.

    Raises:
        InputError: lengths differ, or a confidence is outside 0..1 or NaN.
    """
    confidence, correct = torch.as_tensor(confidence).cpu().double(), torch.as_tensor(correct).cpu()
    groups = torch.arange(len(confidence)) if groups is None else torch.as_tensor(groups).cpu()
    if not confidence.shape == correct.shape == groups.shape == (len(confidence),):
        shapes = [list(part.shape) for part in (confidence, correct, groups)]
        raise InputError(f"calibration: confidence, correct and groups should have one shape [N], found {shapes}")
    if not ((confidence >= 0) & (confidence <= 1)).all():
        raise InputError("calibration: confidences should lie in 0..1")
    used = confidence > 0
    confidence, correct, groups = confidence[used], correct[used].double(), groups[used]
    if len(correct) == 0 or correct.min() == correct.max():
        return Calibration()
    _, group, sizes = groups.unique(return_inverse=True, return_counts=True)
    weights = (_MOST_PER_GROUP / sizes.double()).clamp(max=1.0)[group]
    return _fit_line(confidence.logit(_LEAST).numpy(), correct.numpy(), weights.numpy())


def _fit_line(logits: np.ndarray, correct: np.ndarray, weights: np.ndarray) -> Calibration:
    identity = np.array([1.0, 0.0])

    def loss(line: np.ndarray) -> tuple[float, np.ndarray]:
        scores = line[0] * logits + line[1]
        wrong = weights * (1 / (1 + np.exp(-np.clip(scores, -700, 700))) - correct)
        pull = line - identity
        value = np.sum(weights * (np.logaddexp(0.0, scores) - correct * scores)) + _PRIOR / 2 * pull @ pull
        return float(value), np.array([wrong @ logits, wrong.sum()]) + _PRIOR * pull

    found = minimize(loss, identity, jac=True, method="L-BFGS-B", bounds=[(0.0, None), (None, None)])
    return Calibration(*(float(value) for value in found.x))


def expected_calibration_error(confidence: Tensor, correct: Tensor, bins: int = 10) -> float:
    """Mean distance between how sure one was and how often one was right, over bins of equal width, by their counts.

    Args:
        confidence: float ``[N]`` in 0..1.
        correct: bool ``[N]``.
        bins: how many.

    Raises:
        InputError: lengths differ, or a confidence is outside 0..1 or NaN.
    """
    return reliability_curve(confidence, correct, bins).error


def correct_masks(evidence: CropMasks, truths: CropMasks) -> Tensor:
    """Whether a member's masks, its probabilities above 0.5, have an IoU above 0.5 with a true cell: bool ``[N]``."""
    return best_overlaps(evidence.threshold(0.5), truths) > 0.5


def calibrate_members(images: Sequence[ImageEvidence], truths: Sequence[CropMasks]) -> dict[str, Calibration]:
    """Calibrate every member on images whose true cells are known; an image is a group.

    A member is right about a box if what it holds for the cell has an IoU above 0.5 with the best true cell.

    Args:
        images: evidence of each image, all with the same members.
        truths: the true cells of each, bool.

    Returns:
        A calibration for each member, by name.

    Raises:
        InputError: no images, lists of different lengths, or images with other members than the first.
    """
    if not images or len(images) != len(truths):
        raise InputError(f"calibration: expected images with their truths, found {len(images)} and {len(truths)}")
    members = images[0].members
    other = next((image.members for image in images if image.members != members), members)
    if other != members:
        raise InputError(f"calibration: images have evidence of {', '.join(members)} and of {', '.join(other)}")
    groups = torch.arange(len(images)).repeat_interleave(torch.tensor([len(image) for image in images]))
    confidence = torch.cat([image.confidence for image in images], dim=1)
    found = {}
    for index, name in enumerate(members):
        correct = [correct_masks(image.evidence[index], truth) for image, truth in zip(images, truths, strict=True)]
        found[name] = fit_calibration(confidence[index], torch.cat(correct), groups)
    return found
