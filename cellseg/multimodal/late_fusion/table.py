"""The table of late fusion, of one study or of the same study over several seeds, in Markdown and as plain values."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from cellseg.errors import InputError
from cellseg.multimodal.comparison.intervals import paired_statistic
from cellseg.multimodal.late_fusion.scores import SCORES
from cellseg.multimodal.late_fusion.study import Study
from cellseg.multimodal.late_fusion.tuning import UNIFORM

Interval = tuple[float, float, float]


def differences(studies: Sequence[Study]) -> dict[str, dict[str, Interval | None]]:
    """By row and score: the held-out score less that of equal weights, with its 95% interval.

    Several studies are several trainings of the same rows: the difference is that of the means. None for equal weights
    themselves, and where there are fewer than two groups.

    Args:
        studies: of the same samples, with the same rows.

    Raises:
        InputError: they are not.
    """
    first = studies[0]
    names = [row.name for row in first.rows]
    for study in studies[1:]:
        if [row.name for row in study.rows] != names or study.splits != first.splits:
            raise InputError(f"studies of other rows: {', '.join(names)}, and {', '.join(r.name for r in study.rows)}")
        if study.unseen.ids != first.unseen.ids:
            raise InputError("studies of other held-out samples; train all seeds with the same splits (source.seed)")
    equal = names.index(UNIFORM)
    found: dict[str, dict[str, Interval | None]] = {}
    for place, name in enumerate(names):
        found[name] = dict.fromkeys(SCORES)
        if place != equal and len(set(first.unseen.groups)) > 1:
            for key, score in SCORES.items():
                counts = [[study.rows[row].counts[key] for study in studies] for row in (place, equal)]
                found[name][key] = paired_statistic(*counts, score.statistic, first.unseen.groups)
    return found


def study_table(studies: Sequence[Study], seeds: Sequence[int] = ()) -> str:
    """The rows in Markdown: means over the studies, with standard deviations where there are several.

    Args:
        studies: as ``differences``.
        seeds: of the studies, for the heading.
    """
    first, apart = studies[0], differences(studies)
    names = list(SCORES)
    head = ["", f"{first.options.by} ({first.splits[0]})", *names, *(f"{name} - {UNIFORM}" for name in names)]
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    for rows in zip(*(study.rows for study in studies), strict=True):
        kept = sum(
            row.kind == "tuner" and row.name == study.chosen.tuner for row, study in zip(rows, studies, strict=True)
        )
        mark = "" if not kept else " *" if len(studies) == 1 else f" *{kept}"
        lines.append(
            [
                rows[0].name + mark,
                _value([row.tuned for row in rows]),
                *(_value([row.scores[name] for row in rows]) for name in names),
                *(_interval(apart[rows[0].name][name]) for name in names),
            ]
        )
    text = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    options = first.options
    many = ""
    if len(studies) > 1:
        many = f"Seeds {', '.join(map(str, seeds))}: mean ± standard deviation. "
    kept = "* is kept" if len(studies) == 1 else "*N: kept in N of them"
    parts = [
        f"{many}{len(first.seen.ids)} samples of {first.splits[0]!r} to tune on, {len(first.unseen.ids)} of "
        f"{first.splits[1]!r} in {len(set(first.unseen.groups))} groups held out; tuned for {options.by}, "
        f"{options.mean} mean, {options.budget} evaluations of each tuner, shrinkage {options.shrinkage:g}. {kept}. "
        "log_loss: smaller is better. Differences from equal weights with 95% intervals (paired bootstrap over "
        "groups).",
        text,
    ]
    if len(studies) == 1:
        weights = "\n".join(f"- {row.name}: {_weights(row.weights)}" for row in first.rows if row.weights)
        parts.append(f"Weights:\n{weights}")
    return "\n\n".join(parts)


def study_values(study: Study) -> dict[str, Any]:
    """A study as plain values, for JSON."""
    apart = differences([study])
    rows = [
        {
            "name": row.name,
            "kind": row.kind,
            "tuned": row.tuned,
            "scores": dict(row.scores),
            "difference": apart[row.name],
            "weights": row.weights,
        }
        for row in study.rows
    ]
    return {**_about(study), "rows": rows, "chosen": study.chosen.tuner}


def pooled_values(studies: Sequence[Study], seeds: Sequence[int]) -> dict[str, Any]:
    """Studies of several seeds as plain values: as ``study_values``, with a list over the seeds for each number."""
    apart, about = differences(studies), _about(studies[0])
    about["options"].pop("seed")
    rows = [
        {
            "name": rows[0].name,
            "kind": rows[0].kind,
            "tuned": [row.tuned for row in rows],
            "scores": {name: [row.scores[name] for row in rows] for name in SCORES},
            "difference": apart[rows[0].name],
            "weights": [row.weights for row in rows],
        }
        for rows in zip(*(study.rows for study in studies), strict=True)
    ]
    return {**about, "seeds": list(seeds), "rows": rows, "chosen": [study.chosen.tuner for study in studies]}


def _about(study: Study) -> dict[str, Any]:
    return {
        "options": asdict(study.options),
        "splits": list(study.splits),
        "samples": [len(study.seen.ids), len(study.unseen.ids)],
        "groups": len(set(study.unseen.groups)),
    }


def _value(values: Sequence[float]) -> str:
    spread = f" ± {np.std(values, ddof=1):.4f}" if len(values) > 1 else ""
    return f"{np.mean(values):.4f}{spread}"


def _interval(interval: Interval | None) -> str:
    return "" if interval is None else f"{interval[0]:+.4f} [{interval[1]:+.4f}, {interval[2]:+.4f}]"


def _weights(weights: Mapping[str, Any]) -> str:
    parts = []
    for name, value in weights.items():
        own = {"": value} if not isinstance(value, Mapping) else value
        text = ", ".join(f"{label} {number:.3f}".strip() for label, number in own.items())
        parts.append(f"{name} {text}" if not isinstance(value, Mapping) else f"{name} ({text})")
    return "; ".join(parts)
