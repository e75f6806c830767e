"""Bilinear fusion: every channel of one modality meets every channel of the others, at low rank."""

from collections.abc import Mapping

import torch
from mmengine.registry import MODELS
from torch import nn

from cellseg.errors import InputError
from cellseg.multimodal.fusion.base import Fusion, there
from cellseg.multimodal.values import Fused, Tokens


@MODELS.register_module()
class BilinearFusion(Fusion):
    """Low-rank multimodal fusion (Liu et al. 2018): ``h = b + sum_r w_r prod_m (U_m,r [x_m; 1])``.

    That is the full product of all modalities with a weight tensor of rank ``rank``. Here x is the projected vector, h
    is layer-normalised, and an absent modality is left out of the product. Tokens come out as they were projected.

    Args:
        channels: see ``Fusion``.
        width: see ``Fusion``.
        rank: of the weight tensor.

    Raises:
        InputError: ``rank`` is below 1.
    """

    def __init__(self, channels: Mapping[str, int], width: int, rank: int = 8):
        super().__init__(channels, width)
        if rank < 1:
            raise InputError(f"BilinearFusion: rank {rank}: expected 1 or more")
        self.rank = rank
        self.factors = nn.ModuleDict({name: nn.Linear(width, rank * width) for name in self.names})
        self.rank_weights = nn.Parameter(torch.randn(rank) * rank**-0.5)
        self.bias = nn.Parameter(torch.zeros(width))
        self.norm = nn.LayerNorm(width)

    def fuse(self, encoded: Mapping[str, Tokens], projected: Mapping[str, Tokens]) -> Fused:
        """See ``Fusion.fuse``."""
        product = None
        for name, each in projected.items():
            factor = self.factors[name](each.pooled).unflatten(1, (self.rank, self.channels))
            factor = factor.masked_fill(~there(each)[:, None, None], 1)
            product = factor if product is None else product * factor
        mixed = torch.einsum("brc,r->bc", product, self.rank_weights)
        return Fused(self.norm(mixed + self.bias), projected, encoded)
