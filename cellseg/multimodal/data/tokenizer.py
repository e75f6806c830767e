"""Texts to numbers and back: WordPiece, trained on the texts of the training split."""

import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from cellseg.errors import InputError
from cellseg.multimodal.data.vocabulary import CONTINUED, learn_pieces

# In the order of their numbers.
SPECIAL = ("[PAD]", "[UNK]", "[BEGIN]", "[END]", "[SEP]")
PAD, UNKNOWN, BEGIN, END, SEPARATOR = range(len(SPECIAL))
# Stands between texts that are one input, such as a question and its hint: no letter of any text, a blank to Python.
TEXTS_APART = "\x1f"
_LARGEST_WORD = 100  # letters; longer ones are unknown


class TextTokenizer(ABC):
    """Texts to numbers and back, whatever the vocabulary: begin, the text, end.

    No text becomes a special token, even if it spells one: their numbers come from here alone.

    Args:
        tokenizer: of the library ``tokenizers``.
        special: numbers of padding, begin, end, and of what separates texts that are one input.
        others: of special tokens that have no use here.

    Attributes:
        size: tokens that there are, V.
        pad, begin, end, separator: see ``special``.
    """

    def __init__(self, tokenizer: Any, special: tuple[int, int, int, int], others: Iterable[int] = ()):
        self._tokenizer = tokenizer
        self.pad, self.begin, self.end, self.separator = special
        self._special = frozenset((*special, *others))
        self.size: int = tokenizer.get_vocab_size()

    def encode(self, text: str, max_length: int | None = None) -> list[int]:
        """Numbers of a text, from begin to end.

        Args:
            text: any; several with ``TEXTS_APART`` between them have a separator there.
            max_length: most numbers, begin and end included, at least 2; the rest of the text is left out.
        """
        numbers: list[int] = []
        for index, part in enumerate(text.split(TEXTS_APART)):
            numbers += [self.separator] if index else []
            # A vocabulary of sentence pieces may know its special tokens as pieces, too.
            numbers += [number for number in self._encode(part) if number not in self._special]
        if max_length is not None:
            numbers = numbers[: max_length - 2]
        return [self.begin, *numbers, self.end]

    def _encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def tokens(self, numbers: Iterable[int]) -> list[str]:
        """The token of each number, with the marks that the vocabulary has for special ones and parts of words."""
        return [self._tokenizer.id_to_token(number) for number in numbers]

    def decode(self, numbers: Iterable[int]) -> str:
        """The text of some numbers up to the first end, without begin, padding and separators; blanks as usual."""
        kept: list[int] = []
        for number in numbers:
            if number == self.end:
                break
            if number not in (self.pad, self.begin, self.separator):
                kept.append(int(number))
        return self._tokenizer.decode(kept, skip_special_tokens=False)

    @abstractmethod
    def to_json(self) -> str:
        """As text, which ``tokenizer_from_json`` reads."""


class WordPieceTokenizer(TextTokenizer):
    """Splits texts at blanks and punctuation, lowers their letters, and cuts words into the longest known pieces.

    Args:
        pieces: the vocabulary without the special tokens, which stand before it.
    """

    def __init__(self, pieces: Sequence[str]):
        from tokenizers import Tokenizer, decoders, models

        self.pieces = tuple(pieces)
        names = (*SPECIAL, *self.pieces)
        vocabulary = {name: number for number, name in enumerate(names)}
        if len(vocabulary) != len(names):
            raise InputError("tokenizer: a piece stands in the vocabulary twice")
        model = models.WordPiece(
            vocab=vocabulary,
            unk_token=SPECIAL[UNKNOWN],
            max_input_chars_per_word=_LARGEST_WORD,
            continuing_subword_prefix=CONTINUED,
        )
        tokenizer = Tokenizer(model)
        tokenizer.normalizer, tokenizer.pre_tokenizer = _word_splitting()
        tokenizer.decoder = decoders.WordPiece(prefix=CONTINUED, cleanup=True)
        super().__init__(tokenizer, (PAD, BEGIN, END, SEPARATOR))

    @classmethod
    def train(cls, texts: Iterable[str], size: int) -> "WordPieceTokenizer":
        """Learn the vocabulary.

        Args:
            texts: those of the training split.
            size: most tokens, special ones included.

        Raises:
            InputError: no room for any piece, or no text that holds a word.
        """
        if size <= len(SPECIAL):
            raise InputError(f"source.vocabulary: expected more than the {len(SPECIAL)} special tokens, found {size}")
        words: Counter[str] = Counter()
        for text in texts:
            words.update(split_words(text))
        if not words:
            raise InputError("no word in the texts of the training split to learn a vocabulary from")
        # Special names cannot come out of words: brackets are words of their own.
        return cls(learn_pieces(words, size - len(SPECIAL)))

    def to_json(self) -> str:
        """As text; ``tokenizer_from_json`` reads it."""
        return json.dumps({"format": "cellseg wordpiece 1", "pieces": self.pieces}, ensure_ascii=False)


def split_words(text: str) -> list[str]:
    """Words and punctuation marks of a text, without accents and capitals, as the tokenizer sees them."""
    normalizer, splitter = _word_splitting()
    return [
        word
        for part in text.split(TEXTS_APART)
        for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(part))
    ]


@lru_cache(maxsize=1)
def _word_splitting() -> tuple[Any, Any]:
    from tokenizers import normalizers, pre_tokenizers

    return normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()


@lru_cache(maxsize=4)
def _from_json(text: str) -> WordPieceTokenizer:
    try:
        pieces = json.loads(text)["pieces"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise InputError("tokenizer: damaged, expected the text that the training stored") from error
    if not isinstance(pieces, list) or not all(isinstance(piece, str) and piece for piece in pieces):
        raise InputError("tokenizer: damaged, its pieces are no texts")
    return WordPieceTokenizer(pieces)
