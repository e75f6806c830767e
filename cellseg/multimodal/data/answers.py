"""Answers to questions about pictures: one form for all spellings, the list to choose from, soft scores."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

_ARTICLES = {"a", "an", "the"}
_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_DIGITS = {"none": "0", **{word: str(number) for number, word in enumerate(_NUMBERS)}}
_BETWEEN_DIGITS = re.compile(r"(?<=\d),(?=\d)")
# Not the point of a number: 3.5, .5
_FULL_STOP = re.compile(r"\.(?!\d)")
_MARKS = re.compile(r"[;/\[\]\"{}()=\\_@`,?!-]")


def normalise_answer(text: str) -> str:
    """An answer without what does not change its meaning: capitals, punctuation, articles, numbers as words.

    After the evaluation of VQA (Antol et al. 2015). Its table of contractions without apostrophe ("dont") is left out.

    Examples:
        >>> normalise_answer("The two dogs.")
        '2 dogs'
    """
    text = _FULL_STOP.sub(" ", _MARKS.sub(" ", _BETWEEN_DIGITS.sub("", text.lower())))
    words = [_DIGITS.get(word, word) for word in text.split() if word not in _ARTICLES]
    # An answer that is nothing but an article is still an answer.
    return " ".join(words) or text.strip()


def collect_answers(rows: Iterable[Sequence[str]], most: int) -> tuple[str, ...]:
    """The answers to choose from.

    Args:
        rows: the answers of all annotators to each question of the training split.
        most: how many are kept.

    Returns:
        Normalised, the most frequent first, of equally frequent ones the alphabetically first.
    """
    counts = Counter(normalise_answer(answer) for row in rows for answer in row)
    return tuple(sorted(counts, key=lambda answer: (-counts[answer], answer))[:most])


def soft_scores(given: Sequence[str], answers: Sequence[str]) -> list[float]:
    """How right each of the answers to choose from is.

    Args:
        given: by all annotators; of one alone, his answer is right and every other wrong.
        answers: normalised.

    Returns:
        By answer ``min(n / 3, 1)`` where n annotators gave it.
    """
    counts = Counter(normalise_answer(answer) for answer in given)
    if len(given) == 1:
        return [float(counts[answer]) for answer in answers]
    return [min(counts[answer] / 3, 1.0) for answer in answers]
