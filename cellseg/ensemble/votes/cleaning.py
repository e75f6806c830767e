"""Cleaning of masks: one connected part each, without holes, inside pixels that no other mask has."""

import cv2
import numpy as np
import torch
from torch import Tensor

from cellseg.errors import InputError
from cellseg.structures import CropMasks
from cellseg.structures.windows import pixel_positions, window_sizes


def clean(masks: CropMasks, fill_holes: bool | Tensor = True, largest_part: bool | Tensor = True) -> CropMasks:
    """Keep the largest part of each mask, then fill its holes.

    Parts are connected over edges and corners (of equal ones the upper, then the left one stays). A hole is background
    that is cut off from the outside, connected over edges; of it, a mask gets the pixels that no other mask has. A hole
    in two masks (one ring inside the other) goes to the smaller mask, of equals to the first.

    Args:
        masks: N bool masks without overlaps.
        fill_holes: for all masks, or bool ``[N]``.
        largest_part: likewise.

    Returns:
        Bool masks without overlaps, in the same windows.
    """
    fill_holes, largest_part = (_choice(value, len(masks)) for value in (fill_holes, largest_part))
    values = masks.values.cpu().numpy()
    if not values.any():
        return masks
    sheet = _Sheet(masks.windows.cpu())
    instance = np.repeat(np.arange(len(masks)), sheet.areas)
    if largest_part.any():
        values = values & (_largest_parts(sheet, values, instance) | ~largest_part[instance])
    if fill_holes.any():
        holes = sheet.holes(values) & fill_holes[instance]
        if holes.any():
            values = values | _free_holes(values, holes, instance, masks)
    return CropMasks(masks.windows, torch.from_numpy(values).to(masks.device), masks.image_size)


class _Sheet:
    """All crops side by side in one picture, blank lines between them, so that one call labels the parts of all.

    Crops stand on shelves, the high ones first; ``places`` are their pixels in the picture, as stored.
    """

    def __init__(self, windows: Tensor):
        heights, widths = window_sizes(windows)
        self.areas = (heights * widths).numpy()
        order = heights.argsort(descending=True, stable=True)
        start = (widths[order] + 1).cumsum(0) - (widths[order] + 1)
        length = max(int(np.sqrt((self.areas + 1.0).sum())), int(widths.max()) + 1)
        shelf = start // length
        # No crop is wider than a shelf is long, so no shelf stays empty.
        first = torch.searchsorted(shelf, torch.arange(int(shelf[-1]) + 1))
        left = 1 + start - start[first][shelf]
        shelf_heights = heights[order][first] + 1
        top = 1 + (shelf_heights.cumsum(0) - shelf_heights)[shelf]
        corner = torch.empty((len(windows), 2), dtype=torch.int64)
        corner[order] = torch.stack([left, top], dim=1)
        placed = torch.cat([corner, corner + torch.stack([widths, heights], dim=1)], dim=1)
        self.shape = (int(placed[:, 3].max()) + 1, int(placed[:, 2].max()) + 1)
        self.places = pixel_positions(placed, self.shape[1]).numpy()

    def parts(self, values: np.ndarray) -> np.ndarray:
        """Number of the part that each true pixel belongs to; 0 for false ones."""
        picture = np.zeros(self.shape, np.uint8)
        picture.reshape(-1)[self.places] = values
        return cv2.connectedComponents(picture, connectivity=8, ltype=cv2.CV_32S)[1].reshape(-1)[self.places]

    def holes(self, values: np.ndarray) -> np.ndarray:
        """Whether each pixel lies in a hole of its mask."""
        picture = np.ones(self.shape, np.uint8)
        picture.reshape(-1)[self.places] = ~values
        labels = cv2.connectedComponents(picture, connectivity=4, ltype=cv2.CV_32S)[1].reshape(-1)
        # The blank lines hang together, and with them everything that is open to the outside.
        return ~values & (labels[self.places] != labels[0])


def _largest_parts(sheet: _Sheet, values: np.ndarray, instance: np.ndarray) -> np.ndarray:
    part = sheet.parts(values)
    place = np.flatnonzero(values)[::-1]
    sizes = np.bincount(part[place])
    first, owner = np.zeros((2, len(sizes)), np.int64)
    first[part[place]] = place  # backwards, so the first pixel is what stays
    owner[1:] = instance[first[1:]]
    order = 1 + np.lexsort((first[1:], -sizes[1:], owner[1:]))
    best = np.zeros(len(sizes), bool)
    best[order[np.flatnonzero(np.diff(owner[order], prepend=-1))]] = True
    return best[part]


def _free_holes(values: np.ndarray, holes: np.ndarray, instance: np.ndarray, masks: CropMasks) -> np.ndarray:
    """The hole pixels that each mask may have, bool ``[P]``."""
    pixel = pixel_positions(masks.windows.cpu(), masks.image_size[1]).numpy()
    taken = np.zeros(masks.image_size[0] * masks.image_size[1], bool)
    taken[pixel[values]] = True
    place = np.flatnonzero(holes)
    place = place[~taken[pixel[place]]]
    area = np.bincount(instance[values | holes], minlength=len(masks))
    place = place[np.lexsort((instance[place], area[instance[place]], pixel[place]))]
    free = np.zeros_like(values)
    free[place[np.diff(pixel[place], prepend=-1) != 0]] = True
    return free


def _choice(value: bool | Tensor, count: int) -> np.ndarray:
    choice = torch.as_tensor(value).cpu().numpy()
    if choice.dtype != bool or choice.shape not in ((), (count,)):
        raise InputError(f"clean: expected True, False or bool [{count}], found {choice.dtype} {list(choice.shape)}")
    return np.broadcast_to(choice, (count,))
