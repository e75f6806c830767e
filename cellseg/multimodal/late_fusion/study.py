"""One table of late fusion: each model, equal weights and every tuner, on samples that none was tuned on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cellseg.ensemble.tuners import TUNERS
from cellseg.errors import InputError
from cellseg.multimodal.late_fusion.combine import FusionWeights
from cellseg.multimodal.late_fusion.probabilities import ProbabilityTable
from cellseg.multimodal.late_fusion.scores import SCORES
from cellseg.multimodal.late_fusion.tuning import (
    UNIFORM,
    Samples,
    Tuned,
    TuningOptions,
    align,
    best_of,
    tune_weights,
)


@dataclass(frozen=True)
class StudyRow:
    """One row of the table.

    Attributes:
        name: of the model or tuner.
        kind: ``model``, ``other`` (a model that takes no part in the fusion) or ``tuner``.
        tuned: the score that was tuned for, on the samples that were tuned on.
        scores: by name, on the held-out samples.
        counts: by name what each held-out sample adds to the sums that the score follows from, float ``[N, D]``.
        weights: of the fusion, None for a model.
    """

    name: str
    kind: str
    tuned: float
    scores: Mapping[str, float]
    counts: Mapping[str, np.ndarray]
    weights: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Study:
    """What was found.

    Attributes:
        options: of the search.
        splits: that was tuned on, and held out.
        seen, unseen: the samples of each, as all models have them.
        rows: of the table.
        chosen: the search whose weights are kept: the best on the samples that were tuned on, with what draws weights
            towards equal ones.
    """

    options: TuningOptions
    splits: tuple[str, str]
    seen: Samples
    unseen: Samples
    rows: tuple[StudyRow, ...]
    chosen: Tuned


def study_fusion(
    tables: Sequence[ProbabilityTable],
    options: TuningOptions,
    tuners: Sequence[str] = (),
    others: Sequence[ProbabilityTable] = (),
    tune_split: str = "val",
    held_out: str = "test",
) -> Study:
    """Tune late fusion with every tuner and score all on samples that were not tuned on.

    Args:
        tables: the models that are fused.
        options: of the search.
        tuners: names; none: all.
        others: models for comparison alone, such as one that fuses features, or classical classifiers.
        tune_split, held_out: names of splits.

    Raises:
        InputError: what ``align`` and ``tune_weights`` refuse, or one split for both.
    """
    if tune_split == held_out:
        raise InputError(f"tuning and scoring on {held_out!r} alone says nothing of new samples; give two splits")
    names = tuple(tuners) or tuple(TUNERS)
    models, both = [table.name for table in tables], [*tables, *others]
    for table in both:
        if table.name in TUNERS:
            raise InputError(f"a model cannot be called {table.name!r}, as a tuner is; name it as NAME=PATH")
    seen, unseen = (align(both, split) for split in (tune_split, held_out))
    part = _fused(seen, len(tables))
    found = [tune_weights(part, name, options) for name in dict.fromkeys(names)]
    kinds = ["model" if name in models else "other" for name in seen.models]
    equal = FusionWeights.uniform(part.models, part.class_names, options.mean)
    fusions = [(each.tuner, each.weights) for each in found if each.tuner != UNIFORM]
    rows = [
        _row(name, kind, seen.probabilities[place], unseen.probabilities[place], seen, unseen, options, None)
        for place, (name, kind) in enumerate(zip(seen.models, kinds, strict=True))
    ]
    for name, weights in [(UNIFORM, equal), *fusions]:
        mixed = [weights.combine(_fused(samples, len(tables)).probabilities) for samples in (seen, unseen)]
        rows.append(_row(name, "tuner", *mixed, seen, unseen, options, weights))
    return Study(
        options,
        (tune_split, held_out),
        seen,
        unseen,
        tuple(rows),
        best_of(found),
    )


def _fused(samples: Samples, many: int) -> Samples:
    """The same samples with the first models alone."""
    return Samples(
        samples.models[:many],
        samples.class_names,
        samples.ids,
        samples.groups,
        samples.labels,
        samples.probabilities[:many],
    )


def _row(
    name: str,
    kind: str,
    tuned: np.ndarray,
    held_out: np.ndarray,
    seen: Samples,
    unseen: Samples,
    options: TuningOptions,
    weights: FusionWeights | None,
) -> StudyRow:
    """A row from probabilities ``[N, K]`` of the samples that were tuned on and of those that were not."""
    return StudyRow(
        name,
        kind,
        SCORES[options.by].of(tuned, seen.labels),
        {key: score.of(held_out, unseen.labels) for key, score in SCORES.items()},
        {key: score.counts(held_out, unseen.labels) for key, score in SCORES.items()},
        None if weights is None else weights.to_dict(),
    )
