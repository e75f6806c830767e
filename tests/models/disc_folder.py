"""A data folder of bright discs and bars on a dark ground: small, and learned in a minute."""

import json
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from cellseg.structures import CropMasks

CLASS_NAMES = ("disc", "bar")


def write_disc_folder(root: Path, train: int = 8, val: int = 4) -> Path:
    """Write a data folder with one fold; returns its path.

    Discs (radius 6 to 9 px) and bars (18 x 8 px) in equal parts, about eight in an image; the last training image is
    empty. ``test`` is the same as ``val``.
    """
    generator, size = np.random.default_rng(0), (96, 96)
    parts = {"train": [], "val": []}
    cells = []
    for number in range(train + val):
        split = "train" if number < train else "val"
        masks, labels = ([], []) if number == train - 1 else draw_cells(generator, size)
        image = generator.normal(60, 6, size)
        for mask, label in zip(masks, labels, strict=True):
            image[mask] += 110 if label == 0 else 70
        key = f"image_{number:02d}"
        (root / "images").mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(root / "images" / f"{key}.png")
        parts[split].append(
            dict(id=number + 1, file_name=f"{key}.png", key=key, height=size[0], width=size[1], cell_type="disc")
            | dict(group=split, fold=0)
        )
        cells += _annotations(number + 1, masks, labels, len(cells), size)
    categories = [dict(id=index + 1, name=name) for index, name in enumerate(CLASS_NAMES)]
    folder = root / "splits" / "fold0"
    folder.mkdir(parents=True, exist_ok=True)
    for name, images in {**parts, "test": parts["val"]}.items():
        own = {image["id"] for image in images}
        content = dict(
            images=images, categories=categories, annotations=[cell for cell in cells if cell["image_id"] in own]
        )
        (folder / f"{name}.json").write_text(json.dumps(content))
    summary = dict(format="cellseg data folder 1", name="discs", class_names=CLASS_NAMES, folds=1)
    summary |= dict(mean=[70.0] * 3, std=[40.0] * 3, images=train + val, instances=len(cells))
    (root / "dataset.json").write_text(json.dumps(summary))
    return root


def draw_cells(generator: np.random.Generator, size: tuple[int, int]) -> tuple[list[np.ndarray], list[int]]:
    """Up to eight shapes with three pixels between them, as dense masks, and their labels."""
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    masks: list[np.ndarray] = []
    labels: list[int] = []
    for attempt in range(8):
        centre_y, centre_x = generator.uniform(10, size[0] - 10), generator.uniform(10, size[1] - 10)
        label = attempt % 2
        if label == 0:
            mask = (y - centre_y) ** 2 + (x - centre_x) ** 2 < generator.uniform(6, 9) ** 2
        else:
            mask = (abs(y - centre_y) < 4) & (abs(x - centre_x) < 9)
        around = cv2.dilate(mask.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
        if not any((around & other).any() for other in masks):
            masks.append(mask)
            labels.append(label)
    return masks, labels


def _annotations(
    image_id: int, masks: list[np.ndarray], labels: list[int], count: int, size: tuple[int, int]
) -> list[dict]:
    if not masks:
        return []
    crops = CropMasks.from_dense(torch.from_numpy(np.stack(masks)))
    rows = []
    for index, (code, box) in enumerate(zip(crops.to_coco_rle(), crops.boxes().tolist(), strict=True)):
        counts = code["counts"] if isinstance(code["counts"], str) else code["counts"].decode()
        x0, y0, x1, y1 = box
        rows.append(
            dict(id=count + index + 1, image_id=image_id, category_id=labels[index] + 1, iscrowd=0)
            | dict(bbox=[x0, y0, x1 - x0, y1 - y0], area=int(masks[index].sum()))
            | dict(segmentation=dict(size=list(size), counts=counts))
        )
    return rows
