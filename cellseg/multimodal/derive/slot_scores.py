"""How right generated captions are: what they say, slot by slot, beside the facts of their images."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from cellseg.errors import InputError
from cellseg.io.files import read_json
from cellseg.multimodal.derive.dataset_files import FACTS
from cellseg.multimodal.derive.described import Wanted, check_asked, read_captions, read_described, read_wanted
from cellseg.multimodal.derive.facts import ImageFacts
from cellseg.multimodal.derive.phrases import Slots, count_range, cover_range, parse_caption, slots_of
from cellseg.multimodal.derive.prompts import PROMPTS, wanted_slots
from cellseg.multimodal.metrics import bleu, caption_words, cider_d, rouge_l

SLOTS = tuple(field.name for field in fields(Slots))
EVERY = "every"
_LISTED = 5


@dataclass(frozen=True)
class Said:
    """A caption beside what is true.

    Attributes:
        slots: what the caption says.
        facts: of the image.
        kind: of the prompt that it replies to, a key of ``PROMPTS``; empty for one that should say everything.
        group: of the image; images of one group are no independent evidence.
        text: the caption.
        references: those of the data set.
    """

    slots: Slots
    facts: ImageFacts
    kind: str = ""
    group: str = ""
    text: str = ""
    references: tuple[str, ...] = ()

    @property
    def truth(self) -> Slots:
        """What it should say."""
        slots = slots_of(self.facts)
        return wanted_slots(slots, self.kind) if self.kind else slots

    def asks(self, slot: str) -> bool:
        """Whether the slot is asked for."""
        return not self.kind or slot in PROMPTS[self.kind].slots

    def truth_of(self, slot: str) -> Any:
        """What is true of a slot that is asked for; None where nothing is, or it is not."""
        return getattr(self.truth, slot)

    @property
    def just(self) -> bool:
        """Whether it says all that is asked for, rightly, and nothing else."""
        return uttered(self.slots) == uttered(self.truth)


def score_captions(path: str | Path, root: str | Path) -> dict[str, Any]:
    """Score generated captions against a derived data set.

    Args:
        path: see ``read_captions``. Captions with a ``prompt`` reply to those of the data set, and are scored by what
            is asked for.
        root: folder of the data set.

    Returns:
        By split the number of ``images`` and what ``score_slots`` gives, every split of which an image is described
        must be described whole; by slot beside it ``majority``, the accuracy of who always states what is most often
        true of the training images; and ``overlap`` with the captions of the data set: ``bleu1`` to ``bleu4``,
        ``cider`` (CIDEr-D), ``rouge`` (ROUGE-L).
        Of replies to prompts also ``replies``, see ``score_replies``.

    Raises:
        MissingFileError, InputError: a file is missing or damaged, or images of a split have no caption.
    """
    result = {}
    for split, (said, train) in read_said(path, root).items():
        result[split] = {"images": len({one.facts.key for one in said}), **score_slots(said)}
        for slot in SLOTS:
            found = [one.truth_of(slot) for one in said if one.truth_of(slot) is not None]
            result[split][slot]["majority"] = _ratio(found.count(most_often(slot, train)), len(found))
        if any(one.kind for one in said):
            result[split]["replies"] = score_replies(said, train)
        result[split]["overlap"] = score_overlap(said)
    return result


def read_said(path: str | Path, root: str | Path) -> dict[str, tuple[list[Said], list[Said]]]:
    """Generated captions by split, beside those of the training images, of which only the truth counts.

    Args and errors as ``score_captions``; every split of which an image is described must be described whole.
    """
    types, described = read_described(root)
    prompted = _has_prompts(path)
    file_names, wanted = read_wanted(root, prompted)
    captions = read_captions(path, file_names)
    check_asked(path, captions, wanted)
    images = {image.image_id: image for image in described}
    unknown = next((one.image_id for one in wanted if one.image_id not in images), None)
    if unknown is not None:
        raise InputError(f"{Path(root) / FACTS}: has no facts of image {unknown}; run derive_text.py dataset again")
    splits: dict[str, list[Wanted]] = defaultdict(list)
    for one in wanted:
        splits[images[one.image_id].split].append(one)
    train = [Said(Slots(), images[one.image_id].facts, one.kind) for one in splits["train"]]
    result = {}
    for split, asked in splits.items():
        texts = [captions.get((one.image_id, one.prompt)) for one in asked]
        missing = [
            images[one.image_id].facts.key + (f" ({one.prompt})" if prompted else "")
            for one, text in zip(asked, texts, strict=True)
            if text is None
        ]
        if len(missing) == len(asked):
            continue
        if missing:
            more = f" and {len(missing) - _LISTED} more" if len(missing) > _LISTED else ""
            raise InputError(f"{path}: {split}: no caption of {', '.join(missing[:_LISTED])}{more}")
        said = [
            Said(
                parse_caption(text, types),
                images[one.image_id].facts,
                one.kind,
                one.group,
                text,
                tuple(one.references),
            )
            for one, text in zip(asked, texts, strict=True)
        ]
        result[split] = said, train
    return result


def _has_prompts(path: str | Path) -> bool:
    content = read_json(path)
    return isinstance(content, list) and any(isinstance(entry, dict) and entry.get("prompt") for entry in content)


def most_often(slot: str, train: Sequence[Said]) -> Any:
    """The value of a slot that is most often true, of equally frequent ones the smallest; None where none is."""
    found = [one.truth_of(slot) for one in train if one.truth_of(slot) is not None]
    return min(set(found), key=lambda value: (-found.count(value), value), default=None)


def score_overlap(said: Sequence[Said]) -> dict[str, float]:
    """``bleu1`` to ``bleu4``, ``cider`` and ``rouge`` of the words of captions; see ``metrics``."""
    words = [caption_words(one.text) for one in said]
    true = [[caption_words(text) for text in one.references] for one in said]
    scores = {f"bleu{length}": value for length, value in enumerate(bleu(words, true), 1)}
    scores |= {"cider": float(np.mean(cider_d(words, true))), "rouge": float(np.mean(rouge_l(words, true)))}
    return {name: round(float(value), 4) for name, value in scores.items()}


def score_slots(said: Sequence[Said]) -> dict[str, Any]:
    """Compare what captions say with what is true.

    Args:
        said: by caption.

    Returns:
        ``captions``, and by slot, of the captions that are asked for it: ``true`` (something is true), ``stated``
        (captions that say something), ``right``, ``accuracy`` (right of those with a truth; saying nothing is wrong),
        ``precision`` (right of those stated). For ``count`` and ``confluence`` also the ``error`` of what is stated:
        how many cells, or percent of the area, the truth lies outside of the stated bucket, as ``mean`` and ``median``.
        A ratio with nothing below the line is None.
    """
    result: dict[str, Any] = {"captions": len(said)}
    for slot in SLOTS:
        pairs = [(getattr(one.slots, slot), getattr(one.truth, slot)) for one in said if one.asks(slot)]
        true = sum(truth is not None for _, truth in pairs)
        stated = sum(text is not None for text, _ in pairs)
        right = sum(text is not None and text == truth for text, truth in pairs)
        result[slot] = {
            "true": true,
            "stated": stated,
            "right": right,
            "accuracy": _ratio(right, true),
            "precision": _ratio(right, stated),
        }
    counted, covered = ([one for one in said if one.asks(slot)] for slot in ("count", "confluence"))
    result["count"]["error"] = _errors(
        _outside(one.facts.count, *count_range(one.slots.count)) for one in counted if one.slots.count is not None
    )
    result["confluence"]["error"] = _errors(
        _outside(100 * one.facts.confluence, *cover_range(one.slots.confluence))
        for one in covered
        if one.slots.confluence is not None
    )
    return result


def score_replies(said: Sequence[Said], train: Sequence[Said]) -> dict[str, dict[str, float | int | None]]:
    """How many replies say all that is asked for, rightly, and nothing else.

    Args:
        said: replies of a split.
        train: of the training images, of which only the truth counts.

    Returns:
        By kind of prompt and for ``every`` one: ``replies``, ``accuracy``, and ``majority``, the accuracy of who
        replies to each kind what is most often true in the training.
    """
    result = {}
    guess = {kind: most_uttered(kind, train) for kind in PROMPTS}
    for name in (*PROMPTS, EVERY):
        chosen = [one for one in said if one.kind and name in (one.kind, EVERY)]
        if chosen:
            result[name] = {
                "replies": len(chosen),
                "accuracy": _ratio(sum(one.just for one in chosen), len(chosen)),
                "majority": _ratio(sum(uttered(one.truth) == guess[one.kind] for one in chosen), len(chosen)),
            }
    return result


def most_uttered(kind: str, train: Sequence[Said]) -> Slots | None:
    """What is most often the right reply to a kind of prompt, of equally frequent ones the first as text."""
    truths = [uttered(one.truth) for one in train if one.kind == kind]
    return min(set(truths), key=lambda value: (-truths.count(value), str(value)), default=None)


def uttered(slots: Slots) -> Slots:
    """What words there are for: that no area is covered follows from there being no cells."""
    return replace(slots, confluence=slots.confluence or None)


def _outside(value: float, low: float, high: float | None) -> float:
    """How far a value lies outside of a range; None is a range without end."""
    return max(low - value, 0 if high is None else value - high, 0)


def _errors(values: Iterable[float]) -> dict[str, float | None]:
    values = list(values)
    if not values:
        return {"mean": None, "median": None}
    return {"mean": round(float(np.mean(values)), 4), "median": round(float(np.median(values)), 4)}


def _ratio(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None
