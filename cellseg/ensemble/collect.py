"""Asking the members: boxes, fused boxes, windows, evidence."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cellseg.ensemble.cache import EvidenceCache, hash_key
from cellseg.ensemble.evidence import ImageEvidence
from cellseg.ensemble.fusion import FusedBoxes, fuse_boxes
from cellseg.ensemble.options import FusionOptions
from cellseg.ensemble.windows import enlarge_boxes
from cellseg.errors import InputError
from cellseg.members import Member
from cellseg.structures import CropMasks

# Probabilities are rounded to whole multiples of 1 / 65535, stored or not, so that cached evidence and fresh evidence
# are the same and take two bytes.
_STEPS = 65535.0

# Interpolation and softmax may leave 0..1 by this much.
_ROUNDING = 1e-4


class Answers:
    """What one member says about one image; the network runs when something is asked that is not in the cache.

    Args:
        member: a member of the ensemble.
        image: uint8 ``[H, W, 3]``, RGB.
        cache: where answers are kept; None: nowhere.
    """

    def __init__(self, member: Member, image: np.ndarray, cache: EvidenceCache | None = None):
        self.member = member
        self._image = image
        self._cache = cache
        self._key = hash_key(member.identity(), image) if cache else ""
        self._state: Any = None

    def boxes(self) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes float32 ``[N, 4]`` clipped to the image, scores float32 ``[N]``, labels int64 ``[N]``, on the CPU.

        Raises:
            InputError: the member returned something else, NaN among it; names the member.
        """
        stored = self._cache.load("boxes", self._key) if self._cache else None
        if stored is None:
            boxes, scores, labels = (part.detach().cpu() for part in self.member.boxes(self._encoded()))
            stored = {"boxes": boxes.float().numpy(), "scores": scores.float().numpy(), "labels": labels.long().numpy()}
            if self._cache:
                self._cache.store("boxes", self._key, stored)
        return self._usable(*(torch.from_numpy(stored[name]) for name in ("boxes", "scores", "labels")))

    def evidence(self, boxes: Tensor, labels: Tensor, windows: Tensor) -> tuple[CropMasks, Tensor]:
        """Probabilities in the windows and confidence float32 ``[N]``, on the CPU; see ``Member.evidence``.

        Raises:
            InputError: other windows, or values outside 0..1, NaN among them; names the member.
        """
        image_size = self._image.shape[:2]
        key = hash_key(self._key, boxes.numpy(), labels.numpy(), windows.numpy()) if self._cache else ""
        stored = self._cache.load("evidence", key) if self._cache else None
        if stored is None:
            masks, confidence = self.member.evidence(self._encoded(), boxes, labels, windows)
            values, confidence = self._checked(masks.to("cpu"), confidence.detach().cpu().float(), windows)
            levels = (values * _STEPS).round_().int().numpy().astype(np.uint16)
            stored = {"levels": levels, "confidence": confidence.numpy()}
            if self._cache:
                self._cache.store("evidence", key, stored)
        values = torch.from_numpy(stored["levels"].astype(np.float32) / np.float32(_STEPS))
        return CropMasks(windows, values, image_size), torch.from_numpy(stored["confidence"])

    def _encoded(self) -> Any:
        if self._state is None:
            self._state = self.member.encode(self._image)
        return self._state

    def _usable(self, boxes: Tensor, scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        name, classes = self.member.name, len(self.member.class_names)
        if boxes.ndim != 2 or boxes.shape[1] != 4 or not len(boxes) == len(scores) == len(labels):
            shapes = [list(part.shape) for part in (boxes, scores, labels)]
            raise InputError(f"member {name}: expected boxes [N, 4], scores [N] and labels [N], found {shapes}")
        if not boxes.isfinite().all():
            raise InputError(f"member {name}: gave boxes that are not finite; check its checkpoint")
        scores = _clamped(scores, f"member {name}: scores")
        if ((labels < 0) | (labels >= classes)).any():
            raise InputError(f"member {name}: gave labels outside 0..{classes - 1}")
        height, width = self._image.shape[:2]
        boxes = torch.minimum(boxes.clamp(min=0), torch.tensor([width, height, width, height], dtype=torch.float32))
        there = (boxes[:, 2:] > boxes[:, :2]).all(1)
        return boxes[there], scores[there], labels[there]

    def _checked(self, masks: CropMasks, confidence: Tensor, windows: Tensor) -> tuple[Tensor, Tensor]:
        name = f"member {self.member.name}"
        if masks.image_size != tuple(self._image.shape[:2]) or not torch.equal(masks.windows, windows):
            raise InputError(f"{name}: its evidence is not in the windows that were asked for")
        if confidence.shape != (len(windows),):
            raise InputError(
                f"{name}: expected a confidence for each of {len(windows)} boxes, found {list(confidence.shape)}"
            )
        return _clamped(masks.values.float(), f"{name}: evidence"), _clamped(confidence, f"{name}: confidence")


def _clamped(values: Tensor, name: str) -> Tensor:
    """Values in 0..1 that rounding may have taken a little outside; anything else is refused, NaN too."""
    if len(values):
        low, high = (bound.item() for bound in values.aminmax())
        if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):
            raise InputError(f"{name}: expected values in 0..1, found {low:g} to {high:g}; check its checkpoint")
    return values.clamp(0, 1)


def box_sources(active: Tensor, members: Sequence[Member], options: FusionOptions) -> Tensor:
    """Which members' boxes are used for each type.

    Args:
        active: bool ``[M, K]``, whether a member takes part in the vote for a type.
        members: the M members.
        options: for ``proposers`` and ``weights``.

    Returns:
        bool ``[M, K]``.

    Raises:
        InputError: nobody proposes boxes for some type.
    """
    weights = options.weights or {}
    able = torch.tensor([member.proposes and weights.get(member.name, 1.0) > 0 for member in members])
    preferred = torch.tensor([options.proposers is None or member.name in options.proposers for member in members])
    capable = active & able[:, None]
    wanted = capable & preferred[:, None]
    sources = torch.where(wanted.any(0), wanted, capable)
    if not sources.any(0).all():
        label = int((~sources.any(0)).nonzero()[0, 0])
        names = [member.name for member, row in zip(members, active, strict=True) if row[label]]
        raise InputError(
            f"type {members[0].class_names[label]}: none of its members ({', '.join(names)}) proposes boxes; "
            "add a detector or another weight"
        )
    return sources


def collect_evidence(
    answers: Sequence[Answers],
    sources: Tensor,
    options: FusionOptions,
    image_size: tuple[int, int],
    least_scores: Tensor | None = None,
) -> ImageEvidence:
    """Fuse the boxes of the sources and ask every member about them.

    Args:
        answers: of the members that vote or propose.
        sources: bool ``[M, K]``, from ``box_sources``.
        options: how boxes are fused and windows made.
        image_size: (height, width).
        least_scores: float ``[K]``: fused boxes with a lower score are left out; their instances could not reach it.
    """
    fused = fuse_sources(answers, sources, options)
    boxes, scores, labels = fused.boxes, fused.scores, fused.labels
    if options.one_type and len(labels):
        totals = torch.zeros(sources.shape[1], dtype=torch.float64).index_add_(0, labels, scores.double())
        labels = torch.full_like(labels, int(totals.argmax()))
    if least_scores is not None:
        reachable = scores >= least_scores[labels]
        boxes, scores, labels = boxes[reachable], scores[reachable], labels[reachable]
    windows = enlarge_boxes(boxes, options.margin, image_size)
    evidence, confidence = [], []
    for member in answers:
        masks, trust = member.evidence(boxes, labels, windows)
        evidence.append(masks)
        confidence.append(trust)
    return ImageEvidence(
        image_size=image_size,
        class_names=tuple(answers[0].member.class_names),
        members=tuple(answer.member.name for answer in answers),
        boxes=boxes,
        scores=scores,
        labels=labels,
        evidence=tuple(evidence),
        confidence=torch.stack(confidence),
    )


def fuse_sources(answers: Sequence[Answers], sources: Tensor, options: FusionOptions) -> FusedBoxes:
    """One box per cell from the members that are sources, type by type where these differ.

    Across classes there are no types to tell apart: a member that is a source for some type is one for all.
    """
    if options.across_classes:
        sources = sources.any(1, keepdim=True).expand_as(sources)
    found = {index: answer.boxes() for index, answer in enumerate(answers) if sources[index].any()}
    boxes, scores, labels = (torch.cat([part[k] for part in found.values()]) for k in range(3))
    members = torch.cat([torch.full((len(part[0]),), index) for index, part in found.items()])
    chosen = options.weights or {}
    weights = torch.tensor([float(chosen.get(answer.member.name, 1.0)) for answer in answers], dtype=torch.float64)
    patterns, group = sources.T.unique(dim=0, return_inverse=True)
    parts = []
    for index, pattern in enumerate(patterns):
        mine = group[labels] == index
        parts.append(
            fuse_boxes(
                boxes[mine],
                scores[mine],
                labels[mine],
                members[mine],
                num_members=len(answers),
                weights=weights * pattern,
                **options.fuse_arguments(),
            )
        )
    fused = FusedBoxes(*(torch.cat([part[k] for part in parts]) for k in range(3)), torch.cat([p[3] for p in parts], 1))
    order = fused.scores.sort(descending=True, stable=True).indices
    return FusedBoxes(fused.boxes[order], fused.scores[order], fused.labels[order], fused.confidence[:, order])
