import pytest

from cellseg.metrics import Quality


def test_values():
    quality = Quality(matched=3, predictions=4, cells=6, matched_iou=2.4, best_iou=3.0)
    assert quality.precision == 3 / 4
    assert quality.recall == 3 / 6
    assert quality.f1 == pytest.approx(2 * 3 / (2 * 3 + 1 + 3))
    assert quality.mean_matched_iou == pytest.approx(0.8)
    assert quality.mean_best_iou == 0.5
    assert quality.pq == pytest.approx(2.4 / (3 + 1 / 2 + 3 / 2))
    assert quality.pq == pytest.approx(quality.f1 * quality.mean_matched_iou)


def test_without_cells_or_predictions():
    nothing = Quality(matched=0, predictions=0, cells=0, matched_iou=0.0, best_iou=0.0)
    assert (nothing.f1, nothing.pq) == (1.0, 1.0)
    assert (nothing.precision, nothing.recall, nothing.mean_matched_iou, nothing.mean_best_iou) == (None,) * 4
    invented = Quality(matched=0, predictions=2, cells=0, matched_iou=0.0, best_iou=0.0)
    assert (invented.f1, invented.pq, invented.precision, invented.recall) == (0.0, 0.0, 0.0, None)
    missed = Quality(matched=0, predictions=0, cells=2, matched_iou=0.0, best_iou=0.0)
    assert (missed.f1, missed.pq, missed.precision, missed.recall, missed.mean_best_iou) == (0.0, 0.0, None, 0.0, 0.0)


def test_total_weighs_cells_not_images():
    large = Quality(matched=90, predictions=100, cells=100, matched_iou=72.0, best_iou=75.0)
    small = Quality(matched=0, predictions=0, cells=1, matched_iou=0.0, best_iou=0.0)
    assert Quality.total([large, small]) == Quality(90, 100, 101, 72.0, 75.0)
