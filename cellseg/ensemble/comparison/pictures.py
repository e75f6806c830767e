"""Examples of what an ensemble finds: for each cell type an image on which it did middling well."""

from collections.abc import Sequence

import numpy as np

from cellseg.datasets.folder import DataFolder
from cellseg.datasets.records import ImageRecord
from cellseg.io.images import read_image, to_rgb
from cellseg.structures import CropMasks
from cellseg.visualization import draw_comparison, draw_sheet


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
        image = to_rgb(read_image(folder.image_path(records[index].file_name)))
        pictures += [image, draw_comparison(image, records[index].masks, found[index])]
        titles += [records[index].key, f"ensemble, mAP {scores[index]:.2f}"]
    return draw_sheet(pictures, [None] * len(pictures), titles, columns=2, tile=512)
