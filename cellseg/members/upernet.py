"""UPerNet as a member: a map of cells and rims, the instances a watershed makes of it, and its answer for any box."""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from skimage.segmentation import watershed

from cellseg.datasets.transforms import magnify
from cellseg.errors import InputError
from cellseg.members.base import Member
from cellseg.members.openmmlab import load_network, preprocess
from cellseg.members.pooling import FeatureLevel
from cellseg.members.views import IDENTITY, parse_views
from cellseg.openmmlab import scope
from cellseg.structures import CropMasks


@dataclass
class UPerNetState:
    """Class probabilities ``[C, H, W]`` (background, cell types, rim) of one image and the segments made of them.

    ``level`` is what the decode head's last layer makes its classes of, for the image as it is.
    """

    probabilities: torch.Tensor
    image_size: tuple[int, int]
    level: FeatureLevel | None = None
    segments: torch.Tensor = field(init=False)  # int64 [H, W], 0 = none

    @property
    def foreground(self) -> torch.Tensor:
        """Probability that a pixel belongs to any cell, ``[H, W]``."""
        return 1 - self.probabilities[0]


class UPerNetMember(Member):
    """A trained UPerNet of mmsegmentation whose classes are background, the cell types and the rim of a cell.

    Args:
        name: unique within the ensemble.
        config: the ``config.py`` that its training wrote.
        checkpoint: its ``best.pth``.
        device: torch device.
        seed_threshold: interior probability (cell types together) above which a pixel can seed an instance.
        seed_blur: standard deviation in pixels of the Gaussian that smooths the interior before that.
        foreground_threshold: foreground probability above which a pixel joins an instance.
        least_seed: seeds of fewer pixels are dropped.
        views: the map is the mean over these views of the image, see ``parse_views``.
        unsafe_load: load the checkpoint without torch's restriction to plain weights.
    """

    proposes = True
    averages_views = True
    answers_version = 2

    def __init__(
        self,
        name: str,
        config: str,
        checkpoint: str,
        device: str = "cpu",
        seed_threshold: float = 0.75,
        seed_blur: float = 1.0,
        foreground_threshold: float = 0.5,
        least_seed: int = 6,
        views: str | Sequence[str] = "none",
        unsafe_load: bool = False,
    ):
        self.name = name
        self.device = device
        self.seed_threshold = seed_threshold
        self.seed_blur = seed_blur
        self.foreground_threshold = foreground_threshold
        self.least_seed = least_seed
        self.views = parse_views(views, f"member {name!r}")
        self.network = load_network(name, config, checkpoint, "mmseg", device, unsafe_load)
        if "crop_size" in self.network.config:
            raise InputError(f"{config}: member {name!r}: trained on box crops; its type is 'upernet_crops'")
        self.model = self.network.model
        self.class_names = self.network.class_names
        # The loss counted the rim rim_weight times, which multiplies its odds; dividing by it restores probabilities.
        weights = torch.ones(len(self.class_names) + 2, 1, 1, device=device)
        weights[-1] = float(self.network.config.get("rim_weight", 1.0))
        self.log_weights = weights.log()
        self.magnification = float(self.network.config.get("magnification", 1.0))
        self.feature_channels = int(self.model.decode_head.conv_seg.in_channels)

    def without_views(self) -> "UPerNetMember":
        if self.views == (IDENTITY,):
            return self
        bare = copy(self)
        bare.views = (IDENTITY,)
        return bare

    def identity(self) -> dict[str, Any]:
        return {
            **self.network.identity,
            "answers_version": self.answers_version,
            "seed_threshold": self.seed_threshold,
            "seed_blur": self.seed_blur,
            "foreground_threshold": self.foreground_threshold,
            "least_seed": self.least_seed,
            "views": [view.name for view in self.views],
        }

    @torch.no_grad()
    def encode(self, image: np.ndarray) -> UPerNetState:
        level, probabilities = None, 0.0
        for scale in dict.fromkeys(view.scale for view in self.views):
            magnification = self.magnification * scale
            magnified, total = magnify(image, magnification), 0.0
            views = [view for view in self.views if view.scale == scale]
            for view in views:
                # Mirroring and turning move whole pixels, so the maps lie on each other exactly.
                values, seen = self._map(view.turn(magnified))
                total = total + view.turn_back(values)
                level = seen if view == IDENTITY else level
            mean = shrink_map(total / len(views), magnification, image.shape[:2])
            probabilities = probabilities + mean * (len(views) / len(self.views))
        state = UPerNetState(probabilities, image.shape[:2], level)
        state.segments = self.split(state.probabilities)
        return state

    def _map(self, image: np.ndarray) -> tuple[torch.Tensor, FeatureLevel]:
        """Class probabilities ``[C, H, W]`` of one magnified view, and the features that they were made of."""
        from mmseg.structures import SegDataSample

        height, width = image.shape[:2]
        sample = SegDataSample(metainfo=dict(ori_shape=(height, width), img_shape=(height, width)))
        seen: list[torch.Tensor] = []
        tap = self.model.decode_head.conv_seg.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        try:
            with scope("mmseg"):
                inputs = preprocess(self.model, image, sample, self.device)
                logits = self.model.encode_decode(inputs, [dict(ori_shape=(height, width), img_shape=inputs.shape[2:])])
        finally:
            tap.remove()
        values, padded = seen[0][0], inputs.shape[2:]
        scale = tuple(self.magnification * values.shape[axis] / padded[axis - 1] for axis in (2, 1))
        # Padding lies to the right and below. What stands behind the classes (flows) was there to learn from.
        probabilities = (logits[0, : len(self.log_weights), :height, :width] - self.log_weights).softmax(dim=0)
        return probabilities, FeatureLevel(values, scale)

    def split(self, probabilities: torch.Tensor) -> torch.Tensor:
        """Instances of a map: seeds where the interior is likely, grown by a watershed over the foreground."""
        interior = probabilities[1:-1].sum(dim=0).cpu().numpy()
        foreground = 1 - probabilities[0].cpu().numpy()
        # Single pixels of doubt inside a cell should not make two seeds of it.
        interior = ndimage.gaussian_filter(interior, self.seed_blur)
        seeds, count = ndimage.label(interior > self.seed_threshold)
        sizes = np.bincount(seeds.ravel(), minlength=count + 1)
        seeds[(sizes < self.least_seed)[seeds]] = 0
        segments = watershed(-interior, seeds, mask=(foreground > self.foreground_threshold) | (seeds > 0))
        return torch.from_numpy(segments.astype(np.int64)).to(probabilities.device)

    def boxes(self, state: UPerNetState) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Boxes of the segments, see ``Member.boxes``.

        The score is the cube root of three probabilities' product: a segment should be foreground everywhere, interior
        somewhere, and rim all along its outline.
        """
        masks = CropMasks.from_label_image(state.segments)
        instance, flat = masks.foreground_index()
        areas = masks.areas().clamp(min=1)
        types = state.probabilities[1:-1].reshape(len(self.class_names), -1)[:, flat]
        votes = torch.stack([_segment_mean(row, instance, areas) for row in types], dim=1)
        foreground = _segment_mean(state.foreground.reshape(-1)[flat], instance, areas)
        interior = torch.zeros_like(foreground).scatter_reduce_(0, instance, types.sum(dim=0), "amax")
        edge = outlines(state.segments).reshape(-1)[flat]
        edge_areas = torch.bincount(instance[edge], minlength=len(masks)).clamp(min=1)
        rim = _segment_mean(state.probabilities[-1].reshape(-1)[flat][edge], instance[edge], edge_areas)
        return masks.boxes(), (foreground * interior * rim) ** (1 / 3), votes.argmax(dim=1)

    def evidence(
        self, state: UPerNetState, boxes: torch.Tensor, labels: torch.Tensor, windows: torch.Tensor
    ) -> tuple[CropMasks, torch.Tensor]:
        boxes, windows = boxes.to(self.device), windows.to(self.device)
        canvas = CropMasks(windows, torch.zeros(_window_areas(windows).sum(), device=windows.device), state.image_size)
        instance, flat = canvas.pixel_index()
        foreground = state.foreground.reshape(-1)[flat]
        foreign = foreign_pixels(state.segments, boxes, instance, flat)
        certainty = _segment_mean((2 * foreground - 1).abs(), instance, _window_areas(windows).clamp(min=1))
        return CropMasks(windows, foreground * ~foreign, state.image_size), certainty

    @torch.no_grad()
    def features(self, state: UPerNetState, boxes: torch.Tensor) -> torch.Tensor:
        """Of what the decode head's last layer reads, for the image as it is; see ``Member.features``."""
        return state.level.pool(boxes.to(self.device))


def outlines(segments: torch.Tensor) -> torch.Tensor:
    """Pixels of segments with something else above, below, left or right of them: bool ``[H, W]``."""
    edge = torch.zeros_like(segments, dtype=torch.bool)
    vertical, horizontal = segments[1:] != segments[:-1], segments[:, 1:] != segments[:, :-1]
    edge[1:] |= vertical
    edge[:-1] |= vertical
    edge[:, 1:] |= horizontal
    edge[:, :-1] |= horizontal
    return edge & (segments > 0)


def shrink_map(values: torch.Tensor, magnification: float, size: tuple[int, int]) -> torch.Tensor:
    """A magnified map ``[C, H', W']`` read at the pixel centres of the image: ``[C, H, W]``."""
    if magnification == 1:
        return values
    height, width = values.shape[1:]
    rows = (torch.arange(size[0], device=values.device) + 0.5) * magnification * 2 / height - 1
    columns = (torch.arange(size[1], device=values.device) + 0.5) * magnification * 2 / width - 1
    grid = torch.stack([columns.expand(size[0], -1), rows[:, None].expand(-1, size[1])], dim=2)
    return torch.nn.functional.grid_sample(
        values[None], grid[None], mode="bilinear", padding_mode="border", align_corners=False
    )[0]


def foreign_pixels(
    segments: torch.Tensor, boxes: torch.Tensor, instance: torch.Tensor, flat: torch.Tensor
) -> torch.Tensor:
    """Which window pixels lie in a segment that belongs to another cell than the window's box.

    A segment is foreign to a box when less than half of it lies inside the box and it is not the one that fills most of
    the box. So a neighbour that reaches into the window does not join the cell, while a cell that the watershed split
    or merged is left to the other members.

    Args:
        segments: int64 ``[H, W]``, 0 = none.
        boxes: float32 ``[N, 4]``.
        instance: int64 ``[P]``, the box of each window pixel.
        flat: int64 ``[P]``, the pixel, ``y * W + x``.

    Returns:
        Bool ``[P]``.
    """
    width = segments.shape[1]
    segment = segments.reshape(-1)[flat]
    count = int(segments.max()) + 1
    x, y = flat % width + 0.5, torch.div(flat, width, rounding_mode="floor") + 0.5
    x0, y0, x1, y1 = boxes[instance].unbind(1)
    inside = (x >= x0) & (x < x1) & (y >= y0) & (y < y1)
    # Only pairs of box and segment that occur: N x segments would be quadratic in the cells.
    pairs, pair_of_pixel = torch.unique(instance * count + segment, return_inverse=True)
    inside_area = torch.zeros(len(pairs), device=flat.device).index_add_(0, pair_of_pixel, inside.float())
    total = torch.bincount(segments.reshape(-1), minlength=count).float()[pairs % count]
    is_segment = pairs % count > 0
    box_of_pair = torch.div(pairs, count, rounding_mode="floor")
    largest = torch.zeros(len(boxes), device=flat.device).scatter_reduce_(
        0, box_of_pair, torch.where(is_segment, inside_area, -1.0), "amax", include_self=True
    )
    foreign = is_segment & (inside_area < 0.5 * total) & (inside_area < largest[box_of_pair])
    return foreign[pair_of_pixel]


def _segment_mean(values: torch.Tensor, instance: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    return torch.zeros(len(counts), device=values.device).index_add_(0, instance, values) / counts


def _window_areas(windows: torch.Tensor) -> torch.Tensor:
    return (windows[:, 2] - windows[:, 0]) * (windows[:, 3] - windows[:, 1])
