"""Captions of several trainings of a model, beside who always says what is most frequent, and beside another model."""

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np

from cellseg.errors import InputError
from cellseg.multimodal.comparison.intervals import Counts, paired_statistic, ratio
from cellseg.multimodal.derive.prompts import PROMPTS
from cellseg.multimodal.derive.slot_scores import (
    EVERY,
    SLOTS,
    Said,
    most_often,
    most_uttered,
    read_said,
    score_overlap,
    score_slots,
    uttered,
)

# Before the kind of prompt in the name of a score.
JUST = "just "
_DIGITS = 4


def compare_captions(
    paths: Sequence[str | Path], root: str | Path, against: Sequence[str | Path] = ()
) -> dict[str, dict[str, dict[str, Any]]]:
    """Compare captions of trainings of one model with the majority, and with those of another model.

    Args:
        paths: one file a training, see ``read_captions``.
        root: folder of the data set.
        against: likewise, of the other model.

    Returns:
        By split and score (a slot; of replies ``just KIND`` and ``just every``, see ``score_replies``): ``captions``
        that it is asked of, ``mean`` and ``std`` of the accuracy over the trainings (None for one), ``majority`` its
        accuracy, ``minus_majority`` and ``minus_other`` (None without another) the difference and its 95% interval by a
        paired bootstrap over groups, which is None, None where there are fewer than two. Of ``count`` and
        ``confluence`` also ``mean`` and ``std`` of the mean ``error``, see ``score_slots``; None where a training
        states none. Of scores of words (``bleu1``, ...) ``mean`` and ``std``.

    Raises:
        MissingFileError, InputError: a file that cannot be used, or files about different captions.
    """
    ours, others = ([read_said(path, root) for path in part] for part in (paths, against))
    for path, said in zip((*paths, *against), (*ours, *others), strict=True):
        if {split: _asked(part) for split, (part, _) in said.items()} != {
            split: _asked(part) for split, (part, _) in ours[0].items()
        }:
            raise InputError(f"{path}: its captions are about other images or prompts than those of {paths[0]}")
    return {
        split: _compare([said[split][0] for said in ours], [said[split][0] for said in others], ours[0][split][1])
        for split in ours[0]
    }


def _asked(said: Sequence[Said]) -> list[tuple[str, str]]:
    return [(one.facts.key, one.kind) for one in said]


def _compare(
    ours: Sequence[Sequence[Said]], others: Sequence[Sequence[Said]], train: Sequence[Said]
) -> dict[str, dict[str, Any]]:
    scores = {}
    for slot in SLOTS:
        most = most_often(slot, train)
        scores[slot] = _score(
            ours,
            others,
            lambda one, slot=slot: one.truth_of(slot) is not None,
            lambda one, slot=slot: getattr(one.slots, slot) == one.truth_of(slot),
            lambda one, slot=slot, most=most: one.truth_of(slot) == most,
        )
    guess = {kind: most_uttered(kind, train) for kind in PROMPTS}
    for kind in (*PROMPTS, EVERY):
        scores[f"{JUST}{kind}"] = _score(
            ours,
            others,
            lambda one, kind=kind: bool(one.kind) and kind in (one.kind, EVERY),
            lambda one: one.just,
            lambda one: uttered(one.truth) == guess[one.kind],
        )
    found = {name: score for name, score in scores.items() if score is not None}
    each = [score_slots(said) for said in ours]
    for slot in ("count", "confluence"):
        errors = [one[slot]["error"]["mean"] for one in each]
        found[slot]["error"] = None if None in errors else _spread(errors)
    words = [score_overlap(said) for said in ours]
    return found | {name: _spread([one[name] for one in words]) for name in words[0]}


def _score(
    ours: Sequence[Sequence[Said]],
    others: Sequence[Sequence[Said]],
    asked: Callable[[Said], bool],
    right: Callable[[Said], bool],
    guessed: Callable[[Said], bool],
) -> dict[str, Any] | None:
    """One score of all trainings; None where it is asked of no caption."""
    rows = [[one for one in said if asked(one)] for said in ours]
    if not rows[0]:
        return None
    groups = [one.group for one in rows[0]]
    own = [_counts(said, right) for said in rows]
    majority = _counts(rows[0], guessed)
    other = [_counts([one for one in said if asked(one)], right) for said in others]
    return {
        "captions": len(groups),
        **_spread([float(each[:, 0].mean()) for each in own]),
        "majority": round(float(majority[:, 0].mean()), _DIGITS),
        "minus_majority": _difference(own, [majority], groups),
        "minus_other": _difference(own, other, groups) if other else None,
    }


def _counts(said: Sequence[Said], right: Callable[[Said], bool]) -> Counts:
    return np.array([[float(right(one)), 1.0] for one in said])


def _difference(first: Sequence[Counts], second: Sequence[Counts], groups: Sequence[str]) -> list[float | None]:
    if len(set(groups)) < 2:
        means = [fmean(float(each[:, 0].mean()) for each in part) for part in (first, second)]
        return [round(means[0] - means[1], _DIGITS) + 0.0, None, None]
    # Adding 0 makes 0 of -0.
    return [round(value, _DIGITS) + 0.0 for value in paired_statistic(first, second, ratio, groups)]


def _spread(values: Sequence[float]) -> dict[str, float | None]:
    return {
        "mean": round(fmean(values), _DIGITS),
        "std": round(stdev(values), _DIGITS) if len(values) > 1 else None,
    }
