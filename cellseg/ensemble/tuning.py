"""Adaptive weights: from an ensemble config and validation images to ``weights.json``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from cellseg.datasets.folder import DataFolder
from cellseg.datasets.records import ImageRecord
from cellseg.ensemble.cache import EvidenceCache
from cellseg.ensemble.config import EnsembleConfig
from cellseg.ensemble.evidence_pool import EvidencePool
from cellseg.ensemble.pipeline import check_members
from cellseg.ensemble.provenance import describe_members, versions
from cellseg.ensemble.search import Search, Tuned, scores_of
from cellseg.ensemble.tuners import DEFAULT_TUNER
from cellseg.ensemble.weights_file import save_weights
from cellseg.errors import InputError
from cellseg.io.files import file_hash
from cellseg.io.images import read_image, to_rgb


@dataclass(frozen=True)
class TuningReport:
    """Scores on the images that were tuned on.

    Attributes:
        ensemble: of all members together.
        alone: of each member alone, by name.
        images: how many images there were.
        types: cell types that got settings of their own.
    """

    ensemble: Tuned
    alone: dict[str, Tuned]
    images: int
    types: tuple[str, ...]


def tune_ensemble(
    config: EnsembleConfig,
    out: str | Path,
    tuner: str | None = None,
    budget: int = 200,
    seed: int = 0,
    split: str = "val",
    members: Sequence[str] | None = None,
    device: str | None = None,
    cache: str | Path | None = None,
) -> TuningReport:
    """Tune an ensemble on a split of its data folder and write the weights file.

    Args:
        config: the ensemble.
        out: the ``weights.json`` to write.
        tuner, budget, seed: see ``Search``.
        split: ``val``, or another one of the data folder.
        members: names of the members that may vote; None: all.
        device: for all members, over what the config says.
        cache: folder for the members' answers; None: not kept.

    Raises:
        InputError: members, data folder or options that cannot be used.
    """
    unknown = [name for name in members or () if name not in config.names]
    if unknown:
        raise InputError(f"{config.path}: no member {unknown[0]!r}; it has {', '.join(config.names)}")
    if not config.data_root:
        raise InputError(f"{config.path}: no data_root, the data folder to tune on")
    folder = DataFolder(config.data_root)
    records = folder.load_split(config.fold, split)
    built = config.build(members, device)
    check_members(built)
    if tuple(built[0].class_names) != folder.class_names:
        raise InputError(
            f"{config.data_root}: has the types {list(folder.class_names)}, the members know "
            f"{list(built[0].class_names)}; tune on the data they were trained on"
        )
    pool = EvidencePool(built, config.fusion)
    _fill(pool, folder, records, EvidenceCache(cache) if cache else None)
    base = config.parse_settings(folder.class_names)
    with tqdm(desc="tune", unit="candidate", disable=None) as bar:
        search = Search(pool, base, tuner, budget, seed, bar.update)
        bar.total = search.total()
        tuned, alone = search.run()
    provenance = {
        "tool": "tune_ensemble",
        "versions": versions(),
        "members": describe_members(built),
        "fusion": config.fusion.to_dict(),
        "data": {
            "annotations": file_hash(folder.split_file(config.fold, split)),
            "fold": config.fold,
            "split": split,
            "images": len(pool),
        },
        "search": {"tuner": tuner or DEFAULT_TUNER, "budget": budget, "seed": seed},
        "scores": scores_of(tuned, alone),
    }
    save_weights(out, tuned.settings, provenance)
    return TuningReport(tuned, alone, len(pool), tuple(tuned.settings.types))


def _fill(pool: EvidencePool, folder: DataFolder, records: Sequence[ImageRecord], cache: EvidenceCache | None) -> None:
    for record in tqdm(records, desc="ask members", unit="image", disable=None):
        image = to_rgb(read_image(folder.image_path(record.file_name)))
        if image.shape[:2] != (record.height, record.width):
            raise InputError(
                f"{folder.image_path(record.file_name)}: {image.shape[1]} x {image.shape[0]} pixels, its annotations "
                f"are for {record.width} x {record.height}; run tools/prepare_data.py again"
            )
        with torch.inference_mode():
            pool.add(image, record.masks, record.cell_type, cache)
