"""Small text encoders that are trained from nothing: a transformer and an LSTM."""

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from cellseg.errors import InputError
from cellseg.multimodal.encoders.pooling import masked_tokens
from cellseg.multimodal.encoders.recurrent import MaskedLSTM
from cellseg.multimodal.encoders.self_attention import MaskedTransformer
from cellseg.multimodal.values import Tokens, full_mask


@MODELS.register_module()
class TextTransformerEncoder(nn.Module):
    """Token and position embeddings, then a transformer whose layers normalise first.

    Args:
        vocabulary_size: tokens that there are.
        width: length of a token's vector.
        layers: of the transformer.
        heads: of its attention; must divide ``width``.
        max_length: tokens of the longest text.
        dropout: share of what is dropped in training.

    Attributes:
        channels: ``width``.

    Raises:
        InputError: an option that cannot be used.
    """

    def __init__(
        self,
        vocabulary_size: int,
        width: int = 128,
        layers: int = 2,
        heads: int = 4,
        max_length: int = 64,
        dropout: float = 0.1,
    ):
        super().__init__()
        self.channels = width
        self.max_length = max_length
        self.words = _word_vectors(vocabulary_size, width)
        self.positions = nn.Parameter(torch.randn(max_length, width) * 0.02)
        self.dropout = nn.Dropout(dropout)
        self.transformer = MaskedTransformer("TextTransformerEncoder", width, layers, heads, dropout)

    def forward(self, values: Tensor, mask: Tensor | None = None) -> Tokens:
        """Tokens of texts.

        Args:
            values: int64 ``[B, L]``.
            mask: bool ``[B, L]``, true where a token is real; None: everywhere.

        Raises:
            InputError: a text longer than ``max_length``.
        """
        length = values.shape[1]
        check_length("TextTransformerEncoder", length, self.max_length, "max_length")
        words = self.words(values)
        mask = full_mask(words) if mask is None else mask
        tokens = self.dropout(words + self.positions[:length])
        return masked_tokens(self.transformer(tokens, mask), mask)


@MODELS.register_module()
class LSTMEncoder(nn.Module):
    """Token embeddings, then an LSTM in both directions over the real tokens.

    Args:
        vocabulary_size: tokens that there are.
        width: length of a token's vector; even.
        layers: LSTMs one on another.
        dropout: share of the embeddings, and of what goes from one LSTM to the next, that is dropped in training.

    Attributes:
        channels: ``width``.

    Raises:
        InputError: ``width`` is odd.
    """

    def __init__(self, vocabulary_size: int, width: int = 128, layers: int = 1, dropout: float = 0.1):
        super().__init__()
        self.channels = width
        self.words = _word_vectors(vocabulary_size, width)
        self.dropout = nn.Dropout(dropout)
        self.lstm = MaskedLSTM(width, width, layers, dropout)
        self.norm = nn.LayerNorm(width)

    def forward(self, values: Tensor, mask: Tensor | None = None) -> Tokens:
        """Tokens of texts.

        Args:
            values: int64 ``[B, L]``.
            mask: bool ``[B, L]``, true where a token is real; None: everywhere.
        """
        words = self.words(values)
        mask = full_mask(words) if mask is None else mask
        return masked_tokens(self.norm(self.lstm(self.dropout(words), mask)), mask)


def check_length(owner: str, length: int, longest: int, option: str) -> None:
    """Refuse a text that has no position embeddings.

    Raises:
        InputError: names ``owner`` and ``option``.
    """
    if length > longest:
        raise InputError(f"{owner}: a text of {length} tokens, but {option} is {longest}; cut the text or raise it")


def _word_vectors(vocabulary_size: int, width: int) -> nn.Embedding:
    words = nn.Embedding(vocabulary_size, width)
    # torch begins with a standard deviation of 1, beside which position embeddings would not be heard.
    nn.init.normal_(words.weight, std=0.02)
    return words
