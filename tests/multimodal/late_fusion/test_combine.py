"""Combining probabilities: both means beside plain loops, and what is refused."""

import math

import numpy as np
import pytest

from cellseg.errors import InputError
from cellseg.multimodal.late_fusion import FusionWeights, combine
from cellseg.multimodal.late_fusion.combine import on_simplex

RANDOM = np.random.default_rng(0)
PROBABILITIES = RANDOM.dirichlet(np.ones(4), size=(3, 5))


def plain(probabilities, weights, mean):
    models, samples, classes = len(probabilities), len(probabilities[0]), len(probabilities[0][0])
    rows = []
    for sample in range(samples):
        row = []
        for label in range(classes):
            own = [weights[model][label] for model in range(models)]
            said = [probabilities[model][sample][label] for model in range(models)]
            total = sum(own)
            if mean == "arithmetic":
                row.append(sum(weight / total * value for weight, value in zip(own, said, strict=True)))
            else:
                row.append(math.prod(value ** (weight / total) for weight, value in zip(own, said, strict=True)))
        rows.append([value / sum(row) for value in row])
    return rows


@pytest.mark.parametrize("mean", ["arithmetic", "geometric"])
@pytest.mark.parametrize("shape", [(3,), (3, 4)])
def test_the_means_are_those_of_a_plain_loop(mean, shape):
    weights = RANDOM.random(shape)
    whole = np.broadcast_to(weights.reshape(3, -1), (3, 4))
    expected = plain(PROBABILITIES.tolist(), whole.tolist(), mean)
    assert combine(PROBABILITIES, weights, mean) == pytest.approx(np.array(expected))


@pytest.mark.parametrize("mean", ["arithmetic", "geometric"])
def test_all_weight_on_one_model_is_that_model(mean):
    assert combine(PROBABILITIES, np.array([0.0, 2.0, 0.0]), mean) == pytest.approx(PROBABILITIES[1])


def test_a_model_that_says_impossible_does_not_overrule_all_others():
    sure, wrong = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
    mixed = combine(np.stack([sure, sure, wrong]), np.ones(3), "geometric")
    assert mixed[0, 0] > 0.99 and np.isfinite(mixed).all()


def test_weights_of_all_zero_are_equal_ones():
    assert on_simplex(np.zeros(4)).tolist() == [0.25] * 4
    assert on_simplex(np.array([[0.0, 3.0], [0.0, 1.0]])).tolist() == [[0.5, 0.75], [0.5, 0.25]]


def test_no_probability_left_is_an_even_chance():
    told = np.array([[[1.0, 0.0]], [[0.0, 1.0]]])
    assert combine(told, np.array([[0.0, 1.0], [1.0, 0.0]])).tolist() == [[0.5, 0.5]]


def test_plain_values_of_weights():
    assert FusionWeights.uniform(("a", "b"), ("x", "y")).to_dict() == {"a": 0.5, "b": 0.5}
    own = FusionWeights(("a", "b"), ("x", "y"), np.array([[1.0, 0.2], [0.0, 0.8]]))
    assert own.to_dict() == {"a": {"x": 1.0, "y": 0.2}, "b": {"x": 0.0, "y": 0.8}}


@pytest.mark.parametrize(
    ("weights", "mean", "message"),
    [
        (np.ones(3), "harmonic", "mean 'harmonic' is none of arithmetic, geometric"),
        (np.ones(2), "arithmetic", "weights: expected 3, or 3 times 4 of every class, found [2]"),
        (np.ones((3, 2)), "arithmetic", "weights: expected 3, or 3 times 4 of every class, found [3, 2]"),
    ],
)
def test_what_cannot_be_combined(weights, mean, message):
    with pytest.raises(InputError) as error:
        combine(PROBABILITIES, weights, mean)
    assert str(error.value) == message
