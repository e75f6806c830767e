"""Pairs of predicted and true masks of one image, the common ground of all scores."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components, maximum_bipartite_matching

from cellseg.metrics.iou import shared_pixels
from cellseg.structures import CropMasks

# IoU thresholds in twentieths: 0.50, 0.55 ... 0.95 are 10/20 ... 19/20. Whole numbers make "greater than" exact.
TWENTIETHS = tuple(range(10, 20))
THRESHOLDS = tuple(k / 20 for k in TWENTIETHS)


@dataclass(frozen=True)
class Overlap:
    """How the predictions of one image lie on its true cells, as arrays in main memory.

    Attributes:
        prediction_areas: int64 ``[N]``, pixels of each prediction.
        truth_areas: int64 ``[M]``, pixels of each true cell.
        rows: int64 ``[K]``, the prediction of each touching pair; pairs are ordered by row, then column.
        columns: int64 ``[K]``, the true cell of each pair.
        shared: int64 ``[K]``, pixels that the two share, 1 or more.
    """

    prediction_areas: np.ndarray
    truth_areas: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    shared: np.ndarray

    @property
    def union(self) -> np.ndarray:
        """Pixels that either of a pair covers, int64 ``[K]``."""
        return self.prediction_areas[self.rows] + self.truth_areas[self.columns] - self.shared

    @property
    def iou(self) -> np.ndarray:
        """IoU of each touching pair, float64 ``[K]``."""
        return self.shared / self.union

    def best_iou(self) -> np.ndarray:
        """The largest IoU that each true cell reaches with any prediction, float64 ``[M]``; 0 if none touches it."""
        best = np.zeros(len(self.truth_areas))
        np.maximum.at(best, self.columns, self.iou)
        return best


@dataclass(frozen=True)
class Pairs:
    """One-to-one pairs of predictions and true cells.

    Attributes:
        rows: int64 ``[P]``, predictions, ascending.
        columns: int64 ``[P]``, the true cell of each.
        iou: float64 ``[P]``.
    """

    rows: np.ndarray
    columns: np.ndarray
    iou: np.ndarray


def measure_overlap(predictions: CropMasks, truths: CropMasks) -> Overlap:
    """Areas and shared pixels of the masks of one image.

    Raises:
        InputError: masks are not bool, or image sizes or devices differ.
    """
    rows, columns, shared = shared_pixels(predictions, truths)
    arrays = (predictions.areas(), truths.areas(), rows, columns, shared)
    return Overlap(*(array.cpu().numpy() for array in arrays))


def count_matches(overlap: Overlap) -> np.ndarray:
    """Largest number of one-to-one pairs with an IoU greater than each threshold.

    Returns:
        int64 ``[10]``, for IoU > 0.50, 0.55 ... 0.95. Compared in whole numbers, so an IoU of exactly the threshold
        is no match.
    """
    near = _closer_than(overlap, TWENTIETHS[0])
    rows, columns, shared, union = (
        values[near] for values in (overlap.rows, overlap.columns, overlap.shared, overlap.union)
    )
    if _has_no_choice(rows, columns):
        return np.array([(20 * shared > k * union).sum() for k in TWENTIETHS], dtype=np.int64)
    counts = []
    for k in TWENTIETHS:
        close = 20 * shared > k * union
        counts.append(_largest_matching(rows[close], columns[close]))
    return np.array(counts, dtype=np.int64)


def best_pairs(overlap: Overlap) -> Pairs:
    """The matches at threshold 0.5 themselves: as many pairs as possible and, among those, the largest sum of IoU."""
    close = _closer_than(overlap, TWENTIETHS[0])
    rows, columns, iou = overlap.rows[close], overlap.columns[close], overlap.iou[close]
    # A pair whose prediction and cell have no other partner is a match; what competes is settled group by group.
    alone = (np.bincount(rows)[rows] == 1) & (np.bincount(columns)[columns] == 1) if len(rows) else np.ones(0, bool)
    chosen = [np.flatnonzero(alone)]
    competing = np.flatnonzero(~alone)
    for group in _connected_groups(rows[competing], columns[competing]):
        edges = competing[group]
        chosen.append(edges[_assign(rows[edges], columns[edges], iou[edges])])
    chosen = np.sort(np.concatenate(chosen))
    return Pairs(rows[chosen], columns[chosen], iou[chosen])


def _closer_than(overlap: Overlap, twentieths: int) -> np.ndarray:
    return 20 * overlap.shared > twentieths * overlap.union


def _has_no_choice(rows: np.ndarray, columns: np.ndarray) -> bool:
    """Whether nobody has two partners, so that all edges are the matching.

    Always so above IoU 0.5 when neither side overlaps: of a mask, only one other can have more than half.
    """
    return len(np.unique(rows)) == len(rows) == len(np.unique(columns))


def _largest_matching(rows: np.ndarray, columns: np.ndarray) -> int:
    """Size of the largest one-to-one matching in a list of distinct edges."""
    row_ids, rows = np.unique(rows, return_inverse=True)
    column_ids, columns = np.unique(columns, return_inverse=True)
    entries = (np.ones(len(rows), dtype=np.int8), (rows.astype(np.int32), columns.astype(np.int32)))
    edges = csr_array(entries, shape=(len(row_ids), len(column_ids)))
    return int((maximum_bipartite_matching(edges, perm_type="column") >= 0).sum())


def _connected_groups(rows: np.ndarray, columns: np.ndarray) -> list[np.ndarray]:
    """Split edges into groups that share neither a row nor a column; each is an array of indices of edges."""
    if len(rows) == 0:
        return []
    _, rows = np.unique(rows, return_inverse=True)
    _, columns = np.unique(columns, return_inverse=True)
    nodes = rows.max() + 1 + columns.max() + 1
    graph = coo_array((np.ones(len(rows)), (rows, rows.max() + 1 + columns)), shape=(nodes, nodes))
    _, component = connected_components(graph, directed=False)
    group = component[rows]
    order = np.argsort(group, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(group[order])) + 1)


def _assign(rows: np.ndarray, columns: np.ndarray, iou: np.ndarray) -> np.ndarray:
    """Indices of the edges of the largest matching with the largest sum of IoU."""
    row_ids, rows = np.unique(rows, return_inverse=True)
    column_ids, columns = np.unique(columns, return_inverse=True)
    edge = np.full((len(row_ids), len(column_ids)), -1)
    edge[rows, columns] = np.arange(len(rows))
    # One more pair must outweigh any sum of IoUs, which is at most the number of pairs.
    gain = np.zeros(edge.shape)
    gain[rows, columns] = min(edge.shape) + 1 + iou
    chosen = edge[linear_sum_assignment(gain, maximize=True)]
    return chosen[chosen >= 0]
