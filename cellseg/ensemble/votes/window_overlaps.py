"""Overlaps of many sets of masks that lie in the same windows: where the windows share pixels is found once.

A search makes masks in the same windows again and again. What does not change, which pixels of two windows are the
same and which true cell lies under each window pixel, is kept here, so that a new set costs a look-up of values.
"""

import torch
from torch import Tensor

from cellseg.structures import CropMasks
from cellseg.structures.windows import (
    count_by_crop,
    expand_ranges,
    intersect_windows,
    pixel_positions,
    repeat_each,
    touching_windows,
    true_positions,
    window_offsets,
    window_rows,
)

# About how many pixels that two windows share are looked at together: 16 MB of positions.
_PIXELS_AT_ONCE = 1 << 20

# Positions of more shared pixels than this are not kept from one set of masks to the next: half a gigabyte.
MOST_KEPT = 1 << 26

# Positions are kept as 32-bit numbers.
_MOST_VALUES = torch.iinfo(torch.int32).max


class WindowPairs:
    """Pairs of windows that share pixels.

    Args:
        windows: int64 ``[N, 4]``.
        most_kept: shared pixels whose positions are kept; if there are more, they are found anew for each set of masks,
            some at a time.

    Attributes:
        kept: shared pixels whose positions are kept, 8 bytes each.
    """

    def __init__(self, windows: Tensor, most_kept: int = MOST_KEPT):
        first, second = touching_windows(windows)
        # By the later of the two, so that the pairs among the first windows come first.
        order = second.argsort(stable=True)
        self._first, self._second = first[order], second[order]
        parts = intersect_windows(windows[self._first], windows[self._second])
        self._windows, self._parts, self._offsets = windows, parts, window_offsets(parts)
        self._pixels, self.kept = None, 0
        begins = window_offsets(windows)
        if int(self._offsets[-1]) <= most_kept and int(begins[-1]) <= _MOST_VALUES:
            sides = (self._first, self._second)
            self._pixels = [_positions(parts, windows, begins[:-1], side).int() for side in sides]
            self.kept = int(self._offsets[-1])

    def shared(self, values: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Pixels that masks share.

        Args:
            values: bool ``[P]``, masks in the first windows (or more), one crop after another.
            count: how many windows these are.

        Returns:
            For each pair of masks that touch, the first and the second window (first < second) and the number of
            pixels, int64 ``[K]`` each.
        """
        pairs = int(torch.searchsorted(self._second, count))
        if self._pixels is None:
            chosen = (self._parts[:pairs], self._first[:pairs], self._second[:pairs])
            counts = _count_shared(values, self._windows, *chosen)
        else:
            offsets = self._offsets[: pairs + 1]
            one, other = (values.index_select(0, side[: int(offsets[-1])]) for side in self._pixels)
            counts = count_by_crop(one.logical_and_(other), offsets)
        touching = counts.nonzero()[:, 0]
        return self._first[touching], self._second[touching], counts[touching]


class TruthPixels:
    """Which true cell lies under each pixel of the windows.

    Args:
        windows: int64 ``[N, 4]``.
        truth: the true cells of the image, bool; they may overlap.

    Attributes:
        nbytes: memory of what is kept.
    """

    def __init__(self, windows: Tensor, truth: CropMasks):
        self._windows, self._offsets = windows, window_offsets(windows)[:-1]
        self._count = max(len(truth), 1)
        self._layers: list[Tensor] = []
        pixel = pixel_positions(windows, truth.image_size[1])
        owner, place = truth.foreground_index()
        owner = owner.int()
        while len(place):
            table = torch.full((truth.image_size[0] * truth.image_size[1],), -1, dtype=torch.int32)
            table.scatter_(0, place, owner)
            self._layers.append(table.index_select(0, pixel))
            # Of cells that overlap only one is in the table; the others come in the next round.
            waiting = true_positions(table.gather(0, place) != owner)
            owner, place = owner[waiting], place[waiting]
        self.nbytes = sum(layer.nbytes for layer in self._layers)

    def shared(self, masks: CropMasks, places: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pixels that masks share with true cells.

        Args:
            masks: bool, each inside one of the windows.
            places: int64 ``[N]``, which one.

        Returns:
            For each pair that touches, the mask, the true cell and the number of pixels, int64 ``[K]`` each, ordered by
            mask, then cell.
        """
        pixel = _positions(masks.windows, self._windows, self._offsets, places)[masks.values]
        mask = repeat_each(torch.arange(len(masks)), masks.areas(), len(pixel))
        runs, lengths = [mask.new_zeros(0)], [mask.new_zeros(0)]
        for layer in self._layers:
            cell = layer.index_select(0, pixel)
            there = true_positions(cell >= 0)
            # Neighbours mostly have the same pair: what is left to sort are stretches, not pixels.
            keys = mask.index_select(0, there) * self._count + cell.index_select(0, there)
            key, length = torch.unique_consecutive(keys, return_counts=True)
            runs.append(key)
            lengths.append(length)
        keys, place = torch.unique(torch.cat(runs), return_inverse=True)
        counts = torch.zeros_like(keys).index_add_(0, place, torch.cat(lengths))
        return keys // self._count, keys % self._count, counts


def touching_masks(masks: CropMasks) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels that bool masks share, where the windows are asked once: nothing is kept, and memory stays bounded.

    Returns:
        For each pair of masks that touch, the first and the second mask (first < second) and the number of pixels,
        int64 ``[K]`` each.
    """
    first, second = touching_windows(masks.windows)
    parts = intersect_windows(masks.windows[first], masks.windows[second])
    counts = _count_shared(masks.values, masks.windows, parts, first, second)
    touching = counts.nonzero()[:, 0]
    return first[touching], second[touching], counts[touching]


def _count_shared(values: Tensor, windows: Tensor, parts: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Pixels that are true in both windows of each pair, int64 ``[K]``; a bounded number is looked at together.

    Args:
        values: bool, the crops of (at least) the windows that are asked for.
        windows: int64 ``[N, 4]``.
        parts: int64 ``[K, 4]``, what each pair of windows shares.
        first, second: int64 ``[K]``, the pairs.
    """
    sizes = torch.unique_consecutive(window_offsets(parts)[:-1] // _PIXELS_AT_ONCE, return_counts=True)[1].tolist()
    begins, counts = window_offsets(windows)[:-1], [first.new_zeros(0)]
    for common, *pair in zip(parts.split(sizes), first.split(sizes), second.split(sizes), strict=True):
        one, other = (values.index_select(0, _positions(common, windows, begins, side)) for side in pair)
        counts.append(count_by_crop(one.logical_and_(other), window_offsets(common)))
    return torch.cat(counts)


def _positions(parts: Tensor, windows: Tensor, offsets: Tensor, places: Tensor) -> Tensor:
    """Where the pixels of parts lie in the flat values of all windows.

    Args:
        parts: int64 ``[K, 4]``, each inside its window (or empty).
        windows: int64 ``[N, 4]``.
        offsets: int64 ``[N]``, where the crop of each window begins.
        places: int64 ``[K]``, the window of each part.
    """
    rows = window_rows(parts)
    place = places[rows.instance]
    owner = windows[place]
    begin = offsets[place] + (rows.y - owner[:, 1]) * (owner[:, 2] - owner[:, 0])
    begin += parts[rows.instance, 0] - owner[:, 0]
    return expand_ranges(begin, rows.length)
