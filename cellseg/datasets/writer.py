"""Writing a data folder image by image, so that memory does not grow with the images or the length of outlines."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cellseg.datasets.folder import ALL, ANNOTATION_FILE, IMAGE_FOLDER, SPLIT_FOLDER, TRUTH_FILE
from cellseg.datasets.folds import Split
from cellseg.datasets.records import SourceImage
from cellseg.io.files import atomic_path
from cellseg.structures import CropMasks

TRUTH_COLUMNS = ("id", "annotation", "width", "height", "cell_type", "group")


class _Spool:
    """A file of text blocks that are read again by number."""

    def __init__(self, path: Path):
        self.path = path
        self._file = open(path, "w+b")
        self._bounds = [0]

    def append(self, text: str) -> None:
        data = text.encode("utf-8")
        self._file.write(data)
        self._bounds.append(self._bounds[-1] + len(data))

    def read(self, number: int) -> bytes:
        start, stop = self._bounds[number], self._bounds[number + 1]
        self._file.seek(start)
        return self._file.read(stop - start)

    def remove(self) -> None:
        self._file.close()
        self.path.unlink(missing_ok=True)


class FolderWriter:
    """Images, COCO files and CSV files of a data folder; used as a context, in the order ``add``..., ``write_splits``.

    Args:
        folder: an existing, empty folder.
        class_names: in the order of their labels; category ids count from 1.
    """

    def __init__(self, folder: Path, class_names: Sequence[str]):
        self.folder = folder
        self.categories = [{"id": index + 1, "name": name} for index, name in enumerate(class_names)]
        self.images: list[dict[str, Any]] = []
        self._cells = 0
        self._stack = ExitStack()

    def __enter__(self) -> "FolderWriter":
        (self.folder / IMAGE_FOLDER).mkdir()
        self._annotations = _Spool(self.folder / ".annotations")
        self._stack.callback(self._annotations.remove)
        self._rows = _Spool(self.folder / ".rows")
        self._stack.callback(self._rows.remove)
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def add(self, source: SourceImage, pixels: np.ndarray, masks: CropMasks, labels: np.ndarray) -> None:
        """Write an image and keep its annotations.

        Args:
            source: key, type and group.
            pixels: uint8 ``[H, W]`` or ``[H, W, 3]`` RGB.
            masks: N bool masks with at least one pixel each.
            labels: int64 ``[N]``.
        """
        height, width = pixels.shape[:2]
        with atomic_path(self.folder / IMAGE_FOLDER / f"{source.key}.png") as temporary:
            Image.fromarray(pixels).save(temporary, format="PNG", compress_level=4)
        entry = {
            "id": len(self.images) + 1,
            "file_name": f"{source.key}.png",
            "height": height,
            "width": width,
            "key": source.key,
            "cell_type": source.cell_type,
            "group": source.group,
        }
        self.images.append(entry)
        self._annotations.append(self._annotation_lines(entry["id"], masks, labels))
        self._rows.append(_truth_rows(entry, masks.to_rle()))

    def _annotation_lines(self, image_id: int, masks: CropMasks, labels: np.ndarray) -> str:
        lines = []
        boxes, areas = masks.boxes().long().tolist(), masks.areas().tolist()
        for (x0, y0, x1, y1), area, code, label in zip(boxes, areas, masks.to_coco_rle(), labels.tolist(), strict=True):
            self._cells += 1
            annotation = {
                "id": self._cells,
                "image_id": image_id,
                "category_id": label + 1,
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "area": area,
                "iscrowd": 0,
                "segmentation": {"size": [int(side) for side in code["size"]], "counts": code["counts"]},
            }
            lines.append(_line(annotation))
        return ",\n".join(lines)

    def write_splits(self, fold_of_image: Sequence[int], splits: Sequence[Split]) -> None:
        """Write every COCO and CSV file, after all images were added.

        Args:
            fold_of_image: fold in which each image is tested (0 where there is a single fold).
            splits: of each fold.
        """
        for entry, fold in zip(self.images, fold_of_image, strict=True):
            entry["fold"] = int(fold)
        everything = range(len(self.images))
        self._write_coco(self.folder / ANNOTATION_FILE, everything)
        self._write_coco(self.folder / SPLIT_FOLDER / f"{ALL}.json", everything)
        self._write_truth(self.folder / TRUTH_FILE, everything)
        for fold, split in enumerate(splits):
            folder = self.folder / SPLIT_FOLDER / f"fold{fold}"
            self._write_coco(folder / "train.json", split.train)
            self._write_coco(folder / "val.json", split.val)
            self._write_truth(folder / "val.csv", split.val)
            if split.test:
                self._write_coco(folder / "test.json", split.test)
                self._write_truth(folder / "test.csv", split.test)

    def _write_coco(self, path: Path, images: Iterable[int]) -> None:
        images = list(images)
        blocks = (self._annotations.read(number) for number in images)
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            file.write(b'{"annotations": [')
            separator = b"\n"
            for block in blocks:
                if block:
                    file.write(separator + block)
                    separator = b",\n"
            lines = ",\n".join(_line(self.images[number]) for number in images)
            file.write(f'\n],\n"categories": {_line(self.categories)},\n"images": [\n{lines}\n]}}\n'.encode())

    def _write_truth(self, path: Path, images: Iterable[int]) -> None:
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            file.write((",".join(TRUTH_COLUMNS) + "\n").encode())
            for number in images:
                file.write(self._rows.read(number))


def _line(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _truth_rows(entry: dict[str, Any], codes: Sequence[str]) -> str:
    """CSV rows of an image; one with an empty annotation where it has no cells."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for code in codes or [""]:
        values = {**entry, "id": entry["key"], "annotation": code}
        writer.writerow([values[name] for name in TRUTH_COLUMNS])
    return text.getvalue()
