"""Cells of which one of two members is right, and only their colour tells which: what features can learn to see.

Discs are red; those that are blue, too, are cells as a whole, and of the others only the inner part is a cell. ``wide``
says disc for all of them, ``narrow`` inner part for all of them.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy import ndimage

from cellseg.members import Member
from cellseg.members.pooling import FeatureLevel
from cellseg.structures import CropMasks

CLASS_NAMES = ("cell",)
INNER = 0.6  # radius of the inner part

ENSEMBLE = """
data_root = "unused"
members = [
    dict(type="scene", name="wide", work_dir="x"),
    dict(type="scene", name="narrow", kind="narrow", work_dir="x"),
]
fusion = dict(margin=0.15)
settings = dict(score_threshold=0.1, exponent=0.0)
"""


@dataclass
class SceneState:
    """The image."""

    image: np.ndarray
    image_size: tuple[int, int]


class SceneMember(Member):
    """One of the two.

    Args:
        name: of the member.
        kind: ``wide`` or ``narrow``.
        colour: whether it has features, the blue of the image (only ``wide``).
        tweak: changes its identity and nothing else.
        class_names: as the real ones have them.
        config, checkpoint, device: taken and not used, as the configs of real members have them.
    """

    encoded = 0

    def __init__(
        self,
        name: str,
        kind: str = "wide",
        colour: bool = True,
        tweak: int = 0,
        class_names: tuple[str, ...] = CLASS_NAMES,
        config: str = "",
        checkpoint: str = "",
        device: str = "cpu",
    ):
        self.name, self.kind, self.tweak = name, kind, tweak
        self.proposes = kind == "wide"
        self.class_names = tuple(class_names)
        self.feature_channels = 1 if colour and self.proposes else 0

    def encode(self, image: np.ndarray) -> SceneState:
        SceneMember.encoded += 1
        return SceneState(image, image.shape[:2])

    def boxes(self, state: SceneState) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        parts = ndimage.find_objects(ndimage.label(state.image[:, :, 0] > 120)[0])
        boxes = [[x.start, y.start, x.stop, y.stop] for y, x in parts]
        boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
        return boxes, torch.full((len(boxes),), 0.9), torch.zeros(len(boxes), dtype=torch.int64)

    def evidence(self, state: SceneState, boxes, labels, windows) -> tuple[CropMasks, torch.Tensor]:
        crops = []
        for box, (x0, y0, x1, y1) in zip(boxes.tolist(), windows.tolist(), strict=True):
            red = torch.from_numpy(state.image[y0:y1, x0:x1, 0].copy()).float()
            crop = torch.sigmoid((red - 120) / 12)
            if self.kind == "narrow":
                y, x = torch.meshgrid(torch.arange(y0, y1) + 0.5, torch.arange(x0, x1) + 0.5, indexing="ij")
                distance = ((x - (box[0] + box[2]) / 2) ** 2 + (y - (box[1] + box[3]) / 2) ** 2).sqrt()
                crop = crop * torch.sigmoid((INNER * (box[2] - box[0]) / 2 - distance) * 3)
            crops.append(crop)
        confidence = torch.full((len(windows),), 0.7)
        return CropMasks.from_crops(crops, windows, state.image_size), confidence

    def features(self, state: SceneState, boxes: torch.Tensor) -> torch.Tensor:
        if not self.feature_channels:
            return super().features(state, boxes)
        blue = torch.from_numpy(state.image[:, :, 2].copy()).float()
        return FeatureLevel(blue[None], (1.0, 1.0)).pool(boxes)

    def identity(self) -> dict[str, Any]:
        return dict(kind=self.kind, tweak=self.tweak, colour=bool(self.feature_channels))


def draw_scene(seed: int, size: int = 72, cells: int = 6) -> tuple[np.ndarray, CropMasks]:
    """An image uint8 ``[H, W, 3]`` and its true cells."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] + 0.5
    image = np.stack(
        [rng.normal(40, 5, (size, size)), np.full((size, size), 60.0), rng.normal(50, 15, (size, size))], 2
    )
    taken, truth = np.zeros((size, size), bool), []
    while len(truth) < cells:
        centre, radius = rng.uniform(12, size - 12, 2), rng.uniform(6, 10)
        distance = np.hypot(y - centre[0], x - centre[1])
        if (taken & (distance < radius + 3)).any():
            cells -= rng.random() < 0.02  # a full image ends the search
            continue
        disc, blue = distance < radius, rng.random() < 0.5
        taken |= disc
        image[disc, 0] += 160
        image[disc, 2] += 110 if blue else 0
        truth.append(disc if blue else distance < INNER * radius)
    return image.clip(0, 255).astype(np.uint8), CropMasks.from_dense(torch.from_numpy(np.stack(truth)))


def write_folder(root: Path, images: int = 9, groups: int = 9, seed: int = 0) -> Path:
    """A data folder whose validation split holds scenes; training and test hold one each. Returns its path."""
    parts: dict[str, list[dict[str, Any]]] = {"train": [], "val": [], "test": []}
    cells: list[dict[str, Any]] = []
    (root / "images").mkdir(parents=True)
    for number in range(images + 2):
        split = {images: "train", images + 1: "test"}.get(number, "val")
        image, truth = draw_scene(seed * 1000 + number)
        key, (height, width) = f"scene_{number:02d}", truth.image_size
        Image.fromarray(image).save(root / "images" / f"{key}.png")
        parts[split].append(
            dict(id=number + 1, file_name=f"{key}.png", key=key, height=height, width=width, cell_type="cell")
            | dict(group=f"g{number % groups}", fold=0)
        )
        for code, box in zip(truth.to_coco_rle(), truth.boxes().tolist(), strict=True):
            counts = code["counts"] if isinstance(code["counts"], str) else code["counts"].decode()
            cells.append(
                dict(id=len(cells) + 1, image_id=number + 1, category_id=1, iscrowd=0, area=1.0)
                | dict(bbox=[box[0], box[1], box[2] - box[0], box[3] - box[1]])
                | dict(segmentation=dict(size=[height, width], counts=counts))
            )
    folder = root / "splits" / "fold0"
    folder.mkdir(parents=True)
    for name, own in parts.items():
        ids = {image["id"] for image in own}
        content = dict(images=own, categories=[dict(id=1, name="cell")])
        content["annotations"] = [cell for cell in cells if cell["image_id"] in ids]
        (folder / f"{name}.json").write_text(json.dumps(content))
    summary = dict(format="cellseg data folder 1", name="scenes", class_names=CLASS_NAMES, folds=2)
    (root / "dataset.json").write_text(json.dumps(summary | dict(mean=[60.0] * 3, std=[40.0] * 3)))
    return root
