"""Masks of many instances kept as crops: ``CropMasks``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from cellseg.errors import InputError
from cellseg.structures import codecs, polygons
from cellseg.structures.checks import as_whole_numbers, check_image_size, select_instances
from cellseg.structures.dense import crops_of_dense, crops_of_labels, find_overlap, paint_labels
from cellseg.structures.windows import (
    check_windows,
    count_by_crop,
    expand_ranges,
    intersect_windows,
    pixel_positions,
    repeat_each,
    storage_positions,
    sum_by_crop,
    tight_windows,
    true_positions,
    window_offsets,
    window_sizes,
)


class CropMasks:
    """N masks of one image as crops; memory grows with the area of the windows, never with N x H x W.

    Pixel (x, y) covers [x, x + 1) x [y, y + 1). Outside its window a mask is 0. All tensors lie on one device.

    Attributes:
        windows: int64 [N, 4], rows (x0, y0, x1, y1), half-open, inside the image, possibly empty.
        values: flat tensor [P], bool for masks or float32 for probabilities: the crops row by row, one after
            another.
        image_size: (height, width).
        offsets: int64 [N + 1]; crop i is ``values[offsets[i]:offsets[i + 1]]``.

    Args:
        windows: as above; any whole-number type.
        values: as above; other floating types are converted.
        image_size: as above.

    Raises:
        InputError: a window outside the image, or a number of values that is not the area of the windows.

    Examples:
        >>> masks = CropMasks(torch.tensor([[1, 0, 3, 1]]), torch.tensor([True, True]), (2, 4))
        >>> masks.to_dense().int().tolist()
        [[[0, 1, 1, 0], [0, 0, 0, 0]]]
    """

    def __init__(self, windows: Tensor, values: Tensor, image_size: tuple[int, int]):
        self.image_size = check_image_size(image_size)
        self.windows = as_whole_numbers(windows)
        check_windows(self.windows, self.image_size)
        self.values = _as_values(values)
        if self.values.device != self.windows.device:
            raise InputError(f"values are on {self.values.device}, windows on {self.windows.device}")
        self.offsets = window_offsets(self.windows)
        if int(self.offsets[-1]) != len(self.values):
            raise InputError(
                f"values: the {len(self)} windows have {int(self.offsets[-1])} pixels, got {len(self.values)} values"
            )

    @classmethod
    def _trusted(cls, windows: Tensor, values: Tensor, image_size: tuple[int, int]) -> CropMasks:
        """Made from parts that are right by construction; no checks."""
        masks = cls.__new__(cls)
        masks.image_size, masks.windows, masks.values = image_size, windows, values
        masks.offsets = window_offsets(windows)
        return masks

    # -- making ------------------------------------------------------------------------------------------------

    @classmethod
    def empty(
        cls, image_size: tuple[int, int], dtype: torch.dtype = torch.bool, device: torch.device | str | None = None
    ) -> CropMasks:
        """No instances."""
        windows = torch.zeros((0, 4), dtype=torch.int64, device=device)
        return cls(windows, torch.zeros(0, dtype=dtype, device=device), image_size)

    @classmethod
    def from_dense(cls, masks: Tensor) -> CropMasks:
        """From [N, H, W], bool, whole numbers (non-zero is foreground) or probabilities; windows are tight."""
        masks = torch.as_tensor(masks)
        if masks.ndim != 3:
            raise InputError(f"masks: expected shape [N, H, W], got {list(masks.shape)}")
        image_size = check_image_size(masks.shape[1:])
        if not (masks.dtype == torch.bool or masks.is_floating_point()):
            masks = masks != 0
        windows, values = crops_of_dense(masks)
        return cls._trusted(windows, _as_values(values), image_size)

    @classmethod
    def from_label_image(cls, labels: Tensor) -> CropMasks:
        """From [H, W] whole numbers: an instance for each number but 0, in ascending order; windows are tight.

        Raises:
            InputError: another shape or type, or a negative number.
        """
        labels = torch.as_tensor(labels)
        if labels.ndim != 2:
            raise InputError(f"label image: expected shape [H, W], got {list(labels.shape)}")
        labels = as_whole_numbers(labels, "label image")
        image_size = check_image_size(labels.shape)
        return cls._trusted(*crops_of_labels(labels), image_size)

    @classmethod
    def from_crops(cls, crops: Sequence[Tensor], windows: Tensor, image_size: tuple[int, int]) -> CropMasks:
        """From one tensor [h, w] per window.

        Raises:
            InputError: a crop whose shape is not its window's.
        """
        windows = as_whole_numbers(windows)
        image_size = check_image_size(image_size)
        check_windows(windows, image_size)
        if len(crops) != len(windows):
            raise InputError(f"crops: expected one for each of {len(windows)} windows, got {len(crops)}")
        crops = [torch.as_tensor(crop) for crop in crops]
        for index, (crop, *size) in enumerate(zip(crops, *map(Tensor.tolist, window_sizes(windows)), strict=True)):
            if list(crop.shape) != size:
                raise InputError(f"crop {index}: expected shape {size} like its window, got {list(crop.shape)}")
        if not crops:
            return cls.empty(image_size, device=windows.device)
        return cls(windows, torch.cat([crop.reshape(-1) for crop in crops]), image_size)

    @staticmethod
    def cat(parts: Sequence[CropMasks]) -> CropMasks:
        """The instances of all parts, in order.

        Raises:
            InputError: no parts, or parts of different image size, type or device.
        """
        if not parts:
            raise InputError("cat: expected at least one CropMasks, got none")
        kinds = {(part.image_size, part.dtype, part.device) for part in parts}
        if len(kinds) > 1:
            raise InputError(f"cat: expected one image size, type and device, got {sorted(map(str, kinds))}")
        windows = torch.cat([part.windows for part in parts])
        return CropMasks._trusted(windows, torch.cat([part.values for part in parts]), parts[0].image_size)

    # -- looking -----------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.windows)

    def __repr__(self) -> str:
        kind = str(self.dtype).removeprefix("torch.")
        return (
            f"CropMasks({len(self)} masks, {kind}, {len(self.values)} pixels, image {self.image_size}, {self.device})"
        )

    @property
    def device(self) -> torch.device:
        """Of all tensors."""
        return self.values.device

    @property
    def dtype(self) -> torch.dtype:
        """Of the values: bool or float32."""
        return self.values.dtype

    def __getitem__(self, index: int | slice | Tensor | Sequence[int]) -> CropMasks:
        """The chosen instances, also for a single number; indices may repeat, a bool tensor [N] selects."""
        chosen = select_instances(index, len(self), self.device)
        starts, lengths = self.offsets[:-1][chosen], torch.diff(self.offsets)[chosen]
        values = self.values.index_select(0, expand_ranges(starts, lengths))
        return CropMasks._trusted(self.windows[chosen], values, self.image_size)

    def crop(self, index: int) -> Tensor:
        """Values of one instance in its window [h, w]: a view, so that writing to it changes the mask."""
        index = range(len(self))[index]
        begin, stop = self.offsets[index : index + 2].tolist()
        x0, y0, x1, y1 = self.windows[index].tolist()
        return self.values[begin:stop].view(y1 - y0, x1 - x0)

    def window_sizes(self) -> tuple[Tensor, Tensor]:
        """Heights and widths of the windows, int64 [N] each."""
        return window_sizes(self.windows)

    def pixel_index(self) -> tuple[Tensor, Tensor]:
        """Instance and position y * W + x in the image of every window pixel, int64 [P] each, as stored."""
        order = torch.arange(len(self), device=self.device)
        instance = repeat_each(order, torch.diff(self.offsets), len(self.values))
        return instance, pixel_positions(self.windows, self.image_size[1])

    def foreground_index(self) -> tuple[Tensor, Tensor]:
        """Like :meth:`pixel_index`, only for the true pixels of bool masks."""
        self._expect(torch.bool)
        chosen = true_positions(self.values)
        instance, position = self.pixel_index()
        return instance.index_select(0, chosen), position.index_select(0, chosen)

    def areas(self) -> Tensor:
        """Number of true pixels, for probabilities of those above 0.5: int64 [N]."""
        return count_by_crop(self.values if self.dtype == torch.bool else self.values > 0.5, self.offsets)

    def sums(self) -> Tensor:
        """Sum of the values: float64 [N]."""
        return sum_by_crop(self.values, self.offsets)

    def boxes(self) -> Tensor:
        """Tight half-open boxes (x0, y0, x1, y1) of the true pixels: float32 [N, 4], zeros for an empty mask."""
        self._expect(torch.bool)
        return tight_windows(self.windows, self.values).float()

    def overlaps(self) -> bool:
        """Whether two of the bool masks have a pixel in common."""
        return find_overlap(*self.foreground_index()) is not None

    # -- changing ----------------------------------------------------------------------------------------------

    def to(self, device: torch.device | str) -> CropMasks:
        """The same masks on another device."""
        return CropMasks._trusted(self.windows.to(device), self.values.to(device), self.image_size)

    def threshold(self, threshold: float | Tensor) -> CropMasks:
        """Bool masks of the probabilities above a threshold: one number, or one for each instance [N]."""
        self._expect(torch.float32)
        if isinstance(threshold, Tensor) and threshold.ndim:
            if threshold.shape != (len(self),):
                raise InputError(f"threshold: expected a number or shape [{len(self)}], got {list(threshold.shape)}")
            limits = threshold.to(self.values)
            threshold = repeat_each(limits, torch.diff(self.offsets), len(self.values))
        return CropMasks._trusted(self.windows, self.values > threshold, self.image_size)

    def tight(self) -> CropMasks:
        """The same bool masks in the smallest windows; an empty mask gets (0, 0, 0, 0)."""
        self._expect(torch.bool)
        windows = tight_windows(self.windows, self.values)
        values = self.values.index_select(0, storage_positions(windows, self.windows))
        return CropMasks._trusted(windows, values, self.image_size)

    def rewindow(self, windows: Tensor) -> CropMasks:
        """The same instances read in other windows [N, 4]: 0 or False outside their own.

        Raises:
            InputError: the windows are not [N, 4] or not inside the image.
        """
        windows = as_whole_numbers(windows).to(self.device)
        check_windows(windows, self.image_size)
        if len(windows) != len(self):
            raise InputError(f"windows: expected shape [{len(self)}, 4], got {list(windows.shape)}")
        common = intersect_windows(self.windows, windows)
        inside = self.values.index_select(0, storage_positions(common, self.windows))
        size = int(window_offsets(windows)[-1])
        if len(inside) == size:  # no window reaches out of the old one
            return CropMasks._trusted(windows, inside, self.image_size)
        values = self.values.new_zeros(size).scatter_(0, storage_positions(common, windows), inside)
        return CropMasks._trusted(windows, values, self.image_size)

    # -- other forms -------------------------------------------------------------------------------------------

    def to_dense(self) -> Tensor:
        """[N, H, W] of the values' type; the only form whose memory grows with N x H x W."""
        height, width = self.image_size
        dense = self.values.new_zeros(len(self) * height * width)
        instance, position = self.pixel_index()
        return dense.scatter_(0, position.add_(instance, alpha=height * width), self.values).view(
            len(self), height, width
        )

    def to_label_image(self) -> Tensor:
        """int32 [H, W]: 0 background, i + 1 for instance i.

        Raises:
            InputError: two masks overlap; the text names them.
        """
        instance, position = self.foreground_index()
        labels = paint_labels(instance, position, self.image_size)
        pair = find_overlap(instance, position)
        if pair is not None:
            raise InputError(f"masks {pair[0]} and {pair[1]} overlap: a label image has one instance per pixel")
        return labels

    def to_rle(self) -> list[str]:
        """Kaggle's run-length text of each bool mask."""
        return codecs.to_texts(*self._arrays(), self.image_size)

    @classmethod
    def from_rle(cls, texts: Sequence[str], image_size: tuple[int, int]) -> CropMasks:
        """From Kaggle's run-length texts; windows are tight.

        Raises:
            InputError: a damaged text; says which instance and pair.
        """
        return cls._from_arrays(codecs.from_texts(texts, check_image_size(image_size)), image_size)

    def to_coco_rle(self) -> list[dict]:
        """COCO's compressed run-length code of each bool mask."""
        return codecs.to_coco(*self._arrays(), self.image_size)

    @classmethod
    def from_coco_rle(cls, rles: Sequence[dict], image_size: tuple[int, int]) -> CropMasks:
        """From COCO's run-length codes, compressed or lists of counts; windows are tight.

        Raises:
            InputError: a damaged code, or one of another image size; says which instance.
        """
        return cls._from_arrays(codecs.from_coco(rles, check_image_size(image_size)), image_size)

    def to_polygons(self) -> list[list[np.ndarray]]:
        """Outlines of each bool mask along pixel edges, see :func:`~.polygons.trace_outlines`."""
        return polygons.trace_outlines(*self._arrays())

    @classmethod
    def from_polygons(cls, outlines: Sequence[Sequence[np.ndarray]], image_size: tuple[int, int]) -> CropMasks:
        """Masks of the pixels whose centre lies inside, see :func:`~.polygons.fill_outlines`; windows are tight."""
        return cls._from_arrays(polygons.fill_outlines(outlines, check_image_size(image_size)), image_size)

    def _arrays(self) -> tuple[np.ndarray, np.ndarray]:
        self._expect(torch.bool)
        return self.windows.cpu().numpy(), self.values.cpu().numpy()

    @classmethod
    def _from_arrays(cls, arrays: tuple[np.ndarray, np.ndarray], image_size: tuple[int, int]) -> CropMasks:
        windows, values = map(torch.from_numpy, arrays)
        return cls._trusted(windows, values, check_image_size(image_size))

    def _expect(self, dtype: torch.dtype) -> None:
        if self.dtype != dtype:
            expected = "bool masks, which threshold() makes" if dtype == torch.bool else "probabilities (float32)"
            raise InputError(f"expected {expected}, got {self.dtype} values")


def _as_values(values: Tensor) -> Tensor:
    values = torch.as_tensor(values)
    if values.ndim != 1:
        raise InputError(f"values: expected shape [P], got {list(values.shape)}")
    if values.dtype == torch.bool or values.dtype == torch.float32:
        return values
    if not values.is_floating_point():
        raise InputError(f"values: expected bool or float32, got {values.dtype}")
    return values.float()
