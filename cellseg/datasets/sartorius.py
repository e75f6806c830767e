"""Reader of the Sartorius form: a CSV file with one row an instance, and a folder of images."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cellseg.datasets.groups import resolve_groups, source_column
from cellseg.datasets.paths import ImageFolder, check_key
from cellseg.datasets.records import Problem, Source, SourceImage
from cellseg.datasets.table import read_table
from cellseg.errors import InputError
from cellseg.structures import CropMasks
from cellseg.structures.rle import rle_runs

REQUIRED_COLUMNS = ("id", "annotation", "width", "height")
KNOWN_BAD = ("03b27b381a5f", "e92c56871769", "eec79772cb99")  # images of the competition with wrong annotations
ONE_TYPE = "cell"
_LONGEST_SIDE = 10**6


@dataclass(frozen=True)
class _Row:
    """One line of the file that passed the checks that need no other line."""

    line: int
    key: str
    annotation: str
    width: int
    height: int
    cell_type: str
    group: str  # what stands in the column that groups are made from


def read_sartorius(
    csv_path: str | Path, images: str | Path, group: str | None = None, drop_known_bad: bool = False
) -> Source:
    """Read ``id,annotation,width,height[,cell_type][,...]`` and find the images.

    Groups come from the column ``group``; by default from the first of these that the file has: a column
    ``group``; ``plate_well``, derived from ``sample_id`` where every one has the competition's form (each
    location of a well has its own ``sample_id``, yet they look alike); ``sample_id``; else every image is a
    group of its own.

    Args:
        csv_path: the file; its header is line 1 in every report.
        images: folder with one image file for each id.
        group: column to group by, or ``plate_well``.
        drop_known_bad: leave out the three images of the competition whose annotations are known to be wrong.

    Raises:
        MissingFileError: the file or folder does not exist.
        InputError: the file as a whole cannot be used: not a CSV file, empty, columns missing.
    """
    csv_path, folder = Path(csv_path), ImageFolder(images)
    columns, lines = read_table(csv_path, REQUIRED_COLUMNS)
    if not lines:
        raise InputError(f"{csv_path}: has a header but no rows; expected one row for each instance")
    column = source_column(columns, group, str(csv_path))
    problems: list[Problem] = []
    rows = [_check_row(line, fields, columns, column, problems) for line, fields in lines]
    by_image = _by_image(row for row in rows if row is not None)
    dropped = sorted(set(by_image) & set(KNOWN_BAD)) if drop_known_bad else []
    by_image = {key: _check_agreement(own, problems) for key, own in sorted(by_image.items()) if key not in dropped}
    _check_repeats(by_image, problems)
    group_name, groups, ungrouped = resolve_groups({key: own[0].group for key, own in by_image.items()}, column, group)
    problems += [Problem(by_image[key][0].line, key, reason) for key, reason in ungrouped.items()]
    found = [_find_image(folder, by_image[key], groups[key], problems) for key in by_image if key in groups]
    return Source(
        name="sartorius",
        images=[image for image in found if image is not None],
        class_names=tuple(sorted({row.cell_type for own in by_image.values() for row in own})),
        group_column=group_name,
        problems=problems,
        files={csv_path.name: csv_path},
        dropped=dropped,
    )


def _check_row(
    line: int, fields: Sequence[str], columns: Sequence[str], group: str | None, problems: list[Problem]
) -> _Row | None:
    if len(fields) != len(columns):
        first = fields[columns.index("id")] if len(fields) > columns.index("id") else ""
        problems.append(Problem(line, first, f"has {len(fields)} fields, the header has {len(columns)}"))
        return None
    values = dict(zip(columns, fields, strict=True))
    key = values["id"]
    try:
        check_key(key)
        width, height = (_side(name, values[name]) for name in ("width", "height"))
        cell_type = values["cell_type"].strip() if "cell_type" in values else ONE_TYPE
        if not cell_type:
            raise InputError("cell_type is empty")
    except InputError as error:
        problems.append(Problem(line, key, str(error)))
        return None
    return _Row(line, key, values["annotation"].strip(), width, height, cell_type, values[group] if group else key)


def _side(name: str, text: str) -> int:
    if not (text.strip().isascii() and text.strip().isdigit()):
        raise InputError(f"{name} {text!r} is not a whole number of pixels")
    if not 1 <= int(text) <= _LONGEST_SIDE:
        raise InputError(f"{name} {text.strip()} is not between 1 and {_LONGEST_SIDE}")
    return int(text)


def _by_image(rows: Iterable[_Row]) -> dict[str, list[_Row]]:
    by_image = defaultdict(list)
    for row in rows:
        by_image[row.key].append(row)
    return by_image


def _check_agreement(rows: list[_Row], problems: list[Problem]) -> list[_Row]:
    """Rows that state the same image size, type and group as the image's first row."""
    first, kept = rows[0], []
    for row in rows:
        differing = [
            f"{name} {getattr(row, attribute)!r} differs from {getattr(first, attribute)!r} in row {first.line}"
            for name, attribute in (
                ("width", "width"),
                ("height", "height"),
                ("cell_type", "cell_type"),
                ("the group", "group"),
            )
            if getattr(row, attribute) != getattr(first, attribute)
        ]
        if differing:
            problems.append(Problem(row.line, row.key, "; ".join(differing)))
        else:
            kept.append(row)
    return kept


def _check_repeats(by_image: dict[str, list[_Row]], problems: list[Problem]) -> None:
    """Take out rows that repeat another one, and empty annotations beside others of the same image."""
    for rows in by_image.values():
        has_cells = any(row.annotation for row in rows)
        seen: dict[str, int] = {}
        kept = []
        for row in rows:
            if row.annotation in seen:
                reason = f"repeats the annotation of row {seen[row.annotation]}"
                problems.append(Problem(row.line, row.key, reason))
            elif not row.annotation and has_cells:
                reason = "annotation is empty, but the image has other rows"
                problems.append(Problem(row.line, row.key, reason))
            else:
                seen[row.annotation] = row.line
                kept.append(row)
        rows[:] = kept


def _find_image(folder: ImageFolder, rows: list[_Row], group: str, problems: list[Problem]) -> SourceImage | None:
    first = rows[0]
    try:
        path = folder.find(first.key)
    except InputError as error:
        problems.append(Problem(first.line, first.key, str(error)))
        return None
    return SourceImage(
        key=first.key,
        path=path,
        size=(first.height, first.width),
        cell_type=first.cell_type,
        group=group,
        row=first.line,
        read_cells=partial(_read_cells, rows),
    )


def _read_cells(rows: list[_Row], size: tuple[int, int], problems: list[Problem]) -> tuple[CropMasks, list[str]]:
    """Masks of an image; rows that do not decode go to ``problems``."""
    rows = [row for row in rows if row.annotation]
    try:
        return CropMasks.from_rle([row.annotation for row in rows], size), [row.cell_type for row in rows]
    except InputError:
        good = []  # some row is damaged: look at each
    for row in rows:
        try:
            rle_runs(row.annotation, *size)
            good.append(row)
        except InputError as error:
            problems.append(Problem(row.line, row.key, str(error)))
    if not good:
        raise InputError(f"none of its {len(rows)} annotations can be used")
    return CropMasks.from_rle([row.annotation for row in good], size), [row.cell_type for row in good]
