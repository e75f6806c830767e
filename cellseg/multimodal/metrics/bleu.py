"""BLEU of a set of captions (Papineni et al. 2002)."""

import math
from collections import Counter
from collections.abc import Sequence

from cellseg.multimodal.metrics.words import NGram, Words, check_captions, ngrams

LONGEST = 4


def bleu(hypotheses: Sequence[Words], references: Sequence[Sequence[Words]]) -> tuple[float, ...]:
    """BLEU-1 to BLEU-4 over all pictures together.

    BLEU-n is ``BP exp(mean_k log p_k)`` for k = 1 to n, where ``p_k`` is the share of the k-grams of all captions that
    a true caption of the same picture holds (each as often as the one true caption that has it most often), and the
    brevity penalty is ``BP = min(1, exp(1 - r / c))`` with c the words of all captions and r those of the true captions
    that are nearest in length (of two equally near ones the shorter).

    Args:
        hypotheses: words of a caption for each picture.
        references: words of the true captions of each picture, at least one.

    Returns:
        Four numbers of 0 to 1. 0 where no n-gram is right, without smoothing.

    Raises:
        InputError: nothing to score, or a picture without a true caption.
    """
    check_captions(hypotheses, references)
    right, total = [0] * LONGEST, [0] * LONGEST
    length = reference_length = 0
    for words, row in zip(hypotheses, references, strict=True):
        length += len(words)
        reference_length += min((abs(len(reference) - len(words)), len(reference)) for reference in row)[1]
        for index in range(LONGEST):
            found = ngrams(words, index + 1)
            right[index] += (found & _most(row, index + 1)).total()
            total[index] += found.total()
    if length == 0:
        return (0.0,) * LONGEST
    penalty = min(1.0, math.exp(1 - reference_length / length))
    scores, product = [], 1.0
    for index in range(LONGEST):
        product *= right[index] / total[index] if total[index] else 0.0
        scores.append(penalty * product ** (1 / (index + 1)))
    return tuple(scores)


def _most(references: Sequence[Words], length: int) -> Counter[NGram]:
    """How often each n-gram stands in the true caption that has it most often."""
    most: Counter[NGram] = Counter()
    for reference in references:
        most |= ngrams(reference, length)
    return most
