"""The sheet of a data folder: some images of every type with their outlines, to see whether they fit."""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from cellseg.datasets.folder import ALL, SHEET_FILE, DataFolder
from cellseg.io.files import atomic_path
from cellseg.io.images import read_image
from cellseg.visualization import draw_sheet

_IMAGES = 12
_COLUMNS = 4
_TILE = 400


def write_sheet(root: Path, types: Mapping[str, str]) -> None:
    """Draw up to twelve images of a data folder into its ``sheet.png``.

    Args:
        root: the folder.
        types: cell type of each image, by key.
    """
    folder = DataFolder(root)
    chosen = _choose(types, _IMAGES)
    records = {record.key: record for record in folder.load_split(0, ALL, keys=set(chosen))}
    ordered = [records[key] for key in chosen]
    images = [read_image(folder.image_path(record.file_name)) for record in ordered]
    titles = [f"{record.key}: {record.cell_type}, {len(record.masks)} cells" for record in ordered]
    columns = min(_COLUMNS, len(ordered))
    picture = draw_sheet(images, [record.masks for record in ordered], titles, columns=columns, tile=_TILE)
    with atomic_path(root / SHEET_FILE) as temporary:
        Image.fromarray(picture).save(temporary, format="PNG")


def _choose(types: Mapping[str, str], count: int) -> list[str]:
    """Keys, spread over types first, then evenly over each type's images; ordered by type."""
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
