"""Differential evolution (Storn and Price 1997), as scipy has it, within a fixed number of evaluations."""

import numpy as np
from scipy import optimize
from scipy.stats import qmc

from cellseg.ensemble.tuners.minimize import Problem
from cellseg.errors import InputError


class _Interrupted(Exception):
    """Carries an error of the objective through scipy, which takes every ValueError for one of its own."""


def differential_evolution(
    problem: Problem, rng: np.random.Generator, population: int = 0, recombination: float = 0.9
) -> None:
    """Evolve a population until the budget is spent.

    Args:
        problem: what is minimised.
        rng: source of all random numbers.
        population: number of points, 5 or more; 0 picks twice the dimensions, but at most a fifth of the budget, so
            that at least four generations follow the first, and at least 8, fewer settle too early.
        recombination: part of the coordinates that a trial takes from its mutant, in 0..1.

    Raises:
        InputError: an option out of its range.
    """
    if population != 0 and population < 5:
        raise InputError(f"differential_evolution: population {population}: expected 5 or more, or 0")
    if not 0 <= recombination <= 1:
        raise InputError(f"differential_evolution: recombination {recombination}: expected 0 to 1")
    dimensions = len(problem.lower)
    size = int(population) or max(8, min(2 * dimensions, problem.budget // 5))
    # The best initial points, then a Latin hypercube: every coordinate's range is covered evenly.
    best = np.argsort(problem.initial_values, kind="stable")[: max(1, size // 3)]
    seeds, values = problem.initial[best], iter(problem.initial_values[best])
    fresh = qmc.LatinHypercube(dimensions, rng=rng).random(size - len(seeds))
    start = np.concatenate([seeds, problem.lower + fresh * (problem.upper - problem.lower)])

    def ask(x: np.ndarray) -> float:
        # scipy asks for the first population in order; asking again for what is known would waste budget.
        known = next(values, None)
        if known is not None:
            return known
        try:
            return problem.evaluate(x)
        except ValueError as error:
            raise _Interrupted from error

    try:
        optimize.differential_evolution(
            ask,
            bounds=np.stack([problem.lower, problem.upper], axis=1),
            init=start,
            maxiter=problem.budget,
            recombination=recombination,
            mutation=(0.4, 0.9),
            tol=0.0,
            atol=-1.0,  # never done before the budget is
            polish=False,
            updating="immediate",
            rng=rng,
        )
    except _Interrupted as interruption:
        raise interruption.__cause__ from None
