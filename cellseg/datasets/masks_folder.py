"""Readers of masks kept as images: a label image for each image, or one mask file for each instance."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from cellseg.datasets.groups import resolve_groups, source_column
from cellseg.datasets.mask_files import read_labels, read_mask
from cellseg.datasets.paths import ImageFolder, check_inside, check_key
from cellseg.datasets.records import Problem, Source, SourceImage
from cellseg.datasets.table import read_table
from cellseg.errors import InputError, MissingFileError
from cellseg.structures import CropMasks

ONE_TYPE = "cell"
_Reader = Callable[[tuple[int, int], list[Problem]], CropMasks]


@dataclass(frozen=True)
class Description:
    """What file names do not tell about images.

    Attributes:
        cell_type: of every image that the table gives none.
        table: CSV file with ``id`` and, where wanted, ``cell_type`` and columns to group by.
        group: the column to group by; by default as in ``read_sartorius``.
    """

    cell_type: str = ONE_TYPE
    table: Path | None = None
    group: str | None = None


_PLAIN = Description()


@dataclass(frozen=True)
class _Found:
    key: str
    path: Path
    row: str
    read_masks: _Reader


def read_label_images(
    images: str | Path,
    labels: str | Path,
    description: Description = _PLAIN,
    image_suffix: str = "",
    label_suffix: str = "",
) -> Source:
    """Read label images: 0 is background, every other number one instance.

    The label image of ``images/A.png`` is ``labels/A.png`` (or .tif, .bmp). With suffixes, ``A_img.png`` and
    ``A_masks.tif`` belong together and the id is ``A``; both may then lie in one folder.

    Args:
        images, labels: folders.
        description: types and groups.
        image_suffix, label_suffix: what follows the id in the file names.

    Raises:
        MissingFileError: a folder does not exist.
        InputError: there are no images at all, or both folders are one and the names cannot be told apart.
    """
    image_folder, label_folder = ImageFolder(images), ImageFolder(labels)
    together = Path(images).resolve() == Path(labels).resolve()
    if together and image_suffix == label_suffix:
        raise InputError(f"{images}: images and labels lie in one folder; tell them apart with --label-suffix")
    stems = [stem for stem in image_folder.stems() if stem.endswith(image_suffix)]
    label_stems = [stem for stem in label_folder.stems() if stem.endswith(label_suffix)]
    if together:  # the longer suffix decides, so that one of them may be empty
        own, other = (stems, label_suffix) if len(label_suffix) > len(image_suffix) else (label_stems, image_suffix)
        own[:] = [stem for stem in own if not stem.endswith(other)]
    found, problems = [], []
    for stem in stems:
        key = stem[: len(stem) - len(image_suffix)]
        try:
            path = image_folder.find(stem)
            label_path = label_folder.find(key + label_suffix)
            found.append(_Found(check_key(key), path, path.name, partial(_cells_of_labels, label_path)))
        except InputError as error:
            problems.append(Problem(stem, key, str(error)))
    known = {stem[: len(stem) - len(image_suffix)] for stem in stems}
    for stem in label_stems:
        key = stem[: len(stem) - len(label_suffix)]
        if key not in known:
            problems.append(Problem(stem, key, f"a label image without an image {key}{image_suffix}.png (.tif, ...)"))
    return _source(found, problems, description, str(images))


def read_mask_folders(root: str | Path, description: Description = _PLAIN) -> Source:
    """Read one mask file for each instance, laid out as in the 2018 Data Science Bowl.

    The image ``ID/images/ID.png`` has its cells in ``ID/masks/*.png``, whatever these are called.

    Args:
        root: the folder of the ``ID`` folders.
        description: types and groups.

    Raises:
        MissingFileError: there is no such folder.
        InputError: it has no folders in it.
    """
    root = Path(root)
    if not root.is_dir():
        raise MissingFileError(f"{root}: no such folder")
    found, problems = [], []
    for folder in sorted(root.iterdir()):
        if folder.name.startswith(".") or not folder.is_dir():
            continue
        try:
            check_key(folder.name)
            path = _only_image(root, folder)
            if not (folder / "masks").is_dir():
                raise InputError(f"has no folder {folder.name}/masks; an image without cells has an empty one")
            masks = ImageFolder(check_inside(root, folder / "masks"))
            files = [masks.find(stem) for stem in masks.stems()]
            found.append(_Found(folder.name, path, folder.name, partial(_cells_of_files, folder.name, files)))
        except InputError as error:
            problems.append(Problem(folder.name, folder.name, str(error)))
    return _source(found, problems, description, str(root))


def _only_image(root: Path, folder: Path) -> Path:
    if not (folder / "images").is_dir():
        raise InputError(f"has no folder {folder.name}/images")
    images = ImageFolder(check_inside(root, folder / "images"))
    stems = images.stems()
    if len(stems) != 1:
        raise InputError(f"has {len(stems)} images in {folder.name}/images; expected one")
    return images.find(stems[0])


def _cells_of_labels(path: Path, size: tuple[int, int], problems: list[Problem]) -> CropMasks:
    del problems  # a label image is read as a whole or not at all
    labels = read_labels(path)
    if labels.shape != size:
        raise InputError(f"the label image is {labels.shape[1]} x {labels.shape[0]}, the image {size[1]} x {size[0]}")
    return CropMasks.from_label_image(torch.from_numpy(labels))


def _cells_of_files(key: str, paths: Sequence[Path], size: tuple[int, int], problems: list[Problem]) -> CropMasks:
    masks = [CropMasks.empty(size)]
    for path in paths:
        row = f"{key}/masks/{path.name}"
        try:
            mask = read_mask(path)
            if mask.shape != size:
                raise InputError(f"the mask is {mask.shape[1]} x {mask.shape[0]}, the image {size[1]} x {size[0]}")
            if not mask.any():
                raise InputError("the mask is empty")
        except InputError as error:
            problems.append(Problem(row, key, str(error)))
            continue
        masks.append(CropMasks.from_dense(torch.from_numpy(mask)[None]))
    if paths and len(masks) == 1:
        raise InputError(f"none of its {len(paths)} mask files can be used")
    return CropMasks.cat(masks)


def _source(found: Sequence[_Found], problems: list[Problem], description: Description, where: str) -> Source:
    """Join what the files and the table say."""
    if not found and not problems:
        raise InputError(f"{where}: found no images here")
    column, rows = _read_rows(description, [item.key for item in found], problems)
    known = [item for item in found if rows is None or item.key in rows]
    values = {item.key: rows[item.key][column] if rows is not None and column else item.key for item in known}
    name, groups, ungrouped = resolve_groups(values, column, description.group)
    problems += [Problem(key, key, reason) for key, reason in ungrouped.items()]
    images = []
    for item in known:
        if item.key not in groups:
            continue
        stated = rows[item.key].get("cell_type", "").strip() if rows is not None else ""
        cell_type = stated or description.cell_type
        reader = partial(_with_names, item.read_masks, cell_type)
        images.append(SourceImage(item.key, item.path, None, cell_type, groups[item.key], item.row, reader))
    return Source(
        name="masks",
        images=images,
        class_names=tuple(sorted({image.cell_type for image in images})),
        group_column=name,
        problems=problems,
        files={description.table.name: description.table} if description.table else {},
    )


def _with_names(
    read_masks: _Reader, cell_type: str, size: tuple[int, int], problems: list[Problem]
) -> tuple[CropMasks, list[str]]:
    masks = read_masks(size, problems)
    return masks, [cell_type] * len(masks)


def _read_rows(
    description: Description, keys: Sequence[str], problems: list[Problem]
) -> tuple[str | None, dict[str, dict[str, str]] | None]:
    """The column to group by and the table's row of each image; None when there is no table."""
    if description.table is None:
        if description.group is not None:
            raise InputError(f"--group {description.group} needs --table, a CSV file with id and {description.group}")
        return None, None
    columns, lines = read_table(description.table, ("id",))
    column = source_column(columns, description.group, str(description.table))
    rows: dict[str, dict[str, str]] = {}
    for line, fields in lines:
        values = dict(zip(columns, fields, strict=False))
        if len(fields) != len(columns):
            problems.append(Problem(line, values.get("id", ""), f"has {len(fields)} fields, the header {len(columns)}"))
        elif values["id"] in rows:
            problems.append(Problem(line, values["id"], "this id stands in the table before"))
        elif values["id"] not in keys:
            problems.append(Problem(line, values["id"], "the table names an image that is not there"))
        else:
            rows[values["id"]] = values
    for key in keys:
        if key not in rows:
            problems.append(Problem(key, key, f"has no row in {description.table.name}"))
    return column, rows
