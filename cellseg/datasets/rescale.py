"""Images and masks brought to another size together, exact to a fraction of a pixel.

Output pixel (X, Y) covers the rectangle [X / sx, (X + 1) / sx) x [Y / sy, (Y + 1) / sy) of the input, so a point x of
the input lies at x * sx, and the centre of input pixel i at (i + 0.5) * sx - 0.5 when pixels are counted by their
centres. Sizes are whole numbers, so the effective scale of an axis is output size / input size, which differs from the
wanted one by at most half an output pixel over the whole axis. The image and its masks use the same effective scales.
"""

import math

import cv2
import numpy as np
import torch

from cellseg.errors import InputError
from cellseg.structures import CropMasks


def scaled_size(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """(height, width) times ``scale``, rounded half up, at least one pixel each."""
    height, width = (max(1, math.floor(length * scale + 0.5)) for length in size)
    return height, width


def rescale_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize by area averaging where it shrinks, bicubic where it grows.

    Args:
        image: uint8 ``[H, W]`` or ``[H, W, 3]``.
        size: (height, width) of the result.
    """
    if image.shape[:2] == tuple(size):
        return image
    shrinks = size[0] <= image.shape[0] and size[1] <= image.shape[1]
    return cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


def rescale_masks(masks: CropMasks, size: tuple[int, int]) -> CropMasks:
    """Resize bool masks: an output pixel belongs to a mask that covers more than half of it.

    Coverage is computed in whole numbers, so masks that do not overlap never come to overlap: two cannot both
    cover more than half. A pixel that is covered by exactly half belongs to no mask, which at scale 1/2 draws
    outlines in by about 0.15 output pixels. A mask of which nothing is left stays as an empty one.

    Args:
        masks: N bool masks, on the CPU.
        size: (height, width) of the result.

    Returns:
        N bool masks of ``size``.
    """
    size = (int(size[0]), int(size[1]))
    if masks.dtype != torch.bool:
        raise InputError(f"expected bool masks, found {masks.dtype}")
    if tuple(masks.image_size) == size or len(masks) == 0:
        return CropMasks(masks.windows, masks.values, size)
    ratio_y, ratio_x = _ratio(masks.image_size[0], size[0]), _ratio(masks.image_size[1], size[1])
    x0, y0, x1, y1 = masks.windows.numpy().T
    table = _SummedArea(masks)
    # Half-open windows of the output that cover those of the input.
    left, right = x0 * ratio_x[1] // ratio_x[0], -(-x1 * ratio_x[1] // ratio_x[0])
    top, bottom = y0 * ratio_y[1] // ratio_y[0], -(-y1 * ratio_y[1] // ratio_y[0])
    heights, widths = np.maximum(bottom - top, 0), np.maximum(right - left, 0)

    instance, row, column = _ragged_grid(heights + 1, widths + 1)
    # Corners of output pixels in fractions of input pixels, counted from the window's corner.
    corner_x = (left[instance] + column) * ratio_x[0] - x0[instance] * ratio_x[1]
    corner_y = (top[instance] + row) * ratio_y[0] - y0[instance] * ratio_y[1]
    integral = table.integral(instance, corner_y, corner_x, ratio_y[1], ratio_x[1])

    starts = np.concatenate(([0], np.cumsum((heights + 1) * (widths + 1))))
    instance, row, column = _ragged_grid(heights, widths)
    stride = widths[instance] + 1
    corner = starts[instance] + row * stride + column
    covered = integral[corner + stride + 1] - integral[corner + stride] - integral[corner + 1] + integral[corner]
    values = 2 * covered > ratio_y[0] * ratio_x[0]
    windows = torch.from_numpy(np.stack((left, top, left + widths, top + heights), axis=1))
    return CropMasks(windows, torch.from_numpy(values), size).tight()


def _ratio(length: int, new_length: int) -> tuple[int, int]:
    """Input and output length without their common factor, as small whole numbers keep the sums small."""
    divisor = math.gcd(length, new_length)
    return length // divisor, new_length // divisor


def _ragged_grid(heights: np.ndarray, widths: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Instance, row and column of every cell of N grids, row by row, one grid after another."""
    sizes = heights * widths
    instance = np.repeat(np.arange(len(sizes)), sizes)
    place = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    width = np.maximum(widths, 1)[instance]
    return instance, place // width, place % width


class _SummedArea:
    """Sums of each mask over [0, x) x [0, y) of its window, for all masks in one array."""

    def __init__(self, masks: CropMasks):
        x0, y0, x1, y1 = masks.windows.numpy().T
        self.heights, self.widths = y1 - y0, x1 - x0
        running = np.concatenate(([0], np.cumsum(masks.values.numpy(), dtype=np.int64)))
        # Column by column, so that a second running sum adds up the rows' sums.
        instance, column, row = _ragged_grid(self.widths + 1, self.heights)
        first = masks.offsets.numpy()[instance] + row * self.widths[instance]
        sums = running[first + column] - running[first]
        self._running = np.concatenate(([0], np.cumsum(sums)))
        sizes = (self.widths + 1) * self.heights
        self._starts = np.cumsum(sizes) - sizes

    def _at(self, instance: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        first = self._starts[instance] + x * self.heights[instance]
        return self._running[first + y] - self._running[first]

    def integral(self, instance: np.ndarray, y: np.ndarray, x: np.ndarray, unit_y: int, unit_x: int) -> np.ndarray:
        """Exact integral up to (y / unit_y, x / unit_x), times ``unit_y * unit_x``, in whole numbers."""
        height, width = self.heights[instance], self.widths[instance]
        y, x = np.clip(y, 0, height * unit_y), np.clip(x, 0, width * unit_x)
        row, part_y = y // unit_y, y % unit_y
        column, part_x = x // unit_x, x % unit_x
        below, right = np.minimum(row + 1, height), np.minimum(column + 1, width)
        here = self._at(instance, row, column)
        in_x = self._at(instance, row, right) - here
        in_y = self._at(instance, below, column) - here
        both = self._at(instance, below, right) - here - in_x - in_y
        return here * unit_y * unit_x + part_x * unit_y * in_x + part_y * unit_x * in_y + part_x * part_y * both
