"""Accuracy of answers to questions about pictures (Antol et al. 2015)."""

from collections.abc import Sequence

from cellseg.errors import InputError


def vqa_accuracy(answers: Sequence[str], given: Sequence[Sequence[str]], leave_one_out: bool = False) -> list[float]:
    """How right each answer is.

    Args:
        answers: one to each question, normalised.
        given: by all annotators of each question, normalised, at least one.
        leave_one_out: as the official script counts: each annotator is left out in turn, the answer scored against the
            others, ``min(n / 3, 1)``, and the mean taken. Otherwise against all at once.

    Returns:
        By question ``min(n / 3, 1)`` where n annotators gave that answer; with a single annotator 1 or 0.

    Raises:
        InputError: not as many rows on both sides, or a question without any given answer.
    """
    if len(answers) != len(given):
        raise InputError(f"expected given answers to each of {len(answers)} questions, found {len(given)}")
    for index, row in enumerate(given):
        if not row:
            raise InputError(f"question {index + 1} has no given answer to compare with")
    return [_accuracy(answer, row, leave_one_out) for answer, row in zip(answers, given, strict=True)]


def _accuracy(answer: str, given: Sequence[str], leave_one_out: bool) -> float:
    count = sum(other == answer for other in given)
    if len(given) == 1:
        return float(count)
    if not leave_one_out:
        return min(count / 3, 1.0)
    return sum(min((count - (other == answer)) / 3, 1.0) for other in given) / len(given)
