"""The search for weights and thresholds: each member alone, the ensemble, then the cell types."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cellseg.ensemble.evidence_pool import EvidencePool
from cellseg.ensemble.search_space import SearchSpace, blend
from cellseg.ensemble.settings import EnsembleSettings, Settings
from cellseg.ensemble.tuners import minimize
from cellseg.errors import InputError

# A type gets settings of its own from this many validation images on, drawn towards the general ones by the part
# DRAW / (DRAW + images).
LEAST_IMAGES = 4
DRAW = 4

# With fewer candidates for a type it is not worth searching.
_LEAST_SHARE = 5


@dataclass(frozen=True)
class Tuned:
    """What a search found for one set of voters.

    Attributes:
        settings: the best.
        before: competition mAP on the tuning images with the settings that it started from.
        general: with the best settings for all types together.
        after: with the settings.
        evaluations: how many candidates were scored.
    """

    settings: EnsembleSettings
    before: float
    general: float
    after: float
    evaluations: int


class Search:
    """Maximises the competition mAP on an evidence pool.

    Args:
        pool: images with evidence and truth.
        base: settings to start from.
        tuner: name of the tuner; None: the default.
        budget: candidates that the search of the ensemble may score, 10 or more; half of it goes to the cell types that
            have enough images. The search of a member alone, with fewer numbers to find, gets half as many.
        seed: of all random numbers.
        progress: called with the number of newly scored candidates.
    """

    def __init__(
        self,
        pool: EvidencePool,
        base: EnsembleSettings,
        tuner: str | None = None,
        budget: int = 200,
        seed: int = 0,
        progress: Callable[[int], object] = lambda count: None,
    ):
        if len(pool) == 0:
            raise InputError("no images to tune on")
        if budget < 10:
            raise InputError(f"budget {budget}: expected 10 or more")
        self._pool, self._base = pool, base
        self._tuner, self._budget, self._seed, self._progress = tuner, budget, seed, progress
        self._types = [
            name for name, count in pool.type_counts().items() if count >= LEAST_IMAGES and name in base.class_names
        ]
        self._max_area = max(1, pool.typical_cell() // 2)

    def total(self) -> int:
        """Candidates that ``run`` scores at most, about."""
        return self._budget + len(self._singles()) * (self._budget // 2)

    def _singles(self) -> list[str]:
        """Members that can work alone, where that is not the whole ensemble anyway."""
        names = self._pool.names
        return [name for name in names if self._pool.sources([name])] if len(names) > 1 else []

    def run(self) -> tuple[Tuned, dict[str, Tuned]]:
        """Tune every member alone, then all together.

        Equal weights, and each member alone as tuned, are always among the candidates of the ensemble.

        Returns:
            The result for the ensemble, which carries the settings of the single members too, and theirs by name.
        """
        alone = {name: self._tune((name,), [], self._budget // 2) for name in self._singles()}
        singles = [tuned.settings.general for tuned in alone.values()]
        voters = self._pool.names
        # Those that are likely to be good come first; beyond the budget starts are left out.
        starts = [_average(singles, self._equal(voters))] if singles else []
        if any(self._base.general.weights[name] > 0 for name in voters):
            starts.append(self._base.only(voters).general)
        tuned = self._tune(voters, [*starts, *singles], self._budget)
        # The types of a member alone may make it better than anything that the search of the ensemble saw.
        for single in alone.values():
            if single.after > tuned.after:
                tuned = replace(tuned, settings=single.settings, after=single.after)
        settings = replace(tuned.settings, alone={name: single.settings for name, single in alone.items()})
        return replace(tuned, settings=settings), alone

    def _tune(self, voters: Sequence[str], starts: Sequence[Settings], budget: int) -> Tuned:
        space = SearchSpace(self._base.members, tuple(voters), self._pool.required & set(voters), self._max_area)
        start = replace(self._base, general=self._equal(voters), types={}, alone={})
        before = self._mean(start)
        self._progress(1)
        share = budget // 2 // len(self._types) if self._types else 0
        types = self._types if share >= _LEAST_SHARE else []
        found, after, count = self._minimize(space, start, [start.general, *starts], budget - share * len(types) - 1)
        tuned = replace(start, general=found)
        if before > after:  # what it started from may lie outside of the box that is searched
            tuned, after = start, before
        general = after
        for name in types:
            candidate, spent = self._tune_type(name, tuned, share - 1)
            value = self._mean(candidate)
            self._progress(1)
            count += spent + 1
            if value > after:
                tuned, after = candidate, value
        return Tuned(tuned, before, general, after, count + 1)

    def _equal(self, voters: Sequence[str]) -> Settings:
        """The settings to start from, with equal weights for the voters."""
        return replace(self._base.general, weights={name: float(name in voters) for name in self._base.members})

    def _tune_type(self, name: str, settings: EnsembleSettings, budget: int) -> tuple[EnsembleSettings, int]:
        """Settings with those of one type added, found on its images and drawn towards the general ones."""
        voters = tuple(member for member, weight in settings.general.weights.items() if weight > 0)
        required = frozenset(self._pool.sources(voters))
        space = SearchSpace(settings.members, voters, required, self._max_area)
        found, _, count = self._minimize(space, settings, [settings.general], budget, name)
        images = self._pool.type_counts()[name]
        drawn = blend(found, settings.general, DRAW / (DRAW + images))
        return replace(settings, types={**settings.types, name: drawn}), count

    def _minimize(
        self,
        space: SearchSpace,
        settings: EnsembleSettings,
        starts: Sequence[Settings],
        budget: int,
        cell_type: str | None = None,
    ) -> tuple[Settings, float, int]:
        def objective(x: np.ndarray) -> float:
            candidate = space.decode(x, settings.general)
            self._progress(1)
            if not self._pool.covers(candidate):
                return math.inf  # members that cannot work without the others' boxes
            if cell_type is None:
                return -self._mean(replace(settings, general=candidate))
            return -self._mean(replace(settings, types={**settings.types, cell_type: candidate}), cell_type)

        result = minimize(
            objective,
            space.lower,
            space.upper,
            tuner=self._tuner,
            budget=budget,
            seed=self._seed,
            initial=[space.encode(start) for start in starts],
        )
        return space.decode(result.x, settings.general), -result.value, result.evaluations

    def _mean(self, settings: EnsembleSettings, cell_type: str | None = None) -> float:
        return float(self._pool.score(settings, cell_type).mean())


def _average(parts: Sequence[Settings], base: Settings) -> Settings:
    """``base`` with the mean thresholds of several settings."""
    names = ("mask_threshold", "score_threshold", "nms_iou")
    means = {name: float(np.mean([getattr(part, name) for part in parts])) for name in names}
    area = round(float(np.mean([part.min_area for part in parts])))
    return replace(base, min_area=area, **means)


def scores_of(tuned: Tuned, alone: Mapping[str, Tuned]) -> dict[str, dict[str, float]]:
    """Scores on the tuning images for the provenance, rounded: before, with general settings, after."""
    rows = {**alone, "ensemble": tuned}
    return {
        name: {"before": round(row.before, 6), "general": round(row.general, 6), "after": round(row.after, 6)}
        for name, row in rows.items()
    }
