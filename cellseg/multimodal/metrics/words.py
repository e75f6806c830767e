"""Words and n-grams of captions, as caption scores count them."""

import re
from collections import Counter
from collections.abc import Sequence

from cellseg.errors import InputError

Words = Sequence[str]
NGram = tuple[str, ...]
# Words with inner apostrophes, hyphens, points and commas ("a man's t-shirt", "1,000", "3.5"); punctuation is left out,
# as the usual evaluation of captions leaves it out.
_WORD = re.compile(r"\w+(?:['’.,-]\w+)*")


def caption_words(text: str) -> list[str]:
    """The words of a caption in small letters, without punctuation.

    The usual evaluation cuts words with a Java program (Penn Treebank rules), which parts "man's" into two; the scores
    of one text can differ in the third digit.
    """
    return _WORD.findall(text.lower())


def ngrams(words: Words, length: int) -> Counter[NGram]:
    """How often each sequence of so many words stands in a text."""
    return Counter(tuple(words[start : start + length]) for start in range(len(words) - length + 1))


def check_captions(hypotheses: Sequence[Words], references: Sequence[Sequence[Words]]) -> None:
    """Refuse captions that cannot be scored.

    Args:
        hypotheses: words of a caption for each picture.
        references: words of the true captions of each picture.

    Raises:
        InputError: no picture, not as many pictures on both sides, or one without a true caption.
    """
    if not hypotheses or len(hypotheses) != len(references):
        raise InputError(f"expected references for each of {len(hypotheses)} captions, found {len(references)}")
    for index, row in enumerate(references):
        if not row:
            raise InputError(f"picture {index + 1} has no true caption to compare with")
