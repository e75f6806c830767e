"""A UPerNet whose map has flows beside its classes."""

import torch
from mmengine.registry import MODELS
from mmseg.models.decode_heads import UPerHead
from mmseg.models.segmentors import EncoderDecoder
from mmseg.models.utils import resize
from torch import Tensor, nn

FLOW_CHANNELS = 2


@MODELS.register_module()
class FlowUPerHead(UPerHead):
    """UPerNet's head with two more channels: the flow (x, y) of every pixel, see ``cellseg.datasets.flows``.

    Args:
        flow_weight: weight of the mean squared error of the flow in the loss.
        **kwargs: the arguments of mmseg's ``UPerHead``.
    """

    def __init__(self, flow_weight: float = 2.0, **kwargs):
        super().__init__(**kwargs)
        self.flow_weight = flow_weight
        self.conv_flow = nn.Conv2d(self.channels, FLOW_CHANNELS, kernel_size=1)

    def forward(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """Logits of the classes, then the flow: ``[B, num_classes + 2, h, w]``."""
        features = self._forward_feature(inputs)
        return torch.cat([self.cls_seg(features), self.conv_flow(features)], dim=1)

    def loss_by_feat(self, seg_logits: Tensor, batch_data_samples: list) -> dict[str, Tensor]:
        """The loss of the classes, and ``loss_flow``."""
        losses = super().loss_by_feat(seg_logits[:, :-FLOW_CHANNELS], batch_data_samples)
        truth = torch.stack([sample.gt_flow.data for sample in batch_data_samples])
        found = resize(
            seg_logits[:, -FLOW_CHANNELS:], truth.shape[2:], mode="bilinear", align_corners=self.align_corners
        )
        losses["loss_flow"] = self.flow_weight * nn.functional.mse_loss(found, truth)
        return losses


@MODELS.register_module()
class FlowSegmentor(EncoderDecoder):
    """mmseg's encoder and decoder, whose predicted classes are read from the class channels only."""

    def postprocess_result(self, seg_logits: Tensor, data_samples: list | None = None) -> list:
        return super().postprocess_result(seg_logits[:, :-FLOW_CHANNELS], data_samples)
