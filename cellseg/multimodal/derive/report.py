"""A report about segmented images: one page, a table of cells, and the same as JSON."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from cellseg.ensemble.inputs import Inputs, find_inputs
from cellseg.ensemble.provenance import versions
from cellseg.errors import CellsegError, InputError
from cellseg.io.files import atomic_path, file_hash, write_json, write_text
from cellseg.io.images import read_image, to_rgb
from cellseg.io.results import CELL_COLUMNS, measure_cells
from cellseg.multimodal.derive.facts import ImageFacts, known_types, measure_facts
from cellseg.multimodal.derive.page import Page, PageImage, render_page
from cellseg.multimodal.derive.phrases import caption, check_types, slots_of
from cellseg.multimodal.derive.pictures import draw_pair
from cellseg.multimodal.derive.sentences import describe_image, describe_images, total_types
from cellseg.multimodal.derive.sources import Predictions
from cellseg.structures import Instances

FORMAT = "cellseg report 1"
PAGE = "report.html"
VALUES = "report.json"
CELLS = "cells.csv"


@dataclass(frozen=True)
class ReportOptions:
    """How the page looks.

    Attributes:
        title: above the page.
        pictures: how many images are shown at most, evenly over all; the tables have all.
        side: longer side of a picture in pixels.
    """

    title: str = "Cell segmentation report"
    pictures: int = 60
    side: int = 640

    def check(self) -> None:
        """Raise InputError for a value that cannot be used."""
        if not self.title.strip() or not self.title.isprintable():
            raise InputError(f"--title {self.title!r}: expected a line of text")
        if self.pictures < 0:
            raise InputError(f"--pictures {self.pictures}: expected 0 or more")
        if not 64 <= self.side <= 4096:
            raise InputError(f"--side {self.side}: expected 64 to 4096 pixels")


@dataclass(frozen=True)
class ReportResult:
    """What a report is about.

    Attributes:
        images, cells: how many.
        skipped: id and reason of images that are not in it.
        passed_over: how many images the predictions have beside those of the input.
    """

    images: int
    cells: int
    skipped: tuple[tuple[str, str], ...]
    passed_over: int


@dataclass(frozen=True)
class _Measured:
    """An image of the report."""

    facts: ImageFacts
    rows: list[dict[str, Any]]
    scores: list[float] | None
    hash: str


def write_report(
    source: str,
    submission: str | Path,
    out: str | Path,
    fold: int = 0,
    options: ReportOptions | None = None,
    skipped: Mapping[str, str] | None = None,
) -> ReportResult:
    """Write ``report.html``, ``report.json`` and ``cells.csv``.

    Args:
        source: the images, see ``find_inputs``.
        submission: their cells, see ``Predictions.open``.
        out: folder for the three files; each is complete or absent.
        fold: of the data folder, where the source is a split of one.
        options: None for the defaults.
        skipped: reason by id, of images that are known to have no result.

    Raises:
        MissingFileError: images or predictions do not exist.
        InputError: an option or the predictions cannot be used, or no image is left.
    """
    options = options or ReportOptions()
    options.check()
    if Path(out).exists() and not Path(out).is_dir():
        raise InputError(f"{out}: is a file; give a folder")
    inputs = find_inputs(source, fold)
    predictions = Predictions.open(submission)
    types = known_types(predictions.class_names)
    check_types(types)
    left_out = dict(inputs.skipped) | dict(skipped or {})
    images = _with_result(inputs, predictions, left_out)
    shown = _spread([key for key, _ in images], options.pictures)
    measured: dict[str, _Measured] = {}
    pictures: dict[str, Any] = {}
    for key, path in tqdm(images, desc="report", unit="image", disable=None):
        try:
            image = to_rgb(read_image(path))
        except (CellsegError, OSError) as error:
            left_out[key] = str(error)
            continue
        instances = _without_empty(predictions.load(key, image.shape[:2]))
        measured[key] = _measure(key, instances, image, predictions.scored, file_hash(path))
        if key in shown:
            pictures[key] = draw_pair(image, instances, options.side, by_type=len(types) > 1)
    if not measured:
        first, reason = next(iter(sorted(left_out.items())))
        raise InputError(f"{source}: nothing to report, {len(left_out)} images were skipped; {first}: {reason}")
    skips = tuple(sorted(left_out.items()))
    values = _values(measured, skips, predictions)
    page = Page(
        title=options.title,
        sentences=tuple(values["overall"]["sentences"]),
        images=tuple(
            PageImage(
                one.facts, tuple(values["images"][place]["sentences"]), _areas(one), one.scores, pictures.get(key)
            )
            for place, (key, one) in enumerate(measured.items())
        ),
        types=types,
        skipped=skips,
        provenance=values["provenance"],
    )
    _write_cells(Path(out) / CELLS, measured, predictions.scored, bool(types))
    write_json(Path(out) / VALUES, values)
    write_text(Path(out) / PAGE, render_page(page))
    cells = sum(one.facts.count for one in measured.values())
    others = len(predictions.keys() - {key for key, _ in inputs.images})
    return ReportResult(len(measured), cells, skips, others)


def _with_result(inputs: Inputs, predictions: Predictions, left_out: dict[str, str]) -> list[tuple[str, Path]]:
    """Images that the predictions say something about.

    A submission has a row for every image, so a missing one is a mistake; a results folder lacks those that the
    segmentation skipped.
    """
    images = [(key, path) for key, path in inputs.images if key not in left_out]
    if not predictions.scored:
        predictions.check_keys([key for key, _ in images], "give the images that it was made for")
        return images
    known = predictions.keys()
    for key, _ in images:
        if key not in known:
            left_out[key] = "the results folder has nothing about it"
    return [(key, path) for key, path in images if key in known]


def _spread(keys: Sequence[str], count: int) -> set[str]:
    """Up to ``count`` of the keys, evenly spread over them."""
    count = min(count, len(keys))
    return {keys[place * len(keys) // count] for place in range(count)}


def _without_empty(instances: Instances) -> Instances:
    return instances[instances.masks.areas() > 0]


def _measure(key: str, instances: Instances, image: np.ndarray, scored: bool, digest: str) -> _Measured:
    rows = measure_cells(key, instances, image)
    scores = instances.scores.tolist() if scored else None
    return _Measured(measure_facts(key, instances, rows=rows), rows, scores, digest)


def _areas(one: _Measured) -> list[int]:
    return [row["area_px"] for row in one.rows]


def _values(
    measured: Mapping[str, _Measured], skipped: Sequence[tuple[str, str]], predictions: Predictions
) -> dict[str, Any]:
    """Content of ``report.json``."""
    facts = [one.facts for one in measured.values()]
    return {
        "format": FORMAT,
        "overall": {
            "images": len(facts),
            "cells": sum(one.count for one in facts),
            "types": total_types(facts),
            "confluence_median": round(float(np.median([one.confluence for one in facts])), 6),
            "sentences": describe_images(facts),
        },
        "images": [
            {
                **one.facts.to_dict(),
                "score_median": round(float(np.median(one.scores)), 6) if one.scores else None,
                "caption": caption(slots_of(one.facts), "report", key),
                "sentences": describe_image(one.facts, one.scores),
                "image_sha256": one.hash,
            }
            for key, one in measured.items()
        ],
        "skipped": [{"id": key, "reason": reason} for key, reason in skipped],
        "provenance": {"versions": versions(), **predictions.provenance},
    }


def _write_cells(path: Path, measured: Mapping[str, _Measured], scored: bool, typed: bool) -> None:
    """The table of all cells; a type or score that nobody knows is left empty."""
    unknown = {name: None for name, known in (("score", scored), ("type", typed)) if not known}
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(CELL_COLUMNS), lineterminator="\n")
        writer.writeheader()
        for one in measured.values():
            for row in one.rows:
                writer.writerow({name: _text(value) for name, value in {**row, **unknown}.items()})


def _text(value: str | int | float | None) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else str(value)
