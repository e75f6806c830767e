"""Views of an image, scaled, mirrored and turned, and the exact way back for what a network says about them.

A view is the image scaled first (top left corners coincide, as ``magnify`` does it), then mirrored left to right, then
turned by quarter turns against the clock. What is mapped are centres: pixel (x, y) covers [x, x + 1) x [y, y + 1).
Mirroring and turning move whole pixels; only scales interpolate.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cellseg.errors import InputError
from cellseg.structures import CropMasks

SCALES = (0.5, 2.0)  # beyond, linear interpolation leaves out pixels

# By name: mirrored left to right or not, then so many quarter turns.
_SYMMETRIES = {
    "identity": (False, 0),
    "mirror_x": (True, 0),
    "mirror_y": (True, 2),
    "turn_90": (False, 1),
    "turn_180": (False, 2),
    "turn_270": (False, 3),
    "transpose": (True, 1),
    "anti_transpose": (True, 3),
}
PRESETS = {
    "none": ("identity",),
    "mirrors": ("identity", "mirror_x", "mirror_y", "turn_180"),
    "turns": ("identity", "turn_90", "turn_180", "turn_270"),
    "dihedral": tuple(_SYMMETRIES),
}


@dataclass(frozen=True)
class View:
    """One way to show an image to a network.

    Attributes:
        mirror: whether left and right change places.
        turns: quarter turns against the clock after that, 0 to 3.
        scale: magnification before both.
    """

    mirror: bool = False
    turns: int = 0
    scale: float = 1.0

    @property
    def name(self) -> str:
        """As a config writes it."""
        symmetry = next(name for name, parts in _SYMMETRIES.items() if parts == (self.mirror, self.turns))
        if self.scale == 1:
            return symmetry
        return f"scale_{self.scale}" if symmetry == "identity" else f"{symmetry}+scale_{self.scale}"

    def size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Height and width of the view of an image of this height and width."""
        height, width = self._scaled_size(image_size)
        return (width, height) if self.turns % 2 else (height, width)

    def apply(self, image: np.ndarray) -> np.ndarray:
        """The view of an image ``[H, W, C]``."""
        if self.scale != 1:
            # Only where needed: it brings mmcv with it.
            from cellseg.datasets.transforms import magnify

            image = magnify(image, self.scale)
        return self.turn(image)

    def turn(self, image: np.ndarray) -> np.ndarray:
        """An image ``[H, W, C]`` mirrored and turned, not scaled."""
        # A copy, and not ascontiguousarray: that leaves negative strides along sides of one pixel, which torch refuses.
        return np.rot90(image[:, ::-1] if self.mirror else image, self.turns).copy()

    def turn_back(self, values: Tensor) -> Tensor:
        """A map ``[C, H', W']`` of a turned image as that of the image, ``[C, H, W]``; a scale stays."""
        values = torch.rot90(values, -self.turns, dims=(1, 2))
        return values.flip(2) if self.mirror else values

    def boxes_to_view(self, boxes: Tensor, image_size: tuple[int, int]) -> Tensor:
        """Boxes ``[N, 4]`` (xyxy, float32 or integers if there is no scale) as the view shows them."""
        exact = boxes.double() * self.scale
        x0, y0, x1, y1 = exact.unbind(1)
        size = self._scaled_size(image_size)
        return _sorted_corners(self._turn_points(x0, y0, *size), self._turn_points(x1, y1, *size)).to(boxes.dtype)

    def boxes_to_image(self, boxes: Tensor, image_size: tuple[int, int]) -> Tensor:
        """Boxes ``[N, 4]`` of the view in coordinates of the image; the way back of ``boxes_to_view``."""
        x0, y0, x1, y1 = boxes.double().unbind(1)
        size = self._scaled_size(image_size)
        corners = _sorted_corners(self._turn_points_back(x0, y0, *size), self._turn_points_back(x1, y1, *size))
        return (corners / self.scale).to(boxes.dtype)

    def windows_to_view(self, windows: Tensor, image_size: tuple[int, int]) -> Tensor:
        """Windows int64 ``[N, 4]`` of the view with every pixel that windows of the image are read from.

        An empty window becomes (0, 0, 0, 0).
        """
        height, width = self._scaled_size(image_size)
        low, high = windows[:, :2], windows[:, 2:]
        if self.scale != 1:
            # The pixels on both sides of the outer centres, and never less than the scaled window itself.
            low, high = low.double(), high.double()
            first, last = (low + 0.5) * self.scale - 0.5, (high - 0.5) * self.scale - 0.5
            limit = windows.new_tensor([width, height])
            # A last row of the image that lies outside the view is read from the view's last row.
            low = torch.minimum(torch.minimum(first, low * self.scale).floor().long().clamp(min=0), limit - 1)
            high = torch.minimum(torch.maximum(last.floor() + 2, (high * self.scale).ceil()).long(), limit)
        x0, y0, x1, y1 = *low.unbind(1), *high.unbind(1)
        moved = _sorted_corners(self._turn_points(x0, y0, height, width), self._turn_points(x1, y1, height, width))
        there = (windows[:, 2:] > windows[:, :2]).all(dim=1, keepdim=True)
        return torch.where(there, moved, 0)

    def masks_to_image(self, masks: CropMasks, windows: Tensor, image_size: tuple[int, int]) -> CropMasks:
        """Masks of the view in windows of the image.

        Args:
            masks: of the view, N of them; outside their windows they are 0.
            windows: int64 ``[N, 4]``, half-open, inside the image.
            image_size: height and width of the image.

        Returns:
            The same values in other places where the view has no scale; float32, interpolated between the centres of
            the view's pixels, where it has one.

        Raises:
            InputError: another number of windows than of masks.
        """
        windows = windows.to(masks.device)
        if len(windows) != len(masks):
            raise InputError(f"windows: expected one for each of {len(masks)} masks, found {len(windows)}")
        areas = (windows[:, 2] - windows[:, 0]) * (windows[:, 3] - windows[:, 1])
        canvas = CropMasks(windows, masks.values.new_zeros(int(areas.sum())), image_size)
        instance, flat = canvas.pixel_index()
        x, y = flat % image_size[1], torch.div(flat, image_size[1], rounding_mode="floor")
        if self.scale == 1:
            return CropMasks(windows, self._read(masks, instance, x, y, image_size), image_size)
        height, width = self._scaled_size(image_size)
        column = ((x.double() + 0.5) * self.scale - 0.5).clamp(0, width - 1)
        row = ((y.double() + 0.5) * self.scale - 0.5).clamp(0, height - 1)
        left, top = column.long(), row.long()
        right, bottom = (left + 1).clamp(max=width - 1), (top + 1).clamp(max=height - 1)
        dx, dy = (column - left).float(), (row - top).float()
        upper, lower = (
            self._read(masks, instance, left, line, image_size) * (1 - dx)
            + self._read(masks, instance, right, line, image_size) * dx
            for line in (top, bottom)
        )
        return CropMasks(windows, upper * (1 - dy) + lower * dy, image_size)

    def _read(self, masks: CropMasks, instance: Tensor, x: Tensor, y: Tensor, image_size: tuple[int, int]) -> Tensor:
        """Values of the view's masks at pixels (x, y) of the scaled image, 0 outside their windows."""
        height, width = self._scaled_size(image_size)
        # Counting pixels instead of edges, the last is one less than the length.
        x, y = self._turn_points(x, y, height - 1, width - 1)
        x0, y0, x1, y1 = masks.windows[instance].unbind(1)
        inside = (x >= x0) & (x < x1) & (y >= y0) & (y < y1)
        place = masks.offsets[instance] + (y - y0) * (x1 - x0) + (x - x0)
        values = masks.values.new_zeros(len(place))
        values[inside] = masks.values[place[inside]]
        return values

    def _scaled_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        if self.scale == 1:
            return tuple(image_size)
        from cellseg.datasets.transforms import magnified_size

        return magnified_size(image_size, self.scale)

    def _turn_points(self, x: Tensor, y: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Points of an image of this size in the mirrored and turned one."""
        if self.mirror:
            x = width - x
        for _ in range(self.turns):
            x, y, height, width = y, width - x, width, height
        return x, y

    def _turn_points_back(self, x: Tensor, y: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
        """The way back of ``_turn_points``; the size is that of the image, not of the turned one."""
        if self.turns % 2:
            height, width = width, height
        for _ in range(self.turns):
            x, y, height, width = height - y, x, width, height
        return (width - x if self.mirror else x), y


IDENTITY = View()


def _sorted_corners(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> Tensor:
    low = [torch.minimum(a, b) for a, b in zip(first, second, strict=True)]
    high = [torch.maximum(a, b) for a, b in zip(first, second, strict=True)]
    return torch.stack([*low, *high], dim=1)


def parse_views(value: Any, where: str) -> tuple[View, ...]:
    """Views from a config: a name of ``PRESETS``, or a list of views such as ``"mirror_x"`` or ``"turn_90+scale_0.8"``.

    Args:
        value: as above; None means ``"none"``.
        where: what messages begin with.

    Raises:
        InputError: an unknown name, a scale out of range, a view that stands twice, or no ``identity`` among them.
    """
    if value is None:
        return (IDENTITY,)
    if isinstance(value, str):
        if value not in PRESETS:
            raise InputError(f"{where}: views = {value!r}: expected {', '.join(PRESETS)}, or a list of views")
        value = PRESETS[value]
    if not isinstance(value, Sequence) or not value or not all(isinstance(name, str) for name in value):
        raise InputError(f"{where}: views = {value!r}: expected {', '.join(PRESETS)}, or a list of views")
    views = tuple(_parse_view(name, where) for name in value)
    twice = [view.name for view in views if views.count(view) > 1]
    if twice:
        raise InputError(f"{where}: views: {twice[0]} stands twice; each view counts once")
    if IDENTITY not in views:
        raise InputError(f"{where}: views: 'identity' is missing; the image as it is must be among them")
    return views


def _parse_view(name: str, where: str) -> View:
    """The parts of a name one after another: each mirrors, turns or scales what the ones before it show."""
    mirror, turns, scale = False, 0, 1.0
    for part in name.split("+"):
        if part.startswith("scale_"):
            scale *= _parse_scale(part, where)
        elif part in _SYMMETRIES:
            mirrored, turned = _SYMMETRIES[part]
            # Mirrored, a turn that came before runs the other way.
            turns = ((-turns if mirrored else turns) + turned) % 4
            mirror ^= mirrored
        else:
            known = ", ".join(_SYMMETRIES)
            raise InputError(f"{where}: views: {part!r} is none of {known}, scale_1.25 (any factor)")
    if not SCALES[0] <= scale <= SCALES[1]:
        raise InputError(f"{where}: views: {name}: expected a scale from {SCALES[0]:g} to {SCALES[1]:g}")
    return View(mirror, turns, scale)


def _parse_scale(part: str, where: str) -> float:
    try:
        return float(part.removeprefix("scale_"))
    except ValueError:
        raise InputError(f"{where}: views: {part!r}: expected a number after scale_, as in scale_1.25") from None
