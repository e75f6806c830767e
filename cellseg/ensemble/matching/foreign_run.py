"""Fusing the results of several programs: read, match, write, and score where the true cells are known."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from cellseg.datasets.paths import check_key
from cellseg.ensemble.matching.foreign import ForeignResult, Sizes, Source, read_results
from cellseg.ensemble.matching.match import MatchOptions, match_instances, tune_matching, weights_of
from cellseg.ensemble.provenance import versions
from cellseg.errors import InputError
from cellseg.io.files import atomic_path, file_hash, read_json, write_json
from cellseg.io.results import write_label_image
from cellseg.io.submission import read_truth, write_predictions
from cellseg.metrics import competition_map
from cellseg.structures import CropMasks, Instances

TOOL = "fuse_results"
RUN_FILE = "run.json"
FORMATS = ("submission", "labels")
COLUMNS = ("id", "cell", "score", "uncertainty", "area_px", "x0", "y0", "x1", "y1")
FUSED = "fused"
_LABEL_SUFFIXES = (".png", ".tif")
_TABLES = ("submission.csv", "instances.csv")


@dataclass(frozen=True)
class FusionJob:
    """What to fuse and how.

    Attributes:
        sources: the programs, with different names.
        sizes: (height, width) of each image, by id.
        options: of matching; their weights go by the names of the sources.
        missing: see ``read_results``.
        truth: table with true cells of some of the images; None: there is none.
        tune: find the options on the images of the truth.
        seed: of the tuning.
    """

    sources: Sequence[Source]
    sizes: Sizes
    options: MatchOptions = MatchOptions()
    missing: str = "error"
    truth: Path | None = None
    tune: bool = False
    seed: int = 0


@dataclass(frozen=True)
class FusedResults:
    """What came out.

    Attributes:
        found: the fused instances, by id of the image.
        results: what each program found, by its name.
        options: that were used.
        scores: competition mAP of each program, and as ``fused`` of the result, on the images with true cells; empty
            without a truth.
        scored: how many images these are.
        provenance: JSON-able; versions, hashes of the inputs, options.
    """

    found: dict[str, Instances]
    results: dict[str, ForeignResult]
    options: MatchOptions
    scores: dict[str, float]
    scored: int
    provenance: dict[str, Any]


def fuse_results(job: FusionJob) -> FusedResults:
    """Read the results of the programs and match them, image by image.

    Raises:
        InputError: programs, files or a truth that cannot be used.
    """
    names = [source.name for source in job.sources]
    if len(set(names)) < max(len(names), 2):
        raise InputError(f"expected the results of at least two programs with different names, got {names}")
    if FUSED in names:
        raise InputError(f"{FUSED!r} is the name of what comes out; give the program another one")
    weights = weights_of(names, job.options)
    truth = _read_truth(job)
    results = {source.name: read_results(source, job.sizes, job.missing) for source in job.sources}
    options = replace(job.options, weights=None)

    def found_in(key: str) -> list[Instances]:
        return [result.found[key] for result in results.values()]

    if job.tune:
        options, _ = tune_matching(
            [found_in(key) for key in truth], list(truth.values()), job.seed, start=options, weights=weights
        )
    fused = {
        key: match_instances(found_in(key), weights, options)
        for key in tqdm(job.sizes, desc="fuse", unit="image", disable=None)
    }
    by_name = {name: result.found for name, result in results.items()} | {FUSED: fused}
    scores = {
        name: competition_map([found[key].masks for key in truth], list(truth.values())).map
        for name, found in (by_name.items() if truth else ())
    }
    options = replace(options, weights=dict(zip(names, weights, strict=True)))
    return FusedResults(fused, results, options, scores, len(truth), _provenance(job, results, options))


def _read_truth(job: FusionJob) -> dict[str, CropMasks]:
    """True cells of the images that are fused, by id."""
    if job.truth is None:
        return {}
    truth = {key: image.masks for key, image in read_truth(job.truth).items() if key in job.sizes}
    if not truth:
        raise InputError(f"{job.truth}: has none of the images that are fused")
    for key, masks in truth.items():
        height, width = job.sizes[key]
        if masks.image_size != (height, width):
            raise InputError(
                f"{job.truth}: id {key!r} is {masks.image_size[1]} x {masks.image_size[0]} pixels (width x height) "
                f"there, its image {width} x {height}"
            )
    return truth


def _provenance(job: FusionJob, results: Mapping[str, ForeignResult], options: MatchOptions) -> dict[str, Any]:
    return {
        "tool": TOOL,
        "versions": versions(),
        "sources": {name: result.hash for name, result in results.items()},
        "missing": {name: list(result.missing) for name, result in results.items() if result.missing},
        "matching": options.to_dict(),
        "tuned_on": file_hash(job.truth) if job.tune and job.truth else None,
        "images": sorted(job.sizes),
    }


def files_to_replace(out: str | Path, overwrite: bool = False) -> list[Path]:
    """Make sure that results can be written into a folder, before the work begins.

    Args:
        out: the folder; it need not exist.
        overwrite: an earlier run of this command may be replaced.

    Returns:
        The files that the earlier run left.

    Raises:
        InputError: it is a file, or holds other files, or those of an earlier run and ``overwrite`` is not given.
    """
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; give a folder")
    if not out.is_dir() or not any(out.iterdir()):
        return []
    content = read_json(out / RUN_FILE) if (out / RUN_FILE).is_file() else None
    if not isinstance(content, dict) or content.get("tool") != TOOL or not isinstance(content.get("images"), list):
        raise InputError(f"{out}: holds files that are not of this command; give another folder")
    if not overwrite:
        raise InputError(f"{out}: holds the results of an earlier run; give another folder, or --overwrite")
    keys = [check_key(str(key)) for key in content["images"]]
    labels = [out / "labels" / f"{key}{suffix}" for key in keys for suffix in _LABEL_SUFFIXES]
    return [path for path in (*labels, *(out / name for name in _TABLES)) if path.is_file()]


def write_results(out: str | Path, fused: FusedResults, formats: Sequence[str], replaced: Sequence[Path] = ()) -> None:
    """Write what came out: ``run.json`` and ``instances.csv`` always, and some of ``FORMATS``.

    Args:
        out: the folder.
        fused: what to write.
        formats: which of ``FORMATS``.
        replaced: files that go first, see ``files_to_replace``.
    """
    out = Path(out)
    for path in replaced:
        path.unlink(missing_ok=True)
    write_json(out / RUN_FILE, fused.provenance)
    keys = sorted(fused.found)
    if "labels" in formats:
        for key in tqdm(keys, desc="labels", unit="image", disable=None):
            write_label_image(out / "labels" / key, fused.found[key])
    if "submission" in formats:
        write_predictions(out / "submission.csv", ((key, fused.found[key].masks) for key in keys))
    with atomic_path(out / "instances.csv") as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(row for key in keys for row in _rows(key, fused.found[key]))


def _rows(key: str, instances: Instances) -> Iterator[tuple[Any, ...]]:
    numbers = (instances.scores, instances.uncertainty, instances.masks.areas(), instances.boxes.int())
    for index, (score, doubt, area, box) in enumerate(zip(*(part.tolist() for part in numbers), strict=True)):
        yield (key, index + 1, f"{score:.6f}", f"{doubt:.6f}", area, *box)
