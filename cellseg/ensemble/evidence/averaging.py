"""Averaging over views: a member that sees an image mirrored, turned or scaled, too, and answers with the mean."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cellseg.ensemble.boxes.fusion import fuse_boxes
from cellseg.errors import InputError
from cellseg.members import Member, build_member
from cellseg.members.build import MEMBER_TYPES, member_class
from cellseg.members.views import IDENTITY, View, parse_views
from cellseg.structures import CropMasks

# Boxes of one type in different views with a larger IoU mean the same cell.
VIEW_IOU = 0.55


@dataclass(frozen=True)
class AveragedState:
    """A member's states of all views of an image."""

    states: tuple[Any, ...]
    image_size: tuple[int, int]


class AveragedMember(Member):
    """A member whose answers are means over views of the image.

    Boxes of the views are mapped back and fused by weighted box fusion, each view a detector of its own. The score of a
    cell is the mean over the views of the best score that it got there, 0 where it was not found. Evidence and
    confidence are means over the views, features those of the image as it is.

    Args:
        member: any member.
        views: different ones, the identity among them; see ``parse_views``.

    Raises:
        InputError: scales for a member that brings every image to one size.
    """

    answers_version = 1

    def __init__(self, member: Member, views: Sequence[View]):
        self.member = member
        self.views = tuple(views)
        self.name = member.name
        self.class_names = tuple(member.class_names)
        self.proposes = member.proposes
        self.feature_channels = member.feature_channels
        if IDENTITY not in self.views:
            raise InputError(f"member {self.name!r}: views: 'identity' is missing; features are those of that view")
        scaled = [view.name for view in self.views if view.scale != 1]
        if scaled and member.fixed_input:
            raise InputError(
                f"member {self.name!r}: views: {scaled[0]} would do nothing, because its network sees every image at "
                "the same size; leave scales out"
            )

    def without_views(self) -> Member:
        return self.member

    def encode(self, image: np.ndarray) -> AveragedState:
        return AveragedState(tuple(self.member.encode(view.apply(image)) for view in self.views), image.shape[:2])

    def boxes(self, state: AveragedState) -> tuple[Tensor, Tensor, Tensor]:
        found = [self._view_boxes(view, seen, state.image_size) for view, seen in self._pairs(state)]
        boxes, scores, labels = (torch.cat(parts) for parts in zip(*found, strict=True))
        counts = torch.tensor([len(part[0]) for part in found], device=boxes.device)
        views = torch.arange(len(found), device=boxes.device).repeat_interleave(counts)
        try:
            fused = fuse_boxes(boxes, scores, labels, views, num_members=len(found), iou_threshold=VIEW_IOU)
        except InputError as error:
            raise InputError(f"member {self.name}: {error}; check its checkpoint") from error
        # Not the fused score: there, a view's lesser boxes of the same cell would lower the mean.
        scores = fused.confidence.double().mean(dim=0).float()
        order = scores.sort(descending=True, stable=True).indices
        return fused.boxes[order], scores[order], fused.labels[order]

    def evidence(
        self, state: AveragedState, boxes: Tensor, labels: Tensor, windows: Tensor
    ) -> tuple[CropMasks, Tensor]:
        size = state.image_size
        total, trust = 0.0, 0.0
        for view, seen in self._pairs(state):
            masks, confidence = self.member.evidence(
                seen, view.boxes_to_view(boxes, size), labels, view.windows_to_view(windows, size)
            )
            # With 53 bits, the mean of equal numbers is that number whatever their count.
            total = total + view.masks_to_image(masks, windows, size).values.double()
            trust = trust + confidence.double()
        mean = (total / len(self.views)).float()
        return CropMasks(windows.to(mean.device), mean, size), (trust / len(self.views)).float()

    def features(self, state: AveragedState, boxes: Tensor) -> Tensor:
        return self.member.features(state.states[self.views.index(IDENTITY)], boxes)

    def identity(self) -> dict[str, Any]:
        views = {"names": [view.name for view in self.views], "iou": VIEW_IOU, "answers_version": self.answers_version}
        return {**self.member.identity(), "views": views}

    def _pairs(self, state: AveragedState) -> list[tuple[View, Any]]:
        return list(zip(self.views, state.states, strict=True))

    def _view_boxes(self, view: View, seen: Any, image_size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
        boxes, scores, labels = self.member.boxes(seen)
        if not boxes.isfinite().all():
            raise InputError(f"member {self.name}: gave boxes that are not finite; check its checkpoint")
        boxes = view.boxes_to_image(boxes, image_size)
        # A scaled view ends at a whole pixel, which may lie a little outside the image.
        boxes = torch.minimum(boxes.clamp(min=0), boxes.new_tensor(image_size[::-1]).repeat(2))
        there = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
        return boxes[there], scores[there], labels[there]


def build_averaged(
    spec: Mapping[str, Any], base_member_builder: Callable[[Mapping[str, Any]], Member] = build_member
) -> Member:
    """Build a member from its entry in an ensemble config, averaged over the entry's ``views``.

    Args:
        spec: as for ``build_member``, and ``views`` (see ``parse_views``); without it the member is built as it is.
        base_member_builder: builds the member from the entry without ``views``.

    Raises:
        InputError: views that cannot be used; what ``build_member`` raises.
    """
    options = dict(spec)
    kind = options.get("type")
    if "views" not in options or kind not in MEMBER_TYPES or member_class(kind).averages_views:
        return base_member_builder(options)
    name = options.get("name", kind)
    views = parse_views(options.pop("views"), f"member {name!r}")
    if views == (IDENTITY,):
        return base_member_builder(options)
    if hasattr(member_class(kind), "combine"):
        raise InputError(f"member {name!r}: views: it reads other members' answers; give views to those")
    return AveragedMember(base_member_builder(options), views)
