"""Scores of classes: accuracy, F1, area under the curve; of one class a sample, or of several labels."""

from collections.abc import Sequence

import numpy as np

from cellseg.errors import InputError


def accuracy(found: Sequence[int], true: Sequence[int]) -> float:
    """Share of the samples whose class is right.

    Raises:
        InputError: nothing to score, or not as many on both sides.
    """
    found, true = _same(found, true)
    return float((found == true).mean())


def macro_f1(found: Sequence[int], true: Sequence[int]) -> float:
    """Mean over classes of ``2 TP / (2 TP + FP + FN)``; classes that neither side has do not count.

    Raises:
        InputError: nothing to score, or not as many on both sides.
    """
    found, true = _same(found, true)
    scores = []
    for label in np.union1d(found, true):
        right = ((found == label) & (true == label)).sum()
        scores.append(2 * right / ((found == label).sum() + (true == label).sum()))
    return float(np.mean(scores))


def macro_label_f1(found: np.ndarray, true: np.ndarray) -> float:
    """Mean over labels of the F1 of having it.

    Args:
        found: bool ``[N, K]``.
        true: float ``[N, K]``, 1 or 0, NaN where unknown. Labels that neither side has anywhere do not count; without
            any label 1.

    Raises:
        InputError: nothing to score, or other shapes.
    """
    found, known, true = _labels(found, true)
    right, both = (found & true & known).sum(axis=0), (found & known).sum(axis=0) + (true & known).sum(axis=0)
    return float((2 * right[both > 0] / both[both > 0]).mean()) if both.any() else 1.0


def label_accuracy(found: np.ndarray, true: np.ndarray) -> float:
    """Share of the known labels of all samples that are right; arguments and errors as ``macro_label_f1``."""
    found, known, true = _labels(found, true)
    if not known.any():
        raise InputError("no label is known")
    return float((found == true)[known].mean())


def roc_auc(scores: Sequence[float], true: Sequence[bool]) -> float | None:
    """Chance that a positive sample scores higher than a negative one, ties counted half; None without one of both.

    Raises:
        InputError: nothing to score, or not as many on both sides.
    """
    values, positive = _same(scores, np.asarray(true, bool))
    if positive.all() or not positive.any():
        return None
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    # Mean rank, from 1, of each value among all.
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    many = positive.sum()
    return float((ranks[positive].sum() - many * (many + 1) / 2) / (many * (len(values) - many)))


def _same(first: Sequence, second: Sequence) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.asarray(first), np.asarray(second)
    if first.shape != second.shape or first.ndim != 1 or not len(first):
        raise InputError(f"expected as many answers as truths, found {list(first.shape)} and {list(second.shape)}")
    return first, second


def _labels(found: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    found, true = np.asarray(found, bool), np.asarray(true, float)
    if found.shape != true.shape or found.ndim != 2 or not found.size:
        raise InputError(f"expected labels [N, K] twice, found {list(found.shape)} and {list(true.shape)}")
    known = ~np.isnan(true)
    return found, known, np.where(known, true, 0) > 0.5
