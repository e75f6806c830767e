"""YOLOX as a member: proposes boxes, and answers with the mean shape of the box's cell type."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cellseg.errors import InputError
from cellseg.io.files import file_hash
from cellseg.members.base import Member
from cellseg.members.pooling import FEATURE_GRID, FeatureLevel
from cellseg.members.stretch import stretch_grids
from cellseg.metrics import box_iou
from cellseg.models.yolox.checkpoints import load_state
from cellseg.models.yolox.inference import TileLevel, read_image
from cellseg.models.yolox.network import build_network
from cellseg.models.yolox.settings import read_settings
from cellseg.structures import CropMasks
from cellseg.training.config import read_config


@dataclass(frozen=True)
class YoloxState:
    """Detections of one image after suppression, by descending score.

    Attributes:
        image_size: (height, width).
        boxes: float32 ``[N, 4]``, xyxy in pixels, inside the image.
        scores: float32 ``[N]``, objectness x class probability.
        labels: int64 ``[N]``.
        objectness: float32 ``[N]``.
        class_probabilities: float32 ``[N, K]``.
        levels: the finest output of the network's neck, one for each tile of the image.
    """

    image_size: tuple[int, int]
    boxes: torch.Tensor
    scores: torch.Tensor
    labels: torch.Tensor
    objectness: torch.Tensor
    class_probabilities: torch.Tensor
    levels: tuple[TileLevel, ...] = ()


class YoloxMember(Member):
    """A trained detector.

    Args:
        name: unique within the ensemble.
        config: the training's ``config.py`` (it is Python and gets executed).
        checkpoint: its ``best.pth``.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        score_floor: boxes below this score are not proposed and give no confidence.
        nms_iou: class-wise suppression above this IoU.
        match_iou: least IoU at which one of its own boxes stands for a given box.
        scale: magnification on top of the training's, for images of another resolution.
        tile: images whose magnified side exceeds this are read in tiles.
        unsafe_load: load the checkpoint without torch's restriction to plain weights: it can then execute anything.

    Raises:
        InputError: an option out of range, or files that cannot be used.
    """

    proposes = True
    answers_version = 2

    def __init__(
        self,
        name: str,
        config: str | Path,
        checkpoint: str | Path,
        device: str = "cpu",
        score_floor: float = 0.02,
        nms_iou: float = 0.65,
        match_iou: float = 0.5,
        scale: float = 1.0,
        tile: int = 2048,
        unsafe_load: bool = False,
    ):
        self.name = name
        self.options = dict(score_floor=score_floor, nms_iou=nms_iou, match_iou=match_iou, scale=scale, tile=tile)
        self._check_options()
        training = read_config(config)
        if training.get("engine") != "yolox" or "exp" not in training:
            raise InputError(f"{config}: not the config of a YOLOX training (engine = 'yolox' with exp=dict(...))")
        self.settings = read_settings(training.exp)
        state = load_state(checkpoint, unsafe=unsafe_load)
        self.hashes = dict(config=file_hash(config), checkpoint=file_hash(checkpoint))
        meta = state.get("meta")
        if not isinstance(meta, dict) or "shape_prior" not in meta or "class_names" not in meta:
            raise InputError(f"{checkpoint}: not the best.pth of a YOLOX training (it has no shape prior)")
        self.class_names = tuple(meta["class_names"])
        self.shape_prior = meta["shape_prior"].to(device)
        self.network = build_network(self.settings, len(self.class_names))
        try:
            self.network.load_state_dict(state["state_dict"])
        except (RuntimeError, KeyError) as error:
            raise InputError(f"{checkpoint}: its weights do not fit the network of {config}") from error
        self.network.to(device).eval()
        self.feature_channels = int(self.network.head.stems[0].conv.in_channels)
        self.fixed_input = self.settings.image_scale is None

    def encode(self, image: np.ndarray) -> YoloxState:
        """Detect once; see ``Member.encode``."""
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise InputError(f"member {self.name!r}: expected a uint8 image [H, W, 3]")
        size = image.shape[:2]
        magnification = self.settings.magnification(*size, training=False) * self.options["scale"]
        # The network reads blue first, as in training.
        found = read_image(
            self.network,
            np.ascontiguousarray(image[:, :, ::-1]),
            magnification,
            self.options["score_floor"],
            self.options["nms_iou"],
            self.options["tile"],
        )
        return YoloxState(size, *found.detections, found.objectness, found.class_probabilities, found.levels)

    def boxes(self, state: YoloxState) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Its detections, by descending score, on its device."""
        return state.boxes, state.scores, state.labels

    def evidence(
        self, state: YoloxState, boxes: torch.Tensor, labels: torch.Tensor, windows: torch.Tensor
    ) -> tuple[CropMasks, torch.Tensor]:
        """The shape prior of each box's type stretched over the box.

        The confidence in a box is that of the own detection with the largest IoU (of equal ones the best scored), if
        that reaches ``match_iou``: its objectness x its probability of the box's label, whatever label it prefers. Else
        it is 0.
        """
        device = self.shape_prior.device
        boxes, labels, windows = boxes.to(device).float(), labels.to(device), windows.to(device)
        evidence = stretch_grids(self.shape_prior[labels], boxes, windows, state.image_size)
        return evidence, self._confidence(state, boxes, labels)

    @torch.no_grad()
    def features(self, state: YoloxState, boxes: torch.Tensor) -> torch.Tensor:
        """Of the finest output of its neck; see ``Member.features``.

        A box of an image that was read in tiles belongs to the tile in whose own area its centre lies.
        """
        boxes = boxes.to(self.shape_prior.device).float()
        pooled = boxes.new_zeros(len(boxes), self.feature_channels, FEATURE_GRID, FEATURE_GRID)
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2
        for level in state.levels:
            core = boxes.new_tensor(level.core)
            own = ((centres >= core[:2]) & (centres < core[2:])).all(dim=1)
            pooled[own] = FeatureLevel(level.values, level.scale, level.origin).pool(boxes[own])
        return pooled

    def identity(self) -> dict[str, Any]:
        """Hashes of config and checkpoint, and the options."""
        return {"name": self.name, "answers_version": self.answers_version, **self.hashes, **self.options}

    def _confidence(self, state: YoloxState, boxes: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        if not len(state.boxes) or not len(boxes):
            return boxes.new_zeros(len(boxes))
        overlaps = box_iou(boxes, state.boxes)
        largest = overlaps.amax(dim=1)
        order = torch.arange(len(state.boxes), device=boxes.device).expand_as(overlaps)
        # The first of equal ones, whatever argmax would take on this device.
        own = order.masked_fill(overlaps < largest[:, None], len(state.boxes)).amin(dim=1)
        confidence = state.objectness[own] * state.class_probabilities[own, labels]
        return torch.where(largest >= self.options["match_iou"], confidence, 0.0)

    def _check_options(self) -> None:
        for key in ("score_floor", "nms_iou", "match_iou"):
            if not 0 <= self.options[key] <= 1:
                raise InputError(f"member {self.name!r}: {key} = {self.options[key]}: expected 0 to 1")
        if not self.options["scale"] > 0:
            raise InputError(f"member {self.name!r}: scale = {self.options['scale']}: expected more than 0")
        if self.options["tile"] < 1024:
            raise InputError(f"member {self.name!r}: tile = {self.options['tile']}: expected at least 1024")
