"""Is one method better than another? The difference of two scores of the same images, with its interval."""

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from cellseg.errors import InputError


def paired_difference(
    per_image_a: Sequence[float],
    per_image_b: Sequence[float],
    groups: Sequence[Hashable] | None,
    samples: int = 2000,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Mean of ``a - b`` over images and its 95% interval by a paired bootstrap over groups.

    Images of one group (a well, a slide, a film) look alike and are no independent evidence, so whole groups are drawn
    with replacement, each with all its images, and both methods are scored on the same draw (Efron and Tibshirani, An
    Introduction to the Bootstrap, 1993, percentile interval).

    Args:
        per_image_a: score of each image by the one method.
        per_image_b: score of the same images by the other.
        groups: the group of each image; None: every image is a group of its own.
        samples: how many draws.
        seed: of the draws; the same seed gives the same interval.

    Returns:
        The difference (above 0: a is better), the 2.5% and the 97.5% percentile of its draws.

    Raises:
        InputError: lengths differ, a score is not finite, ``samples`` is below 1, or there are fewer than two groups
            (an interval over groups needs them to vary).
    """
    a, b = np.asarray(per_image_a, dtype=np.float64), np.asarray(per_image_b, dtype=np.float64)
    names = list(range(len(a))) if groups is None else list(groups)
    if a.ndim != 1 or a.shape != b.shape or len(names) != len(a):
        raise InputError(
            f"paired_difference: scores {list(a.shape)} and {list(b.shape)} and {len(names)} groups, "
            "expected one of each for every image"
        )
    return _interval(a - b, names, samples, seed, "paired_difference")


def mean_interval(
    per_image: Sequence[float], groups: Sequence[Hashable] | None, samples: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """Mean score over images and its 95% interval by the same bootstrap over groups as ``paired_difference``.

    It says how much the score would vary over other groups of images. Two such intervals that overlap say nothing about
    a difference on the same images.

    Args:
        per_image: score of each image.
        groups, samples, seed: as for ``paired_difference``.

    Returns:
        The mean, the 2.5% and the 97.5% percentile of its draws.

    Raises:
        InputError: as for ``paired_difference``.
    """
    values = np.asarray(per_image, dtype=np.float64)
    names = list(range(len(values))) if groups is None else list(groups)
    if values.ndim != 1 or len(names) != len(values):
        raise InputError(
            f"mean_interval: scores {list(values.shape)} and {len(names)} groups, expected one of each for every image"
        )
    return _interval(values, names, samples, seed, "mean_interval")


def _interval(
    values: NDArray[np.float64], names: Sequence[Hashable], samples: int, seed: int, caller: str
) -> tuple[float, float, float]:
    """Mean over images and the percentiles of the means of draws of whole groups."""
    if not np.isfinite(values).all():
        raise InputError(f"{caller}: image {int(np.argmin(np.isfinite(values)))} has no finite score")
    if samples < 1:
        raise InputError(f"{caller}: samples should be 1 or more, found {samples}")
    numbers: dict[Hashable, int] = {}
    group = np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=np.int64)
    if len(numbers) < 2:
        raise InputError(f"{caller}: an interval needs two groups or more, found {len(numbers)}")

    sums, sizes = np.bincount(group, weights=values), np.bincount(group)
    generator = np.random.default_rng(seed)
    means = np.empty(samples)
    for index in range(samples):
        drawn = generator.integers(len(numbers), size=len(numbers))
        means[index] = sums[drawn].sum() / sizes[drawn].sum()
    low, high = np.percentile(means, [2.5, 97.5])
    return float(values.mean()), float(low), float(high)
