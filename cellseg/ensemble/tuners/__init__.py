"""Tuners: black-box minimisation within bounds and a budget, one function and a registry.

>>> minimize(lambda x: (x[0] - 0.2) ** 2, lower=[0.0], upper=[1.0], tuner="random", budget=50, seed=1).evaluations
50
"""

from cellseg.ensemble.tuners.aquila import aquila
from cellseg.ensemble.tuners.differential_evolution import differential_evolution
from cellseg.ensemble.tuners.minimize import DEFAULT_TUNER, TUNERS, Result, minimize, register
from cellseg.ensemble.tuners.random_search import random_search
from cellseg.ensemble.tuners.uniform import uniform

register("uniform")(uniform)
register("random")(random_search)
register("differential_evolution")(differential_evolution)
register("aquila")(aquila)

__all__ = ["DEFAULT_TUNER", "TUNERS", "Result", "minimize", "register"]
