"""Outlines over images: one result, a sheet of many, and a prediction beside its truth."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch

from cellseg.errors import InputError
from cellseg.io.images import to_rgb
from cellseg.metrics import best_pairs, measure_overlap
from cellseg.structures import CropMasks, Instances

# Okabe and Ito's colours, which stay apart for colour-blind readers; their dark blue is lost on grey, so it is lighter.
PALETTE = (
    (230, 159, 0),
    (86, 180, 233),
    (240, 228, 66),
    (0, 178, 130),
    (233, 94, 20),
    (224, 131, 187),
    (60, 130, 230),
    (255, 255, 255),
)
FOUND, MISSED, INVENTED = (86, 180, 233), (233, 94, 20), (240, 228, 66)
_NEAR = 6  # cells whose boxes come closer than this, in pixels, get different colours
_STRIP = 20  # height of a line of text in pixels
_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


def draw_outlines(
    image: np.ndarray,
    masks: CropMasks,
    colors: Sequence[Sequence[int]] | None = None,
    width: int = 1,
) -> np.ndarray:
    """Draw each mask's outline on its own pixels, just inside its edge.

    Args:
        image: uint8 [H, W] or [H, W, 3].
        masks: bool masks of this image; later ones are drawn over earlier ones.
        colors: one RGB triple (0..255) for all masks or one for each; None gives neighbours different ones.
        width: of the outline in pixels, at least 1. The outline of a mask that reaches the image's border
            runs along the border.

    Returns:
        A new uint8 [H, W, 3] array.
    """
    canvas = to_rgb(image).copy()
    if tuple(canvas.shape[:2]) != tuple(masks.image_size):
        raise InputError(
            f"masks of an image of (height, width) {tuple(masks.image_size)} cannot be drawn on {canvas.shape[:2]}"
        )
    if width < 1:
        raise InputError(f"an outline is at least 1 pixel wide, not {width}")
    masks = masks.to("cpu")
    colors = _colors_for(masks, colors)
    for index, (x0, y0, x1, y1) in enumerate(masks.windows.tolist()):
        canvas[y0:y1, x0:x1][_outline(masks.crop(index).numpy(), width)] = colors[index]
    return canvas


def draw_comparison(
    image: np.ndarray,
    truth: CropMasks,
    prediction: CropMasks,
    width: int = 1,
    legend: bool = True,
) -> np.ndarray:
    """Draw what was found, missed and invented, each in its colour, with the counts below.

    A predicted cell is found when it is paired with a true one at an IoU above 0.5, as the scores pair them.

    Args:
        image: uint8 [H, W] or [H, W, 3].
        truth: the true masks; those that no prediction found are drawn.
        prediction: the predicted masks, all drawn.
        width: of the outlines in pixels.
        legend: add a strip below with the meaning of the colours and the counts.

    Returns:
        uint8 [H, W, 3], or [H + 20, W, 3] with the legend.
    """
    found, missed = pair_cells(truth, prediction)
    canvas = draw_outlines(image, truth[torch.from_numpy(missed).to(truth.device)], [MISSED], width)
    canvas = draw_outlines(canvas, prediction, [FOUND if hit else INVENTED for hit in found], width)
    if not legend:
        return canvas
    counts = (int(found.sum()), int(missed.sum()), int((~found).sum()))
    return np.concatenate([canvas, draw_legend(canvas.shape[1], counts)])


def pair_cells(truth: CropMasks, prediction: CropMasks) -> tuple[np.ndarray, np.ndarray]:
    """Which of P predicted cells are found ones, bool ``[P]``, and which of T true ones were missed, bool ``[T]``."""
    pairs = best_pairs(measure_overlap(prediction, truth))
    found, missed = np.zeros(len(prediction), bool), np.ones(len(truth), bool)
    found[pairs.rows] = True
    missed[pairs.columns] = False
    return found, missed


def draw_legend(width: int, counts: tuple[int, int, int] | None = None) -> np.ndarray:
    """A strip with the colours of found, missed and invented cells and their counts: uint8 ``[20, width, 3]``."""
    words = ("found", "missed", "invented")
    texts = words if counts is None else [f"{word} {count}" for word, count in zip(words, counts, strict=True)]
    return _legend(list(zip((FOUND, MISSED, INVENTED), texts, strict=True)), width)


def draw_sheet(
    images: Sequence[np.ndarray],
    instances: Sequence[CropMasks | Instances | None],
    titles: Sequence[str],
    columns: int = 4,
    tile: int = 320,
) -> np.ndarray:
    """Draw a contact sheet: each image with its outlines and a title.

    Args:
        images: uint8 [H, W] or [H, W, 3] of any sizes; each is fitted into a square tile.
        instances: the masks of each image, or None for an image without outlines.
        titles: a line above each image, cut where it is too long.
        columns: tiles in a row.
        tile: side of a tile in pixels, without the title.

    Returns:
        uint8 RGB array.
    """
    if not (len(images) == len(instances) == len(titles)):
        raise InputError(
            f"a sheet needs as many masks and titles as images: {len(images)} images, {len(instances)} masks, "
            f"{len(titles)} titles"
        )
    if not images or columns < 1 or tile < 16:
        raise InputError("a sheet needs an image, a column and tiles of at least 16 pixels")
    tiles = [_tile(*parts, tile) for parts in zip(images, instances, titles, strict=True)]
    columns = min(columns, len(tiles))
    blank = np.zeros_like(tiles[0])
    tiles += [blank] * (-len(tiles) % columns)
    return np.concatenate(
        [np.concatenate(tiles[start : start + columns], axis=1) for start in range(0, len(tiles), columns)]
    )


def _tile(image: np.ndarray, instances: CropMasks | Instances | None, title: str, side: int) -> np.ndarray:
    masks = instances.masks if isinstance(instances, Instances) else instances
    scale = side / max(image.shape[:2])
    drawn = to_rgb(image)
    if masks is not None:
        # Shrinking would thin a one-pixel line away; it is drawn so wide that one pixel is left.
        drawn = draw_outlines(drawn, masks, width=max(1, round(1 / scale)))
    size = (max(round(image.shape[1] * scale), 1), max(round(image.shape[0] * scale), 1))
    fitted = cv2.resize(drawn, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST)
    canvas = np.zeros((side + _STRIP, side, 3), np.uint8)
    canvas[_STRIP : _STRIP + size[1], : size[0]] = fitted
    _put_text(canvas, title, 4, 14, side - 8)
    return canvas


def _legend(entries: list[tuple[tuple[int, int, int], str]], width: int) -> np.ndarray:
    strip = np.zeros((_STRIP, width, 3), np.uint8)
    share = width // len(entries)
    for index, (color, text) in enumerate(entries):
        left = index * share
        strip[6:14, left + 3 : left + 11] = color
        _put_text(strip, text, left + 14, 14, share - 16)
    return strip


def _put_text(canvas: np.ndarray, text: str, x: int, baseline: int, room: int) -> None:
    """White text, smaller and then cut where it would not fit in ``room`` pixels."""
    font, scale = cv2.FONT_HERSHEY_SIMPLEX, 0.42
    text = text.encode("ascii", "replace").decode()  # the font has no other letters

    def needed() -> int:
        return cv2.getTextSize(text, font, scale, 1)[0][0]

    if needed() > room:
        scale = max(scale * room / needed(), 0.3)
    while text and needed() > room:
        text = text[:-1]
    cv2.putText(canvas, text, (x, baseline), font, scale, (255, 255, 255), 1, cv2.LINE_AA)


def _outline(mask: np.ndarray, width: int) -> np.ndarray:
    """The pixels of a mask within ``width`` steps of a pixel outside it; outside the window is outside."""
    padded = np.pad(mask.astype(np.uint8), 1)
    inner = cv2.erode(padded, _CROSS, iterations=width, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return mask & (inner[1:-1, 1:-1] == 0)


def _colors_for(masks: CropMasks, colors: Sequence[Sequence[int]] | None) -> np.ndarray:
    if colors is None:
        return _neighbour_colors(masks.boxes().numpy())
    table = np.asarray(colors, np.uint8).reshape(-1, 3)
    if len(table) not in (1, len(masks)):
        raise InputError(f"expected one colour or one for each of {len(masks)} masks, found {len(table)}")
    return np.broadcast_to(table, (len(masks), 3))


def _neighbour_colors(boxes: np.ndarray) -> np.ndarray:
    """[N, 3] colours, each different from those of the nearby boxes before it as far as the palette goes."""
    chosen = np.zeros(len(boxes), np.int64)
    grown = boxes + np.array([-_NEAR, -_NEAR, _NEAR, _NEAR], boxes.dtype)
    for index in range(len(boxes)):
        before = boxes[:index]
        near = (before[:, :2] < grown[index, 2:]).all(1) & (before[:, 2:] > grown[index, :2]).all(1)
        used = np.bincount(chosen[:index][near], minlength=len(PALETTE))
        # Least used nearby; among equals the search starts elsewhere for each cell, so that all colours appear.
        order = (np.arange(len(PALETTE)) + index) % len(PALETTE)
        chosen[index] = order[np.argmin(used[order])]
    return np.asarray(PALETTE, np.uint8)[chosen]
