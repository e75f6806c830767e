"""Readers of COCO files with instance masks, and of LIVECell, which is COCO with telling file names."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from cellseg.datasets.coco_cells import Cell, check_cell, read_cells
from cellseg.datasets.groups import resolve_groups, source_column
from cellseg.datasets.paths import ImageFolder, key_of_file
from cellseg.datasets.records import UNLABELLED, Problem, Source, SourceImage
from cellseg.errors import InputError
from cellseg.io.files import read_json

# For example A172_Phase_C7_1_00d00h00m_1.tif
_LIVECELL_NAME = re.compile(
    r"(?P<type>[^_]+)_(?P<modality>[^_]+)_(?P<well>[A-Z]+[0-9]+)_(?P<location>[0-9]+)"
    r"_(?P<time>[0-9]+d[0-9]+h[0-9]+m)_(?P<crop>[0-9]+)\.[A-Za-z]+"
)


@dataclass
class _Entry:
    """An image of a COCO file that passed its checks."""

    row: str
    fields: dict[str, Any]
    key: str
    path: Path
    size: tuple[int, int]
    cells: list[Cell]


def read_coco(json_paths: Sequence[str | Path], images: str | Path, group: str | None = None) -> Source:
    """Read COCO files: polygons, compressed and uncompressed run lengths.

    The cell type of an image is its field ``cell_type`` if it has one, else the commonest category of its
    annotations. Groups come from the field ``group`` of the image entries, by default chosen as in
    ``read_sartorius``. Crowd regions are no instances and count as problems.

    Args:
        json_paths: one or more files with the same categories.
        images: folder that the ``file_name`` of each image is relative to.
        group: field of the image entries to group by.

    Raises:
        MissingFileError: a file or the folder does not exist.
        InputError: a file as a whole cannot be used.
    """
    folder = ImageFolder(images)
    problems: list[Problem] = []
    files = [_CocoFile(Path(path)) for path in json_paths]
    categories = files[0].categories()
    for file in files[1:]:
        if file.categories() != categories:
            raise InputError(f"{file.path}: its categories differ from those of {files[0].path}; prepare them apart")
    names = {number: categories[number] for number in sorted(categories)}
    entries = _collect(files, folder.resolve, names, problems, crowds_are_cells=False)
    shared = set.intersection(*(set(entry.fields) for entry in entries.values())) if entries else set()
    column = source_column(sorted(shared), group, str(files[0].path))
    values = {key: str(entry.fields[column]) if column else key for key, entry in entries.items()}
    group_name, groups, ungrouped = resolve_groups(values, column, group)
    problems += [Problem(entries[key].row, key, reason) for key, reason in ungrouped.items()]
    known = [(key, entries[key]) for key in sorted(entries) if key in groups]
    found = [_source_image(entry, _cell_type(entry, names), groups[key]) for key, entry in known]
    return Source("coco", found, tuple(names.values()), group_name, problems, _file_names(files))


def read_livecell(json_paths: Sequence[str | Path], images: str | Path) -> Source:
    """Read LIVECell's COCO files.

    A file name such as ``A172_Phase_C7_1_00d00h00m_1.tif`` encodes type, modality, well, location, time and
    crop: the type is the class, type and well together are the group. Images are looked for by their name,
    then anywhere in the folder by their name without suffix, because downloads sort them by type. LIVECell
    has no crowd regions: outlines are cells whatever ``iscrowd`` says.

    Args:
        json_paths: one or more files, for example those of its training and validation split.
        images: folder with the images, or with folders of them.

    Raises:
        MissingFileError: a file or the folder does not exist.
        InputError: a file as a whole cannot be used.
    """
    folder = ImageFolder(images, recursive=True)
    problems: list[Problem] = []
    files = [_CocoFile(Path(path)) for path in json_paths]

    def find(file_name: str) -> Path:
        try:
            return folder.resolve(file_name)
        except InputError:
            return folder.find(key_of_file(file_name))

    entries = _collect(files, find, None, problems, crowds_are_cells=True)
    found = []
    for key in sorted(entries):
        entry = entries[key]
        match = _LIVECELL_NAME.fullmatch(Path(entry.fields["file_name"]).name)
        if match is None:
            reason = f"file name {entry.fields['file_name']!r} is not TYPE_MODALITY_WELL_LOCATION_TIME_CROP"
            problems.append(Problem(entry.row, key, reason))
            continue
        for cell in entry.cells:
            cell.name = match["type"]
        found.append(_source_image(entry, match["type"], f"{match['type']}_{match['well']}"))
    types = tuple(sorted({image.cell_type for image in found}))
    return Source("livecell", found, types, "type and well", problems, _file_names(files))


def _file_names(files: Sequence["_CocoFile"]) -> dict[str, Path]:
    names = {file.path.name: file.path for file in files}
    if len(names) < len(files):
        raise InputError(
            f"the files are named alike ({', '.join(names)}); reports could not tell them apart: rename one"
        )
    return names


class _CocoFile:
    """The lists of one file."""

    def __init__(self, path: Path):
        self.path = path
        content = read_json(path)
        if not isinstance(content, dict):
            raise InputError(f"{path}: not a COCO file (expected an object with images, annotations and categories)")
        self.images = self._entries(content, "images")
        self.annotations = self._entries(content, "annotations")
        self._categories = self._entries(content, "categories")
        if not self.images:
            raise InputError(f"{path}: names no images")

    def _entries(self, content: dict[str, Any], name: str) -> list[Any]:
        entries = content.get(name)
        if isinstance(entries, dict):  # some of LIVECell's files number their annotations
            entries = list(entries.values())
        if not isinstance(entries, list):
            raise InputError(f"{self.path}: not a COCO file (the list {name!r} is missing)")
        return entries

    def categories(self) -> dict[int, str]:
        """Name of each category by its id."""
        names: dict[int, str] = {}
        for entry in self._categories:
            number, name = (entry.get("id"), entry.get("name")) if isinstance(entry, dict) else (None, None)
            usable = _is_whole(number) and isinstance(name, str) and name
            if not usable or number in names or name in names.values():
                raise InputError(f"{self.path}: category {entry!r} needs an id and a name that no other has")
            names[number] = name
        if not names:
            raise InputError(f"{self.path}: names no categories")
        return names


def _collect(
    files: Sequence[_CocoFile],
    find: Callable[[str], Path],
    names: dict[int, str] | None,
    problems: list[Problem],
    crowds_are_cells: bool,
) -> dict[str, _Entry]:
    """Checked images with their checked annotations, by key."""
    entries: dict[str, _Entry] = {}
    for file in files:
        by_id: dict[Any, _Entry | None] = {}
        for place, fields in enumerate(file.images):
            entry = _check_image(file, place, fields, by_id, find, problems)
            if entry is not None and entry.key in entries:
                reason = f"its name is taken by {entries[entry.key].row}"
                problems.append(Problem(entry.row, entry.key, reason))
                by_id[fields["id"]] = entry = None
            if entry is not None:
                entries[entry.key] = entry
        seen: set[Any] = set()
        for place, annotation in enumerate(file.annotations):
            row = _row(file, "annotation", annotation, place)
            try:
                owner, cell = check_cell(row, annotation, by_id, names, seen, crowds_are_cells)
            except InputError as error:
                image = by_id.get(annotation.get("image_id")) if _has_image(annotation) else None
                problems.append(Problem(row, image.key if image else "", str(error)))
                continue
            if owner is not None:  # None: the image itself has been reported
                owner.cells.append(cell)
    return entries


def _check_image(
    file: _CocoFile,
    place: int,
    fields: Any,
    by_id: dict[Any, _Entry | None],
    find: Callable[[str], Path],
    problems: list[Problem],
) -> _Entry | None:
    row = _row(file, "image", fields, place)
    key = ""
    try:
        if not isinstance(fields, dict) or not _is_whole(fields.get("id")):
            raise InputError("has no whole number as id")
        if fields["id"] in by_id:
            raise InputError(f"id {fields['id']} is used twice")
        by_id[fields["id"]] = None
        key = key_of_file(fields.get("file_name"))
        for name in ("width", "height"):
            if not _is_whole(fields.get(name)) or fields[name] < 1:
                raise InputError(f"{name} {fields.get(name)!r} is not a whole number of pixels")
        entry = _Entry(row, fields, key, find(fields["file_name"]), (fields["height"], fields["width"]), [])
    except InputError as error:
        problems.append(Problem(row, key, str(error)))
        return None
    by_id[fields["id"]] = entry
    return entry


def _source_image(entry: _Entry, cell_type: str, group: str) -> SourceImage:
    reader = partial(read_cells, entry.key, entry.cells)
    return SourceImage(entry.key, entry.path, entry.size, cell_type, group, entry.row, reader)


def _cell_type(entry: _Entry, names: dict[int, str]) -> str:
    stated = entry.fields.get("cell_type")
    if isinstance(stated, str) and stated:
        return stated
    counts = Counter(cell.name for cell in entry.cells)
    if counts:
        return min(counts, key=lambda name: (-counts[name], name))
    return next(iter(names.values())) if len(names) == 1 else UNLABELLED


def _row(file: _CocoFile, kind: str, fields: Any, place: int) -> str:
    number = fields.get("id") if isinstance(fields, dict) else None
    return f"{file.path.name} {kind} {number}" if _is_whole(number) else f"{file.path.name} {kind}s[{place}]"


def _has_image(annotation: Any) -> bool:
    return isinstance(annotation, dict) and _is_whole(annotation.get("image_id"))


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
