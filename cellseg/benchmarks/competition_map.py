"""Competition mAP of one image from two lists of run-length texts, against dense masks and pycocotools."""

from typing import NamedTuple

import numpy as np
from pycocotools import mask as coco_mask

from cellseg.benchmarks.cells import random_evidence, random_windows
from cellseg.benchmarks.notebook import decode_mask
from cellseg.benchmarks.subjects import Scale
from cellseg.ensemble import claim_pixels
from cellseg.metrics import competition_map
from cellseg.structures import CropMasks


class Inputs(NamedTuple):
    """Kaggle's texts of predicted and of true masks, and the size of the image (height, width)."""

    predictions: list[str]
    truths: list[str]
    image_size: tuple[int, int]


def make_inputs(scale: Scale) -> Inputs:
    """Cells as two observers outline them, without overlaps; one of twenty is invented by the first.

    Without overlaps the usual count of matches is the right one, so both sides must agree.
    """
    rng = np.random.default_rng(0)
    # Some cells lose all their pixels to others, so there are more to begin with.
    more = Scale(scale.instances * 5 // 4 + 1, scale.height, scale.width)
    windows = random_windows(rng, more)
    evidence = [random_evidence(rng, windows, more) for _ in range(2)]
    predicted, true = (claim_pixels(votes, votes.sums(), 0.5).tight() for votes in evidence)
    kept = ((predicted.areas() > 0) & (true.areas() > 0)).nonzero()[:, 0][: scale.instances]
    predictions, truths = predicted[kept].to_rle(), true[kept].to_rle()
    return Inputs(predictions, truths[: max(1, scale.instances * 19 // 20)], true.image_size)


def run_cellseg(inputs: Inputs) -> np.ndarray:
    """Precision at the ten IoU thresholds, float64 [10]; their mean is the image's score."""
    predictions = CropMasks.from_rle(inputs.predictions, inputs.image_size)
    truths = CropMasks.from_rle(inputs.truths, inputs.image_size)
    return competition_map([predictions], [truths]).per_image_threshold[0].numpy()


def run_alternative(inputs: Inputs) -> np.ndarray:
    """The same precisions. Frozen."""
    predictions = [decode_mask(text, *inputs.image_size) for text in inputs.predictions]
    truths = [decode_mask(text, *inputs.image_size) for text in inputs.truths]
    predicted_codes = [coco_mask.encode(np.asfortranarray(mask)) for mask in predictions]
    true_codes = [coco_mask.encode(np.asfortranarray(mask)) for mask in truths]
    iou = coco_mask.iou(predicted_codes, true_codes, [0] * len(true_codes))
    precisions = []
    for threshold in np.arange(0.5, 1.0, 0.05):
        matches = iou > threshold
        true_positives = np.sum(matches.sum(axis=1) == 1)
        false_positives = np.sum(matches.sum(axis=1) == 0)
        false_negatives = np.sum(matches.sum(axis=0) == 0)
        precisions.append(true_positives / (true_positives + false_positives + false_negatives))
    return np.array(precisions)


def find_difference(ours: np.ndarray, theirs: np.ndarray) -> str:
    """The precisions of both sides where one differs; '' where all are equal."""
    return "" if np.array_equal(ours, theirs) else f"precisions {ours.tolist()} and {theirs.tolist()}"
