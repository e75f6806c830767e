"""What is known about the instances of one image: ``Instances``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cellseg.errors import InputError
from cellseg.structures.checks import check_image_size, select_instances, short
from cellseg.structures.masks import CropMasks

_KEYS = ("boxes", "class_names", "image_size", "labels", "masks", "scores")


@dataclass(eq=False)
class Instances:
    """Boxes, scores, labels and masks of the N instances of one image, all on one device.

    Attributes:
        boxes: float32 [N, 4] (x0, y0, x1, y1) in pixels.
        scores: float32 [N].
        labels: int64 [N], places in ``class_names``.
        masks: N masks.
        image_size: (height, width).
        class_names: names of the cell types.
        uncertainty: float32 [N] in 0..1, how little what was found can be relied on; None where nobody measured it.

    Raises:
        InputError: lengths, image sizes or devices differ, a number is not finite, a box ends before it begins, a
            label has no name, or an uncertainty is outside 0..1.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    masks: CropMasks
    image_size: tuple[int, int]
    class_names: tuple[str, ...]
    uncertainty: Tensor | None = None

    def __post_init__(self) -> None:
        self.image_size = check_image_size(self.image_size)
        self.class_names = tuple(self.class_names)
        count = len(self.masks)
        self.boxes = _as_floats("boxes", self.boxes, (count, 4))
        self.scores = _as_floats("scores", self.scores, (count,))
        self.labels = _as_labels(self.labels, count, self.class_names)
        if self.masks.image_size != self.image_size:
            raise InputError(f"masks: expected image size {self.image_size}, got {self.masks.image_size}")
        reversed_boxes = (self.boxes[:, 2:] < self.boxes[:, :2]).any(dim=1)
        if reversed_boxes.any():
            row = int(reversed_boxes.nonzero()[0])
            raise InputError(f"boxes: row {row} is {self.boxes[row].tolist()}: expected x0 <= x1 and y0 <= y1")
        parts = [self.boxes, self.scores, self.labels, self.masks]
        if self.uncertainty is not None:
            self.uncertainty = _as_floats("uncertainty", self.uncertainty, (count,))
            outside = (self.uncertainty < 0) | (self.uncertainty > 1)
            if outside.any():
                row = int(outside.nonzero()[0])
                raise InputError(f"uncertainty: row {row} is {self.uncertainty[row].item():g}: expected 0 to 1")
            parts.append(self.uncertainty)
        devices = {str(part.device) for part in parts}
        if len(devices) > 1:
            raise InputError(f"instances: expected one device, got {sorted(devices)}")

    @classmethod
    def empty(
        cls,
        image_size: tuple[int, int],
        class_names: Sequence[str],
        device: torch.device | str | None = None,
    ) -> Instances:
        """No instances."""
        return cls(
            boxes=torch.zeros((0, 4), device=device),
            scores=torch.zeros(0, device=device),
            labels=torch.zeros(0, dtype=torch.int64, device=device),
            masks=CropMasks.empty(image_size, device=device),
            image_size=image_size,
            class_names=tuple(class_names),
        )

    def __len__(self) -> int:
        return len(self.masks)

    def __getitem__(self, index: int | slice | Tensor | Sequence[int]) -> Instances:
        """The chosen instances, also for a single number; indices may repeat, a bool tensor [N] selects."""
        chosen = select_instances(index, len(self), self.masks.device)
        return Instances(
            boxes=self.boxes[chosen],
            scores=self.scores[chosen],
            labels=self.labels[chosen],
            masks=self.masks[chosen],
            image_size=self.image_size,
            class_names=self.class_names,
            uncertainty=None if self.uncertainty is None else self.uncertainty[chosen],
        )

    def to(self, device: torch.device | str) -> Instances:
        """The same instances on another device."""
        return Instances(
            boxes=self.boxes.to(device),
            scores=self.scores.to(device),
            labels=self.labels.to(device),
            masks=self.masks.to(device),
            image_size=self.image_size,
            class_names=self.class_names,
            uncertainty=None if self.uncertainty is None else self.uncertainty.to(device),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, numbers and texts, ready for JSON; masks as Kaggle's run-length texts.

        The way there and back keeps every number and pixel; the windows of the masks become tight. Uncertainty that is
        None is left out.
        """
        content = {
            "image_size": list(self.image_size),
            "class_names": list(self.class_names),
            "boxes": self.boxes.tolist(),
            "scores": self.scores.tolist(),
            "labels": self.labels.tolist(),
            "masks": self.masks.to_rle(),
        }
        return content if self.uncertainty is None else content | {"uncertainty": self.uncertainty.tolist()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Instances:
        """From what :meth:`to_dict` gave.

        Raises:
            InputError: a key is missing or unknown, or its value cannot be used; the text names the key.
        """
        if not isinstance(values, Mapping) or set(values) - {"uncertainty"} != set(_KEYS):
            found = sorted(map(str, values)) if isinstance(values, Mapping) else short(values)
            raise InputError(f"instances: expected the keys {list(_KEYS)}, got {found}")
        names, texts = values["class_names"], values["masks"]
        if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
            raise InputError(f"class_names: expected a list of texts, got {short(names)}")
        if not isinstance(texts, (list, tuple)):
            raise InputError(f"masks: expected a list of texts, got {short(texts)}")
        image_size = check_image_size(values["image_size"])
        try:
            masks = CropMasks.from_rle(texts, image_size)
        except InputError as error:
            raise InputError(f"masks: {error}") from None
        boxes = _as_tensor("boxes", values["boxes"])
        return cls(
            boxes=boxes.reshape(0, 4) if boxes.shape == (0,) else boxes,
            scores=_as_tensor("scores", values["scores"]),
            labels=_as_tensor("labels", values["labels"]),
            masks=masks,
            image_size=image_size,
            class_names=tuple(names),
            uncertainty=_as_tensor("uncertainty", values["uncertainty"]) if "uncertainty" in values else None,
        )


def _as_tensor(name: str, values: Any) -> Tensor:
    try:
        tensor = torch.tensor(values)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise InputError(f"{name}: expected a list of numbers, got {short(values)}") from None
    return tensor.long() if tensor.numel() == 0 else tensor


def _as_floats(name: str, values: Tensor, shape: tuple[int, ...]) -> Tensor:
    values = torch.as_tensor(values)
    if values.shape != shape:
        raise InputError(
            f"{name}: expected shape {list(shape)} as there are {shape[0]} masks, got {list(values.shape)}"
        )
    values = values.float()
    if not values.isfinite().all():
        row = int((~values.isfinite()).nonzero()[0, 0])
        raise InputError(f"{name}: row {row} is {values[row].tolist()}: expected finite numbers")
    return values


def _as_labels(values: Tensor, count: int, class_names: tuple[str, ...]) -> Tensor:
    values = torch.as_tensor(values)
    if values.shape != (count,):
        raise InputError(f"labels: expected shape [{count}] as there are {count} masks, got {list(values.shape)}")
    if values.numel() and (values.is_floating_point() or values.dtype == torch.bool):
        raise InputError(f"labels: expected whole numbers, got {values.dtype}")
    values = values.long()
    wrong = (values < 0) | (values >= len(class_names))
    if wrong.any():
        row = int(wrong.nonzero()[0])
        raise InputError(f"labels: row {row} is {int(values[row])}: expected a place in {list(class_names)}")
    return values
