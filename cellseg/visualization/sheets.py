"""Contact sheets of data folders: images with the outlines of their true cells, to see whether they fit."""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from cellseg.datasets.folder import ALL, SPLITS, DataFolder
from cellseg.errors import InputError
from cellseg.io.images import read_image
from cellseg.visualization.overlays import draw_sheet


def draw_data_sheet(source: str, fold: int = 0, count: int = 12, columns: int = 4, tile: int = 400) -> np.ndarray:
    """Draw some images of a data folder with their true cells, of every type as evenly as there are images.

    Args:
        source: ``DATA_FOLDER`` or ``DATA_FOLDER:SPLIT`` with ``train``, ``val``, ``test`` or ``all``.
        fold: of the data folder; for ``all`` it does not matter.
        count: images at most.
        columns: of the sheet.
        tile: side of an image on the sheet in pixels.

    Returns:
        uint8 RGB array.

    Raises:
        MissingFileError: there is no such data folder.
        InputError: there is no such split or fold, or the split is empty.
    """
    if count < 1:
        raise InputError(f"--images {count}: expected 1 or more")
    root, separator, split = source.rpartition(":")
    if not separator or split not in (*SPLITS, ALL) or Path(source).exists():
        root, split = source, ALL
    folder = DataFolder(root)
    records = {record.key: record for record in folder.load_split(fold, split)}
    if not records:
        raise InputError(f"{source}: the split {split!r} has no images")
    chosen = [records[key] for key in spread_over_types({key: one.cell_type for key, one in records.items()}, count)]
    return draw_sheet(
        [read_image(folder.image_path(record.file_name)) for record in chosen],
        [record.masks for record in chosen],
        [f"{record.key}: {record.cell_type}, {len(record.masks)} cells" for record in chosen],
        columns,
        tile,
    )


def spread_over_types(types: Mapping[str, str], count: int) -> list[str]:
    """Up to ``count`` keys, spread over types first, then evenly over each type's keys; ordered by type.

    Args:
        types: type of each key, in the order of the keys.
        count: how many.
    """
    by_type: dict[str, list[str]] = defaultdict(list)
    for key, cell_type in types.items():
        by_type[cell_type].append(key)
    share = {name: 0 for name in sorted(by_type)}
    while sum(share.values()) < min(count, len(types)):
        open_types = [name for name in share if share[name] < len(by_type[name])]
        share[min(open_types, key=lambda name: share[name])] += 1
    return [
        by_type[name][place * len(by_type[name]) // number] for name, number in share.items() for place in range(number)
    ]
