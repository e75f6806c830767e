"""Mask NMS: of two masks that overlap too much, the one with the lower score goes."""

import torch
from torch import Tensor

from cellseg.ensemble.boxes.clusters import greedy_leaders
from cellseg.ensemble.votes.window_overlaps import touching_masks
from cellseg.errors import InputError
from cellseg.structures import CropMasks


def mask_nms(masks: CropMasks, scores: Tensor, iou_threshold: float | Tensor) -> Tensor:
    """Greedy non-maximum suppression by the IoU of masks.

    Args:
        masks: N bool masks.
        scores: float ``[N]``; equal scores keep their order.
        iou_threshold: a mask falls when its IoU with a kept mask of higher rank exceeds this; a number, or one for
            each mask ``[N]`` (that of the falling mask counts).

    Returns:
        int64 indices of the kept masks, the highest score first.

    Raises:
        InputError: scores of another length or NaN, or thresholds outside 0..1.
    """
    return suppress_masks(scores, *mask_overlaps(masks), iou_threshold)


def mask_overlaps(masks: CropMasks) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs of different masks that touch (each both ways) and their IoU: int64 ``[P]`` twice, float64 ``[P]``."""
    first, second, shared = touching_masks(masks)
    areas = masks.areas()
    iou = shared.double() / (areas[first] + areas[second] - shared)
    return torch.cat([first, second]), torch.cat([second, first]), iou.repeat(2)


def suppress_masks(
    scores: Tensor,
    rows: Tensor,
    columns: Tensor,
    iou: Tensor,
    iou_threshold: float | Tensor,
    chosen: Tensor | None = None,
) -> Tensor:
    """``mask_nms`` where the overlaps are known already.

    Args:
        scores: float ``[N]``.
        rows, columns, iou: as ``mask_overlaps`` returns them.
        iou_threshold: see ``mask_nms``.
        chosen: bool ``[N]``, the masks that take part; None: all.

    Returns:
        int64 indices of the kept masks, the highest score first.
    """
    thresholds = torch.as_tensor(iou_threshold, dtype=torch.float64, device=scores.device)
    if not ((thresholds >= 0) & (thresholds <= 1)).all():
        raise InputError(f"mask NMS: IoU thresholds should lie in 0..1, found {thresholds.tolist()}")
    if scores.ndim != 1 or not scores.isfinite().all():
        raise InputError(f"mask NMS: scores should be finite and have shape [N], found shape {list(scores.shape)}")
    thresholds = thresholds.expand(len(scores))
    order = scores.sort(descending=True, stable=True).indices
    if chosen is not None:
        order = order[chosen[order]]
    rank = torch.full_like(scores, -1, dtype=torch.int64)
    rank[order] = torch.arange(len(order), device=scores.device)
    excludes = (rank[rows] >= 0) & (rank[rows] < rank[columns]) & (iou > thresholds[columns])
    return order[greedy_leaders(rank[rows[excludes]], rank[columns[excludes]], len(order))]
