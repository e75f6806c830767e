"""Groups of boxes that mean the same cell: pairs that overlap, greedy leaders, clusters around a running mean.

Everything here works on boxes in rank order, the best first, and says what a sequential algorithm would say: where
the classic formulation walks through the boxes one by one, the same answer is found as a fixed point of a vectorised
step. A step settles at least one more box, whatever the others do, so the fixed point exists, is the only one, and is
the sequential result; a handful of steps suffices in practice.
"""

import torch
from torch import Tensor

# Coordinates are compared in float64; this much slack keeps rounding from losing a candidate pair.
_SLACK = 1e-9


def overlapping_pairs(a: Tensor, b: Tensor, threshold: float) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs of boxes with an IoU above a threshold, found without looking at all N x M of them.

    Args:
        a: float64 ``[N, 4]``, corners x0, y0, x1, y1.
        b: float64 ``[M, 4]``.
        threshold: 0 up to 1; only an IoU above it counts.

    Returns:
        Indices into ``a`` int64 ``[P]``, indices into ``b`` int64 ``[P]`` and the IoU float64 ``[P]``, in no
        particular order.
    """
    rows, columns = _candidates(a, b, threshold)
    a, b = a.T.contiguous(), b.T.contiguous()
    # Most candidates share columns of the image but no rows: leave before the costlier part.
    height = torch.minimum(a[3][rows], b[3][columns]) - torch.maximum(a[1][rows], b[1][columns])
    level = (height > 0).nonzero()[:, 0]
    rows, columns = rows[level], columns[level]
    width = torch.minimum(a[2][rows], b[2][columns]) - torch.maximum(a[0][rows], b[0][columns])
    shared = width.clamp(min=0) * height[level]
    union = _area(a)[rows] + _area(b)[columns] - shared
    iou = torch.where(shared > 0, shared / union, 0.0)
    close = (iou > threshold).nonzero()[:, 0]
    return rows[close], columns[close], iou[close]


def _candidates(a: Tensor, b: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Pairs whose left edges are near enough for an IoU above the threshold.

    IoU in the plane is at most the IoU of the projections on x. There, I > t U means that the left edges are at most
    U - I < I (1 / t - 1) apart, and I is at most the width of either box.
    """
    width = (a[:, 2] - a[:, 0]).clamp(min=0)
    reach = width * (1 / threshold - 1) if threshold > 0 else torch.full_like(width, torch.inf)
    widest = (b[:, 2] - b[:, 0]).max().clamp(min=0) if len(b) else torch.zeros((), dtype=a.dtype, device=a.device)
    left, order = b[:, 0].contiguous().sort(stable=True)
    low = torch.searchsorted(left, a[:, 0] - torch.minimum(reach, widest) - _SLACK)
    high = torch.searchsorted(left, a[:, 0] + torch.minimum(reach, width) + _SLACK, right=True)
    counts = high - low
    rows = torch.arange(len(a), device=a.device).repeat_interleave(counts)
    before = counts.cumsum(0) - counts
    return rows, order[torch.arange(len(rows), device=a.device) + (low - before)[rows]]


def _area(edges: Tensor) -> Tensor:
    """Areas of boxes given as rows x0, y0, x1, y1: ``[4, N]`` to ``[N]``."""
    return (edges[2:] - edges[:2]).clamp(min=0).prod(dim=0)


def greedy_leaders(better: Tensor, worse: Tensor, count: int) -> Tensor:
    """Which items greedy suppression keeps: an item falls when a kept better one suppresses it.

    Args:
        better: int64 ``[P]``, ranks of the suppressing items of all pairs that exclude each other.
        worse: int64 ``[P]``, ranks of the other items, ``better < worse``.
        count: number of items.

    Returns:
        bool ``[count]``.
    """
    keep = torch.ones(count, dtype=torch.bool, device=better.device)
    while True:
        updated = torch.ones_like(keep)
        updated[worse[keep[better]]] = False
        if torch.equal(updated, keep):
            return keep
        keep = updated


def best_partner(rows: Tensor, columns: Tensor, iou: Tensor, count: int) -> Tensor:
    """For each of ``count`` columns the row with the largest IoU, ties to the lower row; -1 where there is no pair."""
    best = iou.new_full((count,), -1.0).scatter_reduce_(0, columns, iou, "amax")
    top = iou == best[columns]
    nobody = torch.iinfo(torch.int64).max
    partner = rows.new_full((count,), nobody).scatter_reduce_(0, columns[top], rows[top], "amin")
    return torch.where(partner < nobody, partner, -1)


def leader_clusters(boxes: Tensor, groups: Tensor, threshold: float) -> Tensor:
    """Clusters around the boxes that non-maximum suppression keeps.

    Args:
        boxes: float64 ``[K, 4]``, best first.
        groups: int64 ``[K]``; only boxes of one group can be together.
        threshold: an IoU above it puts a box with the leader that it overlaps most.

    Returns:
        int64 ``[K]``: the rank of each box's leader; its own for a leader.
    """
    own = torch.arange(len(boxes), device=boxes.device)
    better, worse, iou = overlapping_pairs(boxes, boxes, threshold)
    usable = (better < worse) & (groups[better] == groups[worse])
    better, worse, iou = better[usable], worse[usable], iou[usable]
    leads = greedy_leaders(better, worse, len(boxes))[better]
    leader = best_partner(better[leads], worse[leads], iou[leads], len(boxes))
    return torch.where(leader >= 0, leader, own)


def mean_clusters(boxes: Tensor, weights: Tensor, groups: Tensor, threshold: float) -> Tensor:
    """Clusters of weighted box fusion: a box joins the cluster whose mean box so far it overlaps most.

    Boxes arrive best first. Each time a box joins, its cluster's mean box moves, and later boxes see the new one.
    (Solovyev, Wang, Gabruseva: Weighted boxes fusion, 2021.)

    Args:
        boxes: float64 ``[K, 4]``, best first.
        weights: float64 ``[K]``, above 0: the part of each box in its cluster's mean.
        groups: int64 ``[K]``; only boxes of one group can be together.
        threshold: the IoU with the mean box that a joining box must exceed.

    Returns:
        int64 ``[K]``: the rank of the first box of each box's cluster.
    """
    own = torch.arange(len(boxes), device=boxes.device)
    cluster = own
    while True:
        clusters = Clusters(cluster)
        # Every arrival makes one state of its cluster, and that state meets the boxes up to the next arrival.
        states = clusters.prefix_sums(boxes * weights[:, None]) / clusters.prefix_sums(weights[:, None])
        arrived, replaced = clusters.order, clusters.next_arrival()
        state, box, iou = overlapping_pairs(states, boxes, threshold)
        meets = (arrived[state] < box) & (box <= replaced[state]) & (groups[arrived[state]] == groups[box])
        joined = best_partner(cluster[arrived[state[meets]]], box[meets], iou[meets], len(boxes))
        updated = torch.where(joined >= 0, joined, own)
        if torch.equal(updated, cluster):
            return cluster
        cluster = updated


class Clusters:
    """Boxes sorted by cluster, with sums over each cluster that do not depend on the other clusters.

    Args:
        cluster: int64 ``[K]``, any number naming the cluster of each box.

    Attributes:
        order: int64 ``[K]``, boxes sorted by cluster, in rank order within each.
        ends: int64 ``[C]``, where in ``order`` the last box of each cluster stands.
        number: int64 ``[K]``, number 0..C-1 of each box's cluster, in the order of the boxes.
    """

    def __init__(self, cluster: Tensor):
        names, self.order = cluster.sort(stable=True)
        starts = torch.ones_like(names, dtype=torch.bool)
        starts[1:] = names[1:] != names[:-1]
        first = starts.nonzero()[:, 0]
        self.ends = torch.cat([first[1:], first.new_full((min(1, len(first)),), len(names))]) - 1
        sorted_number = starts.cumsum(0) - 1
        self._rank = torch.arange(len(names), device=names.device) - first[sorted_number]
        self.number = torch.empty_like(sorted_number)
        self.number[self.order] = sorted_number

    def __len__(self) -> int:
        return len(self.ends)

    def prefix_sums(self, values: Tensor) -> Tensor:
        """Sums over each cluster's boxes up to every box, rows in the order of ``order``; ``values`` is ``[K, C]``."""
        sums = values[self.order]
        largest = int(self._rank.max()) if len(self._rank) else 0
        step = 1
        while step <= largest:
            earlier = torch.zeros_like(sums)
            earlier[step:] = sums[:-step]
            sums = sums + torch.where(self._rank[:, None] >= step, earlier, 0.0)
            step *= 2
        return sums

    def sums(self, values: Tensor) -> Tensor:
        """Sum of ``values`` ``[K, C]`` over each cluster, ``[len(self), C]``."""
        return self.prefix_sums(values)[self.ends]

    def next_arrival(self) -> Tensor:
        """For each place in ``order``, the next box of the same cluster; K after the last."""
        following = torch.full_like(self.order, len(self.order))
        following[:-1] = self.order[1:]
        following[self.ends] = len(self.order)
        return following
