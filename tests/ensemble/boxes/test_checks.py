"""What box fusion refuses, and with which words."""

import math

import pytest
import torch

from cellseg.ensemble import fuse_boxes
from cellseg.errors import InputError

ONE = dict(
    boxes=torch.tensor([[0.0, 0, 4, 4], [1, 1, 3, 3]]),
    scores=torch.tensor([0.5, 0.4]),
    labels=torch.tensor([0, 0]),
    members=torch.tensor([0, 1]),
)


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(boxes=torch.zeros(2, 5)), "boxes should have shape [K, 4], found [2, 5]"),
        (dict(scores=torch.zeros(3)), "scores should have shape [2], found [3]"),
        (dict(labels=torch.zeros(1, dtype=torch.int64)), "labels should have shape [2], found [1]"),
        (dict(scores=torch.zeros(2, device="meta")), "scores should be on cpu like the boxes, found meta"),
        (dict(members=torch.zeros(2, dtype=torch.int64, device="meta")), "members should be on cpu like the boxes"),
        (dict(labels=torch.tensor([0.0, 1.0])), "labels should be whole numbers, found torch.float32"),
        (dict(labels=torch.tensor([0, -1])), "label -1 is negative"),
        (dict(scores=torch.tensor([0.5, math.nan])), "score 1 is nan; expected 0..1"),
        (dict(scores=torch.tensor([1.5, 0.5])), "score 0 is 1.5; expected 0..1"),
        (dict(boxes=torch.tensor([[0.0, 0, 1, 1], [0, 0, math.nan, 1]])), "box 1 is [0.0, 0.0, nan, 1.0]"),
        (dict(boxes=torch.tensor([[0.0, 0, math.inf, 1], [0, 0, 1, 1]])), "box 0 is [0.0, 0.0, inf, 1.0]"),
        (dict(boxes=torch.tensor([[5.0, 0, 1, 1], [0, 0, 1, 1]])), "expected finite x0 <= x1 and y0 <= y1"),
        (dict(num_members=1), "members should lie in 0..0, found [0, 1]"),
        (dict(members=torch.tensor([-1, 0])), "members should lie in 0..0, found [-1, 0]"),
        (dict(weights=torch.ones(3)), "weights should have shape [2], found [3]"),
        (dict(weights=torch.tensor([1.0, -1.0])), "should be finite, 0 or more, and not all 0"),
        (dict(weights=torch.tensor([0.0, 0.0])), "should be finite, 0 or more, and not all 0"),
        (dict(weights=torch.tensor([1.0, math.nan])), "should be finite, 0 or more, and not all 0"),
        (dict(method="best"), "method 'best' is none of wbf, nmw, nms, soft_nms"),
        (dict(iou_threshold=1.5), "iou_threshold 1.5 should lie in 0..1"),
        (dict(skip_score=-0.1), "skip_score -0.1 should lie in 0..1"),
        (dict(rule="sum"), "rule 'sum' is none of avg, max, box_and_model_avg, absent_model_aware_avg"),
        (dict(method="nms", rule="avg"), "rule belongs to wbf and does nothing for nms"),
        (dict(sigma=0.5), "sigma belongs to soft_nms and does nothing for wbf"),
        (dict(method="nmw", decay="linear"), "decay belongs to soft_nms and does nothing for nmw"),
        (dict(min_score=0.1), "min_score belongs to soft_nms and does nothing for wbf"),
        (dict(method="soft_nms", decay="cubic"), "decay 'cubic' is none of gaussian, linear"),
        (
            dict(method="soft_nms", decay="linear", sigma=0.5),
            "sigma 0.5 should be above 0, and belongs to the gaussian",
        ),
        (dict(method="soft_nms", sigma=0.0), "sigma 0.0 should be above 0"),
        (dict(method="soft_nms", min_score=2.0), "min_score 2.0 should lie in 0..1"),
    ],
)
def test_bad_input(change, message):
    with pytest.raises(InputError) as caught:
        fuse_boxes(**{**ONE, **change})
    assert message in str(caught.value)
