"""A prepared data folder, as ``tools/prepare_data.py`` writes it and everything else reads it."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cellseg.datasets.records import ImageRecord
from cellseg.errors import InputError, MissingFileError
from cellseg.io.files import read_json
from cellseg.io.images import read_image, to_rgb
from cellseg.structures import CropMasks

FORMAT = "cellseg data folder 1"
SUMMARY_FILE = "dataset.json"
ANNOTATION_FILE = "annotations.json"
TRUTH_FILE = "truth.csv"
SHEET_FILE = "sheet.png"
IMAGE_FOLDER = "images"
SPLIT_FOLDER = "splits"
SPLITS = ("train", "val", "test")
ALL = "all"
_REMEDY = "run tools/prepare_data.py to write a data folder"


class DataFolder:
    """Read access to a prepared data folder.

    Args:
        root: the folder.

    Attributes:
        root: the folder as a ``Path``.
        summary: the content of ``dataset.json``.
        class_names: in the order of the labels.
        mean, std: of red, green and blue over the training images, 0 to 255.
        folds: how many there are.

    Raises:
        MissingFileError: the folder or its ``dataset.json`` does not exist.
        InputError: ``dataset.json`` is not one of a data folder.
    """

    def __init__(self, root: str | Path):
        self.root = Path(root)
        self.summary = read_summary(self.root)
        self.class_names: tuple[str, ...] = tuple(self.summary["class_names"])
        self.mean: tuple[float, ...] = tuple(float(value) for value in self.summary["mean"])
        self.std: tuple[float, ...] = tuple(float(value) for value in self.summary["std"])
        self.folds = int(self.summary["folds"])

    def split_file(self, fold: int, name: str) -> Path:
        """COCO file of a split.

        Args:
            fold: 0 up to ``folds - 1``; not looked at when ``name`` is ``all``.
            name: ``train``, ``val``, ``test`` or ``all``.

        Raises:
            InputError: there is no such fold or split.
            MissingFileError: the file is not there.
        """
        return self._split_path(fold, name, ".json")

    def truth_file(self, fold: int, name: str) -> Path:
        """Kaggle-style CSV of the true masks of the split ``val``, ``test`` or ``all``; errors as ``split_file``."""
        if name == ALL:
            return _existing(self.root / TRUTH_FILE)
        if name == "train":
            raise InputError(f"{self.root}: there is no CSV of the training split; use val, test or all")
        return self._split_path(fold, name, ".csv")

    def image_path(self, file_name: str) -> Path:
        """Path of an image.

        Raises:
            InputError: the name would lead out of the folder.
        """
        if Path(file_name).name != file_name or file_name in ("", ".", ".."):
            raise InputError(f"{self.root}: image name {file_name!r} is not a plain file name")
        return self.root / IMAGE_FOLDER / file_name

    def image_ids(self, fold: int, name: str) -> dict[str, int]:
        """Number of each image in the split's COCO file, by key."""
        path = self.split_file(fold, name)
        return {image["key"]: image["id"] for image in _load_coco(path)["images"]}

    def load_split(self, fold: int, name: str, keys: Collection[str] | None = None) -> list[ImageRecord]:
        """Images of a split with their masks, in the order of the COCO file.

        Args:
            fold, name: see ``split_file``.
            keys: load only these of its images.

        Raises:
            MissingFileError: a file is not there.
            InputError: no such split, or a damaged COCO file; the text names the file and entry.
        """
        path = self.split_file(fold, name)
        content = _load_coco(path)
        labels = {category["id"]: index for index, category in enumerate(content["categories"])}
        if tuple(category["name"] for category in content["categories"]) != self.class_names:
            raise InputError(f"{path}: its categories are not those of {SUMMARY_FILE}; {_REMEDY} anew")
        cells: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in content["images"]}
        for annotation in content["annotations"]:
            if annotation["image_id"] not in cells or annotation["category_id"] not in labels:
                raise InputError(f"{path}: annotation {annotation['id']} names an unknown image or category")
            cells[annotation["image_id"]].append(annotation)
        images = [image for image in content["images"] if keys is None or image["key"] in keys]
        return [self._record(path, image, cells[image["id"]], labels) for image in images]

    def _record(
        self, path: Path, image: dict[str, Any], cells: list[dict[str, Any]], labels: dict[int, int]
    ) -> ImageRecord:
        size = (image["height"], image["width"])
        try:
            masks = CropMasks.from_coco_rle([cell["segmentation"] for cell in cells], size)
        except ValueError as error:
            raise InputError(f"{path}: image {image['key']}: {error}") from error
        if not self.image_path(image["file_name"]).is_file():
            raise MissingFileError(f"{self.image_path(image['file_name'])}: no such image; {_REMEDY} anew")
        return ImageRecord(
            key=image["key"],
            file_name=image["file_name"],
            height=image["height"],
            width=image["width"],
            cell_type=image["cell_type"],
            group=image["group"],
            masks=masks,
            labels=torch.tensor([labels[cell["category_id"]] for cell in cells], dtype=torch.int64),
        )

    def _split_path(self, fold: int, name: str, suffix: str) -> Path:
        if name == ALL:
            return _existing(self.root / SPLIT_FOLDER / f"{ALL}{suffix}")
        if name not in SPLITS:
            raise InputError(f"{self.root}: split {name!r} is not one of {', '.join((*SPLITS, ALL))}")
        if not 0 <= int(fold) < self.folds:
            raise InputError(f"{self.root}: fold {fold} does not exist; the folder has folds 0 to {self.folds - 1}")
        if name == "test" and self.folds == 1:
            raise InputError(f"{self.root}: prepared with --folds 1, so it has no test split; prepare more folds")
        return _existing(self.root / SPLIT_FOLDER / f"fold{int(fold)}" / f"{name}{suffix}")


def read_record_image(path: Path, record: ImageRecord) -> NDArray[np.uint8]:
    """The image of a record, uint8 ``[H, W, 3]``, RGB.

    Raises:
        InputError: an image that cannot be read, or of another size than its annotations.
    """
    image = to_rgb(read_image(path))
    if image.shape[:2] != (record.height, record.width):
        raise InputError(
            f"{path}: {image.shape[1]} x {image.shape[0]} pixels, its annotations are for {record.width} x "
            f"{record.height}; run tools/prepare_data.py again"
        )
    return image


def read_summary(root: Path) -> dict[str, Any]:
    """Content of ``dataset.json`` after a check that it is one.

    Raises:
        MissingFileError: there is no such folder or file.
        InputError: the file does not belong to a data folder.
    """
    path = root / SUMMARY_FILE
    if not path.is_file():
        raise MissingFileError(f"{root}: not a data folder (it has no {SUMMARY_FILE}); {_REMEDY}")
    summary = read_json(path)
    if not isinstance(summary, dict) or summary.get("format") != FORMAT:
        raise InputError(f"{path}: not the summary of a data folder (expected format {FORMAT!r}); {_REMEDY}")
    missing = [name for name in ("class_names", "mean", "std", "folds") if name not in summary]
    if missing:
        raise InputError(f"{path}: damaged, {', '.join(missing)} missing; {_REMEDY} anew")
    return summary


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file; {_REMEDY} anew")
    return path


def _load_coco(path: Path) -> dict[str, Any]:
    content = read_json(path)
    needed = {
        "images": ("id", "key", "file_name", "height", "width", "cell_type", "group"),
        "categories": ("id", "name"),
        "annotations": ("id", "image_id", "category_id", "segmentation"),
    }
    for part, names in needed.items():
        entries = content.get(part) if isinstance(content, dict) else None
        if not isinstance(entries, list):
            raise InputError(f"{path}: damaged, the list {part!r} is missing; {_REMEDY} anew")
        for number, entry in enumerate(entries):
            missing = [name for name in names if not isinstance(entry, dict) or name not in entry]
            if missing:
                raise InputError(f"{path}: {part}[{number}] lacks {', '.join(missing)}; {_REMEDY} anew")
            wrong = [name for name in names if name.endswith("id") and not isinstance(entry[name], int)]
            if wrong:
                raise InputError(f"{path}: {part}[{number}]: {wrong[0]} is not a whole number; {_REMEDY} anew")
    return content
