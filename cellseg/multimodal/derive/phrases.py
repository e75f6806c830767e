"""Buckets of numbers and the phrases that say them; what a caption says can be read back from it."""

import hashlib
import re
from bisect import bisect_right
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TypeVar

from cellseg.errors import InputError
from cellseg.multimodal.derive.facts import ImageFacts

Value = TypeVar("Value", bound=Hashable)

# Smallest count of every bucket; the last has no end.
COUNT_STARTS = (0, 1, 2, 6, 11, 21, 51, 101, 201, 501)
# Bucket 0 is an image without a covered pixel, bucket i begins at COVER_STARTS[i - 1] percent of the area.
COVER_STARTS = (0, 5, 10, 20, 40, 60, 80)
# A statement about most cells is true above the second number, false below the first, and not made in between.
MOST = (0.4, 0.6)

_OPENINGS = (
    "The image shows {count}",
    "This picture contains {count}",
    "The field of view holds {count}",
    "A microscope image with {count}",
)
_MOSTLY = ("mostly of type", "mainly of type", "predominantly of type")
_TYPE_WORDS = (*_MOSTLY, "most of them")
_ONE_TYPE_WORDS = ("of type",)
_COVERS = (
    "They cover {cover} of the area",
    "Together they cover {cover} of the image",
    "The confluence is {cover}",
)
_COVERS_ALONE = (
    "The cells cover {cover} of the area",
    "Together the cells cover {cover} of the image",
    "The confluence is {cover}",
)
_ONE_COVERS = ("It covers {cover} of the area", "The confluence is {cover}")
# Of every trait its values and what is said for them.
TRAITS: dict[str, dict[str, tuple[str, ...]]] = {
    "size": {
        "small": ("Most cells are small", "The majority of the cells is small"),
        "large": ("Most cells are large", "The majority of the cells is large"),
    },
    "crowding": {
        "touching": ("Most cells touch a neighbour", "Most cells lie against each other"),
        "apart": ("Most cells touch no other cell", "Most cells stand alone"),
    },
    "shape": {
        "elongated": ("Most cells are elongated", "Most cells are much longer than wide"),
        "compact": ("Most cells are compact", "Most cells are about as long as wide"),
    },
}
# Question kind -> its phrasings.
QUESTIONS: dict[str, tuple[str, ...]] = {
    "cell_type": (
        "Which cell type is most frequent?",
        "Which type of cell is the most common?",
        "Of which type are most of the cells?",
    ),
    "count": ("How many cells are there?", "How many cells does the image show?", "What is the number of cells?"),
    "confluence": (
        "How confluent is the image?",
        "How much of the area do cells cover?",
        "Which part of the image is covered by cells?",
    ),
    "type_count": ("How many {value} cells are there?", "How many cells of type {value} are there?"),
    "has_type": ("Are there any {value} cells?", "Does the image show cells of type {value}?"),
    "more_than": ("Are there more than {value} cells?", "Does the image show more than {value} cells?"),
    "covers": ("Do cells cover at least {value} percent of the area?", "Is the confluence at least {value} percent?"),
    "small": ("Are most cells small?", "Is the majority of the cells small?"),
    "large": ("Are most cells large?", "Is the majority of the cells large?"),
    "touching": ("Do most cells touch a neighbour?", "Do most cells lie against each other?"),
    "elongated": ("Are most cells elongated?", "Are most cells much longer than wide?"),
}


@dataclass(frozen=True)
class Slots:
    """What a caption says; None where it says nothing.

    Attributes:
        count: bucket of the number of cells, a place in ``COUNT_STARTS``.
        cell_type: the type of most cells.
        confluence: bucket of the covered area: 0 for none, else 1 + a place in ``COVER_STARTS``.
        size: ``small`` or ``large``, of most cells.
        crowding: ``touching`` or ``apart``, of most cells.
        shape: ``elongated`` or ``compact``, of most cells.
    """

    count: int | None = None
    cell_type: str | None = None
    confluence: int | None = None
    size: str | None = None
    crowding: str | None = None
    shape: str | None = None


def slots_of(facts: ImageFacts) -> Slots:
    """What a caption can say about an image. A single cell or none has no traits: there is no majority of it."""
    slots = Slots(
        count=count_bucket(facts.count),
        cell_type=facts.dominant_type,
        confluence=cover_bucket(facts.covered_px, facts.height * facts.width),
    )
    if facts.count < 2:
        return slots
    size = "small" if mostly(facts.small) else "large" if mostly(facts.large) else None
    return replace(
        slots,
        size=size,
        crowding=_either(facts.touching, "touching", "apart"),
        shape=_either(facts.elongated, "elongated", "compact"),
    )


def mostly(fraction: float | None) -> bool | None:
    """Whether a fraction is a majority; None where it is near one half or not known."""
    if fraction is None or MOST[0] <= fraction <= MOST[1]:
        return None
    return fraction > MOST[1]


def _either(fraction: float | None, many: str, few: str) -> str | None:
    return {True: many, False: few, None: None}[mostly(fraction)]


def count_bucket(count: int) -> int:
    """Bucket of a number of cells."""
    return bisect_right(COUNT_STARTS, count) - 1


def count_range(bucket: int) -> tuple[int, int | None]:
    """Smallest and largest count of a bucket; None for no end."""
    last = None if bucket == len(COUNT_STARTS) - 1 else COUNT_STARTS[bucket + 1] - 1
    return COUNT_STARTS[bucket], last


def count_name(bucket: int) -> str:
    """A bucket of counts as an answer, for example ``6 to 10``."""
    low, high = count_range(bucket)
    if high is None:
        return f"more than {low - 1}"
    return str(low) if low == high else f"{low} to {high}"


def cover_bucket(covered_px: int, pixels: int) -> int:
    """Bucket of the covered area, from whole numbers, so that a share on an edge is not left to rounding."""
    return sum(100 * covered_px >= start * pixels for start in COVER_STARTS) if covered_px else 0


def cover_range(bucket: int) -> tuple[float, float]:
    """First and last percentage of a bucket; its end belongs to the next one, except 100."""
    if bucket == 0:
        return 0, 0
    return COVER_STARTS[bucket - 1], (*COVER_STARTS[1:], 100)[bucket - 1]


def cover_name(bucket: int) -> str:
    """A bucket of covered area as an answer, for example ``10 to 20 percent``."""
    return "none" if bucket == 0 else _cover_phrases(bucket)[0]


def spoken(name: str) -> str:
    """A type's name as it stands in texts: lower case, letters and digits, one space for all the rest."""
    return " ".join(re.sub(r"[\W_]+", " ", name.lower()).split())


def check_types(names: Sequence[str]) -> None:
    """Refuse types that texts could not tell apart.

    Raises:
        InputError: two names are the same when spoken, or one has neither letters nor digits.
    """
    heard: dict[str, str] = {}
    for name in names:
        if not spoken(name):
            raise InputError(f"cell type {name!r} has neither letters nor digits to write about; rename it in the data")
        if spoken(name) in heard:
            raise InputError(f"cell types {heard[spoken(name)]!r} and {name!r} read the same in a text; rename one")
        heard[spoken(name)] = name


def hash_number(*key: object) -> int:
    """The same large number for the same key on every machine."""
    return int.from_bytes(hashlib.sha256("\x1f".join(map(str, key)).encode()).digest()[:8], "big")


def choose(options: Sequence[Value], *key: object) -> Value:
    """One of the options, the same for the same key."""
    return options[hash_number(*key) % len(options)]


def caption(slots: Slots, *key: object) -> str:
    """Write what is in the slots; ``parse_caption`` reads it back.

    Args:
        slots: a count of 0 has nothing else to say, and a single cell no traits; without a count there are several.
        key: decides between phrasings.
    """
    one = slots.count == count_bucket(1)
    sentences = []
    if slots.count is not None:
        counted = choose(_count_phrases(slots.count), "count", *key)
        sentences.append(choose(_OPENINGS, "opening", *key).format(count=counted))
    if slots.cell_type is not None:
        if sentences:
            words = choose(_ONE_TYPE_WORDS if one else _TYPE_WORDS, "type", *key)
            sentences[0] += f", {words} {spoken(slots.cell_type)}"
        else:
            sentences.append(f"The cells are {choose(_MOSTLY, 'type', *key)} {spoken(slots.cell_type)}")
    if slots.confluence:
        covers = _ONE_COVERS if one else _COVERS if sentences else _COVERS_ALONE
        said = choose(_cover_phrases(slots.confluence), "cover", *key)
        sentences.append(choose(covers, "covers", *key).format(cover=said))
    for trait, phrases in TRAITS.items():
        value = getattr(slots, trait)
        if value is not None:
            sentences.append(choose(phrases[value], trait, *key))
    return ". ".join(sentences) + "."


def parse_caption(text: str, type_names: Sequence[str]) -> Slots:
    """Read a caption of any origin.

    Upper case, punctuation and other words around the phrases do not matter. A slot is None where none of its phrases
    occurs, or phrases of different values do.

    Args:
        text: the caption.
        type_names: types that it may name.
    """
    text = " . ".join(spoken(sentence) for sentence in re.split(r"[.!?;]", text.replace("%", " percent")))
    cell_type = None
    if type_names:
        # A type may be named like anything that captions say: what names it is taken out before the rest is read.
        pattern, names = _type_pattern(tuple(type_names))
        cell_type = _only({names[match["name"]] for match in pattern.finditer(text)})
        text = pattern.sub(" . ", text)
    count = _find(text, {bucket: _count_phrases(bucket) for bucket in range(len(COUNT_STARTS))})
    cover = _find(text, {bucket: _cover_phrases(bucket) for bucket in range(1, len(COVER_STARTS) + 1)})
    traits = {trait: _find(text, phrases) for trait, phrases in TRAITS.items()}
    return Slots(count, cell_type, 0 if count == 0 and cover is None else cover, **traits)


def question(kind: str, value: object, *key: object) -> str:
    """Ask a question of a kind.

    Args:
        kind: a key of ``QUESTIONS``.
        value: the type or number that it asks about; a type is given as it is spoken.
        key: decides between phrasings.
    """
    return choose(QUESTIONS[kind], "question", kind, *key).format(value=value)


def _count_phrases(bucket: int) -> tuple[str, ...]:
    low, high = count_range(bucket)
    if high is None:
        return (f"more than {low - 1} cells", f"over {low - 1} cells")
    if low == high:
        return ("no cells",) if low == 0 else ("a single cell", "one cell")
    return (f"{low} to {high} cells", f"between {low} and {high} cells")


def _cover_phrases(bucket: int) -> tuple[str, ...]:
    low, high = cover_range(bucket)
    if low == 0:
        return (f"under {high} percent", f"less than {high} percent")
    if high == 100:
        return (f"{low} percent or more", f"at least {low} percent")
    return (f"{low} to {high} percent", f"between {low} and {high} percent")


@cache
def _type_pattern(type_names: tuple[str, ...]) -> tuple[re.Pattern[str], dict[str, str]]:
    names = {spoken(name): name for name in type_names}
    words = "|".join((*_TYPE_WORDS, *_ONE_TYPE_WORDS))
    return re.compile(rf"\b(?:{words}) (?P<name>{_alternatives(names)})\b"), names


def _alternatives(texts: Sequence[str] | Mapping[str, object]) -> str:
    # The longest first: "neuron like" is not "neuron".
    return "|".join(re.escape(text) for text in sorted(texts, key=lambda text: (-len(text), text)))


def _find(text: str, phrases: Mapping[Value, Sequence[str]]) -> Value | None:
    """The value whose phrases occur, if there is exactly one."""
    values = {spoken(phrase): value for value, variants in phrases.items() for phrase in variants}
    pattern = re.compile(rf"\b(?:{_alternatives(values)})\b")
    return _only({values[match.group()] for match in pattern.finditer(text)})


def _only(values: set[Value]) -> Value | None:
    return next(iter(values)) if len(values) == 1 else None
