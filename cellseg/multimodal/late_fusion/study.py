"""One table of late fusion: each model, equal weights and every tuner, on samples that none was tuned on."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cellseg.ensemble.tuners import TUNERS
from cellseg.errors import InputError
from cellseg.multimodal.comparison.intervals import paired_statistic
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

Interval = tuple[float, float, float]


@dataclass(frozen=True)
class StudyRow:
    """One row of the table.

    Attributes:
        name: of the model or tuner.
        kind: ``model``, ``other`` (a model that takes no part in the fusion) or ``tuner``.
        tuned: the score that was tuned for, on the samples that were tuned on.
        scores: by name, on the held-out samples.
        difference: by name the held-out score less that of equal weights, with its 95% interval; None where there are
            fewer than two groups, or for equal weights themselves.
        weights: of the fusion, None for a model.
    """

    name: str
    kind: str
    tuned: float
    scores: Mapping[str, float]
    difference: Mapping[str, Interval | None]
    weights: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Study:
    """What was found.

    Attributes:
        options: of the search.
        splits: that was tuned on, and held out.
        samples: of each.
        groups: of the held-out samples.
        rows: of the table.
        chosen: the search whose weights are kept: the best on the samples that were tuned on, with what draws weights
            towards equal ones.
    """

    options: TuningOptions
    splits: tuple[str, str]
    samples: tuple[int, int]
    groups: int
    rows: tuple[StudyRow, ...]
    chosen: Tuned

    def table(self) -> str:
        """The rows in Markdown."""
        names = list(SCORES)
        head = ["", f"{self.options.by} ({self.splits[0]})", *names, *(f"{name} - {UNIFORM}" for name in names)]
        lines = [head, ["---", *["---:"] * (len(head) - 1)]]
        for row in self.rows:
            lines.append(
                [
                    row.name + (" *" if row.kind == "tuner" and row.name == self.chosen.tuner else ""),
                    f"{row.tuned:.4f}",
                    *(f"{row.scores[name]:.4f}" for name in names),
                    *(_interval_text(row.difference[name]) for name in names),
                ]
            )
        text = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        weights = "\n".join(f"- {row.name}: {_weights_text(row.weights)}" for row in self.rows if row.weights)
        return (
            f"{self.samples[0]} samples of {self.splits[0]!r} to tune on, {self.samples[1]} of {self.splits[1]!r} in "
            f"{self.groups} groups held out; tuned for {self.options.by}, {self.options.mean} mean, "
            f"{self.options.budget} evaluations of each tuner, shrinkage {self.options.shrinkage:g}. * is kept. "
            "log_loss: smaller is better. Differences "
            f"from equal weights with 95% intervals (paired bootstrap over groups).\n\n{text}\n\nWeights:\n{weights}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "options": asdict(self.options),
            "splits": list(self.splits),
            "samples": list(self.samples),
            "groups": self.groups,
            "rows": [asdict(row) for row in self.rows],
            "chosen": self.chosen.tuner,
        }


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
        _row(name, kind, seen.probabilities[place], unseen.probabilities[place], seen, unseen, equal, options, None)
        for place, (name, kind) in enumerate(zip(seen.models, kinds, strict=True))
    ]
    for name, weights in [(UNIFORM, equal), *fusions]:
        mixed = [weights.combine(_fused(samples, len(tables)).probabilities) for samples in (seen, unseen)]
        rows.append(_row(name, "tuner", *mixed, seen, unseen, equal, options, weights))
    return Study(
        options,
        (tune_split, held_out),
        (len(seen.ids), len(unseen.ids)),
        len(set(unseen.groups)),
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
    equal: FusionWeights,
    options: TuningOptions,
    weights: FusionWeights | None,
) -> StudyRow:
    """A row from probabilities ``[N, K]`` of the samples that were tuned on and of those that were not."""
    reference = equal.combine(unseen.probabilities[: len(equal.models)])
    differences: dict[str, Interval | None] = {}
    for key, score in SCORES.items():
        differences[key] = None
        if len(set(unseen.groups)) > 1 and weights is not equal:
            counts = [[score.counts(values, unseen.labels)] for values in (held_out, reference)]
            differences[key] = paired_statistic(*counts, score.statistic, unseen.groups)
    return StudyRow(
        name,
        kind,
        SCORES[options.by].of(tuned, seen.labels),
        {key: score.of(held_out, unseen.labels) for key, score in SCORES.items()},
        differences,
        None if weights is None else weights.to_dict(),
    )


def _interval_text(interval: Interval | None) -> str:
    return "" if interval is None else f"{interval[0]:+.4f} [{interval[1]:+.4f}, {interval[2]:+.4f}]"


def _weights_text(weights: Mapping[str, Any]) -> str:
    parts = []
    for name, value in weights.items():
        own = {"": value} if not isinstance(value, Mapping) else value
        text = ", ".join(f"{label} {number:.3f}".strip() for label, number in own.items())
        parts.append(f"{name} {text}" if not isinstance(value, Mapping) else f"{name} ({text})")
    return "; ".join(parts)
