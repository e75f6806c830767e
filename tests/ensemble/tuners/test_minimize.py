"""The tuners: budgets, seeds, bounds, and whether they find minima."""

import math

import numpy as np
import pytest

from cellseg.ensemble.tuners import DEFAULT_TUNER, TUNERS, minimize
from cellseg.errors import InputError

LOWER, UPPER = [-1.0, 0.0, 2.0], [1.0, 5.0, 2.0]


def bowl(x):
    return float(((x - np.array([0.3, 1.0, 2.0])) ** 2).sum())


@pytest.mark.parametrize("tuner", sorted(TUNERS))
@pytest.mark.parametrize("budget", [1, 2, 7, 50, 123])
def test_the_budget_is_never_exceeded(tuner, budget):
    calls = []

    def objective(x):
        calls.append(x)
        assert ((x >= LOWER) & (x <= UPPER)).all()
        return bowl(x)

    result = minimize(objective, LOWER, UPPER, tuner=tuner, budget=budget, seed=3)
    assert result.evaluations == len(calls) <= budget
    assert tuner == "uniform" or result.evaluations == budget
    assert result.value == min(bowl(x) for x in calls) == bowl(result.x)
    assert result.tuner == tuner


@pytest.mark.parametrize("tuner", sorted(TUNERS))
def test_the_same_seed_gives_the_same_result(tuner):
    first, second = (minimize(bowl, LOWER, UPPER, tuner=tuner, budget=60, seed=5) for _ in range(2))
    assert first.x.tolist() == second.x.tolist() and first.value == second.value
    if tuner != "uniform":
        assert minimize(bowl, LOWER, UPPER, tuner=tuner, budget=60, seed=6).x.tolist() != first.x.tolist()


@pytest.mark.parametrize("tuner", sorted(TUNERS))
def test_initial_points_are_always_candidates(tuner):
    calls = []
    initial = [[0.3, 1.0, 2.0], [0.0, 0.0, 2.0], [1.0, 5.0, 2.0]]
    result = minimize(
        lambda x: calls.append(x.tolist()) or bowl(x), LOWER, UPPER, tuner=tuner, budget=40, initial=initial
    )
    assert calls[:3] == initial and result.value == 0 and len(calls) <= 40
    assert minimize(bowl, LOWER, UPPER, tuner=tuner, budget=1, initial=initial).x.tolist() == initial[0]


def test_uniform_takes_the_middle():
    assert minimize(bowl, LOWER, UPPER, tuner="uniform").x.tolist() == [0.0, 2.5, 2.0]


@pytest.mark.parametrize("tuner, limit", [("random", 0.3), ("differential_evolution", 1e-3), ("aquila", 0.3)])
def test_searches_find_the_minimum(tuner, limit):
    values = [minimize(bowl, LOWER, UPPER, tuner=tuner, budget=300, seed=seed).value for seed in range(5)]
    assert np.median(values) < limit


def test_no_tuner_named_is_the_default():
    assert minimize(bowl, LOWER, UPPER, budget=5).tuner == DEFAULT_TUNER


@pytest.mark.parametrize("tuner", sorted(TUNERS))
def test_infinite_values_are_avoided(tuner):
    def cliff(x):
        return math.inf if x[0] < 0.5 else x[0]

    initial = [[0.9]]
    assert 0.5 <= minimize(cliff, [0.0], [1.0], tuner=tuner, budget=30, initial=initial).x[0] <= 0.9
    assert minimize(lambda x: math.inf, [0.0], [1.0], tuner=tuner, budget=30).value == math.inf


def test_changing_the_argument_does_no_harm():
    def careless(x):
        value = bowl(x)
        x[:] = 77
        return value

    result = minimize(careless, LOWER, UPPER, budget=30)
    assert bowl(result.x) == result.value


@pytest.mark.parametrize("tuner", sorted(TUNERS))
def test_errors_of_the_objective_come_through(tuner):
    def failing(x):
        raise InputError("no such image")

    with pytest.raises(InputError, match="no such image"):
        minimize(failing, LOWER, UPPER, tuner=tuner, budget=30)
    with pytest.raises(InputError, match="the objective is NaN at"):
        minimize(lambda x: math.nan, LOWER, UPPER, tuner=tuner, budget=30)


def test_options_of_differential_evolution():
    result = minimize(bowl, LOWER, UPPER, "differential_evolution", 60, population=6, recombination=0.5)
    assert result.evaluations == 60


def test_options_of_aquila():
    one, other = (minimize(bowl, LOWER, UPPER, "aquila", 60, population=size) for size in (6, 9))
    assert one.evaluations == other.evaluations == 60 and one.x.tolist() != other.x.tolist()


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(tuner="magic"), "tuner 'magic' is none of aquila, differential_evolution, random, uniform"),
        (dict(budget=0), "budget 0: expected a whole number of 1 or more"),
        (dict(budget=2.5), "budget 2.5: expected a whole number"),
        (dict(seed=-1), "seed -1: expected a whole number of 0 or more"),
        (dict(lower=[0.0]), "bounds: expected two lists of one length"),
        (dict(lower=[], upper=[]), "bounds: expected two lists of one length"),
        (dict(lower=[2.0, 0.0, 2.0]), "bounds: expected finite numbers, lower <= upper"),
        (dict(upper=[1.0, math.inf, 2.0]), "bounds: expected finite numbers"),
        (dict(initial=[[0.0, 0.0]]), "initial points: expected 3 numbers each"),
        (dict(initial=[[0.0, 9.0, 2.0]]), "initial points: expected 3 numbers each, within the bounds"),
        (dict(tuner="random", population=9), "tuner random: unknown option 'population'; it knows none"),
        (dict(speed=9), "tuner differential_evolution: unknown option 'speed'; it knows population, recombination"),
        (dict(population=3), "population 3: expected 5 or more, or 0"),
        (dict(recombination=2.0), "recombination 2.0: expected 0 to 1"),
    ],
)
def test_bad_input(change, message):
    with pytest.raises(InputError) as caught:
        minimize(bowl, **{**dict(lower=LOWER, upper=UPPER, budget=20), **change})
    assert message in str(caught.value)
