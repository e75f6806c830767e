"""Feature tables, one a modality, joined by id: npz, csv, jsonl and parquet."""

import zipfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cellseg.errors import InputError
from cellseg.multimodal.data.files import find_file, open_root
from cellseg.multimodal.data.record import Record, RecordSet, read_split
from cellseg.multimodal.data.table import NUMBERED, Row, plan_targets, read_numbers, read_rows, read_targets

# Dimensions of an array of all rows' values, and what they are then.
KIND_OF_DIMENSIONS = {2: "tabular", 3: "sequence", 4: "image", 5: "volume"}
# Columns of the labels: of tables in general it is group_id.
_SPLIT, _GROUPS = "split", ("group", "group_id")


@dataclass(frozen=True)
class FeatureTable:
    """One modality of all rows: ``values`` by id, with file and row of each in ``where``."""

    kind: str
    names: tuple[str, ...]
    values: Mapping[str, np.ndarray]
    where: Mapping[str, str]


def read_features(
    data_root: str | None,
    tables: Mapping[str, str] | None = None,
    labels: str | None = None,
    targets: Mapping[str, Any] | None = None,
    id_column: str = "id",
) -> RecordSet:
    """Feature tables joined by id. An id that a table lacks is a record without that modality.

    An npz holds ``ids`` ``[N]`` and ``values``: ``[N, F]`` (tabular), ``[N, T, C]`` (sequence, with ``lengths``
    ``[N]`` where rows end earlier), ``[N, 3, H, W]`` (image) or ``[N, C, D, H, W]`` (volume); of tabular ones NaN is
    unknown and ``names`` ``[F]`` may name them. The other forms hold a column of ids and one for each feature.

    Args:
        data_root: the folder of the files.
        tables: file of each modality.
        labels: a csv, jsonl or parquet file with the ids and targets, and the columns ``split`` and ``group`` where
            they are wanted; its rows are the records. None: every id of any table is a record.
        targets: columns of ``labels``, see ``read_table``.
        id_column: the column of ids in csv, jsonl and parquet files.

    Raises:
        InputError, MissingFileError: what cannot be used; names file and row.
    """
    root = open_root(data_root)
    if not isinstance(tables, Mapping) or not tables:
        raise InputError(f"options.tables: expected a file for each modality, found {tables!r}")
    read = {name: read_feature_table(find_file(root, file, (), "tables"), id_column) for name, file in tables.items()}
    if labels is None:
        ids = dict.fromkeys(identity for table in read.values() for identity in table.values)
        rows = {identity: Record(identity, {}, where=f"{root}, id {identity}") for identity in ids}
        names = {}
    else:
        rows, names = _read_labels(find_file(root, labels, (), "labels"), targets, id_column)
    records = []
    for identity, row in rows.items():
        inputs = {name: table.values[identity] for name, table in read.items() if identity in table.values}
        if not inputs:
            raise InputError(f"{row.where}: id {identity!r} stands in none of {', '.join(tables.values())}")
        records.append(Record(identity, inputs, row.targets, split=row.split, group=row.group, where=row.where))
    names |= {name: table.names for name, table in read.items() if table.kind == "tabular"}
    group_by = ("group",) if any(record.group is not None for record in records) else ("row",)
    return RecordSet(records, {name: table.kind for name, table in read.items()}, names, group_by, str(root)).check()


def read_feature_table(path: Path, id_column: str = "id") -> FeatureTable:
    """One table; errors as ``read_features``."""
    if path.suffix.lower() == ".npz":
        return _read_npz(path)
    names, rows = read_any_rows(path)
    features = tuple(name for name in names if name != id_column)
    values, places = {}, {}
    for where, row in rows:
        identity = _identity(row, id_column, where, places)
        numbers = read_numbers(row, features, where)
        places[identity] = where
        # A row without any number is a modality that is missing there.
        if numbers is not None:
            values[identity] = numbers
    return FeatureTable("tabular", features, values, places)


def read_any_rows(path: Path) -> tuple[tuple[str, ...], list[Row]]:
    """Columns and rows of a csv, jsonl or parquet file; errors as ``read_features``."""
    if path.suffix.lower() != ".parquet":
        return read_rows(path)
    import pandas

    try:
        frame = pandas.read_parquet(path)
    except ImportError as error:
        raise InputError(f"{path}: parquet files need the package pyarrow; install it or write a csv") from error
    except Exception as error:  # readers of damaged files raise in many ways
        raise InputError(f"{path}: not a parquet file ({type(error).__name__})") from error
    missing = (pandas.NA, pandas.NaT)
    columns = {str(name): _plain_column(frame[name].tolist(), missing) for name in frame.columns}
    rows = [
        (f"{path}, row {index + 1}", {name: values[index] for name, values in columns.items()})
        for index in range(len(frame))
    ]
    return tuple(columns), rows


def _plain_column(values: list[Any], missing: Collection[Any]) -> list[Any]:
    """None for what is missing, and whole numbers as they were: pandas makes floats of them where one is missing."""
    plain = [
        None if (isinstance(value, float) and value != value) or any(value is one for one in missing) else value
        for value in values
    ]
    known = [value for value in plain if value is not None]
    if len(known) < len(plain) and all(isinstance(value, float) and value.is_integer() for value in known):
        return [None if value is None else int(value) for value in plain]
    return plain


def _read_npz(path: Path) -> FeatureTable:
    try:
        # Without pickles: a file of features must not be able to run code.
        with np.load(path, allow_pickle=False) as file:
            content = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: cannot be read as an npz file of plain arrays ({error})") from error
    missing = [name for name in ("ids", "values") if name not in content]
    if missing:
        raise InputError(f"{path}: has no array {missing[0]!r}; expected ids [N] and values [N, ...]")
    ids, values = content["ids"], content["values"]
    kind = KIND_OF_DIMENSIONS.get(values.ndim)
    if kind is None or ids.ndim != 1 or len(ids) != len(values) or values.dtype.kind not in "fiub":
        raise InputError(
            f"{path}: expected ids [N] and numbers in values [N, ...] with 2 to 5 dimensions, found {list(ids.shape)} "
            f"and {values.dtype} {list(values.shape)}"
        )
    names = tuple(str(name) for name in content.get("names", np.arange(values.shape[1])))
    if kind == "tabular" and len(names) != values.shape[1]:
        raise InputError(f"{path}: has {len(names)} names for {values.shape[1]} features")
    return _by_id(path, kind, names, ids, values.astype(np.float32), content.get("lengths"))


def _by_id(
    path: Path, kind: str, names: tuple[str, ...], ids: np.ndarray, values: np.ndarray, lengths: np.ndarray | None
) -> FeatureTable:
    if lengths is not None and (lengths.shape != ids.shape or lengths.dtype.kind not in "iu" or kind != "sequence"):
        raise InputError(f"{path}: lengths: expected a whole number for each row of a sequence")
    found: dict[str, np.ndarray] = {}
    places: dict[str, str] = {}
    for index, (identity, row) in enumerate(zip(ids.tolist(), values, strict=True)):
        where = f"{path}, row {index + 1}"
        key = _identity({"id": identity}, "id", where, places)
        places[key] = where
        if lengths is not None:
            if not 0 < lengths[index] <= len(row):
                raise InputError(f"{where}: length {lengths[index]} is not within 1 to {len(row)}")
            row = row[: lengths[index]]
        if np.isnan(row).all():
            continue
        if kind != "tabular" and not np.isfinite(row).all() or np.isinf(row).any():
            raise InputError(f"{where}: holds values that are not finite")
        found[key] = row
    return FeatureTable(kind, names, found, places)


def _read_labels(
    path: Path, targets: Mapping[str, Any] | None, id_column: str
) -> tuple[dict[str, Record], dict[str, tuple[str, ...]]]:
    names, rows = read_any_rows(path)
    wanted = plan_targets(targets, names, path)
    records: dict[str, Record] = {}
    places: dict[str, str] = {}
    for where, row in rows:
        identity = _identity(row, id_column, where, places)
        places[identity] = where
        split, group = row.get(_SPLIT), next((row[name] for name in _GROUPS if row.get(name) is not None), None)
        records[identity] = Record(
            id=identity,
            inputs={},
            targets=read_targets(row, wanted, where),
            split=None if split is None else read_split(split, where),
            group=None if group is None else str(group),
            where=where,
        )
    return records, {name: tuple(wanted[name]) for name in NUMBERED if name in wanted}


def _identity(row: Mapping[str, Any], column: str, where: str, known: Mapping[str, str]) -> str:
    if row.get(column) is None:
        raise InputError(f"{where}: has no id; expected it in the column {column!r} (options.id_column)")
    identity = str(row[column])
    if identity in known:
        raise InputError(f"{where}: id {identity!r} stands in {known[identity]} already")
    return identity
