"""Which instances of several members mean the same cell, decided by what they are and not by their order."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from cellseg.metrics import shared_pixels
from cellseg.structures import CropMasks, Instances


@dataclass(frozen=True)
class InstancePool:
    """The instances of all members in one list, the best first; what has no pixels is left out.

    Attributes:
        masks: N bool masks, in tight windows.
        scores: float64 ``[N]``.
        labels: int64 ``[N]``.
        members: int64 ``[N]``, number of the member that each comes from.
        rows: int64 ``[P]``, the first of each pair of touching instances of different members.
        columns: int64 ``[P]``, the second, behind the first in the list.
        iou: float64 ``[P]``, IoU of the pair.
    """

    masks: CropMasks
    scores: np.ndarray
    labels: np.ndarray
    members: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    iou: np.ndarray


def pool_instances(results: Sequence[Instances], weights: np.ndarray) -> InstancePool:
    """Join results of members.

    The order depends on scores and masks only, not on the order in which they came. A mask that stands twice in one
    result is taken once, with its better score.

    Args:
        results: of each member, on the CPU; all of one image size.
        weights: float64 ``[M]``, of the members; equal instances of members with different weights are told apart by
            these.
    """
    masks = CropMasks.cat([result.masks for result in results]).tight()
    scores = np.concatenate([result.scores.double().numpy() for result in results])
    labels = np.concatenate([result.labels.numpy() for result in results])
    members = np.repeat(np.arange(len(results)), [len(result) for result in results])
    order = content_order(masks, scores, labels, weights[members])
    order = order[masks.areas().numpy()[order] > 0]
    # The masks of one member, without repetitions: of equal ones the first, which has the best score.
    kinds = np.column_stack([members, masks.windows.numpy(), fingerprints(masks).view(np.int64)])[order]
    order = order[np.sort(np.unique(kinds, axis=0, return_index=True)[1])]
    masks = masks[torch.from_numpy(order)]
    members = members[order]
    rows, columns, iou = _overlaps_across(masks, members, len(results))
    return InstancePool(masks, scores[order], labels[order], members, rows, columns, iou)


def content_order(masks: CropMasks, scores: np.ndarray, labels: np.ndarray, *others: np.ndarray) -> np.ndarray:
    """Indices that sort instances by score (the highest first), then by box, pixels and label: int64 ``[N]``.

    Args:
        masks: N bool masks in tight windows.
        scores: ``[N]``.
        labels: ``[N]``.
        *others: ``[N]`` each, what else tells equal ones apart.
    """
    boxes = masks.windows.numpy().T
    return np.lexsort((*others, labels, fingerprints(masks), *boxes[::-1], -scores))


def fingerprints(masks: CropMasks) -> np.ndarray:
    """A number for each mask that practically only equal masks share: uint64 ``[N]``, 0 for an empty mask."""
    instance, position = (part.numpy() for part in masks.foreground_index())
    # Each pixel gets a number without pattern (the finalizer of SplitMix64), and a mask the sum of its pixels'. Sums
    # may run over: differences of a running sum are right all the same.
    key = (position.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        key = (key ^ (key >> np.uint64(shift))) * np.uint64(factor)
    running = np.concatenate([np.zeros(1, np.uint64), np.cumsum(key ^ (key >> np.uint64(31)), dtype=np.uint64)])
    bounds = np.searchsorted(instance, np.arange(len(masks) + 1))
    return np.diff(running[bounds])


def _overlaps_across(masks: CropMasks, members: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Touching pairs of different members, each once with the lower index first, and their IoU."""
    areas = masks.areas()
    own = [torch.from_numpy(np.flatnonzero(members == member)) for member in range(count)]
    nothing = torch.zeros(0, dtype=torch.int64)
    parts: list[tuple[Tensor, ...]] = [(nothing, nothing, nothing)]
    for a, b in combinations(own, 2):
        rows, columns, shared = shared_pixels(masks[a], masks[b])
        parts.append((a[rows], b[columns], shared))
    first, second, shared = (torch.cat(part) for part in zip(*parts, strict=True))
    iou = shared.double() / (areas[first] + areas[second] - shared)
    return torch.minimum(first, second).numpy(), torch.maximum(first, second).numpy(), iou.numpy()


def group_instances(pool: InstancePool, iou_threshold: float) -> np.ndarray:
    """Put instances that mean the same cell together, at most one of each member.

    Pairs are looked at from the largest IoU down. Their groups become one when no member has an instance in both and
    the mean IoU of all pairs across the two exceeds the threshold, so that two cells do not come together over a third
    mask that lies on both.

    Args:
        pool: the instances.
        iou_threshold: 0 up to 1.

    Returns:
        int64 ``[N]``: for each instance the first instance of its group.
    """
    overlap = dict(zip(zip(pool.rows.tolist(), pool.columns.tolist(), strict=True), pool.iou.tolist(), strict=True))
    close = np.flatnonzero(pool.iou > iou_threshold)
    order = close[np.lexsort((pool.columns[close], pool.rows[close], -pool.iou[close]))]
    members = pool.members.tolist()
    groups = [[index] for index in range(len(members))]
    home = list(range(len(members)))
    for row, column in zip(pool.rows[order].tolist(), pool.columns[order].tolist(), strict=True):
        a, b = groups[home[row]], groups[home[column]]
        if not {members[index] for index in a}.isdisjoint(members[index] for index in b):
            continue  # also where the two are together already
        across = math.fsum(overlap.get((min(i, j), max(i, j)), 0.0) for i in a for j in b)
        if across > iou_threshold * len(a) * len(b):
            target = min(home[row], home[column])
            joined = sorted(a + b)
            groups[target] = joined
            for index in joined:
                home[index] = target
    return np.array(home, dtype=np.int64)
