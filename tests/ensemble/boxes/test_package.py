"""Box fusion against the package ensemble-boxes, where that is installed."""

import numpy as np
import pytest
import torch

from cellseg.ensemble import fuse_boxes
from cellseg.ensemble.boxes.checks import RULES

package = pytest.importorskip("ensemble_boxes")


def as_package(boxes, scores, labels, members):
    """Lists by member, coordinates in 0..1, as ``ensemble-boxes`` takes them."""
    return [[values[members == m].double().numpy() for m in range(3)] for values in (boxes, scores, labels)]


def unit_boxes(boxes):
    return (boxes + 20).clamp(0, 100) / 100


def assert_same_boxes(boxes, scores, labels, expected):
    """The same boxes with the same scores and labels, whatever their order."""
    ours, theirs = (np.column_stack(parts) for parts in ((boxes, scores, labels), expected))
    ours, theirs = (rows[np.lexsort(rows[:, :5].round(4).T)] for rows in (ours, theirs))
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("seed", range(3))
def test_weighted_box_fusion_equals_the_package(random_boxes, seed, rule):
    boxes, scores, labels, members = random_boxes(seed, 60)
    boxes, weights = unit_boxes(boxes), [2.0, 1.0, 0.5]
    lists = as_package(boxes, scores, labels, members)
    expected = package.weighted_boxes_fusion(*lists, weights=weights, iou_thr=0.5, conf_type=rule)
    result = fuse_boxes(boxes, scores, labels, members, 3, iou_threshold=0.5, weights=torch.tensor(weights), rule=rule)
    assert_same_boxes(*result[:3], (expected[0], np.minimum(expected[1], 1.0), expected[2]))


@pytest.mark.parametrize("seed", range(5))
def test_non_maximum_weighted_equals_the_package(random_boxes, seed):
    boxes, scores, labels, members = random_boxes(seed, 60)
    boxes, weights = unit_boxes(boxes), [2.0, 1.0, 0.5]
    expected = package.non_maximum_weighted(*as_package(boxes, scores, labels, members), weights=weights, iou_thr=0.4)
    result = fuse_boxes(boxes, scores, labels, members, 3, "nmw", 0.4, torch.tensor(weights))
    assert_same_boxes(*result[:3], expected)


@pytest.mark.parametrize("seed", range(5))
def test_nms_equals_the_package(random_boxes, seed):
    boxes, scores, labels, members = random_boxes(seed, 60)
    boxes, weights = unit_boxes(boxes), [2.0, 1.0, 0.5]
    kept, weighted, kept_labels = package.nms(*as_package(boxes, scores, labels, members), iou_thr=0.4, weights=weights)
    result = fuse_boxes(boxes, scores, labels, members, 3, "nms", 0.4, torch.tensor(weights))
    # The package divides by the sum of the weights, so that the score of a box depends on how many members there are.
    assert_same_boxes(*result[:3], (kept, weighted * sum(weights) / max(weights), kept_labels))


@pytest.mark.parametrize("method, decay", [(1, "linear"), (2, "gaussian")])
@pytest.mark.parametrize("least", [0.001, 0.1, 0.3])
@pytest.mark.parametrize("seed", range(3))
def test_soft_nms_keeps_what_the_package_keeps(random_boxes, seed, least, method, decay):
    boxes, scores, labels, members = random_boxes(seed, 60)
    boxes = unit_boxes(boxes)
    lists = as_package(boxes, scores, labels, members)
    expected = package.soft_nms(*lists, method=method, iou_thr=0.4, sigma=0.5, thresh=least)
    result = fuse_boxes(boxes, scores, labels, members, 3, "soft_nms", 0.4, decay=decay, min_score=least)
    # The package gives the kept boxes their first scores back; the test against the plain reference compares scores.
    first = {tuple(box): score for box, score in zip(boxes.tolist(), scores.tolist(), strict=True)}
    assert_same_boxes(result.boxes, [first[tuple(box)] for box in result.boxes.tolist()], result.labels, expected)
