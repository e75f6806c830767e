"""UPerNet on crops of boxes as a member: which pixels around a box belong to the cell that the box means."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from cellseg.datasets.box_crops import CENTRAL, NUM_CROP_CLASSES, check_margin, crop_matrices, enlarge, sample_crops
from cellseg.errors import InputError
from cellseg.members.base import Member
from cellseg.members.openmmlab import load_network
from cellseg.members.stretch import stretch_grids
from cellseg.openmmlab import scope
from cellseg.structures import CropMasks


@dataclass
class UPerNetCropsState:
    """An image, uint8 ``[H, W, 3]``: the network sees nothing but crops of it."""

    image: np.ndarray
    image_size: tuple[int, int]


class UPerNetCropsMember(Member):
    """A trained UPerNet of mmsegmentation that tells the central cell of a crop from neighbours and background.

    It cuts each box out as the training did (``cellseg.datasets.box_crops``): enlarged by the margin of its training
    and stretched to the crops' size, so that the box is always the same central square.

    Args:
        name: unique within the ensemble.
        config: the ``config.py`` that its training wrote.
        checkpoint: its ``best.pth``.
        device: torch device.
        boxes_at_once: crops that go through the network together; less needs less memory.
        unsafe_load: load the checkpoint without torch's restriction to plain weights.

    Raises:
        InputError: an option out of its range, or a training that was not one on crops of boxes.
    """

    proposes = False
    answers_version = 1

    # Whatever the scale of the image, a crop has one size.
    fixed_input = True

    def __init__(
        self,
        name: str,
        config: str,
        checkpoint: str,
        device: str = "cpu",
        boxes_at_once: int = 128,
        unsafe_load: bool = False,
    ):
        self.name = name
        self.device = device
        if type(boxes_at_once) is not int or boxes_at_once < 1:
            raise InputError(
                f"member {name!r}: boxes_at_once = {boxes_at_once!r}: expected a whole number of at least 1"
            )
        self.boxes_at_once = boxes_at_once
        self.network = load_network(name, config, checkpoint, "mmseg", device, unsafe_load)
        self.model = self.network.model
        self.class_names = self.network.class_names
        self.crop_size, self.margin = _crop_form(name, config, self.network.config)
        if self.model.decode_head.num_classes != NUM_CROP_CLASSES:
            raise InputError(
                f"{config}: member {name!r}: expected a network with {NUM_CROP_CLASSES} classes (background, the "
                f"central cell, neighbours), this one has {self.model.decode_head.num_classes}"
            )

    def identity(self) -> dict[str, Any]:
        return {**self.network.identity, "answers_version": self.answers_version}

    def encode(self, image: np.ndarray) -> UPerNetCropsState:
        return UPerNetCropsState(np.array(image), image.shape[:2])

    def boxes(self, state: UPerNetCropsState) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        raise InputError(f"member {self.name!r} answers for the boxes of others and proposes none; add a detector")

    @torch.no_grad()
    def evidence(
        self, state: UPerNetCropsState, boxes: torch.Tensor, labels: torch.Tensor, windows: torch.Tensor
    ) -> tuple[CropMasks, torch.Tensor]:
        """See ``Member.evidence``; the confidence is the mean of ``|2 p - 1|`` over the window."""
        boxes, windows = boxes.to(self.device), windows.to(self.device)
        if not len(boxes):
            return CropMasks.empty(state.image_size, torch.float32, windows.device), boxes.new_zeros(0)
        image = torch.from_numpy(state.image).to(self.device).permute(2, 0, 1).float()
        regions = enlarge(boxes, self.margin)
        parts = crop_matrices(regions, self.crop_size).split(self.boxes_at_once)
        grids = torch.cat([self._central(sample_crops(image, part, self.crop_size)) for part in parts])
        masks = stretch_grids(grids, regions, windows, state.image_size)
        certainty = CropMasks(windows, (2 * masks.values - 1).abs(), state.image_size).sums()
        height, width = masks.window_sizes()
        return masks, (certainty / (height * width).clamp(min=1)).float()

    def _central(self, crops: torch.Tensor) -> torch.Tensor:
        """Probability of the central cell ``[n, S, S]`` for crops ``[n, 3, S, S]`` of 0..255."""
        from mmseg.structures import SegDataSample

        size = crops.shape[2:]
        # What a sample is told about its padding is not read here: one stands for all.
        samples = [SegDataSample(metainfo=dict(ori_shape=size, img_shape=size))] * len(crops)
        with scope("mmseg"):
            inputs = self.model.data_preprocessor({"inputs": list(crops), "data_samples": samples}, False)["inputs"]
            logits = self.model.encode_decode(inputs, [dict(ori_shape=size, img_shape=inputs.shape[2:])])
        # Padding lies to the right and below.
        return logits[:, :, : size[0], : size[1]].softmax(dim=1)[:, CENTRAL]


def _crop_form(name: str, path: str, config: Any) -> tuple[int, float]:
    """Size and margin of the crops that a network was trained on."""
    size, margin = config.get("crop_size"), config.get("crop_margin")
    if size is None or margin is None:
        raise InputError(
            f"{path}: member {name!r} needs a training on crops of boxes, whose config has crop_size and crop_margin; "
            "train one with configs/upernet/upernet_crops_small.py"
        )
    if type(size) is not int or size < 1:
        raise InputError(f"{path}: crop_size = {size!r}: expected a whole number of at least 1")
    return size, check_margin(f"{path}: crop_margin", margin)
