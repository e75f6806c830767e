"""Attention between padded sequences of different lengths."""

import torch
from torch import Tensor, nn

from cellseg.errors import InputError


def open_empty_rows(mask: Tensor) -> Tensor:
    """A mask with at least one real token in every row, so that a softmax over it is defined.

    Args:
        mask: bool ``[B, L]``.

    Returns:
        Bool ``[B, L]``: the first token of rows without a real one counts as real, the rest is unchanged.
    """
    first = torch.arange(mask.shape[1], device=mask.device) == 0
    return mask | (~mask.any(dim=1, keepdim=True) & first)


def check_heads(owner: str, width: int, heads: int) -> None:
    """Refuse a width that the heads cannot share evenly.

    Raises:
        InputError: names ``owner``.
    """
    if width < 1 or heads < 1 or width % heads:
        raise InputError(f"{owner}: width {width} cannot be split among {heads} heads; choose a multiple")


class MultiHeadAttention(nn.Module):
    """Queries of one sequence look at the tokens of another (Vaswani et al. 2017, section 3.2).

    Args:
        width: length of a token, in both sequences.
        heads: must divide ``width``.
        dropout: share of the weights that are dropped in training.

    Raises:
        InputError: ``width`` is no multiple of ``heads``.
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.0):
        super().__init__()
        check_heads("MultiHeadAttention", width, heads)
        self.attend = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)

    def forward(self, queries: Tensor, keys: Tensor, key_mask: Tensor) -> tuple[Tensor, Tensor]:
        """What the queries read, and from where.

        Args:
            queries: float ``[B, Q, C]``.
            keys: float ``[B, K, C]``, which are also the values; K may be 0.
            key_mask: bool ``[B, K]``, true where a key is real; masked keys may hold anything.

        Returns:
            Float ``[B, Q, C]`` and weights ``[B, heads, Q, K]`` (in training, after dropout), which sum to 1 over the
            real keys. Both are 0 in rows that have no real key.
        """
        # A weight of 0 times NaN is NaN, so what is masked has to go before it is multiplied.
        keys = keys.masked_fill(~key_mask.unsqueeze(-1), 0)
        read, weights = self.attend(
            queries, keys, keys, key_padding_mask=~open_empty_rows(key_mask), average_attn_weights=False
        )
        empty = ~key_mask.any(dim=1)
        return read.masked_fill(empty[:, None, None], 0), weights.masked_fill(empty[:, None, None, None], 0)


class AttentionBlock(nn.Module):
    """One transformer layer: ``X' = LN(X + MHA(Q=X, K=V=Y))``, then ``LN(X' + FF(X'))``.

    Args:
        width: length of a token.
        heads: must divide ``width``.
        feedforward: width of the feed-forward network's hidden layer, as a multiple of ``width``.
        dropout: share of what is dropped in training, of the weights and before each addition.
        attends: without it there is no attention: ``X' = LN(X)``, as if every key were masked.
    """

    def __init__(self, width: int, heads: int, feedforward: int = 4, dropout: float = 0.0, attends: bool = True):
        super().__init__()
        self.attention = MultiHeadAttention(width, heads, dropout) if attends else None
        self.attention_norm = nn.LayerNorm(width)
        self.feedforward = nn.Sequential(
            nn.Linear(width, feedforward * width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(feedforward * width, width),
        )
        self.feedforward_norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, values: Tensor, keys: Tensor | None = None, key_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """The tokens after the layer, and the weights where it attends.

        Args:
            values: float ``[B, Q, C]``, X.
            keys: float ``[B, K, C]``, Y; given exactly if the block attends.
            key_mask: bool ``[B, K]``.

        Returns:
            Float ``[B, Q, C]`` and ``[B, heads, Q, K]`` (None if the block does not attend).
        """
        weights = None
        if self.attention is not None:
            read, weights = self.attention(values, keys, key_mask)
            values = values + self.dropout(read)
        values = self.attention_norm(values)
        return self.feedforward_norm(values + self.dropout(self.feedforward(values))), weights
