"""CIDEr-D, how much a caption says what people say of this picture and not of others (Vedantam et al. 2015)."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from cellseg.multimodal.metrics.words import NGram, Words, check_captions, ngrams

LONGEST = 4
SIGMA = 6.0  # words of difference in length that a caption may have without losing much
_SCALE = 10.0


def cider_d(hypotheses: Sequence[Words], references: Sequence[Sequence[Words]]) -> list[float]:
    """CIDEr-D of each picture; the score of a set is their mean.

    For n = 1 to 4, captions are vectors over n-grams: count times ``log(N / df)``, where df of the N pictures have a
    true caption with that n-gram. With the caption's vector g and a true one s,
    ``CIDEr_n = mean_s exp(-d^2 / 2 sigma^2) (min(g, s) . s) / (|g| |s|)``, d being the difference in the number of
    word pairs; the score is 10 times the mean over n.

    Args:
        hypotheses: words of a caption for each of N pictures.
        references: words of the true captions of each picture, at least one.

    Returns:
        By picture a number of 0 to 10. With one picture all are 0: nothing tells its words from those of others.

    Raises:
        InputError: nothing to score, or a picture without a true caption.
    """
    check_captions(hypotheses, references)
    rarity = _rarity(references)
    return [
        sum(_similarity(_Caption(words, rarity), _Caption(reference, rarity)) for reference in row) / len(row)
        for words, row in zip(hypotheses, references, strict=True)
    ]


class _Caption:
    """A caption as vectors, one for each length of n-grams, with their norms and the number of its word pairs."""

    def __init__(self, words: Words, rarity: Mapping[NGram, float]):
        unseen = rarity[()]
        self.vectors = [
            {gram: count * rarity.get(gram, unseen) for gram, count in ngrams(words, length).items()}
            for length in range(1, LONGEST + 1)
        ]
        self.norms = [math.sqrt(sum(value**2 for value in vector.values())) for vector in self.vectors]
        self.pairs = max(0, len(words) - 1)


def _rarity(references: Sequence[Sequence[Words]]) -> dict[NGram, float]:
    """``log(N / df)`` of every n-gram; under the empty one that of what no true caption has (df = 1)."""
    pictures: Counter[NGram] = Counter()
    for row in references:
        grams = {gram for words in row for length in range(1, LONGEST + 1) for gram in ngrams(words, length)}
        pictures.update(grams)
    whole = math.log(len(references))
    return {gram: whole - math.log(count) for gram, count in pictures.items()} | {(): whole}


def _similarity(caption: _Caption, reference: _Caption) -> float:
    total = 0.0
    for index in range(LONGEST):
        own, other = caption.vectors[index], reference.vectors[index]
        product = sum(min(value, other[gram]) * other[gram] for gram, value in own.items() if gram in other)
        norms = caption.norms[index] * reference.norms[index]
        total += product / norms if norms else 0.0
    distance = caption.pairs - reference.pairs
    return _SCALE * total / LONGEST * math.exp(-(distance**2) / (2 * SIGMA**2))
