"""The images of a split: read one after another, and members asked about them."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from cellseg.datasets.folder import DataFolder
from cellseg.datasets.records import ImageRecord
from cellseg.ensemble.evidence.cache import EvidenceCache
from cellseg.ensemble.evidence.pool import EvidencePool
from cellseg.errors import InputError
from cellseg.io.images import read_image, to_rgb


def read_images(
    folder: DataFolder, records: Sequence[ImageRecord], task: str
) -> Iterator[tuple[ImageRecord, NDArray[np.uint8]]]:
    """Each record with its image, uint8 ``[H, W, 3]`` RGB; ``task`` stands at the progress bar.

    Raises:
        InputError: an image of another size than its annotations.
    """
    for record in tqdm(records, desc=task, unit="image", disable=None):
        path = folder.image_path(record.file_name)
        image = to_rgb(read_image(path))
        if image.shape[:2] != (record.height, record.width):
            raise InputError(
                f"{path}: {image.shape[1]} x {image.shape[0]} pixels, its annotations are for {record.width} x "
                f"{record.height}; run tools/prepare_data.py again"
            )
        yield record, image


def fill_pool(
    pool: EvidencePool, folder: DataFolder, records: Sequence[ImageRecord], cache: EvidenceCache | None = None
) -> EvidencePool:
    """Ask the members of a pool about all images, whose truth the records have; returns the pool."""
    with torch.inference_mode():
        for record, image in read_images(folder, records, "ask members"):
            pool.add(image, record.masks, record.cell_type, cache)
    return pool
