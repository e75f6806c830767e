"""Reliability curve, its error, rank correlation, and the overlap with the best true cell."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from cellseg.errors import InputError
from cellseg.metrics import mask_iou
from cellseg.metrics.reliability import best_overlaps, reliability_curve, spearman
from cellseg.structures import CropMasks


def test_rows_of_a_small_case():
    predicted = torch.tensor([0.0, 0.1, 0.5, 0.6, 1.0])
    actual = torch.tensor([0.0, 0.2, 1.0, 0.0, 0.8])
    curve = reliability_curve(predicted, actual, bins=4)
    assert [(row.lower, row.upper, row.count) for row in curve.rows] == [
        (0.0, 0.25, 2),
        (0.25, 0.5, 0),
        (0.5, 0.75, 2),
        (0.75, 1.0, 1),
    ]
    means = [(row.mean_predicted, row.mean_actual) for row in curve.rows]
    assert means[0] == pytest.approx((0.05, 0.1)) and means[1] == (None, None)
    assert means[2] == pytest.approx((0.55, 0.5)) and means[3] == pytest.approx((1.0, 0.8))
    assert curve.error == pytest.approx((2 * 0.05 + 2 * 0.05 + 1 * 0.2) / 5)


@given(st.integers(0, 2**31), st.integers(0, 300), st.integers(1, 12))
def test_curve_against_a_loop(seed, count, bins):
    rng = np.random.default_rng(seed)
    predicted, actual = rng.random(count), rng.random(count) < 0.5
    curve = reliability_curve(torch.from_numpy(predicted), torch.from_numpy(actual), bins)
    error = 0.0
    for index, row in enumerate(curve.rows):
        inside = (predicted >= row.lower) & ((predicted < row.upper) | (index == bins - 1))
        assert row.count == inside.sum()
        if row.count:
            assert row.mean_predicted == pytest.approx(predicted[inside].mean())
            assert row.mean_actual == pytest.approx(actual[inside].mean())
            error += inside.sum() / count * abs(predicted[inside].mean() - actual[inside].mean())
    assert curve.error == pytest.approx(error)


def test_nothing_predicted():
    curve = reliability_curve(torch.zeros(0), torch.zeros(0))
    assert curve.error == 0 and [row.count for row in curve.rows] == [0] * 10


@pytest.mark.parametrize(
    ("predicted", "actual", "bins", "message"),
    [
        ([0.5], [0.5], 0, "reliability: expected at least one bin, found 0"),
        ([0.5], [0.5, 0.1], 5, "reliability: 1 predictions and 2 results cannot be compared"),
        ([1.5], [0.5], 5, "reliability: predicted should lie in 0..1, found 1.5"),
        ([0.5], [math.nan], 5, "reliability: actual should lie in 0..1, found nan"),
        ([[0.5]], [0.5], 5, "reliability: predicted should have shape [N], found [1, 1]"),
    ],
)
def test_bad_predictions(predicted, actual, bins, message):
    with pytest.raises(InputError) as caught:
        reliability_curve(torch.tensor(predicted), torch.tensor(actual), bins)
    assert str(caught.value) == message


@given(st.integers(0, 2**31), st.integers(2, 40), st.integers(2, 30))
def test_spearman_against_scipy(seed, count, values):
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, values, count), rng.integers(0, values, count) + rng.random() * np.arange(count)
    if len(set(a.tolist())) > 1 and len(set(b.tolist())) > 1:
        assert spearman(torch.from_numpy(a), torch.from_numpy(b)) == pytest.approx(spearmanr(a, b).statistic)


def test_spearman_knows_order_only():
    a = torch.rand(50, generator=torch.Generator().manual_seed(0))
    assert spearman(a, a.exp() * 100) == pytest.approx(1)
    assert spearman(a, -(a**3)) == pytest.approx(-1)


@pytest.mark.parametrize(("a", "b"), [([], []), ([1.0], [2.0]), ([1.0, 1.0], [1.0, 2.0]), ([1.0, 2.0], [3.0, 3.0])])
def test_spearman_is_not_always_defined(a, b):
    assert spearman(torch.tensor(a), torch.tensor(b)) is None


def test_spearman_refuses_what_has_no_rank():
    with pytest.raises(InputError, match="spearman: 1 and 2 numbers cannot be compared"):
        spearman(torch.zeros(1), torch.zeros(2))
    with pytest.raises(InputError, match="spearman: expected finite numbers"):
        spearman(torch.tensor([1.0, math.nan]), torch.zeros(2))


@pytest.mark.parametrize("seed", range(5))
def test_best_overlaps(seed):
    rng = np.random.default_rng(seed)

    def discs(count):
        y, x = np.mgrid[:40, :50]
        centre = rng.uniform(0, 45, (count, 2))
        radii = zip(centre, rng.uniform(2, 9, count), strict=True)
        dense = [(x - a) ** 2 + (y - b) ** 2 < r**2 for (a, b), r in radii]
        return CropMasks.from_dense(torch.from_numpy(np.stack(dense)))

    masks, truths = discs(9), discs(7)
    assert torch.equal(best_overlaps(masks, truths), mask_iou(masks, truths).max(1).values)


def test_best_overlaps_of_nothing():
    masks, none = CropMasks.from_dense(torch.ones(2, 4, 4, dtype=torch.bool)), CropMasks.empty((4, 4))
    assert best_overlaps(masks, none).tolist() == [0, 0]
    assert len(best_overlaps(none, masks)) == 0
