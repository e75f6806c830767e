"""Numbers about derived text as tables for the screen."""

from collections.abc import Mapping, Sequence
from typing import Any

from cellseg.multimodal.derive.slot_scores import SLOTS

_OVERLAPS = {
    **{f"bleu{length}": f"BLEU-{length}" for length in range(1, 5)},
    "cider": "CIDEr-D",
    "rouge": "ROUGE-L",
}


# Of what slots are off by.
_UNITS = {"count": "cells", "confluence": "percent of the area"}


def dataset_table(summary: Mapping[str, Any]) -> str:
    """What a data set holds, by split, then its questions by kind.

    Args:
        summary: what ``derive_dataset`` returned.
    """
    splits = summary["splits"]
    rows = [("split", "images", "groups", "captions", "prompts", "questions", "pairs")]
    for name, split in splits.items():
        kept = sum(kind["kept"] for kind in split["questions"].values())
        counts = (split[key] for key in ("images", "groups", "captions", "prompts"))
        rows.append((name, *counts, kept, sum(split["pairs"].values())))
    parts = [_align(rows)]
    for name, split in splits.items():
        rows = [(f"{name}: questions", "asked", "kept", "answers", "best blind guess")]
        for kind, values in split["questions"].items():
            guess = f"{values['majority']:.2f}" if values["kept"] else "-"
            rows.append((f"  {kind}", values["asked"], values["kept"], values["answers"], guess))
        parts.append(_align(rows))
    return "\n\n".join(parts)


def slot_table(scores: Mapping[str, Mapping[str, Any]]) -> str:
    """What ``score_captions`` gave."""
    parts = []
    for split, values in scores.items():
        head = ("true", "stated", "right", "accuracy", "precision", "majority")
        rows = [(f"{split}: what {values['captions']} captions say", *head)]
        for slot in SLOTS:
            one = values[slot]
            rates = [_rate(one[name]) for name in head[3:]]
            rows.append((f"  {slot}", one["true"], one["stated"], one["right"], *rates))
        lines = [_align(rows)]
        for slot, unit in _UNITS.items():
            error = values[slot]["error"]
            if error["mean"] is not None:
                lines.append(f"  {slot} error: mean {error['mean']:g}, median {error['median']:g} {unit}")
        overlap = ", ".join(f"{_OVERLAPS[name]} {value:.3f}" for name, value in values["overlap"].items())
        lines.append(f"  overlap with the captions of the data set: {overlap}")
        parts.append("\n".join(lines))
        if "replies" in values:
            rows = [(f"{split}: just what is asked for", "replies", "accuracy", "majority")]
            for kind, one in values["replies"].items():
                rows.append((f"  {kind}", one["replies"], _rate(one["accuracy"]), _rate(one["majority"])))
            parts.append(_align(rows))
    return "\n\n".join(parts)


def comparison_table(comparison: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """What ``compare_captions`` gave."""
    parts = []
    for split, scores in comparison.items():
        head = ("captions", "accuracy", "majority", "minus majority", "minus the other")
        asked = {name: one for name, one in scores.items() if "captions" in one}
        other = any(one["minus_other"] for one in asked.values())
        rows = [(f"{split}: what captions say", *(head if other else head[:-1]))]
        for name, one in asked.items():
            differences = [_interval(one["minus_majority"]), _interval(one["minus_other"])][: 1 + other]
            rows.append((f"  {name}", one["captions"], _spread(one), _rate(one["majority"]), *differences))
        lines = [_align(rows)]
        for slot, unit in _UNITS.items():
            if scores[slot]["error"] is not None:
                lines.append(f"  {slot} error: mean {_spread(scores[slot]['error'])} {unit}")
        words = ", ".join(f"{_OVERLAPS[name]} {_spread(scores[name])}" for name in scores if name in _OVERLAPS)
        parts.append("\n".join([*lines, f"  overlap with the captions of the data set: {words}"]))
    return "\n\n".join(parts)


def _spread(score: Mapping[str, float | None]) -> str:
    mean = _rate(score["mean"])
    return mean if score["std"] is None else f"{mean} ± {score['std']:.3f}"


def _interval(difference: Sequence[float | None] | None) -> str:
    if difference is None:
        return "-"
    value, low, high = difference
    return f"{value:+.3f}" if low is None else f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"


def answer_table(scores: Mapping[str, Mapping[str, Any]]) -> str:
    """What ``score_answers`` gave."""
    parts = []
    for split, kinds in scores.items():
        rows = [(f"{split}: accuracy", "questions", "majority", "question only", "answers")]
        for kind, values in kinds.items():
            rates = [_rate(values[name]) for name in ("majority", "question_only", "answers")]
            rows.append((f"  {kind}", values["questions"], *rates))
        parts.append(_align(rows))
    return "\n\n".join(parts)


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _align(rows: Sequence[Sequence[Any]]) -> str:
    """Columns as wide as their longest entry; the first to the left, numbers to the right."""
    texts = [[str(value) for value in row] for row in rows]
    widths = [max(len(row[column]) for row in texts) for column in range(len(texts[0]))]
    lines = []
    for first, *others in texts:
        numbers = [value.rjust(width) for value, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *numbers]))
    return "\n".join(lines)
