"""Gated fusion: a network decides, channel by channel, how much of which modality to take."""

from collections.abc import Mapping

import torch
from mmengine.registry import MODELS
from torch import nn

from cellseg.multimodal.fusion.base import Fusion, pooled_vectors, presence
from cellseg.multimodal.values import Fused, Tokens


@MODELS.register_module()
class GatedFusion(Fusion):
    """Gated multimodal unit (Arevalo et al. 2017): ``h = sum_m z_m tanh(W_m x_m)``, z a softmax over modalities.

    z is computed from all x, for each channel, among the modalities that are present (for two of them, the sigmoid of
    the paper). Tokens come out as they were projected.

    Args:
        channels: see ``Fusion``.
        width: see ``Fusion``.
    """

    def __init__(self, channels: Mapping[str, int], width: int):
        super().__init__(channels, width)
        self.gate = nn.Linear(sum(channels.values()), len(self.names) * width)

    def fuse(self, encoded: Mapping[str, Tokens], projected: Mapping[str, Tokens]) -> Fused:
        """See ``Fusion.fuse``."""
        there = presence(encoded).unsqueeze(-1)
        scores = self.gate(torch.cat([each.pooled for each in encoded.values()], dim=1))
        scores = scores.unflatten(1, (len(self.names), self.channels))
        # Not minus infinity, whose softmax would be NaN in a row without any modality; the vectors there are all 0.
        shares = scores.masked_fill(~there, torch.finfo(scores.dtype).min).softmax(dim=1)
        return Fused((shares * pooled_vectors(projected).tanh()).sum(dim=1), projected, encoded)
