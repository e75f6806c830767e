"""The score of networks that segment the central cell of a crop."""

import numpy as np
import pytest
import torch

import cellseg.openmmlab  # noqa: F401
from cellseg.datasets.box_crops import BACKGROUND, CENTRAL, IGNORED, NEIGHBOUR
from cellseg.errors import InputError
from cellseg.training.evaluators_crops import CentralCellMetric, inscribed_ellipse


def sample(truth, probabilities):
    """A data sample as mmseg hands it to a metric."""
    return dict(
        gt_sem_seg=dict(data=torch.from_numpy(truth)[None]),
        seg_logits=dict(data=torch.from_numpy(np.log(probabilities)).float()),
    )


def random_crop(rng, size=(20, 24)):
    truth = rng.choice([BACKGROUND, CENTRAL, NEIGHBOUR, IGNORED], size, p=[0.3, 0.4, 0.2, 0.1])
    return truth, rng.dirichlet(np.ones(3), size).transpose(2, 0, 1)


def plain_iou(found, truth):
    """Pixel by pixel; what is ignored does not count."""
    both = either = 0
    for here, true in zip(found.ravel(), truth.ravel(), strict=True):
        if true == IGNORED:
            continue
        both += bool(here) and true == CENTRAL
        either += bool(here) or true == CENTRAL
    return both / either if either else 1.0


def test_scores_equal_a_count_by_pixels():
    rng = np.random.default_rng(0)
    crops = [random_crop(rng) for _ in range(7)]
    metric = CentralCellMetric(margin=0.25)
    for part in (crops[:3], crops[3:4], crops[4:]):
        metric.process(None, [sample(*crop) for crop in part])
    scores = metric.evaluate(3)
    expected = np.mean([plain_iou(probability[CENTRAL] > 0.5, truth) for truth, probability in crops])
    assert scores["central_iou"] == pytest.approx(expected)
    y, x = np.mgrid[:20, :24] + 0.5
    ellipse = ((x - 12) / 8) ** 2 + ((y - 10) / (20 / 3)) ** 2 <= 1
    expected = np.mean([plain_iou(ellipse, truth) for truth, _ in crops])
    assert scores["ellipse_iou"] == pytest.approx(expected)
    assert list(scores) == ["central_iou", "ellipse_iou"]


def test_no_crop_is_lost_when_a_batch_has_more_than_the_data_set():
    """mmengine keeps as many results as the data set has images."""
    right, wrong = np.full((8, 8), CENTRAL), np.full((8, 8), BACKGROUND)
    certain = np.full((3, 8, 8), 0.01)
    certain[CENTRAL] = 0.98
    metric = CentralCellMetric(margin=0.25)
    metric.process(None, [sample(right, certain), sample(right, certain), sample(wrong, certain)])
    assert metric.evaluate(1)["central_iou"] == pytest.approx(2 / 3)


def test_only_more_than_half_counts():
    truth = np.full((4, 4), CENTRAL)
    most_likely = np.empty((3, 4, 4))
    most_likely[:] = np.array([0.3, 0.4, 0.3])[:, None, None]  # the largest, but not more than the others together
    metric = CentralCellMetric(margin=0.25)
    metric.process(None, [sample(truth, most_likely)])
    assert metric.evaluate(1)["central_iou"] == 0


def test_a_crop_without_its_cell_and_no_answer_is_right():
    nothing = np.full((4, 4), IGNORED)
    certain = np.full((3, 4, 4), 0.01)
    certain[BACKGROUND] = 0.98
    metric = CentralCellMetric(margin=0.25)
    metric.process(None, [sample(nothing, certain)])
    assert metric.evaluate(1)["central_iou"] == 1


@pytest.mark.parametrize("margin", [0.0, 0.25, 0.5])
def test_the_ellipse_touches_the_box(margin):
    size = (60, 80)
    found = inscribed_ellipse(size, margin).numpy()
    height, width = size[0] / (1 + 2 * margin), size[1] / (1 + 2 * margin)
    assert found.sum() == pytest.approx(np.pi / 4 * height * width, rel=0.02)
    assert found.any(axis=1).sum() == pytest.approx(height, abs=1.5)
    assert found.any(axis=0).sum() == pytest.approx(width, abs=1.5)
    assert np.array_equal(found, found[::-1]) and np.array_equal(found, found[:, ::-1])


def test_a_margin_out_of_range_is_refused():
    with pytest.raises(InputError, match="^margin = -1: expected a number from 0 to 10$"):
        CentralCellMetric(margin=-1)
