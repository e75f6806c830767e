"""Annotations of a COCO file: checked one by one, decoded an image at a time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from cellseg.datasets.records import Problem
from cellseg.errors import InputError
from cellseg.structures import CropMasks

_FARTHEST = 1e7  # pixels; outlines may leave the image, but not like this


@dataclass
class Cell:
    """One annotation.

    Attributes:
        row: where it stands, for reports.
        name: its class.
        segmentation: a list of polygons (each a flat list of x and y), or a dictionary with run lengths.
    """

    row: str
    name: str
    segmentation: list[Any] | dict[str, Any]


def check_cell(
    row: str,
    annotation: Any,
    images: Mapping[Any, Any],
    names: Mapping[int, str] | None,
    seen: set[Any],
    crowds_are_cells: bool,
) -> tuple[Any, Cell]:
    """Check everything about an annotation except its outline's pixels.

    Args:
        row: where it stands.
        annotation: the entry of the file.
        images: by id.
        names: category names by id; None when categories do not matter.
        seen: ids of the annotations before; this one's is added.
        crowds_are_cells: take polygons for cells even where ``iscrowd`` is 1.

    Returns:
        What ``images`` has for its image, and the cell.

    Raises:
        InputError: it cannot be used; the text is the reason.
    """
    if not isinstance(annotation, dict):
        raise InputError("is not an object")
    number, image_id, category = (annotation.get(name) for name in ("id", "image_id", "category_id"))
    for name, value in (("id", number), ("image_id", image_id)):
        if not isinstance(value, int) or isinstance(value, bool):
            raise InputError(f"{name} {value!r} is not a whole number")
    if number in seen:
        raise InputError(f"id {number} is used twice")
    seen.add(number)
    if image_id not in images:
        raise InputError(f"image_id {image_id} is not among the images")
    if names is not None and (isinstance(category, bool) or not isinstance(category, int) or category not in names):
        raise InputError(f"category_id {category!r} is not among the categories")
    outline = annotation.get("segmentation")
    if annotation.get("iscrowd", 0) not in (0, False) and not (crowds_are_cells and isinstance(outline, list)):
        raise InputError("is a crowd region (iscrowd is not 0), not one instance")
    if isinstance(outline, list):
        _check_polygons(outline)
    elif not isinstance(outline, dict):
        raise InputError("has no segmentation; expected polygons or run lengths")
    return images[image_id], Cell(row, "" if names is None else names[category], outline)


def _check_polygons(polygons: list[Any]) -> None:
    if not polygons:
        raise InputError("has an empty list of polygons")
    for place, polygon in enumerate(polygons, start=1):
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            raise InputError(f"polygon {place} is not a flat list of at least three x, y pairs")
        # Millions of coordinates pass here: usually this is enough.
        if set(map(type, polygon)) <= {int, float} and sum(map(abs, polygon)) <= _FARTHEST:
            continue
        for value in polygon:
            # Written so that it is false for NaN, and works for whole numbers too large for a float.
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not -_FARTHEST <= value <= _FARTHEST:
                raise InputError(f"polygon {place} holds {value!r:.40}, which is not a coordinate")


def read_cells(
    key: str, cells: Sequence[Cell], size: tuple[int, int], problems: list[Problem]
) -> tuple[CropMasks, list[str]]:
    """Masks and class names of an image's annotations.

    Args:
        key: of the image.
        cells: its annotations.
        size: (height, width).
        problems: receives annotations that do not decode or have no pixel.

    Raises:
        InputError: there are annotations, but none can be used.
    """
    if not cells:
        return CropMasks.empty(size), []
    try:
        masks, good = _decode(cells, size), list(cells)
    except InputError:
        masks, good = _decode_one_by_one(key, cells, size, problems)
    filled = masks.areas() > 0
    for index in torch.nonzero(~filled).flatten().tolist():
        problems.append(Problem(good[index].row, key, "its segmentation has no pixel of the image"))
    if not filled.any():
        raise InputError(f"none of its {len(cells)} annotations can be used")
    return masks[filled], [cell.name for cell, kept in zip(good, filled.tolist(), strict=True) if kept]


def _decode(cells: Sequence[Cell], size: tuple[int, int]) -> CropMasks:
    """Masks in the order of the cells; polygons and run lengths each at once."""
    coded = [index for index, cell in enumerate(cells) if isinstance(cell.segmentation, dict)]
    drawn = [index for index, cell in enumerate(cells) if isinstance(cell.segmentation, list)]
    masks = CropMasks.cat(
        [
            CropMasks.from_coco_rle([cells[index].segmentation for index in coded], size),
            polygon_masks([cells[index].segmentation for index in drawn], size),
        ]
    )
    order = np.argsort(np.array(coded + drawn, dtype=np.int64), kind="stable")
    return masks[torch.from_numpy(order)]


def polygon_masks(outlines: Sequence[Sequence[Sequence[float]]], size: tuple[int, int]) -> CropMasks:
    """Masks of the pixels whose centre lies in at least one of an instance's polygons.

    Args:
        outlines: for each instance its polygons, flat lists x, y, x, y, ... in pixels; they need not be closed.
        size: (height, width) of the image.
    """
    rings, owners = [], []
    for index, polygons in enumerate(outlines):
        for polygon in polygons:
            rings.append([np.asarray(polygon, dtype=np.float64).reshape(-1, 2)])
            owners.append(index)
    parts = CropMasks.from_polygons(rings, size)
    if len(owners) == len(outlines):
        return parts
    return _unite(parts, torch.tensor(owners, dtype=torch.int64), len(outlines))


def _unite(parts: CropMasks, owners: torch.Tensor, count: int) -> CropMasks:
    """Masks of ``count`` instances, each the union of its parts; ``owners`` is ascending."""
    united = []
    bounds = torch.searchsorted(owners, torch.arange(count + 1)).tolist()
    for start, stop in zip(bounds[:-1], bounds[1:], strict=True):
        own = parts[start:stop]
        if stop - start > 1:
            boxes = own.windows[own.areas() > 0]
            if len(boxes):
                window = torch.cat((boxes[:, :2].amin(0), boxes[:, 2:].amax(0)))
                crops = own.rewindow(window.expand(len(own), 4))
                values = crops.values.view(len(own), -1).any(0)
                own = CropMasks(window[None], values, parts.image_size)
            else:
                own = own[:1]
        united.append(own)
    return CropMasks.cat(united)


def _decode_one_by_one(
    key: str, cells: Sequence[Cell], size: tuple[int, int], problems: list[Problem]
) -> tuple[CropMasks, list[Cell]]:
    good, masks = [], [CropMasks.empty(size)]
    for cell in cells:
        try:
            masks.append(_decode([cell], size))
            good.append(cell)
        except InputError as error:
            problems.append(Problem(cell.row, key, str(error).removeprefix("instance 0: ")))
    return CropMasks.cat(masks), good
