"""Is the ensemble better than its members? Scores of both on the same images, with paired intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from cellseg.datasets.folder import DataFolder, read_record_image
from cellseg.datasets.records import ImageRecord
from cellseg.ensemble.comparison.file import MATCHING
from cellseg.ensemble.comparison.pictures import draw_examples
from cellseg.ensemble.comparison.rows import RowPlan, RowPredictor, plan_rows
from cellseg.ensemble.comparison.uncertainty import UncertaintyCheck, check_uncertainty
from cellseg.ensemble.config import EnsembleConfig
from cellseg.ensemble.evidence.answers import Answers
from cellseg.ensemble.evidence.cache import EvidenceCache, image_key
from cellseg.ensemble.feature_fusion.member import FeatureFusionMember
from cellseg.ensemble.matching.match import MatchOptions
from cellseg.ensemble.pipeline import check_members
from cellseg.ensemble.provenance import describe_members, versions
from cellseg.errors import InputError
from cellseg.io.files import file_hash
from cellseg.members import Member
from cellseg.metrics import ImageResult, evaluate_image, summarize, summarize_types
from cellseg.metrics.bootstrap import paired_difference
from cellseg.structures import Instances


@dataclass(frozen=True)
class Row:
    """One line of the comparison.

    Attributes:
        name: of the member or variant, or ``ensemble``.
        kind: ``member``, ``variant``, ``vote``, ``matching`` or ``ensemble``.
        map: competition mAP over all images.
        ap50, ap75: precision at IoU 0.50 and 0.75.
        per_type: competition mAP by cell type.
        mean_matched_iou: mean IoU of the cells that are matched at IoU > 0.5; None where none is.
        errors: how often each kind of error occurs, see ``cellseg.metrics.error_kinds``.
        per_image: competition mAP of each image.
        per_image_ap50, per_image_ap75: its precision at these thresholds.
        difference: mAP of the ensemble minus this row's; None for the ensemble.
        interval: 95% interval of the difference, paired by image and drawn by group; None for the ensemble, and where
            all images are of one group.
        validation: mAP on the tuning images, from the weights file; None where it is not known.
    """

    name: str
    kind: str
    map: float
    ap50: float
    ap75: float
    per_type: Mapping[str, float]
    mean_matched_iou: float | None
    errors: Mapping[str, Mapping[str, int]]
    per_image: tuple[float, ...]
    per_image_ap50: tuple[float, ...]
    per_image_ap75: tuple[float, ...]
    difference: float | None = None
    interval: tuple[float, float] | None = None
    validation: float | None = None


@dataclass(frozen=True)
class Comparison:
    """Rows of the members and variants, then of the ensemble, on the images of one split.

    Attributes:
        rows: as ``plan_rows`` orders them; the ensemble last.
        images: names of the images, in the order of ``Row.per_image``.
        groups, cell_types: of each image.
        split: which split of the data folder.
        uncertainty: whether the ensemble's cells are as good as their uncertainty says; None where it has none.
        sheet: uint8 ``[.., .., 3]``, for each cell type the image on which the ensemble did middling well: the image,
            and true and found cells on it.
        provenance: versions, and hashes of weights file and members.
    """

    rows: tuple[Row, ...]
    images: tuple[str, ...]
    groups: tuple[str, ...]
    cell_types: tuple[str, ...]
    split: str
    uncertainty: UncertaintyCheck | None
    sheet: np.ndarray
    provenance: Mapping[str, Any]

    @property
    def ensemble(self) -> Row:
        """The last row."""
        return self.rows[-1]


def compare_members(
    config: EnsembleConfig,
    weights: str | Path,
    split: str = "test",
    cache: EvidenceCache | None = None,
    votes: Sequence[str] = (),
    device: str | None = None,
) -> Comparison:
    """Score the tuned ensemble, each member alone with what was tuned for it alone, and variants of the ensemble.

    Args:
        config: the ensemble.
        weights: the ``weights.json`` that ``tools/tune_ensemble.py`` wrote for it.
        split: images to score, not those of the tuning.
        cache: where the members' answers are kept.
        votes: vote schemes that get a row each.
        device: for all members, over what the config says.

    Raises:
        InputError: the split is the one that was tuned on, a feature fusion learned from it, or files do not fit each
            other.
    """
    folder = DataFolder(config.data_root)
    settings, provenance = config.load_settings(weights, folder.class_names)
    tuned = provenance.get("data", {})
    if tuned.get("split") == split and tuned.get("fold") == config.fold:
        raise InputError(f"--split {split}: the weights were tuned on it; score them on images that tuning did not see")
    members = config.build(device=device)
    check_members(members)
    records = folder.load_split(config.fold, split)
    plans = plan_rows(members, settings, votes, config.combine)
    predictor = RowPredictor(plans, members, config.fusion, settings.matching or MatchOptions())
    found: dict[str, list[Instances]] = {plan.name: [] for plan in plans}
    for record in tqdm(records, desc="compare", unit="image", disable=None):
        image = read_record_image(folder.image_path(record.file_name), record)
        _check_unseen(members, image, record.key, split)
        rows = predictor.predict(image.shape[:2], lambda member, image=image: Answers(member, image, cache))
        for name, instances in rows.items():
            found[name].append(instances)
    results = {
        name: [
            evaluate_image(record.key, instances.masks, record.masks, record.cell_type)
            for instances, record in zip(own, records, strict=True)
        ]
        for name, own in found.items()
    }
    best = found[plans[-1].name]
    return Comparison(
        rows=_make_rows(plans, results, [record.group for record in records], provenance.get("scores", {})),
        images=tuple(record.key for record in records),
        groups=tuple(record.group for record in records),
        cell_types=tuple(record.cell_type for record in records),
        split=split,
        uncertainty=check_uncertainty(best, [record.masks for record in records]),
        sheet=_draw(folder, records, best, results[plans[-1].name]),
        provenance={
            "weights": file_hash(weights),
            "members": describe_members(members),
            "fold": config.fold,
            "versions": versions(),
        },
    )


def _check_unseen(members: Sequence[Member], image: NDArray[np.uint8], name: str, split: str) -> None:
    """Refuse images from which a feature fusion learned: cross-fitted or not, their score would flatter."""
    for member in members:
        if isinstance(member, FeatureFusionMember) and image_key(image) in member.about.images:
            raise InputError(
                f"--split {split}: {member.name} was trained on its image {name}; train it on another split, or score "
                "another one"
            )


def _make_rows(
    plans: Sequence[RowPlan],
    results: Mapping[str, Sequence[ImageResult]],
    groups: Sequence[str],
    tuned: Mapping[str, Any],
) -> tuple[Row, ...]:
    best = [result.score.map for result in results[plans[-1].name]]
    rows = []
    for plan in plans:
        own = results[plan.name]
        summary = summarize(own)
        per_image = [result.score.map for result in own]
        difference = interval = None
        if plan is not plans[-1]:
            difference, interval = _compare(best, per_image, groups)
        rows.append(
            Row(
                name=plan.name,
                kind=plan.kind,
                map=summary.score.map,
                ap50=summary.score.ap[0.5],
                ap75=summary.score.ap[0.75],
                per_type={name: part.score.map for name, part in summarize_types(own).items()},
                mean_matched_iou=summary.quality.mean_matched_iou,
                errors=summary.errors,
                per_image=tuple(per_image),
                per_image_ap50=tuple(result.score.ap[0.5] for result in own),
                per_image_ap75=tuple(result.score.ap[0.75] for result in own),
                difference=difference,
                interval=interval,
                validation=tuned.get(MATCHING if plan.settings is None else plan.name, {}).get("after"),
            )
        )
    return tuple(rows)


def _compare(
    best: Sequence[float], own: Sequence[float], groups: Sequence[str]
) -> tuple[float, tuple[float, float] | None]:
    """Mean difference, and its interval where there are groups to draw from."""
    if len(set(groups)) < 2:
        return float(np.mean(best) - np.mean(own)), None
    difference, low, high = paired_difference(best, own, groups)
    return difference, (low, high)


def _draw(
    folder: DataFolder, records: Sequence[ImageRecord], found: Sequence[Instances], results: Sequence[ImageResult]
) -> np.ndarray:
    masks = [instances.masks for instances in found]
    return draw_examples(folder, records, masks, [result.score.map for result in results])
