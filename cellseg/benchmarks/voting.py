"""Voting and claiming on crops, against dense N x H x W tensors."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cellseg.benchmarks.cells import WEIGHTS, random_confidence, random_evidence, random_windows
from cellseg.benchmarks.subjects import Scale
from cellseg.ensemble import claim_pixels, vote
from cellseg.structures import CropMasks

THRESHOLD = 0.5


class Inputs(NamedTuple):
    """What three members say about N fused boxes; see :func:`~cellseg.ensemble.vote`."""

    evidence: list[CropMasks]
    confidence: Tensor
    weights: Tensor
    scores: Tensor


def make_inputs(scale: Scale) -> Inputs:
    """Random boxes that overlap as in a crowded image, and three members that nearly agree."""
    rng = np.random.default_rng(0)
    windows = random_windows(rng, scale)
    evidence = [random_evidence(rng, windows, scale) for _ in WEIGHTS]
    scores = torch.from_numpy(rng.random(scale.instances))
    return Inputs(evidence, random_confidence(rng, scale.instances), torch.tensor(WEIGHTS), scores)


def run_cellseg(inputs: Inputs) -> CropMasks:
    """Masks without overlaps."""
    votes = vote(inputs.evidence, inputs.confidence, inputs.weights)
    return claim_pixels(votes, inputs.scores, THRESHOLD)


def run_alternative(inputs: Inputs) -> Tensor:
    """The same masks, bool [N, H, W], with an image for every instance of every member.

    Frozen. Sums go in place, and the tensors hold 32-bit numbers; what takes the time is their size.
    """
    parts = inputs.weights.double()[:, None] * inputs.confidence
    parts = (parts / parts.sum(0)).float()
    evidence = [_paste(masks) for masks in inputs.evidence]
    votes = torch.zeros_like(evidence[0])
    for member, part in zip(evidence, parts, strict=True):
        votes.addcmul_(member, part[:, None, None])
    owner = votes.argmax(dim=0)
    instance = torch.arange(len(votes))[:, None, None]
    return (votes > THRESHOLD) & (owner == instance)


def _paste(masks: CropMasks) -> Tensor:
    dense = torch.zeros((len(masks), *masks.image_size))
    for index, (x0, y0, x1, y1) in enumerate(masks.windows.tolist()):
        dense[index, y0:y1, x0:x1] = masks.crop(index)
    return dense


def find_difference(ours: CropMasks, theirs: Tensor) -> str:
    """How many pixels of how many masks differ, in words; '' for none."""
    different = (ours.to_dense() != theirs).flatten(1).sum(dim=1)
    if not different.any():
        return ""
    return f"{int(different.sum())} pixels of {int((different > 0).sum())} masks differ"
