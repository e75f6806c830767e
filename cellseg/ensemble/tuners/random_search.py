"""Random search: independent points, evenly distributed."""

import numpy as np

from cellseg.ensemble.tuners.minimize import Problem


def random_search(problem: Problem, rng: np.random.Generator) -> None:
    """Evaluate random points until the budget is spent."""
    while True:
        problem.evaluate(rng.uniform(problem.lower, problem.upper))
