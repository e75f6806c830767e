"""Pictures as the networks take them: read, resized, standardised, and varied in training."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from cellseg.errors import InputError
from cellseg.io.images import read_image, to_rgb

# Of ImageNet, which pretrained networks expect; for values of 0 to 255.
IMAGE_MEAN = (123.675, 116.28, 103.53)
IMAGE_STD = (58.395, 57.12, 57.375)
_CACHE_BYTES = 2**29


class ImageReader:
    """Reads pictures in one size and keeps the last half gigabyte of them, because reading is slower than training.

    Args:
        size: height and width. Pictures of other proportions are squeezed, so that nothing of them is cut off.
    """

    def __init__(self, size: tuple[int, int]):
        self.size = size
        self._kept: OrderedDict[Path, np.ndarray] = OrderedDict()
        self._most = max(1, _CACHE_BYTES // (3 * size[0] * size[1]))

    def read(self, path: Path, where: str) -> np.ndarray:
        """A picture as uint8 ``[H, W, 3]``, RGB; not to be changed.

        Raises:
            InputError: it cannot be read; names ``where``.
        """
        if path in self._kept:
            self._kept.move_to_end(path)
            return self._kept[path]
        try:
            # A copy of its own: what Pillow gives cannot be written to, which torch warns of.
            picture = np.array(resize(to_rgb(read_image(path)), self.size))
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
        self._kept[path] = picture
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return picture


def resize(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 ``[H, W, 3]`` in another height and width; pixels are averaged where it shrinks."""
    height, width = size
    if picture.shape[:2] == (height, width):
        return picture
    shrinks = picture.shape[0] >= height and picture.shape[1] >= width
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def standardise(values: Tensor, mean: Sequence[float], std: Sequence[float], axis: int = 0) -> Tensor:
    """``(values - mean) / std`` along the axis of channels."""
    shape = [1] * values.ndim
    shape[axis] = -1
    return (values - torch.tensor(mean).view(shape)) / torch.tensor(std).view(shape)


@dataclass(frozen=True)
class ImageAugmentation:
    """How pictures vary in training; by default not at all, because a flip can make a caption or an answer wrong.

    Attributes:
        horizontal_flip, vertical_flip: whether half of the pictures are mirrored.
        shift: farthest shift along each side, as a share of it, 0 to 1; what enters has the mean colour.
        brightness: largest addition to all pixels, in standard deviations.
        contrast: largest change of the factor 1 that all pixels are multiplied by, 0 to 1.
    """

    horizontal_flip: bool = False
    vertical_flip: bool = False
    shift: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0

    @classmethod
    def parse(cls, values: Mapping[str, Any] | None) -> "ImageAugmentation | None":
        """From the ``augmentation`` of a config; None for none.

        Raises:
            InputError: an unknown or unusable entry; names it.
        """
        if values is None:
            return None
        known = {entry.name: type(entry.default) for entry in fields(cls)}
        for name, value in values.items():
            if name not in known:
                raise InputError(f"augmentation.{name}: unknown; expected are {', '.join(known)}")
            flag = isinstance(value, bool)
            if known[name] is bool and not flag:
                raise InputError(f"augmentation.{name}: expected True or False, found {value!r}")
            most = 1.0 if name in ("shift", "contrast") else float("inf")
            if known[name] is float and (flag or not isinstance(value, int | float) or not 0 <= value <= most):
                raise InputError(f"augmentation.{name}: expected 0 to {most:g}, found {value!r}")
        return cls(**values)

    def apply(self, picture: Tensor) -> Tensor:
        """A varied picture.

        Args:
            picture: float ``[3, H, W]``, standardised.

        Returns:
            A new tensor of the same form. Draws from torch's global generator, whose state trainings save and restore.
        """
        axes = [axis for axis, asked in ((2, self.horizontal_flip), (1, self.vertical_flip)) if asked and _coin()]
        picture = picture.flip(axes) if axes else picture
        if self.shift:
            picture = _shift(picture, self.shift)
        if self.contrast or self.brightness:
            factor, added = 1 + self.contrast * _between(), self.brightness * _between()
            picture = picture * factor + added
        return picture


def _shift(picture: Tensor, share: float) -> Tensor:
    height, width = picture.shape[1:]
    down, right = (round(share * _between() * side) for side in (height, width))
    shifted = torch.zeros_like(picture)  # 0 is the mean colour
    rows, columns = slice(max(0, down), height + min(0, down)), slice(max(0, right), width + min(0, right))
    from_rows, from_columns = slice(max(0, -down), height - max(0, down)), slice(max(0, -right), width - max(0, right))
    shifted[:, rows, columns] = picture[:, from_rows, from_columns]
    return shifted


def _coin() -> bool:
    return bool(torch.rand(()) < 0.5)


def _between() -> float:
    """Uniform between -1 and 1."""
    return 2 * float(torch.rand(())) - 1
