"""Scores of validation during a training."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

import cellseg.openmmlab  # noqa: F401
from cellseg.training.evaluators import ClassMapMetric, InstanceAPMetric

SIZE = (60, 80)


def squares(count, side=4, shift=0):
    masks = np.zeros((count, *SIZE), dtype=np.uint8)
    for index in range(count):
        y, x = divmod(index, SIZE[1] // (side + 1))
        masks[index, y * (side + 1) : y * (side + 1) + side, x * (side + 1) + shift : x * (side + 1) + side + shift] = 1
    return masks


def sample(found, truth, found_labels=None, scores=None):
    """A data sample as mmdet hands it to a metric."""
    count = len(found)
    predicted = dict(
        masks=torch.from_numpy(found).bool(),
        labels=torch.zeros(count, dtype=torch.int64) if found_labels is None else torch.tensor(found_labels),
        scores=torch.linspace(0.9, 0.1, count) if scores is None else torch.tensor(scores),
    )
    true = dict(masks=SimpleNamespace(masks=truth), labels=torch.zeros(len(truth), dtype=torch.int64))
    return dict(ori_shape=SIZE, pred_instances=predicted, gt_instances=true)


def ap(*samples):
    metric = InstanceAPMetric()
    metric.dataset_meta = dict(classes=("round", "long"))
    metric.process(None, samples)
    return metric.evaluate(len(samples))


def test_right_masks_score_one_beyond_100_of_them():
    assert ap(sample(squares(150), squares(150)))["segm_ap"] == pytest.approx(1.0)


def test_shifted_masks_score_at_low_thresholds_only():
    scores = ap(sample(squares(9, side=8, shift=1), squares(9, side=8)))
    # IoU 7 / 9: hits at 0.50, 0.55 ... 0.75, six of ten thresholds
    assert scores == {"segm_ap": pytest.approx(0.6), "segm_ap50": pytest.approx(1.0)}


def test_the_wrong_type_is_wrong():
    assert ap(sample(squares(3), squares(3), found_labels=[1, 1, 1]))["segm_ap"] == 0


def test_images_without_cells_or_without_predictions():
    none = squares(0)
    assert ap(sample(squares(4), squares(4)), sample(none, none))["segm_ap"] == pytest.approx(1.0)
    assert ap(sample(none, squares(2)))["segm_ap"] == 0


def test_class_map_scores_equal_a_count_by_pixels():
    rng = np.random.default_rng(0)
    pairs = [(rng.integers(0, 4, SIZE), rng.integers(0, 4, SIZE)) for _ in range(3)]
    for truth, found in pairs:
        found[:30] = truth[:30]
    metric = ClassMapMetric()
    metric.dataset_meta = dict(classes=("round", "long"))
    samples = [
        dict(gt_sem_seg=dict(data=torch.from_numpy(truth)[None]), pred_sem_seg=dict(data=torch.from_numpy(found)[None]))
        for truth, found in pairs
    ]
    metric.process(None, samples)
    scores = metric.evaluate(3)
    truth, found = (np.stack(side) for side in zip(*pairs, strict=True))
    ious = [((truth == k) & (found == k)).sum() / ((truth == k) | (found == k)).sum() for k in range(4)]
    assert scores["mean_iou"] == pytest.approx(np.mean(ious))
    assert scores["foreground_iou"] == pytest.approx(
        ((truth > 0) & (found > 0)).sum() / ((truth > 0) | (found > 0)).sum()
    )


def test_class_map_without_any_cell():
    metric = ClassMapMetric()
    metric.dataset_meta = dict(classes=("round", "long"))
    blank = dict(data=torch.zeros(1, *SIZE, dtype=torch.int64))
    metric.process(None, [dict(gt_sem_seg=blank, pred_sem_seg=blank)])
    assert metric.evaluate(1) == {"foreground_iou": 0.0, "mean_iou": 1.0}
