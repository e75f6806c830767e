"""Boxes of one image of any size, the same way in validation and in the ensemble."""

import math
from collections.abc import Callable
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


class TileLevel(NamedTuple):
    """The finest output of the network's neck for one tile; all lengths in pixels of the image.

    Attributes:
        values: float ``[C, h, w]``.
        scale: cells per pixel along x and y.
        origin: (x, y) of the map's top left corner.
        core: (x0, y0, x1, y1), half-open, of the tile's own area; it has no end at the image's border.
    """

    values: torch.Tensor
    scale: tuple[float, float]
    origin: tuple[float, float]
    core: tuple[float, float, float, float]


class Reading(NamedTuple):
    """All that one run of the network says about an image.

    Attributes:
        detections: as ``detect`` gives them.
        objectness: float32 ``[N]``, of each detection.
        class_probabilities: float32 ``[N, K]``, of each detection; its score is the product of the two for its label.
        levels: one for each tile.
    """

    detections: Detections
    objectness: torch.Tensor
    class_probabilities: torch.Tensor
    levels: tuple[TileLevel, ...]


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
    return _read(network, network, image, magnification, score_floor, nms_threshold, tile).detections


@torch.no_grad()
def read_image(
    network: nn.Module,
    image: np.ndarray,
    magnification: float,
    score_floor: float,
    nms_threshold: float,
    tile: int = 2048,
) -> Reading:
    """Like ``detect``, with what the detections were made of; the network runs once for both.

    Args:
        network: as ``build_network`` makes it: its ``head`` reads what its ``backbone`` gives, the finest level first.
        image, magnification, score_floor, nms_threshold, tile: see ``detect``.
    """
    kept: list[torch.Tensor] = []

    def run(inputs: torch.Tensor) -> torch.Tensor:
        levels = network.backbone(inputs)
        kept.append(levels[0][0].float())
        return network.head(levels)

    reading = _read(network, run, image, magnification, score_floor, nms_threshold, tile)
    stride = network.head.strides[0]
    levels = tuple(
        level._replace(values=values, scale=(level.scale[0] / stride, level.scale[1] / stride))
        for level, values in zip(reading.levels, kept, strict=True)
    )
    return reading._replace(levels=levels)


def _read(
    network: nn.Module,
    run: Callable[[torch.Tensor], torch.Tensor],
    image: np.ndarray,
    magnification: float,
    score_floor: float,
    nms_threshold: float,
    tile: int,
) -> Reading:
    """Detections by ``run``, which takes and gives what ``network`` does; the levels are places without values."""
    device = next(network.parameters()).device
    height, width = image.shape[:2]
    magnified, factors = magnify(image, magnification)
    spans = [(rows, columns) for rows in tiles(magnified.shape[0], tile) for columns in tiles(magnified.shape[1], tile)]
    found = torch.cat([_detect_window(run, magnified, *span, score_floor, device) for span in spans])
    boxes = found[:, :4] / torch.tensor([*factors, *factors], device=device, dtype=found.dtype)
    boxes = boxes.clamp(min=0)
    boxes = torch.minimum(boxes, boxes.new_tensor([width, height, width, height]))
    class_scores, labels = found[:, 5:].max(dim=1)
    scores = found[:, 4] * class_scores
    # What is left of a box outside the image, or thinner than a pixel, can hold no cell.
    usable = ((boxes[:, 2:] - boxes[:, :2] >= 1).all(dim=1) & torch.isfinite(scores)).nonzero()[:, 0]
    kept = usable[class_wise_nms(boxes[usable], scores[usable], labels[usable], nms_threshold)]
    levels = tuple(_place(*span, magnified.shape[:2], factors) for span in spans)
    return Reading(Detections(boxes[kept], scores[kept], labels[kept]), found[kept, 4], found[kept, 5:], levels)


def _place(
    rows: tuple[int, int, int, int],
    columns: tuple[int, int, int, int],
    size: tuple[int, int],
    factors: tuple[float, float],
) -> TileLevel:
    """Where a tile of a magnified image lies on the image; ``scale`` counts pixels of the magnified one."""
    ends = [
        (span[2] / factor if span[2] > 0 else -math.inf, span[3] / factor if span[3] < length else math.inf)
        for span, factor, length in zip((columns, rows), factors, size[::-1], strict=True)
    ]
    (x0, x1), (y0, y1) = ends
    origin = (columns[0] / factors[0], rows[0] / factors[1])
    return TileLevel(torch.empty(0), factors, origin, (x0, y0, x1, y1))


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
    run: Callable[[torch.Tensor], torch.Tensor],
    image: np.ndarray,
    rows: tuple[int, int, int, int],
    columns: tuple[int, int, int, int],
    score_floor: float,
    device: torch.device,
) -> torch.Tensor:
    """Boxes of a tile in pixels of the magnified image, objectness and class probabilities: ``[N, 4 + 1 + K]``."""
    output = run(network_input(image[rows[0] : rows[1], columns[0] : columns[1]], device))[0].float()
    own = output[:, 4] * output[:, 5:].amax(dim=1) >= score_floor
    centres = output[:, :2] + output.new_tensor([columns[0], rows[0]])
    # Only seams divide: at the image's border a centre outside still belongs to the outermost tile.
    for axis, (span, length) in enumerate(((columns, image.shape[1]), (rows, image.shape[0]))):
        if span[2] > 0:
            own &= centres[:, axis] >= span[2]
        if span[3] < length:
            own &= centres[:, axis] < span[3]
    centres, halves = centres[own], output[own, 2:4] / 2
    return torch.cat([centres - halves, centres + halves, output[own, 4:]], dim=1)
