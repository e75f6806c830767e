"""Overlap of masks and boxes: shared pixels and intersection over union (IoU).

Masks are compared through lists of their pixels. Cost and memory grow with the areas of the masks, never with
N x H x W, so thousands of instances on a large image are as easy as few on a small one.
"""

import torch
from torch import Tensor

from cellseg.errors import InputError
from cellseg.structures import CropMasks

# A table with one entry per image pixel is the fastest way from a pixel to its owner; images beyond this size
# (64 Mpx, 256 MB) get a table of the pixels that masks use instead.
MAX_TABLE_PIXELS = 1 << 26

# Up to this many pairs of masks are counted in a dense N x M array, more by sorting.
MAX_DENSE_PAIRS = 1 << 22


def mask_iou(a: CropMasks, b: CropMasks) -> Tensor:
    """IoU of every mask of ``a`` with every mask of ``b``.

    Args:
        a: N bool masks.
        b: M bool masks of an image of the same size, on the same device.

    Returns:
        float64 ``[N, M]`` in 0..1. A pair of masks without any pixel has IoU 0.

    Raises:
        InputError: masks are not bool, or image sizes or devices differ.
    """
    shared = intersections(a, b)
    union = a.areas()[:, None] + b.areas()[None, :] - shared
    return shared.double() / union.clamp(min=1)


def intersections(a: CropMasks, b: CropMasks) -> Tensor:
    """Number of pixels that every mask of ``a`` shares with every mask of ``b``: int64 ``[N, M]``.

    Raises:
        InputError: masks are not bool, or image sizes or devices differ.
    """
    rows, columns, shared = shared_pixels(a, b)
    dense = torch.zeros((len(a), len(b)), dtype=torch.int64, device=rows.device)
    dense[rows, columns] = shared
    return dense


def shared_pixels(a: CropMasks, b: CropMasks) -> tuple[Tensor, Tensor, Tensor]:
    """The pairs of masks that touch each other, and in how many pixels.

    Masks may overlap within ``a`` and within ``b``; it is fastest when those of ``a`` do not.

    Returns:
        rows int64 ``[K]`` (indices into ``a``), columns int64 ``[K]`` (indices into ``b``) and shared pixels
        int64 ``[K]`` (1 or more), ordered by row, then column.

    Raises:
        InputError: masks are not bool, or image sizes or devices differ.
    """
    _check_comparable(a, b)
    owner_a, pixel_a = a.foreground_index()
    owner_b, pixel_b = b.foreground_index()
    size = a.image_size[0] * a.image_size[1]
    if size > MAX_TABLE_PIXELS:
        pixel_a, owner_b, pixel_b, size = _number_used_pixels(pixel_a, owner_b, pixel_b)
    keys, counts = _count_layers(owner_a, pixel_a, owner_b, pixel_b, size, len(a), len(b))
    columns = max(len(b), 1)
    return keys // columns, keys % columns, counts


def box_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU of every box of ``a`` with every box of ``b``.

    Args:
        a: float ``[N, 4]``, corners x0, y0, x1, y1 in pixels, half-open (width is x1 - x0).
        b: float ``[M, 4]``, likewise.

    Returns:
        float ``[N, M]`` in 0..1; 0 where both boxes are empty.

    Raises:
        InputError: a shape is not ``[N, 4]``.
    """
    for name, boxes in (("a", a), ("b", b)):
        if boxes.ndim != 2 or boxes.shape[1] != 4:
            raise InputError(f"box_iou: {name} should have shape [N, 4], found {list(boxes.shape)}")
    corner = torch.maximum(a[:, None, :2], b[None, :, :2])
    opposite = torch.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = (opposite - corner).clamp(min=0).prod(dim=2)
    area_a = (a[:, 2:] - a[:, :2]).clamp(min=0).prod(dim=1)
    area_b = (b[:, 2:] - b[:, :2]).clamp(min=0).prod(dim=1)
    union = area_a[:, None] + area_b[None, :] - shared
    return torch.where(union > 0, shared / union.clamp(min=torch.finfo(union.dtype).tiny), 0.0)


def _check_comparable(a: CropMasks, b: CropMasks) -> None:
    for name, masks in (("first", a), ("second", b)):
        if masks.dtype != torch.bool:
            raise InputError(f"the {name} masks are {masks.dtype}, IoU needs bool: call .threshold() before")
    if tuple(a.image_size) != tuple(b.image_size):
        raise InputError(
            f"masks of different image sizes (height, width) cannot be compared: "
            f"{tuple(a.image_size)} and {tuple(b.image_size)}"
        )
    if a.device != b.device:
        raise InputError(f"masks lie on different devices: {a.device} and {b.device}")


def _number_used_pixels(pixel_a: Tensor, owner_b: Tensor, pixel_b: Tensor) -> tuple[Tensor, Tensor, Tensor, int]:
    """Number the pixels of a from 0 without gaps and drop those pixels of b that a does not use."""
    used, pixel_a = torch.unique(pixel_a, return_inverse=True)
    if len(used) == 0:
        return pixel_a, owner_b[:0], pixel_b[:0], 0
    position = torch.searchsorted(used, pixel_b).clamp(max=len(used) - 1)
    common = (used[position] == pixel_b).nonzero()[:, 0]
    return pixel_a, owner_b[common], position[common], len(used)


def _count_layers(
    owner_a: Tensor, pixel_a: Tensor, owner_b: Tensor, pixel_b: Tensor, size: int, rows: int, columns: int
) -> tuple[Tensor, Tensor]:
    """Keys (row * columns + column, ascending) and counts of the pairs of masks that share pixels.

    A table from pixel to owner holds one owner only, so a is peeled into layers without overlaps: each round writes
    what is left of a into the table, and the owner that stays in a contested pixel is the one that is counted and
    leaves. Which of them stays may differ between machines; the sums over all rounds do not. Pixels of b that found
    no owner will find none later, so the work is that of the shared pixels.
    """
    table = torch.full((size,), -1, dtype=torch.int32, device=pixel_a.device)
    owner_a = owner_a.int()
    found = []
    while len(pixel_a) and len(pixel_b):
        # gather, scatter and index_select do the same as [] and are several times faster.
        table.scatter_(0, pixel_a, owner_a)
        partner = table.gather(0, pixel_b)
        hit = (partner >= 0).nonzero()[:, 0]
        owner_b, pixel_b, partner = (values.index_select(0, hit) for values in (owner_b, pixel_b, partner))
        found.append(_count_keys(partner.long() * columns + owner_b, rows * columns))
        waiting = (table.gather(0, pixel_a) != owner_a).nonzero()[:, 0]
        if len(waiting) == 0:
            break
        table.scatter_(0, pixel_a, -1)
        owner_a, pixel_a = owner_a.index_select(0, waiting), pixel_a.index_select(0, waiting)
    return found[0] if len(found) == 1 else _add_counts(found, pixel_a.device)


def _count_keys(keys: Tensor, bound: int) -> tuple[Tensor, Tensor]:
    """Distinct keys below ``bound``, ascending, and how often each occurs."""
    if bound > MAX_DENSE_PAIRS:
        return torch.unique(keys, return_counts=True)
    counts = torch.bincount(keys, minlength=bound)
    distinct = counts.nonzero()[:, 0]
    return distinct, counts[distinct]


def _add_counts(found: list[tuple[Tensor, Tensor]], device: torch.device) -> tuple[Tensor, Tensor]:
    nothing = torch.zeros(0, dtype=torch.int64, device=device)
    keys, place = torch.unique(torch.cat([nothing] + [keys for keys, _ in found]), return_inverse=True)
    counts = torch.cat([nothing] + [counts for _, counts in found])
    return keys, torch.zeros_like(keys).index_add_(0, place, counts)
