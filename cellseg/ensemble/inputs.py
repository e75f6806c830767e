"""What INPUT means to ``ensemble_infer``: image files, or a split of a data folder."""

from dataclasses import dataclass
from pathlib import Path

from cellseg.datasets.folder import ALL, SPLITS, DataFolder
from cellseg.errors import InputError
from cellseg.io.images import LIST_SUFFIXES, list_inputs


@dataclass(frozen=True)
class Inputs:
    """Images to segment.

    Attributes:
        images: id and path, sorted by id.
        skipped: id and reason of what the user named although it is no image.
        passed_over: number of other files that lay beside the images.
    """

    images: tuple[tuple[str, Path], ...]
    skipped: tuple[tuple[str, str], ...] = ()
    passed_over: int = 0


def find_inputs(text: str, fold: int) -> Inputs:
    """Resolve an INPUT.

    Args:
        text: an image, a folder, a glob, a text file of paths, or ``DATA_FOLDER:SPLIT`` with a prepared data folder and
            ``train``, ``val``, ``test`` or ``all``.
        fold: of the data folder.

    Raises:
        MissingFileError: nothing is there.
        InputError: no images, two of one id, or an id that is no file name.
    """
    root, separator, split = text.rpartition(":")
    if separator and split in (*SPLITS, ALL) and not Path(text).exists():
        folder = DataFolder(root)
        records = folder.load_split(fold, split)
        if not records:
            raise InputError(f"{text}: the split {split!r} has no images")
        return Inputs(tuple(sorted((record.key, folder.image_path(record.file_name)) for record in records)))
    others: list[tuple[Path, str]] = []
    images = list_inputs(text, others)
    for name, path in images:
        if name in (".", "..") or not name.isprintable() or not name.strip():
            raise InputError(f"{path}: its name cannot be an id; rename it")
    if Path(text).suffix.lower() in LIST_SUFFIXES and Path(text).is_file():
        return Inputs(tuple(images), skipped=tuple((path.name, reason) for path, reason in others))
    return Inputs(tuple(images), passed_over=len(others))
