"""A member that needs no training: cells are what is bright. Each one sees the image a little displaced and noisy."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import ndimage

from cellseg.members import Member
from cellseg.structures import CropMasks

CLASS_NAMES = ("round", "long")


@dataclass
class BlobState:
    """An image as this member sees it."""

    grey: np.ndarray
    image_size: tuple[int, int]


class BlobMember(Member):
    """Bright blobs.

    Args:
        name: of the member.
        shift: pixels by which its view is displaced to the right.
        seed: decides which cells it misses.
        missed: part of the cells that it does not propose.
        proposes: whether it has boxes.
        class_names: the first is that of round blobs.
        level: grey value at which the probability is one half.
        config, checkpoint, device: taken and not used, as the configs of real members have them.
    """

    encoded = 0  # how many images all members encoded; tests set it to 0

    def __init__(
        self,
        name: str = "blob",
        shift: int = 0,
        seed: int = 0,
        missed: float = 0.0,
        proposes: bool = True,
        class_names: tuple[str, str] = CLASS_NAMES,
        level: float = 120.0,
        config: str = "",
        checkpoint: str = "",
        device: str = "cpu",
    ):
        self.name, self.proposes = name, proposes
        self.class_names = tuple(class_names)
        self.options = dict(shift=shift, seed=seed, missed=missed, level=level)

    def encode(self, image: np.ndarray) -> BlobState:
        type(self).encoded += 1
        if (image == 13).all():
            raise RuntimeError("the network cannot take this image")
        grey = np.roll(image.mean(axis=2), self.options["shift"], axis=1)
        return BlobState(grey, image.shape[:2])

    def boxes(self, state: BlobState) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        labels, _ = ndimage.label(state.grey > self.options["level"])
        rng = np.random.default_rng(self.options["seed"])
        boxes, scores, kinds = [], [], []
        for y, x in ndimage.find_objects(labels):
            height, width = y.stop - y.start, x.stop - x.start
            draw, score = rng.random(2)
            if height * width >= 30 and draw >= self.options["missed"]:
                boxes.append([x.start, y.start, x.stop, y.stop])
                scores.append(0.6 + 0.4 * score)
                kinds.append(int(max(width, height) > 1.6 * min(width, height)))
        boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
        return boxes, torch.tensor(scores, dtype=torch.float32), torch.tensor(kinds, dtype=torch.int64)

    def evidence(
        self, state: BlobState, boxes: torch.Tensor, labels: torch.Tensor, windows: torch.Tensor
    ) -> tuple[CropMasks, torch.Tensor]:
        likely = 1 / (1 + np.exp(-(state.grey - self.options["level"]) / 20.0))
        crops = [torch.from_numpy(likely[y0:y1, x0:x1]).float() for x0, y0, x1, y1 in windows.tolist()]
        confidence = torch.tensor([0.1 + 0.9 * float(crop.mean()) if crop.numel() else 0.0 for crop in crops])
        return CropMasks.from_crops(crops, windows, state.image_size) if crops else CropMasks.empty(
            state.image_size, torch.float32
        ), confidence

    def identity(self) -> dict[str, Any]:
        return dict(type="blob", **self.options)


def blob_image(
    seed: int, height: int = 96, width: int = 128, cells: int = 9, long: bool | None = None
) -> tuple[np.ndarray, CropMasks]:
    """A dark image with bright ellipses that do not touch, uint8 ``[H, W, 3]``, and their masks.

    ``long`` makes all ellipses long or all round; None makes some of each.
    """
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] + 0.5
    image = rng.normal(60.0, 6.0, (height, width))
    masks: list[np.ndarray] = []
    while len(masks) < cells:
        centre = rng.uniform([8, 8], [height - 8, width - 8])
        radii = rng.uniform(4, 6, 2) * ([1, 2] if (rng.random() >= 0.5 if long is None else long) else [1, 1])
        inside = ((y - centre[0]) / radii[0]) ** 2 + ((x - centre[1]) / radii[1]) ** 2
        if not any((other & (inside < 2.5)).any() for other in masks):
            masks.append(inside < 1)
            image[inside < 1] += 110
    image = np.clip(image, 0, 255).astype(np.uint8)
    return np.repeat(image[:, :, None], 3, axis=2), CropMasks.from_dense(torch.from_numpy(np.stack(masks)))
