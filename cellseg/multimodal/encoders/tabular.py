"""Encoder of a row of a table: demographics, laboratory values, photometry, measured features."""

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from cellseg.errors import InputError
from cellseg.multimodal.encoders.pooling import masked_tokens
from cellseg.multimodal.encoders.self_attention import MaskedTransformer
from cellseg.multimodal.values import Tokens, full_mask


@MODELS.register_module()
class TabularEncoder(nn.Module):
    """Numbers of which some are unknown: each feature a token, or all of them one token.

    Args:
        num_features: numbers of a row.
        width: channels of the tokens.
        kind: ``tokens`` (a known feature is a token that has looked at the other known ones: Gorishniy et al. 2021,
            FT-Transformer) or ``mlp`` (numbers and what is known of them go through one network to one token).
        layers: of the transformer, or hidden layers of the network.
        heads: of the transformer; must divide ``width``.
        dropout: share of what is dropped in training.

    Attributes:
        channels: ``width``.

    Raises:
        InputError: an option that cannot be used.
    """

    def __init__(
        self,
        num_features: int,
        width: int = 64,
        kind: str = "tokens",
        layers: int = 1,
        heads: int = 4,
        dropout: float = 0.1,
    ):
        super().__init__()
        if kind not in ("tokens", "mlp"):
            raise InputError(f"TabularEncoder: kind: expected 'tokens' or 'mlp', found {kind!r}")
        if num_features < 1:
            raise InputError(f"TabularEncoder: num_features {num_features}: expected 1 or more")
        self.channels = width
        self.network: nn.Module
        if kind == "tokens":
            self.network = _FeatureTokens(num_features, width, layers, heads, dropout)
        else:
            self.network = _FeatureNetwork(num_features, width, layers, dropout)

    def forward(self, values: Tensor, mask: Tensor | None = None) -> Tokens:
        """Tokens of rows.

        Args:
            values: float ``[B, F]``, standardised.
            mask: bool ``[B, F]``, true where a feature is known; None: all are. Unknown ones may hold anything.
        """
        mask = full_mask(values) if mask is None else mask
        return self.network(values.masked_fill(~mask, 0), mask)


class _FeatureTokens(nn.Module):
    """Feature f becomes ``value x scale_f + offset_f``, then attends to the others."""

    def __init__(self, num_features: int, width: int, layers: int, heads: int, dropout: float):
        super().__init__()
        bound = width**-0.5
        self.scale = nn.Parameter(torch.empty(num_features, width).uniform_(-bound, bound))
        self.offset = nn.Parameter(torch.empty(num_features, width).uniform_(-bound, bound))
        self.transformer = MaskedTransformer("TabularEncoder", width, layers, heads, dropout)

    def forward(self, values: Tensor, mask: Tensor) -> Tokens:
        tokens = values.unsqueeze(-1) * self.scale + self.offset
        return masked_tokens(self.transformer(tokens, mask), mask)


class _FeatureNetwork(nn.Module):
    """All numbers, and for each whether it is known, to one vector."""

    def __init__(self, num_features: int, width: int, layers: int, dropout: float):
        super().__init__()
        steps: list[nn.Module] = []
        for index in range(layers):
            inputs = width if index else 2 * num_features
            steps += [nn.Linear(inputs, width), nn.LayerNorm(width), nn.GELU(), nn.Dropout(dropout)]
        self.steps = nn.Sequential(*steps, nn.Linear(width if layers else 2 * num_features, width))

    def forward(self, values: Tensor, mask: Tensor) -> Tokens:
        vector = self.steps(torch.cat([values, mask.to(values.dtype)], dim=1))
        # A row of which nothing is known says nothing.
        return masked_tokens(vector.unsqueeze(1), mask.any(dim=1, keepdim=True))
