"""Class probabilities of one model by sample: from its work folder, or from an npz or csv file."""

import csv
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cellseg.errors import InputError, MissingFileError
from cellseg.io.files import atomic_path, file_hash
from cellseg.multimodal.data.description import NAMES_OF_TASK

UNKNOWN = -1  # label of a sample whose class is not known
_SUM_TOLERANCE = 1e-3
_ABOUT = ("id", "split", "label", "group")


@dataclass(frozen=True)
class ProbabilityTable:
    """What one model says of samples.

    Attributes:
        name: of the model.
        class_names: K of them.
        ids: of N samples, each once.
        splits: of each sample, ``train``, ``val`` or ``test``; other names are as good.
        labels: int64 ``[N]``, the true class or ``UNKNOWN``.
        groups: of each sample; samples of one group are no independent evidence.
        probabilities: float64 ``[N, K]``; rows sum to 1.
        features: float ``[N, C]``, what classical classifiers may learn from, or None.
        source: where it comes from, for the weights file.

    Raises:
        InputError: a class or id twice, a number that is no probability, or a row that does not sum to 1.
    """

    name: str
    class_names: tuple[str, ...]
    ids: tuple[str, ...]
    splits: tuple[str, ...]
    labels: np.ndarray
    groups: tuple[str, ...]
    probabilities: np.ndarray
    features: np.ndarray | None = None
    source: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for what, names in (("class", self.class_names), ("id", self.ids)):
            double = _first_double(names)
            if double is not None:
                raise InputError(f"{self.name}: {what} {double!r} stands there twice")
        expected = (len(self.ids), len(self.class_names))
        if self.probabilities.shape != expected or len(self.class_names) < 2:
            raise InputError(
                f"{self.name}: expected a probability for each of {expected[0]} samples and {expected[1]} classes "
                f"(two or more), found {list(self.probabilities.shape)}"
            )
        _check_rows(self.name, self.ids, self.probabilities)

    def take(self, ids: Sequence[str], class_names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities and labels of these samples, classes in this order.

        Raises:
            InputError: it has other classes, or lacks a sample.
        """
        if sorted(class_names) != sorted(self.class_names):
            raise InputError(
                f"{self.name}: has the classes {', '.join(self.class_names)}, and others have "
                f"{', '.join(class_names)}; fuse models of one list of classes"
            )
        place = {identity: row for row, identity in enumerate(self.ids)}
        missing = [identity for identity in ids if identity not in place]
        if missing:
            raise InputError(
                f"{self.name}: has no sample {missing[0]!r}, which others have; fuse models of one data set"
            )
        rows = np.array([place[identity] for identity in ids], dtype=np.int64)
        columns = [self.class_names.index(name) for name in class_names]
        number = np.array([columns.index(index) for index in range(len(columns))] + [UNKNOWN])
        return self.probabilities[rows][:, columns], number[self.labels[rows]]

    def ids_of(self, split: str) -> list[str]:
        """Samples of a split, in their order."""
        return [identity for identity, own in zip(self.ids, self.splits, strict=True) if own == split]


def _first_double(names: Sequence[str]) -> str | None:
    seen: set[str] = set()
    return next((name for name in names if name in seen or seen.add(name)), None)


def _check_rows(name: str, ids: Sequence[str], probabilities: np.ndarray) -> None:
    for wrong, text in (
        (np.isnan(probabilities).any(axis=1), "a probability is NaN"),
        (((probabilities < 0) | (probabilities > 1 + _SUM_TOLERANCE)).any(axis=1), "a probability is outside 0 to 1"),
        (np.abs(probabilities.sum(axis=1) - 1) > _SUM_TOLERANCE, "the probabilities do not sum to 1"),
    ):
        if wrong.any():
            row = int(np.argmax(wrong))
            raise InputError(f"{name}: sample {ids[row]!r}: {text} ({probabilities[row].tolist()})")


def read_probabilities(path: str | Path, name: str | None = None) -> ProbabilityTable:
    """Read an npz or csv file.

    An npz holds ``ids``, ``splits`` and ``labels`` ``[N]`` (names of classes, empty where unknown), ``class_names``
    ``[K]`` and ``probabilities`` ``[N, K]``, perhaps ``groups`` ``[N]`` and ``features`` ``[N, C]``. A csv has the
    columns ``id``, ``split``, ``label``, perhaps ``group``, and one for each class.

    Raises:
        MissingFileError: there is no such file.
        InputError: it has another form; names what is wrong.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file")
    content = _read_csv(path) if path.suffix.lower() == ".csv" else _read_npz(path)
    ids, classes = ([str(value) for value in content[key]] for key in ("ids", "class_names"))
    columns = {key: [str(value) for value in content.get(key, ids)] for key in ("splits", "labels", "groups")}
    for key, values in columns.items():
        if len(values) != len(ids):
            raise InputError(f"{path}: {key}: expected one for each of {len(ids)} ids, found {len(values)}")
    places = {label: index for index, label in enumerate(classes)} | {"": UNKNOWN}
    unknown = [label for label in columns["labels"] if label not in places]
    if unknown:
        raise InputError(f"{path}: label {unknown[0]!r} outside the classes {', '.join(classes)}")
    groups = [group or identity for group, identity in zip(columns["groups"], ids, strict=True)]
    return ProbabilityTable(
        name or path.stem,
        tuple(classes),
        tuple(ids),
        tuple(columns["splits"]),
        np.array([places[label] for label in columns["labels"]], dtype=np.int64),
        tuple(groups),
        np.asarray(content["probabilities"], np.float64),
        content.get("features"),
        {"file": path.name, "sha256": file_hash(path)},
    )


def save_probabilities(path: str | Path, table: ProbabilityTable) -> None:
    """Write an npz that ``read_probabilities`` reads."""
    names = np.array([*table.class_names, ""])
    content = {
        "ids": np.array(table.ids),
        "splits": np.array(table.splits),
        "labels": names[table.labels],
        "groups": np.array(table.groups),
        "class_names": np.array(table.class_names),
        "probabilities": table.probabilities,
    }
    if table.features is not None:
        content["features"] = table.features
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, **content)


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            content = {key: file[key] for key in file.files}
    except (OSError, ValueError, zipfile.BadZipFile, AttributeError) as error:
        raise InputError(f"{path}: expected a .csv or .npz file of probabilities ({error})") from error
    missing = [key for key in ("ids", "splits", "labels", "class_names", "probabilities") if key not in content]
    if missing:
        raise InputError(f"{path}: has no array {missing[0]!r}; it has {', '.join(content) or 'none'}")
    for key in ("ids", "splits", "labels", "groups", "class_names"):
        if key in content and content[key].ndim != 1:
            raise InputError(f"{path}: {key}: expected a list of names, found an array {list(content[key].shape)}")
    for key in ("probabilities", "features"):
        if key in content and content[key].dtype.kind not in "fiub":
            raise InputError(f"{path}: {key}: expected numbers, found {content[key].dtype}")
    return content


def _read_csv(path: Path) -> dict[str, Any]:
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True, restkey="")
            names, rows = list(reader.fieldnames or ()), list(reader)
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a CSV file in UTF-8 ({error})") from error
    missing = [name for name in ("id", "split", "label") if name not in names]
    if missing:
        raise InputError(f"{path}: has no column {missing[0]!r}; it has {', '.join(names) or 'none'}")
    classes = [name for name in names if name not in _ABOUT]
    content: dict[str, Any] = {"class_names": classes}
    for key, column in (("ids", "id"), ("splits", "split"), ("labels", "label"), ("groups", "group")):
        if column in names:
            content[key] = [row[column] or "" for row in rows]
    content["probabilities"] = np.array([_numbers(row, classes, path, line) for line, row in enumerate(rows, 2)])
    return content


def _numbers(row: Mapping[str, str], classes: Sequence[str], path: Path, line: int) -> list[float]:
    try:
        return [float(row[name]) for name in classes]
    except (TypeError, ValueError):
        raise InputError(f"{path}, line {line}: expected a number for each of {', '.join(classes)}") from None


def probabilities_of(
    work_dir: str | Path,
    splits: Sequence[str],
    task: str = "classification",
    name: str | None = None,
    features: bool = False,
    device: str | None = None,
    unsafe_load: bool = False,
) -> ProbabilityTable:
    """What a trained model says of the splits of the data that it was trained on.

    Args:
        work_dir: of the training.
        splits: that are predicted.
        task: whose answer is one class: classification, domain or environment.
        name: of the model; None: that of the folder.
        features: whether its fused representation comes along.
        device, unsafe_load: see ``predict.load_trained``.

    Raises:
        InputError, MissingFileError: a folder, task or split that cannot be used.
    """
    # Not before: torch and mmengine take seconds to import, and probability files need neither.
    from cellseg.multimodal.comparison.predictions import open_trained, predict_split

    work_dir = Path(work_dir)
    if task not in NAMES_OF_TASK:
        raise InputError(f"--task {task}: expected a task of one class, one of {', '.join(NAMES_OF_TASK)}")
    trained = open_trained(work_dir, device, unsafe_load)
    if task not in trained.predictor.model.heads:
        raise InputError(f"{work_dir}: has no task {task!r}; it has {', '.join(trained.predictor.model.heads)}")
    rows, own, vectors = [], [], []
    for split in dict.fromkeys(splits):
        predictions = predict_split(trained, split, features)
        found = predictions.rows.get(task, ())
        rows += found
        own += [split] * len(found)
        vectors += [predictions.features[row.id] for row in found] if features else []
    weights = work_dir / "best.pth"
    return ProbabilityTable(
        name or work_dir.name,
        tuple(trained.predictor.description.names_of(task)),
        tuple(row.id for row in rows),
        tuple(own),
        np.array([row.truth for row in rows], dtype=np.int64),
        tuple(row.group for row in rows),
        np.array([row.prediction["probabilities"] for row in rows], dtype=np.float64),
        np.stack(vectors) if vectors else None,
        {"file": weights.name, "sha256": file_hash(weights)},
    )
