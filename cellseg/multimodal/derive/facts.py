"""Facts about an image that follow from the masks of its cells."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from cellseg.datasets.masks_folder import ONE_TYPE
from cellseg.datasets.records import UNLABELLED, ImageRecord
from cellseg.errors import InputError
from cellseg.io.results import measure_cells
from cellseg.structures import CropMasks, Instances

# Eccentricity of an ellipse that is twice as long as wide.
ELONGATED = math.sqrt(3) / 2
AREA_PERCENTS = (10, 25, 50, 75, 90)
_DIGITS = 6
_SQUARE = np.ones((3, 3), np.uint8)


@dataclass(frozen=True)
class SizeLimits:
    """What small and large mean, in pixels: small cells are below the one, large cells above the other.

    Attributes:
        small, large: areas that part the cells of the training images into thirds.
    """

    small: float
    large: float


@dataclass(frozen=True)
class ImageFacts:
    """Facts about one image; medians and fractions are None for an image without cells.

    Attributes:
        key: id of the image.
        height, width: pixels.
        count: cells; masks without pixels are none.
        type_counts: cells of every known type, in the order of the types; empty where types are not known.
        covered_px: pixels that lie in at least one cell, so that overlaps count once.
        areas: percentiles of the cells' areas in pixels, by ``p10``, ``p25``, ``p50``, ``p75``, ``p90``.
        roundness: median of 4 pi area / perimeter^2, at most 1, which a disc has.
        eccentricity: median, 0 for a circle to 1 for a line.
        elongated: fraction of the cells that are at least twice as long as wide.
        touching: fraction of the cells with a pixel on or beside (also across a corner) a pixel of another cell.
        small, large: fractions of the cells below and above the limits; None also where there are no limits.
    """

    key: str
    height: int
    width: int
    count: int
    type_counts: dict[str, int]
    covered_px: int
    areas: dict[str, float]
    roundness: float | None = None
    eccentricity: float | None = None
    elongated: float | None = None
    touching: float | None = None
    small: float | None = None
    large: float | None = None

    @property
    def confluence(self) -> float:
        """Fraction of the image that cells cover, 0 to 1."""
        return self.covered_px / (self.height * self.width)

    @property
    def dominant_type(self) -> str | None:
        """The type of most cells, that is of more than half of them; None where no type has so many."""
        return next((name for name, number in self.type_counts.items() if 2 * number > self.count), None)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON; ``confluence`` is added for readers and not needed to read it back."""
        return {**asdict(self), "confluence": round(self.confluence, _DIGITS)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str) -> "ImageFacts":
        """From what :meth:`to_dict` gave.

        Args:
            values: the entry.
            where: file and place, for the error.

        Raises:
            InputError: a value is missing or of another kind.
        """
        try:
            facts = cls(**{field.name: values[field.name] for field in fields(cls)})
            whole = (facts.height, facts.width, facts.count, facts.covered_px, *facts.type_counts.values())
            shares = (facts.elongated, facts.touching, facts.small, facts.large)
            usable = all(type(number) is int and number >= 0 for number in whole) and facts.height * facts.width > 0
            usable &= isinstance(facts.key, str) and facts.covered_px <= facts.height * facts.width
            usable &= all(share is None or 0 <= share <= 1 for share in shares) and isinstance(facts.areas, dict)
        except (TypeError, KeyError, AttributeError) as error:
            raise InputError(f"{where}: damaged facts ({error}); run derive_text.py dataset again") from None
        if not usable:
            raise InputError(f"{where}: damaged facts (a number out of range); run derive_text.py dataset again")
        return facts


def known_types(class_names: Sequence[str]) -> tuple[str, ...]:
    """The class names, or none where the only one says nothing about the type."""
    return () if tuple(class_names) in ((), (ONE_TYPE,), (UNLABELLED,)) else tuple(class_names)


def true_instances(record: ImageRecord, class_names: Sequence[str]) -> Instances:
    """The true cells of an image of a data folder, with scores of 1."""
    return make_instances(record.masks, record.labels, class_names)


def make_instances(masks: CropMasks, labels: Tensor | None, class_names: Sequence[str]) -> Instances:
    """Instances of masks alone: boxes from masks, scores of 1, and the first type where no labels are given."""
    count = len(masks)
    labels = torch.zeros(count, dtype=torch.int64) if labels is None else labels
    return Instances(masks.boxes(), torch.ones(count), labels, masks, masks.image_size, tuple(class_names))


def size_limits(areas: Sequence[int] | np.ndarray) -> SizeLimits | None:
    """Limits that part cells into thirds by area in pixels; None without cells."""
    if len(areas) == 0:
        return None
    small, large = np.percentile(np.asarray(areas, float), [100 / 3, 200 / 3])
    return SizeLimits(round(float(small), 3), round(float(large), 3))


def measure_facts(
    key: str,
    instances: Instances,
    limits: SizeLimits | None = None,
    rows: Sequence[Mapping[str, Any]] | None = None,
) -> ImageFacts:
    """Measure an image's facts.

    Args:
        key: id of the image.
        instances: its cells, bool masks, which may overlap.
        limits: what small and large mean; None leaves these two facts out.
        rows: what ``measure_cells`` gave for these cells; None measures them.
    """
    if rows is None:
        # The shape of a cell does not depend on the picture under it.
        rows = measure_cells(key, instances, np.zeros(instances.image_size, np.uint8))
    rows = [row for row in rows if row["area_px"]]
    names = known_types(instances.class_names)
    types = [row["type"] for row in rows]
    height, width = instances.image_size
    cover = _cover(instances.masks)
    facts = {
        "key": key,
        "height": height,
        "width": width,
        "count": len(rows),
        "type_counts": {name: types.count(name) for name in names},
        "covered_px": int((cover > 0).sum()),
        "areas": {},
    }
    if not rows:
        return ImageFacts(**facts)
    area, perimeter, eccentricity = (
        np.array([row[name] for row in rows], float) for name in ("area_px", "perimeter_px", "eccentricity")
    )
    percentiles = np.percentile(area, AREA_PERCENTS)
    facts["areas"] = {f"p{level}": _number(value) for level, value in zip(AREA_PERCENTS, percentiles, strict=True)}
    return ImageFacts(
        **facts,
        roundness=_number(np.median(np.minimum(4 * math.pi * area / perimeter**2, 1.0))),
        eccentricity=_number(np.median(eccentricity)),
        elongated=_number((eccentricity >= ELONGATED).mean()),
        touching=_number(find_touching(instances.masks, cover).sum() / len(rows)),
        small=None if limits is None else _number((area < limits.small).mean()),
        large=None if limits is None else _number((area > limits.large).mean()),
    )


def find_touching(masks: CropMasks, cover: np.ndarray | None = None) -> np.ndarray:
    """Which cells have a pixel on or beside (also across a corner) a pixel of another cell.

    Args:
        masks: N bool masks, which may overlap.
        cover: int32 ``[H, W]``, in how many cells each pixel lies; None counts it.

    Returns:
        Bool ``[N]``.
    """
    cover = _cover(masks) if cover is None else cover
    height, width = masks.image_size
    touching = np.zeros(len(masks), bool)
    for index, (x0, y0, x1, y1) in enumerate(masks.windows.tolist()):
        left, top, right, bottom = max(x0 - 1, 0), max(y0 - 1, 0), min(x1 + 1, width), min(y1 + 1, height)
        own = np.zeros((bottom - top, right - left), np.uint8)
        own[y0 - top : y1 - top, x0 - left : x1 - left] = masks.crop(index).numpy()
        if own.any():
            others = cover[top:bottom, left:right] > own
            touching[index] = bool((cv2.dilate(own, _SQUARE).astype(bool) & others).any())
    return touching


def _cover(masks: CropMasks) -> np.ndarray:
    """In how many cells each pixel lies: int32 ``[H, W]``."""
    cover = np.zeros(masks.image_size, np.int32)
    for index, (x0, y0, x1, y1) in enumerate(masks.windows.tolist()):
        cover[y0:y1, x0:x1] += masks.crop(index).numpy()
    return cover


def _number(value: float) -> float:
    return round(float(value), _DIGITS)
