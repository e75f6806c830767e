import itertools
from math import nan

import numpy as np
import pytest

from cellseg.errors import InputError
from cellseg.metrics import paired_difference
from cellseg.metrics.bootstrap import mean_interval


def test_difference_is_the_mean_over_images():
    difference, low, high = paired_difference([0.5, 0.7, 0.9], [0.4, 0.7, 0.6], ["x", "x", "y"])
    assert difference == pytest.approx(0.4 / 3)
    assert low <= difference <= high


def test_a_constant_difference_has_no_width():
    b = np.random.default_rng(0).random(20)
    assert paired_difference(b + 0.25, b, list(range(20))) == pytest.approx((0.25, 0.25, 0.25))


def test_interval_equals_all_draws():
    """Three groups have 27 draws, each as likely as the others; many samples come to their percentiles."""
    a, b = np.array([0.9, 0.8, 0.2, 0.5, 0.4, 0.3]), np.array([0.5, 0.6, 0.1, 0.6, 0.2, 0.2])
    groups = ["p", "p", "q", "q", "q", "r"]
    members = [[0, 1], [2, 3, 4], [5]]
    draws = [(a - b)[sum((members[g] for g in draw), [])].mean() for draw in itertools.product(range(3), repeat=3)]
    _, low, high = paired_difference(a, b, groups, samples=20_000)
    # Percentiles of a discrete distribution: 1 of 27 draws is 3.7%, so the outermost draw is the percentile.
    assert low == pytest.approx(min(draws), abs=1e-12)
    assert high == pytest.approx(max(draws), abs=1e-12)


def test_groups_are_drawn_whole():
    """Ten copies of an image are one piece of evidence: the interval is as wide as without the copies."""
    generator = np.random.default_rng(1)
    a, b = generator.random(12), generator.random(12)
    plain = paired_difference(a, b, None)
    copied = paired_difference(np.repeat(a, 10), np.repeat(b, 10), np.repeat(np.arange(12), 10).tolist())
    assert copied == pytest.approx(plain)
    _, low, high = paired_difference(np.repeat(a, 10), np.repeat(b, 10), None)
    assert high - low < 0.6 * (plain[2] - plain[1])


def test_same_seed_same_interval():
    generator = np.random.default_rng(2)
    a, b = generator.random(30), generator.random(30)
    assert paired_difference(a, b, None) == paired_difference(a, b, None, samples=2000, seed=0)
    assert paired_difference(a, b, None, seed=1) != paired_difference(a, b, None)


def test_covers_the_truth_about_as_often_as_it_says():
    generator = np.random.default_rng(3)
    covered = 0
    for _ in range(200):
        noise = generator.normal(0.1, 0.2, size=40)
        _, low, high = paired_difference(noise, np.zeros(40), None, samples=300)
        covered += low <= 0.1 <= high
    assert 175 <= covered <= 200


def test_the_interval_of_a_mean_is_that_of_its_difference_to_zero():
    generator = np.random.default_rng(4)
    values, groups = generator.random(30), generator.integers(0, 6, 30).tolist()
    assert mean_interval(values, groups) == paired_difference(values, np.zeros(30), groups)
    assert mean_interval(values, None, seed=3) == paired_difference(values, np.zeros(30), None, seed=3)


@pytest.mark.parametrize(
    ("values", "groups", "message"),
    [
        ([1.0, 2.0], ["x"], r"mean_interval: scores \[2\] and 1 groups, expected one of each for every image"),
        ([1.0, nan], ["x", "y"], "mean_interval: image 1 has no finite score"),
        ([1.0, 2.0], ["x", "x"], "mean_interval: an interval needs two groups or more, found 1"),
    ],
)
def test_refuses_means(values, groups, message):
    with pytest.raises(InputError, match=message):
        mean_interval(values, groups)


@pytest.mark.parametrize(
    ("a", "b", "groups", "options", "message"),
    [
        ([1.0], [1.0, 2.0], ["x", "y"], {}, r"scores \[1\] and \[2\] and 2 groups, expected one of each"),
        ([1.0, 2.0], [1.0, 2.0], ["x"], {}, "and 1 groups, expected one of each"),
        ([1.0, nan], [1.0, 2.0], ["x", "y"], {}, "image 1 has no finite score"),
        ([1.0, 2.0], [1.0, 2.0], ["x", "x"], {}, "an interval needs two groups or more, found 1"),
        ([], [], [], {}, "an interval needs two groups or more, found 0"),
        ([1.0, 2.0], [1.0, 2.0], ["x", "y"], {"samples": 0}, "samples should be 1 or more, found 0"),
    ],
)
def test_refuses(a, b, groups, options, message):
    with pytest.raises(InputError, match=message):
        paired_difference(a, b, groups, **options)
