"""Runs of true pixels in crops, on numpy arrays: what every run-length code is made from.

A run is (instance, start, length) in the image's row-major order, counted from 0. For column-major codes
the caller transposes: rows become columns when windows and crops swap x and y.
"""

import numpy as np

from cellseg.errors import InputError

# Run-length text is tiny beside what it may stand for; beyond this many pixels (2 GiB) a decoder refuses.
MAX_DECODED_PIXELS = 2**31

_LOOK_AHEAD = 2**15
_LONG_RUN = 100


def flat_runs(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Starts and lengths, int64 [K], of the runs of true values in one flat bool array.

    The empty surroundings of a small object in a large image are skipped at the speed of a byte search.
    """
    first = int(values.argmax()) if len(values) else 0
    last = _after_last_true(values, first)
    span = values[first:last]
    changes = (span[1:] != span[:-1]).nonzero()[0]
    changes += first + 1
    if len(span) and span[0]:
        changes = np.concatenate(([first], changes))
    if len(changes) % 2:
        changes = np.append(changes, last)
    starts = changes[::2]
    return starts, changes[1::2] - starts


def _after_last_true(values: np.ndarray, first: int) -> int:
    """A position behind which no value is true; not always the lowest one."""
    stop = first + _LOOK_AHEAD
    while stop < len(values):
        # argmax stops at the next true value, and only here and there is one so far ahead.
        ahead = int(values[stop:].argmax())
        if not values[stop + ahead]:
            return stop
        stop += ahead + (stop - first)
    return len(values)


def runs_of_crops(windows: np.ndarray, values: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Runs of all instances, ordered by instance and start.

    Args:
        windows: int64 [N, 4] (x0, y0, x1, y1), half-open.
        values: bool [P], the crops' rows one after another.
        width: of the image.

    Returns:
        Instance, start and length of each run, int64 [K] each. A run goes on over the end of an image row where
        the next row begins with true pixels.
    """
    widths, heights = windows[:, 2] - windows[:, 0], windows[:, 3] - windows[:, 1]
    offsets = np.concatenate(([0], np.cumsum(widths * heights)))
    starts, stops = _run_bounds(values, _line_starts(offsets, widths, heights, width))
    instance = np.searchsorted(offsets, starts, side="right") - 1
    y, x = np.divmod(starts - offsets[instance], widths[instance])
    begin = (y + windows[instance, 1]) * width + x + windows[instance, 0]
    return instance, begin, stops - starts


def _line_starts(offsets: np.ndarray, widths: np.ndarray, heights: np.ndarray, width: int) -> np.ndarray:
    """Positions in the flat values at which a run must begin anew, and so the one before must end."""
    # Rows of a crop as wide as the image follow each other in the image too: its lines are whole crops.
    lines = np.where(widths == width, np.minimum(heights, 1), heights)
    lines[widths == 0] = 0
    instance = np.repeat(np.arange(len(lines)), lines)
    row = np.arange(len(instance)) - np.repeat(np.cumsum(lines) - lines, lines)
    return offsets[instance] + row * widths[instance]


def _run_bounds(values: np.ndarray, line_starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where runs begin and end in flat values when none goes on over a line's start."""
    starting = values.copy()
    starting[1:] &= ~values[:-1]
    starting[line_starts] = values[line_starts]
    stopping = values.copy()
    stopping[:-1] &= ~values[1:]
    line_ends = np.append(line_starts[1:], len(values))[: len(line_starts)] - 1
    stopping[line_ends] = values[line_ends]
    return np.flatnonzero(starting), np.flatnonzero(stopping) + 1


def crops_of_runs(
    instance: np.ndarray, starts: np.ndarray, lengths: np.ndarray, count: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Tight windows and crops of validated runs; the inverse of :func:`runs_of_crops`.

    Args:
        instance: int64 [K], ascending.
        starts: int64 [K], ascending within an instance.
        lengths: int64 [K], at least 1 each.
        count: number of instances; those without runs get the empty window (0, 0, 0, 0).
        width: of the image.

    Returns:
        Windows int64 [count, 4] and bool values [P].

    Raises:
        InputError: the windows would take more than MAX_DECODED_PIXELS.
    """
    windows = _windows_of_runs(instance, starts, lengths, count, width)
    widths, heights = windows[:, 2] - windows[:, 0], windows[:, 3] - windows[:, 1]
    # The sum is taken in float: a few windows of an absurd image overflow whole numbers.
    if (widths.astype(np.float64) * heights).sum() > MAX_DECODED_PIXELS:
        raise InputError(f"the windows of {count} masks take more than {MAX_DECODED_PIXELS} pixels: refused")
    areas = widths * heights
    offsets = np.cumsum(areas) - areas
    y, x = np.divmod(starts, width)
    # A run over a row's end makes its window as wide as the image, so that it is one stretch of the crop too.
    begin = offsets[instance] + (y - windows[instance, 1]) * widths[instance] + x - windows[instance, 0]
    return windows, fill_runs(begin, lengths, int(areas.sum()))


def _windows_of_runs(
    instance: np.ndarray, starts: np.ndarray, lengths: np.ndarray, count: int, width: int
) -> np.ndarray:
    windows = np.zeros((count, 4), np.int64)
    if not len(instance):
        return windows
    first_y, first_x = np.divmod(starts, width)
    last_y, last_x = np.divmod(starts + lengths - 1, width)
    wraps = last_y > first_y
    groups = np.flatnonzero(np.diff(instance, prepend=-1))
    present = instance[groups]
    windows[present, 0] = np.minimum.reduceat(np.where(wraps, 0, first_x), groups)
    windows[present, 1] = np.minimum.reduceat(first_y, groups)
    windows[present, 2] = np.maximum.reduceat(np.where(wraps, width - 1, last_x), groups) + 1
    windows[present, 3] = np.maximum.reduceat(last_y, groups) + 1
    return windows


def fill_runs(starts: np.ndarray, lengths: np.ndarray, size: int) -> np.ndarray:
    """Flat bool array [size] that is true on the runs (int64 [K] each, disjoint)."""
    values = np.zeros(size, np.bool_)
    stops = lengths.cumsum()
    total = int(stops[-1]) if len(stops) else 0
    if total > _LONG_RUN * len(stops):
        # An index of every pixel costs more than a slice for every run.
        for start, stop in zip(starts.tolist(), (starts + lengths).tolist(), strict=True):
            values[start:stop] = True
    else:
        position = np.repeat(starts - stops + lengths, lengths)
        position += np.arange(total)
        values[position] = True
    return values


def transpose_crops(windows: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same masks with x and y swapped: windows (y0, x0, y1, x1) and the crops column by column."""
    heights, widths = windows[:, 3] - windows[:, 1], windows[:, 2] - windows[:, 0]
    offsets = np.concatenate(([0], np.cumsum(widths * heights))).tolist()
    swapped = np.empty_like(values)
    for index, (height, width) in enumerate(zip(heights.tolist(), widths.tolist(), strict=True)):
        begin, stop = offsets[index], offsets[index + 1]
        swapped[begin:stop].reshape(width, height)[:] = values[begin:stop].reshape(height, width).T
    return windows[:, [1, 0, 3, 2]], swapped
