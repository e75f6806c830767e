"""From evidence to instances: vote, masks, scores, suppression, claims, cleaning."""

from dataclasses import dataclass

import torch
from torch import Tensor

from cellseg.ensemble.evidence.values import ImageEvidence
from cellseg.ensemble.settings import EnsembleSettings
from cellseg.ensemble.votes.claims import claim_pixels
from cellseg.ensemble.votes.cleaning import clean
from cellseg.ensemble.votes.suppression import mask_overlaps, suppress_masks
from cellseg.ensemble.votes.uncertainty import disagreement
from cellseg.ensemble.votes.voting import vote, voting_numbers
from cellseg.structures import CropMasks, Instances


@dataclass(frozen=True)
class Candidates:
    """Instances before suppression: votes cut at the mask threshold, rescored, possibly overlapping.

    Attributes:
        votes: N instances, float32, in the tight windows of their masks.
        masks: bool, in the same windows.
        scores: float32 ``[N]``, box score x mean vote over the mask; 0 for an empty mask.
        labels: int64 ``[N]``.
        places: int64 ``[N]``, which box of the evidence each comes from.
    """

    votes: CropMasks
    masks: CropMasks
    scores: Tensor
    labels: Tensor
    places: Tensor

    def __getitem__(self, index: Tensor) -> "Candidates":
        parts = (self.votes, self.masks, self.scores, self.labels, self.places)
        return Candidates(*(part[index] for part in parts))


def resolve(evidence: ImageEvidence, settings: EnsembleSettings) -> Instances:
    """Make the instances of an image, in the order that the package documents.

    Vote; masks at the type's mask threshold; scores, box score x mean vote over the mask; the type's score threshold;
    mask NMS; contested pixels claimed; masks cleaned; those below the type's least area dropped; boxes from masks.

    Returns:
        Instances without overlaps, the highest score first; their uncertainty is what ``disagreement`` says.

    Raises:
        InputError: the evidence lacks a member that has a weight, or its cell types are others.
    """
    candidates = make_candidates(cast_votes(evidence, settings), evidence, settings)
    candidates = candidates[candidates.scores >= settings.by_label("score_threshold", candidates.labels)]
    kept = suppress_masks(
        candidates.scores, *mask_overlaps(candidates.masks), settings.by_label("nms_iou", candidates.labels)
    )
    masks, index = settle_pixels(candidates[kept], settings)
    masks, kept = masks.tight(), kept[index]
    return Instances(
        boxes=masks.boxes(),
        scores=candidates.scores[kept],
        labels=candidates.labels[kept],
        masks=masks,
        image_size=evidence.image_size,
        class_names=evidence.class_names,
        uncertainty=disagreement(evidence, settings, candidates.places[kept]),
    )


def cast_votes(evidence: ImageEvidence, settings: EnsembleSettings) -> CropMasks:
    """The vote on all boxes of the evidence; float32 in its windows."""
    return vote(evidence.evidence, *voting_numbers(evidence, settings), settings.vote)


def make_candidates(votes: CropMasks, evidence: ImageEvidence, settings: EnsembleSettings) -> Candidates:
    """Cut the votes at the mask thresholds and score the masks; empty masks are left out."""
    masks = votes.threshold(settings.by_label("mask_threshold", evidence.labels))
    areas = masks.areas()
    inside = CropMasks(votes.windows, votes.values * masks.values, votes.image_size).sums()
    # The mean of probabilities can pass 1 by rounding only.
    scores = (evidence.scores * inside / areas.clamp(min=1)).clamp(max=1.0).float()
    tight = masks.tight()
    places = torch.arange(len(areas))
    candidates = Candidates(votes.rewindow(tight.windows), tight, scores, evidence.labels, places)
    return candidates if (areas > 0).all() else candidates[areas > 0]


def settle_pixels(candidates: Candidates, settings: EnsembleSettings) -> tuple[CropMasks, Tensor]:
    """Give contested pixels to one instance each, clean the masks, drop small ones.

    Args:
        candidates: what suppression left, the highest score first.

    Returns:
        Masks without overlaps, and which of the candidates they are, int64 ``[K]``.
    """
    labels = candidates.labels
    claimed = claim_pixels(
        candidates.votes, candidates.scores, settings.by_label("mask_threshold", labels), settings.claim
    )
    cleaned = clean(claimed, settings.by_label("fill_holes", labels), settings.by_label("largest_part", labels))
    index = (cleaned.areas() >= settings.by_label("min_area", labels).clamp(min=1)).nonzero()[:, 0]
    return cleaned[index], index
