"""Cross-attention: every modality reads the tokens of the others, layer by layer."""

from collections.abc import Mapping

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from cellseg.errors import InputError
from cellseg.multimodal.attention import AttentionBlock, check_heads
from cellseg.multimodal.fusion.base import Fusion, repooled
from cellseg.multimodal.values import Fused, Tokens


@MODELS.register_module()
class CrossAttentionFusion(Fusion):
    """The cross-attention transformer of the visual-language model, for any number of modalities.

    In a layer, ``V' = LN(V + MHA(Q=V, K=V=T))`` and ``T' = LN(T + MHA(Q=T, K=V=V))``, both from the layer's inputs,
    then a feed-forward network with its own sum and normalisation. Of more than two modalities, each reads the
    concatenation of the others. At the end the pooled modalities are concatenated and projected.

    ``Fused.attention["image<-text/0"]`` holds the weights with which image tokens read text tokens in the first layer;
    over all sources together, those of a query sum to 1. A modality that finds no other reads nothing.

    Args:
        channels: see ``Fusion``.
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
        check_heads("CrossAttentionFusion", width, heads)
        if layers < 1:
            raise InputError(f"CrossAttentionFusion: layers {layers}: expected 1 or more")
        self.layers = nn.ModuleList(
            CrossAttentionLayer(self.names, width, heads, feedforward, dropout) for _ in range(layers)
        )
        self.join = nn.Linear(len(self.names) * width, width)

    def fuse(self, encoded: Mapping[str, Tokens], projected: Mapping[str, Tokens]) -> Fused:
        """See ``Fusion.fuse``."""
        tokens, attention = dict(projected), {}
        for index, layer in enumerate(self.layers):
            tokens, weights = layer(tokens)
            attention.update({f"{name}/{index}": weight for name, weight in weights.items()})
        pooled = self.join(torch.cat([each.pooled for each in tokens.values()], dim=1))
        return Fused(pooled, tokens, encoded, attention)


class CrossAttentionLayer(nn.Module):
    """One layer of ``CrossAttentionFusion``; a block for each modality."""

    def __init__(self, names: tuple[str, ...], width: int, heads: int, feedforward: int, dropout: float):
        super().__init__()
        self.blocks = nn.ModuleDict(
            {name: AttentionBlock(width, heads, feedforward, dropout, attends=len(names) > 1) for name in names}
        )

    def forward(self, tokens: Mapping[str, Tokens]) -> tuple[dict[str, Tokens], dict[str, Tensor]]:
        """Tokens of every modality after the layer, and weights ``[B, heads, Q, K]`` by ``reader<-source``."""
        changed, attention = {}, {}
        for name, own in tokens.items():
            others = {other: each for other, each in tokens.items() if other != name}
            if others:
                keys = torch.cat([each.values for each in others.values()], dim=1)
                key_mask = torch.cat([each.mask for each in others.values()], dim=1)
                values, weights = self.blocks[name](own.values, keys, key_mask)
                parts = weights.split([each.values.shape[1] for each in others.values()], dim=3)
                attention.update({f"{name}<-{other}": part for other, part in zip(others, parts, strict=True)})
            else:
                values, _ = self.blocks[name](own.values)
            changed[name] = repooled(values, own.mask)
        return changed, attention
