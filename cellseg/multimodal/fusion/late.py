"""Late fusion: every modality decides by itself, the decisions are averaged."""

from collections.abc import Mapping

import torch
from mmengine.registry import MODELS
from torch import nn

from cellseg.errors import InputError
from cellseg.multimodal.fusion.base import Fusion, presence
from cellseg.multimodal.values import Fused, Tokens


@MODELS.register_module()
class LateFusion(Fusion):
    """A network for each modality by itself, and the weighted mean of what those present say.

    With a linear head behind it, this is the mean of every modality's own logits. Tokens come out as they were
    projected.

    Args:
        channels: see ``Fusion``.
        width: see ``Fusion``.
        weights: of every modality, from 0 on, such as a tuner found; None: all the same. Among the modalities that are
            present in a row they are scaled to a sum of 1.
        dropout: share of the hidden units that is dropped in training.

    Raises:
        InputError: weights of other modalities, below 0, or all 0.
    """

    def __init__(
        self,
        channels: Mapping[str, int],
        width: int,
        weights: Mapping[str, float] | None = None,
        dropout: float = 0.1,
    ):
        super().__init__(channels, width)
        weights = dict.fromkeys(self.names, 1.0) if weights is None else weights
        _check_weights(weights, self.names)
        # Not among the learned weights of a checkpoint: the config says them, also when they were tuned afterwards.
        self.register_buffer("weights", torch.tensor([float(weights[name]) for name in self.names]), persistent=False)
        self.decide = nn.ModuleDict(
            {
                name: nn.Sequential(nn.LayerNorm(width), nn.GELU(), nn.Dropout(dropout), nn.Linear(width, width))
                for name in self.names
            }
        )

    def fuse(self, encoded: Mapping[str, Tokens], projected: Mapping[str, Tokens]) -> Fused:
        """See ``Fusion.fuse``."""
        decisions = torch.stack([self.decide[name](each.pooled) for name, each in projected.items()], dim=1)
        shares = self.weights * presence(projected)
        # Where only modalities of weight 0 are present, there is no decision.
        shares = shares / shares.sum(dim=1, keepdim=True).clamp(min=torch.finfo(shares.dtype).tiny)
        return Fused((decisions * shares.unsqueeze(-1)).sum(dim=1), projected, encoded)


def _check_weights(weights: Mapping[str, float], names: tuple[str, ...]) -> None:
    if weights.keys() != set(names):
        raise InputError(
            f"LateFusion: weights of {', '.join(sorted(weights)) or 'nothing'}: expected one for each of "
            f"{', '.join(names)}"
        )
    # Written so that NaN fails as well.
    if not all(weight >= 0 for weight in weights.values()) or not 0 < sum(weights.values()) < float("inf"):
        raise InputError(f"LateFusion: weights {dict(weights)}: expected numbers from 0 on, not all of them 0")
