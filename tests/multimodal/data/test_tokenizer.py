"""Tokenizer: encode and decode, special tokens that no text can forge, stored as text."""

import pytest

from cellseg.errors import InputError
from cellseg.multimodal.data.tokenizer import (
    BEGIN,
    END,
    PAD,
    SEPARATOR,
    SPECIAL,
    TEXTS_APART,
    UNKNOWN,
    WordPieceTokenizer,
    split_words,
)
from cellseg.multimodal.data.tokenizer_file import tokenizer_from_json

TEXTS = ["Two dogs play in the red box.", "the dogs' box, isn't it?", "a red dog plays"]


@pytest.fixture(scope="module")
def tokenizer():
    return WordPieceTokenizer.train(TEXTS, 200)


def test_special_tokens_stand_first(tokenizer):
    assert (PAD, UNKNOWN, BEGIN, END, SEPARATOR) == (0, 1, 2, 3, 4) and len(SPECIAL) == 5
    assert tokenizer.size == 5 + len(tokenizer.pieces)


@pytest.mark.parametrize(
    ("text", "decoded"),
    [
        ("Two dogs play in the red box.", "two dogs play in the red box."),
        ("  the\tRED\ndog ", "the red dog"),
        ("dög", "dog"),
        ("plays, in it", "plays, in it"),
    ],
)
def test_known_words_come_back(tokenizer, text, decoded):
    numbers = tokenizer.encode(text)
    assert numbers[0] == BEGIN and numbers[-1] == END and UNKNOWN not in numbers
    assert tokenizer.decode(numbers) == decoded


def test_unknown_words_are_said_to_be(tokenizer):
    numbers = tokenizer.encode("the zebra")
    assert numbers.count(UNKNOWN) == 1 and tokenizer.decode(numbers) == "the [UNK]"


def test_an_unseen_word_is_cut_into_known_pieces(tokenizer):
    assert "redog" not in tokenizer.pieces
    numbers = tokenizer.encode("redog")
    assert UNKNOWN not in numbers and len(numbers) > 3 and tokenizer.decode(numbers) == "redog"


@pytest.mark.parametrize("name", SPECIAL)
def test_no_text_becomes_a_special_token(tokenizer, name):
    trained = WordPieceTokenizer.train([*TEXTS, f"dogs {name} dogs"] * 3, 200)
    for words in (tokenizer, trained):
        inner = words.encode(f"the {name} dog")[1:-1]
        assert not {PAD, BEGIN, END, SEPARATOR} & set(inner)
    assert trained.decode(trained.encode(f"the {name} dog")).count("dog") == 1


@pytest.mark.parametrize("length", [2, 3, 5])
def test_long_texts_lose_their_end_but_not_the_mark_of_it(tokenizer, length):
    numbers = tokenizer.encode("Two dogs play in the red box", length)
    assert len(numbers) == length and numbers[0] == BEGIN and numbers[-1] == END
    assert numbers[:-1] == tokenizer.encode("Two dogs play in the red box")[: length - 1]


def test_an_empty_text_is_begin_and_end(tokenizer):
    assert tokenizer.encode("") == [BEGIN, END] and tokenizer.decode([BEGIN, END]) == ""


def test_decoding_stops_at_the_first_end_and_skips_padding(tokenizer):
    red, dog = (tokenizer.encode(word)[1] for word in ("red", "dog"))
    assert tokenizer.decode([PAD, BEGIN, red, SEPARATOR, dog, END, dog, END]) == "red dog"


def test_equal_texts_give_equal_tokenizers(tokenizer):
    again = WordPieceTokenizer.train(reversed(TEXTS), 200)
    assert again.to_json() == tokenizer.to_json()


def test_it_travels_as_text(tokenizer):
    again = tokenizer_from_json(tokenizer.to_json())
    assert again.size == tokenizer.size
    assert again.encode("a red zebra plays") == tokenizer.encode("a red zebra plays")


def test_the_size_is_kept(tokenizer):
    small = WordPieceTokenizer.train(TEXTS, 30)
    assert small.size == 30 and tokenizer.size <= 200


def test_words_are_split_at_blanks_and_punctuation():
    assert split_words("Isn't  it, Élan?") == ["isn", "'", "t", "it", ",", "elan", "?"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: WordPieceTokenizer.train(TEXTS, 5),
            "source.vocabulary: expected more than the 5 special tokens, found 5",
        ),
        (lambda: WordPieceTokenizer.train(["", " "], 50), "no word in the texts of the training split to learn"),
        (lambda: tokenizer_from_json("{"), "tokenizer: damaged, expected the text that the training stored"),
        (lambda: tokenizer_from_json("{}"), "tokenizer: damaged, expected the text that the training stored"),
        (lambda: tokenizer_from_json('{"pieces": [3]}'), "tokenizer: damaged, its pieces are no texts"),
        (lambda: WordPieceTokenizer(["a", "a"]), "tokenizer: a piece stands in the vocabulary twice"),
    ],
)
def test_what_cannot_be_a_tokenizer(call, message):
    with pytest.raises(InputError) as error:
        call()
    assert str(error.value).startswith(message)


def test_texts_that_are_one_input_have_a_separator_between_them(tokenizer):
    one, other = tokenizer.encode("a red box"), tokenizer.encode("dogs")
    both = tokenizer.encode(TEXTS_APART.join(["a red box", "dogs"]))
    assert both == [*one[:-1], SEPARATOR, *other[1:]]
    assert tokenizer.encode(f"{TEXTS_APART}dogs") == [BEGIN, SEPARATOR, *other[1:]]
    assert split_words(f"red{TEXTS_APART}dogs") == ["red", "dogs"]
