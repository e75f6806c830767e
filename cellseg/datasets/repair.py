"""Masks with holes and masks in several parts: found, counted and mended."""

from dataclasses import dataclass, fields

import cv2
import numpy as np
import torch

from cellseg.errors import InputError
from cellseg.structures import CropMasks

REPAIRS = ("none", "fill", "largest", "bridge")
_WIDEST_RADIUS = 4  # a bridge spans gaps of up to twice this many pixels


@dataclass
class RepairCounts:
    """How many masks were mended, in which way.

    Attributes:
        filled: masks of which holes were filled.
        bridged: masks of which parts were joined.
        reduced: masks that were reduced to their largest part.
        pixels_added, pixels_removed: over all masks.
    """

    filled: int = 0
    bridged: int = 0
    reduced: int = 0
    pixels_added: int = 0
    pixels_removed: int = 0

    def add(self, other: "RepairCounts") -> None:
        """Add another image's counts to these."""
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))


def find_defects(masks: CropMasks) -> tuple[np.ndarray, np.ndarray]:
    """Which masks have holes, and which consist of several parts: bool ``[N]`` each.

    Parts are 8-connected: pixels that touch at a corner belong together. A hole is background that is
    4-connected and does not reach around the mask.
    """
    holes, broken = np.zeros(len(masks), bool), np.zeros(len(masks), bool)
    for index in range(len(masks)):
        crop = masks.crop(index).numpy()
        if not crop.all():
            holes[index] = _fill(_padded(crop, 1)).sum() > crop.sum()
            broken[index] = _parts(crop)[0] > 1
    return holes, broken


def repair(masks: CropMasks, mode: str) -> tuple[CropMasks, RepairCounts]:
    """Mend the masks of one image.

    ``fill`` fills holes. ``largest`` also keeps only the largest part of each mask. ``bridge`` first joins parts
    that lie at most 8 pixels from each other by a closing, adding only pixels that connect two parts; then it
    fills holes and keeps the largest part. Pixels that another mask has are never added, so masks that did
    not overlap still do not: a hole with another cell in it stays open there.

    Args:
        masks: N bool masks.
        mode: one of ``REPAIRS``; ``none`` returns the masks as they are.
    """
    if mode not in REPAIRS:
        raise InputError(f"repair {mode!r} is not one of {', '.join(REPAIRS)}")
    counts = RepairCounts()
    if mode == "none":
        return masks, counts
    holes, broken = find_defects(masks)
    defective = np.flatnonzero(holes | broken if mode != "fill" else holes)
    if len(defective) == 0:
        return masks, counts
    taken = _owners(masks)
    crops = [masks.crop(index) for index in range(len(masks))]
    windows = masks.windows.clone()
    for index in defective.tolist():
        old, window = _with_margin(masks, index)
        x0, y0, x1, y1 = window
        free = taken[y0:y1, x0:x1] == 0
        new = _mend(old, free, mode, counts)
        taken[y0:y1, x0:x1] += new & ~old
        counts.pixels_added += int((new & ~old).sum())
        counts.pixels_removed += int((old & ~new).sum())
        crops[index], windows[index] = torch.from_numpy(new), torch.tensor(window)
    return CropMasks.from_crops(crops, windows, masks.image_size).tight(), counts


def _mend(mask: np.ndarray, free: np.ndarray, mode: str, counts: RepairCounts) -> np.ndarray:
    if mode == "bridge":
        bridged = _bridge(mask, free)
        counts.bridged += bridged is not mask
        mask = bridged
    full = mask | (_fill(_padded(mask, 1))[1:-1, 1:-1] & free)
    counts.filled += bool((full != mask).any())
    if mode == "fill":
        return full
    number, labels = _parts(full)
    counts.reduced += number > 1
    # The first of the largest parts in reading order, so that the result does not depend on the labelling.
    return labels == np.bincount(labels.ravel())[1:].argmax() + 1 if number > 1 else full


def _bridge(mask: np.ndarray, free: np.ndarray) -> np.ndarray:
    """The mask with the fewest, thinnest bridges between its parts; itself when none joins any."""
    number, _ = _parts(mask)
    for radius in range(1, _WIDEST_RADIUS + 1):
        if number == 1:
            break
        disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
        padded = _padded(mask, radius).astype(np.uint8)
        closed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, disk, borderType=cv2.BORDER_CONSTANT, borderValue=0)
        added = closed[radius:-radius, radius:-radius].astype(bool) & ~mask & free
        joined = mask | _connecting(added, mask)
        joined_number, _ = _parts(joined)
        if joined_number < number:
            mask, number = joined, joined_number
    return mask


def _connecting(added: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Pieces of ``added`` that touch at least two parts of the mask."""
    _, parts = _parts(mask)
    number, pieces = _parts(added)
    kept = np.zeros_like(mask)
    for piece in range(1, number + 1):
        near = cv2.dilate((pieces == piece).astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
        if len(np.setdiff1d(parts[near], [0])) > 1:
            kept |= pieces == piece
    return kept


def _fill(padded: np.ndarray) -> np.ndarray:
    """Fill what the outside, which is the top left corner, does not reach."""
    _, background = cv2.connectedComponents((~padded).astype(np.uint8), connectivity=4)
    return background != background[0, 0]


def _parts(mask: np.ndarray) -> tuple[int, np.ndarray]:
    """Number of 8-connected parts, and int32 labels of the same shape, 0 outside."""
    number, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    return number - 1, labels


def _padded(mask: np.ndarray, margin: int) -> np.ndarray:
    return np.pad(mask, margin)


def _owners(masks: CropMasks) -> np.ndarray:
    """How many masks have each pixel of the image: int32 ``[H, W]``."""
    height, width = masks.image_size
    _, flat = masks.foreground_index()
    return np.bincount(flat.numpy(), minlength=height * width).astype(np.int32).reshape(height, width)


def _with_margin(masks: CropMasks, index: int) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """One mask in its window enlarged by room for bridges, cut at the image's edge."""
    height, width = masks.image_size
    x0, y0, x1, y1 = masks.windows[index].tolist()
    wide = (max(0, x0 - _WIDEST_RADIUS), max(0, y0 - _WIDEST_RADIUS))
    window = (*wide, min(width, x1 + _WIDEST_RADIUS), min(height, y1 + _WIDEST_RADIUS))
    mask = masks[index].rewindow(torch.tensor([window])).crop(0).numpy().copy()
    return mask, window
