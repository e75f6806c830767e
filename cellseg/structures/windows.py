"""Index arithmetic on windows: int64 [N, 4] rows (x0, y0, x1, y1), half-open, in whole pixels.

The crops of all windows lie row by row in one flat tensor. A *row* here is one image row inside one window;
there are as many as the windows are high together, far fewer than pixels, so per-pixel work is only expanding
rows into ranges.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cellseg.errors import InputError


class Rows(NamedTuple):
    """The rows of all windows in storage order; int64 [R] each."""

    instance: Tensor
    y: Tensor
    length: Tensor


def check_windows(windows: Tensor, image_size: tuple[int, int]) -> None:
    """Refuse windows that are no int64 [N, 4] or that do not lie in the image.

    Raises:
        InputError: names the first wrong window.
    """
    if windows.ndim != 2 or windows.shape[1] != 4:
        raise InputError(f"windows: expected shape [N, 4], got {list(windows.shape)}")
    if windows.dtype != torch.int64:
        raise InputError(f"windows: expected int64, got {windows.dtype}")
    height, width = image_size
    x0, y0, x1, y1 = windows.unbind(1)
    wrong = (x0 < 0) | (y0 < 0) | (x1 < x0) | (y1 < y0) | (x1 > width) | (y1 > height)
    if wrong.any():
        first = int(wrong.nonzero()[0])
        raise InputError(
            f"windows: expected 0 <= x0 <= x1 <= {width} and 0 <= y0 <= y1 <= {height}, "
            f"got (x0, y0, x1, y1) = {tuple(windows[first].tolist())} in row {first}"
        )


def window_sizes(windows: Tensor) -> tuple[Tensor, Tensor]:
    """Heights and widths, int64 [N] each."""
    return windows[:, 3] - windows[:, 1], windows[:, 2] - windows[:, 0]


def window_offsets(windows: Tensor) -> Tensor:
    """Where each crop begins in the flat values, int64 [N + 1]; the last entry is their number."""
    heights, widths = window_sizes(windows)
    return torch.nn.functional.pad((heights * widths).cumsum(0), (1, 0))


def expand_ranges(starts: Tensor, lengths: Tensor) -> Tensor:
    """The ranges start, start + 1 ... start + length - 1, one after another: int64 [sum of lengths]."""
    used = lengths > 0
    starts, lengths = starts[used], lengths[used]
    if not len(starts):
        return starts.new_zeros(0)
    stops = lengths.cumsum(0)
    # A running sum of steps: 1 within a range, and at its start the jump from the end of the range before. Half the
    # memory of adding a shift to each position, and new memory is what takes the time.
    steps = torch.ones(int(stops[-1]), dtype=torch.int64, device=starts.device)
    jumps = starts.clone()
    jumps[1:] -= starts[:-1] + lengths[:-1] - 1
    return steps.index_copy_(0, stops - lengths, jumps).cumsum_(0)


def repeat_each(numbers: Tensor, lengths: Tensor, total: int) -> Tensor:
    """The first number as often as the first length says, then the second, and so on: [N] to [total].

    Args:
        numbers: [N].
        lengths: int64 [N].
        total: their sum.
    """
    if numbers.is_cuda:
        return numbers.repeat_interleave(lengths, output_size=total)
    # NumPy takes an eighth of torch's time.
    return torch.from_numpy(np.repeat(numbers.numpy(), lengths.numpy()))


def window_rows(windows: Tensor) -> Rows:
    """The rows of all windows, windows in order and top to bottom in each."""
    heights, widths = window_sizes(windows)
    y = expand_ranges(windows[:, 1], heights)
    instance = repeat_each(torch.arange(len(windows), device=windows.device), heights, len(y))
    return Rows(instance, y, widths[instance])


def pixel_positions(windows: Tensor, width: int) -> Tensor:
    """Position y * width + x in the image of every window pixel in storage order: int64 [P]."""
    rows = window_rows(windows)
    return expand_ranges(rows.y * width + windows[rows.instance, 0], rows.length)


def intersect_windows(a: Tensor, b: Tensor) -> Tensor:
    """The common part of each pair of windows, int64 [N, 4]; (0, 0, 0, 0) where there is none."""
    common = torch.cat((torch.maximum(a[:, :2], b[:, :2]), torch.minimum(a[:, 2:], b[:, 2:])), dim=1)
    present = (common[:, 2:] > common[:, :2]).all(dim=1, keepdim=True)
    return torch.where(present, common, 0)


def touching_windows(windows: Tensor) -> tuple[Tensor, Tensor]:
    """Pairs of windows that share pixels, the first of two before the second: int64 [K] each, in no particular order.

    Each window looks at those that begin inside it, along the longer axis of what all cover, so a few large windows
    among many small ones cost little.
    """
    reach = [0, 0] if not len(windows) else (windows[:, 2:].amax(0) - windows[:, :2].amin(0)).tolist()
    axis = int(reach[1] > reach[0])
    begin, order = windows[:, axis].sort(stable=True)
    end = windows[:, 2 + axis].index_select(0, order)
    place = torch.arange(len(windows), device=windows.device)
    counts = (torch.searchsorted(begin, end) - place - 1).clamp_(min=0)
    rows = repeat_each(place, counts, int(counts.sum()))
    first, second = order[rows], order[expand_ranges(place + 1, counts)]
    a, b = windows[first], windows[second]
    common = torch.minimum(a[:, 2:], b[:, 2:]) > torch.maximum(a[:, :2], b[:, :2])
    touching = common.all(dim=1).nonzero()[:, 0]
    first, second = first[touching], second[touching]
    return torch.minimum(first, second), torch.maximum(first, second)


def storage_positions(parts: Tensor, windows: Tensor) -> Tensor:
    """Where the pixels of parts of windows lie in the flat values: int64 [pixels of the parts].

    Args:
        parts: int64 [N, 4], each inside its window (or empty).
        windows: int64 [N, 4].
    """
    rows = window_rows(parts)
    owner = windows[rows.instance]
    begin = window_offsets(windows)[rows.instance]
    begin += (rows.y - owner[:, 1]) * (owner[:, 2] - owner[:, 0]) + parts[rows.instance, 0] - owner[:, 0]
    return expand_ranges(begin, rows.length)


def count_by_crop(values: Tensor, offsets: Tensor) -> Tensor:
    """Number of true values in each crop, int64 [N], exact.

    Args:
        values: bool [P].
        offsets: int64 [N + 1], see ``window_offsets``; from 0 to P.
    """
    if values.is_cuda:
        running = torch.nn.functional.pad(values.cumsum(0), (1, 0))
        return running[offsets[1:]] - running[offsets[:-1]]
    # Many times faster than the running sum, which is eight times as large as the values themselves.
    return _reduce_by_crop(values.numpy().view(np.uint8), offsets, np.int64)


def sum_by_crop(values: Tensor, offsets: Tensor) -> Tensor:
    """Sum of the values of each crop, float64 [N]; unlike differences of a running sum, each one's own.

    Args:
        values: float [P].
        offsets: int64 [N + 1], see ``window_offsets``; from 0 to P.
    """
    if values.is_cuda:
        return torch.segment_reduce(values.double(), "sum", lengths=torch.diff(offsets), unsafe=True)
    return _reduce_by_crop(values.numpy(), offsets, np.float64)


def _reduce_by_crop(values: np.ndarray, offsets: Tensor, dtype: type) -> Tensor:
    sums = np.zeros(len(offsets) - 1, dtype)
    used = (offsets[1:] > offsets[:-1]).numpy()  # reduceat has no empty sums
    begin = offsets[:-1].numpy()[used]
    if len(begin):
        sums[used] = np.add.reduceat(values, begin, dtype=dtype)
    return torch.from_numpy(sums)


def count_true(values: Tensor) -> int:
    """How many of bool values are true."""
    # NumPy counts bytes many times as fast as torch adds them up.
    return int(values.sum()) if values.is_cuda else int(np.count_nonzero(values.numpy()))


def true_positions(values: Tensor) -> Tensor:
    """Where flat bool values ``[P]`` are true, int64, ascending."""
    if values.is_cuda:
        return values.nonzero()[:, 0]
    # NumPy finds them several times as fast as torch does.
    return torch.from_numpy(values.numpy().nonzero()[0])


def tight_windows(windows: Tensor, values: Tensor) -> Tensor:
    """Smallest windows around the true values, int64 [N, 4]; (0, 0, 0, 0) for an instance without any.

    Args:
        windows: int64 [N, 4].
        values: bool [P].
    """
    rows = window_rows(windows)
    offsets = torch.nn.functional.pad(rows.length.cumsum(0), (1, 0))
    running = torch.nn.functional.pad(count_by_crop(values, offsets).cumsum(0), (1, 0))
    before, after = running[:-1], running[1:]
    used = after > before
    instance, y = rows.instance[used], rows.y[used]
    # Within a used row the first and last true values are the row's ends.
    true = true_positions(values)
    shift = windows[instance, 0] - offsets[:-1][used]
    left, right = true[before[used]] + shift, true[after[used] - 1] + shift + 1
    return enclosing_windows(instance, left, y, right, len(windows))


def enclosing_windows(instance: Tensor, left: Tensor, y: Tensor, right: Tensor, count: int) -> Tensor:
    """Smallest windows around horizontal pieces, int64 [count, 4]; (0, 0, 0, 0) for an instance without pieces.

    Args:
        instance: int64 [K].
        left: int64 [K], first pixel of the piece.
        y: int64 [K].
        right: int64 [K], one after the last pixel.
        count: number of instances.
    """
    far = torch.iinfo(torch.int64).max
    low = torch.full((2, count), far, device=instance.device)
    high = torch.zeros((2, count), dtype=torch.int64, device=instance.device)
    low.scatter_reduce_(1, instance.expand(2, -1), torch.stack((left, y)), "amin")
    high.scatter_reduce_(1, instance.expand(2, -1), torch.stack((right, y + 1)), "amax")
    return torch.where(low == far, 0, torch.cat((low, high)).view(2, 2, count)).reshape(4, count).T.contiguous()
