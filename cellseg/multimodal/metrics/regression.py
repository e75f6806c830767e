"""Errors of predicted numbers: MAE, RMSE, R2."""

import numpy as np

from cellseg.errors import InputError


def regression_scores(found: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """Mean absolute error, root of the mean squared error, and R2; each the mean over the numbers of a sample.

    ``R2 = 1 - sum (y - f)^2 / sum (y - mean y)^2``: 1 is perfect, 0 is what the mean of the truths reaches. A number
    whose truths are all equal has no R2 and does not count there.

    Args:
        found: float ``[N, K]``.
        true: float ``[N, K]``, NaN where unknown.

    Returns:
        ``mae``, ``rmse`` and ``r2`` (NaN where no number has one).

    Raises:
        InputError: nothing to score, or other shapes.
    """
    found, true = np.asarray(found, float), np.asarray(true, float)
    if found.shape != true.shape or found.ndim != 2 or not found.size:
        raise InputError(f"expected numbers [N, K] twice, found {list(found.shape)} and {list(true.shape)}")
    scores = []
    for column in range(true.shape[1]):
        known = ~np.isnan(true[:, column])
        if known.any():
            scores.append(_scores(found[known, column], true[known, column]))
    if not scores:
        raise InputError("no true number is known")
    explained = [score[2] for score in scores if score[2] is not None]
    return {
        "mae": float(np.mean([score[0] for score in scores])),
        "rmse": float(np.mean([score[1] for score in scores])),
        "r2": float(np.mean(explained)) if explained else float("nan"),
    }


def _scores(found: np.ndarray, true: np.ndarray) -> tuple[float, float, float | None]:
    error = true - found
    spread = ((true - true.mean()) ** 2).sum()
    explained = 1 - (error**2).sum() / spread if spread > 0 else None
    return np.abs(error).mean(), np.sqrt((error**2).mean()), explained
