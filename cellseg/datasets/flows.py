"""Flows: from every pixel of a cell the direction towards its centre, what a dense network separates touching cells by.

The field is that of Cellpose (Stringer et al., Nature Methods 2021): heat spreads from the centre of a cell through its
mask only, and the flow is the direction in which it rises. Along the border of two cells the flows point apart.
"""

import cv2
import numpy as np
import torch

from cellseg.structures import CropMasks


def cell_flows(cells: CropMasks) -> np.ndarray:
    """Flow field of an image's cells.

    Args:
        cells: bool masks; where they overlap, the smaller cell counts.

    Returns:
        float32 ``[H, W, 2]``, unit vectors (x, y) in pixels; 0 outside of the cells and at the centre of each.
    """
    field = np.zeros((*cells.image_size, 2), dtype=np.float32)
    for index in torch.argsort(cells.areas(), descending=True, stable=True).tolist():
        mask = cells.crop(index).numpy()
        if mask.any():
            x0, y0, x1, y1 = cells.windows[index].tolist()
            field[y0:y1, x0:x1][mask] = mask_flow(mask)[mask]
    return field


def mask_flow(mask: np.ndarray) -> np.ndarray:
    """Flow of one mask, bool ``[h, w]`` with at least one pixel: float32 ``[h, w, 2]``, see ``cell_flows``."""
    padded = np.pad(mask, 1).astype(np.float64)
    y, x = np.nonzero(padded)
    # The pixel of the mask that is nearest to the median: a mean can lie outside of a bent cell.
    centre = np.argmin((y - np.median(y)) ** 2 + (x - np.median(x)) ** 2)
    source = y[centre], x[centre]
    heat = np.zeros_like(padded)
    # After this many steps heat has reached every pixel of all but the most winding masks.
    for _ in range(2 * sum(mask.shape)):
        heat[source] += 1
        heat = cv2.blur(heat, (3, 3), borderType=cv2.BORDER_CONSTANT)
        heat *= padded
    rise = np.stack([heat[1:-1, 2:] - heat[1:-1, :-2], heat[2:, 1:-1] - heat[:-2, 1:-1]], axis=2)
    length = np.linalg.norm(rise, axis=2, keepdims=True)
    rows, columns = np.mgrid[: mask.shape[0], : mask.shape[1]]
    straight = np.stack([source[1] - 1 - columns, source[0] - 1 - rows], axis=2).astype(np.float64)
    distance = np.linalg.norm(straight, axis=2, keepdims=True)
    # A part of the mask that heat does not reach looks straight at the centre.
    flow = np.where(length > 0, rise / np.maximum(length, 1e-300), straight / np.maximum(distance, 1))
    flow[source[0] - 1, source[1] - 1] = 0
    return (flow * mask[:, :, None]).astype(np.float32)


def warp_flow(field: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A flow field in a view: nearest pixels, directions turned with the view.

    Args:
        field: float32 ``[H, W, 2]``.
        matrix: 2 x 3, from view coordinates to image coordinates; turns, mirrors and scales evenly.
        size: height and width of the view.

    Returns:
        float32 ``[h, w, 2]``.
    """
    turn, shift = matrix[:, :2], matrix[:, 2]
    opencv = np.column_stack([turn, turn @ np.array([0.5, 0.5]) + shift - 0.5])
    seen = cv2.warpAffine(
        field,
        opencv,
        (size[1], size[0]),
        flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
    )
    direction = turn / np.sqrt(abs(np.linalg.det(turn)))
    # v_image = direction @ v_view, and direction is orthogonal.
    return seen @ direction.astype(np.float32)
