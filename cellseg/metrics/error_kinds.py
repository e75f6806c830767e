"""What went wrong: the kind of every unmatched prediction and every unmatched true cell.

Matched means one of the one-to-one pairs with IoU > 0.5. "Covers" and "inside" mean more than half: a prediction covers
a cell when it holds more than half of the cell's pixels; a prediction lies inside a cell when the cell holds more than
half of the prediction's pixels. Exactly half is neither. A leftover gets the first kind of its list that fits.

True cells without a match:
    merged: a prediction covers this cell and at least one other cell.
    split: at least two predictions lie inside this cell.
    bad_outline: an unmatched prediction has IoU > 0.1 with it: found, but badly outlined.
    missed: none of these.

Predictions without a match:
    merged: it covers at least two cells.
    split: it and at least one other prediction lie inside one cell (whether or not one of them matches that cell).
    bad_outline: an unmatched cell has IoU > 0.1 with it.
    invented: none of these.

So one prediction over two cells is one merged prediction and two merged cells (one, if it matches the other), and a
cell in two pieces is one split cell and two split predictions (one, if the other piece matches the cell).
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from cellseg.metrics.matching import Overlap, Pairs

MATCHED = "matched"
CELL_ERRORS = ("missed", "split", "merged", "bad_outline")
PREDICTION_ERRORS = ("invented", "split", "merged", "bad_outline")


@dataclass(frozen=True)
class ErrorKinds:
    """The kind of each prediction and of each true cell of one image.

    Attributes:
        predictions: N words, ``matched`` or one of ``PREDICTION_ERRORS``.
        cells: M words, ``matched`` or one of ``CELL_ERRORS``.
    """

    predictions: tuple[str, ...]
    cells: tuple[str, ...]

    def count(self) -> dict[str, dict[str, int]]:
        """How often each error occurs: ``{"predictions": {kind: count}, "cells": {kind: count}}``."""
        predictions, cells = Counter(self.predictions), Counter(self.cells)
        return {
            "predictions": {kind: predictions[kind] for kind in PREDICTION_ERRORS},
            "cells": {kind: cells[kind] for kind in CELL_ERRORS},
        }


def classify_errors(overlap: Overlap, pairs: Pairs) -> ErrorKinds:
    """Give every prediction and every true cell its kind, as the module defines them.

    Args:
        overlap: areas and shared pixels of the image.
        pairs: its matches at IoU > 0.5.
    """
    rows, columns, shared = overlap.rows, overlap.columns, overlap.shared
    count_rows, count_columns = len(overlap.prediction_areas), len(overlap.truth_areas)
    covers = 2 * shared > overlap.truth_areas[columns]
    inside = 2 * shared > overlap.prediction_areas[rows]
    merging = np.bincount(rows[covers], minlength=count_rows) >= 2
    in_pieces = np.bincount(columns[inside], minlength=count_columns) >= 2

    row_free, column_free = np.ones(count_rows, dtype=bool), np.ones(count_columns, dtype=bool)
    row_free[pairs.rows] = False
    column_free[pairs.columns] = False
    near = (10 * shared > overlap.union) & row_free[rows] & column_free[columns]

    cells = np.full(count_columns, "missed", dtype="<U11")
    cells[columns[near]] = "bad_outline"
    cells[in_pieces] = "split"
    cells[columns[covers & merging[rows]]] = "merged"
    cells[~column_free] = MATCHED

    predictions = np.full(count_rows, "invented", dtype="<U11")
    predictions[rows[near]] = "bad_outline"
    predictions[rows[inside & in_pieces[columns]]] = "split"
    predictions[merging] = "merged"
    predictions[~row_free] = MATCHED
    return ErrorKinds(tuple(predictions.tolist()), tuple(cells.tolist()))
