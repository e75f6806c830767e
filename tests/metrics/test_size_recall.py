import numpy as np
import pytest

from cellseg.errors import InputError
from cellseg.metrics import recall_by_size


def test_bins():
    areas = np.array([1, 9, 10, 19, 20, 500])
    found = np.array([False, True, True, True, False, True])
    best_iou = np.array([0.0, 0.6, 0.7, 0.9, 0.4, 0.8])
    bins = recall_by_size(areas, found, best_iou, edges=(10, 20))
    assert [(size.low, size.high, size.cells, size.found, size.recall) for size in bins] == [
        (0, 10, 2, 1, 0.5),
        (10, 20, 2, 2, 1.0),
        (20, None, 2, 1, 0.5),
    ]
    assert [size.mean_best_iou for size in bins] == pytest.approx([0.3, 0.8, 0.6])


def test_empty_bins_have_no_recall():
    nothing = np.zeros(0)
    bins = recall_by_size(nothing.astype(int), nothing.astype(bool), nothing, edges=(10,))
    assert [(size.cells, size.recall, size.mean_best_iou) for size in bins] == [(0, None, None)] * 2


@pytest.mark.parametrize("edges", [(0, 5), (5, 5), (7, 5), (-1,)])
def test_refuses_edges_out_of_order(edges):
    nothing = np.zeros(0)
    with pytest.raises(InputError, match="size edges should be ascending and above 0, found"):
        recall_by_size(nothing.astype(int), nothing.astype(bool), nothing, edges=edges)
