"""The package's YOLOX network (CSPDarknet, PAFPN, decoupled anchor-free head) for a choice of strides."""

from torch import nn
from yolox.models import YOLOPAFPN, YOLOX, YOLOXHead

from cellseg.models.yolox.settings import YoloxSettings

OBJECT_PRIOR = 1e-2  # probability that an untrained head gives to every place and class
NORM_EPSILON = 1e-3  # of batch normalisation, as the package sets it


def build_network(settings: YoloxSettings, num_classes: int) -> YOLOX:
    """An untrained network in training mode.

    Strides (8, 16, 32) are the package's networks, weight by weight. Strides (4, 8, 16) shift everything one level
    down: predictions start at a quarter of the resolution; the deepest stage, which nothing would read, is left out.
    """
    fine = settings.strides[0] == 4
    channels = [128, 256, 512] if fine else [256, 512, 1024]
    stages = ("dark2", "dark3", "dark4") if fine else ("dark3", "dark4", "dark5")
    common = dict(depthwise=settings.depthwise, act=settings.act)
    backbone = YOLOPAFPN(settings.depth, settings.width, in_features=stages, in_channels=channels, **common)
    backbone.backbone.out_features = stages
    if fine:
        backbone.backbone.dark5 = nn.Identity()
    head = YOLOXHead(num_classes, settings.width, strides=list(settings.strides), in_channels=channels, **common)
    network = YOLOX(backbone, head)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = NORM_EPSILON
            module.momentum = settings.norm_momentum
    network.head.initialize_biases(OBJECT_PRIOR)
    return network.train()
