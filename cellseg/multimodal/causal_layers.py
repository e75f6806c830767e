"""Transformer layers for writing: a position sees what stands before it, and what was read once is kept."""

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from cellseg.multimodal.attention import check_heads

# Keys and values of what was read, float [B, heads, S, C / heads] each.
Read = tuple[Tensor, Tensor]


class KeptAttention(nn.Module):
    """Attention whose keys and values are computed apart, so that they can be kept from word to word.

    Args:
        width: length of a token.
        heads: must divide ``width``.
        dropout: share of the weights that are dropped in training.

    Raises:
        InputError: ``width`` is no multiple of ``heads``.
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.0):
        super().__init__()
        check_heads("KeptAttention", width, heads)
        self.heads = heads
        self.dropout = dropout
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def read(self, tokens: Tensor) -> Read:
        """Keys and values of tokens ``[B, S, C]``."""
        keys, values = self.key_value(tokens).chunk(2, dim=-1)
        return self._split(keys), self._split(values)

    def forward(self, queries: Tensor, read: Read, mask: Tensor | None = None) -> Tensor:
        """What the queries find: float ``[B, Q, C]``.

        Args:
            queries: float ``[B, Q, C]``.
            read: from ``read``, of S tokens.
            mask: bool, broadcast to ``[B, heads, Q, S]``, true where a query may look; it must see at least one token.
        """
        dropout = self.dropout if self.training else 0.0
        found = scaled_dot_product_attention(self._split(self.query(queries)), *read, attn_mask=mask, dropout_p=dropout)
        return self.out(found.transpose(1, 2).flatten(2))

    def _split(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class CausalLayer(nn.Module):
    """Self-attention over what was written, attention to a memory where there is one, feed-forward.

    Norms stand before each part ("pre-norm"), which trains without a warm-up: ``X' = X + Attention(LN(X))`` and so on;
    after the last layer one more norm is due.

    Args:
        width: length of a token.
        heads: must divide ``width``.
        feedforward: width of the hidden layer, as a multiple of ``width``.
        dropout: share of what is dropped in training, of the weights and before each addition.
        memory: whether the layer looks at a memory.
    """

    def __init__(self, width: int, heads: int, feedforward: int = 4, dropout: float = 0.0, memory: bool = True):
        super().__init__()
        self.own_norm = nn.LayerNorm(width)
        self.own_attention = KeptAttention(width, heads, dropout)
        self.memory_norm = nn.LayerNorm(width) if memory else None
        self.memory_attention = KeptAttention(width, heads, dropout) if memory else None
        self.feedforward = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, feedforward * width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(feedforward * width, width),
        )
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        tokens: Tensor,
        mask: Tensor | None = None,
        before: Read | None = None,
        memory: Read | None = None,
        memory_mask: Tensor | None = None,
    ) -> tuple[Tensor, Read]:
        """The tokens after the layer, and keys and values of all that was read so far.

        Args:
            tokens: float ``[B, T, C]``.
            mask: bool, broadcast to ``[B, heads, T, S + T]``: what a token may see of the S earlier ones and of these;
                None for everything.
            before: the keys and values that an earlier call returned, of S tokens.
            memory: from ``read`` of the layer's attention to the memory, of M tokens.
            memory_mask: bool ``[B, M]``.
        """
        inner = self.own_norm(tokens)
        read = self.own_attention.read(inner)
        if before is not None:
            read = (torch.cat([before[0], read[0]], dim=2), torch.cat([before[1], read[1]], dim=2))
        tokens = tokens + self.dropout(self.own_attention(inner, read, mask))
        if self.memory_attention is not None:
            found = self.memory_attention(self.memory_norm(tokens), memory, memory_mask[:, None, None])
            tokens = tokens + self.dropout(found)
        return tokens + self.dropout(self.feedforward(tokens)), read


def causal_mask(length: int, device: torch.device | None = None) -> Tensor:
    """Bool ``[T, T]``: row t is true up to column t."""
    return torch.ones(length, length, dtype=torch.bool, device=device).tril()
