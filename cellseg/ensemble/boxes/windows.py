"""Windows around boxes: whole pixels, somewhat larger than the box, inside the image."""

import torch
from torch import Tensor

from cellseg.errors import InputError


def enlarge_boxes(boxes: Tensor, margin: float, image_size: tuple[int, int]) -> Tensor:
    """Windows in which members answer for boxes.

    Each side of a box moves outwards by ``margin`` times the box's width or height, then to the next whole pixel, so
    that a mask somewhat larger than its box is not cut. Clipped to the image.

    Args:
        boxes: float ``[N, 4]``, xyxy in pixels, finite.
        margin: 0 or more.
        image_size: (height, width).

    Returns:
        int64 ``[N, 4]`` half-open windows; empty for a box outside the image.

    Raises:
        InputError: a negative margin, or boxes that are not finite.
    """
    if not margin >= 0:
        raise InputError(f"margin {margin} should be 0 or more")
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not boxes.isfinite().all():
        raise InputError(f"boxes should be finite and have shape [N, 4], found shape {list(boxes.shape)}")
    height, width = image_size
    corner, opposite = boxes.double().split(2, dim=1)
    growth = (opposite - corner) * margin
    # An edge on a whole pixel must stay there; rounding errors of the margin must not take in another row of pixels.
    low = (corner - growth + 1e-6).floor()
    high = (opposite + growth - 1e-6).ceil()
    limit = torch.tensor([width, height], dtype=torch.float64, device=boxes.device)
    low, high = low.clamp(min=0), torch.minimum(high, limit)
    windows = torch.cat([low, high], dim=1).long()
    return torch.where((windows[:, 2:] > windows[:, :2]).all(1, keepdim=True), windows, 0)
