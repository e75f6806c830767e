"""A run over many images: results as they come, bad images skipped, continued after an interruption."""

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from cellseg.ensemble.provenance import hash_json
from cellseg.errors import CellsegError, InputError, MissingFileError
from cellseg.io.files import atomic_path, file_hash, read_json, write_json
from cellseg.io.images import read_image, to_rgb
from cellseg.io.results import write_cells, write_label_image, write_picture
from cellseg.io.submission import write_predictions
from cellseg.structures import CropMasks, Instances
from cellseg.visualization.overlays import draw_outlines

RUN_FILE = "run.json"
INSTANCE_COLUMNS = ("id", "cell", "type", "score", "uncertainty", "area_px", "x0", "y0", "x1", "y1")


def _write_labels(folder: Path, key: str, instances: Instances, image: np.ndarray) -> None:
    write_label_image(folder / key, instances)


def _write_overlay(folder: Path, key: str, instances: Instances, image: np.ndarray) -> None:
    write_picture(folder / f"{key}.png", draw_outlines(image, instances.masks))


def _write_cells(folder: Path, key: str, instances: Instances, image: np.ndarray) -> None:
    write_cells(folder / f"{key}.csv", key, instances, image)


# Formats with a file per image, in a folder of the format's name, and the suffixes that such a file may have.
_PER_IMAGE: dict[str, tuple[Callable[[Path, str, Instances, np.ndarray], None], tuple[str, ...]]] = {
    "labels": (_write_labels, (".png", ".tif")),
    "overlay": (_write_overlay, (".png",)),
    "cells": (_write_cells, (".csv",)),
}
FORMATS = ("submission", *_PER_IMAGE)


@dataclass(frozen=True)
class RunReport:
    """What a run did.

    Attributes:
        images: how many have a result.
        instances: how many there are in all images.
        reused: how many results were there from an earlier run.
        skipped: id and reason of the images without a result.
    """

    images: int
    instances: int
    reused: int
    skipped: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class _Result:
    """What there is of one image before it is written; ``image`` is None where nothing needs it."""

    instances: Instances
    source: str
    image: np.ndarray | None
    missing: list[str]
    reused: bool


class FolderRun:
    """Results of one ensemble with one set of settings in one folder.

    ``instances/ID.json`` appears as each image is done, and is what a later run with the same settings continues from;
    ``instances.csv``, ``submission.csv`` and ``skipped.csv`` are put together at the end.

    Args:
        out: the folder.
        provenance: JSON-able; everything that decides about the results, except the images themselves.
        formats: some of ``FORMATS``.
        overwrite: start afresh when the folder holds a run with other settings.

    Raises:
        InputError: an unknown format, or the folder holds a run with other settings.
    """

    def __init__(self, out: str | Path, provenance: Mapping[str, Any], formats: Sequence[str], overwrite: bool = False):
        unknown = [name for name in formats if name not in FORMATS]
        if unknown:
            raise InputError(f"--formats {unknown[0]}: known are {', '.join(FORMATS)}")
        self.out = Path(out)
        self._provenance = dict(provenance)
        self._hash = hash_json(self._provenance)
        self._formats = [name for name in FORMATS if name in formats]
        if (self.out / RUN_FILE).is_file():
            if overwrite:
                self._clear()
            else:
                self._check_same()
        elif self.out.exists() and not self.out.is_dir():
            raise InputError(f"{self.out}: is a file; give a folder")
        write_json(self.out / RUN_FILE, self._provenance)

    def run(
        self,
        images: Sequence[tuple[str, Path]],
        predict: Callable[[np.ndarray], Instances],
        skipped: Iterable[tuple[str, str]] = (),
    ) -> RunReport:
        """Segment images.

        Args:
            images: id and path of each.
            predict: from an image uint8 ``[H, W, 3]`` to its instances.
            skipped: id and reason of what is known to be no image; it is listed with the others.
        """
        left_out = list(skipped)
        done: list[str] = []
        reused = 0
        for key, path in tqdm(images, desc="images", unit="image", disable=None):
            try:
                result = self._look(key, path, predict)
            except (CellsegError, OSError, RuntimeError, MemoryError) as error:
                # RuntimeError is what torch raises for an image that does not fit the memory or the network.
                self._remove(key)
                left_out.append((key, " ".join(str(error).split()) or type(error).__name__))
                continue
            self._keep(key, result)
            done.append(key)
            reused += result.reused
        keys = [key for key, _ in images] + [key for key, _ in skipped]
        instances = self._finish(sorted(set(keys)), set(done), left_out)
        return RunReport(len(done), instances, reused, tuple(left_out))

    def _look(self, key: str, path: Path, predict: Callable[[np.ndarray], Instances]) -> _Result:
        """Instances of an image, stored ones where they are of the same image by the same ensemble."""
        if not path.is_file():
            raise MissingFileError(f"{path}: no such file")
        source = hash_json([self._hash, file_hash(path)])
        instances = self._load(key, source)
        reused = instances is not None
        missing = [name for name in self._formats if name in _PER_IMAGE and not (reused and self._has(name, key))]
        image = None if reused and not missing else to_rgb(read_image(path))
        return _Result(predict(image) if instances is None else instances, source, image, missing, reused)

    def _keep(self, key: str, result: _Result) -> None:
        """Write what is missing of an image's results."""
        try:
            for name in result.missing:
                _PER_IMAGE[name][0](self.out / name, key, result.instances, result.image)
            if not result.reused:
                # Last: a file here says that everything of this image is complete.
                content = {"source": result.source, **result.instances.to_dict()}
                write_json(self._file(key), content, indent=None)
        except OSError as error:
            # Not the image's fault: the next one would fail as well.
            raise InputError(f"{self.out}: results cannot be written ({error.strerror})") from error

    def _load(self, key: str, source: str) -> Instances | None:
        """Stored instances of the same image by the same ensemble, else None; a damaged file counts as none."""
        try:
            content = read_json(self._file(key))
            if not isinstance(content, dict) or content.pop("source", None) != source:
                return None
            return Instances.from_dict(content)
        except InputError:
            return None

    def _finish(self, keys: Sequence[str], done: set[str], skipped: Sequence[tuple[str, str]]) -> int:
        """Write the tables over all images; returns the number of instances."""
        rows: list[tuple[Any, ...]] = []
        for key in keys:
            rows += _instance_rows(key, self._stored(key)) if key in done else []
        _write_table(self.out / "instances.csv", INSTANCE_COLUMNS, rows)
        if "submission" in self._formats:
            write_predictions(self.out / "submission.csv", self._masks(keys, done))
        if skipped:
            _write_table(self.out / "skipped.csv", ("id", "reason"), sorted(skipped))
        else:
            (self.out / "skipped.csv").unlink(missing_ok=True)
        return len(rows)

    def _stored(self, key: str) -> Instances:
        content = read_json(self._file(key))
        content.pop("source")
        return Instances.from_dict(content)

    def _masks(self, keys: Sequence[str], done: set[str]) -> Iterator[tuple[str, CropMasks]]:
        for key in keys:
            yield key, self._stored(key).masks if key in done else CropMasks.empty((1, 1))

    def _file(self, key: str) -> Path:
        return self.out / "instances" / f"{key}.json"

    def _has(self, name: str, key: str) -> bool:
        return any((self.out / name / f"{key}{suffix}").is_file() for suffix in _PER_IMAGE[name][1])

    def _remove(self, key: str) -> None:
        """Take away what an earlier run left of an image that has no result now."""
        self._file(key).unlink(missing_ok=True)
        for name, (_, suffixes) in _PER_IMAGE.items():
            for suffix in suffixes:
                (self.out / name / f"{key}{suffix}").unlink(missing_ok=True)

    def _clear(self) -> None:
        """Remove the files of the earlier run, and nothing else."""
        for path in (self.out / "instances").glob("*.json"):
            self._remove(path.stem)
        for name in (RUN_FILE, "instances.csv", "submission.csv", "skipped.csv"):
            (self.out / name).unlink(missing_ok=True)

    def _check_same(self) -> None:
        different = differences(read_json(self.out / RUN_FILE), self._provenance)
        if different:
            shown = ", ".join(different[:5]) + (f" and {len(different) - 5} more" if len(different) > 5 else "")
            raise InputError(
                f"{self.out}: holds a run with other settings (different: {shown}); "
                "give another folder, or --overwrite to start afresh"
            )


def _write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


def differences(a: Any, b: Any, place: str = "") -> list[str]:
    """Dotted names of what differs between two JSON-able values."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        keys = sorted(set(a) | set(b))
        return [
            found
            for key in keys
            for found in differences(a.get(key), b.get(key), f"{place}.{key}" if place else str(key))
        ]
    return [] if a == b else [place or "everything"]


def _instance_rows(key: str, instances: Instances) -> list[tuple[Any, ...]]:
    areas = instances.masks.areas().tolist()
    boxes = instances.boxes.int().tolist()
    scores, labels = instances.scores.tolist(), instances.labels.tolist()
    unsure = [""] * len(scores)
    if instances.uncertainty is not None:
        unsure = [f"{value:.6f}" for value in instances.uncertainty.tolist()]
    return [
        (key, index + 1, instances.class_names[label], f"{score:.6f}", doubt, area, *box)
        for index, (label, score, doubt, area, box) in enumerate(zip(labels, scores, unsure, areas, boxes, strict=True))
    ]
