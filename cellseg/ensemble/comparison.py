"""Is the ensemble better than its members? Scores of both on the same images, with paired intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from cellseg.datasets.folder import DataFolder
from cellseg.datasets.records import ImageRecord
from cellseg.ensemble.cache import EvidenceCache
from cellseg.ensemble.collect import Answers, box_sources, collect_evidence
from cellseg.ensemble.config import EnsembleConfig
from cellseg.ensemble.pipeline import check_members
from cellseg.ensemble.resolve import resolve
from cellseg.ensemble.settings import EnsembleSettings
from cellseg.errors import InputError
from cellseg.io.images import read_image, to_rgb
from cellseg.members import Member
from cellseg.metrics import competition_map
from cellseg.metrics.bootstrap import paired_difference
from cellseg.structures import CropMasks
from cellseg.visualization import draw_comparison, draw_sheet

ENSEMBLE = "ensemble"


@dataclass(frozen=True)
class Row:
    """One line of the comparison.

    Attributes:
        name: of the member, or ``ensemble``.
        map: competition mAP over all images.
        ap50: AP at IoU 0.50.
        per_type: competition mAP by cell type.
        per_image: competition mAP of each image.
        difference: mAP of the ensemble minus this row's; None for the ensemble.
        interval: 95% interval of the difference, paired by image and drawn by group; None for the ensemble, and where
            all images are of one group.
        validation: mAP on the tuning images, from the weights file; None where it is not known.
    """

    name: str
    map: float
    ap50: float
    per_type: Mapping[str, float]
    per_image: tuple[float, ...]
    difference: float | None = None
    interval: tuple[float, float] | None = None
    validation: float | None = None


@dataclass(frozen=True)
class Comparison:
    """Rows of the members, then of the ensemble, on the images of one split.

    Attributes:
        rows: as the config orders the members; the ensemble last.
        images: names of the images, in the order of ``Row.per_image``.
        split: which split of the data folder.
        sheet: uint8 ``[.., .., 3]``, for each cell type the image on which the ensemble did middling well: the image,
            and true and found cells on it.
    """

    rows: tuple[Row, ...]
    images: tuple[str, ...]
    split: str
    sheet: np.ndarray

    @property
    def ensemble(self) -> Row:
        """The last row."""
        return self.rows[-1]


def compare_members(
    config: EnsembleConfig, weights: str | Path, split: str = "test", cache: EvidenceCache | None = None
) -> Comparison:
    """Score the tuned ensemble, and each member alone with what was tuned for it alone, on images held out from both.

    Args:
        config: the ensemble.
        weights: the ``weights.json`` that ``tools/tune_ensemble.py`` wrote for it.
        split: images to score, not those of the tuning.
        cache: where the members' answers are kept.

    Raises:
        InputError: the split is the one that was tuned on, or files do not fit each other.
    """
    folder = DataFolder(config.data_root)
    settings, provenance = config.load_settings(weights, folder.class_names)
    tuned = provenance.get("data", {})
    if tuned.get("split") == split and tuned.get("fold") == config.fold:
        raise InputError(f"--split {split}: the weights were tuned on it; score them on images that tuning did not see")
    members = config.build()
    check_members(members)
    records = folder.load_split(config.fold, split)
    # A member without boxes of its own makes no instances alone.
    rows = {member.name: settings.only([member.name]) for member in members if member.proposes} | {ENSEMBLE: settings}
    found = _predict_rows(members, rows, config, folder, records, cache)
    known = provenance.get("scores", {})
    validation = {name: known.get(name, {}).get("after") for name in rows}
    return _summarise(found, records, validation, split, folder)


def _predict_rows(
    members: Sequence[Member],
    rows: Mapping[str, EnsembleSettings],
    config: EnsembleConfig,
    folder: DataFolder,
    records: Sequence[ImageRecord],
    cache: EvidenceCache | None,
) -> dict[str, list[CropMasks]]:
    """Masks of every row on every image; each member looks at an image once for all rows."""
    found: dict[str, list[CropMasks]] = {name: [] for name in rows}
    for record in tqdm(records, desc="compare", unit="image", disable=None):
        image = to_rgb(read_image(folder.image_path(record.file_name)))
        answers = {member.name: Answers(member, image, cache) for member in members}
        for name, settings in rows.items():
            asked = [member for member in members if (settings.weight_table([member.name]) > 0).any()]
            table = settings.weight_table([member.name for member in asked]) > 0
            sources = box_sources(table, asked, config.fusion)
            with torch.inference_mode():
                evidence = collect_evidence(
                    [answers[member.name] for member in asked], sources, config.fusion, image.shape[:2]
                )
                found[name].append(resolve(evidence, settings).masks)
    return found


def _summarise(
    found: Mapping[str, Sequence[CropMasks]],
    records: Sequence[ImageRecord],
    validation: Mapping[str, float | None],
    split: str,
    folder: DataFolder,
) -> Comparison:
    truths = [record.masks for record in records]
    scores = {name: competition_map(list(masks), truths) for name, masks in found.items()}
    groups = [record.group for record in records]
    best = [float(value) for value in scores[ENSEMBLE].per_image]
    rows = []
    for name, score in scores.items():
        own = [float(value) for value in score.per_image]
        per_type = {
            kind: _mean([value for value, record in zip(own, records, strict=True) if record.cell_type == kind])
            for kind in sorted({record.cell_type for record in records})
        }
        difference = interval = None
        if name != ENSEMBLE:
            difference, interval = _compare(best, own, groups)
        rows.append(
            Row(name, score.map, float(score.ap[0.5]), per_type, tuple(own), difference, interval, validation[name])
        )
    sheet = _example_sheet(folder, records, found[ENSEMBLE], best)
    return Comparison(tuple(rows), tuple(record.key for record in records), split, sheet)


def _example_sheet(
    folder: DataFolder, records: Sequence[ImageRecord], found: Sequence[CropMasks], scores: Sequence[float]
) -> np.ndarray:
    """For each cell type the image with the median score: as it is, and with true and found cells."""
    pictures, titles = [], []
    for kind in sorted({record.cell_type for record in records}):
        own = sorted(
            (index for index, record in enumerate(records) if record.cell_type == kind), key=lambda i: (scores[i], i)
        )
        index = own[len(own) // 2]
        image = to_rgb(read_image(folder.image_path(records[index].file_name)))
        pictures += [image, draw_comparison(image, records[index].masks, found[index])]
        titles += [records[index].key, f"ensemble, mAP {scores[index]:.2f}"]
    return draw_sheet(pictures, [None] * len(pictures), titles, columns=2, tile=512)


def _compare(
    best: Sequence[float], own: Sequence[float], groups: Sequence[str]
) -> tuple[float, tuple[float, float] | None]:
    """Mean difference, and its interval where there are groups to draw from."""
    if len(set(groups)) < 2:
        return _mean(best) - _mean(own), None
    difference, low, high = paired_difference(best, own, groups)
    return difference, (low, high)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def comparison_table(comparison: Comparison) -> str:
    """The comparison as a Markdown table."""
    types = list(comparison.ensemble.per_type)
    header = ["", "mAP", "AP50", *types, "ensemble minus this [95% interval]"]
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for row in comparison.rows:
        gain = "" if row.difference is None else f"{row.difference:+.3f}"
        if row.interval is not None:
            gain += f" [{row.interval[0]:+.3f}, {row.interval[1]:+.3f}]"
        values = [row.name, f"{row.map:.3f}", f"{row.ap50:.3f}", *(f"{row.per_type[kind]:.3f}" for kind in types), gain]
        lines.append("| " + " | ".join(values) + " |")
    return "\n".join(lines)


def comparison_json(comparison: Comparison) -> dict:
    """The comparison as plain values."""
    return {
        "split": comparison.split,
        "images": list(comparison.images),
        "rows": [
            {
                "name": row.name,
                "map": row.map,
                "ap50": row.ap50,
                "per_type": dict(row.per_type),
                "per_image": list(row.per_image),
                "difference": row.difference,
                "interval": None if row.interval is None else list(row.interval),
                "validation": row.validation,
            }
            for row in comparison.rows
        ],
    }
