"""What the feature fusion learns from: cells of images that the members did not train on, with the members' answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from tqdm import tqdm

from cellseg.datasets.folder import DataFolder, read_record_image
from cellseg.datasets.records import ImageRecord
from cellseg.ensemble.config import EnsembleConfig, load_ensemble_config, member_name
from cellseg.ensemble.evidence.answers import Answers
from cellseg.ensemble.evidence.cache import EvidenceCache
from cellseg.ensemble.evidence.collect import box_sources, collect_evidence
from cellseg.ensemble.evidence.values import ImageEvidence
from cellseg.ensemble.feature_fusion.parts import assign_parts
from cellseg.ensemble.pipeline import check_members
from cellseg.ensemble.provenance import describe_members
from cellseg.ensemble.votes.window_grids import sample_grids
from cellseg.errors import InputError
from cellseg.members import Member
from cellseg.members.pooling import FEATURE_GRID
from cellseg.metrics import box_iou, mask_iou
from cellseg.models.fusion_network import GRID, FusionDescription
from cellseg.structures import CropMasks
from cellseg.training.config import parse_options

# A box belongs to the true cell that it, or the mask of the members' mean, overlaps most, from this IoU on.
LEAST_IOU = 0.3

COMBINER_TYPE = "feature_fusion"


@dataclass(frozen=True)
class FusionData:
    """N fused boxes with what M members say about them and what is true; on the CPU.

    Attributes:
        description: members, channels, parts.
        evidence: float16 ``[N, M, S, S]``, read in the windows.
        confidence: float32 ``[N, M]``.
        features: float16 ``[N, C, 7, 7]``, of all members one after another, read in the windows.
        part: int64 ``[N]``, part of the image that the box lies in.
        target: float16 ``[N, S, S]``, share of the true cell in each cell of the grid; 0 where there is no such cell.
        weight: float32 ``[N]``: 1 for a box of a true cell, ``empty_weight`` for any other.
    """

    description: FusionDescription
    evidence: Tensor
    confidence: Tensor
    features: Tensor
    part: Tensor
    target: Tensor
    weight: Tensor

    def __len__(self) -> int:
        return len(self.part)


@lru_cache(maxsize=1)
def load_fusion_data(
    ensemble: str,
    ensemble_options: tuple[str, ...],
    data_root: str,
    fold: int,
    split: str,
    inputs: tuple[str, ...] | None,
    use_features: bool,
    parts: int,
    empty_weight: float,
    cache: str | None,
    device: str | None,
) -> FusionData:
    """Ask the members of an ensemble about the images of a split; the last result is kept in memory.

    Args:
        ensemble: path of the ensemble config; a feature fusion among its members is left out.
        ensemble_options: ``KEY=VALUE`` over what that file says, as after ``--cfg-options``.
        data_root, fold, split: the images.
        inputs: names of the members that are combined; None: all.
        use_features: whether features are read, or evidence alone.
        parts: see ``models.fusion_network``; the images of one group stay together.
        empty_weight: weight of boxes without a true cell.
        cache: folder for the members' answers; None: not kept.
        device: for all members, over what the ensemble config says.

    Raises:
        InputError: a split that members train on, or a config, data folder or members that cannot be used.
    """
    if split not in ("val", "test"):
        raise InputError(
            f"split {split!r}: the members know its images by heart, so their evidence there is better than it will "
            "be; use split='val'"
        )
    config = load_ensemble_config(ensemble, parse_options(ensemble_options))
    members = _build_inputs(config, inputs, device)
    folder = DataFolder(data_root)
    if tuple(members[0].class_names) != folder.class_names:
        raise InputError(
            f"{data_root}: has the types {list(folder.class_names)}, the members know {list(members[0].class_names)}; "
            "train the fusion on the data they were trained on"
        )
    records = folder.load_split(fold, split)
    where = f"{data_root}: split {split!r} of fold {fold}"
    channels = {member.name: member.feature_channels if use_features else 0 for member in members}
    if use_features and not any(channels.values()):
        raise InputError(f"{ensemble}: none of {', '.join(channels)} has features; set use_features=False")
    collector = _Collector(config, members, channels, EvidenceCache(cache) if cache else None)
    with torch.inference_mode():
        rows = [
            collector.ask(folder, record) for record in tqdm(records, desc="ask members", unit="image", disable=None)
        ]
    keys = [row.image_key for row in rows]
    part = assign_parts([record.group for record in records], keys, [len(row.target) for row in rows], parts, where)
    description = FusionDescription(
        class_names=tuple(members[0].class_names),
        identities=describe_members(members),
        channels=channels,
        parts=parts,
        images=dict(zip(keys, part, strict=True)),
    )
    return _join(description, rows, part, empty_weight, where)


def _build_inputs(config: EnsembleConfig, inputs: Sequence[str] | None, device: str | None) -> list[Member]:
    plain = [member_name(spec) for spec in config.members if spec.get("type") != COMBINER_TYPE]
    unknown = [name for name in inputs or () if name not in plain]
    if unknown:
        raise InputError(f"{config.path}: inputs: no member {unknown[0]!r}; it has {', '.join(plain)}")
    members = config.build(plain if inputs is None else list(inputs), device)
    check_members(members)
    return members


@dataclass(frozen=True)
class _ImageRows:
    """The boxes of one image; as in ``FusionData``, with ``matched`` bool ``[N]`` for a true cell."""

    image_key: str
    evidence: Tensor
    confidence: Tensor
    features: Tensor
    target: Tensor
    matched: Tensor


class _Collector:
    """Asks members about images, with boxes fused as the ensemble does it."""

    def __init__(
        self,
        config: EnsembleConfig,
        members: Sequence[Member],
        channels: Mapping[str, int],
        cache: EvidenceCache | None,
    ):
        self.members, self.channels, self.cache = members, channels, cache
        self.options = config.fusion
        everybody = torch.ones((len(members), len(members[0].class_names)), dtype=torch.bool)
        self.sources = box_sources(everybody, members, config.fusion)

    def ask(self, folder: DataFolder, record: ImageRecord) -> _ImageRows:
        image = read_record_image(folder.image_path(record.file_name), record)
        answers = [Answers(member, image, self.cache) for member in self.members]
        found = collect_evidence(answers, self.sources, self.options, image.shape[:2])
        windows = found.evidence[0].windows
        read = [answer for answer in answers if self.channels[answer.member.name]]
        features = [torch.zeros((len(windows), 0, FEATURE_GRID, FEATURE_GRID))]
        features += [answer.features(windows) for answer in read]
        cells, matched = true_cells(found, record.masks)
        return _ImageRows(
            image_key=answers[0].image_key(),
            evidence=sample_grids(found.evidence, GRID).half(),
            confidence=found.confidence.T.contiguous(),
            features=torch.cat(features, dim=1).half(),
            target=sample_grids([cells], GRID)[:, 0].half(),
            matched=matched,
        )


def true_cells(found: ImageEvidence, truth: CropMasks) -> tuple[CropMasks, Tensor]:
    """The true cell of each box, in its window, and whether there is one.

    A box belongs to the cell that it overlaps most, by the IoU of boxes or by that of the members' mean above one half
    with the cell, whichever is larger. Several boxes may belong to one cell: each is asked about it, and suppression
    chooses later. A box without a cell, at an IoU up to 0.3, has an empty mask.

    Args:
        found: N boxes with evidence.
        truth: the true cells, bool.

    Returns:
        Bool masks in the windows of the evidence, and bool ``[N]``.
    """
    first = found.evidence[0]
    empty = CropMasks(first.windows, torch.zeros(len(first.values), dtype=torch.bool), first.image_size)
    if not len(truth) or not len(found):
        return empty, torch.zeros(len(found), dtype=torch.bool)
    mean = torch.stack([masks.values for masks in found.evidence]).mean(dim=0)
    vote = CropMasks(first.windows, mean, first.image_size).threshold(0.5)
    overlap = torch.maximum(mask_iou(vote, truth), box_iou(found.boxes, truth.boxes()).double())
    largest, cell = overlap.max(dim=1)
    matched = largest > LEAST_IOU
    cells = truth[cell].rewindow(first.windows)
    kept = matched.repeat_interleave(torch.diff(first.offsets), output_size=len(cells.values))
    return CropMasks(first.windows, cells.values & kept, first.image_size), matched


def _join(
    description: FusionDescription, rows: Sequence[_ImageRows], part: Sequence[int], empty_weight: float, where: str
) -> FusionData:
    matched = torch.cat([row.matched for row in rows])
    if not matched.any():
        raise InputError(f"{where}: no box of the members meets a true cell; train the members longer first")
    counts = torch.tensor([len(row.target) for row in rows])
    return FusionData(
        description=description,
        evidence=torch.cat([row.evidence for row in rows]),
        confidence=torch.cat([row.confidence for row in rows]),
        features=torch.cat([row.features for row in rows]),
        part=torch.tensor(list(part)).repeat_interleave(counts),
        target=torch.cat([row.target for row in rows]),
        weight=torch.where(matched, 1.0, float(empty_weight)),
    )
