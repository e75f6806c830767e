import numpy as np
import pytest

from cellseg.metrics import best_pairs, classify_errors, measure_overlap


def kinds(dense, predictions, truths):
    overlap = measure_overlap(dense.crops(predictions), dense.crops(truths))
    return classify_errors(overlap, best_pairs(overlap))


# Rectangles (x0, y0, x1, y1) on a field 13 wide and 11 high: predictions, cells, kinds of predictions, kinds of cells.
CASES = {
    "nothing": ([], [], [], []),
    "equal": ([(0, 0, 4, 4)], [(0, 0, 4, 4)], ["matched"], ["matched"]),
    "missed": ([], [(0, 0, 4, 4)], [], ["missed"]),
    "invented": ([(0, 0, 4, 4)], [], ["invented"], []),
    "apart": ([(0, 0, 2, 2)], [(5, 5, 8, 8)], ["invented"], ["missed"]),
    "outline too small": ([(0, 0, 4, 2)], [(0, 0, 4, 4)], ["bad_outline"], ["bad_outline"]),
    "outline too large": ([(0, 0, 4, 9)], [(0, 0, 4, 4)], ["bad_outline"], ["bad_outline"]),
    # IoU 1/10 is not above 0.1
    "too far for an outline": ([(0, 0, 1, 1)], [(0, 0, 10, 1)], ["invented"], ["missed"]),
    "in two halves": ([(0, 0, 4, 2), (0, 2, 4, 4)], [(0, 0, 4, 4)], ["split", "split"], ["split"]),
    "a piece beside the match": ([(0, 0, 4, 3), (0, 3, 4, 4)], [(0, 0, 4, 4)], ["matched", "split"], ["matched"]),
    # The lower piece has exactly half its pixels inside: not inside, so there is only one piece.
    "half a piece outside": (
        [(0, 0, 4, 2), (0, 3, 4, 5)],
        [(0, 0, 4, 4)],
        ["bad_outline", "bad_outline"],
        ["bad_outline"],
    ),
    "two cells in one": ([(0, 0, 8, 4)], [(0, 0, 4, 4), (4, 0, 8, 4)], ["merged"], ["merged", "merged"]),
    "a small cell in the match of another": (
        [(0, 0, 8, 4)],
        [(0, 0, 6, 4), (6, 0, 8, 4)],
        ["matched"],
        ["matched", "merged"],
    ),
    # Half of the second cell is not more than half of it.
    "half of a cell covered": ([(0, 0, 6, 4)], [(0, 0, 4, 4), (4, 0, 8, 4)], ["matched"], ["matched", "missed"]),
    # Both are true of the left cell; merged comes first.
    "merged before split": (
        [(0, 0, 8, 3), (0, 3, 3, 4), (0, 4, 3, 5)],
        [(0, 0, 4, 5), (4, 0, 8, 4)],
        ["merged", "split", "split"],
        ["merged", "merged"],
    ),
    "a second prediction of a found cell": (
        [(0, 0, 4, 4), (0, 0, 4, 4)],
        [(0, 0, 4, 4)],
        ["matched", "split"],
        ["matched"],
    ),
    "the same cell twice in the truth": ([(0, 0, 4, 4)], [(0, 0, 4, 4)] * 2, ["matched"], ["matched", "merged"]),
    # Its only neighbour belongs to another cell: the second cell is not badly outlined but not found at all.
    "neighbour taken": ([(0, 0, 5, 4)], [(0, 0, 4, 4), (4, 0, 7, 4)], ["matched"], ["matched", "missed"]),
}


@pytest.mark.parametrize(("predicted", "true", "prediction_kinds", "cell_kinds"), CASES.values(), ids=CASES.keys())
def test_kinds(dense, predicted, true, prediction_kinds, cell_kinds):
    found = kinds(dense, dense.masks(*predicted), dense.masks(*true))
    # Which of two equal masks is matched is of no interest.
    assert sorted(found.predictions) == sorted(prediction_kinds)
    assert sorted(found.cells) == sorted(cell_kinds)
    if len(set(predicted)) == len(predicted) and len(set(true)) == len(true):
        assert list(found.predictions) == prediction_kinds
        assert list(found.cells) == cell_kinds


def plain_kinds(predictions, truths, matched):
    """The module's definitions, word by word."""
    shared = lambda p, t: int((p & t).sum())  # noqa: E731
    covers = lambda p, t: 2 * shared(p, t) > t.sum()  # noqa: E731
    inside = lambda p, t: 2 * shared(p, t) > p.sum()  # noqa: E731
    near = lambda p, t: 10 * shared(p, t) > (p | t).sum()  # noqa: E731
    free_p = [i for i in range(len(predictions)) if i not in {row for row, _ in matched}]
    free_t = [j for j in range(len(truths)) if j not in {column for _, column in matched}]
    cells = ["matched"] * len(truths)
    for j in free_t:
        t = truths[j]
        if any(covers(p, t) and sum(covers(p, other) for other in truths) >= 2 for p in predictions):
            cells[j] = "merged"
        elif sum(inside(p, t) for p in predictions) >= 2:
            cells[j] = "split"
        elif any(near(predictions[i], t) for i in free_p):
            cells[j] = "bad_outline"
        else:
            cells[j] = "missed"
    found = ["matched"] * len(predictions)
    for i in free_p:
        p = predictions[i]
        if sum(covers(p, t) for t in truths) >= 2:
            found[i] = "merged"
        elif any(inside(p, t) and sum(inside(other, t) for other in predictions) >= 2 for t in truths):
            found[i] = "split"
        elif any(near(p, truths[j]) for j in free_t):
            found[i] = "bad_outline"
        else:
            found[i] = "invented"
    return found, cells


@pytest.mark.parametrize("seed", range(150))
def test_equals_definitions(dense, seed):
    generator = np.random.default_rng(seed)
    truths = dense.random(generator, overlapping=seed % 3 == 0)
    predictions = dense.disturbed(generator, truths, overlapping=seed % 2 == 0)
    overlap = measure_overlap(dense.crops(predictions), dense.crops(truths))
    pairs = best_pairs(overlap)
    found = classify_errors(overlap, pairs)
    expected = plain_kinds(predictions, truths, list(zip(pairs.rows.tolist(), pairs.columns.tolist(), strict=True)))
    assert (list(found.predictions), list(found.cells)) == expected

    counts = found.count()
    assert sum(counts["cells"].values()) == len(truths) - len(pairs.rows)
    assert sum(counts["predictions"].values()) == len(predictions) - len(pairs.rows)
