"""Aquila optimizer (Abualigah et al. 2021): four ways in which a population of points moves with its best one.

Laith Abualigah, Dalia Yousri, Mohamed Abd Elaziz, Ahmed A. Ewees, Mohammed A. A. Al-qaness, Amir H. Gandomi: Aquila
Optimizer: A novel meta-heuristic optimization algorithm. Computers & Industrial Engineering 157, 107250.

Its fame rests on test functions whose optimum is the origin: the steps shrink points towards zero, so the sphere comes
out as 1e-76. With the optimum moved elsewhere it is an ordinary search (tests/ensemble/tuners/test_aquila.py measures
both), and its absolute lengths, a spiral of radius 10 among them, do not suit a box of side 1. It is here because
ensembles tuned with it are published; it is no default.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cellseg.ensemble.tuners.minimize import Problem
from cellseg.errors import InputError

Vector = NDArray[np.float64]

DEFAULT_POPULATION = 30
_LEAST_POPULATION = 5

_ALPHA = _DELTA = 0.1
_LEVY_EXPONENT = 1.5


class State(NamedTuple):
    """What all points of one iteration share.

    Attributes:
        iteration: 1..iterations, the t of the paper.
        iterations: the T of the paper.
        mean: mean of the population when the iteration began, ``[D]``.
        lower, upper: the bounds, ``[D]``.
    """

    iteration: int
    iterations: int
    mean: Vector
    lower: Vector
    upper: Vector

    @property
    def rest(self) -> float:
        """The part of the iterations that is left, 1 - t / T."""
        return 1 - self.iteration / self.iterations


def aquila(problem: Problem, rng: np.random.Generator, population: int = 0) -> None:
    """Move a population until the budget is spent.

    The best of the initial points belong to the first population, the rest of it is random. The number of iterations
    is what the budget leaves for a population of this size. A point moves only to a better place, and the best point
    that a move refers to is the best so far, that of the same iteration included.

    Args:
        problem: what is minimised.
        rng: source of all random numbers.
        population: number of points, 2 or more; 0 picks 30, but at most a fifth of the budget, so that at least four
            iterations follow the first population, and at least 5.

    Raises:
        InputError: ``population`` out of its range.
    """
    if population != 0 and (population != int(population) or population < 2):
        raise InputError(f"aquila: population {population}: expected a whole number of 2 or more, or 0")
    size = int(population) or max(_LEAST_POPULATION, min(DEFAULT_POPULATION, problem.budget // 5))
    points, values = _first_population(problem, rng, size)
    iterations = math.ceil((problem.budget - problem.spent) / size)
    for iteration in range(1, iterations + 1):
        state = State(iteration, iterations, points.mean(axis=0), problem.lower, problem.upper)
        for index in range(size):
            moved = np.clip(move(state, problem.best_x, points, index, rng), problem.lower, problem.upper)
            value = problem.evaluate(moved)
            if value < values[index]:
                points[index], values[index] = moved, value


def _first_population(problem: Problem, rng: np.random.Generator, size: int) -> tuple[Vector, Vector]:
    """Points ``[size, D]`` and their values: the best initial points, then random ones."""
    best = np.argsort(problem.initial_values, kind="stable")[:size]
    fresh = rng.uniform(problem.lower, problem.upper, (size - len(best), len(problem.lower)))
    values = [*problem.initial_values[best], *(problem.evaluate(x) for x in fresh)]
    return np.concatenate([problem.initial[best], fresh]), np.array(values)


def move(state: State, best: Vector, points: Vector, index: int, rng: np.random.Generator) -> Vector:
    """Where a point goes next, before it is clipped to the bounds.

    In the first two thirds of the iterations the population explores, afterwards it exploits; either is done in one of
    two ways, by the toss of a coin. Random numbers are drawn in the order: the coin; the Levy steps where there are
    any; another point of the population; then the numbers of the formula from left to right. Each of these is one for
    all dimensions, Levy steps are one for each.

    Args:
        state: of the iteration.
        best: the best point so far, ``[D]``.
        points: the population, ``[N, D]``.
        index: which of them moves.
        rng: source of all random numbers.

    Returns:
        float64 ``[D]``.
    """
    exploring = state.iteration <= 2 * state.iterations / 3
    expanded = rng.random() < 0.5
    if exploring and expanded:
        return expanded_exploration(state, best, rng.random())
    if exploring:
        steps = levy_steps(rng, len(best))
        other = points[rng.integers(len(points))]
        return narrowed_exploration(best, steps, other, rng.random())
    if expanded:
        return expanded_exploitation(state, best, rng.random(), rng.random())
    steps = levy_steps(rng, len(best))
    return narrowed_exploitation(state, best, points[index], steps, [rng.random() for _ in range(4)])


def expanded_exploration(state: State, best: Vector, draw: float) -> Vector:
    """Step 1: high soar with a vertical stoop, ``b (1 - t/T) + (mean - b) draw``.

    The paper prints ``mean - b draw``; this is what its authors' program computes.
    """
    return best * state.rest + (state.mean - best) * draw


def narrowed_exploration(best: Vector, steps: Vector, other: Vector, draw: float) -> Vector:
    """Step 2: contour flight along a spiral, ``b Levy + other + (y - x) draw``."""
    x, y = spiral(len(best))
    return best * steps + other + (y - x) * draw


def expanded_exploitation(state: State, best: Vector, draw: float, second: float) -> Vector:
    """Step 3: low flight, ``(b - mean) alpha - draw + ((UB - LB) second + LB) delta``."""
    place = (state.upper - state.lower) * second + state.lower
    return (best - state.mean) * _ALPHA - draw + place * _DELTA


def narrowed_exploitation(state: State, best: Vector, point: Vector, steps: Vector, draws: list[float]) -> Vector:
    """Step 4: walk and grab, ``QF b - G1 point rand - G2 Levy + rand G1``.

    Args:
        state: of the iteration.
        best: the best point so far, ``[D]``.
        point: the one that moves, ``[D]``.
        steps: Levy steps, ``[D]``.
        draws: four random numbers in 0..1: those of QF, of G1, and the two in the formula.
    """
    for_quality, for_g1, first, second = draws
    # With a single iteration t is 1, and so is every power of it.
    quality = state.iteration ** ((2 * for_quality - 1) / max(1, (1 - state.iterations) ** 2))
    g1, g2 = 2 * for_g1 - 1, 2 * state.rest
    return quality * best - g1 * point * first - g2 * steps + second * g1


def levy_steps(rng: np.random.Generator, count: int) -> Vector:
    """Steps of a Levy flight by Mantegna's recipe: ``u sigma / |v|^(1/1.5)``, float64 ``[count]``.

    All u are drawn before all v, from the standard normal distribution.
    """
    beta = _LEVY_EXPONENT
    ratio = math.gamma(1 + beta) * math.sin(math.pi * beta / 2)
    sigma = (ratio / (math.gamma((1 + beta) / 2) * beta * 2 ** ((beta - 1) / 2))) ** (1 / beta)
    u, v = rng.standard_normal(count), rng.standard_normal(count)
    # A v of exactly 0 would make the step infinite, and infinity x 0 is no coordinate.
    return u * sigma / np.maximum(np.abs(v), 1e-300) ** (1 / beta)


def spiral(dimensions: int) -> tuple[Vector, Vector]:
    """The paper's x and y by dimension: a spiral with r = 10 + 0.00565 d and the angle 3 pi / 2 - 0.005 d, d from 1."""
    number = np.arange(1, dimensions + 1)
    radius, angle = 10 + 0.00565 * number, 1.5 * math.pi - 0.005 * number
    return radius * np.sin(angle), radius * np.cos(angle)
