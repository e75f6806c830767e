"""Outlines of masks along pixel edges, and masks from outlines; both exact.

A ring is a closed line of points (x, y), float64 [K, 2], the last point equal to the first. Coordinates are pixel
corners: pixel (x, y) is the square from (x, y) to (x + 1, y + 1).
"""

from collections.abc import Sequence

import numpy as np

from cellseg.errors import InputError
from cellseg.structures.runs import crops_of_runs

_LARGEST_COORDINATE = 2.0**31
_MOST_CROSSINGS = 2**28

# Which neighbours of a pixel corner are foreground: top left 1, top right 2, bottom left 4, bottom right 8. Where
# an outline turns it has one horizontal and one vertical edge; listed here: whether the horizontal one lies right
# of the corner, whether the vertical one lies below it, and whether the outline leaves along the horizontal one
# when the foreground is on its right hand. Two diagonal neighbours alone make two turns, each around its own
# pixel, so that parts that touch at a corner stay apart.
_TURNS = (
    (8, True, True, True),
    (1, False, False, True),
    (2, True, False, False),
    (4, False, True, False),
    (7, True, True, False),
    (14, False, False, False),
    (13, True, False, True),
    (11, False, True, True),
    (9, True, True, True),
    (9, False, False, True),
    (6, True, False, False),
    (6, False, True, False),
)


def trace_outlines(windows: np.ndarray, values: np.ndarray) -> list[list[np.ndarray]]:
    """Rings of each mask, outer ones and holes.

    Outer rings run clockwise as seen in the image (their shoelace area in x and y is positive) and holes the other
    way, so that the signed areas add up to the mask's. Parts that touch only at a pixel corner are not joined.
    Each ring begins at its topmost, then leftmost turn; points where it goes straight on are left out.

    Args:
        windows: int64 [N, 4].
        values: bool [P].

    Returns:
        For each mask a list of rings, ordered by their first point (top to bottom, left to right); none for an
        empty mask.
    """
    outlines: list[list[np.ndarray]] = [[] for _ in range(len(windows))]
    instance, points, following = _linked_turns(windows, values)
    following, owner = following.tolist(), instance.tolist()
    seen = bytearray(len(following))
    for start in range(len(following)):
        if seen[start]:
            continue
        ring = [start]
        turn = following[start]
        while turn != start:
            ring.append(turn)
            seen[turn] = 1
            turn = following[turn]
        ring.append(start)
        outlines[owner[start]].append(points[ring])
    return outlines


def _linked_turns(windows: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All turns of all outlines: instance [K], point (x, y) float64 [K, 2] and the turn that follows each [K]."""
    codes, instance, y, x = _corner_codes(windows, values)
    parts = [np.flatnonzero(codes == code) for code, *_ in _TURNS]
    chosen = np.concatenate(parts)
    turns = np.repeat(np.array(_TURNS)[:, 1:].astype(bool), [len(part) for part in parts], axis=0)
    right, below, leaves_horizontally = turns.T
    instance, y, x = instance[chosen], y[chosen], x[chosen]

    # Along a row of corners, turns alternate between left and right ends of horizontal edges; where two share a
    # corner, the one that ends an edge comes first. The same holds for columns and vertical edges.
    order = np.lexsort((right, x, y, instance))
    instance, y, x, below = instance[order], y[order], x[order], below[order]
    along_row = np.arange(len(order)) ^ 1
    columns = np.lexsort((below, y, x, instance))
    along_column = np.empty_like(columns)
    along_column[columns[0::2]], along_column[columns[1::2]] = columns[1::2], columns[0::2]
    following = np.where(leaves_horizontally[order], along_row, along_column)
    return instance, np.stack((x, y), axis=1).astype(np.float64), following


def _corner_codes(windows: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, ...]:
    """Code of the four pixels around each corner where it is neither 0 nor 15; with instance, y and x, [K] each."""
    pieces = [(np.empty(0, np.uint8), *np.empty((3, 0), np.int64))]
    begin = 0
    for index, (x0, y0, x1, y1) in enumerate(windows.tolist()):
        height, width = y1 - y0, x1 - x0
        crop = values[begin : begin + height * width].reshape(height, width)
        begin += height * width
        codes = np.zeros((height + 1, width + 1), np.uint8)
        codes[1:, 1:] += crop
        codes[1:, :-1] += crop * np.uint8(2)
        codes[:-1, 1:] += crop * np.uint8(4)
        codes[:-1, :-1] += crop * np.uint8(8)
        y, x = np.nonzero(codes % 15)
        pieces.append((codes[y, x], np.full(len(y), index), y + y0, x + x0))
    return tuple(np.concatenate(part) for part in zip(*pieces, strict=True))


def fill_outlines(
    outlines: Sequence[Sequence[np.ndarray]], image_size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Tight windows and crops of the pixels whose centre lies inside an instance's rings.

    Inside is where a line to infinity crosses the rings an odd number of times, so holes need no direction. A
    centre exactly on an edge counts as lying right of it, on a horizontal one as below. What lies outside the image
    is cut off.

    Args:
        outlines: for each instance rings [K, 2] of points (x, y), K at least 3, closed or not.
        image_size: (height, width).

    Returns:
        Windows int64 [N, 4] and bool values [P].

    Raises:
        InputError: a ring of another shape, or a coordinate that is not finite or absurdly large; says which.
    """
    height, width = image_size
    edges, instance = _edges(outlines)
    upward = edges[:, 1] > edges[:, 3]
    edges[upward] = edges[upward][:, [2, 3, 0, 1]]
    x0, y0, x1, y1 = edges.T
    # A row is crossed when its centre line lies in [y0, y1): an end point that two edges share counts once.
    first, stop = (np.clip(np.ceil(y - 0.5), 0, height).astype(np.int64) for y in (y0, y1))
    rows = stop - first
    if rows.sum() > _MOST_CROSSINGS:
        raise InputError(f"outlines: their edges cross {rows.sum()} pixel rows, more than {_MOST_CROSSINGS}: refused")
    edge = np.repeat(np.arange(len(edges)), rows)
    y = np.arange(len(edge)) - np.repeat(np.cumsum(rows) - rows - first, rows)
    # Dividing last keeps crossings exact that fall on a centre, as far as the numbers allow.
    crossing = x0[edge] + (y + 0.5 - y0[edge]) * (x1 - x0)[edge] / (y1 - y0)[edge]
    column = np.clip(np.ceil(crossing - 0.5), 0, width).astype(np.int64)
    order = np.lexsort((column, y, instance[edge]))
    begin, end = order[0::2], order[1::2]
    lengths = column[end] - column[begin]
    begin, lengths = begin[lengths > 0], lengths[lengths > 0]
    starts = y[begin] * width + column[begin]
    return crops_of_runs(instance[edge][begin], starts, lengths, len(outlines), width)


def _edges(outlines: Sequence[Sequence[np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Edges of all rings as (x0, y0, x1, y1), float64 [E, 4], and their instances [E]."""
    edges, owners = [np.empty((0, 4))], [np.empty(0, np.int64)]
    for index, rings in enumerate(outlines):
        for number, ring in enumerate(rings):
            points = _points(ring, f"outline of instance {index}, ring {number}")
            edges.append(np.concatenate((points, np.roll(points, -1, axis=0)), axis=1))
            owners.append(np.full(len(points), index))
    return np.concatenate(edges), np.concatenate(owners)


def _points(ring: np.ndarray, name: str) -> np.ndarray:
    try:
        points = np.asarray(ring, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name}: expected numbers of shape [K, 2]") from None
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < 3:
        raise InputError(f"{name}: expected shape [K, 2] with at least 3 points, got {list(points.shape)}")
    wrong = ~(np.abs(points) <= _LARGEST_COORDINATE).all(axis=1)
    if wrong.any():
        place = int(wrong.argmax())
        raise InputError(f"{name}: point {place} is {tuple(points[place].tolist())}, not a place near an image")
    return points
