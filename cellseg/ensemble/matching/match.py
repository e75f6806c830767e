"""Matching of finished instances: the same cell in several results becomes one, by the overlap of masks.

The way to combine what cannot answer for foreign boxes: results of other programs, or members that give only masks.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import torch
from torch import Tensor

from cellseg.ensemble.matching.matcher import Matcher
from cellseg.ensemble.matching.options import RULES, MatchOptions, parse_match_options
from cellseg.errors import InputError
from cellseg.metrics.competition import precision
from cellseg.metrics.matching import Overlap, count_matches, measure_overlap
from cellseg.structures import CropMasks, Instances

__all__ = [
    "RULES",
    "MatchOptions",
    "Matcher",
    "match_instances",
    "match_members",
    "parse_match_options",
    "tune_matching",
    "weights_of",
]

DEFAULTS = MatchOptions()

# What tuning tries for each option. Options of one block act on each other and are tried in all combinations: how
# masks are grouped and where they end, and which groups stay.
BLOCKS = (
    {"iou_threshold": (0.3, 0.4, 0.5, 0.6, 0.7), "mask_threshold": (0.2, 0.35, 0.5, 0.65, 0.8)},
    {"rule": tuple(RULES), "score_threshold": tuple(step / 10 for step in range(10))},
)
_RANDOM_STARTS = 1

# Images matched in one pass: enough to drown the cost of a call, few enough for the processor's cache.
_MAX_INSTANCES = 4000
_MAX_PIXELS = 1 << 20


def match_instances(
    results: Sequence[Instances],
    weights: Sequence[float] | Tensor | None = None,
    options: MatchOptions = DEFAULTS,
) -> Instances:
    """Fuse what several members found in one image.

    1. Instances of different members that overlap enough are grouped, at most one of each member, from the largest IoU
       down; see ``group_instances``. Cell types do not matter for this.
    2. The rule decides which groups stay, by the part of all members' weight that found them.
    3. A pixel's vote is the part of the weight of the members in the group that have the pixel in their masks. Members
       that did not find the cell have no say here: consensus decides whether there is a cell, the vote decides where.
       The mask is where the vote exceeds ``mask_threshold``.
    4. The score is the weighted mean of the scores over all members, 0 for members that are not in the group. The type
       is the one with the largest weighted sum of scores. Cells below ``score_threshold`` go.
    5. Mask NMS; contested pixels to the cell with the highest vote there; the largest part stays, holes are filled as
       far as no other cell has them; masks below ``min_area`` go.

    The order of members and of instances changes nothing: what is equal is told apart by score, then box, then pixels.

    Args:
        results: one for each member, in any order; all of one image and with the same cell types.
        weights: float ``[M]``, 0 or more, not all 0; None: equal. A member of weight 0 is left out.
        options: see ``MatchOptions``; ``weights`` in them need names, see ``match_members``.

    Returns:
        Instances without overlaps on the CPU, the highest score first; none where no member found any. Their
        uncertainty is 1 - the weighted mean, over all members, of the IoU of a member's mask with the final one, 0 for
        members that did not find the cell.

    Raises:
        InputError: results, weights or scores that do not fit together or lie out of range.
    """
    return Matcher(results, weights).match(options)


def match_members(found: Mapping[str, Instances], options: MatchOptions = DEFAULTS) -> Instances:
    """``match_instances`` for members with names, with the weights that the options give these.

    Raises:
        InputError: a weight for a member that is not there, or see ``match_instances``.
    """
    weights = weights_of(tuple(found), options)
    return match_instances(list(found.values()), weights, replace(options, weights=None))


def weights_of(names: Sequence[str], options: MatchOptions) -> list[float]:
    """The weight of each member; 1 where the options say nothing.

    Raises:
        InputError: a weight for a name that is not there, or all are 0.
    """
    given = options.weights or {}
    unknown = [name for name in given if name not in names]
    if unknown:
        raise InputError(f"matching.weights: no member {unknown[0]!r}; there are {', '.join(names)}")
    weights = [float(given.get(name, 1.0)) for name in names]
    if not any(weights):
        raise InputError(f"matching.weights: the weights of {', '.join(names)} are all 0")
    return weights


def tune_matching(
    results: Sequence[Sequence[Instances]],
    truths: Sequence[CropMasks],
    seed: int = 0,
    start: MatchOptions = DEFAULTS,
    weights: Sequence[float] | None = None,
) -> tuple[MatchOptions, float]:
    """Search rule, IoU, mask and score thresholds for the best competition mAP on images with known cells.

    Blocks of options are changed one after the other, each to its best combination in ``BLOCKS``, until nothing gets
    better; from ``start`` and from a few random places.

    Args:
        results: for each image the result of each member, always in the same order.
        truths: the true cells of each image, bool, on the CPU.
        seed: of the random places.
        start: where the search starts; options that it does not change stay as they are here. Of equally good options
            those nearest to it, in the order of the search, stay.
        weights: of the members, see ``match_instances``.

    Returns:
        The best options, and their competition mAP on these images (which is too good for other images).

    Raises:
        InputError: no images, lists of different lengths, or see ``match_instances``.
    """
    if not results or len(results) != len(truths):
        raise InputError(f"tune_matching: {len(results)} images with results, {len(truths)} with true cells")
    batches = [_Batch(results[part], truths[part], weights) for part in _split(results)]
    names = [name for block in BLOCKS for name in block]
    known: dict[tuple, float] = {}

    def value(options: MatchOptions) -> float:
        key = tuple(getattr(options, name) for name in names)
        if key not in known:
            known[key] = float(torch.cat([batch.score(options) for batch in batches]).mean())
        return known[key]

    generator = np.random.default_rng(seed)
    starts = [start]
    for _ in range(_RANDOM_STARTS):
        drawn = {name: tried[generator.integers(len(tried))] for block in BLOCKS for name, tried in block.items()}
        starts.append(replace(start, **drawn))
    best = max((_climb(options, value) for options in starts), key=value)  # of equals the first
    return best, value(best)


def _climb(options: MatchOptions, value: Callable[[MatchOptions], float]) -> MatchOptions:
    """Options of which none can be made better by changing one block."""
    while True:
        before = options
        for block in BLOCKS:
            tried = (replace(options, **dict(zip(block, values, strict=True))) for values in product(*block.values()))
            options = max([options, *tried], key=value)
        if options == before:
            return options


def _split(results: Sequence[Sequence[Instances]]) -> list[slice]:
    """Consecutive images that are matched together."""
    parts, start, instances, pixels = [], 0, 0, 0
    for index, found in enumerate(results):
        count = sum(len(result) for result in found)
        area = found[0].image_size[0] * found[0].image_size[1] if found else 0
        if index > start and (instances + count > _MAX_INSTANCES or pixels + area > _MAX_PIXELS):
            parts.append(slice(start, index))
            start, instances, pixels = index, 0, 0
        instances, pixels = instances + count, pixels + area
    return [*parts, slice(start, len(results))]


class _Batch:
    """Some images below each other in one tall image; nothing reaches from one into another."""

    def __init__(
        self, results: Sequence[Sequence[Instances]], truths: Sequence[CropMasks], weights: Sequence[float] | None
    ):
        members = len(results[0])
        if any(len(found) != members for found in results):
            raise InputError("tune_matching: expected the result of every member for each image")
        sizes = [truth.image_size for truth in truths]
        for found, size in zip(results, sizes, strict=True):
            if any(result.image_size != size for result in found):
                raise InputError(f"tune_matching: results and true cells of an image differ in size ({size})")
        self._tops = torch.tensor([0] + [size[0] for size in sizes]).cumsum(0)
        self._size = (int(self._tops[-1]), max(size[1] for size in sizes))
        stacked = [self._stack([found[member] for found in results]) for member in range(members)]
        self._matcher = Matcher(stacked, weights)
        self._truth = self._stack_masks(truths)
        self._true = torch.tensor([len(truth) for truth in truths])

    def _stack(self, parts: Sequence[Instances]) -> Instances:
        names = {part.class_names for part in parts}
        if len(names) > 1:
            raise InputError(f"tune_matching: results know different types: {sorted(map(list, names))}")
        masks = self._stack_masks([part.masks for part in parts])
        return Instances(
            boxes=masks.windows,
            scores=torch.cat([part.scores for part in parts]),
            labels=torch.cat([part.labels for part in parts]),
            masks=masks,
            image_size=self._size,
            class_names=parts[0].class_names,
        )

    def _stack_masks(self, parts: Sequence[CropMasks]) -> CropMasks:
        windows = torch.cat([part.windows for part in parts])
        windows[:, 1::2] += self._tops[:-1].repeat_interleave(torch.tensor([len(part) for part in parts]))[:, None]
        return CropMasks(windows, torch.cat([part.values for part in parts]), self._size)

    def score(self, options: MatchOptions) -> Tensor:
        """Competition mAP of each image, float64 ``[I]``."""
        masks = self._matcher.masks(options)
        image = torch.searchsorted(self._tops, masks.windows[:, 1].contiguous(), right=True) - 1
        predicted = torch.bincount(image, minlength=len(self._true))
        overlap = measure_overlap(masks, self._truth)
        pair_image = image.numpy()[overlap.rows]
        counts = []
        for index, (found, true) in enumerate(zip(predicted, self._true, strict=True)):
            own = pair_image == index
            pairs = (overlap.rows[own], overlap.columns[own], overlap.shared[own])
            matched = torch.from_numpy(count_matches(Overlap(overlap.prediction_areas, overlap.truth_areas, *pairs)))
            counts.append(torch.stack([matched, found - matched, true - matched], dim=1))
        return precision(torch.stack(counts)).mean(dim=1)
