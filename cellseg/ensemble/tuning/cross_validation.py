"""What a tuning is worth on images that it did not see: cross-validation of the whole tuning, by group."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cellseg.datasets.folds import make_splits
from cellseg.ensemble.evidence.pool import EvidencePool
from cellseg.ensemble.settings import EnsembleSettings
from cellseg.ensemble.tuning.cases import Case, Interval, difference_with_interval, mean_with_interval
from cellseg.ensemble.tuning.journals import Journals
from cellseg.ensemble.tuning.pool_tuning import PoolTuning, TuningOptions, score_rows, tune_pool
from cellseg.ensemble.tuning.search import ENSEMBLE, is_combiner
from cellseg.errors import InputError

BEST_MEMBER = "best single member"


@dataclass(frozen=True)
class UnseenRow:
    """One row on images that its tuning did not see.

    Attributes:
        name: of the row.
        map: competition mAP over all images.
        interval: its 95% interval by a bootstrap over groups.
        difference: mAP of the ensemble minus this one's; None for the ensemble.
        difference_interval: its 95% interval, paired by image; None for the ensemble.
    """

    name: str
    map: float
    interval: Interval | None
    difference: float | None = None
    difference_interval: Interval | None = None


@dataclass(frozen=True)
class CrossValidation:
    """Scores of images by settings that were tuned without them.

    Attributes:
        part: of each image; its settings were tuned on the images of the other parts.
        groups: of each image; no group is in two parts.
        rows: competition mAP of each image by row: the members alone, the variants, the matching, the member that was
            best on the tuning images of the part, the ensemble.
        best_members: which member that was, for each part.
        cases: the images and settings of each part.
    """

    part: tuple[int, ...]
    groups: tuple[str, ...]
    rows: Mapping[str, tuple[float, ...]]
    best_members: tuple[str, ...]
    cases: tuple[Case, ...]

    def table(self) -> list[UnseenRow]:
        """Rows with their intervals and the paired differences, the ensemble last."""
        best, found = self.rows[ENSEMBLE], []
        for name, values in self.rows.items():
            difference = (None, None) if name == ENSEMBLE else difference_with_interval(best, values, self.groups)
            found.append(UnseenRow(name, *mean_with_interval(values, self.groups), *difference))
        return found


def divide_groups(groups: Sequence[str], types: Sequence[str], parts: int, seed: int = 0) -> np.ndarray:
    """Part of each image, int64 ``[I]``: whole groups, balanced by cell type.

    Raises:
        InputError: fewer than two parts, or too few groups.
    """
    if parts < 2:
        raise InputError(f"--cross-validate {parts}: expected 2 or more parts, or 0 for no cross-validation")
    needed = 4 if parts == 2 else parts  # so that two groups or more are left to tune on
    found = len(set(groups))
    if found < needed:
        raise InputError(
            f"--cross-validate {parts} needs images of {needed} groups or more, because a group is never divided; "
            f"there are {found}: take fewer parts, or leave the option out"
        )
    return make_splits(groups, types, parts, seed=seed)[0]


def cross_validate(
    pool: EvidencePool,
    groups: Sequence[str],
    base: EnsembleSettings,
    options: TuningOptions,
    parts: int,
    progress: Callable[[int], object] = lambda count: None,
    journals: Journals | None = None,
) -> CrossValidation:
    """Tune on all parts but one, score that one, for each.

    Everything that ``tune_pool`` does is done anew, without the part: calibration, each member alone, the variants, the
    ensemble and its types, the matching.

    Args:
        pool: all images.
        groups: the group of each.
        base: settings to start from.
        options: of the tuning.
        parts: how many.
        progress: called with the number of newly scored candidates.
        journals: where a cross-validation that is stopped can be continued from.

    Raises:
        InputError: too few groups.
    """
    part = divide_groups(groups, pool.types, parts, options.seed)
    rows: dict[str, np.ndarray] = {}
    best_members, cases = [], []
    for number in range(parts):
        seen, unseen = np.flatnonzero(part != number), np.flatnonzero(part == number)
        within = journals.within(f"part {number}") if journals else None
        tuning = tune_pool(pool.subset(seen.tolist()), base, options, progress, within)
        case = Case(pool.subset(unseen.tolist()), tuning.settings, tuple(unseen.tolist()))
        scores = {name: row.numpy() for name, row in score_rows(case.pool, case.settings).items()}
        if best := best_member(pool, tuning):
            scores[BEST_MEMBER] = scores[best]
        scores[ENSEMBLE] = case.pool.score(case.settings).numpy()
        for name, values in scores.items():
            rows.setdefault(name, np.zeros(len(part)))[unseen] = values
        best_members.append(best)
        cases.append(case)
    return CrossValidation(
        part=tuple(part.tolist()),
        groups=tuple(groups),
        rows={name: tuple(values.tolist()) for name, values in rows.items()},
        best_members=tuple(best_members),
        cases=tuple(cases),
    )


def best_member(pool: EvidencePool, tuning: PoolTuning) -> str:
    """The member that scored best alone on the images it was tuned on, combiners aside; '' where none works alone."""
    combiners = {member.name for member in pool.members if is_combiner(member)}
    scores = {name: tuned.after for name, tuned in tuning.outcome.alone.items() if name not in combiners}
    return max(scores, key=scores.__getitem__, default="")
