"""What the ensemble costs beside its members: from evidence to submission rows, against the members' inference."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cellseg.benchmarks.simulated import CLASS_NAMES, draw_image, simulate_evidence
from cellseg.benchmarks.subjects import Scale
from cellseg.benchmarks.untrained import build_untrained_members
from cellseg.ensemble import ImageEvidence, resolve, uniform_settings
from cellseg.members import Member
from cellseg.structures import CropMasks


class Inputs(NamedTuple):
    """Evidence of an image, the image, uint8 [H, W, 3], and the members that are asked about it."""

    evidence: ImageEvidence
    image: np.ndarray
    members: list[Member]


def make_inputs(scale: Scale) -> Inputs:
    """The evidence is simulated: untrained members would say the same everywhere, and nothing would be left to do."""
    evidence = simulate_evidence(0, scale)
    return Inputs(evidence, draw_image(evidence), build_untrained_members())


def write_rows(evidence: ImageEvidence) -> list[str]:
    """The run-length texts of a submission, for equal weights and thresholds that few cells fail."""
    settings = uniform_settings(evidence.members, CLASS_NAMES, score_threshold=0.1, min_area=10)
    with torch.inference_mode():
        return resolve(evidence, settings).masks.to_rle()


def run_cellseg(inputs: Inputs) -> list[str]:
    """Vote, masks, scores, suppression, claims, cleaning, texts."""
    return write_rows(inputs.evidence)


def run_alternative(inputs: Inputs) -> list[tuple[CropMasks, Tensor]]:
    """Every member encodes the image, proposes boxes, and answers for the boxes of the evidence."""
    boxes, labels = inputs.evidence.boxes, inputs.evidence.labels
    windows = inputs.evidence.evidence[0].windows
    found = []
    with torch.inference_mode():
        for member in inputs.members:
            state = member.encode(inputs.image)
            member.boxes(state)
            found.append(member.evidence(state, boxes, labels, windows))
    return found


def find_difference(ours: list[str], theirs: list[tuple[CropMasks, Tensor]]) -> str:
    """What is wrong with the results: rows that overlap or are missing, or members that answered for other boxes."""
    windows, size = theirs[0][0].windows, theirs[0][0].image_size
    if CropMasks.from_rle(ours, size).overlaps():
        return "rows of the submission overlap"
    if not all(torch.equal(masks.windows, windows) for masks, _ in theirs):
        return "members answered for other windows"
    return "" if 4 * len(ours) >= len(windows) else f"{len(ours)} rows for {len(windows)} boxes"
