"""Adaptive weights: from an ensemble config and validation images to ``weights.json`` and a report."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from cellseg.datasets.folder import DataFolder
from cellseg.datasets.records import ImageRecord
from cellseg.ensemble.config import EnsembleConfig
from cellseg.ensemble.evidence.cache import EvidenceCache
from cellseg.ensemble.evidence.pool import EvidencePool
from cellseg.ensemble.pipeline import check_members
from cellseg.ensemble.provenance import describe_members, versions
from cellseg.ensemble.tuners import DEFAULT_TUNER
from cellseg.ensemble.tuning.cases import Case
from cellseg.ensemble.tuning.cross_validation import BEST_MEMBER, cross_validate, divide_groups
from cellseg.ensemble.tuning.images import fill_pool
from cellseg.ensemble.tuning.journals import Journals
from cellseg.ensemble.tuning.measure import measure_cases
from cellseg.ensemble.tuning.pool_tuning import MATCHING, TuningOptions, make_search, tune_pool
from cellseg.ensemble.tuning.report import TuningReport, cross_validation_json, write_report
from cellseg.ensemble.tuning.search import ENSEMBLE, UNIFORM, VOTE
from cellseg.ensemble.weights_file import save_weights
from cellseg.errors import InputError
from cellseg.io.files import file_hash
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
    kept = EvidenceCache(cache) if cache else None
    pool, found = fill_pool(EvidencePool(built, config.fusion, options.margins), folder, records, kept), None
    with tqdm(desc="tune", unit="candidate", disable=None) as bar:
        bar.total = make_search(pool, base, options).total() * (1 + cross_validate_parts)
        tuning = tune_pool(pool, base, options, bar.update, journals.within("all"))
        if cross_validate_parts:
            found = cross_validate(pool, groups, base, options, cross_validate_parts, bar.update, journals)
            provenance["cross_validation"] = cross_validation_json(found, per_image=False)
    measured = None
    if report is not None:
        cases = found.cases if found else [Case(pool, tuning.settings, tuple(range(len(pool))))]
        measured = measure_cases(cases, groups, built, folder, records, kept)
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
            "margins": list(options.margins),
        },
    }


def _journal_key(
    provenance: dict[str, Any], settings: dict[str, Any], folder: DataFolder, records: Sequence[ImageRecord]
) -> dict[str, Any]:
    """All that the score of a candidate depends on."""
    images = {record.key: file_hash(folder.image_path(record.file_name)) for record in records}
    return {"provenance": provenance, "settings": settings, "images": images}
