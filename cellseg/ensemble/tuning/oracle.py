"""Ceilings: what the ensemble would score if one of its stages were perfect. They show where the rest is lost."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from cellseg.ensemble.boxes.clusters import best_partner
from cellseg.ensemble.boxes.options import FusionOptions
from cellseg.ensemble.evidence.answers import Answers
from cellseg.ensemble.evidence.collect import ask_members
from cellseg.ensemble.evidence.values import ImageEvidence
from cellseg.ensemble.settings import EnsembleSettings
from cellseg.ensemble.tuning.cases import Case, Interval, base_scores, case_groups, change_all, difference_with_interval
from cellseg.ensemble.votes.claims import claim_pixels
from cellseg.ensemble.votes.resolve import Candidates, cast_votes, make_candidates, resolve, settle_pixels
from cellseg.ensemble.votes.suppression import mask_overlaps, suppress_masks
from cellseg.metrics import best_pairs, box_iou, competition_map, measure_overlap, shared_pixels
from cellseg.structures import CropMasks
from cellseg.structures.windows import pixel_positions

CEILINGS = {
    "true boxes": "the boxes of the true cells instead of the fused ones",
    "true masks": "the true outline for each fused box with an IoU of 0.5 or more with a true cell's",
    "perfect claims": "contested pixels go to the cell that they belong to",
    "perfect selection": "of all masks, for each true cell the one that fits best at IoU > 0.5, and no others",
}


@dataclass(frozen=True)
class Ceiling:
    """What a perfect stage would be worth.

    Attributes:
        name: one of ``CEILINGS``.
        map: competition mAP with it.
        loss: that minus the mAP of the ensemble: what the stage loses.
        interval: 95% interval of the loss, by a bootstrap over groups; None where all images are of one group.
    """

    name: str
    map: float
    loss: float
    interval: Interval | None


def ask_about_truth(
    answers: Sequence[Answers],
    image_size: tuple[int, int],
    truth: CropMasks,
    labels: Tensor,
    options: FusionOptions,
) -> ImageEvidence:
    """Ask all members about the boxes of the true cells, as if they were fused boxes of score 1.

    Args:
        answers: of the members; of combiners with all their inputs.
        image_size: (height, width).
        truth: the true cells, bool.
        labels: int64 ``[N]``, their types.
        options: for the windows.
    """
    there = truth.areas() > 0
    boxes = truth[there].boxes()
    return ask_members(answers, boxes, torch.ones(len(boxes)), labels[there], options, image_size)


def measure_ceilings(
    cases: Sequence[Case], groups: Sequence[str], true_boxes: Mapping[int, ImageEvidence]
) -> list[Ceiling]:
    """Score the ensemble with one stage made perfect, all others as tuned.

    Args:
        cases: images with the settings to score them with.
        groups: the group of each image, in the order of the whole pool.
        true_boxes: ``ask_about_truth`` of each image, by its place in the whole pool.

    Returns:
        In the order of ``CEILINGS``.
    """
    own, base = case_groups(cases, groups), base_scores(cases)
    perfect: dict[str, Callable[[ImageEvidence, ImageEvidence, CropMasks, EnsembleSettings], CropMasks]] = {
        "true boxes": lambda image, boxes, truth, settings: with_true_boxes(boxes, settings),
        "true masks": lambda image, boxes, truth, settings: with_true_masks(image, truth, settings),
        "perfect claims": lambda image, boxes, truth, settings: with_perfect_claims(image, truth, settings),
        "perfect selection": lambda image, boxes, truth, settings: with_perfect_selection(image, truth, settings),
    }
    found = []
    for name in CEILINGS:
        reached: list[float] = []
        for case in cases:
            images = case.evidence()
            parts = zip(images, [true_boxes[index] for index in case.images], case.pool.truths, strict=True)
            with torch.inference_mode():
                masks = [perfect[name](image, boxes, truth, case.settings) for image, boxes, truth in parts]
            reached += competition_map(masks, case.pool.truths).per_image.tolist()
        loss, interval = difference_with_interval(reached, base, own)
        found.append(Ceiling(name, float(np.mean(reached)), loss, interval))
    return found


def with_true_boxes(boxes: ImageEvidence, settings: EnsembleSettings) -> CropMasks:
    """Masks in the boxes of the true cells, all of which stay."""
    return resolve(boxes, change_all(settings, score_threshold=0.0, nms_iou=1.0, min_area=0)).masks


def with_true_masks(image: ImageEvidence, truth: CropMasks, settings: EnsembleSettings) -> CropMasks:
    """Masks where each box that is good enough has the outline of its true cell.

    Scores stay what they are, so that selection stays the same; true outlines are not cleaned, their holes and parts
    are true.
    """
    candidates = _candidates(image, settings)
    overlap = box_iou(image.boxes[candidates.places], truth.boxes())
    if overlap.numel():
        best, cell = overlap.max(dim=1)
        good = best >= 0.5
        own = truth[cell[good]].tight()
        outlines = CropMasks(own.windows, own.values.float(), own.image_size)
        # Where each candidate stands once those with a true outline come first.
        place = torch.cat([good.nonzero()[:, 0], (~good).nonzero()[:, 0]]).argsort()
        candidates = replace(
            candidates,
            votes=CropMasks.cat([outlines, candidates.votes[~good]])[place],
            masks=CropMasks.cat([own, candidates.masks[~good]])[place],
        )
    return settle_pixels(_select(candidates, settings), change_all(settings, fill_holes=False, largest_part=False))[0]


def with_perfect_claims(image: ImageEvidence, truth: CropMasks, settings: EnsembleSettings) -> CropMasks:
    """Masks where a pixel goes to the instance whose true cell it belongs to, if that instance wants it."""
    chosen = _select(_candidates(image, settings), settings)
    rows, columns, shared = shared_pixels(chosen.masks, truth)
    iou = shared.double() / (chosen.masks.areas()[rows] + truth.areas()[columns] - shared)
    cell = best_partner(columns, rows, iou, len(chosen.masks))
    found = cell >= 0
    own = torch.zeros_like(chosen.masks.values)
    lengths = torch.diff(chosen.votes.offsets)
    own[found.repeat_interleave(lengths)] = truth[cell[found]].rewindow(chosen.votes.windows[found]).values
    first = _claim(chosen, own, settings)
    pixel = pixel_positions(chosen.votes.windows, image.image_size[1])
    taken = torch.zeros(image.image_size[0] * image.image_size[1], dtype=torch.bool)
    taken[pixel[first]] = True
    settled = first | _claim(chosen, ~taken[pixel], settings)
    # Nothing is contested any more, and what follows is as always.
    return settle_pixels(replace(chosen, votes=_only(chosen.votes, settled)), settings)[0]


def with_perfect_selection(image: ImageEvidence, truth: CropMasks, settings: EnsembleSettings) -> CropMasks:
    """The masks that fit true cells, one for each, whatever their scores and areas are."""
    candidates = _candidates(image, settings)
    pairs = best_pairs(measure_overlap(candidates.masks, truth))
    kept = torch.as_tensor(pairs.rows, dtype=torch.int64)
    kept = kept[candidates.scores[kept].sort(descending=True, stable=True).indices]
    return settle_pixels(candidates[kept], change_all(settings, min_area=0))[0]


def _candidates(image: ImageEvidence, settings: EnsembleSettings) -> Candidates:
    return make_candidates(cast_votes(image, settings), image, settings)


def _select(candidates: Candidates, settings: EnsembleSettings) -> Candidates:
    """Those with enough score that mask NMS leaves, the highest score first."""
    candidates = candidates[candidates.scores >= settings.by_label("score_threshold", candidates.labels)]
    thresholds = settings.by_label("nms_iou", candidates.labels)
    return candidates[suppress_masks(candidates.scores, *mask_overlaps(candidates.masks), thresholds)]


def _claim(candidates: Candidates, allowed: Tensor, settings: EnsembleSettings) -> Tensor:
    """Which window pixels each candidate gets of those that it is allowed to have: bool ``[P]``."""
    thresholds = settings.by_label("mask_threshold", candidates.labels)
    votes = _only(candidates.votes, allowed)
    return claim_pixels(votes, candidates.scores, thresholds, settings.claim).values


def _only(votes: CropMasks, allowed: Tensor) -> CropMasks:
    return CropMasks(votes.windows, votes.values * allowed, votes.image_size)
