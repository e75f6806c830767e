"""CSV tables whose rows are reported by their line."""

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cellseg.errors import InputError, MissingFileError

_LARGEST_FIELD = 2**31 - 1  # an outline can be longer than the 128 KiB that the csv module allows by default


def read_table(path: str | Path, required: Sequence[str]) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Header and rows of a CSV file.

    Args:
        path: UTF-8, with or without a byte order mark.
        required: columns that must be there.

    Returns:
        The column names, and (line, fields) of every row that is not blank; the header is line 1. Rows may
        have another number of fields than the header: that is the caller's to report.

    Raises:
        MissingFileError: there is no such file.
        InputError: it is not a CSV file, is empty, or lacks a column.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file")
    try:
        with _large_fields(), open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            columns = [name.strip() for name in next(reader, [])]
            rows = [(reader.line_num, fields) for fields in reader if fields]
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a CSV file in UTF-8 ({error})") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if not columns:
        raise InputError(f"{path}: the file is empty; expected a header with {', '.join(required)}")
    missing = [name for name in required if name not in columns]
    if missing:
        raise InputError(f"{path}: column {', '.join(missing)} is missing; the file has {', '.join(columns)}")
    double = sorted({name for name in columns if columns.count(name) > 1})
    if double:
        raise InputError(f"{path}: column {', '.join(double)} stands in the header twice")
    return columns, rows


@contextmanager
def _large_fields() -> Iterator[None]:
    before = csv.field_size_limit(_LARGEST_FIELD)
    try:
        yield
    finally:
        csv.field_size_limit(before)
