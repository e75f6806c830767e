"""Words of captions."""

import pytest

from cellseg.errors import InputError
from cellseg.multimodal.data.tokenizer import WordPieceTokenizer
from cellseg.multimodal.metrics.words import caption_words, check_captions, ngrams


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A man's t-shirt, red.", ["a", "man", "s", "t", "shirt", "red"]),
        ("1,000 cells (3.5 %) !", ["1", "000", "cells", "3", "5"]),
        ("  two\tdogs\n", ["two", "dogs"]),
        ("Ein Café", ["ein", "cafe"]),
        ("...", []),
        ("", []),
    ],
)
def test_words(text, words):
    assert caption_words(text) == words


def test_what_a_tokenizer_writes_word_for_word_has_the_same_words():
    text = "A man's t-shirt costs 3.5 dollars at the Café, he said."
    tokenizer = WordPieceTokenizer.train([text], 200)
    assert caption_words(tokenizer.decode(tokenizer.encode(text))) == caption_words(text)


def test_ngrams():
    assert ngrams("a b a b".split(), 2) == {("a", "b"): 2, ("b", "a"): 1}
    assert ngrams(["a"], 2) == {}


@pytest.mark.parametrize(
    ("hypotheses", "references", "message"),
    [
        ([], [], "expected references for each of 0 captions, found 0"),
        ([["a"]], [], "expected references for each of 1 captions, found 0"),
        ([["a"], ["b"]], [[["a"]], []], "picture 2 has no true caption to compare with"),
    ],
)
def test_captions_that_cannot_be_scored(hypotheses, references, message):
    with pytest.raises(InputError) as error:
        check_captions(hypotheses, references)
    assert str(error.value) == message
