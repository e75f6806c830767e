"""The search for weights and thresholds: each member alone, the variants, the ensemble; then their cell types."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cellseg.ensemble.evidence.pool import EvidencePool
from cellseg.ensemble.settings import EnsembleSettings, Settings
from cellseg.ensemble.tuners import TUNERS, minimize
from cellseg.ensemble.tuning.journals import Journals
from cellseg.ensemble.tuning.search_space import SearchSpace, blend, distance_from_equal
from cellseg.errors import InputError

# A type gets settings of its own from this many images on, drawn towards the general ones by the part
# DRAW / (DRAW + images).
LEAST_IMAGES = 4
DRAW = 4

# How strongly weights are drawn towards equal ones when images are few; see ``Search``. Measured on random draws of
# images of nuclei, one per group, scored on the other groups: on 4 images the search loses 0.036 mAP against tuned
# thresholds with equal weights when nothing draws, 0.018 with 0.1, nothing with 0.3; on 10 images all are about equal.
SHRINKAGE = 0.3

ENSEMBLE, UNIFORM, VOTE = "ensemble", "uniform", "vote"

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


@dataclass(frozen=True)
class Outcome:
    """What ``Search.run`` found.

    Attributes:
        ensemble: of all members together; its settings carry those of the others.
        alone: of each member that can work alone, by name, where that is not the whole ensemble.
        variants: ``uniform``, equal weights of all members that are no combiners, and ``vote``, the ensemble without
            its combiners; each where it is something else than the ensemble or a member alone.
    """

    ensemble: Tuned
    alone: Mapping[str, Tuned]
    variants: Mapping[str, Tuned]

    @property
    def rows(self) -> dict[str, Tuned]:
        """All by name, the ensemble last."""
        return {**self.alone, **self.variants, ENSEMBLE: self.ensemble}

    def scores(self) -> dict[str, dict[str, float]]:
        """Scores on the tuning images for the provenance, rounded: before, with general settings, after."""
        return {
            name: {"before": round(row.before, 6), "general": round(row.general, 6), "after": round(row.after, 6)}
            for name, row in self.rows.items()
        }


@dataclass(frozen=True)
class SearchOptions:
    """How a search is made; see ``Search``.

    Raises:
        InputError: a value that cannot be used.
    """

    tuner: str | None = None
    budget: int = 200
    seed: int = 0
    shrinkage: float = SHRINKAGE

    def __post_init__(self) -> None:
        if self.tuner not in (None, *TUNERS):
            raise InputError(f"tuner {self.tuner!r} is none of {', '.join(sorted(TUNERS))}")
        if self.budget < 10:
            raise InputError(f"budget {self.budget}: expected 10 or more")
        if self.seed < 0:
            raise InputError(f"seed {self.seed}: expected a whole number of 0 or more")
        if not (math.isfinite(self.shrinkage) and self.shrinkage >= 0):
            raise InputError(f"shrinkage {self.shrinkage}: expected a number of 0 or more")


class Search:
    """Maximises the competition mAP on an evidence pool, with weights drawn towards equal ones where data are few.

    What is maximised for M voters on I images is::

        mAP(w, thresholds) - shrinkage / I * sum_m (w[m] - 1 / M)^2

    The mean over I images is as exact as the variance of an image's score over I; so is what a search can gain by
    chance. The penalty falls at the same rate: a few images have to speak clearly for unequal weights, many decide
    alone. (It is the logarithm of a normal prior around equal weights, beside the I images' evidence.) Settings of a
    cell type are drawn towards the general ones instead. The scores that are reported are mAP without the penalty.

    Attributes:
        labels: of the searches so far for settings of all types, in order; their journals have these names.

    Args:
        pool: images with evidence and truth.
        base: settings to start from; only its general ones are.
        tuner: name of the tuner; None: the default.
        budget: candidates that the search of the ensemble may score, 10 or more; half of it goes to the cell types that
            have enough images, and one to each margin of the pool, which are tried last. The search of a member alone
            and that of equal weights, with fewer numbers to find, get half as many.
        seed: of all random numbers.
        progress: called with the number of newly scored candidates.
        shrinkage: see above, 0 or more; 0: none.
        journals: where a search that is stopped can be continued from; None: nowhere.
    """

    def __init__(
        self,
        pool: EvidencePool,
        base: EnsembleSettings,
        tuner: str | None = None,
        budget: int = 200,
        seed: int = 0,
        progress: Callable[[int], object] = lambda count: None,
        shrinkage: float = SHRINKAGE,
        journals: Journals | None = None,
    ):
        self._options = SearchOptions(tuner, budget, seed, shrinkage)
        if len(pool) == 0:
            raise InputError("no images to tune on")
        self._pool, self._base = pool, replace(base, types={}, alone={}, variants={}, matching=None)
        self._progress, self._journals = progress, journals
        self._strength = shrinkage / len(pool)
        self.labels: list[str] = []
        self._types = [
            name for name, count in pool.type_counts().items() if count >= LEAST_IMAGES and name in base.class_names
        ]
        self._max_area = max(1, pool.typical_cell() // 2)
        self._core = tuple(member.name for member in pool.members if not is_combiner(member))

    def total(self) -> int:
        """Candidates that ``run`` scores at most, about."""
        variants = self._variants()
        halves = 2 * (1 + (VOTE in variants)) + (UNIFORM in variants) + len(self._singles())
        return halves * (self._options.budget // 2)

    def _singles(self) -> list[str]:
        """Members that can work alone, where that is not the whole ensemble anyway."""
        names = self._pool.names
        return [name for name in names if self._pool.sources([name])] if len(names) > 1 else []

    def _variants(self) -> list[str]:
        if len(self._core) < 2:
            return []
        return [UNIFORM, VOTE] if len(self._core) < len(self._pool.names) else [UNIFORM]

    def run(self) -> Outcome:
        """Tune every member alone, then the variants, then all together.

        Equal weights, and each member alone and each variant as tuned, are always among the candidates of the ensemble.
        """
        half, variants, wanted = self._options.budget // 2, {}, self._variants()
        alone = {name: self._tune(f"alone {name}", (name,), [], half) for name in self._singles()}
        known = [tuned.settings.general for tuned in alone.values()]
        if UNIFORM in wanted:
            starts = [_average(known, self._equal(self._core))] if known else []
            variants[UNIFORM] = self._tune(UNIFORM, self._core, starts, half, equal=True)
            known.insert(0, variants[UNIFORM].settings.general)
        if VOTE in wanted:
            variants[VOTE] = self._tune(VOTE, self._core, self._starts(known, self._core), self._options.budget)
            known.insert(0, variants[VOTE].settings.general)
        names = self._pool.names
        margins = len(self._pool.margins)
        tuned = self._tune(ENSEMBLE, names, self._starts(known, names), self._options.budget - margins)
        # The types of another may make it better than anything that the search of the ensemble saw.
        for other in (*variants.values(), *alone.values()):
            if self._worth(other, names) > self._worth(tuned, names):
                tuned = replace(tuned, settings=other.settings, after=other.after)
        tuned = self._choose_margin(tuned)
        settings = replace(
            tuned.settings,
            alone={name: single.settings for name, single in alone.items()},
            variants={name: variant.settings for name, variant in variants.items()},
        )
        return Outcome(replace(tuned, settings=settings), alone, variants)

    def _choose_margin(self, tuned: Tuned) -> Tuned:
        """The same settings with the margin that is best for them; of equals the one that it was tuned with."""
        for margin in self._pool.margins:
            settings = replace(tuned.settings, margin=margin)
            score = self._mean(settings)
            self._progress(1)
            if score > tuned.after:
                tuned = replace(tuned, settings=settings, after=score)
        return replace(tuned, evaluations=tuned.evaluations + len(self._pool.margins))

    def _worth(self, tuned: Tuned, voters: Sequence[str]) -> float:
        return tuned.after - self._penalty(tuned.settings.general, voters)

    def _penalty(self, settings: Settings, voters: Sequence[str]) -> float:
        return self._strength * distance_from_equal(settings, voters)

    def _tune(
        self, label: str, voters: Sequence[str], starts: Sequence[Settings], budget: int, equal: bool = False
    ) -> Tuned:
        required = self._pool.required & set(voters)
        space = SearchSpace(self._base.members, tuple(voters), required, self._max_area, equal)
        start = replace(self._base, general=self._equal(voters))
        self.labels.append(label)
        before = self._mean(start)
        self._progress(1)
        share = budget // 2 // len(self._types) if self._types else 0
        types = self._types if share >= _LEAST_SHARE else []
        found, value, count = self._minimize(
            label, space, start, [start.general, *starts], budget - share * len(types) - 1
        )
        tuned = replace(start, general=found)
        if before > value:  # what it started from may lie outside of the box that is searched; its penalty is 0
            tuned = start
        general = after = before if tuned is start else self._mean(tuned)
        for name in types:
            candidate, spent = self._tune_type(label, name, tuned, share - 1, equal)
            score = self._mean(candidate)
            self._progress(1)
            count += spent + 1
            if score > after:
                tuned, after = candidate, score
        return Tuned(tuned, before, general, after, count + 1)

    def _equal(self, voters: Sequence[str]) -> Settings:
        """The settings to start from, with equal weights for the voters."""
        return replace(self._base.general, weights={name: float(name in voters) for name in self._base.members})

    def _starts(self, known: Sequence[Settings], voters: Sequence[str]) -> list[Settings]:
        """Where a search begins beside equal weights; the likely ones first, as the budget may end among them."""
        given = self._base.general
        usable = any(given.weights[name] > 0 for name in voters)
        return [*known[:1], *([given] if usable else []), *known[1:]]

    def _tune_type(
        self, label: str, name: str, settings: EnsembleSettings, budget: int, equal: bool
    ) -> tuple[EnsembleSettings, int]:
        """Settings with those of one type added, found on its images and drawn towards the general ones."""
        voters = tuple(member for member, weight in settings.general.weights.items() if weight > 0)
        required = frozenset(self._pool.sources(voters))
        space = SearchSpace(settings.members, voters, required, self._max_area, equal)
        found, _, count = self._minimize(f"{label}, {name}", space, settings, [settings.general], budget, name)
        images = self._pool.type_counts()[name]
        drawn = blend(found, settings.general, DRAW / (DRAW + images))
        return replace(settings, types={**settings.types, name: drawn}), count

    def _minimize(
        self,
        label: str,
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
                return self._penalty(candidate, space.voters) - self._mean(replace(settings, general=candidate))
            return -self._mean(replace(settings, types={**settings.types, cell_type: candidate}), cell_type)

        result = minimize(
            objective,
            space.lower,
            space.upper,
            tuner=self._options.tuner,
            budget=budget,
            seed=self._options.seed,
            initial=[space.encode(start) for start in starts],
            **(self._journals.arguments(label) if self._journals else {}),
        )
        return space.decode(result.x, settings.general), -result.value, result.evaluations

    def _mean(self, settings: EnsembleSettings, cell_type: str | None = None) -> float:
        return float(self._pool.score(settings, cell_type).mean())


def is_combiner(member: object) -> bool:
    """Whether a member answers from the answers of others."""
    return bool(getattr(member, "inputs", ()))


def _average(parts: Sequence[Settings], base: Settings) -> Settings:
    """``base`` with the mean thresholds of several settings."""
    names = ("mask_threshold", "score_threshold", "nms_iou")
    means = {name: float(np.mean([getattr(part, name) for part in parts])) for name in names}
    area = round(float(np.mean([part.min_area for part in parts])))
    return replace(base, min_area=area, **means)
