"""Crops from dense masks and label images, and label images from crops; on CPU and CUDA.

On the CPU, ``index_select`` and ``scatter_`` are several times faster than indexing with brackets.
"""

import torch
from torch import Tensor

from cellseg.errors import InputError
from cellseg.structures.windows import (
    enclosing_windows,
    expand_ranges,
    pixel_positions,
    repeat_each,
    true_positions,
    window_offsets,
    window_sizes,
)

_SPARSE = 64


def crops_of_dense(masks: Tensor) -> tuple[Tensor, Tensor]:
    """Tight windows int64 [N, 4] of what is not 0, and the values in them.

    Args:
        masks: [N, H, W], bool or floating point.
    """
    count, height, width = masks.shape
    used = masks if masks.dtype == torch.bool else masks != 0
    # The maximum of bytes is many times faster than any() of truth values, and the same.
    used = used.view(torch.uint8)
    x0, x1 = _ends(used.amax(dim=1) > 0)
    y0, y1 = _ends(used.amax(dim=2) > 0)
    windows = torch.stack((x0, y0, x1, y1), dim=1)
    heights, widths = window_sizes(windows)
    areas = heights * widths
    # Crop i starts in image i of the batch.
    shift = torch.arange(count, device=masks.device) * (height * width)
    position = pixel_positions(windows, width)
    position += repeat_each(shift, areas, len(position))
    return windows, masks.reshape(-1).index_select(0, position)


def _ends(used: Tensor) -> tuple[Tensor, Tensor]:
    """First true column and one after the last, int64 [N] each, of bool [N, L]; 0, 0 where none is true."""
    length = used.shape[1]
    place = torch.arange(length, device=used.device)
    stop = torch.where(used, place + 1, 0).amax(dim=1)
    start = torch.where(used, place, length).amin(dim=1)
    return torch.where(stop > 0, start, 0), stop


def crops_of_labels(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Tight windows and bool crops of each number but 0 in a label image int64 [H, W], in ascending order.

    Raises:
        InputError: a negative number.
    """
    height, width = labels.shape
    # Pieces of equal numbers in a row are far fewer than pixels.
    begins = torch.ones_like(labels, dtype=torch.bool)
    begins[:, 1:] = labels[:, 1:] != labels[:, :-1]
    start = true_positions(begins.reshape(-1))
    length = torch.diff(start, append=start.new_tensor([height * width]))
    number = labels.reshape(-1).index_select(0, start)
    if (number < 0).any():
        raise InputError(f"label image: expected numbers of at least 0, got {int(number.min())}")
    start, length, number = (part[number > 0] for part in (start, length, number))
    ids, instance = torch.unique(number, return_inverse=True)
    y, x = start // width, start % width
    windows = enclosing_windows(instance, x, y, x + length, len(ids))
    owner = windows[instance]
    offsets = window_offsets(windows)
    begin = offsets[instance] + (y - owner[:, 1]) * (owner[:, 2] - owner[:, 0]) + x - owner[:, 0]
    values = torch.zeros(int(offsets[-1]), dtype=torch.bool, device=labels.device)
    return windows, values.index_fill_(0, expand_ranges(begin, length), True)


def paint_labels(instance: Tensor, position: Tensor, image_size: tuple[int, int]) -> Tensor:
    """int32 [H, W] with i + 1 at the positions of instance i."""
    height, width = image_size
    labels = torch.zeros(height * width, dtype=torch.int32, device=position.device)
    return labels.scatter_(0, position, instance.int() + 1).view(height, width)


def find_overlap(instance: Tensor, position: Tensor) -> tuple[int, int] | None:
    """Two instances that share a pixel, at the first such pixel; None where no pixel is shared.

    Args:
        instance: int64 [K].
        position: int64 [K], pixels of the image; one instance has each at most once.
    """
    if not len(position):
        return None
    # Each pixel remembers one of its instances: another one that comes back for its own finds a stranger.
    places = position - position.min()
    size = int(places.max()) + 1
    if size > _SPARSE * len(places):
        # In a huge image with little in it, a table of all its pixels would cost more than sorting those used.
        places = torch.unique(places, return_inverse=True)[1]
        size = len(places)
    owner = torch.empty(size, dtype=torch.int64, device=places.device)
    owner.scatter_(0, places, instance)
    strangers = owner.index_select(0, places) != instance
    if not strangers.any():
        return None
    first, second = instance[position == position[strangers].min()][:2].tolist()
    return first, second
