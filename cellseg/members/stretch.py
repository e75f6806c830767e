"""Square grids of probabilities stretched to boxes and read at the pixel centres of windows."""

import torch

from cellseg.structures import CropMasks


def stretch_grids(
    grids: torch.Tensor, boxes: torch.Tensor, windows: torch.Tensor, image_size: tuple[int, int]
) -> CropMasks:
    """Bilinear values of each grid at the pixels of its window.

    A grid's cells divide its box evenly; their centres carry the values, and between the outer centres and the box's
    edge the nearest value holds. Outside the box the answer is 0, so for a box without area it is 0 everywhere.

    Args:
        grids: float32 ``[N, S, S]``, rows from top to bottom.
        boxes: float32 ``[N, 4]``, xyxy in pixels.
        windows: int64 ``[N, 4]``, half-open, inside the image.
        image_size: height and width.

    Returns:
        Float32 crop masks in exactly these windows.
    """
    canvas = CropMasks(windows, _zeros(windows), image_size)
    instance, flat = canvas.pixel_index()
    size = grids.shape[-1]
    x = (flat % image_size[1]).to(boxes.dtype) + 0.5
    y = torch.div(flat, image_size[1], rounding_mode="floor").to(boxes.dtype) + 0.5
    x0, y0, x1, y1 = boxes[instance].unbind(1)
    inside = (x >= x0) & (x < x1) & (y >= y0) & (y < y1)
    # 0 / 0 is no place in a grid.
    tiny = torch.finfo(boxes.dtype).tiny
    column = ((x - x0) / (x1 - x0).clamp(min=tiny) * size - 0.5).clamp(0, size - 1)
    row = ((y - y0) / (y1 - y0).clamp(min=tiny) * size - 0.5).clamp(0, size - 1)
    return CropMasks(windows, _bilinear(grids, instance, row, column) * inside, image_size)


def _bilinear(grids: torch.Tensor, instance: torch.Tensor, row: torch.Tensor, column: torch.Tensor) -> torch.Tensor:
    size = grids.shape[-1]
    values = grids.reshape(-1)
    top, left = row.floor(), column.floor()
    dy, dx = row - top, column - left
    base = instance * (size * size)
    top, left = top.long(), left.long()
    bottom, right = (top + 1).clamp(max=size - 1), (left + 1).clamp(max=size - 1)
    upper = values[base + top * size + left] * (1 - dx) + values[base + top * size + right] * dx
    lower = values[base + bottom * size + left] * (1 - dx) + values[base + bottom * size + right] * dx
    return upper * (1 - dy) + lower * dy


def _zeros(windows: torch.Tensor) -> torch.Tensor:
    sizes = (windows[:, 2] - windows[:, 0]) * (windows[:, 3] - windows[:, 1])
    return torch.zeros(int(sizes.sum()), device=windows.device)
