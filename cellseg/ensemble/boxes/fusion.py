"""Box fusion: from the boxes of several detectors to one box per cell, with what each detector thought of it."""

from typing import NamedTuple

import torch
from torch import Tensor

from cellseg.ensemble.boxes.checks import check_boxes, check_options, check_weights
from cellseg.ensemble.boxes.clusters import Clusters, leader_clusters, mean_clusters, overlapping_pairs
from cellseg.errors import InputError


class FusedBoxes(NamedTuple):
    """One box per cell, the best first.

    Attributes:
        boxes: float32 ``[N, 4]``, xyxy in pixels.
        scores: float32 ``[N]`` in 0..1.
        labels: int64 ``[N]``.
        confidence: float32 ``[M, N]``: the highest score that each member gave to a box of this cell, 0 if it found
            none.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    confidence: Tensor


class _Ranked(NamedTuple):
    """Boxes with weighted scores, best first; equal scores by what the boxes are."""

    boxes: Tensor  # float64 [K, 4]
    scores: Tensor  # float64 [K], score x weight of its member
    raw_scores: Tensor  # float64 [K]
    labels: Tensor  # int64 [K]
    groups: Tensor  # int64 [K], boxes of different groups are never fused
    members: Tensor  # int64 [K]
    weights: Tensor  # float64 [M]


def fuse_boxes(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    members: Tensor,
    num_members: int | None = None,
    method: str = "wbf",
    iou_threshold: float = 0.55,
    weights: Tensor | None = None,
    skip_score: float = 0.0,
    across_classes: bool = False,
    rule: str | None = None,
    decay: str | None = None,
    sigma: float | None = None,
    min_score: float | None = None,
) -> FusedBoxes:
    """Fuse the boxes of several detectors.

    Boxes are taken in the order of score x weight of their member; equal ones by score, corners and label, the smaller
    first, so that the result does not depend on the order of boxes and members. Methods:

    - ``wbf``, weighted box fusion (Solovyev et al. 2021): clusters around a running mean; the fused box is the mean
      weighted by score x weight.
    - ``nmw``, non-maximum weighted (Zhou et al. 2017): clusters around the boxes that NMS keeps; the fused box is the
      mean weighted by score x weight x IoU with the kept box, whose score stays.
    - ``nms``: greedy non-maximum suppression.
    - ``soft_nms`` (Bodla et al. 2017): overlapping boxes lose score instead of falling.

    Args:
        boxes: float ``[K, 4]``, xyxy, of all members together.
        scores: float ``[K]`` in 0..1.
        labels: int64 ``[K]``, 0 or more.
        members: int64 ``[K]``, which member each box comes from, 0..M-1.
        num_members: M; None: one more than the largest in ``members``.
        method: one of those above.
        iou_threshold: boxes with an IoU above it mean the same cell; in 0..1.
        weights: float ``[M]``, 0 or more, not all 0; None: 1 each. Boxes of a member of weight 0 are left out.
        skip_score: boxes with a lower score are left out.
        across_classes: fuse boxes of different labels too. The label with the largest sum of weighted scores wins
            (``wbf``, ``nmw``); with ``nms`` and ``soft_nms`` each box keeps its own.
        rule: score of a fused box, ``wbf`` only. With S the sum and n the number of weighted scores in the cluster, W
            the sum of all weights: ``avg`` (default) S / n * min(M, n) / W; ``max`` the largest over the largest
            weight; ``box_and_model_avg`` S over the weights of the cluster's boxes, times the weights of its members
            over W; ``absent_model_aware_avg`` S over the weights of the cluster's boxes and of the absent members.
            M counts members of weight above 0. Scores above 1, possible with unequal weights, become 1.
        decay: ``soft_nms`` only: ``gaussian`` (default), factor exp(-IoU^2 / sigma), or ``linear``, factor 1 - IoU
            where the IoU exceeds the threshold.
        sigma: ``gaussian`` only, above 0 (default 0.5).
        min_score: ``soft_nms`` only: boxes that end with a score not above it are left out (default 0.001).

    Returns:
        Fused boxes, best first. With ``nms``, ``nmw`` and ``soft_nms`` scores are multiplied by the member's weight
        over the largest weight.

    Raises:
        InputError: shapes, values or options that cannot be used, NaN or infinite ones among them.
    """
    check_options(method, iou_threshold, rule, decay, sigma, min_score)
    ranked = _rank(boxes, scores, labels, members, num_members, weights, skip_score, across_classes)
    if len(ranked.boxes) == 0:
        return FusedBoxes(
            boxes[:0].float(), scores[:0].float(), labels[:0].long(), scores.new_zeros((len(ranked.weights), 0))
        )
    if method == "wbf":
        fused = _fuse_means(ranked, iou_threshold, rule or "avg")
    elif method == "nmw":
        fused = _fuse_around_leaders(ranked, iou_threshold)
    elif method == "nms":
        fused = _keep_leaders(ranked, iou_threshold)
    else:
        fused = _decay_scores(
            ranked,
            iou_threshold,
            sigma=(0.5 if sigma is None else sigma) if decay != "linear" else None,
            min_score=0.001 if min_score is None else min_score,
        )
    order = fused.scores.sort(descending=True, stable=True).indices
    return FusedBoxes(
        fused.boxes[order].float(),
        fused.scores[order].clamp(max=1.0).float(),
        fused.labels[order],
        fused.confidence[:, order].float(),
    )


def _fuse_means(ranked: _Ranked, threshold: float, rule: str) -> FusedBoxes:
    # A cluster whose scores are all zero still needs a mean: the plain one.
    parts = ranked.scores.clamp(min=1e-12)
    clusters = Clusters(mean_clusters(ranked.boxes, parts, ranked.groups, threshold))
    boxes = clusters.sums(ranked.boxes * parts[:, None]) / clusters.sums(parts[:, None])
    confidence = _member_confidence(ranked, clusters)
    return FusedBoxes(boxes, _cluster_scores(ranked, clusters, rule), _cluster_labels(ranked, clusters), confidence)


def _cluster_scores(ranked: _Ranked, clusters: Clusters, rule: str) -> Tensor:
    box_weights = ranked.weights[ranked.members]
    counted = torch.stack([ranked.scores, box_weights, torch.ones_like(ranked.scores)], dim=1)
    total, weight, count = clusters.sums(counted).unbind(1)
    present = _table(ranked, clusters, torch.ones_like(ranked.scores)) > 0
    member_weight = (present * ranked.weights[:, None]).sum(0)
    if rule == "max":
        best = _table(ranked, clusters, ranked.scores).amax(0)
        return best / ranked.weights.max()
    if rule == "box_and_model_avg":
        return total / weight * member_weight / ranked.weights.sum()
    if rule == "absent_model_aware_avg":
        return total / (weight + ranked.weights.sum() - member_weight)
    voters = (ranked.weights > 0).sum()
    return total / count * torch.minimum(voters, count) / ranked.weights.sum()


def _fuse_around_leaders(ranked: _Ranked, threshold: float) -> FusedBoxes:
    leader = leader_clusters(ranked.boxes, ranked.groups, threshold)
    clusters = Clusters(leader)
    parts = ranked.scores.clamp(min=1e-12) * _paired_iou(ranked.boxes, ranked.boxes[leader])
    # A box without area has no IoU with anything, itself included; alone in its cluster it stays what it is.
    parts = torch.where(leader == torch.arange(len(leader), device=leader.device), parts.clamp(min=1e-12), parts)
    boxes = clusters.sums(ranked.boxes * parts[:, None]) / clusters.sums(parts[:, None])
    scores = ranked.scores[leader[clusters.order[clusters.ends]]] / ranked.weights.max()
    return FusedBoxes(boxes, scores, _cluster_labels(ranked, clusters), _member_confidence(ranked, clusters))


def _keep_leaders(ranked: _Ranked, threshold: float) -> FusedBoxes:
    clusters = Clusters(leader_clusters(ranked.boxes, ranked.groups, threshold))
    kept = clusters.order[torch.cat([clusters.ends.new_zeros(min(1, len(clusters))), clusters.ends[:-1] + 1])]
    scores = ranked.scores[kept] / ranked.weights.max()
    return FusedBoxes(ranked.boxes[kept], scores, ranked.labels[kept], _member_confidence(ranked, clusters))


def _decay_scores(ranked: _Ranked, threshold: float, sigma: float | None, min_score: float) -> FusedBoxes:
    """Soft-NMS; only boxes that overlap touch each other."""
    first, second, iou = overlapping_pairs(ranked.boxes, ranked.boxes, 0.0)
    usable = (first != second) & (ranked.groups[first] == ranked.groups[second])
    first, second, iou = first[usable], second[usable], iou[usable]
    factor = torch.exp(-iou.square() / sigma) if sigma is not None else torch.where(iou > threshold, 1 - iou, 1.0)
    touched = factor < 1
    scores = _decayed(ranked.scores / ranked.weights.max(), first[touched], second[touched], factor[touched])
    kept = (scores > min_score).nonzero()[:, 0]
    # There are no clusters: what a member thought of a cell is its best score among the boxes close to it.
    close = iou > threshold
    confidence = ranked.raw_scores.new_zeros(len(ranked.weights) * len(scores))
    own = torch.arange(len(scores), device=scores.device)
    cell, box = torch.cat([first[close], own]), torch.cat([second[close], own])
    place = ranked.members[box] * len(scores) + cell
    confidence = confidence.scatter_reduce_(0, place, ranked.raw_scores[box], "amax").view(len(ranked.weights), -1)
    return FusedBoxes(ranked.boxes[kept], scores[kept], ranked.labels[kept], confidence[:, kept])


def _decayed(scores: Tensor, first: Tensor, second: Tensor, factor: Tensor) -> Tensor:
    """Scores after every box, the best of those that wait, multiplied those of its waiting neighbours.

    Scores only fall, and only by better neighbours. So a box that is better than all its waiting neighbours has its
    turn before any of them, whatever the others do, and all such boxes can have it at once.

    Args:
        scores: float64 ``[K]``; equal ones take turns in this order.
        first: int64 ``[P]``, one box of each pair of neighbours; every pair is there both ways round.
        second: int64 ``[P]``, the other.
        factor: float64 ``[P]`` in 0..1.

    Returns:
        float64 ``[K]``.
    """
    values = scores.clone()
    while len(first):
        own, others = values[first], values[second]
        ahead = (others > own) | ((others == own) & (second < first))
        waits = torch.zeros_like(values, dtype=torch.bool)
        waits[first[ahead]] = True
        turn = ~waits[first]
        values.scatter_reduce_(0, second[turn], factor[turn], "prod")
        left = waits[first] & waits[second]
        first, second, factor = first[left], second[left], factor[left]
    return values


def _member_confidence(ranked: _Ranked, clusters: Clusters) -> Tensor:
    return _table(ranked, clusters, ranked.raw_scores)


def _table(ranked: _Ranked, clusters: Clusters, values: Tensor) -> Tensor:
    """The largest of ``values`` by member and cluster, ``[M, C]``; 0 where a member has no box in a cluster."""
    flat = values.new_zeros(len(ranked.weights) * len(clusters))
    place = ranked.members * len(clusters) + clusters.number
    return flat.scatter_reduce_(0, place, values, "amax").view(len(ranked.weights), len(clusters))


def _cluster_labels(ranked: _Ranked, clusters: Clusters) -> Tensor:
    known, which = ranked.labels.unique(return_inverse=True)
    if len(known) == 0:
        return ranked.labels
    votes = torch.nn.functional.one_hot(which, len(known)) * ranked.scores.clamp(min=1e-12)[:, None]
    return known[clusters.sums(votes).argmax(dim=1)]


def _paired_iou(a: Tensor, b: Tensor) -> Tensor:
    corner, opposite = torch.maximum(a[:, :2], b[:, :2]), torch.minimum(a[:, 2:], b[:, 2:])
    shared = (opposite - corner).clamp(min=0).prod(dim=1)
    areas = (a[:, 2:] - a[:, :2]).prod(dim=1) + (b[:, 2:] - b[:, :2]).prod(dim=1)
    return torch.where(shared > 0, shared / (areas - shared), 0.0)


def _rank(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    members: Tensor,
    num_members: int | None,
    weights: Tensor | None,
    skip_score: float,
    across_classes: bool,
) -> _Ranked:
    num_members = check_boxes(boxes, scores, labels, members, num_members)
    weights = check_weights(weights, num_members, boxes.device)
    if not 0 <= skip_score <= 1:
        raise InputError(f"fuse_boxes: skip_score {skip_score} should lie in 0..1")
    raw_scores = scores.double()
    weighted = raw_scores * weights[members]
    used = ((weights[members] > 0) & (raw_scores >= skip_score)).nonzero()[:, 0]
    order = used
    for key in (labels, *boxes.T.flip(0), raw_scores):
        order = order[key[order].sort(stable=True).indices]
    order = order[weighted[order].sort(descending=True, stable=True).indices]
    labels = labels[order].long()
    groups = torch.zeros_like(labels) if across_classes else labels
    return _Ranked(
        boxes[order].double(), weighted[order], raw_scores[order], labels, groups, members[order].long(), weights
    )
