"""ROUGE-L, the longest common sequence of words (Lin 2004), as it is used for captions."""

from collections.abc import Sequence

from cellseg.multimodal.metrics.words import Words, check_captions

BETA = 1.2  # how much more recall counts than precision


def rouge_l(hypotheses: Sequence[Words], references: Sequence[Sequence[Words]]) -> list[float]:
    """ROUGE-L of each picture; the score of a set is their mean.

    ``(1 + b^2) P R / (R + b^2 P)`` with the longest common subsequence as a share of the caption (P) and of a true
    caption (R), the best of each over the true captions.

    Args:
        hypotheses: words of a caption for each picture.
        references: words of the true captions of each picture, at least one.

    Returns:
        By picture a number of 0 to 1.

    Raises:
        InputError: nothing to score, or a picture without a true caption.
    """
    check_captions(hypotheses, references)
    return [_score(words, row) for words, row in zip(hypotheses, references, strict=True)]


def _score(words: Words, references: Sequence[Words]) -> float:
    common = [longest_common(words, reference) for reference in references]
    precision = max(common) / max(1, len(words))
    recall = max(count / max(1, len(reference)) for count, reference in zip(common, references, strict=True))
    if not precision or not recall:
        return 0.0
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def longest_common(first: Words, second: Words) -> int:
    """Words of the longest sequence that both texts hold in this order, with or without others in between."""
    lengths = [0] * (len(second) + 1)
    for word in first:
        before = 0
        for place, other in enumerate(second, 1):
            here = lengths[place]
            lengths[place] = before + 1 if word == other else max(lengths[place], lengths[place - 1])
            before = here
    return lengths[-1]
