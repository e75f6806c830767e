"""Differences of scores that are no means: against a plain bootstrap, and what is refused."""

import numpy as np
import pytest

from cellseg.errors import InputError
from cellseg.metrics.bootstrap import paired_difference
from cellseg.multimodal.comparison.intervals import class_counts, macro_f1_of_sums, paired_statistic, ratio
from cellseg.multimodal.metrics import macro_f1


def beside_ones(values):
    return np.stack([values, np.ones(len(values))], axis=1)


def test_the_interval_of_a_mean_is_that_of_the_paired_difference():
    random = np.random.default_rng(0)
    one, other = random.random((2, 40))
    groups = random.integers(7, size=40).tolist()
    found = paired_statistic([beside_ones(one)], [beside_ones(other)], ratio, groups, samples=250, seed=3)
    assert found == pytest.approx(paired_difference(one, other, groups, samples=250, seed=3))


def test_the_interval_of_macro_f1_is_that_of_scoring_each_draw_anew():
    random = np.random.default_rng(1)
    true = random.integers(3, size=30)
    one, other = (np.where(random.random(30) < share, true, random.integers(3, size=30)) for share in (0.9, 0.4))
    groups = random.integers(6, size=30)
    arrays = ([class_counts(found, true, 3)] for found in (one, other))
    value, low, high = paired_statistic(*arrays, macro_f1_of_sums, groups.tolist(), samples=120, seed=5)
    assert value == pytest.approx(macro_f1(one, true) - macro_f1(other, true))
    generator, order = np.random.default_rng(5), list(dict.fromkeys(groups.tolist()))
    draws = []
    for _ in range(120):
        drawn = generator.integers(len(order), size=len(order))
        rows = np.concatenate([np.flatnonzero(groups == order[place]) for place in drawn])
        draws.append(macro_f1(one[rows], true[rows]) - macro_f1(other[rows], true[rows]))
    assert (low, high) == pytest.approx(tuple(np.percentile(draws, [2.5, 97.5])))
    assert low > 0


def test_of_several_trainings_the_mean_counts():
    scores = [beside_ones(np.full(4, value)) for value in (0.2, 0.6, 0.1)]
    found = paired_statistic(scores[:2], scores[2:], ratio, list("abcd"), samples=10)
    assert found == pytest.approx((0.3, 0.3, 0.3))


def test_a_class_that_is_nobodys_counts_as_missed_not_as_found():
    sums = class_counts([0, 1, 1], [0, -1, 1], 2).sum(axis=0)
    assert sums.tolist() == [1, 1, 1, 2, 1, 1]
    assert macro_f1_of_sums(sums) == pytest.approx((1 + 2 / 3) / 2)


@pytest.mark.parametrize(
    ("first", "second", "groups", "samples", "message"),
    [
        (np.ones((2, 2)), np.ones((3, 2)), "ab", 10, "expected sums of the same samples, found [(2, 2), (3, 2)]"),
        (np.ones((2, 2)), np.ones((2, 2)), "abc", 10, "3 groups of 2 samples"),
        (np.ones((2, 2)), np.ones((2, 2)), "aa", 10, "an interval needs two groups or more, found 1"),
        (np.ones((2, 2)), np.ones((2, 2)), "ab", 0, "samples should be 1 or more, found 0"),
    ],
)
def test_what_cannot_be_compared(first, second, groups, samples, message):
    with pytest.raises(InputError) as error:
        paired_statistic([first], [second], ratio, groups, samples)
    assert str(error.value) == f"paired_statistic: {message}"
