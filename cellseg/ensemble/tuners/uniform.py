"""No search: the middle of the box, which for the weights of an ensemble means equal weights."""

import numpy as np

from cellseg.ensemble.tuners.minimize import Problem


def uniform(problem: Problem, rng: np.random.Generator) -> None:
    """Evaluate the middle of the box, beside the initial points; the baseline of all searches."""
    problem.evaluate((problem.lower + problem.upper) / 2)
