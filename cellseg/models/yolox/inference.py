"""Boxes of one image of any size, the same way in validation and in the ensemble."""

from typing import NamedTuple

import numpy as np
import torch
import torchvision
from torch import nn

from cellseg.models.yolox.data import FILL, magnify
from cellseg.models.yolox.settings import SIZE_STEP

TILE_OVERLAP = 256  # network pixels seen around a tile's own area: more than the largest cell's half


class Detections(NamedTuple):
    """Cells found in an image, by descending score.

    Attributes:
        boxes: float32 ``[N, 4]``, xyxy in image pixels, inside the image.
        scores: float32 ``[N]``.
        labels: int64 ``[N]``.
    """

    boxes: torch.Tensor
    scores: torch.Tensor
    labels: torch.Tensor


@torch.no_grad()
def detect(
    network: nn.Module,
    image: np.ndarray,
    magnification: float,
    score_floor: float,
    nms_threshold: float,
    tile: int = 2048,
) -> Detections:
    """Detect the cells of an image.

    The score of a box is objectness x probability of its most probable class. Images whose magnified side exceeds
    ``tile`` are read in overlapping tiles: a box counts for the tile in whose own area its centre lies, so that no seam
    cuts or doubles a cell.

    Args:
        network: in evaluation mode; its device is where the work is done.
        image: uint8 ``[H, W, 3]``, blue first.
        magnification: as in training.
        score_floor: boxes that score less are dropped before suppression.
        nms_threshold: class-wise suppression above this IoU.
        tile: largest side of what the network reads at once.

    Returns:
        The detections on the network's device.
    """
    device = next(network.parameters()).device
    height, width = image.shape[:2]
    magnified, factors = magnify(image, magnification)
    found = [
        _detect_window(network, magnified, rows, columns, score_floor)
        for rows in tiles(magnified.shape[0], tile)
        for columns in tiles(magnified.shape[1], tile)
    ]
    boxes, scores, labels = (torch.cat(parts) for parts in zip(*found, strict=True))
    boxes = boxes / torch.tensor([*factors, *factors], device=device, dtype=boxes.dtype)
    boxes = boxes.clamp(min=0)
    boxes = torch.minimum(boxes, boxes.new_tensor([width, height, width, height]))
    # What is left of a box outside the image, or thinner than a pixel, can hold no cell.
    usable = (boxes[:, 2:] - boxes[:, :2] >= 1).all(dim=1) & torch.isfinite(scores)
    boxes, scores, labels = boxes[usable], scores[usable], labels[usable]
    kept = class_wise_nms(boxes, scores, labels, nms_threshold)
    return Detections(boxes[kept], scores[kept], labels[kept])


def class_wise_nms(boxes: torch.Tensor, scores: torch.Tensor, labels: torch.Tensor, threshold: float) -> torch.Tensor:
    """Indices of the kept boxes by descending score; equal scores keep the order of their indices.

    Each class is suppressed on its own coordinates: the usual trick of shifting classes apart costs precision.
    """
    order = torch.sort(scores, descending=True, stable=True).indices
    kept = torch.zeros(len(order), dtype=torch.bool, device=boxes.device)
    for label in torch.unique(labels):
        own = torch.nonzero(labels[order] == label)[:, 0]
        # Falling stand-ins for the scores leave no tie that a device could break its own way.
        ranks = torch.arange(len(own), 0, -1, device=boxes.device, dtype=torch.float64)
        kept[own[torchvision.ops.nms(boxes[order[own]].double(), ranks, threshold)]] = True
    return order[kept]


def tiles(length: int, tile: int) -> list[tuple[int, int, int, int]]:
    """Cut a side into tiles: (first pixel read, end of reading, first own pixel, end of own pixels)."""
    if length <= tile:
        return [(0, length, 0, length)]
    core = max(SIZE_STEP, tile - 2 * TILE_OVERLAP)
    cuts = [(start, min(start + core, length)) for start in range(0, length, core)]
    return [(max(0, start - TILE_OVERLAP), min(length, end + TILE_OVERLAP), start, end) for start, end in cuts]


def network_input(image: np.ndarray, device: torch.device) -> torch.Tensor:
    """uint8 ``[H, W, 3]`` to ``[1, 3, H', W']``, 0..255, padded at the right and bottom to what the strides divide."""
    height, width = image.shape[:2]
    canvas = np.full((-(-height // SIZE_STEP) * SIZE_STEP, -(-width // SIZE_STEP) * SIZE_STEP, 3), FILL, dtype=np.uint8)
    canvas[:height, :width] = image
    tensor = torch.from_numpy(canvas).to(device).permute(2, 0, 1)[None]
    return tensor.float().contiguous()


def _detect_window(
    network: nn.Module,
    image: np.ndarray,
    rows: tuple[int, int, int, int],
    columns: tuple[int, int, int, int],
    score_floor: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    window = image[rows[0] : rows[1], columns[0] : columns[1]]
    output = network(network_input(window, next(network.parameters()).device))[0].float()
    class_scores, labels = output[:, 5:].max(dim=1)
    scores = output[:, 4] * class_scores
    centres = output[:, :2] + output.new_tensor([columns[0], rows[0]])
    own = scores >= score_floor
    # Only seams divide: at the image's border a centre outside still belongs to the outermost tile.
    for axis, (span, length) in enumerate(((columns, image.shape[1]), (rows, image.shape[0]))):
        if span[2] > 0:
            own &= centres[:, axis] >= span[2]
        if span[3] < length:
            own &= centres[:, axis] < span[3]
    centres, halves = centres[own], output[own, 2:4] / 2
    return torch.cat([centres - halves, centres + halves], dim=1), scores[own], labels[own]
