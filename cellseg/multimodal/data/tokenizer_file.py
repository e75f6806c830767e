"""A tokenizer that came with pretrained weights: its words have the numbers that these weights were trained with."""

import json
from functools import lru_cache
from pathlib import Path

from cellseg.errors import InputError, MissingFileError
from cellseg.multimodal.data.tokenizer import TextTokenizer, WordPieceTokenizer

FILE = "tokenizer.json"
_FORMAT = "cellseg tokenizer file 1"
# What padding, begin and end are called by ALBERT, BERT and their kin; the end also separates the texts of a pair.
_UNKNOWN = ("<unk>", "[UNK]")
_RARE = "\u16a0\u2603"  # letters that hardly any vocabulary knows
_PAD, _BEGIN, _END = ("<pad>", "[PAD]"), ("[CLS]", "<s>", "[BEGIN]"), ("[SEP]", "</s>", "[END]")


class FileTokenizer(TextTokenizer):
    """A vocabulary of the library ``tokenizers``, as Hugging Face's folders of weights hold it in ``tokenizer.json``.

    Args:
        content: of the file.
        where: the file, for messages.

    Raises:
        InputError: no such vocabulary, or one without the special tokens of ALBERT or BERT.
    """

    def __init__(self, content: str, where: str = "tokenizer"):
        from tokenizers import Tokenizer

        try:
            tokenizer = Tokenizer.from_str(content)
        except Exception as error:  # the library raises nothing more special
            raise InputError(f"{where}: no tokenizer of the library tokenizers ({error})") from error
        # No text may say where it ends, and lengths are for the model to decide.
        tokenizer.encode_special_tokens = True
        tokenizer.no_truncation()
        tokenizer.no_padding()
        pad, begin, end = (_number_of(tokenizer.get_vocab(), names, where) for names in (_PAD, _BEGIN, _END))
        if pad != 0:
            raise InputError(f"{where}: its padding has the number {pad}; only tokenizers that pad with 0 can be used")
        # Which number the unknown has is the model's affair, and it may come out of a text.
        unknown = {tokenizer.token_to_id(name) for name in _UNKNOWN}
        added = tokenizer.get_added_tokens_decoder()
        others = [number for number, token in added.items() if token.special and number not in unknown]
        super().__init__(tokenizer, (pad, begin, end, end), others)
        try:
            self.encode(_RARE)
        except Exception as error:  # the library raises nothing more special
            raise InputError(f"{where}: cannot read letters that it does not know ({error})") from error
        self.content = content

    @classmethod
    def read(cls, path: str | Path) -> "FileTokenizer":
        """That of a ``tokenizer.json``, or of the folder that holds it.

        Raises:
            MissingFileError, InputError: there is no such file, or it cannot be used.
        """
        path = Path(path)
        path = path / FILE if path.is_dir() else path
        if not path.is_file():
            raise MissingFileError(f"source.tokenizer: {path}: no such file; give the tokenizer.json of your weights")
        try:
            return cls(path.read_text(encoding="utf-8"), str(path))
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: no tokenizer of the library tokenizers (not a text in UTF-8)") from error

    def to_json(self) -> str:
        """As text; ``tokenizer_from_json`` reads it."""
        return json.dumps({"format": _FORMAT, "tokenizer": self.content}, ensure_ascii=False)


@lru_cache(maxsize=4)
def tokenizer_from_json(text: str) -> TextTokenizer:
    """What ``to_json`` of any tokenizer gave.

    Raises:
        InputError: another text.
    """
    try:
        content = json.loads(text)
        if content.get("format") == _FORMAT:
            return FileTokenizer(content["tokenizer"])
        pieces = content["pieces"]
    except (AttributeError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise InputError("tokenizer: damaged, expected the text that the training stored") from error
    if not isinstance(pieces, list) or not all(isinstance(piece, str) and piece for piece in pieces):
        raise InputError("tokenizer: damaged, its pieces are no texts")
    return WordPieceTokenizer(pieces)


def _number_of(vocabulary: dict[str, int], names: tuple[str, ...], where: str) -> int:
    found = [vocabulary[name] for name in names if name in vocabulary]
    if not found:
        raise InputError(f"{where}: has none of the special tokens {', '.join(names)}, which ALBERT and BERT have")
    return found[0]
