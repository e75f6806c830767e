"""The package's YOLOX network (CSPDarknet, PAFPN, decoupled anchor-free head) for a choice of strides."""

import torch
from torch import nn
from yolox.models import YOLOPAFPN, YOLOX, YOLOXHead

from cellseg.models.yolox.settings import YoloxSettings

OBJECT_PRIOR = 1e-2  # probability that an untrained head gives to every place and class
RADIUS = 2.5  # strides around a cell's centre
NORM_EPSILON = 1e-3  # of batch normalisation, as the package sets it


class CellHead(YOLOXHead):
    """The package's head, its slowest and largest step rewritten for hundreds of cells and thousands of places."""

    def get_in_boxes_info(
        self,
        gt_bboxes_per_image: torch.Tensor,
        expanded_strides: torch.Tensor,
        x_shifts: torch.Tensor,
        y_shifts: torch.Tensor,
        total_num_anchors: int,
        num_gt: int,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Which places may answer for which cell: those in its box or within 2.5 strides of its centre.

        The same comparisons as the package's, without its sixteen float matrices of cells x places.

        Args:
            gt_bboxes_per_image: ``[N, 4]``, centre and size.
            expanded_strides, x_shifts, y_shifts: ``[1, A]``, stride and column and row of each place.
            total_num_anchors: A.
            num_gt: N.

        Returns:
            Bool ``[A]``, places that may answer for any cell; bool ``[N, number of those]``, which of them lie both in
            the box and near the centre.
        """
        strides = expanded_strides[0]
        in_box = near_centre = True
        for axis, shifts in enumerate((x_shifts[0], y_shifts[0])):
            place = shifts * strides + 0.5 * strides
            centre, half = gt_bboxes_per_image[:, axis, None], 0.5 * gt_bboxes_per_image[:, axis + 2, None]
            in_box = in_box & (place > centre - half) & (place < centre + half)
            near_centre = near_centre & (place > centre - RADIUS * strides) & (place < centre + RADIUS * strides)
        candidates = in_box.any(dim=0) | near_centre.any(dim=0)
        return candidates, in_box[:, candidates] & near_centre[:, candidates]


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
    head = CellHead(num_classes, settings.width, strides=list(settings.strides), in_channels=channels, **common)
    network = YOLOX(backbone, head)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = NORM_EPSILON
            module.momentum = settings.norm_momentum
    network.head.initialize_biases(OBJECT_PRIOR)
    return network.train()
