"""One transformer over the tokens of all modalities together."""

from collections.abc import Mapping

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from cellseg.errors import InputError
from cellseg.multimodal.attention import AttentionBlock, check_heads
from cellseg.multimodal.fusion.base import Fusion, repooled
from cellseg.multimodal.values import Fused, Tokens

_FUSED = "fused"  # the additional token that collects the answer


@MODELS.register_module()
class SharedTransformerFusion(Fusion):
    """All tokens in one sequence, each with the embedding of its modality, behind one token that collects the answer.

    ``Fused.attention["fused<-image/0"]`` holds the weights with which that token reads image tokens in the first layer;
    modalities read each other and themselves under names such as ``image<-text/0``.

    Args:
        channels: see ``Fusion``; no modality may be called "fused".
        width: see ``Fusion``; the width of all layers.
        layers: 1 or more.
        heads: must divide ``width``.
        feedforward: hidden units of the feed-forward networks, as a multiple of ``width``.
        dropout: share of what is dropped in training.

    Raises:
        InputError: an option that cannot be used.
    """

    def __init__(
        self,
        channels: Mapping[str, int],
        width: int,
        layers: int = 2,
        heads: int = 4,
        feedforward: int = 4,
        dropout: float = 0.1,
    ):
        super().__init__(channels, width)
        check_heads("SharedTransformerFusion", width, heads)
        if layers < 1:
            raise InputError(f"SharedTransformerFusion: layers {layers}: expected 1 or more")
        if _FUSED in channels:
            raise InputError(f"SharedTransformerFusion: a modality cannot be called {_FUSED!r}; choose another name")
        self.collector = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.modalities = nn.ParameterDict({name: torch.randn(width) * 0.02 for name in self.names})
        self.layers = nn.ModuleList(AttentionBlock(width, heads, feedforward, dropout) for _ in range(layers))

    def fuse(self, encoded: Mapping[str, Tokens], projected: Mapping[str, Tokens]) -> Fused:
        """See ``Fusion.fuse``."""
        masks = [each.mask for each in projected.values()]
        rows = masks[0].shape[0]
        marked = [each.values + self.modalities[name] for name, each in projected.items()]
        values = torch.cat([self.collector.expand(rows, -1, -1), *marked], dim=1)
        mask = torch.cat([masks[0].new_ones(rows, 1), *masks], dim=1)
        lengths = {_FUSED: 1, **{name: each.mask.shape[1] for name, each in projected.items()}}
        attention: dict[str, Tensor] = {}
        for index, layer in enumerate(self.layers):
            values, weights = layer(values, values, mask)
            attention.update({f"{name}/{index}": part for name, part in _by_pair(weights, lengths).items()})
        collected, *parts = values.split(list(lengths.values()), dim=1)
        tokens = {name: repooled(part, own) for name, part, own in zip(projected, parts, masks, strict=True)}
        return Fused(collected[:, 0], tokens, encoded, attention)


def _by_pair(weights: Tensor, lengths: Mapping[str, int]) -> dict[str, Tensor]:
    """Weights ``[B, heads, L, L]`` of all tokens as ``[B, heads, Q, K]`` by ``reader<-source``."""
    sizes = list(lengths.values())
    return {
        f"{reader}<-{source}": part
        for reader, rows in zip(lengths, weights.split(sizes, dim=2), strict=True)
        for source, part in zip(lengths, rows.split(sizes, dim=3), strict=True)
    }
