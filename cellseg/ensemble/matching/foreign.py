"""Results of other programs, read as instances: submissions, and folders of label images."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from cellseg.datasets.mask_files import read_labels
from cellseg.datasets.paths import ImageFolder, check_key
from cellseg.datasets.table import read_table
from cellseg.ensemble.provenance import hash_json
from cellseg.errors import InputError, MissingFileError
from cellseg.io.files import file_hash
from cellseg.io.images import list_inputs, read_image
from cellseg.io.submission import read_predictions, read_truth
from cellseg.structures import CropMasks, Instances

# Other programs' results come without types.
CLASS_NAMES = ("cell",)
MISSING = ("error", "empty")
_LISTED = 5

Sizes = Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class Source:
    """Where the results of one program are.

    Attributes:
        name: of the program, for weights and messages.
        path: a submission (``.csv`` with ``id,predicted``), or a folder with a label image ``ID.png`` (.tif, .bmp) for
            each image.
        suffix: what follows the id in the names of the label images.
    """

    name: str
    path: Path
    suffix: str = ""


@dataclass(frozen=True)
class ForeignResult:
    """The results of one program.

    Attributes:
        found: the instances of every image that was asked for, by id; every score is 1.
        missing: ids of the images that the program has nothing about; they are without instances in ``found``.
        passed_over: number of label images of images that were not asked for.
        hash: changes with the files.
    """

    found: dict[str, Instances]
    missing: tuple[str, ...]
    passed_over: int
    hash: str


def sizes_of_images(text: str) -> dict[str, tuple[int, int]]:
    """Height and width of images, by id.

    Args:
        text: an image, a folder, a glob, or a text file of paths.

    Raises:
        InputError: nothing is there, or an image cannot be read.
    """
    return {
        _checked(key, text): read_image(path).shape[:2]
        for key, path in tqdm(list_inputs(text), desc="sizes", unit="image", disable=None)
    }


def sizes_of_table(path: str | Path) -> dict[str, tuple[int, int]]:
    """Height and width of the images of a truth table, by id.

    Raises:
        InputError: see ``read_truth``.
    """
    return {_checked(key, path): image.masks.image_size for key, image in read_truth(path).items()}


def _checked(key: str, where: str | Path) -> str:
    try:
        return check_key(key)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def read_results(source: Source, sizes: Sizes, missing: str = "error") -> ForeignResult:
    """Read what one program found in the images of ``sizes``.

    Args:
        source: the program.
        sizes: (height, width) of each image, by id.
        missing: what an image is that the program has nothing about: an ``error``, or ``empty``, without cells.

    Raises:
        MissingFileError: there is nothing at the path.
        InputError: a file that cannot be used, an image of another size, an image that is missing; names the file.
    """
    if source.path.is_dir():
        return _read_label_images(source, sizes, missing)
    if not source.path.exists():
        raise MissingFileError(f"{source.name}: {source.path}: no such file or folder")
    if source.path.suffix.lower() != ".csv":
        raise InputError(
            f"{source.name}: {source.path}: expected a submission (.csv with id,predicted) or a folder of label images"
        )
    if source.suffix:
        raise InputError(f"{source.name}: a label suffix does nothing for the submission {source.path}")
    return _read_submission(source, sizes, missing)


def _read_submission(source: Source, sizes: Sizes, missing: str) -> ForeignResult:
    columns, rows = read_table(source.path, ("id",))
    place = columns.index("id")
    stated = {fields[place] for _, fields in rows if place < len(fields)}
    unknown = sorted(stated - set(sizes))
    if unknown:
        raise InputError(
            f"{source.name}: {source.path}: {_listed(unknown, 'id')} of no image that is fused; remove these rows, or "
            "give all its images"
        )
    absent = _absent(source, sizes, stated, missing)
    read = read_predictions(source.path, {key: size for key, size in sizes.items() if key in stated})
    found = {key: _instances(read[key].masks if key in read else CropMasks.empty(size)) for key, size in sizes.items()}
    return ForeignResult(found, absent, 0, file_hash(source.path))


def _read_label_images(source: Source, sizes: Sizes, missing: str) -> ForeignResult:
    folder = ImageFolder(source.path)
    stems = {stem.removesuffix(source.suffix): stem for stem in folder.stems() if stem.endswith(source.suffix)}
    absent = _absent(source, sizes, stems, missing)
    found, hashes = {}, {}
    for key, size in tqdm(sizes.items(), desc=source.name, unit="image", disable=None):
        if key not in stems:
            found[key] = _instances(CropMasks.empty(size))
            continue
        try:
            path = folder.find(stems[key])
            labels = read_labels(path)
        except InputError as error:
            raise InputError(f"{source.name}: {source.path}: {error}") from error
        if labels.shape != tuple(size):
            raise InputError(
                f"{source.name}: {path}: the label image is {labels.shape[1]} x {labels.shape[0]} pixels (width x "
                f"height), the image {size[1]} x {size[0]}"
            )
        found[key] = _instances(CropMasks.from_label_image(torch.from_numpy(labels)))
        hashes[key] = file_hash(path)
    return ForeignResult(found, absent, len(set(stems) - set(sizes)), hash_json(hashes))


def _absent(source: Source, sizes: Sizes, there: Container[str], missing: str) -> tuple[str, ...]:
    """Ids that the program has nothing about, where that is allowed."""
    absent = [key for key in sizes if key not in there]
    kind = "label image" if source.path.is_dir() else "row"
    if len(absent) == len(sizes):
        expected = f"{absent[0]}{source.suffix}.png" if source.path.is_dir() else absent[0]
        raise InputError(f"{source.name}: {source.path}: has no {kind} of any of the images; expected {expected!r}")
    if absent and missing == "error":
        raise InputError(
            f"{source.name}: {source.path}: no {kind} for {_listed(absent, 'image')}; --missing empty takes these as "
            "images without cells"
        )
    return tuple(absent)


def _instances(masks: CropMasks) -> Instances:
    masks = masks.tight()
    return Instances(
        boxes=masks.boxes(),
        scores=torch.ones(len(masks)),
        labels=torch.zeros(len(masks), dtype=torch.int64),
        masks=masks,
        image_size=masks.image_size,
        class_names=CLASS_NAMES,
    )


def _listed(keys: Sequence[str], noun: str) -> str:
    shown = ", ".join(keys[:_LISTED]) + (f" and {len(keys) - _LISTED} more" if len(keys) > _LISTED else "")
    return f"{len(keys)} {noun}{'' if len(keys) == 1 else 's'} ({shown})"
