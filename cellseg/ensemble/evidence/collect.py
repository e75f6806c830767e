"""Asking the members: boxes, fused boxes, windows, evidence; combiners last, from the evidence of the others."""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from cellseg.ensemble.boxes.fusion import FusedBoxes, fuse_boxes
from cellseg.ensemble.boxes.options import FusionOptions
from cellseg.ensemble.boxes.windows import enlarge_boxes
from cellseg.ensemble.evidence.answers import Answers
from cellseg.ensemble.evidence.image_type import vote_type
from cellseg.ensemble.evidence.values import ImageEvidence
from cellseg.ensemble.feature_fusion.combiner import Combiner, check_combiner
from cellseg.errors import InputError
from cellseg.members import Member
from cellseg.structures import CropMasks


def asked_members(members: Sequence[Member], active: Collection[str]) -> list[Member]:
    """Those that must be asked when some vote: these, and the inputs of the combiners among them.

    Leaving an input of a combiner out of the vote leaves the combiner its input: it is asked, with weight 0.

    Args:
        members: of the ensemble.
        active: names of those that vote.

    Returns:
        Members in the order of ``members``.

    Raises:
        InputError: a combiner that votes lacks an input, or was trained with another one than is there.
    """
    wanted = set(active)
    for member in members:
        if isinstance(member, Combiner) and member.name in active:
            check_combiner(member, members)
            wanted.update(member.inputs)
    return [member for member in members if member.name in wanted]


def box_sources(active: Tensor, members: Sequence[Member], options: FusionOptions) -> Tensor:
    """Which members' boxes are used for each type.

    A combiner has no boxes. Where nobody who votes has any, as when a combiner votes alone, its inputs propose.

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
    for index, combiner in enumerate(members):
        if isinstance(combiner, Combiner):
            inputs = torch.tensor([member.name in combiner.inputs for member in members]) & able
            capable = capable | (inputs[:, None] & active[index] & ~(active & able[:, None]).any(0))
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
    """Fuse the boxes of the sources and ask every member about them, combiners last.

    Args:
        answers: of the members that vote or propose, and of the inputs of combiners (``asked_members``).
        sources: bool ``[M, K]``, from ``box_sources``.
        options: how boxes are fused and windows made.
        image_size: (height, width).
        least_scores: float ``[K]``: fused boxes with a lower score are left out; their instances could not reach it.
    """
    fused = fuse_sources(answers, sources, options)
    boxes, scores, labels = fused.boxes, fused.scores, fused.labels
    if options.one_type and len(labels):
        found = [answer.boxes()[1:] for answer, used in zip(answers, sources.any(1), strict=True) if used]
        voted = vote_type(found, sources.shape[1])
        labels = labels if voted is None else torch.full_like(labels, voted)
    if least_scores is not None:
        reachable = scores >= least_scores[labels]
        boxes, scores, labels = boxes[reachable], scores[reachable], labels[reachable]
    return ask_members(answers, boxes, scores, labels, options, image_size)


def ask_members(
    answers: Sequence[Answers],
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    options: FusionOptions,
    image_size: tuple[int, int],
) -> ImageEvidence:
    """Ask every member about given boxes, combiners last.

    Args:
        answers: of the members, and of the inputs of combiners.
        boxes: float32 ``[N, 4]``, the best first.
        scores: float32 ``[N]``.
        labels: int64 ``[N]``.
        options: how windows are made.
        image_size: (height, width).
    """
    windows = enlarge_boxes(boxes, options.margin, image_size)
    found = _ask_all(answers, boxes, labels, windows)
    return ImageEvidence(
        image_size=image_size,
        class_names=tuple(answers[0].member.class_names),
        members=tuple(answer.member.name for answer in answers),
        boxes=boxes,
        scores=scores,
        labels=labels,
        evidence=tuple(masks for masks, _ in found),
        confidence=torch.stack([confidence for _, confidence in found]),
    )


def _ask_all(
    answers: Sequence[Answers], boxes: Tensor, labels: Tensor, windows: Tensor
) -> list[tuple[CropMasks, Tensor]]:
    """Evidence and confidence of every member, in the order of the answers."""
    others = {answer.member.name: answer for answer in answers if not isinstance(answer.member, Combiner)}
    found = {name: answer.evidence(boxes, labels, windows) for name, answer in others.items()}
    return [
        found[answer.member.name]
        if answer.member.name in found
        else answer.combined(boxes, labels, windows, found, others)
        for answer in answers
    ]


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
