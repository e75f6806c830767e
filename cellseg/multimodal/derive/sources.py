"""Predicted cells to write about: a submission, or the results folder of ``tools/ensemble_infer.py``."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cellseg.datasets.masks_folder import ONE_TYPE
from cellseg.datasets.table import read_table
from cellseg.errors import InputError, MissingFileError
from cellseg.io.files import file_hash, read_json
from cellseg.io.submission import PREDICTION_COLUMNS
from cellseg.multimodal.derive.facts import known_types, make_instances
from cellseg.structures import CropMasks, Instances

RUN_FILE = "run.json"
_INSTANCES = "instances"
_LISTED = 5


@dataclass(frozen=True)
class Predictions:
    """Predicted cells by image.

    Attributes:
        path: where they come from, for messages.
        class_names: the types; a single generic one where the source knows none.
        scored: whether the scores are the ensemble's own.
        provenance: JSON-able.
    """

    path: Path
    class_names: tuple[str, ...]
    scored: bool
    provenance: dict
    _texts: Mapping[str, Sequence[tuple[int, str]]] | None

    @classmethod
    def open(cls, path: str | Path, class_names: Sequence[str] = (ONE_TYPE,)) -> "Predictions":
        """Open a source.

        Args:
            path: a table ``id,predicted``, or a folder with ``run.json`` and ``instances/``, which also knows types and
                scores.
            class_names: the types of the data; a table's cells get the type where there is only one.

        Raises:
            MissingFileError: there is no such file or folder.
            InputError: it is neither, or damaged.
        """
        path = Path(path)
        if path.is_dir():
            return _open_folder(path)
        texts = _read_rows(path)
        names = tuple(class_names) if len(class_names) == 1 else (ONE_TYPE,)
        return cls(path, names, False, {"submission_sha256": file_hash(path)}, texts)

    def keys(self) -> set[str]:
        """Ids of the images that have a result or a row."""
        if self._texts is not None:
            return set(self._texts)
        return {path.stem for path in (self.path / _INSTANCES).glob("*.json")}

    def check_keys(self, wanted: Sequence[str], remedy: str) -> None:
        """Refuse a source that says nothing about some of the images.

        Raises:
            InputError: names some of them, and what to do.
        """
        missing = sorted(set(wanted) - self.keys())
        if missing:
            more = f" and {len(missing) - _LISTED} more" if len(missing) > _LISTED else ""
            raise InputError(f"{self.path}: nothing about the image {', '.join(missing[:_LISTED])}{more}; {remedy}")

    def load(self, key: str, image_size: tuple[int, int]) -> Instances:
        """Cells of an image.

        Args:
            key: id of the image.
            image_size: (height, width) of the image.

        Raises:
            InputError: its masks are damaged or belong to an image of another size.
        """
        if self._texts is None:
            return self._load_file(key, image_size)
        masks = [CropMasks.empty(image_size)]
        rows = self._texts[key]
        for row, text in rows:
            if not text and len(rows) > 1:
                raise InputError(f"{self.path}: row {row}: id {key!r} is empty here, but has other rows; remove one")
            try:
                masks.append(CropMasks.from_rle([text] if text else [], image_size))
            except InputError as error:
                reason = str(error).removeprefix("instance 0: ")
                raise InputError(f"{self.path}: row {row}: id {key!r}: {reason}") from None
        return make_instances(CropMasks.cat(masks), None, self.class_names)

    def _load_file(self, key: str, image_size: tuple[int, int]) -> Instances:
        path = self.path / _INSTANCES / f"{key}.json"
        instances = _read_instances(path)
        if instances.image_size != tuple(image_size):
            (height, width), found = image_size, instances.image_size
            raise InputError(f"{path}: of an image of {found[1]} x {found[0]} pixels; the image is {width} x {height}")
        if instances.class_names != self.class_names:
            raise InputError(f"{path}: of other cell types than the other files of the folder; run the inference again")
        return instances


@dataclass(frozen=True)
class TypedCells:
    """Predicted cells with their types, also those of a table that lies in the results folder it was written to.

    Attributes:
        cells: the cells.
        beside: the results folder around the table, which knows types; None where there is none.
    """

    cells: Predictions
    beside: Predictions | None

    @classmethod
    def open(cls, path: str | Path, class_names: Sequence[str] = (ONE_TYPE,)) -> "TypedCells":
        """Open a source; arguments and errors as ``Predictions.open``."""
        cells, folder = Predictions.open(path, class_names), Path(path).parent
        if cells.scored or not ((folder / RUN_FILE).is_file() and (folder / _INSTANCES).is_dir()):
            return cls(cells, None)
        beside = _open_folder(folder)
        return cls(cells, beside if known_types(beside.class_names) else None)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The types."""
        return (self.beside or self.cells).class_names

    def check_keys(self, wanted: Sequence[str], remedy: str) -> None:
        """As ``Predictions.check_keys``."""
        self.cells.check_keys(wanted, remedy)

    def load(self, key: str, image_size: tuple[int, int]) -> Instances:
        """Cells of an image; arguments and errors as ``Predictions.load``.

        Raises:
            InputError: the folder has other cells than the table.
        """
        found = self.cells.load(key, image_size)
        if self.beside is None:
            return found
        if (self.beside.path / _INSTANCES / f"{key}.json").is_file():
            typed = self.beside.load(key, image_size)
        else:  # an image that the segmentation skipped has an empty row
            typed = make_instances(CropMasks.empty(image_size), None, self.class_names)
        # Masks without pixels have no row.
        if [text for text in typed.masks.to_rle() if text] != found.masks.to_rle():
            raise InputError(
                f"{self.cells.path}: other cells of {key!r} than in {self.beside.path / _INSTANCES}, which has their "
                "types; move the table elsewhere to do without types, or give the folder"
            )
        return typed


def _open_folder(path: Path) -> Predictions:
    if not (path / RUN_FILE).is_file():
        raise MissingFileError(f"{path}: not a results folder of ensemble_infer.py (it has no {RUN_FILE})")
    first = min((path / _INSTANCES).glob("*.json"), default=None)
    names = (ONE_TYPE,) if first is None else _read_instances(first).class_names
    run = read_json(path / RUN_FILE)
    if not isinstance(run, dict):
        raise InputError(f"{path / RUN_FILE}: damaged; run ensemble_infer.py again")
    return Predictions(path, names, True, {"ensemble": run}, None)


def _read_instances(path: Path) -> Instances:
    content = read_json(path)
    if isinstance(content, dict):
        content.pop("source", None)
    try:
        return Instances.from_dict(content)
    except InputError as error:
        raise InputError(f"{path}: {error}; run ensemble_infer.py again") from None


def _read_rows(path: Path) -> dict[str, list[tuple[int, str]]]:
    """Row and run-length text of every mask by id."""
    columns, rows = read_table(path, PREDICTION_COLUMNS)
    texts: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for row, fields in rows:
        if len(fields) != len(columns):
            raise InputError(f"{path}: row {row}: {len(fields)} fields, but the header has {len(columns)} columns")
        named = dict(zip(columns, fields, strict=True))
        if not named["id"].strip():
            raise InputError(f"{path}: row {row}: the id is empty")
        texts[named["id"]].append((row, named["predicted"].strip()))
    return dict(texts)
