"""Backbones that keep the resolution which small cells need."""

from mmdet.models.backbones import ResNeSt, ResNet
from mmdet.models.backbones.resnest import Bottleneck as SplitAttentionBottleneck
from mmdet.models.backbones.resnet import BasicBlock
from mmengine.registry import MODELS
from torch import nn


@MODELS.register_module()
class FineStemResNet(ResNet):
    """ResNet without the pooling after its stem: features at strides 2, 4, 8, 16 instead of 4, 8, 16, 32.

    A Sartorius neuron is about 17 px wide: at stride 4 that leaves four samples across it. The 11th place of the
    Kaggle competition removed the stem's stride for the same reason. It lies in mmengine's root registry, so that
    mmdet and mmseg configs build it alike.

    Args:
        depth: 10 (one block a stage, for CPUs) or a depth of mmdet's ``ResNet``.
        **kwargs: the arguments of mmdet's ``ResNet``.
    """

    arch_settings = {10: (BasicBlock, (1, 1, 1, 1)), **ResNet.arch_settings}

    def __init__(self, depth: int, **kwargs):
        super().__init__(depth, **kwargs)
        self.maxpool = nn.Identity()


@MODELS.register_module()
class FineStemResNeSt(ResNeSt):
    """ResNeSt without the pooling after its stem: features at strides 2, 4, 8, 16, as in ``FineStemResNet``.

    Args:
        depth: 14 (one block a stage, for CPUs) or a depth of mmdet's ``ResNeSt``.
        **kwargs: the arguments of mmdet's ``ResNeSt``.
    """

    arch_settings = {14: (SplitAttentionBottleneck, (1, 1, 1, 1)), **ResNeSt.arch_settings}

    def __init__(self, depth: int, **kwargs):
        super().__init__(depth=depth, **kwargs)
        self.maxpool = nn.Identity()
