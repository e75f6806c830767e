"""Tables with a row a sample, jsonl or csv: image, text, numbers, label."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cellseg.errors import InputError
from cellseg.multimodal.data.files import file_in, find_file, find_images, open_root
from cellseg.multimodal.data.record import KINDS, Record, RecordSet, read_split, require_text
from cellseg.multimodal.data.tokenizer import TEXTS_APART

TABLE_FILES = ("labels.csv", "labels.jsonl", "data.csv", "data.jsonl", "train.csv", "train.jsonl")
# What columns are called where the user does not say.
USUAL = {
    "image": ("image", "file_name", "image_path"),
    "text": ("text", "caption", "sentence", "tweet"),
    "classification": ("label", "sentiment", "class"),
    "id": ("id",),
    "split": ("split",),
    "group": ("group_id",),
}
NAMED = ("classification", "domain", "environment")
NUMBERED = ("multilabel", "regression")
MATCHING = "matching"
_PAIRED = {"1": True, "true": True, "0": False, "false": False}
_LARGEST_FIELD = 2**31 - 1
Row = tuple[str, Mapping[str, Any]]


def read_table(
    data_root: str | None,
    table: str | None = None,
    images: str | None = None,
    inputs: Mapping[str, Any] | None = None,
    targets: Mapping[str, Any] | None = None,
    columns: Mapping[str, str] | None = None,
) -> RecordSet:
    """A csv or jsonl file with a row a sample. An empty field is a modality, or a target, that the row lacks.

    Args:
        data_root: the folder, or the file.
        table: its name; None: a usual one.
        images: folder of the images and arrays that rows name; None: ``images`` where it exists, else the folder.
        inputs: by modality the column of an image or text, a list of columns (tabular), or ``dict(kind, column)``,
            where the column of a text may be a list: texts with a separator between them, such as a question and its
            hint. None: ``image`` and ``text`` from columns with usual names.
        targets: ``classification``, ``domain``, ``environment``: a column of names; ``matching``: a column of 1 (text
            and image belong together) and 0; ``multilabel`` (0 or 1), ``regression``: a list of columns. None:
            ``classification`` from a column with a usual name.
        columns: those of ``id``, ``split`` and ``group``; by default ``id``, ``split`` and ``group_id`` where they
            exist.

    Raises:
        InputError, MissingFileError: what cannot be used; names file and line.
    """
    root = open_root(data_root)
    path, folder = find_file(root, table, TABLE_FILES, "table"), find_images(root, images)
    names, rows = read_rows(path)
    shown = _plan_inputs(inputs, names, path)
    wanted = plan_targets(targets, names, path)
    about = _plan_columns(columns, names, path)
    records = [_read_record(row, index, shown, wanted, about, folder) for index, row in enumerate(rows)]
    numbers = {name: tuple(column) for name, (kind, column) in shown.items() if kind == "tabular"}
    numbers |= {name: tuple(wanted[name]) for name in NUMBERED if name in wanted}
    kinds = {name: kind for name, (kind, _) in shown.items()}
    group_by = ("group",) if "group" in about else ("image",) if "image" in kinds.values() else ("row",)
    return RecordSet(records, kinds, numbers, group_by, str(path)).check()


def read_rows(path: Path) -> tuple[tuple[str, ...], list[Row]]:
    """Columns, and (place, values) of every row, of a csv or jsonl file; errors as ``read_table``."""
    if path.suffix.lower() == ".csv":
        return _read_csv(path)
    if path.suffix.lower() in (".jsonl", ".ndjson"):
        return _read_jsonl(path)
    raise InputError(f"{path}: expected a .csv or .jsonl file")


def _read_csv(path: Path) -> tuple[tuple[str, ...], list[Row]]:
    limit = csv.field_size_limit(_LARGEST_FIELD)
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            names = tuple(name.strip() for name in next(reader, ()))
            lines = [(reader.line_num, fields) for fields in reader if fields]
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a CSV file in UTF-8 ({error})") from error
    finally:
        csv.field_size_limit(limit)
    if not any(names):
        raise InputError(f"{path}: has no names of columns in its first line")
    double = sorted({name for name in names if names.count(name) > 1})
    if double:
        raise InputError(f"{path}: column {double[0]!r} stands in the header twice")
    for line, fields in lines:
        if len(fields) != len(names):
            raise InputError(f"{path}, line {line}: expected {len(names)} fields as in the header, found {len(fields)}")
    rows = ((line, [field if field else None for field in fields]) for line, fields in lines)
    return names, [(f"{path}, line {line}", dict(zip(names, fields, strict=True))) for line, fields in rows]


def _read_jsonl(path: Path) -> tuple[tuple[str, ...], list[Row]]:
    names: dict[str, None] = {}
    rows = []
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a text file in UTF-8 ({error.reason} at byte {error.start})") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{where}: not JSON ({error.msg})") from error
        if not isinstance(row, Mapping):
            raise InputError(f"{where}: expected an object, found {type(row).__name__}")
        names |= dict.fromkeys(row)
        rows.append((where, row))
    return tuple(names), rows


def _plan_inputs(
    inputs: Mapping[str, Any] | None, names: Sequence[str], path: Path
) -> dict[str, tuple[str, str | Sequence[str]]]:
    """Kind and column, or columns, by modality."""
    if inputs is None:
        usual = {name: _usual(name, names) for name in ("image", "text")}
        inputs = {name: column for name, column in usual.items() if column is not None}
    plan: dict[str, tuple[str, str | Sequence[str]]] = {}
    for name, given in inputs.items():
        kind, column = (given.get("kind"), given.get("column")) if isinstance(given, Mapping) else (None, given)
        if kind is None:
            kind = "tabular" if isinstance(column, list | tuple) else name
        if kind not in KINDS:
            raise InputError(
                f"options.inputs.{name}: kind {kind!r} is none of {', '.join(KINDS)}; give dict(kind, column)"
            )
        several = kind == "tabular" or (kind == "text" and isinstance(column, list | tuple))
        plan[name] = kind, _known(column, several, f"options.inputs.{name}", names, path)
    if not plan:
        raise InputError(f"{path}: no column for an input in {', '.join(names)}; name them with options.inputs")
    return plan


def plan_targets(targets: Mapping[str, Any] | None, names: Sequence[str], path: Path) -> dict[str, Any]:
    """Columns of every target; arguments and errors as ``read_table``."""
    if targets is None:
        column = _usual("classification", names)
        return {} if column is None else {"classification": column}
    expected = (*NAMED, MATCHING, *NUMBERED)
    unknown = sorted(set(targets) - set(expected))
    if unknown:
        raise InputError(f"options.targets.{unknown[0]}: unknown; expected are {', '.join(expected)}")
    return {
        name: _known(column, name in NUMBERED, f"options.targets.{name}", names, path)
        for name, column in targets.items()
    }


def _plan_columns(columns: Mapping[str, str] | None, names: Sequence[str], path: Path) -> dict[str, str]:
    unknown = sorted(set(columns or {}) - {"id", "split", "group"})
    if unknown:
        raise InputError(f"options.columns.{unknown[0]}: unknown; expected are id, split, group")
    usual = {name: _usual(name, names) for name in ("id", "split", "group")}
    given = {
        name: _known(column, False, f"options.columns.{name}", names, path) for name, column in (columns or {}).items()
    }
    return {name: column for name, column in (usual | given).items() if column is not None}


def _usual(name: str, names: Sequence[str]) -> str | None:
    return next((column for column in USUAL[name] if column in names), None)


def _known(column: Any, several: bool, option: str, names: Sequence[str], path: Path) -> Any:
    wanted = [column] if isinstance(column, str) else column
    if not isinstance(wanted, list | tuple) or not wanted or (not several and len(wanted) > 1):
        raise InputError(f"{option}: expected {'a list of columns' if several else 'a column'}, found {column!r}")
    missing = [name for name in wanted if name not in names]
    if missing:
        raise InputError(f"{path}: has no column {missing[0]!r} ({option}); it has {', '.join(names)}")
    return tuple(wanted) if several else wanted[0]


def _read_record(
    row: Row, index: int, shown: Mapping, wanted: Mapping, about: Mapping[str, str], folder: Path
) -> Record:
    where, values = row
    inputs = {name: _read_input(kind, column, values, folder, where) for name, (kind, column) in shown.items()}
    identity, group = (_read_name(values, about[name], where) if name in about else None for name in ("id", "group"))
    if "id" in about and identity is None:
        raise InputError(f"{where}: {about['id']} is empty")
    split = values.get(about["split"]) if "split" in about else None
    return Record(
        id=str(index) if identity is None else identity,
        inputs={name: value for name, value in inputs.items() if value is not None},
        targets=read_targets(values, wanted, where),
        split=None if split in (None, "") else read_split(split, where),
        group=group,
        where=where,
    )


def _read_input(kind: str, column: Any, values: Mapping[str, Any], folder: Path, where: str) -> Any:
    if kind == "tabular":
        return read_numbers(values, column, where)
    if kind == "text" and not isinstance(column, str):
        texts = [_read_input(kind, one, values, folder, where) for one in column]
        return TEXTS_APART.join(text or "" for text in texts) if any(texts) else None
    value = values.get(column)
    if value is None:
        return None
    if kind == "text":
        return require_text(value, where, column)
    return file_in(folder, value, where)


def read_numbers(values: Mapping[str, Any], columns: Sequence[str], where: str) -> np.ndarray | None:
    """The numbers of some columns, float32 ``[F]`` with NaN where a field is empty; None where all are.

    Raises:
        InputError: something else stands there, or a number that is not finite.
    """
    numbers = np.full(len(columns), np.nan, np.float32)
    for index, column in enumerate(columns):
        value = values.get(column)
        if value is None or str(value).strip().lower() in ("", "nan", "na"):
            continue
        # Python alone reads 1_000 as a number.
        if not isinstance(value, str | int | float) or "_" in str(value):
            raise InputError(f"{where}: {column}: expected a number, found {value!r}")
        try:
            numbers[index] = float(value)
        except (ValueError, OverflowError):
            pass
        if not np.isfinite(numbers[index]):
            raise InputError(f"{where}: {column}: expected a number, found {value!r}")
    return None if np.isnan(numbers).all() else numbers


def read_targets(values: Mapping[str, Any], wanted: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The targets that a row has, of the columns that ``plan_targets`` gave; errors as ``read_table``."""
    targets = {}
    for name, column in wanted.items():
        read = read_numbers if name in NUMBERED else _read_name
        targets[name] = read(values, column, where)
    if "multilabel" in wanted:
        _check_labels(targets["multilabel"], wanted["multilabel"], where)
    if targets.get(MATCHING) is not None:
        targets[MATCHING] = _read_paired(targets[MATCHING], wanted[MATCHING], where)
    return {name: value for name, value in targets.items() if value is not None}


def _check_labels(labels: np.ndarray | None, columns: Sequence[str], where: str) -> None:
    for value, column in zip([] if labels is None else labels, columns, strict=labels is not None):
        if value not in (0, 1) and not np.isnan(value):
            raise InputError(f"{where}: {column}: label {value:g} outside the classes 0 and 1")


def _read_paired(value: str, column: str, where: str) -> bool:
    if value.lower() not in _PAIRED:
        raise InputError(f"{where}: {column}: label {value!r} outside the classes 0 and 1")
    return _PAIRED[value.lower()]


def _read_name(values: Mapping[str, Any], column: str, where: str) -> str | None:
    """A name or number as text; None for an empty field.

    Raises:
        InputError: several, such as a list of labels.
    """
    value = values.get(column)
    if isinstance(value, list | tuple | Mapping | np.ndarray):
        raise InputError(f"{where}: {column}: expected a name or number, found {value!r}")
    text = "" if value is None else str(value).strip()
    return text or None
