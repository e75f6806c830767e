"""Submissions and truths as tables: ``id,predicted`` and ``id,annotation,width,height[,cell_type,...]``.

One row is one cell, its mask a row-major, 1-based run-length text. An image without cells stands in its table as one
row with an empty mask. Errors name the file and the row as an editor counts lines: the header is row 1.
"""

import csv
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from cellseg.errors import InputError, MissingFileError
from cellseg.io.files import atomic_path
from cellseg.metrics.iou import shared_pixels
from cellseg.structures import CropMasks
from cellseg.structures.rle import rle_runs

PREDICTION_COLUMNS = ("id", "predicted")
TRUTH_COLUMNS = ("id", "annotation", "width", "height")

# Larger than any image that these tables describe; a damaged number must not take all memory.
MAX_PIXELS = 1 << 31

# How many ids or rows a message lists before it only counts.
LISTED = 5


@dataclass(frozen=True)
class TableImage:
    """The masks of one image and where in the table they stand.

    Attributes:
        key: id of the image.
        masks: bool masks in the order of the rows; none for an image without cells.
        rows: row number of each mask.
        cell_type: type of the image's cells, several joined by ``+``; empty when the table does not say.
    """

    key: str
    masks: CropMasks
    rows: tuple[int, ...]
    cell_type: str = ""


@dataclass
class _Entry:
    """Rows of one id while a table is read."""

    rows: list[int]
    texts: list[str]
    first_row: int
    size: tuple[int, int] | None = None
    cell_types: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        return not self.texts


def read_truth(path: str | Path) -> dict[str, TableImage]:
    """Read a truth table. Masks of one image may overlap, as those of the real set do.

    Returns:
        Images by id, in the order of their first rows.

    Raises:
        MissingFileError: there is no such file.
        InputError: the header, a row, an id, a size or a mask is unusable; the text names the row.
    """
    path = Path(path)
    entries: dict[str, _Entry] = {}
    for row, fields in _read_table(path, TRUTH_COLUMNS, others_allowed=True):
        size = (_read_side(path, row, "height", fields["height"]), _read_side(path, row, "width", fields["width"]))
        if size[0] * size[1] > MAX_PIXELS:
            raise InputError(f"{path}: row {row}: an image of {size[1]} x {size[0]} pixels is larger than supported")
        entry = _add_row(path, entries, row, fields["id"], fields["annotation"])
        if entry.size is None:
            entry.size = size
        elif entry.size != size:
            raise InputError(
                f"{path}: row {row}: id {fields['id']!r} is {size[1]} x {size[0]} pixels (width x height) here and "
                f"{entry.size[1]} x {entry.size[0]} in row {entry.first_row}"
            )
        cell_type = fields.get("cell_type", "").strip()
        if not cell_type.isprintable():
            raise InputError(f"{path}: row {row}: cell type {cell_type!r} has characters that cannot be printed")
        if cell_type and cell_type not in entry.cell_types:
            entry.cell_types = (*entry.cell_types, cell_type)
    if not entries:
        raise InputError(f"{path}: no rows below the header; the truth needs at least one image")
    return {
        key: TableImage(
            key, _decode_masks(path, key, entry, entry.size), tuple(entry.rows), "+".join(sorted(entry.cell_types))
        )
        for key, entry in entries.items()
    }


def read_predictions(path: str | Path, image_sizes: Mapping[str, tuple[int, int]]) -> dict[str, TableImage]:
    """Read a submission and check it as the competition's scorer does.

    Args:
        path: the table.
        image_sizes: (height, width) of every image that must be predicted, by id.

    Returns:
        Images by id, in the order of ``image_sizes``.

    Raises:
        MissingFileError: there is no such file.
        InputError: the header, a row, an id or a mask is unusable, an id is unknown or missing, or masks of one image
            overlap; the text names the rows.
    """
    path = Path(path)
    entries: dict[str, _Entry] = {}
    for row, fields in _read_table(path, PREDICTION_COLUMNS, others_allowed=False):
        _add_row(path, entries, row, fields["id"], fields["predicted"])
    _check_ids(path, entries, image_sizes)
    images = {}
    for key, size in image_sizes.items():
        masks = _decode_masks(path, key, entries[key], size)
        images[key] = TableImage(key, masks, tuple(entries[key].rows))
        _check_apart(path, images[key])
    return images


def write_predictions(path: str | Path, images: Mapping[str, CropMasks] | Iterable[tuple[str, CropMasks]]) -> None:
    """Write a submission, complete or not at all.

    Args:
        path: the table to write.
        images: id and masks of every image. An image without masks gets its row with nothing predicted; a mask without
            pixels is no prediction and gets no row.

    Raises:
        InputError: an id is unusable or comes twice, or masks of one image overlap; nothing is written then.
    """
    pairs = images.items() if isinstance(images, Mapping) else images
    seen = set()
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(PREDICTION_COLUMNS)
        for key, masks in pairs:
            if fault := _id_fault(key):
                raise InputError(f"{path}: {fault}")
            if key in seen:
                raise InputError(f"{path}: id {key!r} comes twice")
            seen.add(key)
            if overlap := _first_overlap(masks):
                first, second, shared = overlap
                raise InputError(f"{path}: image {key!r}: masks {first} and {second} overlap in {shared} pixels")
            texts = [text for text in masks.to_rle() if text]
            writer.writerows((key, text) for text in texts or [""])


def _read_table(path: Path, columns: tuple[str, ...], others_allowed: bool) -> Iterator[tuple[int, dict[str, str]]]:
    """Row numbers and fields by column name; blank lines are passed over."""
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file")
    try:
        # utf-8-sig: spreadsheets begin a file with a byte order mark, which is no part of the first column's name.
        with open(path, encoding="utf-8-sig", newline="") as file, _long_fields():
            yield from _parse_table(path, file, columns, others_allowed)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a CSV file in UTF-8 ({error})") from error


def _parse_table(
    path: Path, file: TextIO, columns: tuple[str, ...], others_allowed: bool
) -> Iterator[tuple[int, dict[str, str]]]:
    reader = csv.reader(file, strict=True)
    header = next(reader, None)
    if header is None:
        raise InputError(f"{path}: the file is empty, expected the header {','.join(columns)}")
    _check_header(path, header, columns, others_allowed)
    row = reader.line_num + 1
    for fields in reader:
        if fields:
            if len(fields) != len(header):
                raise InputError(f"{path}: row {row}: {len(fields)} fields, but the header has {len(header)} columns")
            named = dict(zip(header, fields, strict=True))
            if fault := _id_fault(named["id"]):
                raise InputError(f"{path}: row {row}: {fault}")
            yield row, named
        row = reader.line_num + 1


@contextmanager
def _long_fields() -> Iterator[None]:
    # The mask of a large cell is longer than the 131072 characters that csv reads by default.
    limit = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        yield
    finally:
        csv.field_size_limit(limit)


def _check_header(path: Path, header: list[str], columns: tuple[str, ...], others_allowed: bool) -> None:
    missing = [column for column in columns if column not in header]
    repeated = sorted({column for column in header if header.count(column) > 1})
    extra = [column for column in header if column not in columns]
    if not missing and not repeated and (others_allowed or not extra):
        return
    text = f"{path}: the header is {','.join(header)!r}, expected {','.join(columns)!r}"
    if others_allowed:
        text += " and any others"
    if repeated:
        raise InputError(f"{text}: column {repeated[0]!r} comes {header.count(repeated[0])} times")
    if len(header) == 1 and any(mark in header[0] for mark in ";\t"):
        raise InputError(f"{text}: columns must be separated by commas")
    plain = [column.strip().lower() for column in header]
    if missing and all(column in plain for column in missing):
        raise InputError(f"{text}: names are lower case without spaces")
    if {"annotation", "width", "height"} <= set(header):
        raise InputError(f"{text}: this looks like a truth; the predictions come first, the truth second")
    if header == list(PREDICTION_COLUMNS):
        raise InputError(f"{text}: this looks like a submission; the predictions come first, the truth second")
    if missing:
        raise InputError(f"{text}: no column {', '.join(repr(column) for column in missing)}")
    raise InputError(f"{text}: leave out {', '.join(repr(column) for column in extra)}")


def _id_fault(key: str) -> str:
    """What is wrong with an id, or nothing. It is printed and written into tables, so it must be plain text."""
    if not key.strip():
        return "the id is empty"
    return "" if key.isprintable() else f"id {key!r} has characters that cannot be printed"


def _read_side(path: Path, row: int, name: str, text: str) -> int:
    plain = text.strip()
    if not (plain.isascii() and plain.isdigit() and len(plain) <= 10 and int(plain) > 0):
        raise InputError(f"{path}: row {row}: {name} should be a whole number of pixels above 0, found {text!r}")
    return int(plain)


def _add_row(path: Path, entries: dict[str, _Entry], row: int, key: str, text: str) -> _Entry:
    """Put a row to its id; an empty one must be its image's only one."""
    text = text.strip()
    entry = entries.get(key)
    if entry is None:
        entry = entries[key] = _Entry(rows=[], texts=[], first_row=row)
    elif not text and entry.is_empty:
        raise InputError(
            f"{path}: row {row}: id {key!r} has an empty row already (row {entry.first_row}); remove one of them"
        )
    elif not text or entry.is_empty:
        empty, other = (row, entry.first_row) if not text else (entry.first_row, row)
        raise InputError(
            f"{path}: row {empty}: id {key!r} is empty here, which says that the image has no cells, "
            f"but row {other} has one"
        )
    if text:
        entry.rows.append(row)
        entry.texts.append(text)
    return entry


def _decode_masks(path: Path, key: str, entry: _Entry, image_size: tuple[int, int]) -> CropMasks:
    first_rows: dict[str, int] = {}
    for row, text in zip(entry.rows, entry.texts, strict=True):
        if text in first_rows:
            raise InputError(f"{path}: row {row}: id {key!r} has the same mask as row {first_rows[text]}; remove one")
        first_rows[text] = row
    try:
        return CropMasks.from_rle(entry.texts, image_size)
    except InputError as error:
        for row, text in zip(entry.rows, entry.texts, strict=True):
            try:
                rle_runs(text, *image_size)
            except InputError as fault:
                raise InputError(f"{path}: row {row}: id {key!r}: {fault}") from error
        raise InputError(f"{path}: id {key!r}: {error}") from error


def _check_ids(path: Path, entries: Mapping[str, _Entry], image_sizes: Mapping[str, tuple[int, int]]) -> None:
    unknown = [f"{key!r} (row {entry.first_row})" for key, entry in entries.items() if key not in image_sizes]
    if unknown:
        raise InputError(
            f"{path}: {_count(unknown, 'id')} not in the truth: {_list(unknown)}; "
            "remove these rows or score against the truth of these images"
        )
    missing = [repr(key) for key in image_sizes if key not in entries]
    if missing:
        raise InputError(
            f"{path}: {_count(missing, 'image')} of the truth without a row: {_list(missing)}; every image needs one, "
            "an image without cells the row `id,` with nothing after the comma"
        )


def _check_apart(path: Path, image: TableImage) -> None:
    overlap = _first_overlap(image.masks)
    if overlap is None:
        return
    first, second, shared = overlap
    raise InputError(
        f"{path}: image {image.key!r}: the masks of rows {image.rows[first]} and {image.rows[second]} overlap in "
        f"{shared} {'pixel' if shared == 1 else 'pixels'}; the competition refuses overlapping predictions, so give "
        "each pixel to one cell"
    )


def _first_overlap(masks: CropMasks) -> tuple[int, int, int] | None:
    """The first two masks that overlap and the number of pixels that they share."""
    if not masks.overlaps():
        return None
    rows, columns, shared = shared_pixels(masks, masks)
    first = int((rows < columns).nonzero()[0, 0])
    return int(rows[first]), int(columns[first]), int(shared[first])


def _count(items: list[str], noun: str) -> str:
    return f"{len(items)} {noun}" + ("" if len(items) == 1 else "s")


def _list(items: list[str]) -> str:
    listed = ", ".join(items[:LISTED])
    return listed if len(items) <= LISTED else f"{listed} and {len(items) - LISTED} more"
