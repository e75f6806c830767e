"""What an ensemble knows of an image: fused boxes and every member's answer for them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cellseg.errors import InputError
from cellseg.structures import CropMasks


@dataclass(frozen=True)
class ImageEvidence:
    """Fused boxes of an image (or of several, see ``stack_evidence``) with the members' evidence, on the CPU.

    Attributes:
        image_size: (height, width).
        class_names: cell types, in the order of the labels.
        members: names of the members that answered.
        boxes: float32 ``[N, 4]``, fused, the best first.
        scores: float32 ``[N]``, of the fused boxes, 0..1.
        labels: int64 ``[N]``.
        evidence: of each member, float32 probabilities ``[N]`` in the same windows.
        confidence: float32 ``[M, N]``, of each member for each box, 0..1.

    Raises:
        InputError: parts that do not belong to the same boxes or members.
    """

    image_size: tuple[int, int]
    class_names: tuple[str, ...]
    members: tuple[str, ...]
    boxes: Tensor
    scores: Tensor
    labels: Tensor
    evidence: tuple[CropMasks, ...]
    confidence: Tensor

    def __post_init__(self) -> None:
        count, members = len(self.boxes), len(self.members)
        found = [list(part.shape) for part in (self.boxes, self.scores, self.labels, self.confidence)]
        expected = [[count, 4], [count], [count], [members, count]]
        if found != expected:
            raise InputError(
                f"evidence: boxes, scores, labels, confidence should have shapes {expected}, found {found}"
            )
        if len(self.evidence) != members:
            raise InputError(f"evidence: expected that of {members} members, found {len(self.evidence)}")
        for name, masks in zip(self.members, self.evidence, strict=True):
            if len(masks) != count or not torch.equal(masks.windows, self.evidence[0].windows):
                raise InputError(f"evidence: that of {name} is not in the windows of {self.members[0]}")

    def __len__(self) -> int:
        return len(self.boxes)

    def first(self, count: int) -> "ImageEvidence":
        """The first boxes only; shares memory with this one."""
        return replace(
            self,
            boxes=self.boxes[:count],
            scores=self.scores[:count],
            labels=self.labels[:count],
            evidence=tuple(
                CropMasks(part.windows[:count], part.values[: int(part.offsets[count])], part.image_size)
                for part in self.evidence
            ),
            confidence=self.confidence[:, :count],
        )


def stack_evidence(images: Sequence[ImageEvidence]) -> tuple[ImageEvidence, Tensor]:
    """Put images below each other in one tall image, so that one pass settles the instances of all.

    Nothing in the steps after collection reaches from one image into another: masks stay inside their windows.

    Args:
        images: at least one; all with the same members and cell types.

    Returns:
        The evidence of the tall image, the boxes of all images sorted by score (equal ones in order of the images), and
        the first row of each image in it and one after the last, int64 ``[I + 1]``.

    Raises:
        InputError: an image with other members or cell types than the first.
    """
    first = images[0]
    for image in images:
        if (image.members, image.class_names) != (first.members, first.class_names):
            raise InputError(
                f"evidence of different ensembles: members {', '.join(first.members)} for the types "
                f"{', '.join(first.class_names)}, and {', '.join(image.members)} for {', '.join(image.class_names)}"
            )
    tops = torch.tensor([0] + [image.image_size[0] for image in images]).cumsum(0)
    size = (int(tops[-1]), max(image.image_size[1] for image in images))
    order = torch.cat([image.scores for image in images]).sort(descending=True, stable=True).indices
    shift = torch.zeros((len(order), 4), dtype=torch.int64)
    shift[:, 1::2] = tops[:-1].repeat_interleave(torch.tensor([len(image) for image in images]))[:, None]
    members = []
    for index in range(len(first.members)):
        parts = [image.evidence[index] for image in images]
        windows = torch.cat([part.windows for part in parts]) + shift
        members.append(CropMasks(windows, torch.cat([part.values for part in parts]), size)[order])
    return ImageEvidence(
        image_size=size,
        class_names=first.class_names,
        members=first.members,
        boxes=(torch.cat([image.boxes for image in images]) + shift)[order],
        scores=torch.cat([image.scores for image in images])[order],
        labels=torch.cat([image.labels for image in images])[order],
        evidence=tuple(members),
        confidence=torch.cat([image.confidence for image in images], dim=1)[:, order],
    ), tops
