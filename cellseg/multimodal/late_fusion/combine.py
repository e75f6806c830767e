"""Combining class probabilities of several models by weights on a simplex."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cellseg.errors import InputError

MEANS = ("arithmetic", "geometric")
# A model that says 0 is not believed to the last: a geometric mean would let it overrule all others.
_FLOOR = 1e-12


def on_simplex(weights: np.ndarray) -> np.ndarray:
    """Weights from 0 on, scaled so that those of all models sum to 1; all 0 stands for equal ones.

    Args:
        weights: float ``[M]``, or ``[M, K]`` for each class its own.
    """
    total = weights.sum(axis=0, keepdims=True)
    return np.where(total > 0, weights / np.where(total > 0, total, 1), 1 / len(weights))


def combine(probabilities: np.ndarray, weights: np.ndarray, mean: str = "arithmetic") -> np.ndarray:
    """Probabilities of several models as one.

    The arithmetic mean is ``sum_m w_m p_m``, the geometric one ``prod_m p_m^w_m``; with weights by class each class
    has its own ``w_m``. Either is scaled to a sum of 1 over classes.

    Args:
        probabilities: ``[M, N, K]`` of M models.
        weights: ``[M]`` or ``[M, K]``, from 0 on; see ``on_simplex``.
        mean: ``arithmetic`` or ``geometric``.

    Returns:
        ``[N, K]``.

    Raises:
        InputError: an unknown mean, or weights for other models or classes.
    """
    models, _, classes = probabilities.shape
    if mean not in MEANS:
        raise InputError(f"mean {mean!r} is none of {', '.join(MEANS)}")
    if weights.shape not in ((models,), (models, classes)):
        raise InputError(
            f"weights: expected {models}, or {models} times {classes} of every class, found {list(weights.shape)}"
        )
    shares = on_simplex(weights.astype(np.float64)).reshape(models, 1, -1)
    if mean == "geometric":
        mixed = np.exp((shares * np.log(np.clip(probabilities, _FLOOR, None))).sum(axis=0))
    else:
        mixed = (shares * probabilities).sum(axis=0)
    total = mixed.sum(axis=1, keepdims=True)
    # Weights by class can leave a sample without any probability.
    return np.where(total > 0, mixed / np.where(total > 0, total, 1), 1 / classes)


@dataclass(frozen=True)
class FusionWeights:
    """Weights of models, and how they are used.

    Attributes:
        models: M names.
        class_names: K names.
        values: float64 ``[M]`` or ``[M, K]``, on the simplex.
        mean: ``arithmetic`` or ``geometric``.
    """

    models: tuple[str, ...]
    class_names: tuple[str, ...]
    values: np.ndarray
    mean: str = "arithmetic"

    @classmethod
    def uniform(cls, models: Sequence[str], class_names: Sequence[str], mean: str = "arithmetic") -> "FusionWeights":
        """The same weight for every model."""
        return cls(tuple(models), tuple(class_names), np.full(len(models), 1 / len(models)), mean)

    @property
    def per_class(self) -> bool:
        """Whether every class has weights of its own."""
        return self.values.ndim == 2

    def combine(self, probabilities: np.ndarray) -> np.ndarray:
        """Probabilities ``[M, N, K]``, in the order of ``models`` and ``class_names``, as one ``[N, K]``."""
        return combine(probabilities, self.values, self.mean)

    def to_dict(self) -> dict[str, float | Mapping[str, float]]:
        """By model its weight, or its weights by class."""
        rows = self.values.tolist()
        if not self.per_class:
            return dict(zip(self.models, rows, strict=True))
        return {
            name: dict(zip(self.class_names, row, strict=True)) for name, row in zip(self.models, rows, strict=True)
        }
