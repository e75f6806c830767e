"""Mask R-CNN as a member: its detections, and its mask head's answer for any box."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from cellseg.datasets.transforms import magnify
from cellseg.members.base import Member
from cellseg.members.openmmlab import load_network, preprocess
from cellseg.members.pooling import FeatureLevel
from cellseg.members.stretch import stretch_grids
from cellseg.openmmlab import scope
from cellseg.structures import CropMasks

BOXES_AT_ONCE = 256


@dataclass
class MaskRCNNState:
    """Feature maps of one image; the network saw it magnified."""

    features: tuple[torch.Tensor, ...]
    image_size: tuple[int, int]
    sample: Any


class MaskRCNNMember(Member):
    """A trained Mask R-CNN of mmdet.

    Args:
        name: unique within the ensemble.
        config: the ``config.py`` that its training wrote.
        checkpoint: its ``best.pth``.
        device: torch device.
        score_floor: detections below it are not proposed.
        mask_margin: the mask head looks at boxes enlarged by this fraction of their size on each side, so that a box
            that is a little too small does not cut its cell.
        unsafe_load: load the checkpoint without torch's restriction to plain weights.
    """

    proposes = True

    def __init__(
        self,
        name: str,
        config: str,
        checkpoint: str,
        device: str = "cpu",
        score_floor: float = 0.05,
        mask_margin: float = 0.05,
        unsafe_load: bool = False,
    ):
        self.name = name
        self.device = device
        self.score_floor = score_floor
        self.mask_margin = mask_margin
        self.network = load_network(name, config, checkpoint, "mmdet", device, unsafe_load)
        self.model = self.network.model
        self.class_names = self.network.class_names
        self.magnification = float(self.network.config.get("magnification", 1.0))
        self.feature_channels = int(self.model.neck.out_channels)

    def identity(self) -> dict[str, Any]:
        return {
            **self.network.identity,
            "answers_version": self.answers_version,
            "score_floor": self.score_floor,
            "mask_margin": self.mask_margin,
        }

    @torch.no_grad()
    def encode(self, image: np.ndarray) -> MaskRCNNState:
        from mmdet.structures import DetDataSample

        magnified = magnify(image, self.magnification)
        seen = magnified.shape[:2]
        sample = DetDataSample(metainfo=dict(ori_shape=seen, img_shape=seen, scale_factor=(1.0, 1.0)))
        with scope("mmdet"):
            features = self.model.extract_feat(preprocess(self.model, magnified, sample, self.device))
        return MaskRCNNState(features, image.shape[:2], sample)

    @torch.no_grad()
    def boxes(self, state: MaskRCNNState) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        with scope("mmdet"):
            proposals = self.model.rpn_head.predict(state.features, [state.sample], rescale=False)
            test = self.model.test_cfg.rcnn
            # The floor belongs to the ensemble: its tuner decides what a low score is worth.
            test = type(test)({**test, "score_thr": self.score_floor})
            found = self.model.roi_head.predict_bbox(
                state.features, [state.sample.metainfo], proposals, test, rescale=False
            )[0]
        boxes = found.bboxes / self.magnification
        limits = boxes.new_tensor(state.image_size[::-1]).repeat(2)
        boxes = torch.minimum(boxes.clamp(min=0), limits)
        kept = ((boxes[:, 2:] - boxes[:, :2]) >= 1).all(dim=1)  # a degenerate box can hold no cell
        return boxes[kept], found.scores[kept], found.labels[kept]

    @torch.no_grad()
    def evidence(
        self, state: MaskRCNNState, boxes: torch.Tensor, labels: torch.Tensor, windows: torch.Tensor
    ) -> tuple[CropMasks, torch.Tensor]:
        boxes, labels, windows = (part.to(self.device) for part in (boxes, labels, windows))
        if not len(boxes):
            return CropMasks.empty(state.image_size, torch.float32, windows.device), boxes.new_zeros(0)
        head = self.model.roi_head
        with scope("mmdet"):
            class_scores = head._bbox_forward(state.features, _rois(boxes * self.magnification))["cls_score"].softmax(
                dim=1
            )
            size = boxes[:, 2:] - boxes[:, :2]
            around = torch.cat([boxes[:, :2] - size * self.mask_margin, boxes[:, 2:] + size * self.mask_margin], dim=1)
            # In parts: the activations of 2000 boxes would fill gigabytes.
            parts = _rois(around * self.magnification).split(BOXES_AT_ONCE)
            logits = torch.cat([head._mask_forward(state.features, part)["mask_preds"] for part in parts])
        rows = torch.arange(len(boxes), device=boxes.device)
        channel = torch.zeros_like(labels) if head.mask_head.class_agnostic else labels
        grids = logits[rows, channel].sigmoid()
        return stretch_grids(grids, around, windows, state.image_size), class_scores[rows, labels]

    @torch.no_grad()
    def features(self, state: MaskRCNNState, boxes: torch.Tensor) -> torch.Tensor:
        """Of the finest level of its feature pyramid; see ``Member.features``."""
        cells = self.magnification / self.model.roi_head.bbox_roi_extractor.featmap_strides[0]
        return FeatureLevel(state.features[0][0], (cells, cells)).pool(boxes.to(self.device))


def _rois(boxes: torch.Tensor) -> torch.Tensor:
    """Boxes ``[N, 4]`` of one image as mmdet's ``[N, 5]`` with the batch index first."""
    return torch.cat([boxes.new_zeros(len(boxes), 1), boxes], dim=1)
