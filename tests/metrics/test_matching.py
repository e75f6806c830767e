import itertools

import numpy as np
import pytest

from cellseg.metrics import best_pairs, count_matches, measure_overlap
from cellseg.metrics.matching import Overlap


def overlap_from_iou(iou: list[list[int]]) -> Overlap:
    """An overlap of masks of 100 px whose shared pixels are given; not every one can be drawn, all can be matched."""
    shared = np.array(iou, dtype=np.int64)
    rows, columns = shared.nonzero()
    sizes = [np.full(count, 100, dtype=np.int64) for count in shared.shape]
    return Overlap(*sizes, rows, columns, shared[rows, columns])


@pytest.mark.parametrize("seed", range(300))
def test_count_equals_trying_everything(dense, seed):
    """Matrices as overlapping masks make them: many cells within the reach of many predictions."""
    generator = np.random.default_rng(seed)
    shared = generator.integers(40, 101, size=generator.integers(1, 6, size=2))
    shared[generator.random(shared.shape) < 0.5] = 0
    expected = [
        dense.largest_matching([[20 * i > k * (200 - i) for i in row] for row in shared.tolist()])
        for k in range(10, 20)
    ]
    assert count_matches(overlap_from_iou(shared.tolist())).tolist() == expected


def test_greedy_matching_is_not_enough():
    """The best pair first would leave one pair; two are possible."""
    overlap = overlap_from_iou([[95, 90], [90, 0]])
    assert count_matches(overlap)[0] == 2
    pairs = best_pairs(overlap)
    assert list(zip(pairs.rows, pairs.columns, strict=True)) == [(0, 1), (1, 0)]


def test_best_pairs_of_equal_number_have_the_largest_iou():
    pairs = best_pairs(overlap_from_iou([[70, 90], [90, 95], [0, 0]]))
    # 70 + 95 against 90 + 90 shared pixels: IoU 0.538 + 0.905 against 0.818 + 0.818
    assert list(zip(pairs.rows, pairs.columns, strict=True)) == [(0, 1), (1, 0)]
    np.testing.assert_array_equal(pairs.iou, [90 / 110, 90 / 110])


def test_more_pairs_come_before_larger_iou():
    """Two pairs of IoU 1 have the larger sum, but three pairs of IoU 70/130 are more."""
    pairs = best_pairs(overlap_from_iou([[70, 0, 0], [100, 70, 0], [0, 100, 70]]))
    assert list(zip(pairs.rows, pairs.columns, strict=True)) == [(0, 0), (1, 1), (2, 2)]


@pytest.mark.parametrize("seed", range(200))
def test_best_pairs_equal_trying_everything(seed):
    generator = np.random.default_rng(seed)
    rows, columns = generator.integers(1, 5, size=2).tolist()
    shared = generator.integers(60, 101, size=(rows, columns))
    shared[generator.random(shared.shape) < 0.5] = 0
    pairs = best_pairs(overlap_from_iou(shared.tolist()))

    best = (0, 0.0)
    padded = np.zeros((rows, columns + rows), dtype=np.int64)  # a column more per row: the row may stay alone
    padded[:, :columns] = shared
    for choice in itertools.permutations(range(padded.shape[1]), rows):
        chosen = padded[range(rows), choice]
        chosen = chosen[20 * chosen > 10 * (200 - chosen)]
        best = max(best, (len(chosen), float((chosen / (200 - chosen)).sum())))
    assert len(pairs.iou) == best[0]
    assert pairs.iou.sum() == pytest.approx(best[1], abs=1e-9)
    assert len(set(pairs.rows.tolist())) == len(set(pairs.columns.tolist())) == len(pairs.iou)
    assert (np.diff(pairs.rows) > 0).all()
    np.testing.assert_array_equal(
        pairs.iou, shared[pairs.rows, pairs.columns] / (200 - shared[pairs.rows, pairs.columns])
    )


def test_large_areas_do_not_overflow():
    """20 x 3e9 is beyond 32 bits."""
    area = np.array([3_000_000_000], dtype=np.int64)
    zero = np.zeros(1, dtype=np.int64)
    assert count_matches(Overlap(area, area, zero, zero, area)).tolist() == [1] * 10
    assert count_matches(Overlap(area, area, zero, zero, np.array([2_000_000_000]))).tolist() == [0] * 10


def test_best_iou_of_each_cell(dense):
    predictions = dense.crops(dense.masks((0, 0, 4, 4), (0, 0, 4, 2), (8, 0, 10, 2)))
    truths = dense.crops(dense.masks((0, 0, 4, 5), (9, 0, 11, 2), (5, 5, 6, 6)))
    np.testing.assert_array_equal(measure_overlap(predictions, truths).best_iou(), [16 / 20, 2 / 6, 0])
