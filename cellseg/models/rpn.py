"""A region proposal network that leaves the finest feature map to the region heads."""

from mmdet.models.dense_heads import RPNHead
from mmengine.registry import MODELS
from torch import Tensor


@MODELS.register_module()
class CoarseRPNHead(RPNHead):
    """mmdet's ``RPNHead`` on all feature maps but the first ``skip``.

    At stride 2 the proposals of a small network cost more than everything else, and a 10 px cell is found at stride 4
    as well; its outline needs the finest map, which RoIAlign still reads.

    Args:
        skip: how many of the finest maps to leave out; the anchor generator's strides start after them.
        **kwargs: the arguments of ``RPNHead``.
    """

    def __init__(self, skip: int = 1, **kwargs):
        super().__init__(**kwargs)
        self.skip = skip

    def forward(self, x: tuple[Tensor, ...]) -> tuple[list[Tensor], list[Tensor]]:
        """Objectness and box deltas of the maps ``x[skip:]``."""
        return super().forward(x[self.skip :])
