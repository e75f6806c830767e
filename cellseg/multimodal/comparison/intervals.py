"""Is one model better than another? Differences of scores that are no means over samples, with their intervals."""

from collections.abc import Callable, Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from cellseg.errors import InputError

# From sums over samples, float [..., D], to scores [...].
Statistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]
Counts = NDArray[np.float64]

_AT_ONCE = 100  # draws; bounds the memory


def paired_statistic(
    first: Sequence[Counts],
    second: Sequence[Counts],
    statistic: Statistic,
    groups: Sequence[Hashable],
    samples: int = 2000,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Difference of two methods in a score of sums, and its 95% interval by a paired bootstrap over groups.

    As ``cellseg.metrics.bootstrap.paired_difference``, for scores that follow from sums over samples without being
    their mean: F1, BLEU. Whole groups are drawn with replacement, both methods scored on the same draw. Of a method
    that was trained several times the score is the mean over its trainings; the interval does not say how much
    another training would change.

    Args:
        first: what each sample adds to the sums, float ``[N, D]``, one array a training of the method.
        second: the same of the other method, for the same samples.
        statistic: score of sums; gives NaN where it is not defined, and such draws are left out.
        groups: the group of each sample.
        samples: how many draws.
        seed: of the draws; the same seed gives the same interval.

    Returns:
        The difference ``first - second``, and the 2.5% and 97.5% percentile of its draws.

    Raises:
        InputError: other shapes, ``samples`` below 1, or fewer than two groups.
    """
    arrays = [np.asarray(counts, np.float64) for counts in (*first, *second)]
    if not first or not second or any(each.ndim != 2 or each.shape != arrays[0].shape for each in arrays):
        raise InputError(
            f"paired_statistic: expected sums of the same samples, found {[each.shape for each in arrays]}"
        )
    if len(groups) != len(arrays[0]):
        raise InputError(f"paired_statistic: {len(groups)} groups of {len(arrays[0])} samples")
    if samples < 1:
        raise InputError(f"paired_statistic: samples should be 1 or more, found {samples}")
    numbers: dict[Hashable, int] = {}
    group = np.array([numbers.setdefault(name, len(numbers)) for name in groups], dtype=np.int64)
    if len(numbers) < 2:
        raise InputError(f"paired_statistic: an interval needs two groups or more, found {len(numbers)}")
    sums = np.stack([_group_sums(each, group, len(numbers)) for each in arrays])
    value = _difference(sums.sum(axis=1)[:, None], len(first), statistic)[0]
    drawn = _draws(sums, len(first), statistic, samples, seed)
    drawn = drawn[np.isfinite(drawn)]
    low, high = np.percentile(drawn, [2.5, 97.5]) if len(drawn) else (np.nan, np.nan)
    return float(value), float(low), float(high)


def _group_sums(counts: Counts, group: NDArray[np.int64], many: int) -> Counts:
    sums = np.zeros((many, counts.shape[1]))
    np.add.at(sums, group, counts)
    return sums


def _draws(sums: Counts, first: int, statistic: Statistic, samples: int, seed: int) -> Counts:
    """Differences ``[samples]`` of sums by group ``[methods, G, D]``."""
    generator = np.random.default_rng(seed)
    many = sums.shape[1]
    values = []
    for start in range(0, samples, _AT_ONCE):
        drawn = [generator.integers(many, size=many) for _ in range(min(_AT_ONCE, samples - start))]
        often = np.stack([np.bincount(each, minlength=many) for each in drawn]).astype(np.float64)
        values.append(_difference(often @ sums, first, statistic))
    return np.concatenate(values)


def _difference(sums: Counts, first: int, statistic: Statistic) -> Counts:
    """Of sums ``[methods, S, D]`` the mean score of the first ones less that of the others, ``[S]``."""
    scores = statistic(sums)
    return scores[:first].mean(axis=0) - scores[first:].mean(axis=0)


def ratio(sums: Counts) -> Counts:
    """Mean of values whose sum stands before their number; NaN of none."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return sums[..., 0] / sums[..., 1]


def macro_f1_of_sums(sums: Counts) -> Counts:
    """Macro F1 of ``[..., 3 K]``: by class how many are right, how many were found, how many are true.

    As ``metrics.macro_f1``: classes that neither side has do not count.
    """
    right, found, true = np.split(sums, 3, axis=-1)
    there = found + true > 0
    each = np.divide(2 * right, found + true, out=np.zeros_like(right), where=there)
    with np.errstate(invalid="ignore", divide="ignore"):
        return each.sum(axis=-1) / there.sum(axis=-1)


def class_counts(found: Sequence[int], true: Sequence[int], classes: int) -> Counts:
    """What each sample adds to the sums of ``macro_f1_of_sums``; a class outside 0 to K - 1 is nobody's.

    Args:
        found, true: ``[N]``.
        classes: K.

    Returns:
        Float ``[N, 3 K]``.
    """
    named, wanted = (_one_hot(values, classes) for values in (found, true))
    return np.concatenate([named * wanted, named, wanted], axis=1)


def _one_hot(values: Sequence[int], classes: int) -> Counts:
    return (np.asarray(values)[:, None] == np.arange(classes)).astype(np.float64)
