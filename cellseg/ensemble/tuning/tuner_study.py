"""Which tuner is best for an ensemble? The same budget for all, scored on images that the search did not see."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any, TypeVar

import numpy as np
from tqdm import tqdm

from cellseg.datasets.folder import DataFolder
from cellseg.ensemble.config import EnsembleConfig
from cellseg.ensemble.evidence.cache import EvidenceCache
from cellseg.ensemble.evidence.pool import EvidencePool
from cellseg.ensemble.pipeline import check_members
from cellseg.ensemble.provenance import describe_members, versions
from cellseg.ensemble.settings import EnsembleSettings
from cellseg.ensemble.tuners import DEFAULT_TUNER, TUNERS
from cellseg.ensemble.tuning.images import fill_pool
from cellseg.ensemble.tuning.search import Search
from cellseg.errors import InputError
from cellseg.io.files import file_hash

Record = TypeVar("Record")


@dataclass(frozen=True)
class StudyOptions:
    """What is compared, and how.

    Attributes:
        tuners: names in ``TUNERS``; empty: all.
        seeds: every tuner runs with the seeds 0 to one less.
        budget: of each search, see ``Search``.
        split: of the data folder, to tune on.
        unseen: another split, to score on.
        images: how many of the images of each split, spread over it; 0: all.

    Raises:
        InputError: a value that cannot be used.
    """

    tuners: tuple[str, ...] = ()
    seeds: int = 5
    budget: int = 200
    split: str = "val"
    unseen: str = "test"
    images: int = 0

    def __post_init__(self) -> None:
        for name in self.tuners:
            if name not in TUNERS:
                raise InputError(f"--tuners: {name!r} is none of {', '.join(sorted(TUNERS))}")
        for name, least in (("seeds", 1), ("budget", 10), ("images", 0)):
            if getattr(self, name) < least:
                raise InputError(f"--{name} {getattr(self, name)}: expected {least} or more")
        if self.split == self.unseen:
            raise InputError(
                f"--unseen {self.unseen}: is the split to tune on; score images that the search did not see"
            )

    def names(self) -> list[str]:
        """The tuners, each once, sorted."""
        return sorted(set(self.tuners or TUNERS))


@dataclass(frozen=True)
class Scores:
    """Competition mAP of what a tuner found, a value for each seed.

    Attributes:
        tuned: on the images that were tuned on.
        unseen: on those that the search did not see.
    """

    tuned: tuple[float, ...]
    unseen: tuple[float, ...]


@dataclass(frozen=True)
class TunerStudy:
    """What the tuners reached.

    Attributes:
        options: of the study.
        start: equal weights with the thresholds of the config, one value each.
        rows: by tuner; the one that is best on unseen images first.
        images: how many images were tuned on, and how many were scored.
        provenance: versions, members, data, JSON-able.
    """

    options: StudyOptions
    start: Scores
    rows: dict[str, Scores]
    images: tuple[int, int]
    provenance: dict[str, Any]

    def table(self) -> str:
        """Means and standard deviations over the seeds as a Markdown table."""
        tuned, unseen = self.images
        lines = [
            f"| tuner | {self.options.split}, tuned on ({tuned} images) | {self.options.unseen}, not seen "
            f"({unseen} images) |",
            "|---|---|---|",
            f"| none: equal weights | {_spread(self.start.tuned)} | {_spread(self.start.unseen)} |",
        ]
        for name, row in self.rows.items():
            label = f"{name} (default)" if name == DEFAULT_TUNER else name
            lines.append(f"| {label} | {_spread(row.tuned)} | {_spread(row.unseen)} |")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """All values, JSON-able."""
        return {
            "budget": self.options.budget,
            "seeds": self.options.seeds,
            "splits": {"tuned": self.options.split, "unseen": self.options.unseen},
            "images": {"tuned": self.images[0], "unseen": self.images[1]},
            "start": {"tuned": self.start.tuned[0], "unseen": self.start.unseen[0]},
            "tuners": {name: {"tuned": list(row.tuned), "unseen": list(row.unseen)} for name, row in self.rows.items()},
            "provenance": self.provenance,
        }


def _spread(values: Sequence[float]) -> str:
    return f"{mean(values):.4f}" + (f" ± {stdev(values):.4f}" if len(values) > 1 else "")


def study_tuners(
    config: EnsembleConfig,
    options: StudyOptions,
    members: Sequence[str] | None = None,
    device: str | None = None,
    cache: str | Path | None = None,
) -> TunerStudy:
    """Tune an ensemble with every tuner and several seeds, and score what they found on another split.

    Args:
        config: the ensemble.
        options: of the study.
        members: names of the members that may vote; None: all.
        device: for all members, over what the config says.
        cache: folder for the members' answers; None: not kept.

    Raises:
        InputError: members or a data folder that cannot be used.
    """
    unknown = [name for name in members or () if name not in config.names]
    if unknown:
        raise InputError(f"{config.path}: no member {unknown[0]!r}; it has {', '.join(config.names)}")
    if not config.data_root:
        raise InputError(f"{config.path}: no data_root, the data folder to tune on")
    folder = DataFolder(config.data_root)
    splits = {name: folder.load_split(config.fold, name) for name in (options.split, options.unseen)}
    built = config.build(members, device)
    check_members(built)
    if tuple(built[0].class_names) != folder.class_names:
        raise InputError(f"{config.data_root}: has other cell types than the members were trained on")
    store = EvidenceCache(cache) if cache else None
    pools = {
        name: fill_pool(EvidencePool(built, config.fusion), folder, pick_images(records, options.images), store)
        for name, records in splits.items()
    }
    tuned, unseen = pools[options.split], pools[options.unseen]
    base = config.parse_settings(folder.class_names)
    provenance = {
        "versions": versions(),
        "members": describe_members(built),
        "fusion": config.fusion.to_dict(),
        "annotations": {name: file_hash(folder.split_file(config.fold, name)) for name in splits},
        "fold": config.fold,
    }
    start, rows = compare_tuners(tuned, unseen, base, options)
    return TunerStudy(options, start, rows, (len(tuned), len(unseen)), provenance)


def compare_tuners(
    tuned: EvidencePool, unseen: EvidencePool, base: EnsembleSettings, options: StudyOptions
) -> tuple[Scores, dict[str, Scores]]:
    """Scores of equal weights, and of every tuner, the best on unseen images first.

    Args:
        tuned: images to tune on.
        unseen: images to score, by the same members.
        base: settings to start from.
        options: of the study.

    Raises:
        InputError: one of the pools is empty.
    """
    for name, pool in ((options.split, tuned), (options.unseen, unseen)):
        if len(pool) == 0:
            raise InputError(f"the split {name!r} has no images")
    equal = {name: float(name in tuned.names) for name in base.members}
    first = replace(base, general=replace(base.general, weights=equal), types={})
    start = Scores((_mean(tuned, first),), (_mean(unseen, first),))
    searches = [(name, seed) for name in options.names() for seed in range(options.seeds)]
    found: dict[str, list[tuple[float, float]]] = {}
    with tqdm(desc="compare tuners", unit="candidate", disable=None) as bar:
        for done, (name, seed) in enumerate(searches):
            search = Search(tuned, base, name, options.budget, seed, bar.update)
            bar.total = bar.n + search.total() * (len(searches) - done)
            best = search.run().ensemble
            found.setdefault(name, []).append((best.after, _mean(unseen, best.settings)))
    rows = {name: Scores(*zip(*values, strict=True)) for name, values in found.items()}
    return start, dict(sorted(rows.items(), key=lambda row: (-mean(row[1].unseen), row[0])))


def _mean(pool: EvidencePool, settings: EnsembleSettings) -> float:
    return float(pool.score(settings).mean())


def pick_images(records: Sequence[Record], count: int) -> list[Record]:
    """``count`` of the images at even distances; all of them for 0 and where there are no more."""
    if not 0 < count < len(records):
        return list(records)
    return [records[int(index)] for index in np.linspace(0, len(records) - 1, count).round()]
