"""Scores of class probabilities: accuracy, macro F1 and log loss, each as sums over samples."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cellseg.multimodal.comparison.intervals import Counts, Statistic, class_counts, macro_f1_of_sums, ratio

# Of a class that a model says is impossible and that is true; without it one sample would make the loss infinite.
_FLOOR = 1e-12


@dataclass(frozen=True)
class Score:
    """One score.

    Attributes:
        counts: from probabilities ``[N, K]`` and labels ``[N]`` to what each sample adds, float ``[N, D]``.
        statistic: the score of sums over samples.
        larger_is_better: whether it is.
    """

    counts: Callable[[np.ndarray, np.ndarray], Counts]
    statistic: Statistic
    larger_is_better: bool = True

    def of(self, probabilities: np.ndarray, labels: np.ndarray) -> float:
        """The score of samples whose labels are known."""
        return float(self.statistic(self.counts(probabilities, labels).sum(axis=0)))

    def cost(self, probabilities: np.ndarray, labels: np.ndarray) -> float:
        """The score turned so that smaller is better, as tuners want it."""
        value = self.of(probabilities, labels)
        return 1 - value if self.larger_is_better else value


def _right(probabilities: np.ndarray, labels: np.ndarray) -> Counts:
    return _beside_ones(probabilities.argmax(axis=1) == labels)


def _class_sums(probabilities: np.ndarray, labels: np.ndarray) -> Counts:
    return class_counts(probabilities.argmax(axis=1), labels, probabilities.shape[1])


def _losses(probabilities: np.ndarray, labels: np.ndarray) -> Counts:
    said = probabilities[np.arange(len(labels)), labels]
    return _beside_ones(-np.log(np.clip(said, _FLOOR, 1.0)))


def _beside_ones(values: np.ndarray) -> Counts:
    return np.stack([values.astype(np.float64), np.ones(len(values))], axis=1)


SCORES = {
    "accuracy": Score(_right, ratio),
    "macro_f1": Score(_class_sums, macro_f1_of_sums),
    "log_loss": Score(_losses, ratio, larger_is_better=False),
}
