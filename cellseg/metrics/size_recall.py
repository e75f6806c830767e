"""Recall by the size of the true cell: which cells are found, small ones or large ones."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cellseg.errors import InputError

# Edges of the bins in pixels of area; cells of the usual sets have 30 to 3000.
DEFAULT_EDGES = (64, 128, 256, 512, 1024, 2048)


@dataclass(frozen=True)
class SizeBin:
    """The true cells of one range of areas.

    Attributes:
        low: smallest area of the bin in pixels.
        high: areas of the bin are below this; None for the last bin, which has no end.
        cells: number of true cells.
        found: how many of them are matched at IoU > 0.5.
        mean_best_iou: mean over them of the largest IoU with any prediction; None without cells.
    """

    low: int
    high: int | None
    cells: int
    found: int
    mean_best_iou: float | None

    @property
    def recall(self) -> float | None:
        """Share of the cells that are found; None without cells."""
        return self.found / self.cells if self.cells else None


def check_edges(edges: Sequence[int]) -> None:
    """Refuse edges that are not ascending whole numbers above 0.

    Raises:
        InputError: they are not.
    """
    limits = [0, *edges]
    if any(later <= earlier for earlier, later in zip(limits, limits[1:], strict=False)):
        raise InputError(f"size edges should be ascending and above 0, found {' '.join(str(edge) for edge in edges)}")


def recall_by_size(
    areas: np.ndarray, found: np.ndarray, best_iou: np.ndarray, edges: Sequence[int] = DEFAULT_EDGES
) -> list[SizeBin]:
    """Count found cells in ranges of area.

    Args:
        areas: int64 ``[M]``, pixels of each true cell.
        found: bool ``[M]``, whether it is matched.
        best_iou: float ``[M]``, its largest IoU with any prediction.
        edges: ascending areas in pixels at which a new bin begins; the first bin begins at 0.

    Returns:
        ``len(edges) + 1`` bins from small to large; a cell of exactly an edge's area belongs to the bin above.

    Raises:
        InputError: the edges are not ascending whole numbers above 0.
    """
    check_edges(edges)
    limits = [0, *edges]
    place = np.searchsorted(np.asarray(edges, dtype=np.int64), areas, side="right")
    bins = []
    for index, (low, high) in enumerate(zip(limits, [*edges, None], strict=True)):
        inside = place == index
        cells = int(inside.sum())
        mean = float(best_iou[inside].mean()) if cells else None
        bins.append(SizeBin(low, high, cells, int(found[inside].sum()), mean))
    return bins
