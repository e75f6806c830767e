"""Questions about an image with answers from its facts, balanced so that the question does not tell the answer."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median_low

from cellseg.multimodal.derive.facts import ImageFacts
from cellseg.multimodal.derive.phrases import (
    COUNT_STARTS,
    COVER_STARTS,
    count_bucket,
    count_name,
    cover_bucket,
    cover_name,
    hash_number,
    mostly,
    question,
    spoken,
)

YES, NO = "yes", "no"
# Kinds with an answer of yes or no; the others have a number of answers.
YES_NO = ("has_type", "more_than", "covers", "small", "large", "touching", "elongated")
# Kinds whose value is a whole number.
NUMBERED = ("more_than", "covers")
_MOST = ("small", "large", "touching", "elongated")


@dataclass(frozen=True)
class Question:
    """A question about one image.

    Attributes:
        key: id of the image.
        kind: a key of ``QUESTIONS``.
        value: the type or number that it asks about; empty for a kind that names none.
        text: the question.
        answer: the true answer.
    """

    key: str
    kind: str
    value: str
    text: str
    answer: str


def ask(facts: ImageFacts, type_names: Sequence[str], seed: int = 0) -> list[Question]:
    """Every question that the facts of an image answer.

    Types are asked for where there are several. Questions about most cells are left out where there are fewer than two
    cells or the share lies near one half, where nobody could see the answer.

    Args:
        facts: of the image.
        type_names: all known types.
        seed: decides between phrasings.
    """
    return [
        Question(facts.key, kind, value, question(kind, value, seed, facts.key, value), answer(facts, kind, value))
        for kind, value in _answerable(facts, type_names)
    ]


def _answerable(facts: ImageFacts, type_names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Kind and value of every question that has one clear answer."""
    if len(type_names) > 1:
        if facts.dominant_type is not None:
            yield "cell_type", ""
        for name in type_names:
            yield "type_count", spoken(name)
            yield "has_type", spoken(name)
    yield "count", ""
    yield "confluence", ""
    for start in COUNT_STARTS[3:]:
        yield "more_than", str(start - 1)
    for start in COVER_STARTS[1:]:
        yield "covers", str(start)
    for kind in _MOST if facts.count > 1 else ():
        if mostly(getattr(facts, kind)) is not None:
            yield kind, ""


def answer(facts: ImageFacts, kind: str, value: str) -> str | None:
    """What the facts of an image answer to a question, also to one that ``ask`` would not ask about them.

    Where nothing is clear the answer is a guess: the first of the most frequent types, and by more or less than half of
    the cells whether most are so. Of no cells, most are nothing.

    Args:
        facts: of the image.
        kind: a key of ``QUESTIONS``.
        value: see ``Question``; a whole number for ``more_than`` and ``covers``.

    Returns:
        The answer; None about a type that is not known, and about the most frequent one where there are no cells.
    """
    pixels = facts.height * facts.width
    if kind == "cell_type":
        most = max(facts.type_counts, key=lambda name: facts.type_counts[name], default=None)
        return None if most is None or facts.count == 0 else spoken(most)
    if kind in ("type_count", "has_type"):
        number = {spoken(name): number for name, number in facts.type_counts.items()}.get(value)
        if number is None:
            return None
        return count_name(count_bucket(number)) if kind == "type_count" else _yes_no(number > 0)
    if kind == "count":
        return count_name(count_bucket(facts.count))
    if kind == "confluence":
        return cover_name(cover_bucket(facts.covered_px, pixels))
    if kind == "more_than":
        return _yes_no(facts.count > int(value))
    if kind == "covers":
        return _yes_no(100 * facts.covered_px >= int(value) * pixels)
    return _yes_no((getattr(facts, kind) or 0) > 0.5)


def balance(questions: Iterable[Question], seed: int = 0) -> list[Question]:
    """Leave questions out until no answer stands out.

    Of the questions of one kind about one value ("more than 50 cells?"), each answer is kept at most as often as the
    (lower) median answer occurs: yes and no equally often, and of many answers none much more often than the others.
    Where only one answer occurs, its questions ask nothing and are left out. Which ones stay is decided by a hash.

    Args:
        questions: those of one split.
        seed: of the hash.

    Returns:
        The questions that stay, in their order.
    """
    questions = list(questions)
    alike: dict[tuple[str, str], dict[str, list[Question]]] = defaultdict(lambda: defaultdict(list))
    for item in questions:
        alike[item.kind, item.value][item.answer].append(item)
    kept: set[Question] = set()
    for by_answer in alike.values():
        most = median_low(len(items) for items in by_answer.values()) if len(by_answer) > 1 else 0
        for items in by_answer.values():
            order = sorted(
                items, key=lambda item: (hash_number("keep", seed, item.key, item.kind, item.value), item.key)
            )
            kept.update(order[:most])
    return [item for item in questions if item in kept]


def count_answers(asked: Sequence[Question], kept: Sequence[Question]) -> dict[str, dict[str, int | float]]:
    """How balanced questions are.

    Args:
        asked: all questions of a split.
        kept: those that stayed.

    Returns:
        By kind: ``asked``, ``kept``, ``answers`` (different ones) and ``majority``: which part of the kept questions
        one would answer right with the most frequent answer to the same question.
    """
    result = {}
    for kind in sorted({item.kind for item in asked}):
        mine = [item for item in kept if item.kind == kind]
        values: dict[str, Counter[str]] = defaultdict(Counter)
        for item in mine:
            values[item.value][item.answer] += 1
        right = sum(max(counts.values()) for counts in values.values())
        result[kind] = {
            "asked": sum(item.kind == kind for item in asked),
            "kept": len(mine),
            "answers": len({item.answer for item in mine}),
            "majority": round(right / len(mine), 4) if mine else 0.0,
        }
    return result


def _yes_no(true: bool) -> str:
    return YES if true else NO
