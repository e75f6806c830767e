"""Pairs of image and text for matching: what is true of the image, and the same with one visible fact changed."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from cellseg.multimodal.derive.facts import ImageFacts
from cellseg.multimodal.derive.phrases import (
    Slots,
    caption,
    choose,
    count_range,
    cover_range,
    slots_of,
)

CELLS = "cells"
# The facts that a text may be wrong about; ``cells`` is whether there are any.
FACTS = ("count", "cell_type", "confluence", CELLS)
# A changed count must be off by this part of the larger number, a changed confluence by so many percent of the area.
_VISIBLE_COUNT = 0.5
_VISIBLE_COVER = 10.0


@dataclass(frozen=True)
class Pair:
    """An image and a text.

    Attributes:
        key: id of the image.
        text: one caption.
        label: 1 where it is true of the image, 0 where not.
        fact: the fact in which the false text of this pair of pairs differs, one of ``FACTS``.
    """

    key: str
    text: str
    label: int
    fact: str


def make_pairs(images: Mapping[str, ImageFacts], seed: int = 0) -> list[Pair]:
    """True and false texts, as many of one as of the other.

    A false text says one fact otherwise than the true one beside it, and the rest in the same words. An image without
    cells, of which nothing but that can be said, gets the text of another image, and that one its text. The changed
    value is that of another image, so that false texts do not betray themselves by values that true ones never have,
    and is so far off that it can be seen.

    Args:
        images: facts of the images of one split by key; values come from no other split.
        seed: decides between phrasings and between possible values.
    """
    slots = {key: _plain(slots_of(facts)) for key, facts in images.items()}
    pairs = []
    for key, facts in images.items():
        for fact in ("count", "cell_type", "confluence") if facts.count else ():
            others = [getattr(other, fact) for other in slots.values() if _differs(fact, facts, getattr(other, fact))]
            if others:
                changed = replace(slots[key], **{fact: choose(others, "value", seed, key, fact)})
                pairs += _both(key, slots[key], changed, fact, seed)
    for empty, partner in _empty_images(images, seed):
        pairs += _both(empty, slots[empty], slots[partner], CELLS, seed)
        pairs += _both(partner, slots[partner], slots[empty], CELLS, seed)
    return pairs


def _plain(slots: Slots) -> Slots:
    return replace(slots, size=None, crowding=None, shape=None)


def _both(key: str, true: Slots, false: Slots, fact: str, seed: int) -> list[Pair]:
    return [
        Pair(key, caption(true, "pair", seed, key, fact), 1, fact),
        Pair(key, caption(false, "pair", seed, key, fact), 0, fact),
    ]


def _empty_images(images: Mapping[str, ImageFacts], seed: int) -> Iterator[tuple[str, str]]:
    """Each image without cells with one that has some."""
    full = [key for key, facts in images.items() if facts.count]
    for key, facts in images.items():
        if facts.count == 0 and full:
            yield key, choose(full, "partner", seed, key)


def _differs(fact: str, facts: ImageFacts, value: int | str | None) -> bool:
    """Whether a value of another image is visibly wrong for this one, which has cells."""
    if not value:  # no cells, nothing covered or no single type: never the change of one fact alone
        return False
    if fact == "cell_type":
        return facts.dominant_type not in (None, value)
    if fact == "count":
        low, high = count_range(value)
        off = max(low - facts.count, 0 if high is None else facts.count - high)
        return off >= _VISIBLE_COUNT * max(facts.count, low)
    low, high = cover_range(value)
    return max(low - 100 * facts.confluence, 100 * facts.confluence - high) >= _VISIBLE_COVER
