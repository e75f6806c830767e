"""Sentences of a report: exact numbers about one image, and about all images together."""

from collections.abc import Sequence

import numpy as np

from cellseg.multimodal.derive.facts import ImageFacts

_LISTED = 8
# Scores below this are pointed out: the cell is as likely to be none.
DOUBTFUL = 0.5


def describe_image(facts: ImageFacts, scores: Sequence[float] | None = None) -> list[str]:
    """What can be said about an image.

    Args:
        facts: of the image.
        scores: confidence of each cell, 0 to 1; None where they are not known.
    """
    if facts.count == 0:
        return ["No cells were found."]
    one = facts.count == 1
    sentences = [
        _count_sentence(facts),
        f"{'It covers' if one else 'They cover'} {percent(facts.confluence)} of the image.",
    ]
    if one:
        shape = "at least" if facts.elongated else "less than"
        sentences.append(f"Its area is {facts.areas['p50']:,.0f} px; it is {shape} twice as long as wide.")
    else:
        areas = facts.areas
        sentences += [
            f"The median area is {areas['p50']:,.0f} px; half of the cells have between {areas['p25']:,.0f} and "
            f"{areas['p75']:,.0f} px.",
            f"{_share(facts.touching, facts.count, 'touches', 'touch')} another cell, "
            f"{_share(facts.elongated, facts.count, 'is', 'are').lower()} at least twice as long as wide.",
        ]
    if scores:
        low = sum(score < DOUBTFUL for score in scores)
        doubt = f"; {_number(low)} below {DOUBTFUL:g}" if low else ""
        sentences.append(f"The {'' if one else 'median '}confidence is {float(np.median(scores)):.2f}{doubt}.")
    return sentences


def describe_images(images: Sequence[ImageFacts]) -> list[str]:
    """What can be said about all images together; at least one."""
    counts = [facts.count for facts in images]
    total = sum(counts)
    sentences = [f"{plural(len(images), 'image')} with {plural(total, 'cell')} in total."]
    if len(images) > 1:
        sentences.append(
            f"An image has between {min(counts):,} and {max(counts):,} cells, "
            f"{float(np.median(counts)):,g} in the median."
        )
        confluences = [facts.confluence for facts in images]
        sentences.append(
            f"Cells cover between {percent(min(confluences))} and {percent(max(confluences))} of an image, "
            f"{percent(float(np.median(confluences)))} in the median."
        )
    types = total_types(images)
    if total and len(types) > 1:
        shares = [f"{number:,} {name} ({percent(number / total)})" for name, number in _ranked(types) if number]
        sentences.append(f"By type there are {_list_words(shares)}.")
    empty = [facts.key for facts in images if facts.count == 0]
    if empty and total:
        sentences.append(f"No cells were found in {_list_words(_shorten(empty))}.")
    return sentences


def total_types(images: Sequence[ImageFacts]) -> dict[str, int]:
    """Cells of every known type in all images, in the order of the types."""
    totals: dict[str, int] = {}
    for facts in images:
        for name, number in facts.type_counts.items():
            totals[name] = totals.get(name, 0) + number
    return totals


def percent(fraction: float) -> str:
    """A fraction as a percentage with as many digits as it can bear."""
    value = 100 * fraction
    if 0 < value < 0.1:
        return "<0.1%"
    return f"{value:.1f}%" if 0 < value < 9.95 else f"{value:.0f}%"


def plural(number: int, noun: str) -> str:
    """For example ``1 cell`` or ``1,024 cells``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _count_sentence(facts: ImageFacts) -> str:
    found = f"{plural(facts.count, 'cell')} {'was' if facts.count == 1 else 'were'} found"
    kinds = [(name, number) for name, number in _ranked(facts.type_counts) if number]
    if not kinds:
        return f"{found}."
    if len(kinds) == 1:
        all_of = "" if facts.count == 1 else "all "
        return f"{found}, {all_of}of type {kinds[0][0]}."
    shares = [f"{number:,} of type {name} ({percent(number / facts.count)})" for name, number in kinds]
    return f"{found}: {_list_words(shares)}."


def _share(fraction: float, count: int, singular: str, many: str) -> str:
    number = round(fraction * count)
    if number == 0:
        return f"None {singular}"
    if number == count:
        return f"All {many}"
    return f"{number:,} ({percent(number / count)}) {singular if number == 1 else many}"


def _number(number: int) -> str:
    return "1 cell is" if number == 1 else f"{number:,} cells are"


def _ranked(types: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(types.items(), key=lambda item: (-item[1], item[0]))


def _shorten(names: Sequence[str]) -> list[str]:
    return list(names) if len(names) <= _LISTED else [*names[:_LISTED], f"{len(names) - _LISTED} more"]


def _list_words(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
