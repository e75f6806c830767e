"""Words and n-grams of captions, as caption scores count them."""

from collections import Counter
from collections.abc import Sequence

from cellseg.errors import InputError
from cellseg.multimodal.data.tokenizer import split_words

Words = Sequence[str]
NGram = tuple[str, ...]


def caption_words(text: str) -> list[str]:
    """The words of a caption in small letters, without accents and punctuation.

    Cut as the models' tokenizer cuts ("man's" is two words, "t-shirt" too), so that a caption that a model writes word
    for word is equal to it. The usual evaluation cuts with a Java program (Penn Treebank rules), which leaves "t-shirt"
    and accents as they are; the scores of one text can differ in the third digit.
    """
    return [word for word in split_words(text) if any(letter.isalnum() for letter in word)]


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
