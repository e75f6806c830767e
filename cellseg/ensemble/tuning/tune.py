"""Adaptive weights: from an ensemble config and validation images to ``weights.json`` and a report."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from cellseg.datasets.folder import DataFolder
from cellseg.datasets.records import ImageRecord
from cellseg.ensemble.config import EnsembleConfig
from cellseg.ensemble.evidence.cache import EvidenceCache
from cellseg.ensemble.evidence.pool import EvidencePool
from cellseg.ensemble.evidence.values import ImageEvidence
from cellseg.ensemble.pipeline import check_members
from cellseg.ensemble.provenance import describe_members, versions
from cellseg.ensemble.tuners import DEFAULT_TUNER
from cellseg.ensemble.tuning.cases import Case
from cellseg.ensemble.tuning.cross_validation import BEST_MEMBER, cross_validate, divide_groups
from cellseg.ensemble.tuning.effects import measure_effects
from cellseg.ensemble.tuning.journals import Journals
from cellseg.ensemble.tuning.oracle import ask_about_truth, measure_ceilings
from cellseg.ensemble.tuning.pool_tuning import MATCHING, TuningOptions, make_search, tune_pool
from cellseg.ensemble.tuning.report import (
    Measured,
    TuningReport,
    cross_validation_json,
    measure_reliability,
    write_report,
)
from cellseg.ensemble.tuning.search import ENSEMBLE, UNIFORM, VOTE
from cellseg.ensemble.weights_file import save_weights
from cellseg.errors import InputError
from cellseg.io.files import file_hash
from cellseg.io.images import read_image, to_rgb
from cellseg.members import Member

# Names of rows in reports, which no member may have.
_ROWS = (ENSEMBLE, UNIFORM, VOTE, MATCHING, BEST_MEMBER)


def tune_ensemble(
    config: EnsembleConfig,
    out: str | Path,
    options: TuningOptions | None = None,
    split: str = "val",
    members: Sequence[str] | None = None,
    device: str | None = None,
    cache: str | Path | None = None,
    cross_validate_parts: int = 0,
    report: str | Path | None = None,
    resume: bool = False,
) -> TuningReport:
    """Tune an ensemble on a split of its data folder and write the weights file.

    While it runs, ``OUT.journal`` holds what a tuning that is stopped can be continued from.

    Args:
        config: the ensemble.
        out: the ``weights.json`` to write.
        options: of the tuning.
        split: ``val``, or another one of the data folder.
        members: names of the members that may vote; None: all.
        device: for all members, over what the config says.
        cache: folder for the members' answers; None: not kept.
        cross_validate_parts: in how many parts the images are divided to measure what the tuning is worth on images
            that it does not see; 0: not measured.
        report: folder for a report with effects and ceilings; None: no report.
        resume: whether to go on with what a tuning that was stopped left.

    Raises:
        InputError: members, data folder or options that cannot be used.
    """
    options = options or TuningOptions()
    folder, records = _load(config, split, members)
    groups, types = [record.group for record in records], [record.cell_type for record in records]
    if cross_validate_parts:  # refused before the networks run
        divide_groups(groups, types, cross_validate_parts, options.seed)
    built = _build(config, folder, members, device)
    base = config.parse_settings(folder.class_names)
    provenance = _provenance(config, folder, split, records, built, options)
    journals = Journals.open(f"{out}.journal", _journal_key(provenance, base.to_dict(), folder, records), resume)
    pool, true_boxes = _ask(built, config, folder, records, EvidenceCache(cache) if cache else None, report is not None)
    found = None
    with tqdm(desc="tune", unit="candidate", disable=None) as bar:
        bar.total = make_search(pool, base, options).total() * (1 + cross_validate_parts)
        tuning = tune_pool(pool, base, options, bar.update, journals.within("all"))
        if cross_validate_parts:
            found = cross_validate(pool, groups, base, options, cross_validate_parts, bar.update, journals)
            provenance["cross_validation"] = cross_validation_json(found, per_image=False)
    measured = None
    if report is not None:
        cases = found.cases if found else [Case(pool, tuning.settings, tuple(range(len(pool))))]
        measured = Measured(
            measure_effects(cases, groups), measure_ceilings(cases, groups, true_boxes), measure_reliability(cases)
        )
    result = TuningReport(tuning, split, len(pool), len(set(groups)), found, measured)
    if report is not None:
        write_report(result, report)
    save_weights(out, tuning.settings, provenance | {"scores": tuning.scores()})
    journals.remove()
    return result


def _load(config: EnsembleConfig, split: str, members: Sequence[str] | None) -> tuple[DataFolder, list[ImageRecord]]:
    unknown = [name for name in members or () if name not in config.names]
    if unknown:
        raise InputError(f"{config.path}: no member {unknown[0]!r}; it has {', '.join(config.names)}")
    reserved = [name for name in config.names if name in _ROWS]
    if reserved:
        raise InputError(f"{config.path}: no member can be named {reserved[0]!r}, which is a row of the results")
    if not config.data_root:
        raise InputError(f"{config.path}: no data_root, the data folder to tune on")
    folder = DataFolder(config.data_root)
    records = folder.load_split(config.fold, split)
    if not records:
        raise InputError(f"{folder.split_file(config.fold, split)}: no images to tune on")
    return folder, records


def _build(
    config: EnsembleConfig, folder: DataFolder, members: Sequence[str] | None, device: str | None
) -> list[Member]:
    built = config.build(members, device)
    check_members(built)
    if tuple(built[0].class_names) != folder.class_names:
        raise InputError(
            f"{config.data_root}: has the types {list(folder.class_names)}, the members know "
            f"{list(built[0].class_names)}; tune on the data they were trained on"
        )
    return built


def _provenance(
    config: EnsembleConfig,
    folder: DataFolder,
    split: str,
    records: Sequence[ImageRecord],
    members: Sequence[Member],
    options: TuningOptions,
) -> dict[str, Any]:
    return {
        "tool": "tune_ensemble",
        "versions": versions(),
        "members": describe_members(members),
        "fusion": config.fusion.to_dict(),
        "data": {
            "annotations": file_hash(folder.split_file(config.fold, split)),
            "fold": config.fold,
            "split": split,
            "images": len(records),
        },
        "search": {
            "tuner": options.tuner or DEFAULT_TUNER,
            "budget": options.budget,
            "seed": options.seed,
            "shrinkage": options.shrinkage,
            "calibrate": options.calibrate,
        },
    }


def _journal_key(
    provenance: dict[str, Any], settings: dict[str, Any], folder: DataFolder, records: Sequence[ImageRecord]
) -> dict[str, Any]:
    """All that the score of a candidate depends on."""
    images = {record.key: file_hash(folder.image_path(record.file_name)) for record in records}
    return {"provenance": provenance, "settings": settings, "images": images}


def _ask(
    members: Sequence[Member],
    config: EnsembleConfig,
    folder: DataFolder,
    records: Sequence[ImageRecord],
    cache: EvidenceCache | None,
    about_truth: bool,
) -> tuple[EvidencePool, list[ImageEvidence]]:
    """Ask all members about all images, and (if wanted) about the boxes of the true cells."""
    pool, true_boxes = EvidencePool(members, config.fusion), []
    for record in tqdm(records, desc="ask members", unit="image", disable=None):
        image = to_rgb(read_image(folder.image_path(record.file_name)))
        if image.shape[:2] != (record.height, record.width):
            raise InputError(
                f"{folder.image_path(record.file_name)}: {image.shape[1]} x {image.shape[0]} pixels, its annotations "
                f"are for {record.width} x {record.height}; run tools/prepare_data.py again"
            )
        with torch.inference_mode():
            pool.add(image, record.masks, record.cell_type, cache)
            if about_truth:
                true_boxes.append(ask_about_truth(members, image, record.masks, record.labels, config.fusion, cache))
    return pool, true_boxes
