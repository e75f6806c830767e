"""The one entry to all tuners: bounds, budget and seed are kept here, whatever the algorithm does."""

import inspect
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cellseg.ensemble.tuners.journal import Diverged, Journal
from cellseg.errors import InputError

Objective = Callable[[np.ndarray], float]

# An algorithm asks for values until it is done or until OutOfBudget ends it; what it returns is not looked at.
Tuner = Callable[..., None]

TUNERS: dict[str, Tuner] = {}

# Measured on a synthetic ensemble with budgets of 100 and 250 (tests/ensemble/tuners/test_tuner_choice.py). On other
# data: tools/compare_tuners.py.
DEFAULT_TUNER = "differential_evolution"


class OutOfBudget(Exception):
    """Ends an algorithm when its evaluations are used up."""


@dataclass(frozen=True)
class Result:
    """What a search found.

    Attributes:
        x: the best point, float64 ``[D]``; of equal ones the first.
        value: the objective there.
        evaluations: at how many points the objective was asked, at most the budget.
        tuner: name of the algorithm.
        replayed: how many of the evaluations came from the journal of an earlier run.
    """

    x: np.ndarray
    value: float
    evaluations: int
    tuner: str
    replayed: int = 0


class Problem:
    """Objective, bounds and budget as an algorithm sees them.

    Attributes:
        lower, upper: float64 ``[D]``.
        budget: how many evaluations there are in all.
        spent: how many were used.
        initial: float64 ``[K, D]``, points that were evaluated before the algorithm started.
    """

    def __init__(
        self,
        objective: Objective,
        lower: np.ndarray,
        upper: np.ndarray,
        budget: int,
        initial: np.ndarray,
        journal: Journal | None = None,
    ):
        self._objective, self._journal = objective, journal
        self.lower, self.upper = lower, upper
        self.budget, self.spent = budget, 0
        self.initial = initial[:budget]
        self.best_x, self.best_value = np.empty(0), math.inf
        self.initial_values = np.array([self.evaluate(x) for x in self.initial])

    def evaluate(self, x: np.ndarray) -> float:
        """Value at a point, which is clipped to the bounds.

        Raises:
            OutOfBudget: no evaluation is left.
            InputError: the objective is NaN there.
        """
        if self.spent >= self.budget:
            raise OutOfBudget
        x = np.clip(np.asarray(x, dtype=np.float64), self.lower, self.upper)
        self.spent += 1
        value = self._ask(x)
        if value < self.best_value or len(self.best_x) == 0:
            self.best_x, self.best_value = x, value
        return value

    def _ask(self, x: np.ndarray) -> float:
        """The value from the journal, or from the objective and into the journal."""
        known = self._journal.replay(x) if self._journal else None
        if known is not None:
            return known
        value = float(self._objective(x.copy()))
        if math.isnan(value):
            raise InputError(f"the objective is NaN at {x.tolist()}")
        if self._journal:
            self._journal.record(x, value)
        return value


def register(name: str) -> Callable[[Tuner], Tuner]:
    """Decorator: make an algorithm known to ``minimize``.

    It is called as ``tuner(problem, rng, **options)`` and asks ``problem.evaluate``.
    """

    def add(tuner: Tuner) -> Tuner:
        if name in TUNERS:
            raise ValueError(f"tuner {name!r} is registered already")
        TUNERS[name] = tuner
        return tuner

    return add


def minimize(
    objective: Objective,
    lower: Sequence[float],
    upper: Sequence[float],
    tuner: str | None = None,
    budget: int = 200,
    seed: int = 0,
    initial: Sequence[Sequence[float]] = (),
    journal: str | os.PathLike | None = None,
    journal_key: str = "",
    **options: float,
) -> Result:
    """Search a box for the smallest value of a function.

    The same arguments give the same result, whether or not a journal knows part of it.

    Args:
        objective: called with float64 ``[D]`` within the bounds; may return infinity, not NaN.
        lower, upper: bounds of each of the D dimensions, finite, ``lower <= upper``.
        tuner: a name in ``TUNERS``; None: the one that measured best on ensemble tuning, ``DEFAULT_TUNER``.
        budget: the objective is never called more often than this; 1 or more.
        seed: 0 or more.
        initial: points that are always among the candidates, evaluated first, in this order (those beyond the budget
            are left out).
        journal: a file to which every evaluation is written. When the same search is started again, the evaluations
            in it are not asked of the objective: a search that was stopped goes on where it stopped, one that was done
            is done at once. A journal of another search is discarded, with a note on stderr. None: no journal.
        journal_key: with a journal, what the objective depends on, so that the journal of another one is not taken for
            its own.
        **options: of the tuner.

    Raises:
        InputError: an unknown tuner or option, bounds or points that cannot be used, or an objective that is NaN,
            or a folder for a journal.
    """
    name = DEFAULT_TUNER if tuner is None else tuner
    _check_arguments(name, budget, seed, options)
    low, high, points = _check_box(lower, upper, initial)

    def search(record: Journal | None) -> Result:
        problem = Problem(objective, low, high, int(budget), points, record)
        try:
            TUNERS[name](problem, np.random.default_rng(int(seed)), **options)
        except OutOfBudget:
            pass
        return Result(problem.best_x, problem.best_value, problem.spent, name, record.replayed if record else 0)

    if journal is None:
        return search(None)
    description = {
        "key": journal_key,
        "tuner": name,
        "budget": int(budget),
        "seed": int(seed),
        "options": {key: float(value) for key, value in options.items()},
        **{label: values.tolist() for label, values in (("lower", low), ("upper", high), ("initial", points))},
    }
    try:
        return search(Journal(journal, description))
    except Diverged:  # the file has discarded itself: a fresh one has nothing to diverge from
        return search(Journal(journal, description))


def _check_arguments(name: str, budget: int, seed: int, options: Mapping[str, float]) -> None:
    if name not in TUNERS:
        raise InputError(f"tuner {name!r} is none of {', '.join(sorted(TUNERS))}")
    known = list(inspect.signature(TUNERS[name]).parameters)[2:]
    for key in options:
        if key not in known:
            raise InputError(f"tuner {name}: unknown option {key!r}; it knows {', '.join(known) or 'none'}")
    if isinstance(budget, bool) or budget != int(budget) or budget < 1:
        raise InputError(f"budget {budget!r}: expected a whole number of 1 or more")
    if seed != int(seed) or seed < 0:
        raise InputError(f"seed {seed!r}: expected a whole number of 0 or more")


def _check_box(
    lower: Sequence[float], upper: Sequence[float], initial: Sequence[Sequence[float]]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    low, high = (np.asarray(bound, dtype=np.float64) for bound in (lower, upper))
    if low.ndim != 1 or low.shape != high.shape or len(low) == 0:
        raise InputError(f"bounds: expected two lists of one length, found shapes {low.shape} and {high.shape}")
    if not (np.isfinite(low).all() and np.isfinite(high).all() and (low <= high).all()):
        raise InputError(f"bounds: expected finite numbers, lower <= upper, found {low.tolist()} and {high.tolist()}")
    points = (
        np.asarray(initial, dtype=np.float64).reshape(len(initial), -1) if len(initial) else np.empty((0, len(low)))
    )
    if points.shape[1] != len(low) or not ((points >= low) & (points <= high)).all():
        raise InputError(
            f"initial points: expected {len(low)} numbers each, within the bounds, found {points.tolist()}"
        )
    return low, high, points
