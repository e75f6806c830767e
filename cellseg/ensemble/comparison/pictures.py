"""Examples of what an ensemble finds: for each cell type an image on which it did middling well."""

from collections.abc import Sequence

import numpy as np

from cellseg.datasets.folder import DataFolder
from cellseg.datasets.records import ImageRecord
from cellseg.io.images import read_image, to_rgb
from cellseg.structures import CropMasks
from cellseg.visualization import draw_comparison, draw_legend, draw_sheet, pair_cells

_TILE = 512


def draw_examples(
    folder: DataFolder, records: Sequence[ImageRecord], found: Sequence[CropMasks], scores: Sequence[float]
) -> np.ndarray:
    """For each cell type the image with the median score: as it is, and with true and found cells.

    Args:
        folder: of the images.
        records: the images.
        found: the masks that were found in each.
        scores: competition mAP of each.

    Returns:
        uint8 RGB array.
    """
    pictures, titles = [], []
    for kind in sorted({record.cell_type for record in records}):
        own = sorted(
            (index for index, record in enumerate(records) if record.cell_type == kind), key=lambda i: (scores[i], i)
        )
        index = own[len(own) // 2]
        image, truth = to_rgb(read_image(folder.image_path(records[index].file_name))), records[index].masks
        # Shrinking would thin a one-pixel line away; it is drawn so wide that one pixel is left.
        width = max(1, round(max(image.shape[:2]) / _TILE))
        pictures += [image, draw_comparison(image, truth, found[index], width, legend=False)]
        hit, missed = pair_cells(truth, found[index])
        counts = f"found {hit.sum()}, missed {missed.sum()}, invented {(~hit).sum()}"
        titles += [records[index].key, f"ensemble, mAP {scores[index]:.2f}: {counts}"]
    sheet = draw_sheet(pictures, [None] * len(pictures), titles, columns=2, tile=_TILE)
    return np.concatenate([sheet, draw_legend(sheet.shape[1])])
