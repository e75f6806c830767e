"""Groups of instances become cells: shares of weight, votes, scores, masks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from cellseg.ensemble.matching.groups import InstancePool, content_order, group_instances, pool_instances
from cellseg.ensemble.matching.options import RULES, MatchOptions
from cellseg.ensemble.votes.claims import claim_pixels
from cellseg.ensemble.votes.cleaning import clean
from cellseg.ensemble.votes.suppression import mask_overlaps, suppress_masks
from cellseg.errors import InputError
from cellseg.metrics import shared_pixels
from cellseg.structures import CropMasks, Instances
from cellseg.structures.windows import expand_ranges

# Shares of weight are rounded to this many decimals, so that equal ones are equal whatever the order of a sum was.
_DECIMALS = 6
_HALF_STEP = 0.5 * 10.0**-_DECIMALS


class Matcher:
    """Matches results with one set of options after another; what only depends on fewer of them is kept.

    Args:
        results, weights: see ``match_instances``.
    """

    def __init__(self, results: Sequence[Instances], weights: Sequence[float] | Tensor | None = None):
        values = _check(results, weights)
        chosen = [index for index, weight in enumerate(values) if weight > 0]
        self._weights = np.array([values[index] for index in chosen])
        self._pool = pool_instances([results[index].to("cpu") for index in chosen], self._weights)
        self._total = math.fsum(self._weights)
        self._image_size, self._class_names = results[0].image_size, results[0].class_names
        self._known: dict[float, _Groups] = {}
        self._cut: _Cut | None = None

    def match(self, options: MatchOptions) -> Instances:
        """The fused instances; see ``match_instances``."""
        masks, cells = self._settle(options)
        return Instances(
            boxes=masks.boxes(),
            scores=cells.scores,
            labels=cells.labels,
            masks=masks,
            image_size=self._image_size,
            class_names=self._class_names,
            uncertainty=self._disagreement(masks, cells, self._known[options.iou_threshold].home),
        )

    def masks(self, options: MatchOptions) -> CropMasks:
        """The masks of the fused instances only, which is faster."""
        return self._settle(options)[0]

    def _settle(self, options: MatchOptions) -> tuple[CropMasks, "_Groups"]:
        """The final masks, and the groups that they come from."""
        if options.weights is not None:
            raise InputError("matching.weights: results without names cannot take weights by name; see match_members")
        if options.iou_threshold not in self._known:
            home = group_instances(self._pool, options.iou_threshold)
            self._known[options.iou_threshold] = _make_groups(self._pool, home, self._weights, self._total)
        if self._cut is None or self._cut.key != (options.iou_threshold, options.mask_threshold):
            self._cut = _make_cut(self._known[options.iou_threshold], options)
        cells = self._cut.cells
        wanted = (cells.share > RULES[options.rule]) & (cells.scores >= options.score_threshold)
        cells = cells[suppress_masks(cells.scores, *self._cut.overlaps, options.nms_iou, chosen=wanted)]
        masks = clean(claim_pixels(cells.votes, cells.scores, options.mask_threshold))
        large = (masks.areas() >= max(options.min_area, 1)).nonzero()[:, 0]
        return masks[large].tight(), cells[large]

    def _disagreement(self, masks: CropMasks, cells: "_Groups", home: Tensor) -> Tensor:
        """1 - the weighted mean IoU of the members' masks with the final one, 0 for a member without: ``[N]``."""
        rows, columns, shared = shared_pixels(masks, self._pool.masks)
        own = cells.names[rows] == home[columns]
        rows, columns, shared = rows[own], columns[own], shared[own]
        iou = shared.double() / (masks.areas()[rows] + self._pool.masks.areas()[columns] - shared)
        agreed = torch.zeros(len(masks), dtype=torch.float64)
        agreed.index_add_(0, rows, iou * torch.from_numpy(self._weights[self._pool.members])[columns])
        return (1 - agreed / self._total).clamp(0, 1).float()


@dataclass(frozen=True)
class _Groups:
    """One candidate cell per group.

    Attributes:
        votes: float32, the part of the group's weight that has each pixel, in windows around all masks of the group.
        share: float64 ``[G]``, part of all members' weight that is in the group.
        scores: float32 ``[G]``.
        labels: int64 ``[G]``.
        names: int64 ``[G]``, the first instance of each group.
        home: int64 ``[N]``, the first instance of each instance's group.
    """

    votes: CropMasks
    share: Tensor
    scores: Tensor
    labels: Tensor
    names: Tensor
    home: Tensor

    def __getitem__(self, index: Tensor) -> "_Groups":
        parts = (part[index] for part in (self.votes, self.share, self.scores, self.labels, self.names))
        return _Groups(*parts, self.home)


def _make_groups(pool: InstancePool, home: np.ndarray, weights: np.ndarray, total: float) -> _Groups:
    """Votes, shares, scores and types of the groups.

    Args:
        pool: N instances.
        home: int64 ``[N]``, the first instance of each one's group.
        weights: float64 ``[M]``.
        total: their sum.
    """
    names, group = np.unique(home, return_inverse=True)
    count, weight = len(names), weights[pool.members]
    inside = np.bincount(group, weight, count)
    worth = weight * pool.scores
    # Of equals lexsort keeps the order, so the first instance of the list.
    order = np.lexsort((-worth, group))
    best = np.zeros(len(group), dtype=bool)
    best[order[np.searchsorted(group[order], np.arange(count))]] = True
    scores = np.bincount(group, worth, count) / total
    group_of, part, leads = (torch.from_numpy(values) for values in (group, weight / inside[group], best))
    return _Groups(
        votes=_vote(pool.masks, group_of, part, leads),
        share=torch.from_numpy(inside / total),
        scores=torch.from_numpy(scores.clip(0.0, 1.0)).float(),
        labels=torch.from_numpy(_labels(group, pool.labels, worth, weight, count)),
        names=torch.from_numpy(names),
        home=torch.from_numpy(home),
    )


def _vote(masks: CropMasks, group: Tensor, part: Tensor, best: Tensor) -> CropMasks:
    """The sum of the parts of the masks that have a pixel, group by group.

    A vote is shifted by half a step of the rounding, up where the group's best mask has the pixel and down elsewhere:
    a vote that is exactly the threshold means what that mask says.

    Args:
        masks: N bool masks.
        group: int64 ``[N]``, numbered without gaps.
        part: float64 ``[N]``, sums to 1 in each group.
        best: bool ``[N]``, one in each group.
    """
    count = int(group.max()) + 1 if len(group) else 0
    corner = group[:, None].expand(-1, 2)
    low = torch.full((count, 2), torch.iinfo(torch.int64).max).scatter_reduce_(0, corner, masks.windows[:, :2], "amin")
    high = torch.zeros((count, 2), dtype=torch.int64).scatter_reduce_(0, corner, masks.windows[:, 2:], "amax")
    windows = torch.cat([low, high], dim=1)
    spread = masks.rewindow(windows[group])
    sums = CropMasks(windows, torch.zeros(int(((high - low).prod(dim=1)).sum())), masks.image_size)
    lengths = torch.diff(sums.offsets)[group]
    place = expand_ranges(sums.offsets[:-1][group], lengths)
    votes = torch.zeros(len(sums.values), dtype=torch.float64)
    votes.index_add_(0, place, part.repeat_interleave(lengths, output_size=len(place)) * spread.values)
    lead = torch.zeros(len(sums.values), dtype=torch.bool)
    chosen = best.repeat_interleave(lengths, output_size=len(place)) & spread.values
    lead[place[chosen]] = True
    votes = votes.round_(decimals=_DECIMALS) + torch.where(lead, _HALF_STEP, -_HALF_STEP)
    return CropMasks(windows, votes.clamp_(0.0, 1.0).float(), masks.image_size)


def _labels(group: np.ndarray, labels: np.ndarray, worth: np.ndarray, weight: np.ndarray, count: int) -> np.ndarray:
    """The type of each group with the largest sum of weight x score, of equals that with the largest weight, then the
    first: int64 ``[count]``."""
    kinds = int(labels.max(initial=0)) + 1
    pairs, place = np.unique(group * kinds + labels, return_inverse=True)
    sums = [np.bincount(place, values, len(pairs)).round(_DECIMALS) for values in (weight, worth)]
    order = np.lexsort((pairs, -sums[0], -sums[1], pairs // kinds))
    first = np.searchsorted((pairs // kinds)[order], np.arange(count))
    return (pairs % kinds)[order[first]]


@dataclass(frozen=True)
class _Cut:
    """Groups cut at a mask threshold.

    Attributes:
        key: IoU threshold and mask threshold.
        cells: groups with pixels above the threshold, in windows around these, sorted by score, then by what they are.
        overlaps: of their masks, as ``mask_overlaps`` returns them.
    """

    key: tuple[float, float]
    cells: _Groups
    overlaps: tuple[Tensor, Tensor, Tensor]


def _make_cut(groups: _Groups, options: MatchOptions) -> _Cut:
    masks = groups.votes.threshold(options.mask_threshold).tight()
    order = torch.from_numpy(content_order(masks, groups.scores.numpy(), groups.labels.numpy()))
    order = order[masks.areas()[order] > 0]
    cells = replace(groups, votes=groups.votes.rewindow(masks.windows))[order]
    return _Cut((options.iou_threshold, options.mask_threshold), cells, mask_overlaps(masks[order]))


def _check(results: Sequence[Instances], weights: Sequence[float] | Tensor | None) -> list[float]:
    """The weights as numbers, when results and weights fit together."""
    if not results:
        raise InputError("matching: expected the result of at least one member, got none")
    for member, result in enumerate(results):
        if result.image_size != results[0].image_size:
            raise InputError(
                f"matching: result {member} is of an image of (height, width) {result.image_size}, result 0 of one of "
                f"{results[0].image_size}"
            )
        if result.class_names != results[0].class_names:
            raise InputError(
                f"matching: result {member} knows the types {list(result.class_names)}, result 0 knows "
                f"{list(results[0].class_names)}"
            )
        if result.masks.dtype != torch.bool:
            raise InputError(f"matching: masks of result {member} are {result.masks.dtype}, expected bool")
        if len(result) and not (0 <= result.scores.min() and result.scores.max() <= 1):
            raise InputError(f"matching: scores of result {member} should lie in 0..1")
    values = [1.0] * len(results) if weights is None else [float(weight) for weight in weights]
    if len(values) != len(results):
        raise InputError(f"matching: expected a weight for each of {len(results)} results, got {len(values)}")
    if not all(math.isfinite(value) and value >= 0 for value in values) or not any(values):
        raise InputError(f"matching: weights should be finite, 0 or more and not all 0, found {values}")
    return values
