"""Cross fusion: every modality weights the channels of the others."""

from collections.abc import Mapping

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from cellseg.multimodal.fusion.base import Fusion, hide_rows, hide_tokens, there
from cellseg.multimodal.values import Fused, Tokens


@MODELS.register_module()
class CrossWeightFusion(Fusion):
    """Channels of a modality are multiplied by weights from 0 to 2 that the others compute, then all are joined.

    ``x_m' = x_m * mean_n (2 sigmoid(W_mn x_n + b_mn))`` over the other modalities n that are present (1 if there is
    none), the same for the tokens of m; then the concatenation of all x' is projected.

    Args:
        channels: see ``Fusion``.
        width: see ``Fusion``.
    """

    def __init__(self, channels: Mapping[str, int], width: int):
        super().__init__(channels, width)
        self.weigh = nn.ModuleDict(
            {
                name: nn.ModuleDict({other: nn.Linear(width, width) for other in self.names if other != name})
                for name in self.names
            }
        )
        self.join = nn.Linear(len(self.names) * width, width)

    def fuse(self, encoded: Mapping[str, Tokens], projected: Mapping[str, Tokens]) -> Fused:
        """See ``Fusion.fuse``."""
        tokens = {}
        for name, each in projected.items():
            weights = self._channel_weights(name, projected)
            values = hide_tokens(each.values * weights.unsqueeze(1), each.mask)
            tokens[name] = Tokens(values, each.mask, each.pooled * weights)
        return Fused(self.join(torch.cat([each.pooled for each in tokens.values()], dim=1)), tokens, encoded)

    def _channel_weights(self, name: str, projected: Mapping[str, Tokens]) -> Tensor:
        """What the others make of the channels of a modality: ``[B, C]``."""
        pooled = projected[name].pooled
        total, count = torch.zeros_like(pooled), pooled.new_zeros(pooled.shape[0], 1)
        for other, weigh in self.weigh[name].items():
            rows = there(projected[other])
            total = total + hide_rows(2 * weigh(projected[other].pooled).sigmoid(), rows)
            count = count + rows.unsqueeze(-1)
        return torch.where(count > 0, total / count.clamp(min=1), torch.ones_like(total))
