"""Everything that is tuned on a pool of images, in order: calibration, the searches, the matching of instances."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cellseg.ensemble.evidence.pool import EvidencePool
from cellseg.ensemble.matching.match import MatchOptions, match_instances, tune_matching, weights_of
from cellseg.ensemble.settings import EnsembleSettings
from cellseg.ensemble.tuning.journals import Journals
from cellseg.ensemble.tuning.search import Outcome, Search, SearchOptions, is_combiner
from cellseg.ensemble.votes.calibration import calibrate_members
from cellseg.ensemble.votes.resolve import resolve
from cellseg.errors import InputError
from cellseg.metrics import competition_map
from cellseg.structures import Instances

MATCHING = "matching"


@dataclass(frozen=True)
class TuningOptions(SearchOptions):
    """How a pool is tuned.

    Attributes:
        calibrate: whether confidences are calibrated first; it did not pay where that was measured (docs/results.md).
        margins: of the windows, to be tried beside that of the fusion options.
    """

    calibrate: bool = False
    margins: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        for margin in self.margins:
            if not 0 <= margin <= 1:
                raise InputError(f"margin {margin}: expected 0 to 1")
        if len(self.margins) > self.budget - 10:
            raise InputError(f"{len(self.margins)} margins: too many for a budget of {self.budget} candidates")


@dataclass(frozen=True)
class PoolTuning:
    """What was tuned on a pool.

    Attributes:
        outcome: of the searches.
        settings: of the ensemble, with those of the members alone, the variants and the matching.
        matching: competition mAP of the matching on the tuning images; None where fewer than two members can work
            alone.
        history: for each search, what every candidate was worth, in order; empty without journals.
    """

    outcome: Outcome
    settings: EnsembleSettings
    matching: float | None
    history: Mapping[str, tuple[float, ...]]

    def scores(self) -> dict[str, dict[str, float]]:
        """Scores on the tuning images for the provenance, rounded, by row; the ensemble last."""
        rows = self.outcome.scores()
        if self.matching is not None:
            last = rows.popitem()
            rows = {**rows, MATCHING: {"after": round(self.matching, 6)}, last[0]: last[1]}
        return rows


def tune_pool(
    pool: EvidencePool,
    base: EnsembleSettings,
    options: TuningOptions,
    progress: Callable[[int], object] = lambda count: None,
    journals: Journals | None = None,
) -> PoolTuning:
    """Tune everything on the images of a pool.

    Args:
        pool: the images.
        base: settings to start from.
        options: how.
        progress: called with the number of newly scored candidates.
        journals: where a tuning that is stopped can be continued from.
    """
    if options.calibrate and len(pool):
        base = replace(base, calibration=calibrate_members(pool.evidence(pool.names), pool.truths))
    search = make_search(pool, base, options, progress, journals)
    outcome = search.run()
    settings, score = outcome.ensemble.settings, None
    if len(names := matched_members(pool)) > 1:
        start, weights = _matching_start(base.matching or MatchOptions(), names)
        results = _results(pool, settings)
        matching, score = tune_matching(results, pool.truths, options.seed, replace(start, weights=None), weights)
        settings = replace(settings, matching=replace(matching, weights=start.weights))
    history = {label: tuple(-value for value in journals.values(label)) for label in search.labels} if journals else {}
    return PoolTuning(outcome, settings, score, history)


def make_search(
    pool: EvidencePool,
    base: EnsembleSettings,
    options: TuningOptions,
    progress: Callable[[int], object] = lambda count: None,
    journals: Journals | None = None,
) -> Search:
    """The search that ``tune_pool`` runs."""
    return Search(
        pool,
        base,
        tuner=options.tuner,
        budget=options.budget,
        seed=options.seed,
        progress=progress,
        shrinkage=options.shrinkage,
        journals=journals,
    )


def matched_members(pool: EvidencePool) -> list[str]:
    """Members whose finished instances can be matched: those that work alone, combiners aside."""
    return [member.name for member in pool.members if not is_combiner(member) and pool.sources([member.name])]


def score_rows(pool: EvidencePool, settings: EnsembleSettings) -> dict[str, Tensor]:
    """Competition mAP of each image, float64 ``[I]``, for everything that settings of ``tune_pool`` hold.

    Returns:
        By name: each member alone, each variant, the matching.
    """
    rows = {name: pool.score(part) for name, part in {**settings.alone, **settings.variants}.items()}
    if settings.matching is not None:
        start, weights = _matching_start(settings.matching, matched_members(pool))
        options = replace(start, weights=None)
        masks = [match_instances(found, weights, options).masks for found in _results(pool, settings)]
        rows[MATCHING] = competition_map(masks, pool.truths).per_image
    return rows


def _matching_start(options: MatchOptions, names: Sequence[str]) -> tuple[MatchOptions, list[float]]:
    """Options with weights for members that are matched only, and the weight of each of these.

    Raises:
        InputError: the weights of those are all 0.
    """
    given = None if options.weights is None else {name: w for name, w in options.weights.items() if name in names}
    options = replace(options, weights=given)
    return options, weights_of(names, options)


def _results(pool: EvidencePool, settings: EnsembleSettings) -> list[list[Instances]]:
    """Instances of each image by each member that is matched, as it was tuned alone."""
    found: list[Sequence[Instances]] = []
    parts: Mapping[str, EnsembleSettings] = settings.alone
    for name in matched_members(pool):
        with torch.inference_mode():
            found.append([resolve(image, parts[name]) for image in pool.evidence([name])])
    return [list(images) for images in zip(*found, strict=True)]
