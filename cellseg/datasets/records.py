"""What readers hand to the preparation, and what a data folder hands to training."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from cellseg.structures import CropMasks

UNLABELLED = "unlabelled"  # cell type of an image about which nothing is known


@dataclass(frozen=True)
class ImageRecord:
    """An image of a data folder with its cells.

    Attributes:
        key: name of the image, unique in the folder.
        file_name: name of its file in ``images/``.
        height, width: pixels.
        cell_type: type of the image's cells, for folds and scores by type.
        group: images of one group look alike and are never split between training and testing.
        masks: the N cells, bool, in the order of the annotation file.
        labels: int64 ``[N]``, index into the folder's class names.
    """

    key: str
    file_name: str
    height: int
    width: int
    cell_type: str
    group: str
    masks: CropMasks
    labels: torch.Tensor


@dataclass(frozen=True)
class Problem:
    """Something in the input that cannot be used.

    Attributes:
        row: where it stands: the line of a CSV file (its header is line 1), or words such as ``annotation 17``.
        id: the image that it belongs to; empty when that cannot be told.
        reason: what is wrong.
    """

    row: int | str
    id: str
    reason: str

    def __str__(self) -> str:
        place = f"row {self.row}" if isinstance(self.row, int) else self.row
        return f"{place}, id {self.id}: {self.reason}" if self.id else f"{place}: {self.reason}"


@dataclass(frozen=True)
class SourceImage:
    """An image as a reader found it; its masks are decoded only when asked for.

    Attributes:
        key: name of the image, safe as a file name.
        path: the file to read.
        size: (height, width) that the annotations state; None where only the file knows.
        cell_type, group: see ``ImageRecord``.
        row: where the image first stands, for reports.
        read_cells: gets (height, width) of the image file; returns the masks and the class name of each.
            Appends to the list in its second argument what it has to leave out. Raises ``InputError`` when
            the image as a whole cannot be used.
    """

    key: str
    path: Path
    size: tuple[int, int] | None
    cell_type: str
    group: str
    row: int | str
    read_cells: Callable[[tuple[int, int], list[Problem]], tuple[CropMasks, list[str]]]


@dataclass
class Source:
    """Everything that a reader found.

    Attributes:
        name: kind of the source: ``sartorius``, ``livecell``, ``coco``, ``masks``, ``synthetic``.
        images: usable images, sorted by key.
        class_names: in the order of their labels.
        group_column: what the groups were made from.
        problems: what cannot be used.
        files: annotation files by name, for the provenance.
        dropped: images left out because the user asked for it, for example known bad ones.
        notes: remarks for the summary.
    """

    name: str
    images: list[SourceImage]
    class_names: tuple[str, ...]
    group_column: str
    problems: list[Problem] = field(default_factory=list)
    files: dict[str, Path] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
