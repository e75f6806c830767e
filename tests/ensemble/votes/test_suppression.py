"""Mask NMS against a loop over dense masks."""

import numpy as np
import pytest
import torch

from cellseg.ensemble import mask_nms
from cellseg.ensemble.votes.suppression import mask_overlaps, suppress_masks
from cellseg.errors import InputError
from cellseg.structures import CropMasks


def reference(masks, scores, thresholds):
    dense = masks.to_dense().numpy()
    kept: list[int] = []
    for i in sorted(range(len(dense)), key=lambda index: (-scores[index], index)):
        overlaps = [(dense[i] & dense[j]).sum() / max((dense[i] | dense[j]).sum(), 1) for j in kept]
        if all(overlap <= thresholds[i] for overlap in overlaps):
            kept.append(i)
    return kept


@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.5, "each"])
@pytest.mark.parametrize("seed", range(8))
def test_mask_nms(random_evidence, seed, threshold):
    evidence = random_evidence(seed, count=25, size=(30, 30))
    masks = evidence.evidence[0].threshold(0.5)
    scores = (evidence.scores[torch.randperm(25)] * 10).round() / 10
    limits = torch.rand(25).double() if threshold == "each" else torch.full((25,), threshold).double()
    kept = mask_nms(masks, scores, limits if threshold == "each" else threshold)
    assert kept.tolist() == reference(masks, scores.tolist(), limits.tolist())


def test_only_the_chosen_take_part(random_evidence):
    evidence = random_evidence(0, count=25, size=(30, 30))
    masks = evidence.evidence[0].threshold(0.5)
    chosen = torch.arange(25) % 3 != 0
    kept = suppress_masks(evidence.scores, *mask_overlaps(masks), 0.2, chosen=chosen)
    index = chosen.nonzero()[:, 0]
    assert kept.tolist() == index[mask_nms(masks[index], evidence.scores[index], 0.2)].tolist()


def test_equal_masks_with_equal_scores_leave_the_first():
    masks = CropMasks.from_dense(torch.ones(3, 4, 4, dtype=torch.bool))
    assert mask_nms(masks, torch.full((3,), 0.5), 0.5).tolist() == [0]


def test_an_overlap_of_exactly_the_threshold_stays():
    dense = torch.zeros(2, 1, 3, dtype=torch.bool)
    dense[0, 0, :2] = True
    dense[1, 0, 1:] = True  # one shared pixel of three
    masks = CropMasks.from_dense(dense)
    assert len(mask_nms(masks, torch.tensor([0.9, 0.8]), 1 / 3)) == 2
    assert len(mask_nms(masks, torch.tensor([0.9, 0.8]), np.nextafter(1 / 3, 0))) == 1


def test_no_masks():
    assert len(mask_nms(CropMasks.empty((5, 5)), torch.zeros(0), 0.5)) == 0


@pytest.mark.parametrize(
    "scores, threshold, message",
    [
        (torch.tensor([0.5, float("nan")]), 0.5, "scores should be finite"),
        (torch.tensor([0.5, 0.4]), 1.5, "IoU thresholds should lie in 0..1, found 1.5"),
        (torch.tensor([0.5, 0.4]), torch.tensor([0.1, float("nan")]), "IoU thresholds should lie in 0..1"),
    ],
)
def test_bad_input(scores, threshold, message):
    masks = CropMasks.from_dense(torch.ones(2, 4, 4, dtype=torch.bool))
    with pytest.raises(InputError) as caught:
        mask_nms(masks, scores, threshold)
    assert message in str(caught.value)
